//! The items of the input: calls of tools as calls of the functions that they are upstream, and none that AI Core does not
//! know. A call and its result go the same way.

use std::borrow::Cow;

use super::{Lost, text};
use crate::dialect::openai_responses::tools::{
    CLIENT, DEFINING, SEARCH, function_name, search_result,
};
use crate::dialect::openai_responses::{freeform, marks, summed_up};
use crate::envelope::{Envelope, each_field, items, listed, quoted};

/// The longest id.
const ID_CHARS_MAX: usize = 64;

pub(super) fn settle(body: &mut Envelope, lost: &mut Lost) {
    let Some(all) = body.raw("input").and_then(items) else { return };
    let count = all.len();
    let mut kept = Vec::with_capacity(count);
    let mut has_lost_thought = false;
    for raw in all {
        let item = Item::of(raw);
        let settled = item.settled(has_lost_thought, lost);
        has_lost_thought = match item.kind() {
            "reasoning" => has_lost_thought || settled.is_none(),
            _ => has_lost_thought && item.is_models(),
        };
        kept.extend(settled.map(|settled| (item, settled)));
    }
    let is_edited = kept.iter().any(|(_, raw)| matches!(raw, Cow::Owned(_)));
    leave_out_idle_thoughts(&mut kept, lost);
    if kept.len() < count || is_edited {
        let input: Vec<_> = kept.into_iter().map(|(_, raw)| raw).collect();
        let input = listed(&input);
        body.set_raw("input", input);
    }
}

/// AI Core refuses a thought after which nothing of the model's comes. Codex keeps one where a stream broke behind it.
fn leave_out_idle_thoughts(kept: &mut Vec<(Item<'_>, Cow<'_, [u8]>)>, lost: &mut Lost) {
    for at in (0..kept.len()).rev() {
        let leads_on = kept.get(at + 1).is_some_and(|(next, _)| next.may_be_models());
        if kept[at].0.kind() == "reasoning" && !leads_on {
            kept.remove(at);
            lost.add(CONTENT);
        }
    }
}

/// How thoughts that are left out are named.
const CONTENT: &str = "input[].encrypted_content";

/// What is looked at of an item. Strings are as JSON writes them, without their quotes.
#[derive(Default)]
struct Item<'a> {
    raw: &'a [u8],
    kind: Option<&'a str>,
    role: Option<&'a str>,
    id: Option<&'a str>,
    content: Option<&'a str>,
    has_namespace: bool,
    /// The client runs it: a search for tools.
    is_clients: bool,
}

impl<'a> Item<'a> {
    fn of(raw: &'a [u8]) -> Item<'a> {
        let mut item = Item { raw, ..Item::default() };
        each_field(raw, |key, value| match key {
            b"type" => item.kind = string(value),
            b"role" => item.role = string(value),
            b"id" => item.id = string(value),
            b"encrypted_content" => item.content = string(value),
            b"namespace" => item.has_namespace = true,
            b"execution" => item.is_clients = string(value) == Some(CLIENT),
            _ => {}
        });
        item
    }

    fn kind(&self) -> &'a str {
        match (self.kind, self.role) {
            (Some(kind), _) => kind,
            (None, Some(_)) => "message",
            (None, None) => "item_reference",
        }
    }

    /// Whether the model made it.
    fn is_models(&self) -> bool {
        match self.kind() {
            "message" => self.role == Some("assistant"),
            "reasoning" | "function_call" | "custom_tool_call" | "local_shell_call" => true,
            "tool_search_call" => self.is_clients,
            _ => false,
        }
    }

    /// What a reference leads to only AI Core knows.
    fn may_be_models(&self) -> bool {
        self.is_models() || self.kind() == "item_reference"
    }

