//! A client's request for a response, understood.
//!
//! The input is a list of items, and each is a part of a turn: a message, a call, its result, a thought. What is not part of
//! the conversation is left out and named (calls of tools that OpenAI runs), or is a definition of tools, which
//! [`Offered`] reads.
//!
//! Left open: what `truncation` and `max_tool_calls` would do at OpenAI; nothing here does it, and they are named as dropped.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::compact::summed_up;
use super::sealed::{self, Sealed};
use super::tools::{CLIENT, DEFINING, Offered, SEARCH, function_name, search_result};
use super::{Responses, Writer, freeform};
use crate::chat::{Block, Format, MediaKind, Request, Role, Seal, Source, Text, Tool, Turn};
use crate::dialect::Asked;
use crate::dialect::reading::{
    arguments, effort, instruct, list, number, output_max, readable, source, without_place,
};
use crate::envelope::{Envelope, header_safe, quoted};
use crate::error::Error;

/// Keys that are read, or mean nothing to a reply.
#[rustfmt::skip]
const KNOWN: &[&str] = &[
    "model", "input", "instructions", "previous_response_id", "stream", "stream_options",
    "max_output_tokens", "temperature", "top_p", "reasoning", "text", "tools", "tool_choice",
    "parallel_tool_calls", "prompt", "conversation", "top_logprobs", "background", "truncation",
    "include", "store", "user", "metadata", "client_metadata", "safety_identifier",
    "prompt_cache_key", "prompt_cache_retention", "service_tier",
];

const HISTORY: &str = "previous_response_id";

/// Reads a request.
pub fn decode(body: &Envelope, memory: &Responses<'_>) -> Result<Asked, Error> {
    check(body)?;
    refuse(body)?;
    let mut request = Request {
        temperature: number(body, "temperature", 0.0, 2.0)?,
        top_p: number(body, "top_p", 0.0, 1.0)?,
        is_single_call: body.get("parallel_tool_calls", "true or false")? == Some(false),
        ..Request::default()
    };
    output_max(body, &["max_output_tokens"], &mut request)?;
    reasoning(body, &mut request)?;
    text(body, &mut request)?;
    let offered = Offered::read(body, memory.history)?;
    let tools = offer(offered, &mut request);
    let mut reader = Reader { memory, request, seals: vec![], shells: HashMap::new() };
    reader.instructions(body)?;
    reader.conversation(body)?;
    let mut request = reader.request;
    drop_the_rest(body, &mut request)?;
    let is_stream = body.get("stream", "true or false")?.unwrap_or(false);
    Ok(Asked { request, is_stream, writer: Box::new(Writer::new(body, tools)?) })
}

/// What is refused of requests that are not decoded, too: AI Core documents neither.
pub fn check(body: &Envelope) -> Result<(), Error> {
    let what =
        "conversations are not kept here; use previous_response_id, or send all of it as input";
    refused(body, "conversation", what)?;
    refused(body, "prompt", "prompts are not kept here; send the prompt itself as input")
}

fn refused(body: &Envelope, key: &str, what: &str) -> Result<(), Error> {
    match body.raw(key) {
        None | Some(b"null") => Ok(()),
        Some(_) => Err(Error::Refused { path: key.to_owned(), what: what.to_owned() }),
    }
}

/// What would make another reply, and cannot be carried.
fn refuse(body: &Envelope) -> Result<(), Error> {
    const KEY: &str = "top_logprobs";
    match body.get::<u64>(KEY, "a whole number")? {
        None | Some(0) => Ok(()),
        Some(_) => {
            let what = "this API gives none for this model; leave it out".to_owned();
            Err(Error::Refused { path: KEY.to_owned(), what })
        }
    }
}

/// The object at a key, whose own keys are then read one by one.
fn inner(body: &Envelope, key: &str, expected: &str) -> Result<Envelope, Error> {
    match body.raw(key).filter(|raw| *raw != b"null") {
        None => Ok(Envelope::default()),
        Some(raw) => Envelope::parse(raw.to_vec())
            .map_err(|_| Error::bad_request(key, format!("{expected} is expected"))),
    }
}

/// The error with the path of what its own path is within.
fn within(outer: &str, error: Error) -> Error {
    match error {
        Error::BadRequest { path, why } => Error::bad_request(format!("{outer}.{path}"), why),
        error => error,
    }
}

/// How much to think. A summary alone, which Codex asks for of models that it does not know, says nothing of that.
fn reasoning(body: &Envelope, request: &mut Request) -> Result<(), Error> {
    const KEY: &str = "reasoning";
    let reasoning = inner(body, KEY, "an object with `effort` or `summary`")?;
    let word = reasoning.get::<String>("effort", "a string").map_err(|e| within(KEY, e))?;
    request.thinking = word.map(|word| effort("reasoning.effort", &word)).transpose()?;
    for key in reasoning.names_beyond(&["effort", "summary", "generate_summary"]) {
        request.drop_field(format!("{KEY}.{key}"));
    }
    Ok(())
}

fn text(body: &Envelope, request: &mut Request) -> Result<(), Error> {
    const KEY: &str = "text";
    let text = inner(body, KEY, "an object with `format`")?;
    request.format = format(&text).map_err(|e| within(KEY, e))?;
    for key in text.names_beyond(&["format"]) {
        request.drop_field(format!("{KEY}.{key}"));
    }
    Ok(())
}

