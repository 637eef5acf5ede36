//! What Converse refuses, in its words as far as they are known.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::super::bedrock::{
    Object, image_kind, is_name, is_redacted, items, present, refusal, signature,
};
use super::super::claude::check::{Check, Model, thinks as claude_thinks};
use super::super::http::Content;
use super::super::{Answer, Call};

type Checked = Result<(), Answer>;

pub(super) fn object(body: &[u8]) -> Result<Object, Answer> {
    serde_json::from_slice(body).map_err(|_| malformed("#: expected type: JSONObject"))
}

pub(super) fn request(request: &Object, call: &Call<'_>) -> Checked {
    if request.values().any(has_cache_control) {
        return Err(Answer::json(400, &json!({})));
    }
    known(request, KEYS, "", call)?;
    system(request, call)?;
    inference(request, call)?;
    let names = tools(request, call)?;
    tool_choice(request, &names, call)?;
    messages(request, call)?;
    cache_points(request)?;
    additional(request, call)
}

pub(super) fn thinks(request: &Object) -> bool {
    let fields = request.get("additionalModelRequestFields").and_then(Value::as_object);
    fields.is_some_and(claude_thinks)
}

pub(super) fn output_tokens_max(call: &Call<'_>) -> u64 {
    match is_claude(call) {
        true => Model::of(call.deployment).output_tokens_max,
        false => NOVA_OUTPUT_TOKENS_MAX,
    }
}

fn is_claude(call: &Call<'_>) -> bool {
    call.deployment.model.starts_with("anthropic--")
}

fn has_cache_control(value: &Value) -> bool {
    match value {
        Value::Object(object) => {
            object.contains_key("cache_control") || object.values().any(has_cache_control)
        }
        Value::Array(all) => all.iter().any(has_cache_control),
        _ => false,
    }
}

fn system(request: &Object, call: &Call<'_>) -> Checked {
    let Some(system) = present(request, "system") else { return Ok(()) };
    for (n, block) in list(system, "system")?.iter().enumerate() {
        let path = format!("system.{n}");
        let (key, value) =
            union(block, &["text", "cachePoint"], "SystemContentBlock", &path, call)?;
        match key {
            "text" => text(value, "SystemContentBlock", &path)?,
            _ => cache_point(value, &path, call)?,
        }
    }
    Ok(())
}

fn inference(request: &Object, call: &Call<'_>) -> Checked {
    let Some(config) = present(request, "inferenceConfig") else { return Ok(()) };
    let config = structure(config, "inferenceConfig")?;
    let keys = &["maxTokens", "temperature", "topP", "stopSequences"];
    known(config, keys, "inferenceConfig", call)?;
    if let Some(given) = present(config, "maxTokens") {
        let most = output_tokens_max(call);
        if !given.as_u64().is_some_and(|given| (1..=most).contains(&given)) {
            return Err(refusal(&format!(
                "The maximum tokens you requested exceeds the model limit of {most}. Try again \
                 with a maximum tokens value that is lower than {most}."
            )));
        }
    }
    for key in ["temperature", "topP"] {
        let given = present(config, key);
        if given.is_some_and(|n| !n.as_f64().is_some_and(|n| (0.0..=1.0).contains(&n))) {
            return Err(invalid(&format!("inferenceConfig.{key}"), "must be from 0 to 1"));
        }
    }
    let Some(stops) = present(config, "stopSequences") else { return Ok(()) };
    let is_text = |stop: &Value| stop.as_str().is_some_and(|stop| !stop.is_empty());
    if list(stops, "inferenceConfig.stopSequences")?.iter().all(is_text) {
        return Ok(());
    }
    Err(invalid("inferenceConfig.stopSequences", "must have length greater than or equal to 1"))
}

fn tools<'a>(request: &'a Object, call: &Call<'_>) -> Result<Vec<&'a str>, Answer> {
    let Some(config) = present(request, "toolConfig") else { return Ok(Vec::new()) };
    let config = structure(config, "toolConfig")?;
    known(config, &["tools", "toolChoice"], "toolConfig", call)?;
    let tools = list(config.get("tools").unwrap_or(&Value::Null), "toolConfig.tools")?;
    let mut names = Vec::new();
    for (n, tool) in tools.iter().enumerate() {
        let path = format!("toolConfig.tools.{n}");
        match union(tool, &["toolSpec", "cachePoint"], "Tool", &path, call)? {
            ("toolSpec", spec) => names.push(tool_spec(spec, &path, call)?),
            (_, point) => cache_point(point, &path, call)?,
        }
    }
    let is_repeated = |name: &&&str| names.iter().filter(|other| other == name).count() > 1;
    if let Some(name) = names.iter().find(is_repeated) {
        let why = format!("The toolConfig.tools field contains a duplicate name: {name}");
        return Err(refusal(&why));
    }
    match names.is_empty() {
        true => Err(invalid("toolConfig.tools", "must have length greater than or equal to 1")),
        false => Ok(names),
    }
}

