//! A client's Messages request, understood.
//!
//! Tolerant in shape, strict in meaning, as for OpenAI's clients: what cannot be carried is refused with its JSON path where
//! the reply would be another one, and noted as dropped where it would not. A conversation is read in one pass, from the
//! bytes into its blocks: Claude Code sends 100 KB for its first word.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{BILLING, UNSIGNED, Writer};
use crate::chat::fit::digest;
use crate::chat::{
    Block, CachePoint, Format, MediaKind, Request, Role, Seal, Thinking, Tool, ToolChoice, Turn,
};
use crate::dialect::Asked;
use crate::dialect::reading::{
    self, CacheControl, Strings, base64, drop_tools_of, effort, list, messages, messages_of,
    number, readable, source, unambiguous, without_place,
};
use crate::envelope::{Envelope, header_safe};
use crate::error::Error;

/// Keys that are read, or mean nothing to a reply.
#[rustfmt::skip]
const KNOWN: &[&str] = &[
    "model", "messages", "system", "max_tokens", "temperature", "top_p", "stop_sequences", "stream",
    "tools", "tool_choice", "thinking", "output_config", "output_format", "metadata",
    "context_management", "service_tier", "cache_control", "betas", "anthropic_beta",
    "anthropic_version",
];

/// Reads a request.
pub fn decode(body: &Envelope) -> Result<Asked, Error> {
    let output_max = Some(output_max(body)?);
    let request = Request { output_max, ..asked(body)? };
    let is_stream = body.get("stream", "true or false")?.unwrap_or(false);
    // Their streams always tell it.
    Ok(Asked { request, is_stream, writer: Box::new(Writer) })
}

/// What is asked, without how long the reply may be.
pub fn asked(body: &Envelope) -> Result<Request, Error> {
    let mut request = Request {
        temperature: number(body, "temperature", 0.0, 1.0)?,
        top_p: number(body, "top_p", 0.0, 1.0)?,
        stop: body.get::<Strings>("stop_sequences", "a list of strings")?.unwrap_or_default().0,
        user: user(body),
        ..Request::default()
    };
    request.stop.retain(|s| !s.is_empty());
    output_config(body, &mut request)?;
    tool_choice(body, &mut request)?;
    tools(body, &mut request)?;
    system(body, &mut request)?;
    conversation(body, &mut request)?;
    body.names_beyond(KNOWN).into_iter().for_each(|key| request.drop_field(key));
    Ok(request)
}

fn output_max(body: &Envelope) -> Result<u64, Error> {
    const EXPECTED: &str = "a whole number, at least 1, is expected";
    match body.get::<f64>("max_tokens", "a whole number, at least 1,")? {
        Some(n) if n >= 1.0 && n.fract() == 0.0 => Ok(n as u64),
        Some(_) => Err(Error::bad_request("max_tokens", EXPECTED)),
        None => Err(Error::bad_request("max_tokens", format!("missing; {EXPECTED}"))),
    }
}

/// Who the model's vendor is told is asking: always the same word for one user, but not who it is. Claude Code's own is long
/// and names the device.
fn user(body: &Envelope) -> Option<String> {
    #[derive(Deserialize)]
    struct Metadata {
        user_id: Option<String>,
    }
    let metadata = body.get::<Metadata>("metadata", "an object").ok().flatten()?;
    let id = metadata.user_id.filter(|id| !id.is_empty())?;
    Some(format!("user_{:016x}", digest(&id)))
}

/// How much to think, and what the text has to be. Both are told at the top, too.
fn output_config(body: &Envelope, request: &mut Request) -> Result<(), Error> {
    const KEY: &str = "output_config";
    let config = match body.raw(KEY).filter(|raw| *raw != b"null") {
        None => Envelope::default(),
        Some(raw) => Envelope::parse(raw.to_vec()).map_err(|_| {
            Error::bad_request(KEY, "an object with `effort` or `format` is expected")
        })?,
    };
    let word = config.get::<String>("effort", "a string").map_err(|e| within(KEY, e))?;
    let wanted = word.map(|word| effort("output_config.effort", &word)).transpose()?;
    let thinking = thinking(body)?;
    let is_open = matches!(thinking, None | Some(Thinking::Adaptive));
    if wanted.is_some() && !is_open {
        request.drop_field("output_config.effort");
    }
    request.thinking = wanted.filter(|_| is_open).or(thinking);
    request.format = match format(&config, "format").map_err(|e| within(KEY, e))? {
        Format::Text => format(body, "output_format")?,
        format => format,
    };
    for key in config.names_beyond(&["effort", "format"]) {
        request.drop_field(format!("{KEY}.{key}"));
    }
    Ok(())
}

/// The error with the path of what its own path is within.
fn within(outer: &str, error: Error) -> Error {
    match error {
        Error::BadRequest { path, why } => Error::bad_request(format!("{outer}.{path}"), why),
        error => error,
    }
}

fn thinking(body: &Envelope) -> Result<Option<Thinking>, Error> {
    #[derive(Deserialize)]
    struct Wire {
        r#type: String,
        budget_tokens: Option<u64>,
    }
    let wire = body.get::<Wire>("thinking", "an object with `type`")?;
    let Some(wire) = wire else { return Ok(None) };
    let bad = |key, why| Err(Error::bad_request(format!("thinking.{key}"), why));
    match (wire.r#type.as_str(), wire.budget_tokens) {
        ("disabled", _) => Ok(Some(Thinking::Off)),
        ("adaptive", _) => Ok(Some(Thinking::Adaptive)),
        ("enabled", Some(budget)) => Ok(Some(Thinking::Budget(budget))),
        ("enabled", None) => bad("budget_tokens", "a whole number is expected"),
        _ => bad("type", "enabled, disabled or adaptive is expected"),
    }
}

