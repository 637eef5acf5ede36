//! A client's chat completions request, understood.
//!
//! Tolerant in shape (SDKs, agents and gateways write the same things in several ways), strict in meaning: what cannot be
//! carried is refused with its JSON path where the reply would be another one, and noted as dropped where it would not.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeOwned, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::chat::{
    Block, CachePoint, Effort, Format, MediaKind, Request, Role, Seal, Source, Thinking, Tool,
    ToolChoice, Turn,
};
use crate::envelope::Envelope;
use crate::error::Error;
use crate::media;

/// What is read of a request beside its conversation.
#[derive(Debug)]
pub struct Asked {
    pub request: Request,
    pub is_stream: bool,
    pub wants_usage: bool,
}

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
/// The most unknown keys that are named as dropped.
const UNKNOWN_MAX: usize = 20;

/// Reads a request.
pub fn decode(body: &Envelope) -> Result<Asked, Error> {
    refuse(body)?;
    let mut request = Request {
        output_max: first(body, &["max_completion_tokens", "max_tokens"], "a whole number")?,
        temperature: number(body, "temperature", 0.0, 2.0)?,
        top_p: number(body, "top_p", 0.0, 1.0)?,
        stop: body.get::<Strings>("stop", "a string or a list of strings")?.unwrap_or_default().0,
        seed: body.get("seed", "a whole number")?,
        frequency_penalty: number(body, "frequency_penalty", -2.0, 2.0)?,
        presence_penalty: number(body, "presence_penalty", -2.0, 2.0)?,
        thinking: thinking(body)?,
        format: format(body)?,
        tool_choice: tool_choice(body)?,
        is_single_call: body.get("parallel_tool_calls", "true or false")? == Some(false),
        ..Request::default()
    };
    if request.output_max == Some(0) {
        return Err(Error::bad_request("max_tokens", "at least 1 is expected"));
    }
    request.stop.retain(|s| !s.is_empty());
    tools(body, &mut request)?;
    conversation(body, &mut request)?;
    let unknown = body.keys().filter(|key| !KNOWN.contains(&key.as_str())).take(UNKNOWN_MAX);
    unknown.for_each(|key| request.drop_field(header_safe(&key)));
    let stream_options =
        body.get::<StreamOptions>("stream_options", "an object with `include_usage`")?;
    Ok(Asked {
        request,
        is_stream: body.get("stream", "true or false")?.unwrap_or(false),
        wants_usage: stream_options.and_then(|o| o.include_usage).unwrap_or(false),
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
    for (old, new) in [("functions", "tools"), ("function_call", "tool_choice")] {
        if body.raw(old).is_some_and(|raw| raw != b"null") {
            return refused(old, &format!("models of this family are given `{new}` instead"));
        }
    }
    Ok(())
}

fn first<T: DeserializeOwned>(
    body: &Envelope,
    keys: &[&str],
    expected: &str,
) -> Result<Option<T>, Error> {
    for key in keys {
        if let Some(value) = body.get(key, expected)? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

fn number(body: &Envelope, key: &str, least: f64, most: f64) -> Result<Option<f64>, Error> {
    let expected = format!("a number from {least} to {most}");
    let number = body.get::<f64>(key, &expected)?;
    match number {
        Some(n) if !(least..=most).contains(&n) => {
            Err(Error::bad_request(key, format!("{expected} is expected")))
        }
        number => Ok(number),
    }
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

fn effort(path: &str, word: &str) -> Result<Thinking, Error> {
    Ok(Thinking::Effort(match word {
        "none" => return Ok(Thinking::Off),
        "minimal" => Effort::Minimal,
        "low" => Effort::Low,
        "medium" => Effort::Medium,
        "high" => Effort::High,
        "xhigh" => Effort::Highest,
        "max" => Effort::Max,
        _ => {
            let why = "none, minimal, low, medium, high, xhigh or max is expected";
            return Err(Error::bad_request(path, why));
        }
    }))
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

fn tool_choice(body: &Envelope) -> Result<Option<ToolChoice>, Error> {
    const EXPECTED: &str =
        "none, auto, required or {\"type\":\"function\",\"function\":{\"name\":…}}";
    let Some(wire) = body.get::<Value>("tool_choice", EXPECTED)? else { return Ok(None) };
    let named = |pointer| wire.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    Ok(Some(match wire.as_str() {
        Some("auto") => ToolChoice::Auto,
        Some("none") => ToolChoice::None,
        Some("required" | "any") => ToolChoice::Any,
        // Flat names are the Responses API's way; some clients mix the two.
        _ => match named("/function/name").or_else(|| named("/name")) {
            Some(name) => ToolChoice::Named(name),
            None => {
                return Err(Error::bad_request("tool_choice", format!("{EXPECTED} is expected")));
            }
        },
    }))
}

#[derive(Deserialize)]
struct WireTool {
    #[serde(default)]
    r#type: Option<String>,
    function: Option<Function>,
    cache_control: Option<CacheControl>,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    description: Option<String>,
    parameters: Option<Box<RawValue>>,
    cache_control: Option<CacheControl>,
}

#[derive(Deserialize)]
struct CacheControl {
    ttl: Option<String>,
}

impl CacheControl {
    fn point(&self) -> CachePoint {
        match self.ttl.as_deref() {
            Some("1h") => CachePoint::OneHour,
            _ => CachePoint::FiveMinutes,
        }
    }
}

fn tools(body: &Envelope, request: &mut Request) -> Result<(), Error> {
    for (i, wire) in list::<WireTool>(body, "tools")?.into_iter().enumerate() {
        match (wire.r#type.as_deref(), wire.function) {
            (None | Some("function"), Some(function)) if !function.name.is_empty() => {
                let cache = wire.cache_control.or(function.cache_control);
                let schema = function.parameters.filter(|p| p.get() != "null");
                request.tools.push(Tool {
                    name: function.name,
                    description: function.description.filter(|d| !d.trim().is_empty()),
                    schema: schema.map(|p| p.get().to_owned()),
                    cache: cache.map(|c| c.point()),
                });
            }
            (None | Some("function"), _) => {
                let path = format!("tools[{i}].function.name");
                return Err(Error::bad_request(path, "a tool's name is expected"));
            }
            // Tools that a vendor runs, or that take no JSON: the model can do without.
            (Some(_), _) => request.drop_field(format!("tools[{i}]")),
        }
    }
    let mut names: Vec<&str> = request.tools.iter().map(|t| t.name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        let why = format!("two tools are called {:?}; names must differ", twice[0]);
        return Err(Error::bad_request("tools", why));
    }
    match &request.tool_choice {
        Some(ToolChoice::Named(name)) if !names.contains(&name.as_str()) => {
            let why = format!("{name:?} is none of the tools");
            Err(Error::bad_request("tool_choice", why))
        }
        _ => Ok(()),
    }
}

/// A list read item by item only where reading it whole fails, to name the item.
fn list<T: DeserializeOwned>(body: &Envelope, key: &str) -> Result<Vec<T>, Error> {
    let Some(raw) = body.raw(key).filter(|raw| *raw != b"null") else { return Ok(vec![]) };
    match serde_json::from_slice(raw) {
        Ok(all) => Ok(all),
        Err(whole) => Err(explained::<T>(raw, key).unwrap_or_else(|| {
            Error::bad_request(key, format!("a list is expected: {}", without_place(&whole)))
        })),
    }
}

fn explained<T: DeserializeOwned>(raw: &[u8], key: &str) -> Option<Error> {
    let items = serde_json::from_slice::<Vec<Box<RawValue>>>(raw).ok()?;
    items.iter().enumerate().find_map(|(i, item)| {
        let why = serde_json::from_str::<T>(item.get()).err()?;
        Some(Error::bad_request(format!("{key}[{i}]"), without_place(&why)))
    })
}

/// The place is that within an item, which nobody could find.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: Option<Content>,
    #[serde(default)]
    tool_calls: Option<Vec<ToolCall>>,
    tool_call_id: Option<String>,
    name: Option<String>,
    refusal: Option<String>,
    reasoning_content: Option<Content>,
    reasoning: Option<Content>,
    cache_control: Option<CacheControl>,
}

#[derive(Deserialize)]
struct ToolCall {
    #[serde(default)]
    id: Option<String>,
    function: Option<Called>,
    extra_content: Option<Value>,
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

#[derive(Debug)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
    /// What a tool gave that is neither.
    Json(String),
}

#[derive(Debug, Default, Deserialize)]
struct Part {
    #[serde(default)]
    r#type: String,
    text: Option<String>,
    refusal: Option<String>,
    image_url: Option<ImageUrl>,
    input_audio: Option<Audio>,
    file: Option<File>,
    cache_control: Option<CacheControl>,
}

impl fmt::Debug for CacheControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.point())
    }
}

/// An object with `url`, or the URL.
#[derive(Debug)]
struct ImageUrl(String);

#[derive(Debug, Deserialize)]
struct Audio {
    data: String,
    format: String,
}

#[derive(Debug, Deserialize)]
struct File {
    file_data: Option<String>,
    file_url: Option<String>,
    file_id: Option<String>,
    filename: Option<String>,
}

fn conversation(body: &Envelope, request: &mut Request) -> Result<(), Error> {
    if !body.raw("messages").is_some_and(|raw| raw.starts_with(b"[")) {
        return Err(Error::bad_request("messages", "a list of messages is expected"));
    }
    let messages = list::<Message>(body, "messages")?;
    if messages.is_empty() {
        return Err(Error::bad_request("messages", "at least one message is expected"));
    }
    for (i, message) in messages.into_iter().enumerate() {
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
    let thought = message.reasoning_content.take().or(message.reasoning.take());
    if let Some(Content::Text(text)) = thought
        && !text.is_empty()
    {
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
        let signature = call.extra_content.as_ref().and_then(thought_signature);
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
fn thought_signature(extra: &Value) -> Option<String> {
    extra.pointer("/google/thought_signature")?.as_str().map(str::to_owned)
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
    let mut blocks = match message.content {
        None => vec![],
        Some(Content::Text(text)) => vec![Block::text(text)],
        Some(Content::Json(json)) if message.role == "tool" => vec![Block::text(json)],
        Some(Content::Json(_)) => {
            let why = "a string or a list of parts is expected";
            return Err(Error::bad_request(format!("{path}.content"), why));
        }
        Some(Content::Parts(parts)) => {
            let mut blocks = Vec::with_capacity(parts.len());
            for (i, part) in parts.into_iter().enumerate() {
                blocks.push(block(part, &format!("{path}.content[{i}]"))?);
            }
            blocks
        }
    };
    if let Some(point) = &message.cache_control
        && let Some(cache) = blocks.last_mut().and_then(Block::cache)
    {
        cache.get_or_insert(point.point());
    }
    Ok(blocks)
}

fn block(part: Part, path: &str) -> Result<Block, Error> {
    let cache = part.cache_control.as_ref().map(CacheControl::point);
    let media = |kind, source, name, key: &str| {
        let path = format!("{path}.{key}");
        Ok(Block::Media { kind, source, name, cache, path })
    };
    let kind = part.r#type.clone();
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
        ("thinking" | "reasoning", Part { text, .. }) => {
            Ok(Block::Reasoning { text: text.unwrap_or_default(), seal: None })
        }
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

/// A data URL, an http or https URL, or the bare base64 of a file.
fn source(url: String, path: &str, what: &str) -> Result<Source, Error> {
    let has_scheme = |scheme: &str| {
        url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    if has_scheme("http://") || has_scheme("https://") {
        return Ok(Source::Url(url));
    }
    let (media_type, data) = match media::data_url(&url) {
        Some((media_type, data)) => (media_type, data),
        None if what == "file" && !url.contains(':') => (String::new(), url.as_str()),
        None => {
            let why =
                format!("a data: URL with base64, or an http(s) URL of the {what}, is expected");
            return Err(Error::bad_request(path, why));
        }
    };
    // Models refuse an image whose type is not what was said; the bytes know better.
    let media_type = media::sniff_base64(data).map_or(media_type, str::to_owned);
    let media_type = if media_type.is_empty() { "text/plain".to_owned() } else { media_type };
    Ok(Source::Base64 { media_type, data: data.to_owned() })
}

/// A key as it may stand in a header.
fn header_safe(key: &str) -> Cow<'static, str> {
    let is_safe = |c: &char| c.is_ascii_graphic() && *c != ',';
    key.chars().filter(is_safe).take(64).collect::<String>().into()
}

/// A string or a list of them.
#[derive(Default)]
struct Strings(Vec<String>);

impl<'de> Deserialize<'de> for Strings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Strings, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Strings;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Strings, E> {
                Ok(Strings(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Strings, A::Error> {
                let mut all = vec![];
                while let Some(text) = seq.next_element()? {
                    all.push(text);
                }
                Ok(Strings(all))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Arguments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Arguments, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = serde_json::from_str::<String>(raw.get());
        Ok(Arguments(text.unwrap_or_else(|_| raw.get().to_owned())))
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

// By hand: an untagged enum would copy every text twice.
impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Content, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of parts")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Content, E> {
                Ok(Content::Text(text.to_owned()))
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Content, E> {
                Ok(Content::Json(value.to_string()))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Content, E> {
                Ok(Content::Json(value.to_string()))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Content, E> {
                Ok(Content::Json(value.to_string()))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Content, E> {
                Ok(Content::Json(value.to_string()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Content, A::Error> {
                let value = Value::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Content::Json(value.to_string()))
            }

            /// A list of parts, or, from a tool, of anything.
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Content, A::Error> {
                let mut items: Vec<Item> = vec![];
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                if items.iter().all(|item| matches!(item, Item::Part(_))) {
                    let parts = items.into_iter().filter_map(|item| match item {
                        Item::Part(part) => Some(*part),
                        Item::Json(_) => None,
                    });
                    return Ok(Content::Parts(parts.collect()));
                }
                let values = items.into_iter().map(|item| match item {
                    Item::Json(value) => value,
                    Item::Part(part) => part.text.unwrap_or_default().into(),
                });
                Ok(Content::Json(Value::from_iter(values).to_string()))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// An item of a list that should be of parts.
enum Item {
    Part(Box<Part>),
    Json(Value),
}

// By hand, for the same reason. Every SDK writes `type` first; what does not is looked at twice.
impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Item, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Item;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a part")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Item, E> {
                Ok(Item::Part(Part { text: Some(text.to_owned()), ..Part::default() }.into()))
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Item, E> {
                Ok(Item::Json(value.into()))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Item, E> {
                Ok(Item::Json(value.into()))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Item, E> {
                Ok(Item::Json(value.into()))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Item, E> {
                Ok(Item::Json(value.into()))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Item, E> {
                Ok(Item::Json(Value::Null))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Item, A::Error> {
                let value = Value::deserialize(de::value::SeqAccessDeserializer::new(seq))?;
                Ok(Item::Json(value))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Item, A::Error> {
                let mut all = serde_json::Map::new();
                match map.next_key::<String>()? {
                    None => return Ok(Item::Json(all.into())),
                    Some(key) if key == "type" => {
                        let kind = map.next_value()?;
                        let rest = Part::deserialize(de::value::MapAccessDeserializer::new(map))?;
                        return Ok(Item::Part(Part { r#type: kind, ..rest }.into()));
                    }
                    Some(key) => all.insert(key, map.next_value()?),
                };
                while let Some((key, value)) = map.next_entry()? {
                    all.insert(key, value);
                }
                if !all.contains_key("type") {
                    return Ok(Item::Json(all.into()));
                }
                let part = Part::deserialize(Value::from(all));
                part.map(|p| Item::Part(p.into())).map_err(|e| de::Error::custom(without_place(&e)))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}
