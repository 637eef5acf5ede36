//! OpenAI's Responses API: both halves of the grammar, and what passes.

mod compact;
pub mod freeform;
pub mod kept;
pub mod marks;
mod pass;
mod reply;
mod request;
mod sealed;
pub mod tools;
mod upstream;

use std::borrow::Cow;

pub use compact::summed_up;
pub use pass::{PassStream, pass_reply, settle_compact};
pub use reply::{Writer, failure};
pub use request::check;
pub use tools::Tools;
pub use upstream::Create;

use crate::dialect::reading::renamed;
use crate::dialect::{Asked, ClientDialect};
use crate::envelope::Envelope;
use crate::error::Error;

/// The JSON of an item that is kept here, by its id; an error where the request has become too large by it.
pub type Kept<'a> = dyn Fn(&str) -> Result<Option<String>, Error> + 'a;

/// The Responses API, as clients speak it.
pub struct Responses<'a> {
    /// The items that came before those of the request: a JSON list, or empty.
    pub history: &'a [u8],
    pub item: &'a Kept<'a>,
}

/// Whether a body that was sent as a chat completions request is one of this API: Cursor sends such.
pub fn is_meant(body: &Envelope) -> bool {
    body.has("input") && !body.has("messages")
}

/// What OpenAI calls otherwise in its other API.
const FIELDS: &[(&str, &str)] = &[
    ("reasoning_effort", "reasoning.effort"),
    ("response_format.json_schema", "text.format"),
    ("response_format", "text.format"),
    ("max_completion_tokens", "max_output_tokens"),
    ("max_tokens", "max_output_tokens"),
];

/// This API's name of a field that families and upstreams know by that of chat completions.
pub fn field(path: &str) -> Cow<'_, str> {
    renamed(path, FIELDS)
}

impl Responses<'_> {
    /// Reads a request to make a conversation shorter.
    pub fn decode_compact(&self, body: &Envelope) -> Result<Asked, Error> {
        compact::decode(body, self)
    }
}

impl ClientDialect for Responses<'_> {
    fn decode(&self, body: &Envelope) -> Result<Asked, Error> {
        request::decode(body, self)
    }

    fn check(&self, body: &Envelope) -> Result<(), Error> {
        request::check(body)
    }
}
