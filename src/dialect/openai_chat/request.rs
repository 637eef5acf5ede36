//! A client's chat completions request, understood.
//!
//! Tolerant in shape (SDKs, agents and gateways write the same things in several ways), strict in meaning: what cannot be
//! carried is refused with its JSON path where the reply would be another one, and noted as dropped where it would not.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::Writer;
use crate::chat::{
    Block, Format, MediaKind, Request, Role, Seal, Source, Text, Thinking, Tool, ToolChoice, Turn,
};
use crate::dialect::Asked;
use crate::dialect::reading::{
    CacheControl, Strings, arguments, base64, drop_tools_of, effort, list, messages, messages_of,
    number, output_max, readable, source, unambiguous, without_place,
};
use crate::envelope::Envelope;
use crate::error::Error;

/// Keys that are read, or mean nothing to a reply.
#[rustfmt::skip]
const KNOWN: &[&str] = &[
    "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens",
    "temperature", "top_p", "stop", "n", "tools", "tool_choice", "parallel_tool_calls",
    "response_format", "reasoning_effort", "reasoning", "thinking", "seed", "presence_penalty",
    "frequency_penalty", "logprobs", "top_logprobs", "modalities", "functions", "function_call",
    "audio", "user", "metadata", "store", "safety_identifier", "prompt_cache_key",
    "prompt_cache_retention", "service_tier",
];