fn tool_spec<'a>(spec: &'a Value, path: &str, call: &Call<'_>) -> Result<&'a str, Answer> {
    let path = format!("{path}.toolSpec");
    let spec = structure(spec, &path)?;
    known(spec, &["name", "description", "inputSchema"], &path, call)?;
    let name = name(spec, "name", &path)?;
    let description = spec.get("description");
    if description.is_some_and(|given| given.as_str().is_none_or(str::is_empty)) {
        let path = format!("{path}.description");
        return Err(invalid(&path, "must have length greater than or equal to 1"));
    }
    let path = format!("{path}.inputSchema");
    let schema = structure(spec.get("inputSchema").unwrap_or(&Value::Null), &path)?;
    known(schema, &["json"], &path, call)?;
    if schema.get("json").is_some_and(|json| json["type"] == "object") {
        return Ok(name);
    }
    Err(refusal(&format!("The value at {path}.json.type must be one of the following: object.")))
}

fn tool_choice(request: &Object, names: &[&str], call: &Call<'_>) -> Checked {
    let choice = request.get("toolConfig").and_then(|config| config.get("toolChoice"));
    let Some(choice) = choice else { return Ok(()) };
    let path = "toolConfig.toolChoice";
    let (key, value) = union(choice, &["auto", "any", "tool"], "ToolChoice", path, call)?;
    let path = format!("{path}.{key}");
    let value = structure(value, &path)?;
    known(value, if key == "tool" { &["name"] } else { &[] }, &path, call)?;
    if key == "tool" && !names.contains(&name(value, "name", &path)?) {
        return Err(refusal(&format!(
            "The value at {path}.name does not match the name of any tool in toolConfig.tools."
        )));
    }
    Ok(())
}

fn messages(request: &Object, call: &Call<'_>) -> Checked {
    let messages = request.get("messages").unwrap_or(&Value::Null);
    let messages = list(messages, "messages")?;
    for (n, message) in messages.iter().enumerate() {
        one_message(message, &format!("messages.{n}"), call)?;
    }
    if messages.first().is_none_or(|first| first["role"] != "user") {
        return Err(refusal(
            "A conversation must start with a user message. Try again with a conversation that \
             starts with a user message.",
        ));
    }
    if messages.windows(2).any(|two| two[0]["role"] == two[1]["role"]) {
        return Err(refusal(
            "A conversation must alternate between user and assistant roles. Make sure the \
             conversation alternates between user and assistant roles and try again.",
        ));
    }
    let blocks = || messages.iter().flat_map(|message| items(&message["content"]));
    let is_of_tools =
        |block: &Value| block.get("toolUse").is_some() || block.get("toolResult").is_some();
    if blocks().any(is_of_tools) && present(request, "toolConfig").is_none() {
        return Err(refusal(
            "The toolConfig field must be defined when using toolUse and toolResult content \
             blocks.",
        ));
    }
    answered(messages)?;
    let prefills = messages.last().is_some_and(|last| last["role"] == "assistant");
    if prefills && is_claude(call) && Model::of(call.deployment).version >= (4, 6) {
        return Err(by_model(
            "This model does not support assistant message prefill. The conversation must end \
             with a user message.",
        ));
    }
    Ok(())
}

