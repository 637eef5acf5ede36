//! OpenAI's chat completions: errors, the list of models, and both halves of the grammar.

mod mend;
mod orchestration;
mod pass;
mod reply;
mod request;
pub mod upstream;

use serde::Deserialize;
use serde_json::{Value, json};

pub use mend::Quirks;
pub use orchestration::Orchestration;
pub use pass::{PassStream, pass_reply};
pub use reply::Writer;
pub use upstream::Chat;

use crate::chat::Usage;
use crate::dialect::{Asked, ClientDialect, Facts};
use crate::envelope::Envelope;
use crate::error::{Error, Kind};
use crate::sse::Frame;

/// Chat completions, as clients speak it.
#[derive(Debug)]
pub struct ChatCompletions;

impl ClientDialect for ChatCompletions {
    fn decode(&self, body: &Envelope) -> Result<Asked, Error> {
        request::decode(body)
    }
}

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

/// `GET /v1/models`: of each its name, its owner and what else is known.
pub fn model_list(models: &[(&str, &str, Facts)]) -> String {
    let models = models.iter().map(|(name, owner, facts)| model_json(name, owner, facts));
    json!({"object": "list", "data": models.collect::<Vec<_>>()}).to_string()
}

/// `GET /v1/models/{id}`.
pub fn model(name: &str, owner: &str, facts: &Facts) -> String {
    model_json(name, owner, facts).to_string()
}

/// AI Core does not say since when a model exists, so `created` is 0. The day it ends has a word of OpenAI's, too.
fn model_json(name: &str, owner: &str, facts: &Facts) -> Value {
    let mut json = json!({"id": name, "object": "model", "created": 0, "owned_by": owner});
    facts.add_to(&mut json);
    if !facts.capabilities.is_empty() {
        json["capabilities"] = json!(facts.capabilities);
    }
    if let Some(day) = &facts.retirement_date {
        json["shutdown_date"] = json!(day);
    }
    json
}

/// The data of a frame; one without may be a bare JSON body. Comments and empty fields are nothing.
fn data_of<'a>(frame: &'a Frame<'_>) -> &'a [u8] {
    let is_field = |line: &[u8]| {
        let line = line.trim_ascii_end();
        [&b""[..], b"event", b"id", b"retry", b"data"].iter().any(|name| {
            line.strip_prefix(*name).is_some_and(|rest| rest.is_empty() || rest.starts_with(b":"))
        })
    };
    match frame.data.trim_ascii() {
        b"" if frame.raw.split(|b| *b == b'\n').all(is_field) => b"",
        b"" => frame.raw,
        data => data,
    }
}

#[derive(Debug, Deserialize)]
struct WireUsage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Debug, Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
    /// Claude's, by orchestration: written to the cache.
    cache_creation_tokens: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct CompletionDetails {
    reasoning_tokens: Option<u64>,
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Usage {
        let details = wire.prompt_tokens_details;
        Usage {
            input: wire.prompt_tokens,
            cached: details.as_ref().and_then(|d| d.cached_tokens).unwrap_or(0),
            cache_written: details.and_then(|d| d.cache_creation_tokens).unwrap_or(0),
            output: wire.completion_tokens,
            reasoning: wire.completion_tokens_details.and_then(|d| d.reasoning_tokens).unwrap_or(0),
        }
    }
}
