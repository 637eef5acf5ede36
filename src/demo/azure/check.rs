//! What Azure OpenAI refuses (dossier 5a), in its words as far as they are known.

use serde_json::{Map, Value, json};

use super::super::openai::present;
use super::super::{Answer, Deployment};

type Object = Map<String, Value>;

/// A refusal in Azure's error object.
pub(super) fn refusal(message: &str, param: Value, code: Value) -> Answer {
    let error = json!({
        "message": message,
        "type": "invalid_request_error",
        "param": param,
        "code": code,
    });
    Answer::json(400, &json!({ "error": error }))
}

pub(super) fn object(body: &[u8]) -> Result<Object, Answer> {
    let why = "We could not parse the JSON body of your request: it is not a JSON object.";
    serde_json::from_slice(body).map_err(|_| refusal(why, Value::Null, Value::Null))
}

pub(super) fn known_keys(request: &Object, known: &[&str]) -> Result<(), Answer> {
    let unknown = request.keys().find(|key| !known.contains(&key.as_str()));
    unknown.map_or(Ok(()), |key| {
        let why = format!("Unrecognized request argument supplied: {key}");
        Err(refusal(&why, Value::Null, Value::Null))
    })
}

/// A chat request as a whole; `prompt_tokens` is what it was counted to.
pub(super) fn chat(
    request: &Object,
    deployment: &Deployment,
    prompt_tokens: usize,
) -> Result<(), Answer> {
    known_keys(request, CHAT_KEYS)?;
    if deployment.is_reasoning() {
        reasoning(request, deployment)?;
    }
    numbers(request)?;
    limit(request, deployment)?;
    stream(request)?;
    messages(request)?;
    tools(request)?;
    response_format(request)?;
    let limit = deployment.context_tokens;
    if prompt_tokens > limit {
        let why = format!(
            "This model's maximum context length is {limit} tokens. However, your messages \
             resulted in {prompt_tokens} tokens."
        );
        return Err(refusal(&why, json!("messages"), json!("context_length_exceeded")));
    }
    Ok(())
}

/// The parameters that reasoning models know only at their defaults, or not at all.
fn reasoning(request: &Object, deployment: &Deployment) -> Result<(), Answer> {
    if present(request, "max_tokens").is_some() {
        let why = "Unsupported parameter: 'max_tokens' is not supported with this model. \
                   Use 'max_completion_tokens' instead.";
        return Err(refusal(why, json!("max_tokens"), json!("unsupported_parameter")));
    }
    let defaults = [
        ("temperature", 1.0),
        ("top_p", 1.0),
        ("presence_penalty", 0.0),
        ("frequency_penalty", 0.0),
    ];
    for (key, default) in defaults {
        let given = present(request, key);
        if let Some(given) = given.filter(|given| given.as_f64() != Some(default)) {
            let why = format!(
                "Unsupported value: '{key}' does not support {given} with this model. Only the \
                 default ({default}) value is supported."
            );
            return Err(refusal(&why, json!(key), json!("unsupported_value")));
        }
    }
    for key in ["logprobs", "top_logprobs"] {
        if present(request, key).is_some_and(|given| *given != json!(false)) {
            let why = format!("Unsupported parameter: '{key}' is not supported with this model.");
            return Err(refusal(&why, json!(key), json!("unsupported_parameter")));
        }
    }
    let effort = present(request, "reasoning_effort").is_some();
    if deployment.model.starts_with("gpt-5.5") && effort && present(request, "tools").is_some() {
        let why = format!(
            "Function tools with reasoning_effort are not supported for {} in \
             /v1/chat/completions. Please use /v1/responses instead.",
            deployment.answers_as
        );
        return Err(refusal(&why, json!("reasoning_effort"), Value::Null));
    }
    Ok(())
}

/// More than the model gives is refused (the vendor's own words).
fn limit(request: &Object, deployment: &Deployment) -> Result<(), Answer> {
    let most = match deployment.model.as_str() {
        model if model.starts_with("gpt-4o") => 16_384,
        model if model.starts_with("gpt-4.1") => 32_768,
        model if model.starts_with('o') => 100_000,
        _ => 128_000,
    };
    for key in ["max_tokens", "max_completion_tokens"] {
        let given = present(request, key).and_then(Value::as_u64).unwrap_or(0);
        if given > most {
            let why = format!(
                "{key} is too large: {given}. This model supports at most {most} completion \
                 tokens, whereas you provided {given}."
            );
            return Err(refusal(&why, json!(key), json!("invalid_value")));
        }
    }
    Ok(())
}