fn format(text: &Envelope) -> Result<Format, Error> {
    #[derive(Deserialize)]
    struct Wire {
        r#type: String,
        name: Option<String>,
        description: Option<String>,
        schema: Option<Box<RawValue>>,
        strict: Option<bool>,
    }
    let wire = text.get::<Wire>("format", "an object with `type`")?;
    let Some(wire) = wire else { return Ok(Format::Text) };
    match (wire.r#type.as_str(), wire.schema) {
        ("text", _) => Ok(Format::Text),
        ("json_object", _) => Ok(Format::Json),
        ("json_schema", Some(schema)) => Ok(Format::Schema {
            name: wire.name.unwrap_or_else(|| "answer".to_owned()),
            description: wire.description,
            schema: schema.get().to_owned(),
            is_strict: wire.strict,
        }),
        ("json_schema", None) => {
            Err(Error::bad_request("format.schema", "a JSON schema is expected"))
        }
        _ => {
            let why = "text, json_object or json_schema is expected";
            Err(Error::bad_request("format.type", why))
        }
    }
}

/// The tools for the model; those for the way back.
fn offer(offered: Offered, request: &mut Request) -> super::Tools {
    request.tools.extend(offered.functions.into_iter().map(|function| Tool {
        name: function.name,
        description: function.description,
        schema: function.schema,
        is_strict: function.is_strict,
        cache: None,
    }));
    request.tool_choice = offered.choice;
    offered.dropped.into_iter().for_each(|name| request.drop_field(name));
    offered.tools
}

/// What has no bearing on the input.
fn drop_the_rest(body: &Envelope, request: &mut Request) -> Result<(), Error> {
    if body.get::<bool>("background", "true or false")? == Some(true) {
        // The client gets its reply at once.
        request.drop_field("background");
    }
    let truncation = body.get::<String>("truncation", "auto or disabled")?;
    if truncation.is_some_and(|word| word != "disabled") {
        request.drop_field("truncation");
    }
    let include = body.get::<Vec<String>>("include", "a list of strings")?.unwrap_or_default();
    if include.iter().any(|name| name == "message.output_text.logprobs") {
        request.drop_field("include");
    }
    body.names_beyond(KNOWN).into_iter().for_each(|key| request.drop_field(key));
    Ok(())
}

/// Reads items into the turns of a request.
struct Reader<'a> {
    memory: &'a Responses<'a>,
    request: Request,
    /// Of calls that have not come yet, by their ids.
    seals: Vec<(String, Seal)>,
    /// The calls of shells by the ids of their items, which some results name instead.
    shells: HashMap<String, String>,
}

/// What may stand in an item of any type.
#[derive(Default, Deserialize)]
#[serde(expecting = "an item, which is an object")]
struct Item<'a> {
    #[serde(borrow)]
    r#type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    call_id: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    namespace: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    summary: Option<&'a RawValue>,
    #[serde(borrow)]
    encrypted_content: Option<&'a RawValue>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    /// Of a custom tool.
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    /// Of a shell.
    #[serde(borrow)]
    action: Option<&'a RawValue>,
    /// Of a patch.
    #[serde(borrow)]
    operation: Option<&'a RawValue>,
    /// Of a search for tools: who runs it, and what was found.
    #[serde(borrow)]
    execution: Option<&'a RawValue>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
}

impl Item<'_> {
    fn kind(&self) -> &str {
        match (&self.r#type, &self.role) {
            (Some(kind), _) => kind,
            (None, Some(_)) => "message",
            (None, None) => "",
        }
    }

    fn is_clients(&self) -> bool {
        let client = quoted(CLIENT);
        self.execution.is_some_and(|who| who.get() == client)
    }

    /// The id of the call; some clients know the item's only.
    fn called(&self, path: &str) -> Result<String, Error> {
        let call_id = string(self.call_id, path, "call_id")?.filter(|id| !id.is_empty());
        Ok(match call_id {
            Some(id) => id,
            None => string(self.id, path, "id")?.unwrap_or_default(),
        })
    }
}

