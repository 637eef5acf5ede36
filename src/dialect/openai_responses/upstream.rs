//! What AI Core's own `/responses` is asked, and what it answers (dossier 5a), for clients of other APIs.
//!
//! Nothing is kept there: each request holds the whole conversation, and its thoughts come back with it, encrypted.

mod decode;
mod encode;

use crate::chat::fit::{Fit, FormatFit, plain};
use crate::chat::{Brackets, Request, Seal};
use crate::dialect::{StreamDecoder, Target, UpstreamDialect};
use crate::error::Error;

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

/// Left open, as for chat completions: which deployments may be given an image by its URL.
impl UpstreamDialect for Create {
    fn fit(&self) -> &'static Fit {
        &FIT
    }

    fn encode(&self, request: &Request, target: &Target<'_>) -> Result<Vec<u8>, Error> {
        encode::body(request, target)
    }

    fn decode(&self, body: &[u8], out: &mut Brackets) {
        decode::whole(body, out);
    }

    fn stream_decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(decode::Stream::default())
    }
}
