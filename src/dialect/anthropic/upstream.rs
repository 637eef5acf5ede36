//! Anthropic's Messages as Bedrock's invoke takes and gives them (dossier 5b.2 to 5b.8).

pub mod decode;
mod encode;

use crate::chat::fit::{Fit, FormatFit, plain};
use crate::chat::{Brackets, Request, Seal};
use crate::dialect::{StreamDecoder, Target, UpstreamDialect};
use crate::error::Error;

/// Claude by Bedrock's invoke. The stream is chosen by the path and the model by the deployment: a body names neither.
#[derive(Debug)]
pub struct Invoke;

const FIT: Fit = Fit {
    name_takes: plain,
    name_max: 64,
    id_max: 64,
    format: FormatFit::ByTool,
    // Older models do; the family's `adapt` knows which.
    takes_prefill: true,
    takes_media_in_results: true,
    needs_tools_for_calls: true,
    takes_single_call: true,
    takes_seal: |seal| matches!(seal, Seal::Claude(_) | Seal::ClaudeRedacted(_)),
};

impl UpstreamDialect for Invoke {
    fn fit(&self) -> &'static Fit {
        &FIT
    }

    fn encode(&self, request: &Request, _target: &Target<'_>) -> Result<Vec<u8>, Error> {
        encode::body(request)
    }

    fn decode(&self, body: &[u8], out: &mut Brackets) {
        decode::whole(body, out);
    }

    fn stream_decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(decode::Stream::default())
    }
}
