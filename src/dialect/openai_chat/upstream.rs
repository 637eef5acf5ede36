//! The half of this grammar that AI Core is spoken to in. Its parts serve all who speak it: [`encode`] writes what a request
//! says, [`decode`] reads replies. [`Chat`] is the grammar as its vendor has it.

pub mod decode;
pub mod encode;

use serde::Serialize;

use self::encode::{Extras, Message, Params, ResponseFormat, Tool};
use super::mend::{Mend, Quirks};
use crate::chat::fit::{Fit, FormatFit, plain};
use crate::chat::{Brackets, Request};
use crate::dialect::{StreamDecoder, Target, UpstreamDialect, to_json};
use crate::envelope::Envelope;
use crate::error::Error;
use crate::sse::Frame;

/// Chat completions as Azure OpenAI takes and gives them (dossier 5a), or those who do it nearly so (5d).
#[derive(Debug)]
pub struct Chat(pub Quirks);

static FIT: Fit = Fit {
    name_takes: plain,
    name_max: 64,
    id_max: 40,
    format: FormatFit::Native,
    takes_prefill: true,
    takes_media_in_results: false,
    needs_tools_for_calls: false,
    takes_single_call: true,
    takes_seal: |_| false,
};

/// Left open: which deployments may be given an image by its URL; its content is right for all, so URLs are not taken.
impl UpstreamDialect for Chat {
    fn fit(&self) -> &'static Fit {
        &FIT
    }

    fn encode(&self, request: &Request, target: &Target<'_>) -> Result<Vec<u8>, Error> {
        let options = (target.is_stream && self.0.has_usage_option())
            .then_some(StreamOptions { include_usage: true });
        let extras = Extras { strict: self.0 == Quirks::None, ..Extras::default() };
        let body = Body {
            model: target.model,
            messages: encode::messages(request, extras)?,
            tools: encode::tools(request, extras)?,
            response_format: encode::response_format(&request.format)?,
            params: encode::params(request),
            stream: target.is_stream,
            stream_options: options,
        };
        to_json(&body, request)
    }

    fn decode(&self, body: &[u8], out: &mut Brackets) {
        if self.0 != Quirks::None
            && let Ok(mut reply) = Envelope::parse(body.to_vec())
        {
            self.0.mend_reply(&mut reply);
            return decode::whole(&reply.to_bytes(), decode::bare, out);
        }
        decode::whole(body, decode::bare, out);
    }

    fn stream_decoder(&self) -> Box<dyn StreamDecoder> {
        let stream = decode::Stream::new(decode::bare);
        match Mend::new(self.0) {
            Some(mend) => Box::new(Mended { mend, stream }),
            None => Box::new(stream),
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
    #[serde(flatten)]
    params: Params<'a>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

/// Reads a stream of chunks that have to be put right first.
struct Mended {
    mend: Mend,
    stream: decode::Stream,
}

impl StreamDecoder for Mended {
    fn frame(&mut self, frame: &Frame<'_>, out: &mut Brackets) {
        for data in decode::values(frame) {
            if data == b"[DONE]" {
                self.count(out);
            }
            let mended = self.mend.chunk(data);
            self.stream.event(mended.as_deref().unwrap_or(data), frame.is_cut, out);
        }
    }

    fn finish(&mut self, out: &mut Brackets) {
        self.count(out);
        self.stream.finish(out);
    }
}

impl Mended {
    fn count(&self, out: &mut Brackets) {
        self.mend.usage.into_iter().for_each(|usage| out.usage(usage));
    }
}