/// Reads a request.
pub fn decode(body: &Envelope) -> Result<Asked, Error> {
    refuse(body)?;
    let mut request = Request {
        temperature: number(body, "temperature", 0.0, 2.0)?,
        top_p: number(body, "top_p", 0.0, 1.0)?,
        stop: body.get::<Strings>("stop", "a string or a list of strings")?.unwrap_or_default().0,
        seed: body.get("seed", "a whole number")?,
        frequency_penalty: number(body, "frequency_penalty", -2.0, 2.0)?,
        presence_penalty: number(body, "presence_penalty", -2.0, 2.0)?,
        thinking: thinking(body)?,
        format: format(body)?,
        is_single_call: body.get("parallel_tool_calls", "true or false")? == Some(false),
        ..Request::default()
    };
    output_max(body, &["max_completion_tokens", "max_tokens"], &mut request)?;
    tool_choice(body, &mut request)?;
    request.stop.retain(|s| !s.is_empty());
    tools(body, &mut request)?;
    conversation(body, &mut request)?;
    body.names_beyond(KNOWN).into_iter().for_each(|key| request.drop_field(key));
    let stream_options =
        body.get::<StreamOptions>("stream_options", "an object with `include_usage`")?;
    Ok(Asked {
        request,
        is_stream: body.get("stream", "true or false")?.unwrap_or(false),
        writer: Box::new(Writer {
            wants_usage: stream_options.and_then(|o| o.include_usage).unwrap_or(false),
        }),
    })
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// What would make another reply, and cannot be carried.
fn refuse(body: &Envelope) -> Result<(), Error> {
    let refused = |path: &str, what: &str| {
        Err(Error::Refused { path: path.to_owned(), what: what.to_owned() })
    };
    if body.get::<u64>("n", "a whole number")?.is_some_and(|n| n != 1) {
        return refused("n", "models of this family give one choice a request; leave it out");
    }
    if body.get::<bool>("logprobs", "true or false")? == Some(true) {
        return refused("logprobs", "models of this family give none");
    }
    if body.get::<u64>("top_logprobs", "a whole number")?.is_some_and(|n| n > 0) {
        return refused("top_logprobs", "models of this family give none");
    }
    let modalities = body.get::<Vec<String>>("modalities", "a list of strings")?;
    if modalities.is_some_and(|m| m.iter().any(|m| m != "text")) {
        return refused("modalities", "models of this family answer in text only");
    }
    let is_nothing = |raw| raw == b"null" || serde_json::from_slice::<[IgnoredAny; 0]>(raw).is_ok();
    for (old, new) in [("functions", "tools"), ("function_call", "tool_choice")] {
        if body.raw(old).is_some_and(|raw| !is_nothing(raw)) {
            return refused(old, &format!("models of this family are given `{new}` instead"));
        }
    }
    Ok(())
}

/// OpenAI's `reasoning_effort`; also `reasoning` as some gateways have it, and `thinking` as Anthropic does.
fn thinking(body: &Envelope) -> Result<Option<Thinking>, Error> {
    #[derive(Deserialize)]
    struct Reasoning {
        effort: Option<String>,
        max_tokens: Option<u64>,
        enabled: Option<bool>,
    }
    #[derive(Deserialize)]
    struct Wire {
        r#type: String,
        budget_tokens: Option<u64>,
    }
    if let Some(word) = body.get::<String>("reasoning_effort", "a string")? {
        return effort("reasoning_effort", &word).map(Some);
    }
    if let Some(wire) = body.get::<Wire>("thinking", "an object with `type`")? {
        return Ok(Some(match (wire.r#type.as_str(), wire.budget_tokens) {
            ("disabled", _) => Thinking::Off,
            (_, Some(budget)) => Thinking::Budget(budget),
            (_, None) => Thinking::Adaptive,
        }));
    }
    let reasoning = body.get::<Reasoning>("reasoning", "an object with `effort`")?;
    let Some(reasoning) = reasoning else { return Ok(None) };
    match (reasoning.effort, reasoning.max_tokens, reasoning.enabled) {
        (Some(word), ..) => effort("reasoning.effort", &word).map(Some),
        (_, Some(budget), _) => Ok(Some(Thinking::Budget(budget))),
        (_, _, Some(false)) => Ok(Some(Thinking::Off)),
        (_, _, Some(true)) => Ok(Some(Thinking::Adaptive)),
        (None, None, None) => Ok(None),
    }
}

fn format(body: &Envelope) -> Result<Format, Error> {
    #[derive(Deserialize)]
    struct Wire {
        r#type: String,
        json_schema: Option<Schema>,
    }
    #[derive(Deserialize)]
    struct Schema {
        name: Option<String>,
        description: Option<String>,
        schema: Option<Box<RawValue>>,
        strict: Option<bool>,
    }
    let wire = body.get::<Wire>("response_format", "an object with `type`")?;
    let Some(wire) = wire else { return Ok(Format::Text) };
    match (wire.r#type.as_str(), wire.json_schema) {
        ("text", _) => Ok(Format::Text),
        ("json_object", _) => Ok(Format::Json),
        ("json_schema", Some(Schema { name, description, schema: Some(schema), strict })) => {
            Ok(Format::Schema {
                name: name.unwrap_or_else(|| "answer".to_owned()),
                description,
                schema: schema.get().to_owned(),
                is_strict: strict,
            })
        }
        ("json_schema", _) => Err(Error::bad_request(
            "response_format.json_schema.schema",
            "a JSON schema is expected",
        )),
        _ => {
            let why = "text, json_object or json_schema is expected";
            Err(Error::bad_request("response_format.type", why))
        }
    }
}

fn tool_choice(body: &Envelope, request: &mut Request) -> Result<(), Error> {
    const EXPECTED: &str =
        "none, auto, required or {\"type\":\"function\",\"function\":{\"name\":…}}";
    let choice = match body.raw("tool_choice") {
        Some(raw) if raw.starts_with(b"\"") => {
            let r#type = body.get("tool_choice", EXPECTED)?;
            WireChoice { r#type, ..WireChoice::default() }
        }
        _ => match body.get::<WireChoice>("tool_choice", EXPECTED)? {
            Some(choice) => choice,
            None => return Ok(()),
        },
    };
    request.is_single_call |= choice.disable_parallel_tool_use == Some(true);
    // Flat names are the way of the Responses API and of Anthropic.
    let name = choice.function.map(|f| f.name).or(choice.name);
    request.tool_choice = Some(match (choice.r#type.as_deref(), name) {
        (_, Some(name)) => ToolChoice::Named(name),
        (Some("auto"), _) => ToolChoice::Auto,
        (Some("none"), _) => ToolChoice::None,
        (Some("required" | "any"), _) => ToolChoice::Any,
        _ => return Err(Error::bad_request("tool_choice", format!("{EXPECTED} is expected"))),
    });
    Ok(())
}

/// Also where the choice is a word: its type.
#[derive(Default, Deserialize)]
struct WireChoice {
    r#type: Option<String>,
    function: Option<Named>,
    name: Option<String>,
    disable_parallel_tool_use: Option<bool>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// With its function inside; or flat, as the Responses API has it, and Anthropic, whose schemas are `input_schema`.
#[derive(Deserialize)]
struct WireTool {
    r#type: Option<String>,
    function: Option<Function>,
    name: Option<String>,
    description: Option<String>,
    parameters: Option<Box<RawValue>>,
    input_schema: Option<Box<RawValue>>,
    strict: Option<bool>,
    cache_control: Option<CacheControl>,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    description: Option<String>,
    parameters: Option<Box<RawValue>>,
    strict: Option<bool>,
    cache_control: Option<CacheControl>,
}

impl WireTool {
    fn is_function(&self) -> bool {
        match self.r#type.as_deref() {
            None | Some("function") => true,
            Some(kind) => kind == "custom" && self.input_schema.is_some(),
        }
    }

    fn read(self) -> Option<Tool> {
        let flat = |name| Function {
            name,
            description: self.description,
            parameters: self.parameters.or(self.input_schema),
            strict: self.strict,
            cache_control: None,
        };
        let function = self.function.or_else(|| self.name.map(flat))?;
        let cache = self.cache_control.or(function.cache_control);
        let schema = function.parameters.map(|p| p.get().to_owned()).filter(|p| p != "null");
        (!function.name.is_empty()).then(|| Tool {
            name: function.name,
            description: function.description.filter(|d| !d.trim().is_empty()),
            is_strict: function.strict == Some(true) && schema.is_some(),
            schema,
            cache: cache.map(|c| c.point()),
        })
    }
}

fn tools(body: &Envelope, request: &mut Request) -> Result<(), Error> {
    let Some(raw) = body.raw("tools").filter(|raw| *raw != b"null") else { return Ok(()) };
    let mut dropped = vec![];
    for (i, wire) in list::<WireTool>(&readable(raw), "tools")?.into_iter().enumerate() {
        if !wire.is_function() {
            dropped.extend(wire.r#type);
            continue;
        }
        let Some(tool) = wire.read() else {
            let path = format!("tools[{i}].function.name");
            return Err(Error::bad_request(path, "a tool's name is expected"));
        };
        request.tools.push(tool);
    }
    drop_tools_of(dropped, request);
    unambiguous(request)
}

#[derive(Deserialize)]
struct Message<'a> {
    role: String,
    /// Read when the role is known: what a tool gave may be anything.
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(default)]
    tool_calls: Option<Vec<ToolCall<'a>>>,
    tool_call_id: Option<String>,
    name: Option<String>,
    refusal: Option<String>,
    reasoning_content: Option<&'a RawValue>,
    reasoning: Option<&'a RawValue>,
    cache_control: Option<CacheControl>,
}

#[derive(Deserialize)]
struct ToolCall<'a> {
    #[serde(default)]
    id: Option<String>,
    function: Option<Called>,
    #[serde(borrow)]
    extra_content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Called {
    name: String,
    #[serde(default)]
    arguments: Arguments,
}

/// A string of JSON; an object by clients that have not read the reference.
#[derive(Default)]
struct Arguments(String);

/// A string where a part should be is a text.
struct Item<'a>(Part<'a>);