fn format(body: &Envelope, key: &str) -> Result<Format, Error> {
    #[derive(Deserialize)]
    struct Wire {
        r#type: String,
        name: Option<String>,
        description: Option<String>,
        schema: Option<Box<RawValue>>,
    }
    let wire = body.get::<Wire>(key, "an object with `type` and `schema`")?;
    let Some(wire) = wire else { return Ok(Format::Text) };
    match (wire.r#type.as_str(), wire.schema) {
        ("text", _) => Ok(Format::Text),
        ("json_schema", Some(schema)) => Ok(Format::Schema {
            name: wire.name.unwrap_or_else(|| "answer".to_owned()),
            description: wire.description,
            schema: schema.get().to_owned(),
            is_strict: None,
        }),
        ("json_schema", None) => {
            Err(Error::bad_request(format!("{key}.schema"), "a JSON schema is expected"))
        }
        _ => Err(Error::bad_request(format!("{key}.type"), "json_schema is expected")),
    }
}

fn tool_choice(body: &Envelope, request: &mut Request) -> Result<(), Error> {
    #[derive(Default, Deserialize)]
    struct Wire {
        r#type: String,
        name: Option<String>,
        disable_parallel_tool_use: Option<bool>,
    }
    const EXPECTED: &str = "an object with the `type` auto, any, tool or none";
    let choice = match body.raw("tool_choice") {
        Some(raw) if raw.starts_with(b"\"") => Wire {
            r#type: body.get("tool_choice", EXPECTED)?.unwrap_or_default(),
            ..Wire::default()
        },
        _ => match body.get::<Wire>("tool_choice", EXPECTED)? {
            Some(choice) => choice,
            None => return Ok(()),
        },
    };
    request.is_single_call = choice.disable_parallel_tool_use == Some(true);
    request.tool_choice = Some(match (choice.r#type.as_str(), choice.name) {
        ("auto", _) => ToolChoice::Auto,
        ("any", _) => ToolChoice::Any,
        ("none", _) => ToolChoice::None,
        ("tool", Some(name)) => ToolChoice::Named(name),
        ("tool", None) => {
            return Err(Error::bad_request("tool_choice.name", "a tool's name is expected"));
        }
        _ => {
            return Err(Error::bad_request(
                "tool_choice.type",
                "auto, any, tool or none is expected",
            ));
        }
    });
    Ok(())
}

#[derive(Deserialize)]
struct WireTool<'a> {
    #[serde(borrow)]
    r#type: Option<Cow<'a, str>>,
    name: Option<String>,
    description: Option<String>,
    input_schema: Option<&'a RawValue>,
    cache_control: Option<CacheControl>,
    strict: Option<&'a RawValue>,
    input_examples: Option<&'a RawValue>,
    allowed_callers: Option<&'a RawValue>,
}

fn tools(body: &Envelope, request: &mut Request) -> Result<(), Error> {
    let Some(raw) = body.raw("tools").filter(|raw| *raw != b"null") else { return Ok(()) };
    let mut dropped = vec![];
    for (i, wire) in list::<WireTool>(&readable(raw), "tools")?.into_iter().enumerate() {
        if let Some(kind) = wire.r#type.filter(|kind| kind != "custom") {
            // Those that Anthropic runs, or that only its models have learnt.
            dropped.push(kind.into_owned());
            continue;
        }
        let Some(name) = wire.name.filter(|name| !name.is_empty()) else {
            let path = format!("tools[{i}].name");
            return Err(Error::bad_request(path, "a tool's name is expected"));
        };
        let is_said = |raw: Option<&RawValue>| {
            raw.is_some_and(|raw| !["null", "false", "[]"].contains(&raw.get()))
        };
        for (raw, path) in [
            (wire.strict, "tools[].strict"),
            (wire.input_examples, "tools[].input_examples"),
            (wire.allowed_callers, "tools[].allowed_callers"),
        ] {
            if is_said(raw) {
                request.drop_field(path);
            }
        }
        request.tools.push(Tool {
            name,
            description: wire.description.filter(|d| !d.trim().is_empty()),
            schema: wire.input_schema.map(|s| s.get().to_owned()).filter(|s| s != "null"),
            cache: wire.cache_control.map(|c| c.point()),
            is_strict: false,
        });
    }
    drop_tools_of(dropped, request);
    unambiguous(request)
}

fn system(body: &Envelope, request: &mut Request) -> Result<(), Error> {
    let Some(raw) = body.raw("system") else { return Ok(()) };
    let json = readable(raw);
    let content = serde_json::from_slice::<Json>(&json)
        .map_err(|e| Error::bad_request("system", without_place(&e)))?;
    match content {
        Json::Nothing => Ok(()),
        content => instruct(content, "system", request),
    }
}

fn conversation(body: &Envelope, request: &mut Request) -> Result<(), Error> {
    let json = readable(messages_of(body)?);
    for (i, message) in messages::<Message>(&json)?.into_iter().enumerate() {
        let path = format!("messages[{i}].content");
        let role = match message.role.as_str() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            // Claude Code writes them in between, to models whose names it does not know.
            "system" | "developer" => {
                instruct_at(message.content, &path, request)?;
                continue;
            }
            _ => {
                let why = "user, assistant or system is expected";
                return Err(Error::bad_request(format!("messages[{i}].role"), why));
            }
        };
        let mut blocks = vec![];
        for (path, part) in message.content.parts(&path)? {
            match role {
                Role::User => said(part, &path, request, &mut blocks)?,
                Role::Assistant => replied(part, &path, request, &mut blocks)?,
            }
        }
        request.turns.push(Turn { role, blocks });
    }
    Ok(())
}

#[derive(Deserialize)]
struct Message<'a> {
    role: String,
    #[serde(borrow, default)]
    content: Json<'a>,
}

/// Texts that tell the model what to do, among the turns.
fn instruct_at(content: Json, path: &str, request: &mut Request) -> Result<(), Error> {
    let count = request.system.len();
    instruct(content, path, request)?;
    let texts = request.system.split_off(count);
    reading::instruct(texts, request);
    Ok(())
}

/// Texts that tell the model what to do.
fn instruct(content: Json, path: &str, request: &mut Request) -> Result<(), Error> {
    for (path, part) in content.parts(path)? {
        if part.kind() != "text" {
            let what = "instructions are text; put it into a message of the user".to_owned();
            return Err(Error::Refused { path, what });
        }
        let cache = part.cache();
        let mut text = part.text.given(&path, "text")?;
        if text.starts_with(BILLING) {
            text = text.split_once('\n').map_or("", |(_, rest)| rest).to_owned();
        }
        request.system.push(Block::Text { text: text.into(), cache });
    }
    Ok(())
}

