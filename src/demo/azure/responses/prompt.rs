//! What of a request an answer depends on.

use serde_json::{Value, json};

use super::super::super::story::{Choice, Format, Prompt, Tool};
use super::Object;
use super::items::{parts, text_of};

pub(super) fn prompt(request: &Object, context: &[Value], most_tokens: usize) -> Prompt {
    let results = context.iter().rev().take_while(|item| item["type"] == "function_call_output");
    let mut results = results.map(text_of).collect::<Vec<_>>();
    results.reverse();
    let is_users = |item: &&Value| item["role"] == "user";
    let user = context.iter().rev().find(is_users).unwrap_or(&Value::Null);
    let count = |kind: &str| parts(user).filter(|part| part["type"] == kind).count();
    Prompt {
        user: text_of(user),
        asks: context.last().filter(is_users).is_some(),
        results,
        images: count("input_image"),
        documents: count("input_file"),
        tools: tools(request),
        choice: choice(request),
        parallel: request.get("parallel_tool_calls") != Some(&json!(false)),
        format: format(request),
        stops: Vec::new(),
        most_tokens,
    }
}

/// Those allowed.
fn tools(request: &Object) -> Vec<Tool> {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned();
    let allowed = list(request.get("tool_choice").and_then(|choice| choice.get("tools")));
    let is_allowed = |tool: &Value| {
        allowed.as_ref().is_none_or(|all| all.iter().any(|one| one["name"] == tool["name"]))
    };
    let tools = list(request.get("tools")).unwrap_or_default();
    let tools = tools.into_iter().filter(is_allowed).map(|mut tool| Tool {
        name: tool["name"].as_str().unwrap_or_default().to_owned(),
        parameters: tool["parameters"].take(),
    });
    tools.collect()
}

fn choice(request: &Object) -> Choice {
    let choice = request.get("tool_choice").unwrap_or(&Value::Null);
    let word = choice.as_str().or_else(|| choice.get("mode")?.as_str());
    match (word, choice.get("name").and_then(Value::as_str)) {
        (Some("none"), _) => Choice::Never,
        (Some("required"), _) => Choice::Any,
        (None, Some(name)) => Choice::Named(name.to_owned()),
        _ => Choice::Auto,
    }
}

fn format(request: &Object) -> Format {
    let format = request.get("text").and_then(|text| text.get("format"));
    match format.and_then(|format| format.get("type")?.as_str()) {
        Some("json_object") => Format::Json,
        Some("json_schema") => {
            Format::Schema(format.and_then(|f| f.get("schema")).cloned().unwrap_or_default())
        }
        _ => Format::Text,
    }
}
