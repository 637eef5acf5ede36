//! What vLLM refuses, in its words as far as they are known (dossier 5d).

use serde_json::{Map, Value, json};

use super::super::openai::{messages, parts, present, prompt_tokens};
use super::super::shape::{
    ANY_OBJECT, Field, INTEGER, Misfit, REAL, Shape, Step, TEXTS, Why, may, must,
};
use super::super::{Answer, Deployment};

type Object = Map<String, Value>;

pub(super) fn error_object(status: u16, message: &str, kind: &str) -> Value {
    json!({
        "object": "error",
        "message": message,
        "type": kind,
        "param": null,
        "code": status,
    })
}

pub(super) fn chat(body: &[u8], deployment: &Deployment) -> Result<Object, Answer> {
    let request = read(body, &REQUEST, deployment)?;
    if request.get("stream") != Some(&json!(true)) && present(&request, "stream_options").is_some()
    {
        return Err(refusal("Stream options can only be defined when `stream=True`."));
    }
    numbers(&request)?;
    tools(&request)?;
    let all = messages(&request);
    if all.is_empty() {
        return Err(refusal("list index out of range"));
    }
    if is_mistral(deployment) {
        mistral(all)?;
    } else if all.iter().flat_map(parts).any(|part| part["type"] == "image_url") {
        return Err(refusal("At most 0 image(s) may be provided in one prompt."));
    }
    let (limit, given) = (deployment.context_tokens, prompt_tokens(&request));
    if given > limit {
        return Err(refusal(&format!(
            "This model's maximum context length is {limit} tokens. However, you requested {given} \
             tokens in the messages, Please reduce the length of the messages."
        )));
    }
    Ok(request)
}

pub(super) fn embeddings(body: &[u8], deployment: &Deployment) -> Result<Object, Answer> {
    let request = read(body, &EMBEDDING, deployment)?;
    if present(&request, "input_type").is_none() {
        return Err(refusal("'input_type' parameter is required"));
    }
    let input = &request["input"];
    if *input == json!("") || *input == json!([]) {
        return Err(refusal("'input' must not be empty"));
    }
    Ok(request)
}

pub(super) fn is_mistral(deployment: &Deployment) -> bool {
    deployment.model.starts_with("mistralai--")
}

fn read(body: &[u8], shape: &Shape, deployment: &Deployment) -> Result<Object, Answer> {
    let why = "[{'type': 'json_invalid', 'loc': ('body',), 'msg': 'JSON decode error'}]";
    let request = serde_json::from_slice::<Value>(body).map_err(|_| refusal(why))?;
    shape.check(&request).map_err(|misfit| misfit_refusal(&misfit))?;
    let model = request["model"].as_str().unwrap_or_default();
    match request {
        Value::Object(request) if model == deployment.model => Ok(request),
        _ => {
            let why = format!("The model `{model}` does not exist.");
            Err(Answer::json(404, &error_object(404, &why, "NotFoundError")))
        }
    }
}

fn refusal(message: &str) -> Answer {
    Answer::json(400, &error_object(400, message, "BadRequestError"))
}

/// As pydantic lists its findings.
fn misfit_refusal(misfit: &Misfit) -> Answer {
    let mut place = vec!["'body'".to_owned()];
    place.extend(misfit.path.iter().map(|step| match step {
        Step::Index(n) => n.to_string(),
        Step::Name(name) | Step::Entry(_, name) => format!("'{name}'"),
    }));
    let (kind, message) = match &misfit.why {
        Why::Unknown(name) => {
            place.push(format!("'{name}'"));
            ("extra_forbidden", "Extra inputs are not permitted".to_owned())
        }
        Why::Missing(name) => {
            place.push(format!("'{name}'"));
            ("missing", "Field required".to_owned())
        }
        Why::Wrong(wanted) => ("value_error", format!("Input should be a valid {wanted}")),
    };
    refusal(&format!(
        "[{{'type': '{kind}', 'loc': ({}), 'msg': '{message}', 'input': {}}}]",
        place.join(", "),
        misfit.given
    ))
}