impl Reader<'_> {
    /// A text, or messages, parts and texts in a list.
    fn instructions(&mut self, body: &Envelope) -> Result<(), Error> {
        const KEY: &str = "instructions";
        let Some(raw) = body.raw(KEY).filter(|raw| *raw != b"null") else { return Ok(()) };
        let json = readable(raw);
        let content = serde_json::from_slice::<&RawValue>(&json)
            .map_err(|e| Error::bad_request(KEY, without_place(&e)))?;
        let mut blocks = vec![];
        match content.get().starts_with('[') {
            false => blocks = self::content(Some(content), KEY)?,
            true => {
                for (i, item) in list::<&RawValue>(&json, KEY)?.into_iter().enumerate() {
                    let path = format!("{KEY}[{i}]");
                    match serde_json::from_str::<Item>(item.get()) {
                        Ok(Item { content: Some(content), .. }) => {
                            let path = format!("{path}.content");
                            blocks.extend(self::content(Some(content), &path)?);
                        }
                        _ => blocks.push(part(item, &path)?),
                    }
                }
            }
        }
        self.request.system.extend(only_texts(blocks)?);
        Ok(())
    }

    fn conversation(&mut self, body: &Envelope) -> Result<(), Error> {
        const EXPECTED: &str = "a string or a list of items is expected";
        let history = self.memory.history;
        let mut count = 0;
        if !history.is_empty() {
            count += self.items(&readable(history), HISTORY)?;
        }
        match body.raw("input") {
            None | Some(b"null") => {}
            Some(raw) if raw.starts_with(b"[") => count += self.items(&readable(raw), "input")?,
            Some(raw) if raw.starts_with(b"\"") => {
                let json = readable(raw);
                let text = serde_json::from_slice::<Text>(&json)
                    .map_err(|e| Error::bad_request("input", without_place(&e)))?;
                self.push(Role::User, vec![Block::Text { text, cache: None }]);
                count += 1;
            }
            Some(_) => return Err(Error::bad_request("input", EXPECTED)),
        }
        match (count, body.raw("input")) {
            (0, None | Some(b"null")) => {
                Err(Error::bad_request("input", format!("missing; {EXPECTED}")))
            }
            (0, Some(_)) => Err(Error::bad_request("input", "at least one item is expected")),
            _ => Ok(()),
        }
    }

    fn items(&mut self, json: &[u8], path: &str) -> Result<usize, Error> {
        let items = list::<Item>(json, path)?;
        let count = items.len();
        for (i, item) in items.into_iter().enumerate() {
            self.item(item, &format!("{path}[{i}]"))?;
        }
        Ok(count)
    }

    fn item(&mut self, item: Item, path: &str) -> Result<(), Error> {
        match item.kind() {
            "message" => self.message(item, path),
            "function_call" => {
                let name = given(item.name, path, "name")?;
                let namespace = string(item.namespace, path, "namespace")?;
                let name = match namespace.filter(|space| !space.is_empty()) {
                    Some(space) => function_name(&name, Some(&space)),
                    None => name,
                };
                let arguments = item.arguments.map(arguments).transpose();
                let why = |e| Error::bad_request(format!("{path}.arguments"), without_place(&e));
                let arguments = arguments.map_err(why)?.unwrap_or_default();
                self.call(item.called(path)?, name, arguments);
                Ok(())
            }
            "custom_tool_call" => {
                let name = given(item.name, path, "name")?;
                let namespace = string(item.namespace, path, "namespace")?;
                let name = function_name(&name, namespace.as_deref());
                let text = string(item.input, path, "input")?.unwrap_or_default();
                self.call(item.called(path)?, name, freeform::arguments(&text));
                Ok(())
            }
            "function_call_output" | "custom_tool_call_output" => {
                let id = given(item.call_id, path, "call_id")?;
                self.result(id, item.output, path)
            }
            "local_shell_call" | "shell_call" | "apply_patch_call" => self.shell(item, path),
            "local_shell_call_output" | "shell_call_output" | "apply_patch_call_output" => {
                let id = item.called(path)?;
                let id = self.shells.get(&id).cloned().unwrap_or(id);
                self.result(id, item.output, path)
            }
            "reasoning" => self.reasoning(item, path),
            "compaction" | "compaction_summary" => self.compaction(item, path),
            "item_reference" => self.reference(item, path),
            "" => {
                let why = "missing; an item has a `type`, a message has a `role`";
                Err(Error::bad_request(format!("{path}.type"), why))
            }
            "tool_search_call" if item.is_clients() => {
                let id = item.called(path)?;
                let asked = item.arguments.map(arguments).transpose();
                let why = |e| Error::bad_request(format!("{path}.arguments"), without_place(&e));
                let asked = asked.map_err(why)?.unwrap_or_default();
                self.call(id, SEARCH.to_owned(), asked);
                Ok(())
            }
            "tool_search_output" if item.is_clients() => {
                let found = quoted(&search_result(item.tools));
                self.result(item.called(path)?, serde_json::from_str(&found).ok(), path)
            }
            kind if DEFINING.contains(&kind) => Ok(()),
            // Tools that OpenAI runs, and what is newer than this.
            kind => {
                self.request.drop_field(format!("input[] of type {}", header_safe(kind)));
                Ok(())
            }
        }
    }

    fn message(&mut self, item: Item, path: &str) -> Result<(), Error> {
        let role = match item.role.as_deref() {
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            Some("system" | "developer") => {
                let texts = only_texts(content(item.content, &format!("{path}.content"))?)?;
                instruct(texts, &mut self.request);
                return Ok(());
            }
            _ => {
                let why = "user, assistant, system or developer is expected";
                return Err(Error::bad_request(format!("{path}.role"), why));
            }
        };
        let blocks = content(item.content, &format!("{path}.content"))?;
        self.push(role, blocks);
        Ok(())
    }

    fn call(&mut self, id: String, name: String, arguments: String) {
        let place = self.seals.iter().rposition(|(of, _)| *of == id);
        let seal = place.map(|place| self.seals.remove(place).1);
        let call = Block::ToolCall { id, name, arguments, seal, cache: None };
        self.push(Role::Assistant, vec![call]);
    }

    fn result(&mut self, id: String, output: Option<&RawValue>, path: &str) -> Result<(), Error> {
        let content = output_content(output, &format!("{path}.output"))?;
        // The tool's name is that of the call, which is found by its id when the request is made to fit.
        let (name, is_error) = (String::new(), false);
        let result = Block::ToolResult { id, name, content, is_error, cache: None };
        self.push(Role::User, vec![result]);
        Ok(())
    }

    /// A call of a tool that OpenAI defines and the client runs. No other model knows the tool, but what was done with it is
    /// part of the conversation.
    fn shell(&mut self, item: Item, path: &str) -> Result<(), Error> {
        let name = item.kind().trim_end_matches("_call").to_owned();
        let id = item.called(path)?;
        if let Some(own) = string(item.id, path, "id")? {
            self.shells.insert(own, id.clone());
        }
        let done = item.action.or(item.operation);
        self.call(id, name, done.map_or_else(String::new, |json| json.get().to_owned()));
        Ok(())
    }

    /// Ours has the thought and its seal within; of another's there may be a summary, which no model takes for a thought.
    fn reasoning(&mut self, item: Item, path: &str) -> Result<(), Error> {
        let encrypted = string(item.encrypted_content, path, "encrypted_content")?;
        let encrypted = encrypted.filter(|encrypted| !encrypted.is_empty());
        match encrypted.as_deref().map(sealed::unpack) {
            Some(Some(Sealed::Thought { text, seal })) => {
                self.push(Role::Assistant, vec![Block::Reasoning { text, seal }]);
                return Ok(());
            }
            Some(Some(Sealed::Call { id, seal })) => {
                self.seal(id, seal);
                return Ok(());
            }
            Some(_) => self.request.drop_field("input[].encrypted_content"),
            None => {}
        }
        let told = |raw: Option<&RawValue>| {
            raw.and_then(|raw| content(Some(raw), path).ok()).unwrap_or_default()
        };
        let told: Vec<_> = told(item.summary).into_iter().chain(told(item.content)).collect();
        let told = told.iter().filter_map(|block| match block {
            Block::Text { text, .. } => Some(&**text),
            _ => None,
        });
        let text = told.collect::<Vec<_>>().join("\n\n");
        if !text.is_empty() {
            self.push(Role::Assistant, vec![Block::Reasoning { text, seal: None }]);
        }
        Ok(())
    }

    /// The seal of a call goes on the call, which stands before it or comes.
    fn seal(&mut self, of: String, sealed: Seal) {
        let last = self.request.turns.last_mut().filter(|turn| turn.role == Role::Assistant);
        for block in last.into_iter().flat_map(|turn| turn.blocks.iter_mut().rev()) {
            if let Block::ToolCall { id, seal, .. } = block
                && *id == of
            {
                *seal = Some(sealed);
                return;
            }
        }
        self.seals.push((of, sealed));
    }

    fn compaction(&mut self, item: Item, path: &str) -> Result<(), Error> {
        let encrypted = string(item.encrypted_content, path, "encrypted_content")?;
        match encrypted.as_deref().and_then(summed_up) {
            Some(text) => self.push(Role::User, vec![Block::text(text)]),
            None => self.request.drop_field("input[] of type compaction"),
        }
        Ok(())
    }

    /// An item that is kept here.
    fn reference(&mut self, item: Item, path: &str) -> Result<(), Error> {
        let id = given(item.id, path, "id")?;
        let why = "no such item is kept here (any more). Send the item itself.";
        let lost =
            || Error::NoSuchResponse { path: "input", id: id.chars().take(200).collect(), why };
        let json = (self.memory.item)(&id)?.ok_or_else(lost)?;
        let json = readable(json.as_bytes());
        let item = serde_json::from_slice::<Item>(&json).map_err(|_| lost())?;
        match item.kind() {
            "item_reference" => Err(lost()),
            _ => self.item(item, path),
        }
    }

    /// Items of one speaker in a row are one turn.
    fn push(&mut self, role: Role, blocks: Vec<Block>) {
        match self.request.turns.last_mut() {
            Some(last) if last.role == role => last.blocks.extend(blocks),
            _ => self.request.turns.push(Turn { role, blocks }),
        }
    }
}

