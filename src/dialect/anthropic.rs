//! Anthropic's API: its errors, its list of models, and Claude's half of the grammar.

mod pass;
mod reply;
mod request;
mod upstream;

use serde_json::json;

pub use pass::{PassStream, pass_reply};
pub use upstream::Invoke;

use crate::chat::Reply;
use crate::dialect::{Asked, ClientDialect, ReplyHead, StreamEncoder};
use crate::envelope::Envelope;
use crate::error::{Error, Kind};

/// Stands where the signature of a thought has to be that no Claude has signed, another family's.
pub const UNSIGNED: &str = "c2FwLWFpLWNvcmUtbGxtLXByb3h5";

/// The Messages API, as clients speak it.
#[derive(Debug)]
pub struct Messages;

impl ClientDialect for Messages {
    fn decode(&self, body: &Envelope) -> Result<Asked, Error> {
        request::decode(body)
    }

    fn encode(&self, reply: &Reply, head: &ReplyHead) -> Vec<u8> {
        reply::encode(reply, head)
    }

    fn stream_encoder(&self, head: &ReplyHead, _wants_usage: bool) -> Box<dyn StreamEncoder> {
        Box::new(reply::Stream::new(head))
    }
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
    json!({
        "type": "error",
        "error": {"type": kind, "message": error.to_string()},
        "request_id": request_id,
    })
    .to_string()
}

/// `GET /v1/models` as Anthropic's SDKs read it.
pub fn model_list(names: &[&str]) -> String {
    json!({
        "data": names.iter().map(|n| model_json(n)).collect::<Vec<_>>(),
        "has_more": false,
        "first_id": names.first(),
        "last_id": names.last(),
    })
    .to_string()
}

/// `GET /v1/models/{id}`.
pub fn model(name: &str) -> String {
    model_json(name).to_string()
}

/// AI Core does not say since when a model exists, so the date is the epoch.
fn model_json(name: &str) -> serde_json::Value {
    json!({
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": "1970-01-01T00:00:00Z",
    })
}