fn one_message(message: &Value, path: &str, call: &Call<'_>) -> Checked {
    let message = structure(message, path)?;
    known(message, &["role", "content"], path, call)?;
    let role = message.get("role").and_then(Value::as_str).unwrap_or_default();
    let keys = match role {
        "user" => USER_BLOCKS,
        "assistant" => ASSISTANT_BLOCKS,
        _ => {
            return Err(invalid(
                &format!("{path}.role"),
                "must satisfy enum value set: [user, assistant]",
            ));
        }
    };
    let content = list(message.get("content").unwrap_or(&Value::Null), &format!("{path}.content"))?;
    if content.is_empty() {
        return Err(refusal(&format!(
            "The content field in the Message object at {path} is empty. Add a ContentBlock \
             object to the content field and try again."
        )));
    }
    for (n, block) in content.iter().enumerate() {
        one_block(block, keys, &format!("{path}.content.{n}"), call)?;
    }
    let has = |key: &str| content.iter().any(|block| block.get(key).is_some());
    if has("document") && !has("text") {
        return Err(refusal(&format!(
            "A text block must be included along with document blocks at {path}.content."
        )));
    }
    Ok(())
}

fn one_block(block: &Value, keys: &[&str], path: &str, call: &Call<'_>) -> Checked {
    let (key, value) = union(block, keys, "ContentBlock", path, call)?;
    if key == "text" {
        return text(value, "ContentBlock", path);
    }
    if key == "json" {
        return structure(value, &format!("{path}.json")).map(|_| ());
    }
    let path = format!("{path}.{key}");
    match key {
        "image" => image(value, &path, call),
        "document" => document(value, &path, call),
        "toolUse" => tool_use(value, &path, call),
        "toolResult" => tool_result(value, &path, call),
        "reasoningContent" => reasoning(value, &path, call),
        _ => cache_point(value, &path, call),
    }
}

fn text(value: &Value, what: &str, path: &str) -> Checked {
    match value {
        Value::String(text) if !text.trim().is_empty() => Ok(()),
        Value::String(_) => Err(refusal(&format!(
            "The text field in the {what} object at {path} is blank. Add text to the text field, \
             and try again."
        ))),
        _ => Err(malformed(&format!("#/{path}/text: expected type: String"))),
    }
}

fn image(value: &Value, path: &str, call: &Call<'_>) -> Checked {
    let (format, bytes) = media(value, &["format", "source"], path, call)?;
    let found = image_kind(&bytes);
    if ["png", "jpeg", "gif", "webp"].contains(&format) && found == Some(format) {
        return Ok(());
    }
    Err(by_model(&format!("{path}: Could not process image: {format} is not what the bytes are")))
}

fn document(value: &Value, path: &str, call: &Call<'_>) -> Checked {
    let (format, _) = media(value, &["format", "name", "source"], path, call)?;
    if !DOCUMENT_FORMATS.contains(&format) {
        return Err(invalid(&format!("{path}.format"), "must satisfy enum value set"));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || " -()[]".contains(c);
    let name = value["name"].as_str().unwrap_or_default();
    if !name.is_empty() && name.chars().all(fits) && !name.contains("  ") {
        return Ok(());
    }
    Err(refusal(
        "The document file name can only contain alphanumeric characters, whitespace characters, \
         hyphens, parentheses, and square brackets. The name can't contain more than one \
         consecutive whitespace character.",
    ))
}

/// The format and the bytes.
fn media<'a>(
    value: &'a Value,
    keys: &[&str],
    path: &str,
    call: &Call<'_>,
) -> Result<(&'a str, Vec<u8>), Answer> {
    let media = structure(value, path)?;
    known(media, keys, path, call)?;
    let path = format!("{path}.source");
    let source = structure(media.get("source").unwrap_or(&Value::Null), &path)?;
    known(source, &["bytes"], &path, call)?;
    let bytes = source.get("bytes").and_then(|bytes| STANDARD.decode(bytes.as_str()?).ok());
    let bytes = bytes.filter(|bytes| !bytes.is_empty());
    let bytes = bytes.ok_or_else(|| invalid(&format!("{path}.bytes"), "must be base64"))?;
    Ok((media.get("format").and_then(Value::as_str).unwrap_or_default(), bytes))
}

fn tool_use(value: &Value, path: &str, call: &Call<'_>) -> Checked {
    let tool = structure(value, path)?;
    known(tool, &["toolUseId", "name", "input"], path, call)?;
    name(tool, "toolUseId", path)?;
    name(tool, "name", path)?;
    match tool.get("input") {
        Some(Value::Object(_)) => Ok(()),
        _ => Err(refusal(&format!(
            "The format of the value at {path}.input is invalid. Provide a json object for \
             the field and try again."
        ))),
    }
}

