//! What deployments keep of their responses. Each knows its own only, and the latest of them.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

use serde_json::{Value, json};

use super::super::super::{Answer, Deployment, lock};

/// Of all deployments, by their ids.
#[derive(Default)]
pub(in crate::demo) struct Kept {
    of: HashMap<String, VecDeque<Entry>>,
}

pub(super) struct Entry {
    pub id: String,
    pub previous: Option<String>,
    /// Without what came of the previous response.
    pub input: Vec<Value>,
    /// As it is in the end.
    pub response: Value,
    pub stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Stage {
    Queued,
    InProgress,
    Cancelled,
    Done,
}

impl Entry {
    /// As its stage has it.
    pub fn shown(&self) -> Value {
        let mut shown = self.response.clone();
        let status = match self.stage {
            Stage::Done => return shown,
            Stage::Queued => "queued",
            Stage::InProgress => "in_progress",
            Stage::Cancelled => "cancelled",
        };
        shown["status"] = json!(status);
        shown["output"] = json!([]);
        for key in ["completed_at", "incomplete_details", "usage"] {
            shown[key] = Value::Null;
        }
        shown
    }

    fn output(&self) -> &[Value] {
        self.response["output"].as_array().map_or(&[], Vec::as_slice)
    }
}

impl Kept {
    pub(super) fn put(&mut self, deployment: &Deployment, entry: Entry) {
        let entries = self.of.entry(deployment.id.clone()).or_default();
        entries.push_back(entry);
        while entries.len() > KEPT_MAX {
            entries.pop_front();
        }
    }

    /// `Err` is OpenAI's 404.
    pub(super) fn entry(
        &mut self,
        deployment: &Deployment,
        id: &str,
    ) -> Result<&mut Entry, Answer> {
        let entries = self.of.get_mut(&deployment.id);
        let mut entries = entries.into_iter().flatten();
        entries.find(|entry| entry.id == id).ok_or_else(|| missing(id))
    }

    pub(super) fn remove(&mut self, deployment: &Deployment, id: &str) -> Result<(), Answer> {
        self.entry(deployment, id)?;
        if let Some(entries) = self.of.get_mut(&deployment.id) {
            entries.retain(|entry| entry.id != id);
        }
        Ok(())
    }

    /// All that a deployment keeps.
    pub(in crate::demo) fn forget(&mut self, deployment: &str) {
        self.of.remove(deployment);
    }

    pub(in crate::demo) fn clear(&mut self) {
        self.of.clear();
    }

    /// All that a response was made of, what it followed included, and itself; `None` for an
    /// unknown id.
    pub(super) fn conversation(&self, deployment: &Deployment, id: &str) -> Option<Vec<Value>> {
        let last = self.find(deployment, id)?;
        Some([self.input(deployment, last), last.output().to_vec()].concat())
    }

    /// All that it was made of. What is forgotten is left out.
    pub(super) fn input(&self, deployment: &Deployment, entry: &Entry) -> Vec<Value> {
        let before = |entry: &Entry| self.find(deployment, entry.previous.as_deref()?);
        let mut pieces = vec![entry.input.as_slice()];
        let mut at = before(entry);
        while let Some(entry) = at {
            pieces.extend([entry.output(), entry.input.as_slice()]);
            at = before(entry);
        }
        pieces.reverse();
        pieces.concat()
    }

    /// What came in or went out with this id.
    pub(super) fn item(&self, deployment: &Deployment, id: &str) -> Option<&Value> {
        let items = self.entries(deployment).flat_map(|e| e.input.iter().chain(e.output()));
        items.into_iter().find(|item| item["id"] == id)
    }

    /// The id of the reasoning that an answer's item came out of: the one right before it.
    pub(super) fn reasoning_of(&self, deployment: &Deployment, id: &str) -> Option<String> {
        let mut pairs = self.entries(deployment).flat_map(|entry| entry.output().windows(2));
        let pair = pairs.find(|pair| pair[1]["id"] == id && pair[0]["type"] == "reasoning")?;
        pair[0]["id"].as_str().map(str::to_owned)
    }

    pub(super) fn find(&self, deployment: &Deployment, id: &str) -> Option<&Entry> {
        self.entries(deployment).find(|entry| entry.id == id)
    }

    fn entries(&self, deployment: &Deployment) -> impl Iterator<Item = &Entry> {
        self.of.get(&deployment.id).into_iter().flatten()
    }
}

/// A body that also holds what was said before it, where a marker may stand; `None` if nothing is
/// known of that.
pub(in crate::demo) fn spoken_before(
    kept: &Mutex<Kept>,
    deployment: &Deployment,
    body: &[u8],
) -> Option<Vec<u8>> {
    if !deployment.has_responses() {
        return None;
    }
    let body = serde_json::from_slice::<Value>(body).ok()?;
    let id = body.get("previous_response_id")?.as_str()?;
    let mut items = lock(kept).conversation(deployment, id)?;
    match body.get("input") {
        Some(Value::Array(input)) => items.extend(input.iter().cloned()),
        Some(input) => items.push(json!({"role": "user", "content": input})),
        None => {}
    }
    Some(json!({ "input": items }).to_string().into_bytes())
}

fn missing(id: &str) -> Answer {
    let error = json!({
        "message": format!("Response with id '{id}' not found."),
        "type": "invalid_request_error",
        "param": null,
        "code": null,
    });
    Answer::json(404, &json!({ "error": error }))
}

const KEPT_MAX: usize = 200;