fn numbers(request: &Object) -> Result<(), Answer> {
    for (key, least, most, whole) in NUMBERS {
        let Some(given) = present(request, key) else { continue };
        let number = if *whole { given.as_i64().map(|n| n as f64) } else { given.as_f64() };
        let Some(number) = number else {
            return Err(invalid_type(key, if *whole { "an integer" } else { "a decimal" }, given));
        };
        if !(*least..=*most).contains(&number) {
            let why = format!(
                "Invalid '{key}': expected a value from {least} to {most}, but got {given} instead."
            );
            return Err(refusal(&why, json!(key), json!("invalid_value")));
        }
    }
    for key in ["stream", "logprobs", "parallel_tool_calls", "store"] {
        if let Some(given) = present(request, key).filter(|given| !given.is_boolean()) {
            return Err(invalid_type(key, "a boolean", given));
        }
    }
    for key in ["user", "model"] {
        if let Some(given) = present(request, key).filter(|given| !given.is_string()) {
            return Err(invalid_type(key, "a string", given));
        }
    }
    let effort = present(request, "reasoning_effort");
    if effort.is_some_and(|e| !e.as_str().is_some_and(|e| EFFORTS.contains(&e))) {
        let why =
            format!("Invalid value for 'reasoning_effort'. Supported values are: {EFFORTS:?}.");
        return Err(refusal(&why, json!("reasoning_effort"), json!("invalid_value")));
    }
    let stop_fits = match present(request, "stop") {
        Some(Value::Array(all)) => all.len() <= 4 && all.iter().all(Value::is_string),
        other => other.is_none_or(Value::is_string),
    };
    if !stop_fits {
        let why = "Invalid 'stop': expected a string or up to 4 of them.";
        return Err(refusal(why, json!("stop"), json!("invalid_type")));
    }
    if present(request, "top_logprobs").is_some() && request.get("logprobs") != Some(&json!(true)) {
        let why = "Invalid value for 'top_logprobs': 'logprobs' must be true to use it.";
        return Err(refusal(why, json!("top_logprobs"), Value::Null));
    }
    Ok(())
}

fn stream(request: &Object) -> Result<(), Answer> {
    let Some(options) = present(request, "stream_options") else { return Ok(()) };
    if request.get("stream") != Some(&json!(true)) {
        let why = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
        return Err(refusal(why, json!("stream_options"), Value::Null));
    }
    let Some(options) = options.as_object() else {
        return Err(invalid_type("stream_options", "an object", options));
    };
    unknown_parameter(options, &["include_usage", "include_obfuscation"], "stream_options")
}

fn messages(request: &Object) -> Result<(), Answer> {
    let Some(messages) = present(request, "messages") else {
        let why = "Missing required parameter: 'messages'.";
        return Err(refusal(why, json!("messages"), json!("missing_required_parameter")));
    };
    let Some(messages) = messages.as_array() else {
        return Err(invalid_type("messages", "an array of objects", messages));
    };
    if messages.is_empty() {
        let why = "Invalid 'messages': empty array. Expected an array with minimum length 1, but \
                   got an empty array instead.";
        return Err(refusal(why, json!("messages"), json!("empty_array")));
    }
    let mut open = OpenCalls::default();
    for (n, message) in messages.iter().enumerate() {
        let path = format!("messages[{n}]");
        let Some(message) = message.as_object() else {
            return Err(invalid_type(&path, "an object", message));
        };
        open.next(message, &path)?;
        one_message(message, &path)?;
    }
    open.end()
}

/// The tool calls of the last assistant message that have no answer yet.
#[derive(Default)]
struct OpenCalls {
    ids: Vec<String>,
    /// Tool messages may stand here.
    answering: bool,
}

impl OpenCalls {
    fn next(&mut self, message: &Object, path: &str) -> Result<(), Answer> {
        if string(message, "role") == "tool" {
            let id = string(message, "tool_call_id");
            let asked = self.ids.iter().position(|open| open == id);
            if let (true, Some(asked)) = (self.answering, asked) {
                self.ids.remove(asked);
                return Ok(());
            }
            let why = "Invalid parameter: messages with role 'tool' must be a response to a \
                       preceeding message with 'tool_calls'.";
            return Err(refusal(why, json!(format!("{path}.role")), Value::Null));
        }
        self.end()?;
        let calls = present(message, "tool_calls").and_then(Value::as_array);
        let ids = calls.into_iter().flatten().filter_map(|call| call.get("id")?.as_str());
        self.ids = ids.map(str::to_owned).collect();
        self.answering = !self.ids.is_empty();
        Ok(())
    }