/// Instructions are text.
fn only_texts(mut blocks: Vec<Block>) -> Result<Vec<Block>, Error> {
    for block in &blocks {
        if let Block::Media { path, .. } = block {
            let what = "instructions are text; put it into a message of the user".to_owned();
            return Err(Error::Refused { path: path.clone(), what });
        }
    }
    blocks.retain(|block| matches!(block, Block::Text { .. }));
    Ok(blocks)
}

fn string(raw: Option<&RawValue>, path: &str, key: &str) -> Result<Option<String>, Error> {
    let read = raw.map(|raw| serde_json::from_str::<String>(raw.get())).transpose();
    read.map_err(|_| Error::bad_request(format!("{path}.{key}"), "a string is expected"))
}

fn given(raw: Option<&RawValue>, path: &str, key: &str) -> Result<String, Error> {
    string(raw, path, key)?
        .ok_or_else(|| Error::bad_request(format!("{path}.{key}"), "missing; a string is expected"))
}

/// What may stand in a part of any type.
#[derive(Deserialize)]
#[serde(expecting = "a part, which is an object")]
struct Part<'a> {
    #[serde(borrow)]
    r#type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow)]
    image_url: Option<&'a RawValue>,
    #[serde(borrow)]
    input_audio: Option<&'a RawValue>,
    #[serde(borrow)]
    file_data: Option<&'a RawValue>,
    #[serde(borrow)]
    file_url: Option<&'a RawValue>,
    #[serde(borrow)]
    file_id: Option<&'a RawValue>,
    #[serde(borrow)]
    filename: Option<&'a RawValue>,
}

impl Part<'_> {
    fn kind(&self) -> &str {
        self.r#type.as_deref().unwrap_or("")
    }

    /// Whether it is a part, and not a row of a tool's that looks like one.
    fn is_whole(&self) -> bool {
        match self.kind() {
            "input_text" | "output_text" | "text" => self.text.is_some(),
            "input_image" | "image_url" | "computer_screenshot" => {
                self.image_url.is_some() || self.file_id.is_some()
            }
            "input_file" => {
                self.file_data.is_some() || self.file_url.is_some() || self.file_id.is_some()
            }
            "input_audio" => self.input_audio.is_some(),
            _ => false,
        }
    }
}

