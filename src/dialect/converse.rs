//! Bedrock's Converse, which AI Core's deployments of Nova speak (dossier 5b.4, 5b.5). A stream is not JSON but what
//! Python's `repr()` makes of it.

mod decode;
mod encode;
pub mod python;

use super::{StreamDecoder, Target, UpstreamDialect};
use crate::chat::fit::{Fit, FormatFit, plain};
use crate::chat::{Brackets, Request};
use crate::error::Error;

/// The stream is chosen by the path and the model by the deployment: a body names neither.
#[derive(Debug)]
pub struct Converse;

const FIT: Fit = Fit {
    name_takes: plain,
    name_max: 64,
    id_max: 64,
    format: FormatFit::ByTool,
    takes_prefill: false,
    takes_media_in_results: true,
    needs_tools_for_calls: true,
    takes_single_call: false,
    // Only Claude's thoughts have one here, and Claude is not spoken to this way.
    takes_seal: |_| false,
};

impl UpstreamDialect for Converse {
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
        Box::new(decode::Stream)
    }
}
