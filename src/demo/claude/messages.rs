//! What Bedrock refuses of the messages of a Messages request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::super::Answer;
use super::super::bedrock::{
    Object, image_kind, is_name, is_redacted, items, present, refusal, signature,
};
use super::check::{Check, dictionary, string, tagged};

pub(super) fn check(check: &mut Check<'_>, request: &Object) -> Result<(), Answer> {
    let Some(messages) = request["messages"].as_array() else {
        return Err(refusal("messages: Input should be a valid list"));
    };
    for (n, message) in messages.iter().enumerate() {
        let is_last = n + 1 == messages.len();
        one_message(check, message, &format!("messages.{n}"), is_last)?;
    }
    let Some(first) = messages.first() else {
        return Err(refusal("messages: at least one message is required"));
    };
    if first["role"] != "user" {
        return Err(refusal("messages: first message must use the \"user\" role"));
    }
    answered(messages)?;
    ending(check, messages)?;
    let is_enabled = request.get("thinking").is_some_and(|thinking| thinking["type"] == "enabled");
    if is_enabled { thinking_first(messages) } else { Ok(()) }
}

fn one_message(
    check: &mut Check<'_>,
    message: &Value,
    path: &str,
    is_last: bool,
) -> Result<(), Answer> {
    let message = dictionary(message, path)?;
    let role = string(message, "role", path)?;
    let tags = match role {
        "user" => USER_BLOCKS,
        "assistant" => ASSISTANT_BLOCKS,
        "system" => return Err(refusal("role 'system' is not supported on this model")),
        _ => return Err(refusal(&format!("{path}.role: Input should be 'user' or 'assistant'"))),
    };
    check.known(message, &["role", "content"], path)?;
    let content = message.get("content").unwrap_or(&Value::Null);
    let is_empty = content.as_str() == Some("") || content.as_array().is_some_and(Vec::is_empty);
    if is_empty && !(is_last && role == "assistant") {
        return Err(refusal(&format!(
            "{path}: all messages must have non-empty content except for the optional final \
             assistant message"
        )));
    }
    match content {
        Value::String(text) if text.is_empty() => Ok(()),
        Value::String(text) => not_blank(text, "messages"),
        Value::Array(blocks) => {
            let mut blocks = blocks.iter().enumerate();
            blocks.try_for_each(|(n, block)| {
                one_block(check, block, tags, &format!("{path}.content.{n}"))
            })
        }
        _ => Err(refusal(&format!("{path}.content: Input should be a valid list"))),
    }
}

fn one_block(
    check: &mut Check<'_>,
    block: &Value,
    tags: &[&str],
    path: &str,
) -> Result<(), Answer> {
    let block = dictionary(block, path)?;
    let kind = block.get("type").and_then(Value::as_str).unwrap_or_default();
    let elsewhere = [("tool_use", "assistant"), ("tool_result", "user"), ("thinking", "assistant")];
    let elsewhere = elsewhere.iter().find(|(tag, _)| *tag == kind && !tags.contains(tag));
    if let Some((tag, role)) = elsewhere {
        return Err(refusal(&format!("{path}: `{tag}` blocks can only be in `{role}` messages")));
    }
    let kind = tagged(block, tags, path)?;
    match kind {
        "text" => text(check, block, path, "messages"),
        "image" => image(check, block, &format!("{path}.image")),
        "document" => document(check, block, &format!("{path}.document")),
        "tool_use" => tool_use(check, block, &format!("{path}.tool_use")),
        "tool_result" => tool_result(check, block, path),
        "thinking" => thinking(check, block, path),
        "redacted_thinking" => redacted_thinking(check, block, path),
        _ => {
            let keys = &["type", "source", "title", "content", "citations", "cache_control"];
            check.known(block, keys, &format!("{path}.{kind}"))?;
            check.cache_control(block, &format!("{path}.{kind}"))
        }
    }
}

/// `place` is what the complaint about a blank one begins with.
pub(super) fn text(
    check: &mut Check<'_>,
    block: &Object,
    path: &str,
    place: &str,
) -> Result<(), Answer> {
    let path = format!("{path}.text");
    check.known(block, &["type", "text", "cache_control", "citations"], &path)?;
    let text = string(block, "text", &path)?;
    if text.is_empty() && present(block, "cache_control").is_some() {
        return Err(refusal(&format!("{path}: cache_control cannot be set for empty text blocks")));
    }
    not_blank(text, place)?;
    check.cache_control(block, &path)
}

fn not_blank(text: &str, place: &str) -> Result<(), Answer> {
    if text.is_empty() {
        return Err(refusal(&format!("{place}: text content blocks must be non-empty")));
    }
    if text.trim().is_empty() {
        let why = format!("{place}: text content blocks must contain non-whitespace text");
        return Err(refusal(&why));
    }
    Ok(())
}

