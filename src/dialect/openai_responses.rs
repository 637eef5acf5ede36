//! OpenAI's Responses API: both halves of the grammar, and what passes.

pub mod freeform;
pub mod kept;
pub mod marks;
mod pass;
mod reply;
mod request;
mod sealed;
pub mod tools;
mod upstream;

pub use pass::{PassStream, pass_reply, settle_compact};
pub use reply::{Writer, failure};
pub use request::check;
pub use tools::Tools;
pub use upstream::Create;

use crate::dialect::{Asked, ClientDialect};
use crate::envelope::Envelope;
use crate::error::Error;

/// The Responses API, as clients speak it.
pub struct Responses<'a> {
    /// The items that came before those of the request: a JSON list, or empty.
    pub history: &'a [u8],
    /// The JSON of an item that is kept here, by its id.
    pub item: &'a dyn Fn(&str) -> Option<String>,
}

/// Whether a body that was sent as a chat completions request is one of this API: Cursor sends such.
pub fn is_meant(body: &Envelope) -> bool {
    body.has("input") && !body.has("messages")
}

impl Responses<'_> {
    /// Reads a request to make a conversation shorter.
    pub fn decode_compact(&self, _body: &Envelope) -> Result<Asked, Error> {
        Err(Error::Internal)
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
