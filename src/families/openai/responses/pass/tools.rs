//! Tools: functions only. What takes a text becomes a function with this text as its one argument, a namespace becomes its
//! functions, and what OpenAI's servers run is left out.

use std::borrow::Cow;

use memchr::memmem::find;
use serde_json::{Value, json};

use super::{Lost, text};
use crate::dialect::openai_responses::Tools;
use crate::dialect::openai_responses::tools::{Origin, function_name};
use crate::envelope::{Envelope, field, items, listed, quoted};

/// How the client's tools are called upstream.
pub(super) fn settle(body: &mut Envelope, lost: &mut Lost) -> Tools {
    let all = body.raw("tools").unwrap_or_default().to_vec();
    let mut given = Given::default();
    for raw in items(&all).into_iter().flatten() {
        given.add(raw, None, lost);
    }
    if given.is_edited {
        body.set_raw("tools", listed(&given.functions));
        given.tools.tell("tools", &*all);
    }
    settle_choice(body, &mut given, lost);
    given.tools
}

/// The tools so far.
#[derive(Default)]
struct Given<'a> {
    functions: Vec<Cow<'a, [u8]>>,
    names: Vec<String>,
    tools: Tools,
    is_edited: bool,
}

impl<'a> Given<'a> {
    fn add(&mut self, raw: &'a [u8], namespace: Option<&str>, lost: &mut Lost) {
        let Ok(mut tool) = Envelope::parse(raw.to_vec()) else {
            // Whatever it is, AI Core will say so.
            return self.functions.push(Cow::Borrowed(raw));
        };
        let kind = text(&tool, "type").unwrap_or_default();
        let name = text(&tool, "name").unwrap_or_default();
        let function = function_name(&name, namespace);
        match kind.as_str() {
            "function" => {
                // It waits for a search that does not take place.
                if find(raw, b"\"defer_loading\"").is_some() && tool.remove("defer_loading") {
                    lost.add("tools[].defer_loading");
                }
                if namespace.is_some() {
                    tool.set("name", quoted(&function));
                }
            }
            "custom" => tool = function_of(&tool, &function),
            "namespace" => {
                self.is_edited = true;
                for inner in field(raw, "tools").and_then(items).into_iter().flatten() {
                    self.add(inner, Some(&name), lost);
                }
                return;
            }
            _ => {
                self.is_edited = true;
                return lost.add_of_type("tools", &kind);
            }
        }
        let is_custom = kind == "custom";
        if is_custom || namespace.is_some() {
            let namespace = namespace.map(str::to_owned);
            self.tools.add(function.clone(), Origin { name, namespace, is_custom });
        }
        self.names.push(function);
        self.is_edited |= tool.is_edited() || is_custom;
        let is_same = !tool.is_edited() && !is_custom;
        let tool = if is_same { Cow::Borrowed(raw) } else { Cow::Owned(tool.into_bytes()) };
        self.functions.push(tool);
    }
}

/// The function that stands for a tool that takes a text.
fn function_of(tool: &Envelope, name: &str) -> Envelope {
    let mut description = text(tool, "description").unwrap_or_default();
    if let Some(format) = tool.raw("format") {
        let grammar: Value = serde_json::from_slice(format).unwrap_or_default();
        if let Some(definition) = grammar["definition"].as_str() {
            let syntax = grammar["syntax"].as_str().unwrap_or("given");
            description += &format!(
                "\n\nThe text in `input` must match this grammar ({syntax}):\n{definition}"
            );
        }
    }
    let input = "The text that the tool takes, as it is: no JSON within it, no quotes around it.";
    let function = json!({
        "type": "function",
        "name": name,
        "description": description.trim_start(),
        "parameters": {
            "type": "object",
            "properties": {"input": {"type": "string", "description": input}},
            "required": ["input"],
            "additionalProperties": false,
        },
        "strict": false,
    });
    Envelope::parse(function.to_string().into_bytes()).unwrap_or_default()
}

/// A choice names functions that there are.
fn settle_choice(body: &mut Envelope, given: &mut Given<'_>, lost: &mut Lost) {
    let Some(choice) = body.raw("tool_choice").map(<[u8]>::to_vec) else { return };
    let settled = if choice == b"\"required\"" && given.is_edited && given.names.is_empty() {
        None
    } else if let Ok(object) = Envelope::parse(choice.clone()) {
        settled_choice(object, given)
    } else {
        return;
    };
    match settled {
        Some(settled) if !settled.is_edited() => return,
        Some(settled) => body.set_raw("tool_choice", settled.into_bytes()),
        None => {
            body.remove("tool_choice");
            lost.add("tool_choice");
        }
    }
    given.tools.tell("tool_choice", choice);
}

/// `None` where nothing is left to choose.
fn settled_choice(mut choice: Envelope, given: &Given<'_>) -> Option<Envelope> {
    if text(&choice, "type").as_deref() != Some("allowed_tools") {
        return settled_tool(choice, given);
    }
    let Some(tools) = choice.list("tools") else { return Some(choice) };
    let count = tools.len();
    let kept: Vec<_> = tools.into_iter().filter_map(|tool| settled_tool(tool, given)).collect();
    if kept.len() < count || kept.iter().any(Envelope::is_edited) {
        choice.set_list("tools", &kept);
    }
    (!kept.is_empty() || count == 0).then_some(choice)
}

/// A tool that is named, as the function that it is upstream. `None` for one that is not there.
fn settled_tool(mut tool: Envelope, given: &Given<'_>) -> Option<Envelope> {
    let kind = text(&tool, "type")?;
    if !matches!(kind.as_str(), "function" | "custom") {
        return None;
    }
    let name = text(&tool, "name").unwrap_or_default();
    let namespace = text(&tool, "namespace");
    let function = function_name(&name, namespace.as_deref());
    let is_there = given.names.contains(&function);
    if kind == "custom" {
        tool.set("type", "\"function\"");
    }
    if namespace.is_some() {
        tool.remove("namespace");
    }
    if function != name {
        tool.set("name", quoted(&function));
    }
    // What never was among the tools is for AI Core to refuse.
    (is_there || !given.is_edited).then_some(tool)
}
