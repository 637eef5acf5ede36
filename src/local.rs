//! Answers that need no AI Core: health, readiness, lists of models, request ids.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::catalogue::{Catalogue, Entry};
use crate::dialect::anthropic::{Listed, Page};
use crate::dialect::{Dialect, Facts, ReplyHead, anthropic, openai_chat};
use crate::envelope::Envelope;
use crate::error::Error;
use crate::families::claude::Version;
use crate::models::{Model, Models, long_context};
use crate::{estimate, families, routes};

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
pub fn models(
    models: &Models,
    catalogue: &Catalogue,
    dialect: Dialect,
    target: &str,
) -> Result<String, Error> {
    match dialect {
        Dialect::OpenAi | Dialect::Responses => {
            let listed = models.listed();
            let shown = listed.iter().map(|(n, m)| (*n, m.family.owner, facts(m, catalogue)));
            Ok(openai_chat::model_list(&shown.collect::<Vec<_>>()))
        }
        Dialect::Anthropic => {
            let page = Page::of(&routes::query(target))?;
            anthropic::model_list(&for_anthropic(models, catalogue), &page)
        }
    }
}

/// Models as clients of Anthropic's know them, each under names that lead to it. Claude Code offers what begins with `claude`
/// or `anthropic`, and knows by the vendor's names what a Claude can do; so other models are there under a name of that
/// kind, too.
fn for_anthropic(models: &Models, catalogue: &Catalogue) -> Vec<Listed> {
    let mut all: Vec<Listed> = vec![];
    for (name, model) in models.listed() {
        let leads_here =
            |id: &String| models.find(id).is_ok_and(|(found, _)| std::ptr::eq(found, model));
        let vendors = claude(name, model).map(Version::vendors_name).filter(leads_here);
        let is_offered = ["claude", "anthropic"].iter().any(|start| name.starts_with(start));
        let second = (vendors.is_none() && !is_offered && chats(model))
            .then(|| format!("anthropic--{name}"))
            .filter(leads_here);
        for id in [Some(vendors.unwrap_or_else(|| name.to_owned())), second].into_iter().flatten() {
            if all.iter().all(|known| known.id != id) {
                let display_name = display_name(&id, model);
                all.push(Listed { id, display_name, facts: facts(model, catalogue) });
            }
        }
    }
    all
}

/// What SAP's catalogue says of what is deployed.
fn facts(model: &Model, catalogue: &Catalogue) -> Facts {
    let model = model.known().unwrap_or(model);
    catalogue.find(model.deployed_name()).map(Entry::facts).unwrap_or_default()
}

/// For people: what the model is, and for an alias what it leads to.
fn display_name(id: &str, model: &Model) -> String {
    let id = long_context(id).0;
    let own = claude(&model.name, model).map(Version::display_name);
    if !families::is_same(&model.name, id) {
        let own = own.unwrap_or_else(|| model.name.clone());
        return format!("{} ({own})", id.strip_prefix("anthropic--").unwrap_or(id));
    }
    own.unwrap_or_else(|| match id == model.name {
        true => model.name.clone(),
        false => format!("{} (SAP AI Core)", model.name),
    })
}

/// The version that a name says, where the model is a Claude.
fn claude(name: &str, model: &Model) -> Option<Version> {
    let family = model.known().unwrap_or(model).family;
    Version::named(name).filter(|_| family.name == "claude")
}

/// By orchestration there are models of every kind; of these the deployed name tells.
fn chats(model: &Model) -> bool {
    let model = model.known().unwrap_or(model);
    let family = match model.family.name {
        "orchestration" => families::of_model(model.deployed_name()),
        _ => model.family,
    };
    family.service.as_ref().is_some_and(|service| service.grammar.is_some())
}

/// `GET /v1/models/{id}`; 404 where there is none of this name.
pub fn model(
    models: &Models,
    catalogue: &Catalogue,
    name: &str,
    dialect: Dialect,
) -> Result<String, Error> {
    let (model, _) = models.find(name)?;
    let facts = facts(model, catalogue);
    Ok(match dialect {
        Dialect::OpenAi | Dialect::Responses => {
            openai_chat::model(name, model.family.owner, &facts)
        }
        Dialect::Anthropic => anthropic::model(&Listed {
            id: name.to_owned(),
            display_name: display_name(name, model),
            facts,
        }),
    })
}

/// `POST /v1/messages/count_tokens`: AI Core has nothing of the kind, so it is an estimate.
pub fn count(body: &Envelope, model: &Model) -> Result<String, Error> {
    let request = anthropic::Messages.counted(body)?;
    let count = estimate::request(&request, families::vocabulary(model.deployed_name()));
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