/// A block of the user's.
fn said(
    part: Part,
    path: &str,
    request: &mut Request,
    blocks: &mut Vec<Block>,
) -> Result<(), Error> {
    match part.kind() {
        "tool_result" => {
            blocks.push(tool_result(part, path, request)?);
            Ok(())
        }
        "tool_use" => {
            let why = "a tool_use block stands in a message of the assistant";
            Err(Error::bad_request(path, why))
        }
        kind if is_thought(kind) || is_of_a_server(kind) => {
            drop_part(kind, request);
            Ok(())
        }
        _ => given(part, path, request, blocks),
    }
}

/// A block of the assistant's.
fn replied(
    part: Part,
    path: &str,
    request: &mut Request,
    blocks: &mut Vec<Block>,
) -> Result<(), Error> {
    let cache = part.cache();
    let block = match part.kind() {
        "text" => Block::Text { text: part.text.given(path, "text")?.into(), cache },
        "thinking" => {
            let signature = part.signature.text().unwrap_or_default();
            let is_signed = !signature.is_empty() && signature != UNSIGNED;
            let seal = is_signed.then_some(Seal::Claude(signature));
            Block::Reasoning { text: part.thinking.given(path, "thinking")?, seal }
        }
        "redacted_thinking" => {
            let data = part.data.given(path, "data")?;
            Block::Reasoning { text: String::new(), seal: Some(Seal::ClaudeRedacted(data)) }
        }
        "tool_use" => Block::ToolCall {
            name: part.name.given(path, "name")?,
            id: part.id.text().unwrap_or_default(),
            arguments: part.input.map_or_else(|| "{}".to_owned(), arguments),
            seal: None,
            cache,
        },
        // What went before, summed up.
        "compaction" => Block::Text { text: part.content.given(path, "content")?.into(), cache },
        "tool_result" => {
            let why = "a tool_result block stands in a message of the user";
            return Err(Error::bad_request(path, why));
        }
        kind => {
            drop_part(kind, request);
            return Ok(());
        }
    };
    blocks.push(block);
    Ok(())
}

/// As it was written; where it was written as a string, what that says.
fn arguments(input: &RawValue) -> String {
    serde_json::from_str(input.get()).unwrap_or_else(|_| input.get().to_owned())
}

/// Calls of tools that Anthropic runs, their results, and files in its containers: no other vendor has them.
fn is_of_a_server(kind: &str) -> bool {
    kind.ends_with("_tool_result")
        || ["server_tool_use", "mcp_tool_use", "container_upload"].contains(&kind)
}

fn is_thought(kind: &str) -> bool {
    ["thinking", "redacted_thinking"].contains(&kind)
}

fn drop_part(kind: &str, request: &mut Request) {
    request.drop_field(format!("messages[].content[] of type {}", header_safe(kind)));
}

fn tool_result(part: Part, path: &str, request: &mut Request) -> Result<Block, Error> {
    let cache = part.cache();
    let id = part.tool_use_id.given(path, "tool_use_id")?;
    let mut content = vec![];
    let given_parts = match part.content {
        Json::Nothing => vec![],
        content => content.parts(&format!("{path}.content"))?,
    };
    for (path, part) in given_parts {
        given(part, &path, request, &mut content)?;
    }
    // The tool's name is that of the call, which is found by its id when the request is made to fit.
    let (name, is_error) = (String::new(), matches!(part.is_error, Json::True));
    Ok(Block::ToolResult { id, name, content, is_error, cache })
}

/// What the user or a tool gives to read.
fn given(
    part: Part,
    path: &str,
    request: &mut Request,
    blocks: &mut Vec<Block>,
) -> Result<(), Error> {
    let cache = part.cache();
    match part.kind() {
        "text" => blocks.push(Block::Text { text: part.text.given(path, "text")?.into(), cache }),
        "image" => blocks.push(media(part, MediaKind::Image, path)?),
        "document" => document(part, path, request, blocks)?,
        "search_result" => search_result(part, path, request, blocks)?,
        "tool_reference" => {
            let name = part.tool_name.given(path, "tool_name")?;
            blocks.push(Block::Text { text: format!("Found the tool `{name}`.").into(), cache });
        }
        kind => {
            let kind: String = kind.chars().take(50).collect();
            let why = match kind.is_empty() {
                true => "missing; text, image, document or tool_result is expected".to_owned(),
                false => format!("a block of the type {kind:?} cannot be carried to this model"),
            };
            return Err(Error::bad_request(format!("{path}.type"), why));
        }
    }
    Ok(())
}

/// A file, as it is or by its URL.
fn media(part: Part, kind: MediaKind, path: &str) -> Result<Block, Error> {
    let cache = part.cache();
    let path = format!("{path}.source");
    let what = if kind == MediaKind::Image { "image" } else { "file" };
    let Json::Object(wire) = part.source else { return Err(no_source(&path)) };
    let source = match wire.kind() {
        "base64" => {
            let data = wire.data.given(&path, "data")?;
            base64(wire.media_type.text().unwrap_or_default(), data)
        }
        "url" => source(wire.url.given(&path, "url")?, &format!("{path}.url"), what)?,
        "file" => {
            let what = format!("files are not kept here; send the {what} itself as base64");
            return Err(Error::Refused { path, what });
        }
        _ => return Err(no_source(&path)),
    };
    let name = part.title.text();
    Ok(Block::Media { kind, source, name, cache, path })
}

fn no_source(path: &str) -> Error {
    Error::bad_request(path, "an object with the `type` base64, url or text is expected")
}