fn image(check: &mut Check<'_>, block: &Object, path: &str) -> Result<(), Answer> {
    check.known(block, &["type", "source", "cache_control"], path)?;
    check.cache_control(block, path)?;
    let path = format!("{path}.source");
    let source = dictionary(block.get("source").unwrap_or(&Value::Null), &path)?;
    tagged(source, &["base64"], &path)?;
    let path = format!("{path}.base64");
    let (kind, bytes) = media(check, source, &path)?;
    if !IMAGE_TYPES.contains(&kind) {
        return Err(refusal(&format!(
            "{path}.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or \
             'image/webp'"
        )));
    }
    match image_kind(&bytes) {
        None => Err(refusal("Could not process image")),
        Some(found) if kind == format!("image/{found}") => Ok(()),
        Some(found) => Err(refusal(&format!(
            "{path}.data: The image was specified using the {kind} media type, but the image \
             appears to be a image/{found} image"
        ))),
    }
}

fn document(check: &mut Check<'_>, block: &Object, path: &str) -> Result<(), Answer> {
    let keys = &["type", "source", "title", "context", "citations", "cache_control"];
    check.known(block, keys, path)?;
    check.cache_control(block, path)?;
    let path = format!("{path}.source");
    let source = dictionary(block.get("source").unwrap_or(&Value::Null), &path)?;
    if tagged(source, &["base64", "text"], &path)? == "text" {
        let path = format!("{path}.text");
        check.known(source, &["type", "media_type", "data"], &path)?;
        string(source, "data", &path)?;
        return match string(source, "media_type", &path)? {
            "text/plain" => Ok(()),
            _ => Err(refusal(&format!("{path}.media_type: Input should be 'text/plain'"))),
        };
    }
    let path = format!("{path}.base64");
    let (kind, bytes) = media(check, source, &path)?;
    if kind != "application/pdf" {
        return Err(refusal(&format!("{path}.media_type: Input should be 'application/pdf'")));
    }
    if bytes.starts_with(b"%PDF") {
        return Ok(());
    }
    Err(refusal(&format!("{path}.data: The PDF specified was not valid.")))
}

/// The media type and the bytes of a base64 source.
fn media<'a>(
    check: &Check<'_>,
    source: &'a Object,
    path: &str,
) -> Result<(&'a str, Vec<u8>), Answer> {
    check.known(source, &["type", "media_type", "data"], path)?;
    let kind = string(source, "media_type", path)?;
    let bytes = STANDARD.decode(string(source, "data", path)?);
    let bytes = bytes.map_err(|_| refusal(&format!("{path}.data: Invalid base64 data")))?;
    Ok((kind, bytes))
}

fn tool_use(check: &mut Check<'_>, block: &Object, path: &str) -> Result<(), Answer> {
    check.known(block, &["type", "id", "name", "input", "cache_control"], path)?;
    check.cache_control(block, path)?;
    id(block, "id", path)?;
    if !is_name(string(block, "name", path)?, 200) {
        let pattern = "'^[a-zA-Z0-9_-]{1,200}$'";
        return Err(refusal(&format!("{path}.name: String should match pattern {pattern}")));
    }
    match block.get("input") {
        None => Err(refusal(&format!("{path}.input: Field required"))),
        Some(input) => dictionary(input, &format!("{path}.input")).map(|_| ()),
    }
}

fn id(block: &Object, key: &str, path: &str) -> Result<(), Answer> {
    if is_name(string(block, key, path)?, usize::MAX) {
        return Ok(());
    }
    let pattern = "'^[a-zA-Z0-9_-]+$'";
    Err(refusal(&format!("{path}.{key}: String should match pattern {pattern}")))
}

fn tool_result(check: &mut Check<'_>, block: &Object, path: &str) -> Result<(), Answer> {
    let path = format!("{path}.tool_result");
    let keys = &["type", "tool_use_id", "content", "is_error", "cache_control"];
    check.known(block, keys, &path)?;
    check.cache_control(block, &path)?;
    id(block, "tool_use_id", &path)?;
    let is_error = present(block, "is_error");
    if is_error.is_some_and(|given| !given.is_boolean()) {
        return Err(refusal(&format!("{path}.is_error: Input should be a valid boolean")));
    }
    let content = present(block, "content");
    let is_empty = content.is_none_or(|c| c.as_str().map_or(items(c).is_empty(), str::is_empty));
    if is_empty && is_error == Some(&Value::Bool(true)) {
        return Err(refusal(&format!("{path}: content cannot be empty if `is_error` is true")));
    }
    match content {
        None | Some(Value::String(_)) => Ok(()),
        Some(Value::Array(blocks)) => {
            let mut blocks = blocks.iter().enumerate();
            blocks.try_for_each(|(n, block)| {
                one_block(check, block, RESULT_BLOCKS, &format!("{path}.content.{n}"))
            })
        }
        Some(_) => Err(refusal(&format!("{path}.content: Input should be a valid list"))),
    }
}

fn thinking(check: &Check<'_>, block: &Object, path: &str) -> Result<(), Answer> {
    let inner = format!("{path}.thinking");
    check.known(block, &["type", "thinking", "signature"], &inner)?;
    let thought = string(block, "thinking", &inner)?;
    if string(block, "signature", &inner)? == signature(thought) {
        return Ok(());
    }
    Err(refusal(&format!("{path}: Invalid `signature` in `thinking` block")))
}