#[derive(Default, Deserialize)]
struct Part<'a> {
    r#type: Option<String>,
    text: Option<Text>,
    refusal: Option<String>,
    image_url: Option<ImageUrl>,
    input_audio: Option<Audio>,
    file: Option<File>,
    cache_control: Option<CacheControl>,
    /// Of an image, as Anthropic has it.
    #[serde(borrow)]
    source: Option<&'a RawValue>,
    /// Of an image, as MCP has it.
    data: Option<&'a RawValue>,
    #[serde(rename = "mimeType")]
    mime_type: Option<&'a RawValue>,
}

/// An image in base64.
#[derive(Deserialize)]
struct Picture {
    media_type: String,
    data: String,
}

impl Part<'_> {
    fn kind(&self) -> &str {
        self.r#type.as_deref().unwrap_or("")
    }

    fn picture(&self) -> Option<Picture> {
        let text = |raw: &RawValue| serde_json::from_str(raw.get()).ok();
        match (self.kind(), self.source, self.data, self.mime_type) {
            ("image", Some(source), ..) => serde_json::from_str(source.get()).ok(),
            ("image", None, Some(data), Some(media_type)) => {
                Some(Picture { media_type: text(media_type)?, data: text(data)? })
            }
            _ => None,
        }
    }

    /// Whether it is a part, and not a row of a tool's that looks like one.
    fn is_whole(&self) -> bool {
        match self.kind() {
            "text" => self.text.is_some(),
            "image_url" => self.image_url.is_some(),
            "input_audio" => self.input_audio.is_some(),
            "file" => self.file.as_ref().is_some_and(File::is_named),
            _ => self.picture().is_some(),
        }
    }
}

