//! What requests of OpenAI's chat shape say, as several families take them.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::story::{Choice, Format, Prompt, Tool, tokens};

pub(super) fn prompt(request: &Map<String, Value>, most_tokens: usize) -> Prompt {
    let messages = messages(request);
    let results = messages.iter().rev().take_while(|m| m["role"] == "tool").map(text_of);
    let mut results = results.collect::<Vec<_>>();
    results.reverse();
    let user = messages.iter().rev().find(|m| m["role"] == "user").unwrap_or(&Value::Null);
    Prompt {
        user: text_of(user),
        asks: messages.last().is_some_and(|last| last["role"] == "user"),
        results,
        images: parts(user).filter(|part| part["type"] == "image_url").count(),
        documents: parts(user).filter(|part| part["type"] == "file").count(),
        tools: tools(request),
        choice: tool_choice(request),
        parallel: request.get("parallel_tool_calls") != Some(&json!(false)),
        format: format(request),
        stops: stops(request),
        most_tokens,
    }
}

fn tools(request: &Map<String, Value>) -> Vec<Tool> {
    let tools = present(request, "tools").and_then(Value::as_array);
    let functions = tools.into_iter().flatten().filter_map(|tool| tool.get("function"));
    let tool = |function: &Value| Tool {
        name: function["name"].as_str().unwrap_or_default().to_owned(),
        parameters: function["parameters"].clone(),
    };
    functions.map(tool).collect()
}

fn tool_choice(request: &Map<String, Value>) -> Choice {
    match request.get("tool_choice") {
        Some(Value::String(choice)) if choice == "none" => Choice::Never,
        Some(Value::String(choice)) if choice == "required" => Choice::Any,
        Some(choice @ Value::Object(_)) => {
            let name = choice.pointer("/function/name").and_then(Value::as_str);
            Choice::Named(name.unwrap_or_default().to_owned())
        }
        _ => Choice::Auto,
    }
}

fn format(request: &Map<String, Value>) -> Format {
    let format = request.get("response_format");
    match format.and_then(|f| f.get("type")?.as_str()) {
        Some("json_object") => Format::Json,
        Some("json_schema") => {
            let wanted = format.and_then(|f| f.pointer("/json_schema/schema"));
            Format::Schema(wanted.cloned().unwrap_or_default())
        }
        _ => Format::Text,
    }
}

pub(super) fn stops(request: &Map<String, Value>) -> Vec<String> {
    match request.get("stop") {
        Some(Value::String(stop)) => vec![stop.clone()],
        Some(Value::Array(stops)) => {
            stops.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

pub(super) fn messages(request: &Map<String, Value>) -> &[Value] {
    request.get("messages").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(super) fn parts(message: &Value) -> impl Iterator<Item = &Value> {
    message.get("content").and_then(Value::as_array).into_iter().flatten()
}

pub(super) fn text_of(message: &Value) -> String {
    if let Some(text) = message.get("content").and_then(Value::as_str) {
        return text.to_owned();
    }
    let texts = parts(message).filter_map(|part| part.get("text")?.as_str());
    texts.collect::<Vec<_>>().join(" ")
}

pub(super) fn prompt_tokens(request: &Map<String, Value>) -> usize {
    let of_messages = messages(request).iter().map(|message| {
        let images = parts(message).filter(|part| part["type"] == "image_url").count();
        let calls = message.get("tool_calls").map_or(0, |calls| calls.to_string().len());
        4 + tokens(text_of(message).len() + calls) + images * 85
    });
    let of_tools = request.get("tools").map_or(0, |tools| tokens(tools.to_string().len()));
    3 + of_messages.sum::<usize>() + of_tools
}

/// The value of a key that is there and not null.
pub(super) fn present<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object.get(key).filter(|value| !value.is_null())
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// As `encoding_format: base64` has it.
pub(super) fn packed(vector: &[f32]) -> String {
    STANDARD.encode(vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>())
}

/// The most that the answer may have; without a limit, the most there is.
pub(super) fn most_tokens(request: &Map<String, Value>) -> usize {
    ["max_completion_tokens", "max_tokens"]
        .into_iter()
        .find_map(|key| present(request, key)?.as_u64())
        .map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX))
}