/// A text, or parts in a list.
fn content(json: Option<&RawValue>, path: &str) -> Result<Vec<Block>, Error> {
    match json.map(|json| (json, json.get())) {
        None => Ok(vec![]),
        Some((json, string)) if string.starts_with('"') => Ok(vec![words(json, path)?]),
        Some((_, json)) if json.starts_with('[') => {
            let parts = list::<&RawValue>(json.as_bytes(), path)?.into_iter().enumerate();
            parts.map(|(i, json)| part(json, &format!("{path}[{i}]"))).collect()
        }
        Some(_) => Err(Error::bad_request(path, "a string or a list of parts is expected")),
    }
}

/// What a tool gave: a text, parts, or anything else as it was written.
fn output_content(json: Option<&RawValue>, path: &str) -> Result<Vec<Block>, Error> {
    let Some(json) = json else { return Ok(vec![]) };
    let is_content = json.get().starts_with('"')
        || serde_json::from_str::<Vec<Part>>(json.get())
            .is_ok_and(|parts| parts.iter().all(Part::is_whole));
    match is_content {
        true => content(Some(json), path),
        false => Ok(vec![Block::text(json.get())]),
    }
}

fn words(json: &RawValue, path: &str) -> Result<Block, Error> {
    let text = Text::of_json(json).map_err(|_| Error::bad_request(path, "a string is expected"))?;
    Ok(Block::Text { text, cache: None })
}

/// A part of a content; a string where a part should be is a text.
fn part(json: &RawValue, path: &str) -> Result<Block, Error> {
    if json.get().starts_with('"') {
        return words(json, path);
    }
    let part = serde_json::from_str::<Part>(json.get())
        .map_err(|e| Error::bad_request(path, without_place(&e)))?;
    let at = |key: &str| format!("{path}.{key}");
    if let Some(url) = part.image_url {
        let source = source(url_of(url, &at("image_url"))?, &at("image_url"), "image")?;
        return Ok(media(MediaKind::Image, source, None, at("image_url")));
    }
    if let Some(audio) = part.input_audio {
        return sound(audio, at("input_audio"));
    }
    for (key, raw) in [("file_data", part.file_data), ("file_url", part.file_url)] {
        let Some(data) = string(raw, path, key)? else { continue };
        let name = string(part.filename, path, "filename")?;
        return Ok(media(MediaKind::File, source(data, &at(key), "file")?, name, at(key)));
    }
    if part.file_id.is_some() {
        let what = match part.kind() {
            "input_image" => "images are not kept here; send the image itself as `image_url`",
            _ => "files are not kept here; send the file itself as `file_data`",
        };
        return Err(Error::Refused { path: at("file_id"), what: what.to_owned() });
    }
    match (part.text, part.refusal) {
        (Some(text), _) => words(text, &at("text")),
        (None, Some(text)) => words(text, &at("refusal")),
        (None, None) => {
            let kind: String = part.kind().chars().take(50).collect();
            let why =
                format!("a part of the type {kind:?} is not known, or lacks what it is about");
            Err(Error::bad_request(path, why))
        }
    }
}

fn media(kind: MediaKind, source: Source, name: Option<String>, path: String) -> Block {
    Block::Media { kind, source, name, cache: None, path }
}

/// A string; an object with `url` by clients of chat completions.
fn url_of(json: &RawValue, path: &str) -> Result<String, Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Wire {
        Own(String),
        OfChat { url: String },
    }
    match serde_json::from_str(json.get()) {
        Ok(Wire::Own(url) | Wire::OfChat { url }) => Ok(url),
        Err(_) => Err(Error::bad_request(path, "a URL, a string, is expected")),
    }
}