fn redacted_thinking(check: &Check<'_>, block: &Object, path: &str) -> Result<(), Answer> {
    let inner = format!("{path}.redacted_thinking");
    check.known(block, &["type", "data"], &inner)?;
    if is_redacted(string(block, "data", &inner)?) {
        return Ok(());
    }
    Err(refusal(&format!("{path}: Invalid `data` in `redacted_thinking` block")))
}

/// Every call is answered at once, once and first of all; nothing else is.
fn answered(messages: &[Value]) -> Result<(), Answer> {
    let mut all = Vec::new();
    let mut asked = Vec::new();
    for (n, message) in messages.iter().enumerate() {
        results(&asked, message, &format!("messages.{n}"))?;
        asked = ids(message, "tool_use", "id").map(|(_, id)| id).collect();
        if let Some(id) = asked.iter().find(|id| all.contains(*id)) {
            return Err(refusal(&format!("messages: `tool_use` ids must be unique: {id}")));
        }
        let is_repeated = |id: &&str| asked.iter().filter(|other| *other == id).count() > 1;
        if asked.iter().any(is_repeated) {
            return Err(refusal("messages: `tool_use` ids must be unique"));
        }
        all.extend(asked.iter().copied());
        let next = messages.get(n + 1).unwrap_or(&Value::Null);
        let blocks = items(&next["content"]).iter();
        let leading = blocks.take_while(|block| block["type"] == "tool_result");
        let leading = leading.filter_map(|b| b["tool_use_id"].as_str()).collect::<Vec<_>>();
        let left = asked.iter().filter(|id| !leading.contains(id)).copied().collect::<Vec<_>>();
        if !left.is_empty() {
            return Err(refusal(&format!(
                "messages.{n}: `tool_use` ids were found without `tool_result` blocks immediately \
                 after: {}. Each `tool_use` block must have a corresponding `tool_result` block \
                 in the next message.",
                left.join(", ")
            )));
        }
    }
    Ok(())
}

fn results(asked: &[&str], message: &Value, path: &str) -> Result<(), Answer> {
    let mut seen = Vec::new();
    for (n, id) in ids(message, "tool_result", "tool_use_id") {
        if !asked.contains(&id) {
            return Err(refusal(&format!(
                "{path}.content.{n}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. \
                 Each `tool_result` block must have a corresponding `tool_use` block in the \
                 previous message."
            )));
        }
        if seen.contains(&id) {
            return Err(refusal(&format!(
                "{path}.content.{n}: each tool_use must have a single result. Found multiple \
                 `tool_result` blocks with id: {id}"
            )));
        }
        seen.push(id);
    }
    Ok(())
}

/// The ids in blocks of this type, and where they stand.
fn ids<'a>(message: &'a Value, kind: &str, key: &str) -> impl Iterator<Item = (usize, &'a str)> {
    let blocks = items(&message["content"]).iter().enumerate();
    blocks
        .filter(move |(_, b)| b["type"] == kind)
        .filter_map(move |(n, b)| Some((n, b[key].as_str()?)))
}

fn ending(check: &Check<'_>, messages: &[Value]) -> Result<(), Answer> {
    let last = messages.last().unwrap_or(&Value::Null);
    if last["role"] != "assistant" {
        return Ok(());
    }
    if check.model.version >= (4, 6) {
        return Err(refusal(
            "This model does not support assistant message prefill. The conversation must end \
             with a user message.",
        ));
    }
    let content = &last["content"];
    let end = items(content).last().map_or(content, |block| &block["text"]);
    if end.as_str().is_some_and(|text| text.ends_with(char::is_whitespace)) {
        let why = "messages: final assistant content cannot end with trailing whitespace";
        return Err(refusal(why));
    }
    Ok(())
}

/// The assistant's turn that calls tools, or that is to be continued, begins with its thoughts.
fn thinking_first(messages: &[Value]) -> Result<(), Answer> {
    let is_assistant = |message: &Value| message["role"] == "assistant";
    let Some(last) = messages.iter().rposition(is_assistant) else { return Ok(()) };
    let after = messages.get(last + 1).map(|message| &message["content"][0]["type"]);
    if after.is_some_and(|kind| kind != "tool_result") {
        return Ok(());
    }
    let before = messages[..last].iter().rposition(|message| !is_assistant(message));
    let turn = before.map_or(0, |user| user + 1);
    let first = messages[turn]["content"][0]["type"].as_str().unwrap_or("text");
    if first == "thinking" || first == "redacted_thinking" {
        return Ok(());
    }
    Err(refusal(&format!(
        "messages.{turn}.content.0.type: Expected `thinking` or `redacted_thinking`, but found \
         `{first}`. When `thinking` is enabled, a final `assistant` message must start with a \
         thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks). To \
         avoid this requirement, disable `thinking`."
    )))
}

const USER_BLOCKS: &[&str] = &["document", "image", "search_result", "text", "tool_result"];
const ASSISTANT_BLOCKS: &[&str] = &["redacted_thinking", "text", "thinking", "tool_use"];
const RESULT_BLOCKS: &[&str] = &["document", "image", "search_result", "text"];
const IMAGE_TYPES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];
