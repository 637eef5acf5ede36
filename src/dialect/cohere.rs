//! Cohere's chat in its second version (dossier 5d; the vendor's reference for what the dossier does not say).

mod decode;
mod encode;

use super::{StreamDecoder, Target, UpstreamDialect};
use crate::chat::fit::{Fit, FormatFit};
use crate::chat::{Brackets, Request};
use crate::error::Error;

#[derive(Debug)]
pub struct Cohere;

const FIT: Fit = Fit {
    // Left open: the vendor says so of its first version only.
    name_takes: |c| c.is_ascii_alphanumeric() || c == '_',
    name_max: 64,
    id_max: 64,
    format: FormatFit::NativeWithoutTools,
    takes_prefill: false,
    takes_media_in_results: false,
    needs_tools_for_calls: false,
    takes_single_call: false,
    // Its thoughts have none.
    takes_seal: |_| false,
};

impl UpstreamDialect for Cohere {
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
        Box::new(decode::Stream)
    }
}
