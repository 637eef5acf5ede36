//! Anthropic's API: its errors, its list of models, and both halves of the grammar.

mod models;
mod pass;
mod reply;
mod request;
mod upstream;

use std::borrow::Cow;

use serde_json::json;

pub use models::{Listed, Page, model, model_list};
pub use pass::{PassStream, pass_reply};
pub use reply::Writer;
pub use upstream::Invoke;

use crate::chat::Request;
use crate::dialect::reading::renamed;
use crate::dialect::{Asked, ClientDialect};
use crate::envelope::Envelope;
use crate::error::{Error, Kind};

/// Stands where the signature of a thought has to be that no Claude has signed, another family's.
pub const UNSIGNED: &str = "c2FwLWFpLWNvcmUtbGxtLXByb3h5";

/// How the line begins in which Claude Code tells Anthropic its version and a checksum of the request: no instruction to
/// anyone, and since it stands first and is never the same, nothing after it would be found in a vendor's cache.
pub const BILLING: &str = "x-anthropic-billing-header:";

/// The Messages API, as clients speak it.
#[derive(Debug)]
pub struct Messages;

impl Messages {
    /// A request that is to be counted: it says nothing of its reply.
    pub fn counted(&self, body: &Envelope) -> Result<Request, Error> {
        self.check(body)?;
        request::asked(body)
    }
}

impl ClientDialect for Messages {
    fn decode(&self, body: &Envelope) -> Result<Asked, Error> {
        request::decode(body)
    }

    /// Where conversations are kept, requests bring only what is new in them. The newest SDKs ask for that, and go without
    /// it once they are told by this error's code.
    fn check(&self, body: &Envelope) -> Result<(), Error> {
        if body.raw(THREAD).is_none_or(|thread| thread == b"null") {
            return Ok(());
        }
        let what = "conversations are not kept here; send the whole of it with each request.";
        Err(Error::Refused { path: THREAD.into(), what: what.into() })
    }
}

const THREAD: &str = "thread";

/// What OpenAI and Anthropic call otherwise.
const FIELDS: &[(&str, &str)] = &[
    ("reasoning_effort", "thinking"),
    ("response_format.json_schema", "output_config.format"),
    ("response_format", "output_config.format"),
    ("stop", "stop_sequences"),
    ("max_completion_tokens", "max_tokens"),
    ("user", "metadata.user_id"),
    ("parallel_tool_calls", "tool_choice.disable_parallel_tool_use"),
];

/// Anthropic's name of a field that families and upstreams know by OpenAI's.
pub fn field(path: &str) -> Cow<'_, str> {
    renamed(path, FIELDS)
}

/// `{"type":"error","error":{"type","message"},"request_id"}`.
pub fn error_body(error: &Error, request_id: &str) -> String {
    let kind = match error.kind() {
        Kind::InvalidRequest => "invalid_request_error",
        Kind::Authentication => "authentication_error",
        Kind::Permission => "permission_error",
        Kind::NotFound => "not_found_error",
        Kind::TooLarge => "request_too_large",
        Kind::RateLimit => "rate_limit_error",
        Kind::Overloaded => "overloaded_error",
        Kind::Timeout => "timeout_error",
        Kind::Server => "api_error",
    };
    let mut inner = json!({"type": kind, "message": error.to_string()});
    if matches!(error, Error::Refused { path, .. } if path == THREAD) {
        inner["details"] = json!({"error_code": "thread_unsupported_request", "unsupported": []});
    }
    json!({"type": "error", "error": inner, "request_id": request_id}).to_string()
}
