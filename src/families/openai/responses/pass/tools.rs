//! Tools: functions only. What takes a text becomes a function with this text as its one argument, a namespace becomes its
//! functions, and what OpenAI's servers run is left out.

use memchr::memmem::find;

use super::{Lost, text};
use crate::dialect::openai_responses::Tools;
use crate::dialect::openai_responses::tools::{DEFINING, Offered, input_of};
use crate::envelope::{Envelope, each_field, items, listed};
use crate::error::Error;

/// How the client's tools are called upstream.
pub(super) fn settle(body: &mut Envelope, lost: &mut Lost) -> Result<Tools, Error> {
    if !are_concerned(body) {
        return Ok(Tools::default());
    }
    let offered = Offered::read(body, b"[]")?;
    let functions: Vec<_> = offered.functions.iter().map(|function| &function.json).collect();
    let choice = offered.choice_json();
    let mut tools = offered.tools;
    if body.has("tools") || !functions.is_empty() {
        tools.tell("tools", body.raw("tools").unwrap_or(b"[]"));
        body.set_raw("tools", listed(&functions));
    }
    settle_choice(body, choice, &mut tools);
    offered.dropped.into_iter().for_each(|name| lost.add(name));
    Ok(tools)
}

/// Whether some tool is no plain function of the request.
fn are_concerned(body: &Envelope) -> bool {
    let tools = body.raw("tools").and_then(items).unwrap_or_default();
    let input = input_of(body);
    let defines = |kind: &str| find(input, kind.as_bytes()).is_some();
    !tools.into_iter().all(is_plain) || DEFINING.iter().any(|kind| defines(kind))
}

fn is_plain(tool: &[u8]) -> bool {
    let (mut is_function, mut has_more) = (false, false);
    each_field(tool, |key, value| match key {
        b"type" => is_function = value == b"\"function\"",
        b"name" | b"description" | b"parameters" | b"strict" => {}
        _ => has_more = true,
    });
    is_function && !has_more
}

fn settle_choice(body: &mut Envelope, choice: Option<String>, tools: &mut Tools) {
    const KEY: &str = "tool_choice";
    let Some(own) = body.raw(KEY).filter(|own| *own != b"null").map(<[u8]>::to_vec) else { return };
    match choice {
        Some(choice) if is_same(&own, choice.as_bytes()) => return,
        Some(choice) => body.set(KEY, choice),
        None => drop(body.remove(KEY)),
    }
    tools.tell(KEY, own);
}

fn is_same(own: &[u8], choice: &[u8]) -> bool {
    let read = |json: &[u8]| Envelope::parse(json.to_vec()).ok();
    own == choice
        || read(own).zip(read(choice)).is_some_and(|(own, choice)| {
            let is_alike = |key| text(&own, key) == text(&choice, key);
            own.keys().count() == 2 && is_alike("type") && is_alike("name")
        })
}