    /// What becomes of it: as it is, another one, or none. The ids of what came of a thought go with the thought.
    fn settled(&self, has_lost_thought: bool, lost: &mut Lost) -> Option<Cow<'a, [u8]>> {
        let goes = has_lost_thought && self.is_models();
        // Of a conversation that was with a model of another family.
        if let Some(text) = self.content.and_then(summed_up) {
            return self.edited(|item| {
                item.set("type", "\"message\"");
                item.set("role", "\"user\"");
                item.remove("encrypted_content");
                item.set("content", quoted(&text));
            });
        }
        match self.kind() {
            "item_reference" => Some(Cow::Borrowed(self.raw)),
            "message" => self.with_id("msg", goes),
            "function_call" if self.has_namespace => self.edited(flatten),
            "function_call" | "function_call_output" => self.with_id("fc", goes),
            "custom_tool_call" => self.edited(call_with_text),
            "custom_tool_call_output" => self.edited(result_of_text),
            "local_shell_call" => self.edited(call_of_shell),
            "local_shell_call_output" => self.edited(result_of_shell),
            "reasoning" | "compaction" | "compaction_summary" if self.is_readable() => {
                Some(Cow::Borrowed(self.raw))
            }
            "reasoning" | "compaction" | "compaction_summary" => {
                match self.content {
                    Some(_) => lost.add(CONTENT),
                    None => lost.add_of_type("input", self.kind()),
                }
                None
            }
            "tool_search_call" if self.is_clients => self.edited(call_of_search),
            "tool_search_output" if self.is_clients => self.edited(result_of_search),
            // Its tools are among the request's now.
            kind if DEFINING.contains(&kind) => None,
            kind => {
                lost.add_of_type("input", kind);
                None
            }
        }
    }

    /// Whether some deployment here can read it.
    fn is_readable(&self) -> bool {
        match self.content {
            Some(content) => marks::is_marked_content(content),
            None => self.is_marked(),
        }
    }

    fn is_marked(&self) -> bool {
        self.id.is_some_and(|id| marks::unmarked(id).is_some())
    }

    /// Without an id that AI Core refuses, or that has to go.
    fn with_id(&self, begins: &str, goes: bool) -> Option<Cow<'a, [u8]>> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        let is_well = |id: &str| id.starts_with(begins) && id.bytes().all(is_plain);
        let is_short = |id: &str| id.len() <= ID_CHARS_MAX || self.is_marked();
        match self.id {
            Some(id) if goes || !is_well(id) || !is_short(id) => self.edited(|_| {}),
            _ => Some(Cow::Borrowed(self.raw)),
        }
    }

    /// Without its id, and as `edit` makes it.
    fn edited(&self, edit: impl FnOnce(&mut Envelope)) -> Option<Cow<'a, [u8]>> {
        let Ok(mut item) = Envelope::parse(self.raw.to_vec()) else {
            return Some(Cow::Borrowed(self.raw));
        };
        edit(&mut item);
        item.remove("id");
        Some(Cow::Owned(item.into_bytes()))
    }
}

/// The call of a function that is in a namespace.
fn flatten(call: &mut Envelope) {
    let (name, namespace) = (text(call, "name"), text(call, "namespace"));
    call.remove("namespace");
    if let Some(name) = name {
        call.set("name", quoted(&function_name(&name, namespace.as_deref())));
    }
}

fn call_with_text(call: &mut Envelope) {
    flatten(call);
    let input = text(call, "input").unwrap_or_default();
    call.set("type", "\"function_call\"");
    call.rename("input", "arguments");
    call.set("arguments", quoted(&freeform::arguments(&input)));
}

fn result_of_text(result: &mut Envelope) {
    result.set("type", "\"function_call_output\"");
    result.remove("name");
    result.remove("namespace");
}

/// The shell of Codex's older versions, which OpenAI's models know without a description.
fn call_of_shell(call: &mut Envelope) {
    if !call.has("call_id") {
        call.rename("id", "call_id");
    }
    let action = call.raw("action").map(|json| String::from_utf8_lossy(json).into_owned());
    call.set("type", "\"function_call\"");
    call.remove("action");
    call.set("name", "\"local_shell\"");
    call.set("arguments", quoted(&action.unwrap_or_else(|| "{}".to_owned())));
}

fn result_of_shell(result: &mut Envelope) {
    if !result.has("call_id") {
        result.rename("id", "call_id");
    }
    result.set("type", "\"function_call_output\"");
}

fn call_of_search(call: &mut Envelope) {
    let asked = call.raw("arguments").map(|json| String::from_utf8_lossy(json).into_owned());
    call.set("type", "\"function_call\"");
    call.remove("execution");
    call.set("name", quoted(SEARCH));
    call.set("arguments", quoted(&asked.unwrap_or_else(|| "{}".to_owned())));
}

fn result_of_search(result: &mut Envelope) {
    let found = result.raw("tools").and_then(|tools| serde_json::from_slice(tools).ok());
    let output = quoted(&search_result(found));
    result.set("type", "\"function_call_output\"");
    result.remove("execution");
    result.remove("tools");
    result.set("output", output);
}

/// What is between the quotes of a JSON string.
fn string(json: &[u8]) -> Option<&str> {
    std::str::from_utf8(json.strip_prefix(b"\"")?.strip_suffix(b"\"")?).ok()
}
