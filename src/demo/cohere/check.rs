//! What Cohere refuses, in its words as far as they are known (dossier 5d).

use serde_json::{Map, Value, json};

use super::super::openai::{messages, present};
use super::super::shape::{ANY_OBJECT, Field, Misfit, Shape, TEXTS, Why, may, must};
use super::super::{Answer, Deployment};

type Object = Map<String, Value>;

pub(super) fn cohere_error(status: u16, message: &str) -> Answer {
    Answer::json(status, &json!({ "message": message }))
}

pub(super) fn chat(body: &[u8], deployment: &Deployment) -> Result<Object, Answer> {
    let request = read(body, &REQUEST, deployment)?;
    let has_tools = present(&request, "tools").is_some();
    if present(&request, "tool_choice").is_some() && !has_tools {
        return Err(refusal("tool_choice is only valid with tools"));
    }
    let format = present(&request, "response_format");
    if has_tools && format.is_some_and(|format| format["type"] == "json_object") {
        return Err(refusal("response_format is not supported with tools"));
    }
    let stops = present(&request, "stop_sequences").and_then(Value::as_array);
    if stops.is_some_and(|stops| stops.len() > 5) {
        return Err(refusal("stop_sequences must have at most 5 elements"));
    }
    turns(messages(&request))?;
    Ok(request)
}

pub(super) fn rerank(body: &[u8], deployment: &Deployment) -> Result<Object, Answer> {
    let request = read(body, &RERANK, deployment)?;
    if request["documents"] == json!([]) {
        return Err(refusal("documents must not be empty"));
    }
    if request["query"] == json!("") {
        return Err(refusal("query must not be empty"));
    }
    Ok(request)
}

fn refusal(what: &str) -> Answer {
    cohere_error(400, &format!("invalid request: {what}."))
}

fn read(body: &[u8], shape: &Shape, deployment: &Deployment) -> Result<Object, Answer> {
    let request = serde_json::from_slice::<Value>(body)
        .map_err(|_| cohere_error(400, "invalid json syntax: the body is not JSON"))?;
    shape.check(&request).map_err(|misfit| misfit_refusal(&misfit))?;
    let model = request["model"].as_str().unwrap_or_default();
    match request {
        Value::Object(request) if model == deployment.model => Ok(request),
        _ => Err(cohere_error(
            404,
            &format!(
                "model '{model}' not found, make sure the correct model ID was used and that you \
                 have access to the model."
            ),
        )),
    }
}

fn misfit_refusal(misfit: &Misfit) -> Answer {
    let place = misfit.full_place();
    let why = match &misfit.why {
        Why::Unknown(_) => format!("unknown field: parameter '{place}' is not a valid field"),
        Why::Missing(_) => format!("invalid request: {place} is required."),
        Why::Wrong(wanted) => {
            format!("invalid type: parameter {place} is {} but should be {wanted}", misfit.given)
        }
    };
    cohere_error(400, &why)
}

/// Something is said, and calls are followed by their results.
fn turns(messages: &[Value]) -> Result<(), Answer> {
    let mut open: Vec<&str> = Vec::new();
    for message in messages {
        if message["role"] == "tool" {
            let id = message["tool_call_id"].as_str().unwrap_or_default();
            let Some(asked) = open.iter().position(|known| *known == id) else {
                return Err(refusal(&format!("tool call id not found in previous calls: {id}")));
            };
            open.remove(asked);
            continue;
        }
        all_answered(&open)?;
        let calls = message["tool_calls"].as_array().into_iter().flatten();
        open = calls.filter_map(|call| call["id"].as_str()).collect();
        let says_nothing = [json!(""), json!([]), Value::Null].contains(&message["content"]);
        if says_nothing && open.is_empty() {
            return Err(refusal("message must be at least 1 token long"));
        }
    }
    if messages.is_empty() {
        return Err(refusal("messages must not be empty"));
    }
    all_answered(&open)
}

fn all_answered(open: &[&str]) -> Result<(), Answer> {
    let why = "all tool calls must be followed by their tool results";
    if open.is_empty() { Ok(()) } else { Err(refusal(why)) }
}