fn numbers(request: &Object) -> Result<(), Answer> {
    for key in ["max_tokens", "max_completion_tokens"] {
        if let Some(given) = present(request, key).filter(|n| n.as_i64().is_some_and(|n| n < 1)) {
            return Err(refusal(&format!("max_tokens must be at least 1, got {given}.")));
        }
    }
    for (key, least, most) in RANGES {
        let given = present(request, key).and_then(Value::as_f64);
        if let Some(given) = given.filter(|given| !(*least..=*most).contains(given)) {
            return Err(refusal(&format!("{key} must be in [{least}, {most}], got {given}.")));
        }
    }
    Ok(())
}

fn tools(request: &Object) -> Result<(), Answer> {
    let tools = present(request, "tools").and_then(Value::as_array);
    let names = tools.into_iter().flatten().filter_map(|t| t.pointer("/function/name")?.as_str());
    let names = names.collect::<Vec<_>>();
    match present(request, "tool_choice") {
        None => Ok(()),
        Some(choice) if names.is_empty() && choice != "none" => {
            Err(refusal("When using `tool_choice`, `tools` must be set."))
        }
        Some(Value::Object(choice)) => {
            let name = choice["function"]["name"].as_str().unwrap_or_default();
            let why = "The tool specified in `tool_choice` does not match any of the specified \
                       `tools`";
            if names.contains(&name) { Ok(()) } else { Err(refusal(why)) }
        }
        Some(_) => Ok(()),
    }
}

/// What Mistral's own template checks: ids, and who may follow whom.
fn mistral(messages: &[Value]) -> Result<(), Answer> {
    let mut before = "";
    let mut open = 0;
    for message in messages {
        let role = message["role"].as_str().unwrap_or_default();
        if role == "developer" || role == "function" {
            return Err(refusal(&format!("Unexpected role '{role}'")));
        }
        if before == "tool" && !["assistant", "tool"].contains(&role) {
            return Err(refusal(&format!("Unexpected role '{role}' after role 'tool'")));
        }
        if role == "tool" && open == 0 || role != "tool" && open > 0 {
            return Err(refusal("Not the same number of function calls and responses"));
        }
        let calls = message["tool_calls"].as_array().map_or(&[][..], Vec::as_slice);
        let ids = calls.iter().map(|call| &call["id"]).chain(message.get("tool_call_id"));
        ids.filter_map(Value::as_str).try_for_each(mistral_id)?;
        open = if role == "tool" { open - 1 } else { calls.len() };
        before = role;
    }
    match (open, before) {
        (0, "user" | "tool") => Ok(()),
        (0, _) => Err(refusal(&format!(
            "Expected last role User or Tool (or Assistant with prefix or continue_final_message \
             set to True) for serving but got {before}"
        ))),
        _ => Err(refusal("Not the same number of function calls and responses")),
    }
}

fn mistral_id(id: &str) -> Result<(), Answer> {
    if id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(());
    }
    let why = format!("Tool call id was {id} but must be a-z, A-Z, 0-9, with a length of 9.");
    Err(refusal(&why))
}

const RANGES: &[(&str, f64, f64)] = &[
    ("temperature", 0.0, 2.0),
    ("top_p", 0.0, 1.0),
    ("presence_penalty", -2.0, 2.0),
    ("frequency_penalty", -2.0, 2.0),
    ("n", 1.0, 16.0),
];

