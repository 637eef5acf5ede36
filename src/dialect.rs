//! The JSON grammars that clients and AI Core speak. Pure: bytes and values in, bytes and values out.
//!
//! A client's half decodes a request and encodes a reply, an upstream's half encodes a request and decodes a reply; between
//! them stands [`chat`](crate::chat). Where both sides speak the same grammar nothing is decoded: bytes pass.

pub mod anthropic;
pub mod cohere;
pub mod converse;
pub mod embeddings;
pub mod gemini;
pub mod openai_chat;
pub mod openai_responses;
pub(crate) mod reading;
pub mod rerank;

use std::borrow::Cow;
use std::fmt::Debug;

use serde::Serialize;
use serde_json::{Value, json};

use crate::chat::fit::Fit;
use crate::chat::{Brackets, Event, Reply, Request, Usage};
use crate::envelope::Envelope;
use crate::error::Error;
use crate::sse::{self, Frame};

/// The grammar a client speaks, told by its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's APIs: chat completions, embeddings, models.
    OpenAi,
    /// OpenAI's Responses API, whose streams are others.
    Responses,
    /// Anthropic's Messages API.
    Anthropic,
}

impl Dialect {
    /// The body of an error response.
    pub fn error_body(self, error: &Error, request_id: &str) -> String {
        match self {
            Dialect::OpenAi | Dialect::Responses => openai_chat::error_body(error),
            Dialect::Anthropic => anthropic::error_body(error, request_id),
        }
    }

    /// The name of a field that families and upstreams know by OpenAI's.
    pub fn field(self, path: &str) -> Cow<'_, str> {
        match self {
            Dialect::OpenAi => Cow::Borrowed(path),
            Dialect::Responses => openai_responses::field(path),
            Dialect::Anthropic => anthropic::field(path),
        }
    }

    /// An error within a stream.
    pub fn error_frame(self, error: &Error, request_id: &str) -> Vec<u8> {
        let body = self.error_body(error, request_id);
        let mut frame = vec![];
        match self {
            Dialect::OpenAi => sse::write_data(&mut frame, body.as_bytes()),
            Dialect::Responses => return openai_responses::failure(error, request_id),
            Dialect::Anthropic => {
                sse::write_event(&mut frame, "error", |out| out.extend_from_slice(body.as_bytes()));
            }
        }
        frame
    }

    /// Whether an [`error_frame`](Dialect::error_frame) is a stream's own end, and not the lack of one.
    pub fn ends_what_failed(self) -> bool {
        self == Dialect::Responses
    }

    /// What keeps a stream alive and means nothing.
    pub fn keep_alive(self) -> &'static [u8] {
        match self {
            Dialect::OpenAi | Dialect::Responses => b": keep-alive\n\n",
            Dialect::Anthropic => b"event: ping\ndata: {\"type\": \"ping\"}\n\n",
        }
    }
}

/// The half of a grammar that clients speak.
pub trait ClientDialect {
    /// Reads a request; 400 with the JSON path of what cannot be read or carried.
    fn decode(&self, body: &Envelope) -> Result<Asked, Error>;
    /// What is refused of requests that are not decoded, too.
    fn check(&self, _body: &Envelope) -> Result<(), Error> {
        Ok(())
    }
}

/// A client's request, understood.
#[derive(Debug)]
pub struct Asked {
    pub request: Request,
    pub is_stream: bool,
    /// How the reply is to be written.
    pub writer: Box<dyn ReplyWriter>,
}

/// Writes the reply to one request, in the client's grammar and as that request wants it.
pub trait ReplyWriter: Debug {
    /// The body of a whole reply.
    fn whole(&self, reply: &Reply, head: &ReplyHead) -> Vec<u8>;
    /// Writes a stream.
    fn stream(&self, head: &ReplyHead) -> Box<dyn StreamEncoder>;
}

