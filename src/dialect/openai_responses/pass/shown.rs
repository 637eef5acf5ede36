//! What AI Core calls otherwise than its clients.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::super::tools::{CLIENT, Origin, ToolKind, Tools, search_arguments};
use super::super::{freeform, marks};
use crate::envelope::{Envelope, field, items, listed, quoted};

/// How replies to one request are to look: the client's name of the model, ids with the deployment's mark, the client's own
/// tools.
#[derive(Debug)]
pub struct Shown {
    model_json: String,
    tools: Tools,
    mark: String,
}

impl Shown {
    pub fn new(model: &str, tools: &Tools, mark: &str) -> Shown {
        Shown { model_json: quoted(model), tools: tools.clone(), mark: mark.to_owned() }
    }

    /// A response, or a list of items.
    pub fn edit(&self, response: &mut Envelope) {
        for key in ["id", "previous_response_id", "response_id", "first_id", "last_id"] {
            self.edit_id(response, key);
        }
        if response.raw("model").is_some_and(|model| model.starts_with(b"\"")) {
            response.set("model", self.model_json.as_str());
        }
        for key in ["output", "data"] {
            if let Some(items) = response.raw(key).and_then(items)
                && let Some(edited) = self.edited(items)
            {
                response.set_raw(key, edited);
            }
        }
        for (key, json) in self.tools.told() {
            if response.has(key) {
                response.set_raw(key, json);
            }
        }
    }

    /// `None` where all stay as they are.
    fn edited(&self, items: Vec<&[u8]>) -> Option<Vec<u8>> {
        let edited = |raw| {
            let Ok(mut item) = Envelope::parse(Vec::from(raw)) else { return Cow::Borrowed(raw) };
            self.edit_item(&mut item);
            if item.is_edited() { item.into_bytes().into() } else { Cow::Borrowed(raw) }
        };
        let items: Vec<_> = items.into_iter().map(edited).collect();
        items.iter().any(|item| matches!(item, Cow::Owned(_))).then(|| listed(&items))
    }

    /// An item of a response's output.
    pub fn edit_item(&self, item: &mut Envelope) {
        self.edit_id(item, "id");
        if let Some(content) = item.raw("encrypted_content").and_then(inner) {
            let content = [b"\"", self.mark.as_bytes(), b".", content, b"\""].concat();
            item.set_raw("encrypted_content", content);
        }
        let Some(origin) = self.origin(item.raw("type"), item.raw("name")) else { return };
        item.set("name", quoted(&origin.name));
        if let Some(namespace) = &origin.namespace {
            item.set("namespace", quoted(namespace));
        }
        let arguments = item.get::<String>("arguments", "a string").ok().flatten();
        let arguments = arguments.unwrap_or_default();
        match origin.kind {
            ToolKind::Function => {}
            ToolKind::Custom => {
                item.set("type", "\"custom_tool_call\"");
                item.rename("arguments", "input");
                item.set("input", quoted(&freeform::text(&arguments)));
                self.rename_id(item, "id", "ctc_");
            }
            ToolKind::Search => {
                item.set("type", "\"tool_search_call\"");
                item.remove("name");
                item.set("arguments", search_arguments(&arguments));
                item.set("execution", quoted(CLIENT));
                self.rename_id(item, "id", "tsc_");
            }
        }
    }

    /// What kind of tool an item calls.
    pub fn kind(&self, item: &[u8]) -> ToolKind {
        let origin = self.origin(field(item, "type"), field(item, "name"));
        origin.map_or(ToolKind::Function, |origin| origin.kind)
    }

    /// The tool that is called, where the client knows it by another name or kind.
    fn origin(&self, kind: Option<&[u8]>, name: Option<&[u8]>) -> Option<&Origin> {
        let name = name.filter(|_| kind == Some(br#""function_call""#))?;
        self.tools.origin(&serde_json::from_slice::<String>(name).ok()?)
    }

    /// Puts the mark into the id at `key`.
    pub fn edit_id(&self, object: &mut Envelope, key: &str) {
        let Some(id) = object.raw(key).and_then(inner) else { return };
        let mut marked = Vec::with_capacity(id.len() + 16);
        marked.push(b'"');
        self.write_marked(id, &mut marked);
        marked.push(b'"');
        object.set_raw(key, marked);
    }

    /// The id of a function's call as that of another tool's.
    pub fn rename_id(&self, object: &mut Envelope, key: &str, begins: &str) {
        let id = object.raw(key).and_then(|id| id.strip_prefix(b"\"fc_"));
        if let Some(id) = id.map(|rest| [b"\"", begins.as_bytes(), rest].concat()) {
            object.set_raw(key, id);
        }
    }

    /// Appends an event with the mark in its `item_id`. Every quote inside a JSON string is escaped, so it can only be a key
    /// that is found.
    pub fn write_item_id(&self, event: &[u8], out: &mut Vec<u8>) {
        static KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#""item_id":""#));
        let Some(at) = KEY.find(event) else { return out.extend_from_slice(event) };
        let (before, id) = event.split_at(at + KEY.needle().len());
        out.extend_from_slice(before);
        if id.starts_with(b"\"") { out.extend_from_slice(id) } else { self.write_marked(id, out) }
    }

    fn write_marked(&self, id: &[u8], out: &mut Vec<u8>) {
        let (at, before) = marks::place(id);
        for part in [&id[..at], before.as_bytes(), self.mark.as_bytes(), b"_", &id[at..]] {
            out.extend_from_slice(part);
        }
    }
}

/// What is between the quotes of a JSON string, if anything is.
fn inner(json: &[u8]) -> Option<&[u8]> {
    json.strip_prefix(b"\"")?.strip_suffix(b"\"").filter(|inner| !inner.is_empty())
}
