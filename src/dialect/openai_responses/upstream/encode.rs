//! A request's body. What is long is borrowed from the request, and texts, arguments and schemas stay as they were written.
//!
//! Items go without ids: none is kept at the deployment, and one that comes back with its id but without the thought before
//! it is refused. Only a thought has its id, which its encrypted content is bound to.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::chat::{
    Block, Effort, Format, MediaKind, Request, Role, Seal, Source, Text, Thinking, Tool,
    ToolChoice, Turn, Written, joined,
};
use crate::dialect::{Target, to_json};
use crate::error::Error;
use crate::media;

/// The least limit that is taken.
const OUTPUT_LEAST: u64 = 16;

pub fn body(request: &Request, target: &Target<'_>) -> Result<Vec<u8>, Error> {
    let has_tools = !request.tools.is_empty();
    let (instructions, first) = system(request);
    let body = Body {
        model: target.model,
        instructions,
        input: first.into_iter().map(Ok).chain(items(request)).collect::<Result<_, _>>()?,
        tools: request.tools.iter().map(function).collect::<Result<_, _>>()?,
        tool_choice: request.tool_choice.as_ref().filter(|_| has_tools).map(choice),
        parallel_tool_calls: (request.is_single_call && has_tools).then_some(false),
        text: format(&request.format)?.map(|format| TextConfig { format }),
        max_output_tokens: request.output_max.map(|max| max.max(OUTPUT_LEAST)),
        temperature: request.temperature,
        top_p: request.top_p,
        reasoning: request.thinking.map(reasoning),
        include: ["reasoning.encrypted_content"],
        user: request.user.as_deref(),
        store: false,
        stream: target.is_stream,
        stream_options: target.is_stream.then_some(StreamOptions { include_obfuscation: false }),
    };
    to_json(&body, request)
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<Words<'a>>,
    input: Vec<Item<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Function<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<TextConfig<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<Reasoning>,
    include: [&'static str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    store: bool,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Item<'a> {
    Message { role: &'static str, content: Vec<Part<'a>> },
    Reasoning { id: &'a str, summary: Vec<Part<'a>>, encrypted_content: &'a str },
    FunctionCall { call_id: &'a str, name: &'a str, arguments: &'a str },
    FunctionCallOutput { call_id: &'a str, output: Output<'a> },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Output<'a> {
    Text(Words<'a>),
    Parts(Vec<Part<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    InputText { text: Words<'a> },
    OutputText { text: Words<'a> },
    SummaryText { text: Words<'a> },
    InputImage { image_url: Cow<'a, str> },
    InputFile { filename: &'a str, file_data: String },
}

/// A text of the request, or one made of some.
#[derive(Serialize)]
#[serde(untagged)]
enum Words<'a> {
    Own(Written<'a>),
    Made(Cow<'a, str>),
}

#[derive(Serialize)]
struct Function<'a> {
    r#type: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    parameters: &'a RawValue,
    /// Not to say it is to say true.
    strict: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Choice<'a> {
    Word(&'static str),
    Named { r#type: &'static str, name: &'a str },
}

#[derive(Serialize)]
struct TextConfig<'a> {
    format: FormatJson<'a>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum FormatJson<'a> {
    JsonObject,
    JsonSchema {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
        schema: &'a RawValue,
        #[serde(skip_serializing_if = "Option::is_none")]
        strict: Option<bool>,
    },
}

#[derive(Serialize)]
struct Reasoning {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'static str>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_obfuscation: bool,
}

/// What tells the model what to do. Where any JSON is wanted, the input has to speak of JSON, and mostly this does: then it
/// is the first of the input.
fn system(request: &Request) -> (Option<Words<'_>>, Option<Item<'_>>) {
    match request.system.as_slice() {
        [] => (None, None),
        system if request.format == Format::Json => {
            let content = vec![Part::InputText { text: words(system) }];
            (None, Some(Item::Message { role: "developer", content }))
        }
        system => (Some(words(system)), None),
    }
}

fn items(request: &Request) -> impl Iterator<Item = Result<Item<'_>, Error>> {
    request.turns.iter().flat_map(|turn| match turn.role {
        Role::User => of_user(turn),
        Role::Assistant => of_assistant(turn).into_iter().map(Ok).collect(),
    })
}

fn of_user(turn: &Turn) -> Vec<Result<Item<'_>, Error>> {
    let is_result = |b: &Block| matches!(b, Block::ToolResult { .. });
    let blocks = turn.blocks.chunk_by(|a, b| !is_result(a) && !is_result(b));
    blocks.map(item_of_user).collect()
}

fn item_of_user(blocks: &[Block]) -> Result<Item<'_>, Error> {
    Ok(match blocks {
        [Block::ToolResult { id, content, is_error, .. }] => {
            Item::FunctionCallOutput { call_id: id, output: output(content, *is_error)? }
        }
        blocks => Item::Message { role: "user", content: parts(blocks)? },
    })
}

fn output(content: &[Block], is_error: bool) -> Result<Output<'_>, Error> {
    let is_text = |b: &Block| matches!(b, Block::Text { .. });
    if !content.iter().all(is_text) {
        let error = is_error.then(|| Part::InputText { text: Words::Made("Error:".into()) });
        let parts = parts(content)?;
        return Ok(Output::Parts(error.into_iter().chain(parts).collect()));
    }
    Ok(Output::Text(match content {
        _ if is_error => Words::Made(format!("Error: {}", joined(content)).into()),
        // Some vendors refuse an empty text.
        [] => Words::Made("(empty)".into()),
        content => words(content),
    }))
}

/// A thought that led to nothing that is still there is refused.
fn of_assistant(turn: &Turn) -> Vec<Item<'_>> {
    let mut items = vec![];
    let is_said = |b: &Block| matches!(b, Block::Text { .. } | Block::ToolCall { .. });
    let end = turn.blocks.iter().rposition(is_said).map_or(0, |last| last + 1);
    for block in &turn.blocks[..end] {
        match block {
            Block::Reasoning { text, seal: Some(Seal::OpenAi { id, encrypted }) } => {
                let mut summary = vec![Part::SummaryText { text: Words::Made(text.into()) }];
                summary.retain(|_| !text.is_empty());
                items.push(Item::Reasoning { id, summary, encrypted_content: encrypted });
            }
            Block::Text { text, .. } => {
                let part = Part::OutputText { text: of(text) };
                match items.last_mut() {
                    Some(Item::Message { content, .. }) => content.push(part),
                    _ => items.push(Item::Message { role: "assistant", content: vec![part] }),
                }
            }
            Block::ToolCall { id, name, arguments, .. } => {
                items.push(Item::FunctionCall { call_id: id, name, arguments });
            }
            _ => {}
        }
    }
    items
}

fn parts(blocks: &[Block]) -> Result<Vec<Part<'_>>, Error> {
    let part = |block| match block {
        &Block::Text { ref text, .. } => Some(Ok(Part::InputText { text: of(text) })),
        Block::Media { kind, source, name, path, .. } => {
            Some(media_part(*kind, source, name.as_deref(), path))
        }
        _ => None,
    };
    blocks.iter().filter_map(part).collect()
}

fn media_part<'a>(
    kind: MediaKind,
    source: &'a Source,
    name: Option<&'a str>,
    path: &str,
) -> Result<Part<'a>, Error> {
    let refused = |what: &str| Error::Refused { path: path.to_owned(), what: what.to_owned() };
    match (kind, source) {
        (MediaKind::Image, Source::Url(url)) => Ok(Part::InputImage { image_url: url.into() }),
        (MediaKind::Image, Source::Base64 { media_type, data }) => {
            Ok(Part::InputImage { image_url: media::as_data_url(media_type, data).into() })
        }
        (MediaKind::File, Source::Base64 { media_type, data }) => {
            let default = if media_type == "application/pdf" { "file.pdf" } else { "file" };
            let file_data = media::as_data_url(media_type, data);
            Ok(Part::InputFile { filename: name.unwrap_or(default), file_data })
        }
        (MediaKind::File, Source::Url(_)) => {
            Err(refused("this model reads files only where their content is sent, as base64."))
        }
        (MediaKind::Audio, _) => Err(refused("this model does not listen to audio.")),
    }
}

/// One text as it was written; of several, all of them.
fn words(blocks: &[Block]) -> Words<'_> {
    match blocks {
        [Block::Text { text, .. }] => of(text),
        blocks => Words::Made(joined(blocks)),
    }
}

fn of(text: &Text) -> Words<'_> {
    Words::Own(text.written())
}

fn function(tool: &Tool) -> Result<Function<'_>, Error> {
    let schema = tool.schema.as_deref().unwrap_or(r#"{"type":"object","properties":{}}"#);
    let description = tool.description.as_deref();
    let parameters = raw(schema, "tools")?;
    Ok(Function { r#type: "function", name: &tool.name, description, parameters, strict: false })
}

fn choice(choice: &ToolChoice) -> Choice<'_> {
    match choice {
        ToolChoice::Auto => Choice::Word("auto"),
        ToolChoice::None => Choice::Word("none"),
        ToolChoice::Any => Choice::Word("required"),
        ToolChoice::Named(name) => Choice::Named { r#type: "function", name },
    }
}

fn format(format: &Format) -> Result<Option<FormatJson<'_>>, Error> {
    Ok(match format {
        Format::Text => None,
        Format::Json => Some(FormatJson::JsonObject),
        Format::Schema { name, description, schema, is_strict } => Some(FormatJson::JsonSchema {
            name,
            description: description.as_deref(),
            schema: raw(schema, "response_format")?,
            strict: *is_strict,
        }),
    })
}

fn raw<'a>(json: &'a str, path: &str) -> Result<&'a RawValue, Error> {
    serde_json::from_str(json).map_err(|_| Error::bad_request(path, "a schema that is not JSON"))
}

/// What was thought is told to those who ask for thinking.
fn reasoning(thinking: Thinking) -> Reasoning {
    let effort = match thinking.effort() {
        Some(Effort::Minimal) => Some("minimal"),
        Some(Effort::Low) => Some("low"),
        Some(Effort::Medium) => Some("medium"),
        Some(Effort::High) => Some("high"),
        Some(Effort::Highest | Effort::Max) => Some("xhigh"),
        None => (thinking == Thinking::Off).then_some("none"),
    };
    Reasoning { effort, summary: (thinking != Thinking::Off).then_some("auto") }
}