static REQUEST: Shape = Shape::Object(&[
    must("model", &Shape::Text),
    must("messages", &Shape::List(&Shape::Tagged("role", ROLES))),
    may("frequency_penalty", &REAL),
    may("logit_bias", &ANY_OBJECT),
    may("logprobs", &Shape::Bool),
    may("top_logprobs", &INTEGER),
    may("max_tokens", &INTEGER),
    may("max_completion_tokens", &INTEGER),
    may("n", &INTEGER),
    may("presence_penalty", &REAL),
    may("response_format", &Shape::Tagged("type", FORMATS)),
    may("seed", &INTEGER),
    may("stop", &Shape::Either(&[Shape::Text, TEXTS])),
    may("stream", &Shape::Bool),
    may("stream_options", &STREAM_OPTIONS),
    may("temperature", &REAL),
    may("top_p", &REAL),
    may("tools", &Shape::List(&TOOL)),
    may("tool_choice", &TOOL_CHOICE),
    may("parallel_tool_calls", &Shape::Bool),
    may("user", &Shape::Text),
    may("top_k", &INTEGER),
    may("min_p", &REAL),
    may("repetition_penalty", &REAL),
    may("min_tokens", &INTEGER),
    may("ignore_eos", &Shape::Bool),
    may("stop_token_ids", &Shape::List(&INTEGER)),
    may("chat_template_kwargs", &ANY_OBJECT),
]);
const ROLES: &[(&str, &[Field])] = &[
    ("system", SPOKEN),
    ("developer", SPOKEN),
    ("user", &[must("content", &USER_CONTENT), may("name", &Shape::Text)]),
    (
        "assistant",
        &[
            may("content", &CONTENT),
            may("reasoning_content", &Shape::Text),
            may("name", &Shape::Text),
            may("tool_calls", &Shape::List(&CALL)),
        ],
    ),
    (
        "tool",
        &[must("content", &CONTENT), must("tool_call_id", &Shape::Text), may("name", &Shape::Text)],
    ),
    ("function", SPOKEN),
];
const SPOKEN: &[Field] = &[must("content", &CONTENT), may("name", &Shape::Text)];
const CONTENT: Shape =
    Shape::Either(&[Shape::Text, Shape::List(&Shape::Tagged("type", TEXT_PARTS))]);
const USER_CONTENT: Shape =
    Shape::Either(&[Shape::Text, Shape::List(&Shape::Tagged("type", USER_PARTS))]);
const TEXT_PARTS: &[(&str, &[Field])] = &[("text", &[must("text", &Shape::Text)])];
const USER_PARTS: &[(&str, &[Field])] =
    &[("text", &[must("text", &Shape::Text)]), ("image_url", &[must("image_url", &IMAGE)])];
const IMAGE: Shape = Shape::Object(&[must("url", &Shape::Text), may("detail", &Shape::Text)]);
const CALL: Shape = Shape::Object(&[
    must("id", &Shape::Text),
    must("type", &Shape::Word(&["function"])),
    must("function", &FUNCTION_CALLED),
]);
const FUNCTION_CALLED: Shape =
    Shape::Object(&[must("name", &Shape::Text), must("arguments", &Shape::Text)]);
const TOOL: Shape = Shape::Object(&[
    must("type", &Shape::Word(&["function"])),
    must(
        "function",
        &Shape::Object(&[
            must("name", &Shape::Text),
            may("description", &Shape::Text),
            may("parameters", &ANY_OBJECT),
            may("strict", &Shape::Bool),
        ]),
    ),
]);
const TOOL_CHOICE: Shape = Shape::Either(&[
    Shape::Word(&["none", "auto", "required"]),
    Shape::Object(&[
        must("type", &Shape::Word(&["function"])),
        must("function", &Shape::Object(&[must("name", &Shape::Text)])),
    ]),
]);
const FORMATS: &[(&str, &[Field])] =
    &[("text", &[]), ("json_object", &[]), ("json_schema", &[must("json_schema", &JSON_SCHEMA)])];
const JSON_SCHEMA: Shape = Shape::Object(&[
    must("name", &Shape::Text),
    may("description", &Shape::Text),
    must("schema", &ANY_OBJECT),
    may("strict", &Shape::Bool),
]);
const STREAM_OPTIONS: Shape = Shape::Object(&[
    may("include_usage", &Shape::Bool),
    may("continuous_usage_stats", &Shape::Bool),
]);

static EMBEDDING: Shape = Shape::Object(&[
    must("model", &Shape::Text),
    must("input", &Shape::Either(&[Shape::Text, TEXTS])),
    may("input_type", &Shape::Word(&["query", "passage"])),
    may("encoding_format", &Shape::Word(&["float", "base64"])),
    may("truncate", &Shape::Word(&["NONE", "START", "END"])),
    may("dimensions", &Shape::Whole(1, 2048)),
    may("user", &Shape::Text),
]);
