//! Answers that need no AI Core: health, readiness, lists of models, request ids.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::dialect::{ClientDialect, Dialect, ReplyHead, anthropic, openai_chat};
use crate::envelope::Envelope;
use crate::error::Error;
use crate::models::Models;

/// The longest request id of a client's own that is kept.
const REQUEST_ID_CHARS_MAX: usize = 128;

/// `GET /health`: the process answers.
pub fn health() -> String {
    json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}).to_string()
}

/// `GET /ready`: a token can be had, and a model is configured. Names no detail: it needs no key.
pub fn ready(models: &Models, token: Result<(), Error>) -> (u16, String) {
    let problem = if models.all().is_empty() {
        Some("no model is configured")
    } else if token.is_err() {
        Some("no access token can be had from SAP; the log says why")
    } else {
        None
    };
    match problem {
        None => (200, json!({"status": "ready"}).to_string()),
        Some(why) => (503, json!({"status": "not ready", "reason": why}).to_string()),
    }
}

/// `GET /v1/models`.
pub fn models(models: &Models, dialect: Dialect) -> String {
    let listed = models.listed();
    match dialect {
        Dialect::OpenAi => {
            let names: Vec<_> = listed.iter().map(|(n, m)| (*n, m.family.owner)).collect();
            openai_chat::model_list(&names)
        }
        Dialect::Anthropic => {
            let names: Vec<_> = listed.iter().map(|(n, _)| *n).collect();
            anthropic::model_list(&names)
        }
    }
}

/// `GET /v1/models/{id}`; 404 where there is none of this name.
pub fn model(models: &Models, name: &str, dialect: Dialect) -> Result<String, Error> {
    let model = models.find(name)?;
    Ok(match dialect {
        Dialect::OpenAi => openai_chat::model(name, model.family.owner),
        Dialect::Anthropic => anthropic::model(name),
    })
}

/// `POST /v1/messages/count_tokens`: AI Core has nothing of the kind, so it is an estimate.
pub fn count(mut body: Envelope) -> Result<String, Error> {
    if !body.has("max_tokens") {
        body.set("max_tokens", "1");
    }
    anthropic::Messages.check(&body)?;
    let asked = anthropic::Messages.decode(&body)?;
    let count = asked.request.bytes() / 4;
    Ok(json!({"input_tokens": count}).to_string())
}

/// What a reply says of itself: a new id, now, and the name the client used.
pub fn reply_head(model: &str) -> ReplyHead {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let id = request_id(None).replace("req_", "");
    ReplyHead { id, created: now.as_secs(), model: model.to_owned() }
}

/// The client's own id where it is a fit one, otherwise a new one.
pub fn request_id(client: Option<&str>) -> String {
    static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let fits = |id: &&str| {
        (1..=REQUEST_ID_CHARS_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
    };
    match client.filter(fits) {
        Some(id) => id.to_owned(),
        None => {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            format!("req_{:016x}{:08x}", SEED.hash_one(count), count as u32)
        }
    }
}