impl File {
    fn is_named(&self) -> bool {
        self.file_data.is_some() || self.file_url.is_some() || self.file_id.is_some()
    }
}

/// An object with `url`, or the URL.
struct ImageUrl(String);

#[derive(Deserialize)]
struct Audio {
    data: String,
    format: String,
}

#[derive(Deserialize)]
struct File {
    file_data: Option<String>,
    file_url: Option<String>,
    file_id: Option<String>,
    filename: Option<String>,
}

fn conversation(body: &Envelope, request: &mut Request) -> Result<(), Error> {
    let json = readable(messages_of(body)?);
    for (i, message) in messages::<Message>(&json)?.into_iter().enumerate() {
        let path = format!("messages[{i}]");
        if message.name.is_some() && message.role != "tool" {
            request.drop_field("messages[].name");
        }
        match message.role.as_str() {
            "system" | "developer" => system(message, &path, request)?,
            "user" => {
                let blocks = blocks(message, &path)?;
                request.turns.push(Turn { role: Role::User, blocks });
            }
            "assistant" => {
                let blocks = assistant(message, &path)?;
                request.turns.push(Turn { role: Role::Assistant, blocks });
            }
            "tool" => {
                let blocks = vec![tool_result(message, &path)?];
                request.turns.push(Turn { role: Role::User, blocks });
            }
            "function" => {
                let what = "models of this family are given messages of the role `tool` instead";
                let path = format!("{path}.role");
                return Err(Error::Refused { path, what: what.to_owned() });
            }
            _ => {
                let why = "system, developer, user, assistant or tool is expected";
                return Err(Error::bad_request(format!("{path}.role"), why));
            }
        }
    }
    Ok(())
}

fn system(message: Message, path: &str, request: &mut Request) -> Result<(), Error> {
    for block in blocks(message, path)? {
        match block {
            Block::Text { .. } => request.system.push(block),
            Block::Media { path, .. } => {
                let what = "instructions are text; put it into a message of the user".to_owned();
                return Err(Error::Refused { path, what });
            }
            _ => {}
        }
    }
    Ok(())
}

fn assistant(mut message: Message, path: &str) -> Result<Vec<Block>, Error> {
    let mut all = vec![];
    let thought = message.reasoning_content.or(message.reasoning);
    let thought = thought.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
    if let Some(text) = thought.filter(|text| !text.is_empty()) {
        all.push(Block::Reasoning { text, seal: None });
    }
    let calls = message.tool_calls.take().unwrap_or_default();
    let refusal = message.refusal.take();
    all.extend(blocks(message, path)?);
    all.extend(refusal.map(Block::text));
    for (i, call) in calls.into_iter().enumerate() {
        let Some(function) = call.function else {
            let path = format!("{path}.tool_calls[{i}].function");
            return Err(Error::bad_request(path, "missing; only calls of functions are known"));
        };
        let signature = call.extra_content.and_then(thought_signature);
        all.push(Block::ToolCall {
            id: call.id.unwrap_or_default(),
            name: function.name,
            arguments: function.arguments.0,
            seal: signature.map(Seal::Gemini),
            cache: None,
        });
    }
    Ok(all)
}

/// Where Gemini's own OpenAI endpoint puts it.
fn thought_signature(extra: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Extra {
        google: Google,
    }
    #[derive(Deserialize)]
    struct Google {
        thought_signature: String,
    }
    let extra = serde_json::from_str::<Extra>(extra.get()).ok()?;
    Some(extra.google.thought_signature)
}

fn tool_result(mut message: Message, path: &str) -> Result<Block, Error> {
    let Some(id) = message.tool_call_id.take() else {
        let path = format!("{path}.tool_call_id");
        return Err(Error::bad_request(path, "the id of the call is expected"));
    };
    let name = message.name.take().unwrap_or_default();
    let cache = message.cache_control.take().map(|c| c.point());
    let content = blocks(message, path)?;
    Ok(Block::ToolResult { id, name, content, is_error: false, cache })
}

