//! Requests of clients of the Responses API, as the client wrote them, but for what AI Core refuses of them (dossier 5a):
//! tools other than functions, items of the input that only OpenAI's own servers know, sampling. What needs no edit stays
//! verbatim.
//!
//! Left open by the dossier: which fields of OpenAI's API AI Core does not know; what it refuses besides these is healed.

mod items;
mod tools;

use std::borrow::Cow;

use super::super::{Reasoning, SAMPLING};
use crate::dialect::openai_responses::Tools;
use crate::envelope::{self, Envelope, field, header_safe, listed};
use crate::error::Error;
use crate::families::Dropped;

/// Makes a client's request one that AI Core takes. Gives what it had to leave out, and how the client's tools are called
/// upstream.
pub fn edit(body: &mut Envelope, model: &str) -> Result<(Dropped, Tools), Error> {
    let mut lost = Lost::default();
    for key in UNKNOWN.iter().filter(|key| body.remove(key)) {
        lost.add(*key);
    }
    settle_sampling(body, model, &mut lost);
    let tools = tools::settle(body, &mut lost);
    items::settle(body, &mut lost);
    Ok((lost.0, tools))
}

/// What AI Core does not know.
const UNKNOWN: &[&str] = &["client_metadata"];
/// Asks for probabilities, which are sampling's.
const LOGPROBS: &[u8] = br#""message.output_text.logprobs""#;

/// Left open: gpt-5.1 and later take sampling parameters while they do not reason, by the vendor's rule.
fn settle_sampling(body: &mut Envelope, model: &str, lost: &mut Lost) {
    let reasoning = Reasoning::of(model);
    let effort = body.raw("reasoning").and_then(|reasoning| field(reasoning, "effort"));
    if !reasoning.is_on() || (reasoning.is_from((5, 1)) && effort == Some(b"\"none\"")) {
        return;
    }
    for key in SAMPLING.iter().filter(|key| body.remove(key)) {
        lost.add(*key);
    }
    let Some(mut include) = body.raw("include").and_then(envelope::items) else { return };
    let count = include.len();
    include.retain(|wish| *wish != LOGPROBS);
    if include.len() < count {
        let include = listed(&include);
        body.set_raw("include", include);
        lost.add("include[]");
    }
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

    /// One of a list.
    fn add_of_type(&mut self, list: &str, kind: &str) {
        self.add(format!("{list}[] of type {}", header_safe(kind)));
    }
}

/// The string at a key.
fn text(object: &Envelope, key: &str) -> Option<String> {
    object.get(key, "a string").ok().flatten()
}
