//! Requests of Anthropic's own clients, as the client wrote them, but for what Bedrock's invoke refuses of them (dossier
//! 5b.2, 5b.6, 5b.7). What needs no edit stays verbatim; the messages are only read where a look at their bytes says so.
//!
//! What takes nothing from the request goes in silence: `metadata`, beta flags, thoughts of another vendor's model, Claude
//! Code's line for Anthropic. All else is named.
//!
//! Left open: whether invoke takes `tool_use` blocks without `tools`, as Anthropic does, and a `cache_control` of the whole
//! request, which is put where it means: to the last block.

mod betas;
mod blank;
mod blocks;
mod marks;
mod thinking;
mod tools;
mod turns;
mod urls;

use std::borrow::Cow;

pub use urls::each_url;

use super::Version;
use crate::dialect::anthropic::BILLING;
use crate::envelope::{Envelope, field, header_safe, items, listed, quoted};
use crate::error::Error;
use crate::families::Dropped;

/// What is known of a request besides its body.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The deployed model's name.
    pub model: &'a str,
    /// The header `anthropic-beta`.
    pub betas: Option<&'a str>,
    /// Whether the name ended in `[1m]`.
    pub is_long_context: bool,
}

/// Makes a Messages request one that this deployment takes by `/invoke`. Gives what it had to leave out. A wish for an
/// answer of a given form (`output_config.format`, `output_format`) is not looked at.
pub fn pass(body: &mut Envelope, asked: &Asked<'_>) -> Result<Dropped, Error> {
    let version = Version::of(asked.model);
    let mut lost = Lost::default();
    let betas = betas::wanted(body, asked)?;
    let mark = marks::of_all(body, version);
    settle_fields(body, &mut lost);
    tools::settle(body, version, &mut lost);
    settle_system(body, version, &mut lost);
    let end = turns::settle(body, version, &mut lost)?;
    settle_output_max(body, version, &mut lost);
    settle_choice(body, version, &mut lost);
    thinking::settle(body, version, end.thought, &mut lost);
    settle_sampling(body, version, &mut lost);
    settle_stop(body, &mut lost);
    if end.is_assistants {
        turns::settle_ending(body, version);
    }
    if let Some(mark) = mark {
        marks::settle(body, mark, version, &mut lost);
    }
    betas::settle(body, betas, asked, &mut lost);
    Ok(lost.0)
}

/// A body of our own making, with the wish for a context of a million tokens, where a flag opens it.
pub fn lengthened(body: Vec<u8>, model: &str) -> Result<(Vec<u8>, Dropped), Error> {
    let mut body = Envelope::parse(body)?;
    let mut lost = Lost::default();
    let asked = Asked { model, betas: None, is_long_context: true };
    betas::settle(&mut body, vec![], &asked, &mut lost);
    Ok((body.into_bytes(), lost.0))
}

/// JSON paths of what a request lost, each once. Of very many, the first.
#[derive(Debug, Default)]
struct Lost(Dropped);

impl Lost {
    fn add(&mut self, path: impl Into<Cow<'static, str>>) {
        const NAMES_MAX: usize = 50;
        let path = path.into();
        if self.0.len() < NAMES_MAX && !self.0.contains(&path) {
            self.0.push(path);
        }
    }
}

/// What Bedrock takes; of all else it says `Extra inputs are not permitted`.
#[rustfmt::skip]
const TAKEN: &[&str] = &[
    "anthropic_version", "anthropic_beta", "max_tokens", "messages", "system", "tools", "tool_choice",
    "temperature", "top_p", "top_k", "stop_sequences", "thinking", "output_config",
];
/// What goes without a word: it is said in another way, or says nothing to the model.
const SILENT: &[&str] = &["model", "stream", "metadata", "betas"];

fn settle_fields(body: &mut Envelope, lost: &mut Lost) {
    const VERSION: &str = r#""bedrock-2023-05-31""#;
    body.retain(|key, value| {
        let is_taken = value != b"null" && TAKEN.contains(&key);
        let is_missed = value != b"null" && !is_taken && !SILENT.contains(&key);
        if is_missed && !(key == "context_management" && is_idle(value)) {
            lost.add(header_safe(key));
        }
        is_taken
    });
    if body.raw("anthropic_version") != Some(VERSION.as_bytes()) {
        body.set("anthropic_version", VERSION);
    }
}

/// Whether this context management, as Claude Code sends it always, only forgets thoughts.
fn is_idle(management: &[u8]) -> bool {
    let management = Envelope::parse(management.to_vec()).unwrap_or_default();
    let is_of_thoughts = |edit: &Envelope| kind(edit).starts_with("clear_thinking_");
    let has_no_other = management.keys().all(|key| key == "edits");
    has_no_other && management.list("edits").is_none_or(|edits| edits.iter().all(is_of_thoughts))
}