/// The half of a grammar that AI Core is spoken to in.
pub trait UpstreamDialect: Debug + Sync {
    /// What requests have to be like before [`encode`](UpstreamDialect::encode) may see them.
    fn fit(&self) -> &'static Fit;
    /// Whether media may be named by their URLs; otherwise they have to be there.
    fn takes_urls(&self) -> bool {
        false
    }
    /// The body of a request that [fits](Fit).
    fn encode(&self, request: &Request, target: &Target<'_>) -> Result<Vec<u8>, Error>;
    /// The body that asks for the same as a whole, where the model of a request for a stream gives none.
    fn unstreamed(&self, _body: &[u8], _refusal: &Error) -> Option<Vec<u8>> {
        None
    }
    /// Reads a whole reply, up to and with its end.
    fn decode(&self, body: &[u8], out: &mut Brackets);
    /// Reads a stream.
    fn stream_decoder(&self) -> Box<dyn StreamDecoder>;
}

/// Whom a request is for.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The deployed model's name.
    pub model: &'a str,
    pub is_stream: bool,
}

/// The JSON of `body`, which says what `request` does: room for it is made once.
pub(crate) fn to_json(body: &impl Serialize, request: &Request) -> Result<Vec<u8>, Error> {
    // Line ends and quotes, which most texts have, take two bytes.
    let mut out = Vec::with_capacity(1024 + request.bytes() / 8 * 9);
    serde_json::to_writer(&mut out, body).map_err(|_| Error::Internal)?;
    Ok(out)
}

/// Reads a stream of AI Core's, frame by frame.
pub trait StreamDecoder {
    fn frame(&mut self, frame: &Frame<'_>, out: &mut Brackets);
    /// The bytes are over: no frame will come.
    fn finish(&mut self, out: &mut Brackets);
}

/// Writes a stream for a client, event by event.
pub trait StreamEncoder {
    /// Any but `Failed`.
    fn event(&mut self, event: &Event, out: &mut Vec<u8>);
    /// The reply will not be complete: its end, in grammars that have one for streams that have begun.
    fn failed(&mut self, _error: &Error, _out: &mut Vec<u8>) {}
    /// The whole of a reply that is complete, where its grammar has clients ask for it again.
    fn kept(&mut self) -> Option<Vec<u8>> {
        None
    }
}

/// What is known of a model beside its name, for lists. What is not known is not told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// For people.
    pub display_name: Option<String>,
    /// The vendor, for people.
    pub provider: Option<String>,
    /// In tokens.
    pub context_length: Option<u64>,
    /// `text-generation`, …
    pub capabilities: Vec<String>,
    /// `text`, `image`, …
    pub input_modalities: Vec<String>,
    pub is_deprecated: Option<bool>,
    /// `2026-10-14`
    pub retirement_date: Option<String>,
    /// Names of models.
    pub suggested_replacements: Vec<String>,
}

impl Facts {
    /// Adds to a model as it is listed what no vendor has a word of its own for; what it says itself stays.
    fn add_to(&self, model: &mut Value) {
        let list = |texts: &Vec<String>| (!texts.is_empty()).then(|| json!(texts));
        let fields = [
            ("display_name", self.display_name.as_ref().map(|name| json!(name))),
            ("provider", self.provider.as_ref().map(|name| json!(name))),
            ("context_length", self.context_length.map(|n| json!(n))),
            ("input_modalities", list(&self.input_modalities)),
            ("deprecated", self.is_deprecated.map(|is| json!(is))),
            ("retirement_date", self.retirement_date.as_ref().map(|day| json!(day))),
            ("suggested_replacements", list(&self.suggested_replacements)),
        ];
        for (name, value) in fields {
            if let Some(value) = value.filter(|_| model.get(name).is_none()) {
                model[name] = value;
            }
        }
    }
}

/// What a reply says of itself, the same in all its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyHead {
    /// Letters and digits; each grammar has a word of its own to put before it.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The name the client used.
    pub model: String,
}

/// A stream on its way to the client: frames of AI Core's in, bytes for the client out.
pub trait Passing {
    /// One frame; what the client gets is appended to `out`.
    fn frame(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> Passed;
    /// The bytes are over, and `Done` or `Failed` had not come.
    fn finish(&mut self, out: &mut Vec<u8>) -> Passed;
    fn usage(&self) -> Option<Usage>;
    /// The reply will not be complete: its end, in grammars that have one for streams that have begun.
    fn failed(&mut self, _error: &Error, _out: &mut Vec<u8>) {}
}

/// What a frame on its way to the client was.
#[derive(Debug, PartialEq)]
pub enum Passed {
    /// Nothing for the client.
    Nothing,
    /// Appended to the output.
    Content,
    /// The end, appended to the output.
    Done,
    /// The upstream failed.
    Failed(Error),
}