/// A file; or its text, which every model reads as such, with title and context above.
fn document(
    mut part: Part,
    path: &str,
    request: &mut Request,
    blocks: &mut Vec<Block>,
) -> Result<(), Error> {
    drop_citations(&part, request);
    let cache = part.cache();
    let context = std::mem::take(&mut part.context).text();
    let context = context.map(|context| format!("Context: {context}"));
    let Json::Object(wire) = &mut part.source else {
        return Err(no_source(&format!("{path}.source")));
    };
    let content = match (wire.kind(), wire.file_text()) {
        (_, Some(text)) => Json::Text(text.into()),
        ("text", _) => {
            Json::Text(std::mem::take(&mut wire.data).given(path, "source.data")?.into())
        }
        ("content", _) => std::mem::take(&mut wire.content),
        _ => {
            blocks.extend(context.map(Block::text));
            blocks.push(media(part, MediaKind::File, path)?);
            return Ok(());
        }
    };
    let title = part.title.text();
    let title = title.map(|title| format!("Document: {title}"));
    let above = title.into_iter().chain(context).collect();
    titled(above, content, &format!("{path}.source.content"), cache, request, blocks)
}

/// What was found, below its title and where it was found.
fn search_result(
    part: Part,
    path: &str,
    request: &mut Request,
    blocks: &mut Vec<Block>,
) -> Result<(), Error> {
    drop_citations(&part, request);
    let cache = part.cache();
    let title = part.title.text();
    let title = title.map(|title| format!("Search result: {title}"));
    let source = part.source.text().map(|source| format!("Source: {source}"));
    let above = title.into_iter().chain(source).collect();
    titled(above, part.content, &format!("{path}.content"), cache, request, blocks)
}

/// Text or blocks below these lines. One text is one block.
fn titled(
    above: Vec<String>,
    content: Json,
    path: &str,
    cache: Option<CachePoint>,
    request: &mut Request,
    blocks: &mut Vec<Block>,
) -> Result<(), Error> {
    let mut inner = vec![];
    for (path, part) in content.parts(path)? {
        given(part, &path, request, &mut inner)?;
    }
    let above = above.join("\n");
    match inner.first_mut() {
        _ if above.is_empty() => {}
        Some(Block::Text { text, .. }) => *text = format!("{above}\n\n{text}").into(),
        _ => inner.insert(0, Block::text(above)),
    }
    if let Some(last) = inner.last_mut().and_then(Block::cache) {
        *last = last.or(cache);
    }
    blocks.extend(inner);
    Ok(())
}

/// Other models do not tell what they have a sentence from.
fn drop_citations(part: &Part, request: &mut Request) {
    #[derive(Deserialize)]
    struct Citations {
        enabled: bool,
    }
    let citations = part.citations.map(RawValue::get);
    let citations = citations.and_then(|json| serde_json::from_str::<Citations>(json).ok());
    if citations.is_some_and(|citations| citations.enabled) {
        request.drop_field("messages[].content[].citations");
    }
}

/// A block, a source or a mark for the cache: what may stand in any of them.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Part<'a> {
    #[serde(borrow)]
    r#type: Json<'a>,
    #[serde(borrow)]
    text: Json<'a>,
    #[serde(borrow)]
    cache_control: Json<'a>,
    #[serde(borrow)]
    ttl: Json<'a>,
    #[serde(borrow)]
    thinking: Json<'a>,
    #[serde(borrow)]
    signature: Json<'a>,
    /// Of redacted thinking, or of a file.
    #[serde(borrow)]
    data: Json<'a>,
    #[serde(borrow)]
    media_type: Json<'a>,
    #[serde(borrow)]
    url: Json<'a>,
    #[serde(borrow)]
    id: Json<'a>,
    #[serde(borrow)]
    name: Json<'a>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_use_id: Json<'a>,
    #[serde(borrow)]
    is_error: Json<'a>,
    #[serde(borrow)]
    content: Json<'a>,
    /// Of a file an object, of what a search found the address.
    #[serde(borrow)]
    source: Json<'a>,
    #[serde(borrow)]
    title: Json<'a>,
    #[serde(borrow)]
    context: Json<'a>,
    #[serde(borrow)]
    citations: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_name: Json<'a>,
}

impl Part<'_> {
    fn kind(&self) -> &str {
        match (&self.r#type, &self.text) {
            (Json::Text(kind), _) => kind,
            (_, Json::Text(_)) => "text",
            _ => "",
        }
    }

    /// What a file says that is nothing but text.
    fn file_text(&self) -> Option<String> {
        match (self.kind(), &self.media_type, &self.data) {
            ("base64", Json::Text(kind), Json::Text(data)) if kind.starts_with("text/") => {
                crate::media::text(data)
            }
            _ => None,
        }
    }

    fn cache(&self) -> Option<CachePoint> {
        let Json::Object(control) = &self.cache_control else { return None };
        match &control.ttl {
            Json::Text(ttl) if ttl == "1h" => Some(CachePoint::OneHour),
            _ => Some(CachePoint::FiveMinutes),
        }
    }
}