fn tool_result(value: &Value, path: &str, call: &Call<'_>) -> Checked {
    let result = structure(value, path)?;
    known(result, &["toolUseId", "content", "status"], path, call)?;
    name(result, "toolUseId", path)?;
    let status = present(result, "status");
    if status.is_some_and(|status| status != "success" && status != "error") {
        return Err(invalid(
            &format!("{path}.status"),
            "must satisfy enum value set: [success, error]",
        ));
    }
    let content = list(result.get("content").unwrap_or(&Value::Null), &format!("{path}.content"))?;
    for (n, block) in content.iter().enumerate() {
        one_block(block, RESULT_BLOCKS, &format!("{path}.content.{n}"), call)?;
    }
    Ok(())
}

fn reasoning(value: &Value, path: &str, call: &Call<'_>) -> Checked {
    if !is_claude(call) {
        return Err(refusal(
            "This model doesn't support the reasoningContent field. Remove reasoningContent and \
             try again.",
        ));
    }
    let keys = &["reasoningText", "redactedContent"];
    let (key, value) = union(value, keys, "ReasoningContentBlock", path, call)?;
    if key == "redactedContent" {
        return match value.as_str().is_some_and(is_redacted) {
            true => Ok(()),
            false => Err(by_model(&format!("{path}: Invalid `data` in `redacted_thinking` block"))),
        };
    }
    let path = format!("{path}.reasoningText");
    let reasoning = structure(value, &path)?;
    known(reasoning, &["text", "signature"], &path, call)?;
    let thought = reasoning.get("text").and_then(Value::as_str).unwrap_or_default();
    if reasoning.get("signature").is_some_and(|given| *given == signature(thought)) {
        return Ok(());
    }
    Err(by_model(&format!("{path}: Invalid `signature` in `thinking` block")))
}

/// Every call is answered at once, once and first of all; nothing else is.
fn answered(messages: &[Value]) -> Checked {
    let mut asked: Vec<&str> = Vec::new();
    for (n, message) in messages.iter().enumerate() {
        let content = items(&message["content"]);
        let results = content.iter().take_while(|block| block.get("toolResult").is_some());
        let given = results.filter_map(|b| b["toolResult"]["toolUseId"].as_str());
        let mut left = asked.clone();
        for id in given {
            let Some(at) = left.iter().position(|asked| *asked == id) else {
                return Err(refusal(&format!(
                    "The number of toolResult blocks at messages.{n}.content exceeds the number \
                     of toolUse blocks of previous turn."
                )));
            };
            left.remove(at);
        }
        let ids = |key: &str| {
            let blocks = content.iter().filter_map(|b| b[key]["toolUseId"].as_str());
            blocks.collect::<Vec<_>>()
        };
        if !left.is_empty() || ids("toolResult").len() != asked.len() {
            return Err(expected(n, &left));
        }
        asked = ids("toolUse");
    }
    if asked.is_empty() { Ok(()) } else { Err(expected(messages.len(), &asked)) }
}

fn expected(n: usize, ids: &[&str]) -> Answer {
    let ids = ids.join(", ");
    refusal(&format!(
        "Expected toolResult blocks at messages.{n}.content for the following Ids: {ids}"
    ))
}

fn cache_point(value: &Value, path: &str, call: &Call<'_>) -> Checked {
    let point = structure(value, path)?;
    known(point, &["type"], path, call)?;
    if point.get("type").is_some_and(|kind| kind == "default") {
        return Ok(());
    }
    Err(invalid(&format!("{path}.type"), "must satisfy enum value set: [default]"))
}

fn cache_points(request: &Object) -> Checked {
    let count =
        request.values().map(Value::to_string).map(|text| text.matches("\"cachePoint\":{").count());
    if count.sum::<usize>() <= CACHE_POINTS_MAX {
        return Ok(());
    }
    Err(refusal("You exceeded the maximum number of cache checkpoints: 4."))
}

