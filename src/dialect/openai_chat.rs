//! OpenAI's chat completions: errors, the list of models, and both halves of the grammar.

mod pass;
mod reply;
mod request;

use serde_json::json;

pub use pass::{PassStream, pass_reply};
pub use reply::{ReplyStream, encode_reply};
pub use request::{Asked, decode};

use crate::error::{Error, Kind};

/// `{"error":{"message","type","param","code"}}`.
pub fn error_body(error: &Error) -> String {
    let kind = match error.kind() {
        Kind::InvalidRequest | Kind::Authentication | Kind::NotFound | Kind::TooLarge => {
            "invalid_request_error"
        }
        Kind::Permission => "permission_error",
        Kind::RateLimit => "rate_limit_error",
        Kind::Overloaded | Kind::Timeout | Kind::Server => "server_error",
    };
    json!({
        "error": {
            "message": error.to_string(),
            "type": kind,
            "param": error.param(),
            "code": error.code(),
        }
    })
    .to_string()
}

/// `GET /v1/models`.
pub fn model_list(names: &[(&str, &str)]) -> String {
    let data: Vec<_> = names.iter().map(|(name, owner)| model_json(name, owner)).collect();
    json!({"object": "list", "data": data}).to_string()
}

/// `GET /v1/models/{id}`.
pub fn model(name: &str, owner: &str) -> String {
    model_json(name, owner).to_string()
}

/// AI Core does not say since when a model exists, so `created` is 0.
fn model_json(name: &str, owner: &str) -> serde_json::Value {
    json!({"id": name, "object": "model", "created": 0, "owned_by": owner})
}