/// Any JSON, as far as it is looked at: a text, blocks, or a block. What is of another type than it should be is told with
/// its path by whoever needs it.
#[derive(Default)]
enum Json<'a> {
    #[default]
    Nothing,
    True,
    Text(Cow<'a, str>),
    List(Vec<Json<'a>>),
    Object(Box<Part<'a>>),
    Other,
}

impl<'a> Json<'a> {
    /// One that says something.
    fn text(self) -> Option<String> {
        match self {
            Json::Text(text) if !text.is_empty() => Some(text.into_owned()),
            _ => None,
        }
    }

    fn given(self, path: &str, key: &str) -> Result<String, Error> {
        match self {
            Json::Text(text) => Ok(text.into_owned()),
            _ => Err(Error::bad_request(format!("{path}.{key}"), "a string is expected")),
        }
    }

    /// The blocks, each with its path. A text is a block of text, as a whole and as one of a list.
    fn parts(self, path: &str) -> Result<Vec<(String, Part<'a>)>, Error> {
        let part = |path: String, json| match json {
            text @ Json::Text(_) => Ok((path, Part { text, ..Part::default() })),
            Json::Object(part) => Ok((path, *part)),
            _ => {
                let why = "a block, which is an object with `type`, is expected";
                Err(Error::bad_request(path, why))
            }
        };
        match self {
            Json::List(items) => {
                let items = items.into_iter().enumerate();
                items.map(|(i, item)| part(format!("{path}[{i}]"), item)).collect()
            }
            text @ Json::Text(_) => Ok(vec![part(path.to_owned(), text)?]),
            _ => Err(Error::bad_request(path, "a string or a list of blocks is expected")),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Json<'a>, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Json<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Json<'de>, E> {
                Ok(Json::Nothing)
            }

            fn visit_bool<E: de::Error>(self, is_true: bool) -> Result<Json<'de>, E> {
                Ok(if is_true { Json::True } else { Json::Other })
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Json<'de>, E> {
                Ok(Json::Other)
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Json<'de>, E> {
                Ok(Json::Other)
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Json<'de>, E> {
                Ok(Json::Other)
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Json<'de>, E> {
                Ok(Json::Text(text.into()))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Json<'de>, E> {
                Ok(Json::Text(text.to_owned().into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json<'de>, A::Error> {
                let mut all = vec![];
                while let Some(json) = seq.next_element()? {
                    all.push(json);
                }
                Ok(Json::List(all))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Json<'de>, A::Error> {
                let part = Part::deserialize(MapAccessDeserializer::new(map))?;
                // Of very many `{}` nothing is kept.
                Ok(if part.kind().is_empty() { Json::Other } else { Json::Object(part.into()) })
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use serde_json::{Value, json};

    use super::*;
    use crate::chat::Source;

    fn read(body: &Value) -> Result<Asked, Error> {
        decode(&Envelope::parse(body.to_string().into_bytes()).unwrap())
    }

    /// A request of these keys, and of those without which it would be none.
    fn with(keys: Value) -> Value {
        let mut body =
            json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]});
        keys.as_object().unwrap().iter().for_each(|(key, value)| body[key] = value.clone());
        body
    }

    fn cached(cache: &Option<CachePoint>) -> &'static str {
        match cache {
            None => "",
            Some(CachePoint::FiveMinutes) => " *5m",
            Some(CachePoint::OneHour) => " *1h",
        }
    }

    /// Blocks in a few letters.
    fn sketch(blocks: &[Block]) -> String {
        let mut out = String::new();
        for block in blocks {
            match block {
                Block::Text { text, cache } => write!(out, "{text:?}{}", cached(cache)),
                Block::Reasoning { text, seal } => write!(out, "thought {text:?} {seal:?}"),
                Block::ToolCall { id, name, arguments, cache, .. } => {
                    write!(out, "call {id} {name} {arguments}{}", cached(cache))
                }
                Block::ToolResult { id, content, is_error, cache, .. } => {
                    let word = if *is_error { "failure" } else { "result" };
                    write!(out, "{word} {id} [{}]{}", sketch(content), cached(cache))
                }
                Block::Media { kind, source, name, cache, path } => {
                    let source = match source {
                        Source::Base64 { media_type, data } => format!("{media_type} {data}"),
                        Source::Url(url) => url.clone(),
                    };
                    write!(out, "{kind:?} {source} {name:?} {path}{}", cached(cache))
                }
            }
            .unwrap();
            out.push_str(" | ");
        }
        out.trim_end_matches(" | ").to_owned()
    }

    fn sketch_turns(request: &Request) -> String {
        let mut out = vec![];
        if !request.system.is_empty() {
            out.push(format!("system: {}", sketch(&request.system)));
        }
        for turn in &request.turns {
            out.push(format!("{:?}: {}", turn.role, sketch(&turn.blocks)));
        }
        if !request.dropped.is_empty() {
            out.push(format!("dropped: {}", request.dropped.join(", ")));
        }
        out.join("\n").to_lowercase()
    }

    #[test]
    fn conversations() {
        let png =
            json!({"type": "base64", "media_type": "image/jpeg", "data": "iVBORw0KGgoAAAANSUhEUg"});
        let cases = [
            (json!([{"role": "user", "content": "Hi"}]), "user: \"hi\""),
            (
                json!([
                    {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}, "citations": []}, "b"]},
                    {"role": "system", "content": "s"},
                    {"role": "assistant", "content": []},
                    {"role": "system", "content": [{"type": "text", "text": "t", "cache_control": {"type": "ephemeral"}}]},
                    {"role": "user", "content": [{"text": ""}]},
                ]),
                "system: \"s\"\nuser: \"a\" *1h | \"b\"\nassistant: \nuser: \"<system-reminder>\\nt\\n</system-reminder>\" *5m\nuser: \"\"",
            ),
            (
                json!([{"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                    {"type": "thinking", "thinking": "", "signature": "c2ln"},
                    {"type": "thinking", "thinking": "hm", "signature": UNSIGNED},
                    {"type": "thinking", "thinking": "hm", "signature": ""},
                    {"type": "thinking", "thinking": "hm", "signature": null},
                    {"type": "redacted_thinking", "data": "eA=="},
                ]}]),
                r#"assistant: thought "hm" some(claude("c2ln")) | thought "" some(claude("c2ln")) | thought "hm" none | thought "hm" none | thought "hm" none | thought "" some(clauderedacted("ea=="))"#,
            ),
            (
                json!([
                    {"role": "assistant", "content": [
                        {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": [1.5, {}]}, "cache_control": {"type": "ephemeral"}},
                        {"type": "tool_use", "id": "t2", "name": "f"},
                        {"type": "tool_use", "name": "f", "input": "{\"a\":1}"},
                    ]},
                    {"role": "user", "content": [
                        {"tool_use_id": "t1", "type": "tool_result", "content": "ok", "is_error": false, "cache_control": {"type": "ephemeral"}},
                        {"tool_use_id": "t2", "type": "tool_result", "is_error": true},
                        {"tool_use_id": "t3", "type": "tool_result", "content": [
                            {"type": "text", "text": "x"}, {"type": "image", "source": png}, {"type": "tool_reference", "tool_name": "g"},
                        ]},
                        "go on",
                    ]},
                ]),
                "assistant: call t1 f {\"a\":[1.5,{}]} *5m | call t2 f {} | call  f {\"a\":1}\n\
                 user: result t1 [\"ok\"] *5m | failure t2 [] | result t3 [\"x\" | image image/png ivborw0kggoaaaansuheug \
                 none messages[1].content[2].content[1].source | \"found the tool `g`.\"] | \"go on\"",
            ),
            (
                json!([{"role": "user", "content": [
                    {"type": "image", "source": png, "cache_control": {"type": "ephemeral"}},
                    {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
                ]}]),
                "user: image image/png ivborw0kggoaaaansuheug none messages[0].content[0].source *5m | \
                 image https://example.org/a.png none messages[0].content[1].source",
            ),
            (
                json!([{"role": "user", "content": [
                    {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0x"}, "title": "a.pdf", "context": "old", "citations": {"enabled": true}},
                    {"type": "document", "source": {"type": "url", "url": "https://example.org/a.pdf"}, "citations": {"enabled": false}},
                    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}, "title": "t", "context": "c", "cache_control": {"type": "ephemeral"}},
                    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
                    {"type": "document", "source": {"type": "content", "content": "words"}, "title": ""},
                    {"type": "document", "source": {"type": "content", "content": [{"type": "image", "source": png}, {"type": "text", "text": "b"}]}, "title": "t"},
                ]}]),
                "user: \"context: old\" | file application/pdf jvberi0x some(\"a.pdf\") messages[0].content[0].source | \
                 file https://example.org/a.pdf none messages[0].content[1].source | \
                 \"document: t\\ncontext: c\\n\\nwords\" *5m | \"words\" | \"words\" | \
                 \"document: t\" | image image/png ivborw0kggoaaaansuheug none messages[0].content[5].source.content[0].source | \"b\"\n\
                 dropped: messages[].content[].citations",
            ),
            (
                json!([{"role": "user", "content": [
                    {"type": "search_result", "source": "https://example.org", "title": "t", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "cache_control": {"type": "ephemeral"}},
                    {"type": "container_upload", "file_id": "f"},
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                ]}]),
                "user: \"search result: t\\nsource: https://example.org\\n\\na\" | \"b\" *5m\n\
                 dropped: messages[].content[] of type container_upload, messages[].content[] of type thinking",
            ),
            (
                json!([{"role": "assistant", "content": [
                    {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}},
                    {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"type": "web_search_result", "url": "u", "title": "t", "encrypted_content": "e", "page_age": null}]},
                    {"type": "bash_code_execution_tool_result", "tool_use_id": "s", "content": {"type": "x", "stdout": "o", "content": []}},
                    {"type": "text", "text": "a", "citations": [{"type": "web_search_result_location", "url": "u"}]},
                    {"type": "compaction", "content": "before"},
                    {"type": "image", "source": png},
                    {"type": "web_search_tool_result", "content": {"error_code": 5}},
                ]}]),
                "assistant: \"a\" | \"before\"\n\
                 dropped: messages[].content[] of type server_tool_use, messages[].content[] of type web_search_tool_result, \
                 messages[].content[] of type bash_code_execution_tool_result, messages[].content[] of type image",
            ),
        ];
        for (messages, expected) in cases {
            let asked = read(&with(json!({"messages": messages}))).unwrap();
            assert_eq!(sketch_turns(&asked.request), expected, "{messages}");
        }
    }

    #[test]
    fn parameters() {
        let schema = Format::Schema {
            name: "answer".into(),
            description: None,
            schema: r#"{"type":"object"}"#.into(),
            is_strict: None,
        };
        let json_schema = json!({"type": "json_schema", "schema": {"type": "object"}});
        let tools = json!([{"name": "f"}]);
        let base = || read(&with(json!({}))).unwrap().request;
        let thinks = |thinking| Request { thinking: Some(thinking), ..base() };
        use crate::chat::Effort;
        let cases = [
            (
                json!({"temperature": 1, "top_p": 0.5, "stop_sequences": ["a", ""], "metadata": {"user_id": "u"}}),
                Request {
                    temperature: Some(1.0),
                    top_p: Some(0.5),
                    stop: vec!["a".into()],
                    user: Some("user_af63e84c860200f0".into()),
                    ..base()
                },
            ),
            (
                json!({"top_k": 5, "container": "c", "mcp_servers": [{}], "speed": null, "service_tier": "auto", "betas": ["x"],
                       "context_management": {"edits": []}, "cache_control": {"type": "ephemeral"}}),
                Request {
                    dropped: vec!["container".into(), "mcp_servers".into(), "top_k".into()],
                    ..base()
                },
            ),
            (json!({"max_tokens": 3e4}), Request { output_max: Some(30_000), ..base() }),
            (json!({"thinking": {"type": "disabled"}}), thinks(Thinking::Off)),
            (
                json!({"thinking": {"type": "adaptive", "display": "omitted"}}),
                thinks(Thinking::Adaptive),
            ),
            (
                json!({"thinking": {"type": "enabled", "budget_tokens": 31999}}),
                thinks(Thinking::Budget(31_999)),
            ),
            (
                json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}}),
                thinks(Thinking::Effort(Effort::Highest)),
            ),
            (json!({"output_config": {"effort": "max"}}), thinks(Thinking::Effort(Effort::Max))),
            (
                json!({"thinking": {"type": "disabled"}, "output_config": {"effort": "low", "task_budget": {}}}),
                Request {
                    dropped: vec![
                        "output_config.effort".into(),
                        "output_config.task_budget".into(),
                    ],
                    ..thinks(Thinking::Off)
                },
            ),
            (
                json!({"output_config": {"format": json_schema}}),
                Request { format: schema.clone(), ..base() },
            ),
            (
                json!({"output_format": json_schema, "output_config": null}),
                Request { format: schema, ..base() },
            ),
            (
                json!({"tools": tools, "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": true}}),
                Request {
                    tools: vec![Tool {
                        name: "f".into(),
                        description: None,
                        schema: None,
                        cache: None,
                        is_strict: false,
                    }],
                    tool_choice: Some(ToolChoice::Named("f".into())),
                    is_single_call: true,
                    ..base()
                },
            ),
            (
                json!({"tool_choice": {"type": "any"}}),
                Request { tool_choice: Some(ToolChoice::Any), ..base() },
            ),
            (
                json!({"tool_choice": "auto"}),
                Request { tool_choice: Some(ToolChoice::Auto), ..base() },
            ),
            (
                json!({"tool_choice": {"type": "none"}}),
                Request { tool_choice: Some(ToolChoice::None), ..base() },
            ),
            (
                json!({"tools": [
                    {"type": "custom", "name": "f", "description": "d", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}, "strict": true, "defer_loading": true},
                    {"type": "web_search_20250305", "name": "web_search", "max_uses": 5},
                    {"type": "bash_20250124", "name": "bash"},
                    {"name": "g", "description": " ", "input_schema": null, "strict": false, "input_examples": [{}], "allowed_callers": []},
                ]}),
                Request {
                    tools: vec![
                        Tool {
                            name: "f".into(),
                            description: Some("d".into()),
                            schema: Some(r#"{"type":"object"}"#.into()),
                            cache: Some(CachePoint::FiveMinutes),
                            is_strict: false,
                        },
                        Tool {
                            name: "g".into(),
                            description: None,
                            schema: None,
                            cache: None,
                            is_strict: false,
                        },
                    ],
                    dropped: vec![
                        "tools[].strict".into(),
                        "tools[].input_examples".into(),
                        "tools[] of type bash_20250124".into(),
                        "tools[] of type web_search_20250305".into(),
                    ],
                    ..base()
                },
            ),
        ];
        for (keys, expected) in cases {
            assert_eq!(read(&with(keys.clone())).unwrap().request, expected, "{keys}");
        }
    }

    /// As Claude Code 2.1 writes to a model whose name it does not know, but for the length of its texts.
    #[test]
    fn a_request_of_claude_code() {
        let schema = r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{"command":{"type":"string"}},"required":["command"],"additionalProperties":false}"#;
        let body = r#"{"model":"gpt-5","messages":[
            {"role":"user","content":[
                {"type":"text","text":"<system-reminder>\nToday is …\n</system-reminder>"},
                {"type":"text","text":"do X","cache_control":{"type":"ephemeral"}}]},
            {"role":"system","content":"The plan mode is on."},
            {"role":"assistant","content":[
                {"type":"thinking","thinking":"A file first.","signature":"c2FwLWFpLWNvcmUtbGxtLXByb3h5"},
                {"type":"text","text":"I look."},
                {"type":"tool_use","id":"toolu_1","name":"Bash","input":{ "command" : "ls \u00e9", "timeout": 1.10 }}]},
            {"role":"user","content":[
                {"tool_use_id":"toolu_1","type":"tool_result","content":"cut \ud83d","is_error":false,"cache_control":{"type":"ephemeral","ttl":"1h"}}]}],
            "system":[
                {"type":"text","text":"x-anthropic-billing-header: cc_version=2.1.197.01c; cc_entrypoint=sdk-cli; cch=36ee5;"},
                {"type":"text","text":"You are Claude Code.","cache_control":{"type":"ephemeral"}},
                {"type":"text","text":"Be brief.","cache_control":{"type":"ephemeral","scope":"global"}}],
            "tools":[{"name":"Bash","description":"Runs a command","input_schema":SCHEMA}],
            "metadata":{"user_id":"{\"device_id\":\"d\",\"account_uuid\":\"\",\"session_id\":\"s\"}"},
            "max_tokens":32000,"thinking":{"type":"adaptive"},"output_config":{"effort":"high"},
            "context_management":{"edits":[{"type":"clear_thinking_20251015","keep":"all"}]},"stream":true}"#;
        let body = body.replace("SCHEMA", schema);
        let asked = decode(&Envelope::parse(body.into_bytes()).unwrap()).unwrap();
        assert!(asked.is_stream);
        let request = asked.request;
        assert_eq!(request.output_max, Some(32_000));
        assert_eq!(request.thinking, Some(Thinking::Effort(crate::chat::Effort::High)));
        assert_eq!(request.tools[0].schema.as_deref(), Some(schema));
        let expected = [
            r#"system: "" | "you are claude code." *5m | "be brief." *5m | "the plan mode is on.""#,
            r#"user: "<system-reminder>\ntoday is …\n</system-reminder>" | "do x" *5m"#,
            r#"assistant: thought "a file first." none | "i look." | call toolu_1 bash { "command" : "ls \u00e9", "timeout": 1.10 }"#,
            r#"user: result toolu_1 ["cut \u{fffd}"] *1h"#,
        ];
        assert_eq!(sketch_turns(&request).replace('\u{fffd}', r"\u{fffd}"), expected.join("\n"));
    }

    #[test]
    fn a_file_of_text_is_its_text() {
        let document = |media_type: &str| {
            let source = json!({"type": "base64", "media_type": media_type, "data": "d29yZHM="});
            let part = json!({"type": "document", "title": "t", "source": source});
            let body = with(json!({"messages": [{"role": "user", "content": [part]}]}));
            read(&body).unwrap().request.turns.remove(0).blocks.remove(0)
        };
        assert_eq!(document("text/markdown"), Block::text("Document: t\n\nwords"));
        assert!(matches!(document("application/x"), Block::Media { .. }));
    }

    #[test]
    fn what_follows_the_line_about_billing_is_kept() {
        for (text, expected) in [
            (
                "x-anthropic-billing-header: cch=1;\nBe brief.",
                "system: \"be brief.\"\nuser: \"hi\"",
            ),
            (
                "Of x-anthropic-billing-header: nothing",
                "system: \"of x-anthropic-billing-header: nothing\"\nuser: \"hi\"",
            ),
        ] {
            let asked = read(&with(json!({"system": text}))).unwrap();
            assert_eq!(sketch_turns(&asked.request), expected);
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_path() {
        let user = |part: Value| json!({"messages": [{"role": "user", "content": [part]}]});
        let assistant =
            |part: Value| json!({"messages": [{"role": "assistant", "content": [part]}]});
        let cases = [
            (
                json!({"max_tokens": null}),
                "max_tokens: missing; a whole number, at least 1, is expected",
            ),
            (json!({"max_tokens": 0}), "max_tokens: a whole number, at least 1, is expected"),
            (json!({"max_tokens": 1.5}), "max_tokens: a whole number, at least 1, is expected"),
            (json!({"max_tokens": "5"}), "max_tokens: a whole number, at least 1, is expected"),
            (json!({"temperature": 1.1}), "temperature: a number from 0 to 1 is expected"),
            (json!({"top_p": "x"}), "top_p: a number from 0 to 1 is expected"),
            (json!({"stream": "yes"}), "stream: true or false is expected"),
            (json!({"stop_sequences": [1]}), "stop_sequences: a list of strings is expected"),
            (
                json!({"thinking": {"type": "enabled"}}),
                "thinking.budget_tokens: a whole number is expected",
            ),
            (
                json!({"thinking": {"type": "on"}}),
                "thinking.type: enabled, disabled or adaptive is expected",
            ),
            (json!({"thinking": "on"}), "thinking: an object with `type` is expected"),
            (
                json!({"output_config": 5}),
                "output_config: an object with `effort` or `format` is expected",
            ),
            (json!({"output_config": {"effort": 5}}), "output_config.effort: a string is expected"),
            (
                json!({"output_config": {"effort": "x"}}),
                "output_config.effort: none, minimal, low, medium, high, xhigh or max is expected",
            ),
            (
                json!({"output_config": {"format": {"type": "json_schema"}}}),
                "output_config.format.schema: a JSON schema is expected",
            ),
            (
                json!({"output_format": {"type": "xml"}}),
                "output_format.type: json_schema is expected",
            ),
            (
                json!({"tool_choice": {"type": "tool"}}),
                "tool_choice.name: a tool's name is expected",
            ),
            (
                json!({"tool_choice": {"type": "required"}}),
                "tool_choice.type: auto, any, tool or none is expected",
            ),
            (
                json!({"tool_choice": {"type": "tool", "name": "f"}, "tools": []}),
                "tool_choice: \"f\" is none of the tools",
            ),
            (json!({"tools": {}}), "tools: a list is expected"),
            (
                json!({"tools": [{"name": "f"}, {"name": ""}]}),
                "tools[1].name: a tool's name is expected",
            ),
            (
                json!({"tools": [{"name": "f"}, {"name": 5}]}),
                "tools[1]: invalid type: integer `5`, expected a string",
            ),
            (
                json!({"tools": [{"name": "f"}, {"name": "f"}]}),
                "tools: two tools are called \"f\"; names must differ",
            ),
            (json!({"system": 5}), "system: a string or a list of blocks is expected"),
            (json!({"system": [{"type": "text"}]}), "system[0].text: a string is expected"),
            (
                json!({"system": ["a", {"type": "image", "source": {}}]}),
                "system[1]: instructions are text; put it into a message of the user",
            ),
            (json!({"messages": null}), "messages: a list of messages is expected"),
            (json!({"messages": []}), "messages: at least one message is expected"),
            (
                json!({"messages": ["Hi"]}),
                "messages[0]: invalid type: string \"Hi\", expected struct Message",
            ),
            (
                json!({"messages": [{"role": "user"}]}),
                "messages[0].content: a string or a list of blocks is expected",
            ),
            (
                json!({"messages": [{"role": "tool", "content": "x"}]}),
                "messages[0].role: user, assistant or system is expected",
            ),
            (
                user(json!(5)),
                "messages[0].content[0]: a block, which is an object with `type`, is expected",
            ),
            (
                user(json!({})),
                "messages[0].content[0]: a block, which is an object with `type`, is expected",
            ),
            (
                user(json!({"type": "text", "text": ["x"]})),
                "messages[0].content[0].text: a string is expected",
            ),
            (
                user(json!({"type": "image_url", "image_url": {}})),
                "messages[0].content[0].type: a block of the type \"image_url\" cannot be carried to this model",
            ),
            (
                user(json!({"type": "image"})),
                "messages[0].content[0].source: an object with the `type` base64, url or text is expected",
            ),
            (
                user(
                    json!({"type": "image", "source": {"type": "base64", "media_type": "image/png"}}),
                ),
                "messages[0].content[0].source.data: a string is expected",
            ),
            (
                user(json!({"type": "image", "source": {"type": "file", "file_id": "f"}})),
                "messages[0].content[0].source: files are not kept here; send the image itself as base64",
            ),
            (
                user(json!({"type": "document", "source": {"type": "file", "file_id": "f"}})),
                "messages[0].content[0].source: files are not kept here; send the file itself as base64",
            ),
            (
                user(json!({"type": "document", "source": {"type": "text", "data": 5}})),
                "messages[0].content[0].source.data: a string is expected",
            ),
            (
                user(json!({"type": "image", "source": {"type": "url", "url": "ftp://x"}})),
                "messages[0].content[0].source.url: a data: URL with base64, or an http(s) URL of the image, is expected",
            ),
            (
                user(json!({"type": "tool_use", "name": "f"})),
                "messages[0].content[0]: a tool_use block stands in a message of the assistant",
            ),
            (
                user(json!({"type": "tool_result", "content": "x"})),
                "messages[0].content[0].tool_use_id: a string is expected",
            ),
            (
                user(json!({"type": "tool_result", "tool_use_id": "t", "content": {"a": 1}})),
                "messages[0].content[0].content: a string or a list of blocks is expected",
            ),
            (
                user(
                    json!({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "audio"}]}),
                ),
                "messages[0].content[0].content[0].type: a block of the type \"audio\" cannot be carried to this model",
            ),
            (
                assistant(json!({"type": "tool_use", "id": "t"})),
                "messages[0].content[0].name: a string is expected",
            ),
            (
                assistant(json!({"type": "tool_result", "tool_use_id": "t"})),
                "messages[0].content[0]: a tool_result block stands in a message of the user",
            ),
            (
                assistant(json!({"type": "thinking", "signature": "s"})),
                "messages[0].content[0].thinking: a string is expected",
            ),
        ];
        for (keys, expected) in cases {
            let error = read(&with(keys.clone())).unwrap_err();
            assert_eq!((error.status(), error.to_string().as_str()), (400, expected), "{keys}");
        }
    }
}