    fn end(&self) -> Result<(), Answer> {
        if self.ids.is_empty() {
            return Ok(());
        }
        let why = format!(
            "An assistant message with 'tool_calls' must be followed by tool messages \
             responding to each 'tool_call_id'. The following tool_call_ids did not have \
             response messages: {}",
            self.ids.join(", ")
        );
        Err(refusal(&why, json!("messages"), Value::Null))
    }
}

fn one_message(message: &Object, path: &str) -> Result<(), Answer> {
    unknown_parameter(message, MESSAGE_KEYS, path)?;
    let role = string(message, "role");
    let Some((_, parts)) = ROLES.iter().find(|(known, _)| *known == role) else {
        let why =
            format!("Invalid value: '{role}'. Supported values are: {:?}.", ROLES.map(|r| r.0));
        return Err(refusal(&why, json!(format!("{path}.role")), json!("invalid_value")));
    };
    let calls = present(message, "tool_calls");
    if let Some(calls) = calls {
        tool_calls(calls, role, path)?;
    }
    let may_be_null = role == "assistant"
        && ["tool_calls", "function_call", "refusal", "audio"]
            .iter()
            .any(|key| present(message, key).is_some());
    content(present(message, "content"), parts, may_be_null, path)
}

fn tool_calls(calls: &Value, role: &str, path: &str) -> Result<(), Answer> {
    let path = format!("{path}.tool_calls");
    let calls = calls.as_array().filter(|calls| !calls.is_empty() && role == "assistant");
    let Some(calls) = calls else {
        let why = format!("Invalid '{path}': only an assistant has them, and at least one.");
        return Err(refusal(&why, json!(path), json!("invalid_value")));
    };
    for (n, call) in calls.iter().enumerate() {
        let function = call.get("function");
        let is_text = |value: Option<&Value>| value.is_some_and(Value::is_string);
        let good = is_text(call.get("id"))
            && call.get("type") == Some(&json!("function"))
            && is_text(function.and_then(|f| f.get("arguments")))
            && function.and_then(|f| f.get("name")?.as_str()).is_some_and(is_tool_name);
        if !good {
            let why = format!(
                "Invalid '{path}[{n}]': expected a string id, type 'function', and a function \
                 with a name and its arguments as a string."
            );
            return Err(refusal(&why, json!(format!("{path}[{n}]")), json!("invalid_value")));
        }
        if let Some(call) = call.as_object() {
            unknown_parameter(call, &["id", "type", "function"], &format!("{path}[{n}]"))?;
        }
    }
    Ok(())
}

fn content(
    content: Option<&Value>,
    parts_known: &[&str],
    may_be_null: bool,
    path: &str,
) -> Result<(), Answer> {
    let path = format!("{path}.content");
    match content {
        Some(Value::String(_)) => Ok(()),
        None if may_be_null => Ok(()),
        Some(Value::Array(parts)) if !parts.is_empty() => {
            let mut parts = parts.iter().enumerate();
            parts.try_for_each(|(n, part)| one_part(part, parts_known, &format!("{path}[{n}]")))
        }
        other => {
            let got = other.unwrap_or(&Value::Null);
            Err(invalid_type(&path, "one of a string or array of objects", got))
        }
    }
}

fn one_part(part: &Value, known: &[&str], path: &str) -> Result<(), Answer> {
    let Some(object) = part.as_object() else {
        return Err(invalid_type(path, "an object", part));
    };
    let kind = string(object, "type");
    let row = PARTS.iter().find(|(known_kind, _)| *known_kind == kind && known.contains(&kind));
    let Some((_, field)) = row else {
        let why = format!("Invalid value: '{kind}'. Supported values are: {known:?}.");
        return Err(refusal(&why, json!(format!("{path}.type")), json!("invalid_value")));
    };
    unknown_parameter(object, &["type", field], path)?;
    let value = object.get(*field).unwrap_or(&Value::Null);
    let path = format!("{path}.{field}");
    match kind {
        "text" | "refusal" if value.is_string() => Ok(()),
        "image_url" => image(value, &path),
        "input_audio" | "file" if value.is_object() => Ok(()),
        _ => Err(invalid_type(&path, "another type", value)),
    }
}

fn image(value: &Value, path: &str) -> Result<(), Answer> {
    let Some(object) = value.as_object() else {
        return Err(invalid_type(path, "an object", value));
    };
    unknown_parameter(object, &["url", "detail"], path)?;
    let url = string(object, "url");
    let inline = url.strip_prefix("data:image/").is_some_and(|rest| rest.contains(";base64,"));
    if inline || url.starts_with("https://") || url.starts_with("http://") {
        return Ok(());
    }
    let why = format!(
        "Invalid '{path}.url'. Expected a valid URL or a base64-encoded data URL of an image."
    );
    Err(refusal(&why, json!(format!("{path}.url")), json!("invalid_value")))
}

