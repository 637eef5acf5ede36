//! Messages, tools, formats and parameters, as JSON that borrows from the request.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::chat::{
    self, Block, CachePoint, Effort, Format, MediaKind, Request, Role, Seal, Source, Thinking,
    ToolChoice, Turn, joined,
};
use crate::error::Error;
use crate::media;

/// What some models take in this grammar and others do not.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extras {
    pub caches: bool,
    pub reasoning: bool,
    /// Tools whose calls have to be of their schema.
    pub strict: bool,
}

#[derive(Debug, Serialize)]
pub struct Message<'a> {
    pub role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<&'a str>,
    pub content: Content<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasoning_content: Vec<Thought<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<Call<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<Part<'a>>),
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part<'a> {
    Text {
        text: Cow<'a, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    ImageUrl {
        image_url: ImageUrl<'a>,
    },
    File {
        file: File<'a>,
    },
}

#[derive(Debug, Serialize)]
pub struct ImageUrl<'a> {
    pub url: Cow<'a, str>,
}

#[derive(Debug, Serialize)]
pub struct File<'a> {
    pub file_data: String,
    pub filename: Cow<'a, str>,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub struct CacheControl {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'static str>,
}

#[derive(Debug, Serialize)]
pub struct Thought<'a> {
    content: &'a str,
    signature: &'a str,
}

#[derive(Debug, Serialize)]
pub struct Call<'a> {
    id: &'a str,
    r#type: &'static str,
    function: CallFunction<'a>,
}

#[derive(Debug, Serialize)]
struct CallFunction<'a> {
    name: &'a str,
    arguments: &'a str,
}

#[derive(Debug, Serialize)]
pub struct Tool<'a> {
    r#type: &'static str,
    function: Function<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheControl>,
}

#[derive(Debug, Serialize)]
struct Function<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    parameters: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ResponseFormat<'a> {
    JsonObject,
    JsonSchema { json_schema: JsonSchema<'a> },
}

#[derive(Debug, Serialize)]
pub struct JsonSchema<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    schema: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

/// All that is not said in messages, tools and format. What is `None` is not written.
#[derive(Debug, Default, Serialize)]
pub struct Params<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// The newer name of the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Choice<'a> {
    Word(&'static str),
    Named { r#type: &'static str, function: ChoiceFunction<'a> },
}

#[derive(Debug, Serialize)]
pub struct ChoiceFunction<'a> {
    name: &'a str,
}

/// The conversation: system first, the results of tools as messages of their own.
pub fn messages(request: &Request, extras: Extras) -> Result<Vec<Message<'_>>, Error> {
    let mut messages = Vec::with_capacity(request.turns.len() + 1);
    if !request.system.is_empty() {
        messages.push(message("system", content(&request.system, extras)?));
    }
    for turn in &request.turns {
        match turn.role {
            Role::User => push_user(turn, extras, &mut messages)?,
            Role::Assistant => messages.push(assistant(turn, extras)),
        }
    }
    Ok(messages)
}

fn message<'a>(role: &'static str, content: Content<'a>) -> Message<'a> {
    let (tool_call_id, reasoning_content, tool_calls) = (None, vec![], vec![]);
    Message { role, tool_call_id, content, reasoning_content, tool_calls }
}

fn push_user<'a>(
    turn: &'a Turn,
    extras: Extras,
    messages: &mut Vec<Message<'a>>,
) -> Result<(), Error> {
    let is_result = |b: &Block| matches!(b, Block::ToolResult { .. });
    for blocks in turn.blocks.chunk_by(|a, b| !is_result(a) && !is_result(b)) {
        match blocks {
            [Block::ToolResult { id, content, is_error, .. }] => {
                let mut text = joined(content);
                if *is_error {
                    text = format!("Error: {text}").into();
                }
                // Some vendors refuse an empty text.
                let text = if text.is_empty() { "(empty)".into() } else { text };
                let tool = message("tool", Content::Text(text));
                messages.push(Message { tool_call_id: Some(id), ..tool });
            }
            _ => messages.push(message("user", content(blocks, extras)?)),
        }
    }
    Ok(())
}

fn assistant(turn: &Turn, extras: Extras) -> Message<'_> {
    // Without calls and with them: some refuse null.
    let mut message = message("assistant", Content::Text(joined(&turn.blocks)));
    for block in &turn.blocks {
        match block {
            Block::ToolCall { id, name, arguments, .. } => {
                let function = CallFunction { name, arguments };
                message.tool_calls.push(Call { id, r#type: "function", function });
            }
            Block::Reasoning { text, seal: Some(Seal::Claude(signature)) } if extras.reasoning => {
                message.reasoning_content.push(Thought { content: text, signature });
            }
            _ => {}
        }
    }
    message
}

/// A plain text where it is one, since not all take parts.
fn content(blocks: &[Block], extras: Extras) -> Result<Content<'_>, Error> {
    let is_plain = |b: &Block| match b {
        Block::Text { cache, .. } => cache.is_none() || !extras.caches,
        _ => false,
    };
    if blocks.iter().all(is_plain) {
        return Ok(Content::Text(joined(blocks)));
    }
    let parts = blocks.iter().filter_map(|block| part(block, extras));
    Ok(Content::Parts(parts.collect::<Result<_, _>>()?))
}

