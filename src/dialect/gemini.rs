//! Gemini's generateContent: the upstream half (dossier 5c).
//!
//! What AI Core takes, as of 2026: camelCase, roles `user` and `model`, results of tools in a user's turn and without ids,
//! tools with JSON schemas as they are. Calls come without ids and end with `STOP` like any reply; a stream has no `[DONE]`.

mod elements;
mod model;
mod reply;
mod request;

pub use model::Model;

use super::{StreamDecoder, Target, UpstreamDialect};
use crate::chat::fit::{Fit, FormatFit};
use crate::chat::{Brackets, Request, Seal};
use crate::error::Error;

/// Gemini's grammar.
#[derive(Debug)]
pub struct Gemini;

/// Left open by the dossier: JSON together with tools, which the vendor has for Gemini 3 only; the answer is had by a tool
/// there.
static FIT: Fit = Fit {
    name_takes: |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-'),
    name_max: 64,
    // Ids are not sent; clients see them again.
    id_max: 64,
    format: FormatFit::NativeWithoutTools,
    takes_prefill: false,
    takes_media_in_results: false,
    needs_tools_for_calls: false,
    takes_single_call: false,
    takes_seal: |seal| matches!(seal, Seal::Gemini(_)),
};

impl UpstreamDialect for Gemini {
    fn fit(&self) -> &'static Fit {
        &FIT
    }

    fn encode(&self, request: &Request, target: &Target<'_>) -> Result<Vec<u8>, Error> {
        request::encode(request, Model::of(target.model))
    }

    fn decode(&self, body: &[u8], out: &mut Brackets) {
        reply::decode(body, out);
    }

    fn stream_decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(reply::Stream::default())
    }
}