fn tools(request: &Object) -> Result<(), Answer> {
    let Some(tools) = present(request, "tools") else {
        let lonely = ["tool_choice", "parallel_tool_calls"]
            .into_iter()
            .find(|key| present(request, key).is_some());
        return lonely.map_or(Ok(()), |key| {
            let why = format!(
                "Invalid value for '{key}': '{key}' is only allowed when 'tools' are specified."
            );
            Err(refusal(&why, json!(key), Value::Null))
        });
    };
    let Some(tools) = tools.as_array().filter(|tools| !tools.is_empty()) else {
        let why = "Invalid 'tools': expected an array with minimum length 1.";
        return Err(refusal(why, json!("tools"), json!("empty_array")));
    };
    let mut names = Vec::new();
    for (n, tool) in tools.iter().enumerate() {
        names.push(one_tool(tool, &format!("tools[{n}]"))?);
    }
    tool_choice(request, &names)
}

fn one_tool<'a>(tool: &'a Value, path: &str) -> Result<&'a str, Answer> {
    let kind = tool.get("type").unwrap_or(&Value::Null);
    if kind != "function" {
        let why = format!("Invalid value: {kind}. Supported values are: 'function'.");
        return Err(refusal(&why, json!(format!("{path}.type")), json!("invalid_value")));
    }
    let (tool, function) = (tool.as_object(), tool.get("function").and_then(Value::as_object));
    let (Some(tool), Some(function)) = (tool, function) else {
        let why = format!("Missing required parameter: '{path}.function'.");
        let param = json!(format!("{path}.function"));
        return Err(refusal(&why, param, json!("missing_required_parameter")));
    };
    unknown_parameter(tool, &["type", "function"], path)?;
    let path = format!("{path}.function");
    unknown_parameter(function, &["name", "description", "parameters", "strict"], &path)?;
    let name = string(function, "name");
    if !is_tool_name(name) {
        let why = format!(
            "Invalid '{path}.name': string does not match pattern. Expected a string that matches \
             the pattern '^[a-zA-Z0-9_-]{{1,64}}$'."
        );
        return Err(refusal(&why, json!(format!("{path}.name")), json!("invalid_value")));
    }
    match present(function, "parameters") {
        Some(given) if !given.is_object() => {
            Err(invalid_type(&format!("{path}.parameters"), "an object", given))
        }
        _ => Ok(name),
    }
}

fn tool_choice(request: &Object, names: &[&str]) -> Result<(), Answer> {
    let good = match present(request, "tool_choice") {
        None => true,
        Some(Value::String(word)) => ["none", "auto", "required"].contains(&word.as_str()),
        Some(choice) => {
            let name = choice.pointer("/function/name").and_then(Value::as_str);
            choice["type"] == "function" && name.is_some_and(|name| names.contains(&name))
        }
    };
    if good {
        return Ok(());
    }
    let why = "Invalid value for 'tool_choice': expected none, auto, required or one of the tools.";
    Err(refusal(why, json!("tool_choice"), json!("invalid_value")))
}

fn response_format(request: &Object) -> Result<(), Answer> {
    let Some(format) = present(request, "response_format") else { return Ok(()) };
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(()),
        Some("json_object") => {
            let said = request.get("messages").map(Value::to_string).unwrap_or_default();
            if said.to_lowercase().contains("json") {
                return Ok(());
            }
            let why = "'messages' must contain the word 'json' in some form, to use \
                       'response_format' of type 'json_object'.";
            Err(refusal(why, json!("messages"), Value::Null))
        }
        Some("json_schema") => {
            let path = "response_format.json_schema";
            let Some(inner) = format.get("json_schema").and_then(Value::as_object) else {
                let why = format!("Missing required parameter: '{path}'.");
                return Err(refusal(&why, json!(path), json!("missing_required_parameter")));
            };
            unknown_parameter(inner, &["name", "description", "schema", "strict"], path)?;
            if !is_tool_name(string(inner, "name")) {
                let why = format!("Invalid '{path}.name'.");
                return Err(refusal(&why, json!(format!("{path}.name")), json!("invalid_value")));
            }
            let schema = inner.get("schema").unwrap_or(&Value::Null);
            if inner.get("strict") == Some(&json!(true)) {
                return strict_schema(schema).map_err(|what| {
                    let name = string(inner, "name");
                    let why = format!("Invalid schema for response_format '{name}': {what}");
                    refusal(&why, json!("response_format"), Value::Null)
                });
            }
            if schema.is_object() { Ok(()) } else { Err(invalid_type(path, "an object", schema)) }
        }
        _ => {
            let why = "Invalid value for 'response_format.type'. Supported values are: 'text', \
                       'json_object', 'json_schema'.";
            Err(refusal(why, json!("response_format.type"), json!("invalid_value")))
        }
    }
}