/// The word that tells what an object is.
fn kind(object: &Envelope) -> String {
    object.get("type", "a string").ok().flatten().unwrap_or_default()
}

/// A text, or blocks of text.
fn settle_system(body: &mut Envelope, version: Version, lost: &mut Lost) {
    let Some(system) = body.raw("system") else { return };
    let marked = if version.caches() { &b"\"scope\""[..] } else { b"\"cache_control\"" };
    let has = |sign: &[u8]| memchr::memmem::find(system, sign).is_some();
    let is_concerned = has(marked) || has(BILLING.as_bytes()) || blank::is_in(system);
    if !is_concerned && !blank::is_blank(system) {
        return;
    }
    let blocks = items(system).map(|mut blocks| {
        blocks.retain(|block| !is_billing(block));
        blocks::texts(&blocks, version, lost)
    });
    match blocks {
        Some(blocks) if !blocks.is_empty() => {
            let system = listed(&blocks);
            body.set_raw("system", system);
        }
        None if !blank::is_blank(system) => {}
        _ => {
            body.remove("system");
        }
    }
}

/// Whether a block only has Claude Code's line for Anthropic.
fn is_billing(block: &[u8]) -> bool {
    let text = field(block, "text").and_then(|text| text.strip_prefix(b"\""));
    text.is_some_and(|text| {
        let is_one_line = memchr::memmem::find(text, b"\\n").is_none();
        text.starts_with(BILLING.as_bytes()) && is_one_line
    })
}

/// A limit above the model's own is refused.
fn settle_output_max(body: &mut Envelope, version: Version, lost: &mut Lost) {
    if output_max(body).is_some_and(|max| max > version.output_max()) {
        body.set("max_tokens", version.output_max().to_string());
        lost.add("max_tokens");
    }
}

fn output_max(body: &Envelope) -> Option<u64> {
    body.get("max_tokens", "a number").ok().flatten()
}

/// As for other clients: who always thinks is asked in words to call a tool.
fn settle_choice(body: &mut Envelope, version: Version, lost: &mut Lost) {
    if !version.always_thinks() || !tools::is_forced(body) {
        return;
    }
    let mut wish = "Answer by calling one of the tools.".to_owned();
    body.edit_in("tool_choice", |choice| {
        if let Ok(Some(name)) = choice.get::<String>("name", "a string") {
            wish = format!("Answer by calling the tool {name}.");
        }
        choice.remove("name");
        choice.set("type", r#""auto""#);
    });
    let wish = format!(r#"{{"type":"text","text":{}}}"#, quoted(&wish));
    append_system(body, &[wish.as_bytes()]);
    lost.add("tool_choice");
}

/// Puts blocks behind what the system says.
fn append_system(body: &mut Envelope, blocks: &[&[u8]]) {
    let text = |text: &[u8]| [br#"{"type":"text","text":"#, text, b"}"].concat();
    let own: Vec<Vec<u8>> = match body.raw("system") {
        None => vec![],
        Some(list) => match items(list) {
            Some(blocks) => blocks.iter().map(|block| block.to_vec()).collect(),
            None => vec![text(list)],
        },
    };
    let all: Vec<&[u8]> = own.iter().map(Vec::as_slice).chain(blocks.iter().copied()).collect();
    body.set_raw("system", listed(&all));
}

fn settle_sampling(body: &mut Envelope, version: Version, lost: &mut Lost) {
    let number = |key: &str| body.get::<f64>(key, "a number").ok().flatten();
    let is_thinking = thinking::is_on(body);
    let is_hot = number("temperature").is_some_and(|t| t != 1.0);
    let is_low = number("top_p").is_some_and(|p| p < 0.95);
    let only_adapts = version.only_adapts();
    let is_cold = only_adapts || (is_thinking && is_hot);
    let has_both = !is_cold && body.has("temperature") && version.is_from(4, 1);
    let refused = [
        ("temperature", is_cold),
        ("top_p", only_adapts || (is_thinking && is_low) || has_both),
        ("top_k", only_adapts || is_thinking),
    ];
    for (key, _) in refused.into_iter().filter(|(_, is_refused)| *is_refused) {
        if body.remove(key) {
            lost.add(key);
        }
    }
}

/// A sequence of white space is refused.
fn settle_stop(body: &mut Envelope, lost: &mut Lost) {
    const KEY: &str = "stop_sequences";
    let Some(mut sequences) = body.raw(KEY).and_then(items) else { return };
    let count = sequences.len();
    sequences.retain(|sequence| !blank::is_blank(sequence));
    if sequences.len() == count {
        return;
    }
    lost.add(KEY);
    if sequences.is_empty() {
        body.remove(KEY);
        return;
    }
    let sequences = listed(&sequences);
    body.set_raw(KEY, sequences);
}

#[cfg(test)]
mod tests;