fn sound(json: &RawValue, path: String) -> Result<Block, Error> {
    #[derive(Deserialize)]
    struct Wire {
        data: String,
        format: String,
    }
    let Ok(Wire { data, format }) = serde_json::from_str(json.get()) else {
        return Err(Error::bad_request(path, "an object with `data` and `format` is expected"));
    };
    let source = Source::Base64 { media_type: format!("audio/{format}"), data };
    Ok(media(MediaKind::Audio, source, None, path))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::chat::{Effort, ToolChoice};

    fn kept(id: &str) -> Result<Option<String>, Error> {
        Ok(match id {
            "msg_kept" => Some(
                r#"{"type":"message","role":"assistant","id":"msg_kept","content":[{"type":"output_text","text":"kept"}]}"#
                    .to_owned(),
            ),
            "msg_again" => Some(r#"{"type":"item_reference","id":"msg_again"}"#.to_owned()),
            "msg_broken" => Some("{".to_owned()),
            _ => None,
        })
    }

    fn read_after(history: &str, body: &Value) -> Result<Request, Error> {
        let memory = Responses { history: history.as_bytes(), item: &kept };
        let body = Envelope::parse(body.to_string().into_bytes()).unwrap();
        decode(&body, &memory).map(|asked| asked.request)
    }

    fn read(body: &Value) -> Result<Request, Error> {
        read_after("", body)
    }

    fn of_items(items: Value) -> Request {
        read(&json!({"model": "m", "input": items})).unwrap()
    }

    /// Each block in a line, with its speaker.
    fn sketch(request: &Request) -> Vec<String> {
        fn told(block: &Block) -> String {
            match block {
                Block::Text { text, .. } => format!("text {text}"),
                Block::Reasoning { text, seal } => format!("thought {text} {seal:?}"),
                Block::ToolCall { id, name, arguments, seal, .. } => {
                    format!("call {id} {name} {arguments} {seal:?}")
                }
                Block::ToolResult { id, content, .. } => {
                    let content = content.iter().map(told).collect::<Vec<_>>();
                    format!("result {id} {}", content.join(" + "))
                }
                Block::Media { kind, source, name, path, .. } => {
                    format!("{kind:?} {source:?} {name:?} {path}")
                }
            }
        }
        let system = request.system.iter().map(|block| format!("system: {}", told(block)));
        let turns = request.turns.iter().flat_map(|turn| {
            turn.blocks.iter().map(|block| format!("{:?}: {}", turn.role, told(block)))
        });
        system.chain(turns).collect()
    }

    fn thought(text: &str, signature: &str) -> String {
        let seal = Some(Seal::Claude(signature.to_owned()));
        sealed::pack(&Sealed::Thought { text: text.to_owned(), seal })
    }

    #[test]
    fn each_kind_of_item() {
        let seal = sealed::pack(&Sealed::Call { id: "c1".into(), seal: Seal::Gemini("g".into()) });
        let sealed_call =
            json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": seal});
        let call = json!({"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}"});
        let summary = sealed::pack(&Sealed::Summary("all that was".into()));
        let png = "data:image/png;base64,iVBORw0KGgo=";
        let table = [
            // Messages.
            (json!([{"role": "user", "content": "a"}]), vec!["User: text a"]),
            (
                json!([{"type": "message", "id": "msg_1", "status": "completed", "role": "user", "content": [
                    {"type": "input_text", "text": "a"}, {"type": "text", "text": "b"}, "c"]}]),
                vec!["User: text a", "User: text b", "User: text c"],
            ),
            (
                json!([{"type": "message", "role": "assistant", "content": [
                    {"type": "output_text", "text": "a", "annotations": []}, {"type": "refusal", "refusal": "no"}]}]),
                vec!["Assistant: text a", "Assistant: text no"],
            ),
            (
                json!([{"role": "developer", "content": "be brief"}, {"role": "system", "content": [{"type": "input_text", "text": "be kind"}]},
                    {"role": "user", "content": "a"}, {"role": "developer", "content": "now"}]),
                vec![
                    "system: text be brief",
                    "system: text be kind",
                    "system: text now",
                    "User: text a",
                ],
            ),
            (
                json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "developer", "content": "now"}]),
                vec![
                    "User: text a",
                    "Assistant: text b",
                    "User: text <system-reminder>\nnow\n</system-reminder>",
                ],
            ),
            (
                json!([{"role": "user", "content": [
                    {"type": "input_image", "image_url": png, "detail": "low"},
                    {"type": "input_image", "image_url": {"url": "https://example.org/a.png"}},
                    {"type": "input_file", "file_data": "data:application/pdf;base64,JVBERi0x", "filename": "a.pdf"},
                    {"type": "input_file", "file_url": "https://example.org/a.pdf"},
                    {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}}]}]),
                vec![
                    r#"User: Image Base64 { media_type: "image/png", data: "iVBORw0KGgo=" } None input[0].content[0].image_url"#,
                    r#"User: Image Url("https://example.org/a.png") None input[0].content[1].image_url"#,
                    r#"User: File Base64 { media_type: "application/pdf", data: "JVBERi0x" } Some("a.pdf") input[0].content[2].file_data"#,
                    r#"User: File Url("https://example.org/a.pdf") None input[0].content[3].file_url"#,
                    r#"User: Audio Base64 { media_type: "audio/wav", data: "UklG" } None input[0].content[4].input_audio"#,
                ],
            ),
            // Calls and results.
            (
                json!([call, {"type": "function_call_output", "id": "fco_1", "call_id": "c1", "output": "done"}]),
                vec!["Assistant: call c1 f {} None", "User: result c1 text done"],
            ),
            (
                json!([{"type": "function_call", "id": "fc_1", "name": "f", "namespace": "mcp__x__", "arguments": {"a": 1}},
                    {"type": "function_call_output", "call_id": "fc_1", "output": [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": png}]}]),
                vec![
                    r#"Assistant: call fc_1 mcp__x__f {"a":1} None"#,
                    r#"User: result fc_1 text a + Image Base64 { media_type: "image/png", data: "iVBORw0KGgo=" } None input[1].output[1].image_url"#,
                ],
            ),
            (
                json!([{"type": "function_call_output", "call_id": "c", "output": {"a": 1}}, {"type": "function_call_output", "call_id": "c", "output": [{"type": "row"}]},
                    {"type": "function_call_output", "call_id": "c", "output": null}]),
                vec![
                    r#"User: result c text {"a":1}"#,
                    r#"User: result c text [{"type":"row"}]"#,
                    "User: result c ",
                ],
            ),
            (
                json!([{"type": "custom_tool_call", "id": "ctc_1", "call_id": "c2", "name": "apply_patch", "input": "*** \"x\"\n"},
                    {"type": "custom_tool_call_output", "call_id": "c2", "output": "Done!"}]),
                vec![
                    r#"Assistant: call c2 apply_patch {"input":"*** \"x\"\n"} None"#,
                    "User: result c2 text Done!",
                ],
            ),
            (
                json!([{"type": "tool_search_call", "call_id": "t", "execution": "client", "arguments": {"query": "q"}},
                    {"type": "tool_search_output", "call_id": "t", "execution": "client", "tools": [{"type": "function", "name": "found"}]}]),
                vec![
                    r#"Assistant: call t tool_search {"query":"q"} None"#,
                    "User: result t text Found these tools, which can be called from now on: found",
                ],
            ),
            (
                json!([{"type": "local_shell_call", "id": "ls_1", "call_id": "c3", "action": {"type": "exec", "command": ["ls"]}, "status": "completed"},
                    {"type": "local_shell_call_output", "id": "ls_1", "output": "{}"},
                    {"type": "shell_call", "call_id": "c4", "action": {"commands": ["ls"]}},
                    {"type": "shell_call_output", "call_id": "c4", "output": [{"stdout": "a"}]},
                    {"type": "apply_patch_call", "call_id": "c5", "operation": {"type": "delete_file"}},
                    {"type": "apply_patch_call_output", "call_id": "c5", "status": "completed"}]),
                vec![
                    r#"Assistant: call c3 local_shell {"command":["ls"],"type":"exec"} None"#,
                    "User: result c3 text {}",
                    r#"Assistant: call c4 shell {"commands":["ls"]} None"#,
                    r#"User: result c4 text [{"stdout":"a"}]"#,
                    r#"Assistant: call c5 apply_patch {"type":"delete_file"} None"#,
                    "User: result c5 ",
                ],
            ),
            // Thoughts.
            (
                json!([{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": thought("hm", "s")}, call]),
                vec![r#"Assistant: thought hm Some(Claude("s"))"#, "Assistant: call c1 f {} None"],
            ),
            (json!([call, sealed_call]), vec![r#"Assistant: call c1 f {} Some(Gemini("g"))"#]),
            (json!([sealed_call, call]), vec![r#"Assistant: call c1 f {} Some(Gemini("g"))"#]),
            (
                json!([{"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "a"}], "content": [{"type": "reasoning_text", "text": "b"}]}]),
                vec!["Assistant: thought a\n\nb None"],
            ),
            // What went before.
            (
                json!([{"type": "compaction", "id": "cmp_1", "encrypted_content": summary}]),
                vec![
                    "User: text What follows sums up the conversation so far, which had become too long. Go on from it.\n\n<summary>\nall that was\n</summary>",
                ],
            ),
            (json!([{"type": "item_reference", "id": "msg_kept"}]), vec!["Assistant: text kept"]),
        ];
        for (items, expected) in table {
            let request = of_items(items.clone());
            assert_eq!(sketch(&request), expected, "{items}");
            assert!(request.dropped.is_empty(), "{items}: {:?}", request.dropped);
        }
    }

    #[test]
    fn what_is_no_part_of_the_conversation_is_named() {
        let foreign =
            json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"});
        let request = of_items(json!([
            {"role": "user", "content": "a"},
            foreign, foreign,
            {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
            {"type": "tool_search_call", "call_id": "t", "arguments": {"query": "q"}},
            {"type": "tool_search_output", "call_id": "t", "tools": [{"type": "function", "name": "found", "parameters": {}}]},
            {"type": "additional_tools", "role": "developer", "tools": [{"type": "function", "name": "more"}]},
            {"type": "compaction", "encrypted_content": "gAAAA"},
            {"type": "brand new, \u{fc}", "name": 5},
        ]));
        assert_eq!(sketch(&request), ["User: text a"]);
        let names = request.tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>();
        assert_eq!(names, ["found", "more"]);
        assert_eq!(
            request.dropped,
            [
                "input[].encrypted_content",
                "input[] of type web_search_call",
                "input[] of type tool_search_call",
                "input[] of type compaction",
                "input[] of type brandnew",
            ]
        );
    }

    #[test]
    fn what_came_before_comes_first() {
        let history = r#"[{"role":"user","content":"a"},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}]"#;
        let body = json!({
            "instructions": "be brief", "previous_response_id": "resp_1",
            "input": [{"type": "function_call_output", "call_id": "c", "output": "b"}],
        });
        let expected = [
            "system: text be brief",
            "User: text a",
            "Assistant: call c f {} None",
            "User: result c text b",
        ];
        assert_eq!(sketch(&read_after(history, &body).unwrap()), expected);
        assert!(read_after(history, &json!({"input": []})).is_ok());
        assert!(read_after(history, &json!({})).is_ok());
        let broken = r#"[{"role":"user","content":[{"type":"input_text"}]}]"#;
        let error = read_after(broken, &json!({"input": "a"})).unwrap_err();
        assert_eq!(error.param(), Some("previous_response_id[0].content[0]"));
    }

    #[test]
    fn instructions() {
        for given in [
            json!("a"),
            json!(["a"]),
            json!([{"type": "input_text", "text": "a"}]),
            json!([{"role": "developer", "content": "a"}]),
            json!([{"type": "message", "role": "system", "content": [{"type": "input_text", "text": "a"}]}]),
        ] {
            let body = json!({"instructions": given, "input": "b"});
            let read = read(&body).unwrap();
            assert_eq!(sketch(&read), ["system: text a", "User: text b"], "{given}");
        }
    }

    #[test]
    fn settings() {
        let request = read(&json!({
            "model": "m", "input": "a\u{1f44b}", "stream": true, "max_output_tokens": 77, "temperature": 0.5, "top_p": 0.25,
            "parallel_tool_calls": false, "reasoning": {"effort": "low", "summary": "auto"},
            "text": {"format": {"type": "json_schema", "name": "n", "strict": true, "schema": {"type": "object"}}},
            "store": false, "include": ["reasoning.encrypted_content"], "prompt_cache_key": "k", "client_metadata": {},
            "stream_options": {"include_obfuscation": false}, "user": "u", "truncation": "disabled", "background": false,
            "conversation": null, "top_logprobs": 0,
        }))
        .unwrap();
        assert_eq!(
            (request.output_max, request.temperature, request.top_p),
            (Some(77), Some(0.5), Some(0.25))
        );
        assert_eq!(request.thinking, Some(crate::chat::Thinking::Effort(Effort::Low)));
        assert!(request.is_single_call && request.dropped.is_empty(), "{:?}", request.dropped);
        let Format::Schema { name, schema, is_strict, .. } = &request.format else { panic!() };
        assert_eq!((&**name, &**schema, *is_strict), ("n", r#"{"type":"object"}"#, Some(true)));

        let request = read(&json!({
            "input": "a", "background": true, "truncation": "auto", "max_tool_calls": 3, "text": {"verbosity": "low"},
            "reasoning": {"summary": "auto", "new": 1}, "include": ["message.output_text.logprobs"], "brand_new": 1,
            "max_output_tokens": 0,
        }))
        .unwrap();
        assert_eq!((request.thinking, request.output_max), (None, None));
        assert_eq!(
            request.dropped,
            [
                "max_output_tokens",
                "reasoning.new",
                "text.verbosity",
                "background",
                "truncation",
                "include",
                "brand_new",
                "max_tool_calls",
            ]
        );
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_path() {
        let item = |item: Value| json!({"input": [{"role": "user", "content": "a"}, item]});
        let part = |part: Value| item(json!({"role": "user", "content": [part]}));
        let table = [
            (json!({}), "input"),
            (json!({"input": []}), "input"),
            (json!({"input": 5}), "input"),
            (json!({"input": [5]}), "input[0]"),
            (item(json!({"content": "a"})), "input[1].type"),
            (item(json!({"type": "message", "content": "a"})), "input[1].role"),
            (item(json!({"role": "tool", "content": "a"})), "input[1].role"),
            (item(json!({"role": "user", "content": 5})), "input[1].content"),
            (item(json!({"type": "function_call", "call_id": "c"})), "input[1].name"),
            (item(json!({"type": "function_call", "call_id": 5, "name": "f"})), "input[1].call_id"),
            (item(json!({"type": "function_call_output", "output": "a"})), "input[1].call_id"),
            (item(json!({"type": "custom_tool_call", "name": "f", "input": 5})), "input[1].input"),
            (item(json!({"type": "item_reference", "id": "msg_gone"})), "input"),
            (item(json!({"type": "item_reference", "id": "msg_again"})), "input"),
            (item(json!({"type": "item_reference", "id": "msg_broken"})), "input"),
            (part(json!({"type": "input_text"})), "input[1].content[0]"),
            (part(json!({"type": "input_text", "text": 5})), "input[1].content[0].text"),
            (part(json!({"type": "input_image", "file_id": "f"})), "input[1].content[0].file_id"),
            (
                part(json!({"type": "input_image", "image_url": "ftp://a"})),
                "input[1].content[0].image_url",
            ),
            (part(json!({"type": "input_file", "file_id": "f"})), "input[1].content[0].file_id"),
            (
                part(json!({"type": "input_audio", "input_audio": 5})),
                "input[1].content[0].input_audio",
            ),
            (part(json!({"type": "brand_new"})), "input[1].content[0]"),
            (
                item(
                    json!({"role": "system", "content": [{"type": "input_image", "image_url": "https://a"}]}),
                ),
                "input[1].content[0].image_url",
            ),
            (json!({"input": "a", "conversation": "conv_1"}), "conversation"),
            (json!({"input": "a", "prompt": {"id": "p"}}), "prompt"),
            (json!({"input": "a", "top_logprobs": 2}), "top_logprobs"),
            (json!({"input": "a", "reasoning": 5}), "reasoning"),
            (json!({"input": "a", "reasoning": {"effort": "much"}}), "reasoning.effort"),
            (json!({"input": "a", "reasoning": {"effort": 5}}), "reasoning.effort"),
            (json!({"input": "a", "text": {"format": {"type": "x"}}}), "text.format.type"),
            (
                json!({"input": "a", "text": {"format": {"type": "json_schema"}}}),
                "text.format.schema",
            ),
            (json!({"input": "a", "max_output_tokens": 1.5}), "max_output_tokens"),
            (json!({"input": "a", "temperature": 3}), "temperature"),
            (json!({"input": "a", "instructions": 5}), "instructions"),
        ];
        for (body, path) in table {
            let error = read(&body).unwrap_err();
            assert_eq!(error.param(), Some(path), "{body}: {error}");
        }
        let error = read(&json!({"input": [5]})).unwrap_err();
        let why = "input[0]: invalid type: integer `5`, expected an item, which is an object";
        assert_eq!(error.to_string(), why);
        let error = read(&item(json!({"type": "item_reference", "id": "msg_gone"}))).unwrap_err();
        assert_eq!(error.status(), 404);
        assert!(error.to_string().starts_with("Item with id 'msg_gone' not found"), "{error}");
    }

    #[test]
    fn half_a_character_is_no_error() {
        let body = br#"{"input":[{"role":"user","content":"a\ud83d"}]}"#.to_vec();
        let memory = Responses { history: b"", item: &kept };
        let asked = decode(&Envelope::parse(body).unwrap(), &memory).unwrap();
        assert_eq!(sketch(&asked.request), ["User: text a\u{fffd}"]);
    }

    #[test]
    fn tools_come_with_a_choice() {
        let request = read(&json!({
            "input": "a", "tool_choice": {"type": "custom", "name": "patch"},
            "tools": [{"type": "web_search"}, {"type": "custom", "name": "patch"}],
        }))
        .unwrap();
        assert_eq!(request.tool_choice, Some(ToolChoice::Named("patch".into())));
        assert_eq!(
            (request.tools.len(), &*request.dropped),
            (1, &["tools[] of type web_search".into()][..])
        );
    }
}