/// What goes to the model as it is.
fn additional(request: &Object, call: &Call<'_>) -> Checked {
    let path = "additionalModelRequestFields";
    let empty = Map::new();
    let fields = match present(request, path) {
        Some(fields) => structure(fields, path)?,
        None => &empty,
    };
    if !is_claude(call) {
        return known(fields, &["inferenceConfig"], path, call);
    }
    known(fields, &["thinking", "anthropic_beta", "top_k", "output_config"], path, call)?;
    let mut whole = fields.clone();
    let inference = request.get("inferenceConfig");
    for (key, by_claude) in
        [("temperature", "temperature"), ("topP", "top_p"), ("maxTokens", "max_tokens")]
    {
        let given = inference.and_then(|config| config.get(key));
        whole.extend(given.map(|given| (by_claude.to_owned(), given.clone())));
    }
    let choice = request.get("toolConfig").and_then(|config| config.get("toolChoice")?.as_object());
    let choice = choice.and_then(|choice| choice.keys().next());
    whole.extend(choice.map(|key| ("tool_choice".to_owned(), json!({ "type": key }))));
    let check = Check::new(call);
    let checked = check.betas(&whole).and_then(|()| check.sampling(&whole));
    checked.and_then(|()| check.thinking(&whole)).map_err(|refused| match refused.content {
        Content::Whole(body) => by_model(&message_of(&body)),
        Content::Stream(_) => refused,
    })
}

fn message_of(body: &str) -> String {
    let body = serde_json::from_str::<Value>(body).unwrap_or_default();
    body["message"].as_str().unwrap_or_default().to_owned()
}

fn known(object: &Object, keys: &[&str], path: &str, call: &Call<'_>) -> Checked {
    for key in object.keys() {
        let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        if call.fault.refuse.contains(&full) {
            return Err(by_model(&format!("{full}: Extra inputs are not permitted")));
        }
        if !keys.contains(&key.as_str()) && !call.fault.accept.contains(&full) {
            let pointer = path.replace('.', "/");
            let pointer = if path.is_empty() { "#".to_owned() } else { format!("#/{pointer}") };
            return Err(malformed(&format!("{pointer}: extraneous key [{key}] is not permitted")));
        }
    }
    Ok(())
}

/// The one key that is there, and its value.
fn union<'a>(
    value: &'a Value,
    keys: &[&str],
    what: &str,
    path: &str,
    call: &Call<'_>,
) -> Result<(&'a str, &'a Value), Answer> {
    let object = structure(value, path)?;
    known(object, keys, path, call)?;
    match object.iter().collect::<Vec<_>>().as_slice() {
        [(key, value)] => Ok((key.as_str(), value)),
        _ => Err(refusal(&format!(
            "The {what} object at {path} must set one of the following keys: {}.",
            keys.join(", ")
        ))),
    }
}

fn structure<'a>(value: &'a Value, path: &str) -> Result<&'a Object, Answer> {
    let why = || malformed(&format!("#/{}: expected type: JSONObject", path.replace('.', "/")));
    value.as_object().ok_or_else(why)
}

fn list<'a>(value: &'a Value, path: &str) -> Result<&'a [Value], Answer> {
    let why = || malformed(&format!("#/{}: expected type: JSONArray", path.replace('.', "/")));
    value.as_array().map(Vec::as_slice).ok_or_else(why)
}

fn name<'a>(object: &'a Object, key: &str, path: &str) -> Result<&'a str, Answer> {
    let given = object.get(key).and_then(Value::as_str).unwrap_or_default();
    if is_name(given, 64) {
        return Ok(given);
    }
    let why = "must satisfy regular expression pattern: [a-zA-Z0-9_-]{1,64}";
    Err(invalid(&format!("{path}.{key}"), why))
}

fn invalid(path: &str, why: &str) -> Answer {
    refusal(&format!(
        "1 validation error detected: Value at '{path}' failed to satisfy constraint: Member {why}"
    ))
}

fn malformed(what: &str) -> Answer {
    refusal(&format!("Malformed input request: {what}, please reformat your input and try again."))
}

fn by_model(why: &str) -> Answer {
    refusal(&format!("The model returned the following errors: {why}"))
}

const KEYS: &[&str] = &[
    "messages",
    "system",
    "inferenceConfig",
    "toolConfig",
    "additionalModelRequestFields",
    "additionalModelResponseFieldPaths",
];
const USER_BLOCKS: &[&str] = &["text", "image", "document", "toolResult", "cachePoint"];
const ASSISTANT_BLOCKS: &[&str] = &["text", "toolUse", "reasoningContent", "cachePoint"];
const RESULT_BLOCKS: &[&str] = &["text", "json", "image", "document"];
const DOCUMENT_FORMATS: [&str; 9] =
    ["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"];
const NOVA_OUTPUT_TOKENS_MAX: u64 = 10_000;
const CACHE_POINTS_MAX: usize = 4;