fn blocks(message: Message, path: &str) -> Result<Vec<Block>, Error> {
    let path = format!("{path}.content");
    let mut blocks = match message.content.map(|json| (json, json.get())) {
        None => vec![],
        Some((json, string)) if string.starts_with('"') => {
            let why = |e| Error::bad_request(&path, without_place(&e));
            vec![Block::text(Text::of_json(json).map_err(why)?)]
        }
        Some((_, json)) if message.role == "tool" => given(json, &path)?,
        Some((_, json)) if json.starts_with('[') => parts(list(json.as_bytes(), &path)?, &path)?,
        Some(_) => {
            return Err(Error::bad_request(path, "a string or a list of parts is expected"));
        }
    };
    if let Some(point) = &message.cache_control
        && let Some(cache) = blocks.last_mut().and_then(Block::cache)
    {
        cache.get_or_insert(point.point());
    }
    Ok(blocks)
}

/// What a tool gave: parts, or anything else as it was written.
fn given(json: &str, path: &str) -> Result<Vec<Block>, Error> {
    match serde_json::from_str::<Vec<Item>>(json) {
        Ok(items) if items.iter().all(|Item(part)| part.is_whole()) => parts(items, path),
        _ => Ok(vec![Block::text(json)]),
    }
}

fn parts(items: Vec<Item>, path: &str) -> Result<Vec<Block>, Error> {
    // Thoughts as Anthropic has them: without their seal no model takes them.
    let is_thought = |part: &Part| {
        part.text.is_none() && ["thinking", "redacted_thinking"].contains(&part.kind())
    };
    let items = items.into_iter().enumerate().filter(|(_, Item(part))| !is_thought(part));
    items.map(|(i, Item(part))| block(part, &format!("{path}[{i}]"))).collect()
}

fn block(part: Part, path: &str) -> Result<Block, Error> {
    let cache = part.cache_control.as_ref().map(CacheControl::point);
    let media = |kind, source, name, key: &str| {
        let path = format!("{path}.{key}");
        Ok(Block::Media { kind, source, name, cache, path })
    };
    if let Some(Picture { media_type, data }) = part.picture() {
        return media(MediaKind::Image, base64(media_type, data), None, "source");
    }
    let kind = part.kind().to_owned();
    match (kind.as_str(), part) {
        (_, Part { image_url: Some(ImageUrl(url)), .. }) => {
            let source = source(url, &format!("{path}.image_url.url"), "image")?;
            media(MediaKind::Image, source, None, "image_url")
        }
        (_, Part { input_audio: Some(Audio { data, format }), .. }) => {
            let source = Source::Base64 { media_type: format!("audio/{format}"), data };
            media(MediaKind::Audio, source, None, "input_audio")
        }
        (_, Part { file: Some(file), .. }) => {
            let Some(data) = file.file_data.or(file.file_url) else {
                let what = match file.file_id {
                    Some(_) => "files are not kept here; send the file itself as `file_data`",
                    None => "`file_data` is missing",
                };
                return Err(Error::Refused { path: format!("{path}.file"), what: what.to_owned() });
            };
            let source = source(data, &format!("{path}.file.file_data"), "file")?;
            media(MediaKind::File, source, file.filename, "file")
        }
        ("thinking" | "reasoning", Part { text, .. }) => Ok(Block::Reasoning {
            text: text.map_or(String::new(), |text| text.to_string()),
            seal: None,
        }),
        (_, Part { text: Some(text), .. }) => Ok(Block::Text { text, cache }),
        (_, Part { refusal: Some(text), .. }) => Ok(Block::text(text)),
        (kind, _) => {
            let kind: String = kind.chars().take(50).collect();
            let why =
                format!("a part of the type {kind:?} is not known, or lacks what it is about");
            Err(Error::bad_request(path, why))
        }
    }
}

impl<'de> Deserialize<'de> for Arguments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Arguments, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?;
        arguments(json).map(Arguments).map_err(|e| de::Error::custom(without_place(&e)))
    }
}

impl<'de> Deserialize<'de> for ImageUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ImageUrl, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = ImageUrl;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with `url`")
            }

            fn visit_str<E: de::Error>(self, url: &str) -> Result<ImageUrl, E> {
                Ok(ImageUrl(url.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ImageUrl, A::Error> {
                let mut url = None;
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "url" => url = Some(map.next_value()?),
                        _ => drop(map.next_value::<de::IgnoredAny>()?),
                    }
                }
                url.map(ImageUrl).ok_or_else(|| de::Error::missing_field("url"))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Item<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Item<'de>, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Item<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a part")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Item<'de>, E> {
                let (r#type, text) = (Some("text".to_owned()), Some(text.into()));
                Ok(Item(Part { r#type, text, ..Part::default() }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Item<'de>, A::Error> {
                Part::deserialize(MapAccessDeserializer::new(map)).map(Item)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}