static REQUEST: Shape = Shape::Object(&[
    must("model", &Shape::Text),
    must("messages", &Shape::List(&Shape::Tagged("role", ROLES))),
    may("stream", &Shape::Bool),
    may("tools", &Shape::List(&TOOL)),
    may("tool_choice", &Shape::Word(&["REQUIRED", "NONE"])),
    may("strict_tools", &Shape::Bool),
    may("documents", &Shape::List(&Shape::Any)),
    may("citation_options", &ANY_OBJECT),
    may("response_format", &Shape::Tagged("type", FORMATS)),
    may("safety_mode", &Shape::Word(&["CONTEXTUAL", "STRICT", "OFF"])),
    may("max_tokens", &Shape::Whole(1, 8192)),
    may("stop_sequences", &TEXTS),
    may("temperature", &Shape::Number(0.0, 1.0)),
    may("seed", &Shape::Whole(0, i64::MAX)),
    may("frequency_penalty", &Shape::Number(0.0, 1.0)),
    may("presence_penalty", &Shape::Number(0.0, 1.0)),
    may("k", &Shape::Whole(0, 500)),
    may("p", &Shape::Number(0.01, 0.99)),
    may("logprobs", &Shape::Bool),
    may("thinking", &THINKING),
]);
const ROLES: &[(&str, &[Field])] = &[
    ("system", &[must("content", &CONTENT)]),
    ("user", &[must("content", &USER_CONTENT)]),
    (
        "assistant",
        &[
            may("content", &ASSISTANT_CONTENT),
            may("tool_calls", &Shape::List(&CALL)),
            may("tool_plan", &Shape::Text),
            may("citations", &Shape::List(&Shape::Any)),
        ],
    ),
    ("tool", &[must("content", &TOOL_CONTENT), must("tool_call_id", &Shape::Text)]),
];
const CONTENT: Shape = Shape::Either(&[
    Shape::Text,
    Shape::List(&Shape::Tagged("type", &[("text", &[must("text", &Shape::Text)])])),
]);
const USER_CONTENT: Shape =
    Shape::Either(&[Shape::Text, Shape::List(&Shape::Tagged("type", USER_PARTS))]);
const USER_PARTS: &[(&str, &[Field])] = &[
    ("text", &[must("text", &Shape::Text)]),
    (
        "image_url",
        &[must(
            "image_url",
            &Shape::Object(&[must("url", &Shape::Text), may("detail", &Shape::Text)]),
        )],
    ),
];
const ASSISTANT_CONTENT: Shape =
    Shape::Either(&[Shape::Text, Shape::List(&Shape::Tagged("type", ASSISTANT_PARTS))]);
const ASSISTANT_PARTS: &[(&str, &[Field])] =
    &[("text", &[must("text", &Shape::Text)]), ("thinking", &[must("thinking", &Shape::Text)])];
const TOOL_CONTENT: Shape =
    Shape::Either(&[Shape::Text, Shape::List(&Shape::Tagged("type", TOOL_PARTS))]);
const TOOL_PARTS: &[(&str, &[Field])] =
    &[("text", &[must("text", &Shape::Text)]), ("document", &[must("document", &DOCUMENT)])];
const DOCUMENT: Shape = Shape::Object(&[must("data", &Shape::Any), may("id", &Shape::Text)]);
const CALL: Shape = Shape::Object(&[
    must("id", &Shape::Text),
    must("type", &Shape::Word(&["function"])),
    must(
        "function",
        &Shape::Object(&[must("name", &Shape::Text), must("arguments", &Shape::Text)]),
    ),
]);
const TOOL: Shape = Shape::Object(&[
    must("type", &Shape::Word(&["function"])),
    must(
        "function",
        &Shape::Object(&[
            must("name", &Shape::Text),
            may("description", &Shape::Text),
            must("parameters", &ANY_OBJECT),
        ]),
    ),
]);
const FORMATS: &[(&str, &[Field])] =
    &[("text", &[]), ("json_object", &[may("json_schema", &ANY_OBJECT)])];
const THINKING: Shape = Shape::Object(&[
    must("type", &Shape::Word(&["enabled", "disabled"])),
    may("token_budget", &Shape::Whole(1, 31_000)),
]);

static RERANK: Shape = Shape::Object(&[
    must("model", &Shape::Text),
    must("query", &Shape::Text),
    must("documents", &TEXTS),
    may("top_n", &Shape::Whole(1, i64::MAX)),
    may("max_tokens_per_doc", &Shape::Whole(1, i64::MAX)),
]);
