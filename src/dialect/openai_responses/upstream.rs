//! What AI Core's own `/responses` is asked, and what it answers (dossier 5a), for clients of other APIs.

use crate::chat::fit::{Fit, FormatFit, plain};
use crate::chat::{Brackets, Request, Seal};
use crate::dialect::{StreamDecoder, Target, UpstreamDialect};
use crate::error::Error;
use crate::sse::Frame;

/// The API's call that creates a response.
#[derive(Debug)]
pub struct Create;

static FIT: Fit = Fit {
    name_takes: plain,
    name_max: 64,
    id_max: 64,
    format: FormatFit::Native,
    takes_prefill: true,
    takes_media_in_results: true,
    needs_tools_for_calls: false,
    takes_single_call: true,
    takes_seal: |seal| matches!(seal, Seal::OpenAi { .. }),
};

impl UpstreamDialect for Create {
    fn fit(&self) -> &'static Fit {
        &FIT
    }

    fn encode(&self, _request: &Request, _target: &Target<'_>) -> Result<Vec<u8>, Error> {
        Err(Error::Internal)
    }

    fn decode(&self, _body: &[u8], _out: &mut Brackets) {}

    fn stream_decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(Stream)
    }
}

struct Stream;

impl StreamDecoder for Stream {
    fn frame(&mut self, _frame: &Frame<'_>, _out: &mut Brackets) {}

    fn finish(&mut self, _out: &mut Brackets) {}
}