/// A strict schema closes every object and requires all of its properties; `Err` says what is
/// wrong.
pub(super) fn strict_schema(schema: &Value) -> Result<(), &'static str> {
    if schema.get("type") == Some(&json!("object")) {
        if schema.get("additionalProperties") != Some(&json!(false)) {
            return Err("'additionalProperties' is required to be supplied and to be false.");
        }
        let required = schema.get("required").and_then(Value::as_array);
        let properties = schema.get("properties").and_then(Value::as_object);
        let mut names = properties.into_iter().flat_map(|p| p.keys());
        if !names.all(|n| required.is_some_and(|r| r.contains(&json!(n)))) {
            return Err("'required' is required to be an array including every key in properties.");
        }
    }
    let children: Box<dyn Iterator<Item = &Value>> = match schema {
        Value::Object(object) => Box::new(object.values()),
        Value::Array(array) => Box::new(array.iter()),
        _ => return Ok(()),
    };
    children.into_iter().try_for_each(strict_schema)
}

fn unknown_parameter(object: &Object, known: &[&str], path: &str) -> Result<(), Answer> {
    let unknown = object.keys().find(|key| !known.contains(&key.as_str()));
    unknown.map_or(Ok(()), |key| {
        let why = format!("Unknown parameter: '{path}.{key}'.");
        Err(refusal(&why, json!(format!("{path}.{key}")), json!("unknown_parameter")))
    })
}

pub(super) fn invalid_type(path: &str, wanted: &str, got: &Value) -> Answer {
    let got = match got {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    let why = format!("Invalid type for '{path}': expected {wanted}, but got {got} instead.");
    refusal(&why, json!(path), json!("invalid_type"))
}

pub(super) fn string<'a>(object: &'a Object, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn is_tool_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=64).contains(&name.len()) && name.bytes().all(fits)
}

#[rustfmt::skip]
const CHAT_KEYS: &[&str] = &[
    "messages", "model", "audio", "data_sources", "frequency_penalty", "function_call",
    "functions", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens", "metadata",
    "modalities", "n", "parallel_tool_calls", "prediction", "presence_penalty",
    "prompt_cache_key", "prompt_cache_retention", "reasoning_effort", "response_format",
    "safety_identifier", "seed", "service_tier", "stop", "store", "stream", "stream_options",
    "temperature", "tool_choice", "tools", "top_logprobs", "top_p", "user",
    "user_security_context", "verbosity", "web_search_options",
];
#[rustfmt::skip]
const MESSAGE_KEYS: &[&str] = &[
    "role", "content", "name", "tool_calls", "tool_call_id", "function_call", "refusal",
    "audio", "annotations",
];
/// Role → the part types its content may have.
const ROLES: [(&str, &[&str]); 6] = [
    ("system", &["text"]),
    ("developer", &["text"]),
    ("user", &["text", "image_url", "input_audio", "file"]),
    ("assistant", &["text", "refusal"]),
    ("tool", &["text"]),
    ("function", &["text"]),
];
/// Part type → the field that holds it.
const PARTS: [(&str, &str); 5] = [
    ("text", "text"),
    ("refusal", "refusal"),
    ("image_url", "image_url"),
    ("input_audio", "input_audio"),
    ("file", "file"),
];
/// Key, least, most, whole numbers only.
const NUMBERS: &[(&str, f64, f64, bool)] = &[
    ("temperature", 0.0, 2.0, false),
    ("top_p", 0.0, 1.0, false),
    ("presence_penalty", -2.0, 2.0, false),
    ("frequency_penalty", -2.0, 2.0, false),
    ("n", 1.0, 128.0, true),
    ("max_tokens", 1.0, 1e9, true),
    ("max_completion_tokens", 1.0, 1e9, true),
    ("top_logprobs", 0.0, 20.0, true),
    ("seed", i64::MIN as f64, i64::MAX as f64, true),
];
pub(super) const EFFORTS: [&str; 6] = ["none", "minimal", "low", "medium", "high", "xhigh"];