fn part(block: &Block, extras: Extras) -> Option<Result<Part<'_>, Error>> {
    match block {
        Block::Text { text, cache } => {
            let cache_control = cache.filter(|_| extras.caches).map(cache_control);
            Some(Ok(Part::Text { text: (&**text).into(), cache_control }))
        }
        Block::Media { kind, source, name, path, .. } => {
            Some(media(*kind, source, name.as_deref(), path))
        }
        _ => None,
    }
}

fn media<'a>(
    kind: MediaKind,
    source: &'a Source,
    name: Option<&'a str>,
    path: &str,
) -> Result<Part<'a>, Error> {
    let refused = |what: &str| Error::Refused { path: path.to_owned(), what: what.to_owned() };
    match (kind, source) {
        (MediaKind::Image, Source::Url(url)) => {
            Ok(Part::ImageUrl { image_url: ImageUrl { url: url.into() } })
        }
        (MediaKind::Image, Source::Base64 { media_type, data }) => {
            let url = media::as_data_url(media_type, data).into();
            Ok(Part::ImageUrl { image_url: ImageUrl { url } })
        }
        (MediaKind::File, Source::Base64 { media_type, data }) => {
            let default = if media_type == "application/pdf" { "file.pdf" } else { "file" };
            let filename = name.unwrap_or(default).into();
            Ok(Part::File {
                file: File { file_data: media::as_data_url(media_type, data), filename },
            })
        }
        (MediaKind::File, Source::Url(_)) => {
            Err(refused("this model reads files only where their content is sent, as base64."))
        }
        (MediaKind::Audio, _) => Err(refused("this model does not listen to audio.")),
    }
}

fn cache_control(point: CachePoint) -> CacheControl {
    let ttl = match point {
        CachePoint::FiveMinutes => None,
        CachePoint::OneHour => Some("1h"),
    };
    CacheControl { r#type: "ephemeral", ttl }
}

pub fn tools(request: &Request, extras: Extras) -> Result<Vec<Tool<'_>>, Error> {
    request.tools.iter().map(|tool| function(tool, extras)).collect()
}

fn function(tool: &chat::Tool, extras: Extras) -> Result<Tool<'_>, Error> {
    let schema = tool.schema.as_deref().unwrap_or(r#"{"type":"object","properties":{}}"#);
    let function = Function {
        name: &tool.name,
        description: tool.description.as_deref(),
        parameters: raw(schema, "tools")?,
        strict: (tool.is_strict && extras.strict).then_some(true),
    };
    let cache_control = tool.cache.filter(|_| extras.caches).map(cache_control);
    Ok(Tool { r#type: "function", function, cache_control })
}

pub fn response_format(format: &Format) -> Result<Option<ResponseFormat<'_>>, Error> {
    Ok(match format {
        Format::Text => None,
        Format::Json => Some(ResponseFormat::JsonObject),
        Format::Schema { name, description, schema, is_strict } => {
            let json_schema = JsonSchema {
                name,
                description: description.as_deref(),
                schema: raw(schema, "response_format")?,
                strict: *is_strict,
            };
            Some(ResponseFormat::JsonSchema { json_schema })
        }
    })
}

fn raw<'a>(json: &'a str, path: &str) -> Result<&'a RawValue, Error> {
    serde_json::from_str(json).map_err(|_| Error::bad_request(path, "a schema that is not JSON"))
}

/// The limit under its older name.
pub fn params(request: &Request) -> Params<'_> {
    let has_tools = !request.tools.is_empty();
    Params {
        max_tokens: request.output_max,
        max_completion_tokens: None,
        temperature: request.temperature,
        top_p: request.top_p,
        stop: &request.stop,
        seed: request.seed,
        frequency_penalty: request.frequency_penalty,
        presence_penalty: request.presence_penalty,
        reasoning_effort: request.thinking.and_then(effort),
        tool_choice: request.tool_choice.as_ref().filter(|_| has_tools).map(choice),
        parallel_tool_calls: (request.is_single_call && has_tools).then_some(false),
        user: request.user.as_deref(),
    }
}

fn choice(choice: &ToolChoice) -> Choice<'_> {
    match choice {
        ToolChoice::Auto => Choice::Word("auto"),
        ToolChoice::None => Choice::Word("none"),
        ToolChoice::Any => Choice::Word("required"),
        ToolChoice::Named(name) => {
            Choice::Named { r#type: "function", function: ChoiceFunction { name } }
        }
    }
}

/// Left open by the dossier: what the highest effort is called, which only the newest models know: `high` is known to all.
fn effort(thinking: Thinking) -> Option<&'static str> {
    match thinking.effort() {
        Some(Effort::Minimal) => Some("minimal"),
        Some(Effort::Low) => Some("low"),
        Some(Effort::Medium) => Some("medium"),
        Some(Effort::High | Effort::Highest | Effort::Max) => Some("high"),
        None => (thinking == Thinking::Off).then_some("none"),
    }
}
