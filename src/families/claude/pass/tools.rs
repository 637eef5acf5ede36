//! Tools: the client's own without what only Anthropic's API knows, and none that Anthropic's servers run (dossier 5b.2).

use std::borrow::Cow;

use memchr::memmem::find;

use super::blocks::{Kept, each, settle_mark};
use super::{Lost, kind};
use crate::envelope::{Envelope, field, header_safe, items, listed};
use crate::families::claude::Version;

/// What a tool of the client's own has.
const TAKEN: &[&str] = &["name", "description", "input_schema", "cache_control", "type"];
/// How the types of tools begin that Anthropic defines and the client runs.
const CLIENTS: &[&str] = &["bash_", "text_editor_", "computer_", "memory_"];
/// How the types of tools begin that Anthropic's servers run. Left open: other types pass; refused ones are healed.
const SERVERS: &[&str] =
    &["web_search", "web_fetch", "code_execution", "mcp_toolset", "tool_search", "advisor"];

pub(super) fn settle(body: &mut Envelope, version: Version, lost: &mut Lost) {
    let mut removed = vec![];
    let tools = body.raw("tools").map(|tools| {
        each(tools, "tools", |raw, _| {
            let kept = settle_one(raw, version, lost);
            let name = field(raw, "name").filter(|_| kept.is_none());
            removed.extend(name.map(<[u8]>::to_vec));
            Ok(kept)
        })
    });
    match tools.and_then(Result::ok).flatten().map(|tools| (tools.is_empty(), listed(&tools))) {
        Some((true, _)) => {
            body.remove("tools");
        }
        Some((false, tools)) => body.set_raw("tools", tools),
        None => {}
    }
    settle_choice(body, &removed, lost);
}

fn settle_one<'a>(raw: &'a [u8], version: Version, lost: &mut Lost) -> Kept<'a> {
    let stays = Some(Cow::Borrowed(raw));
    let Ok(mut tool) = Envelope::parse(raw.to_vec()) else { return stays };
    let kind = kind(&tool);
    let begins = |names: &[&str]| names.iter().any(|name| kind.starts_with(name));
    if begins(SERVERS) {
        lost.add(format!("tools[] of type {}", header_safe(&kind)));
        return None;
    }
    if kind.is_empty() || kind == "custom" {
        tool.retain(|key, value| {
            let is_given = value != b"null" && value != b"false";
            let is_taken = value != b"null" && TAKEN.contains(&key);
            if is_given && !is_taken {
                lost.add(format!("tools[].{}", header_safe(key)));
            }
            is_taken
        });
    } else if !begins(CLIENTS) {
        return stays;
    }
    if find(raw, b"\"cache_control\"").is_some() {
        settle_mark(&mut tool, version, lost);
    }
    if tool.is_edited() { Some(Cow::Owned(tool.into_bytes())) } else { stays }
}

/// A choice needs tools, and one of them by name if it names one.
fn settle_choice(body: &mut Envelope, removed: &[Vec<u8>], lost: &mut Lost) {
    let Some(choice) = body.raw("tool_choice") else { return };
    let named = field(choice, "name");
    let is_lost = named.is_some_and(|name| removed.iter().any(|r| r == name));
    let has_tools =
        body.raw("tools").is_some_and(|tools| items(tools).is_none_or(|t| !t.is_empty()));
    if has_tools && !is_lost {
        return;
    }
    if is_forced(body) {
        lost.add("tool_choice");
    }
    body.remove("tool_choice");
}

/// Whether a tool has to be called.
pub(super) fn is_forced(body: &Envelope) -> bool {
    let kind = body.raw("tool_choice").and_then(|choice| field(choice, "type"));
    matches!(kind, Some(br#""any""# | br#""tool""#))
}
