//! A request's body. What is long is borrowed from the request, and arguments and schemas stay as they were written.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::chat::{Block, MediaKind, Request, Role, Source, Tool, ToolChoice, Turn, Written};
use crate::dialect::to_json;
use crate::error::Error;

pub fn body(request: &Request) -> Result<Vec<u8>, Error> {
    let mut names = Names::default();
    let mut messages = Vec::with_capacity(request.turns.len());
    for turn in &request.turns {
        messages.push(message(turn, &mut names)?);
    }
    let body = Body {
        system: parts(&request.system, &mut names)?,
        messages,
        inference_config: InferenceConfig {
            max_tokens: request.output_max,
            temperature: request.temperature,
            top_p: request.top_p,
            stop_sequences: &request.stop,
        },
        tool_config: tool_config(request)?,
    };
    to_json(&body, request)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Part<'a>>,
    messages: Vec<Message<'a>>,
    inference_config: InferenceConfig<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<ToolConfig<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InferenceConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop_sequences: &'a [String],
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Vec<Part<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Part<'a> {
    Text(Written<'a>),
    Image {
        format: &'static str,
        source: Bytes<'a>,
    },
    Document {
        format: &'static str,
        name: String,
        source: Bytes<'a>,
    },
    #[serde(rename_all = "camelCase")]
    ToolUse {
        tool_use_id: &'a str,
        name: &'a str,
        input: &'a RawValue,
    },
    #[serde(rename_all = "camelCase")]
    ToolResult {
        tool_use_id: &'a str,
        content: Vec<Part<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<&'static str>,
    },
    CachePoint {
        #[serde(rename = "type")]
        kind: &'static str,
    },
}

#[derive(Serialize)]
struct Bytes<'a> {
    bytes: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToolConfig<'a> {
    tools: Vec<ToolPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum ToolPart<'a> {
    #[serde(rename_all = "camelCase")]
    ToolSpec {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
        input_schema: Schema<'a>,
    },
    CachePoint {
        #[serde(rename = "type")]
        kind: &'static str,
    },
}

#[derive(Serialize)]
struct Schema<'a> {
    json: &'a RawValue,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Choice<'a> {
    Auto {},
    Any {},
    Tool { name: &'a str },
}

fn message<'a>(turn: &'a Turn, names: &mut Names) -> Result<Message<'a>, Error> {
    let role = match turn.role {
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    let mut content = parts(&turn.blocks, names)?;
    let has = |is: fn(&Part<'_>) -> bool| content.iter().any(is);
    // A document alone is refused.
    if has(|p| matches!(p, Part::Document { .. })) && !has(|p| matches!(p, Part::Text(_))) {
        content.push(Part::Text(Written::Words("See the attached document.")));
    }
    Ok(Message { role, content })
}

fn parts<'a>(blocks: &'a [Block], names: &mut Names) -> Result<Vec<Part<'a>>, Error> {
    let mut parts = Vec::with_capacity(blocks.len());
    let mut is_marked = false;
    for (i, block) in blocks.iter().enumerate() {
        let (part, cache) = match block {
            Block::Text { text, cache } => (Part::Text(text.written()), cache),
            // No model that is spoken to this way wants its thoughts back.
            Block::Reasoning { .. } => continue,
            Block::ToolCall { id, name, arguments, cache, .. } => {
                // What fits is JSON.
                let input = serde_json::from_str(arguments).map_err(|_| Error::Internal)?;
                (Part::ToolUse { tool_use_id: id, name, input }, cache)
            }
            Block::ToolResult { id, content, is_error, cache, .. } => {
                (result(id, content, *is_error, names)?, cache)
            }
            Block::Media { kind, source, name, cache, path } => {
                (media(*kind, source, name.as_deref(), path, names)?, cache)
            }
        };
        parts.push(part);
        // How long it lives cannot be said here: five minutes.
        is_marked |= cache.is_some();
        // Left open by the dossier: whether a mark may stand between results, which have to come first. It comes after them.
        let is_among_results = is_result(block) && blocks.get(i + 1).is_some_and(is_result);
        if is_marked && !is_among_results {
            is_marked = false;
            parts.push(Part::CachePoint { kind: "default" });
        }
    }
    Ok(parts)
}

fn is_result(block: &Block) -> bool {
    matches!(block, Block::ToolResult { .. })
}

fn result<'a>(
    id: &'a str,
    content: &'a [Block],
    is_error: bool,
    names: &mut Names,
) -> Result<Part<'a>, Error> {
    let mut content = parts(content, names)?;
    content.retain(|part| !matches!(part, Part::CachePoint { .. }));
    if content.is_empty() {
        let text = if is_error { "The tool failed." } else { "No result." };
        content.push(Part::Text(Written::Words(text)));
    }
    Ok(Part::ToolResult { tool_use_id: id, content, status: is_error.then_some("error") })
}

fn media<'a>(
    kind: MediaKind,
    source: &'a Source,
    name: Option<&str>,
    path: &str,
    names: &mut Names,
) -> Result<Part<'a>, Error> {
    let refused = |what: String| Error::Refused { path: path.to_owned(), what };
    let Source::Base64 { media_type, data } = source else {
        return Err(refused(
            "Bedrock on SAP AI Core takes no URLs here, and they are not fetched; send the content as base64."
                .into(),
        ));
    };
    let source = Bytes { bytes: data };
    let found = |table: &[(&str, &'static str)]| {
        table.iter().find(|(known, _)| known == media_type).map(|(_, format)| *format)
    };
    match (found(IMAGES), found(DOCUMENTS)) {
        _ if kind == MediaKind::Audio => Err(refused("Bedrock's Converse takes no audio.".into())),
        (Some(format), _) => Ok(Part::Image { format, source }),
        (_, Some(format)) => Ok(Part::Document { format, name: names.fitting(name), source }),
        _ => Err(refused(format!(
            "Bedrock's Converse takes PNG, JPEG, GIF, WebP, PDF, CSV, Word, Excel, HTML, text and Markdown, but not \
             {media_type}; send one of those."
        ))),
    }
}

const IMAGES: &[(&str, &str)] =
    &[("image/png", "png"), ("image/jpeg", "jpeg"), ("image/gif", "gif"), ("image/webp", "webp")];

#[rustfmt::skip]
const DOCUMENTS: &[(&str, &str)] = &[
    ("application/pdf", "pdf"),
    ("text/plain", "txt"),
    ("text/markdown", "md"),
    ("text/x-markdown", "md"),
    ("text/csv", "csv"),
    ("text/html", "html"),
    ("application/msword", "doc"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
    ("application/vnd.ms-excel", "xls"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
];

/// Names of documents, which may not repeat.
#[derive(Default)]
struct Names(Vec<String>);

impl Names {
    /// Of letters, digits and a few signs, with one space at most between them.
    fn fitting(&mut self, name: Option<&str>) -> String {
        const CHARS_MAX: usize = 100;
        let name = name.unwrap_or("");
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let letter = |c: char| match c {
            _ if c.is_ascii_alphanumeric() || "-()[]".contains(c) => c,
            _ if c.is_whitespace() => ' ',
            _ => '-',
        };
        let letters: String = stem.chars().map(letter).take(CHARS_MAX).collect();
        let words: Vec<&str> = letters.split(' ').filter(|word| !word.is_empty()).collect();
        let base = if words.is_empty() { "document".to_owned() } else { words.join(" ") };
        let mut name = base.clone();
        let mut count = 1;
        while self.0.contains(&name) {
            count += 1;
            name = format!("{base} ({count})");
        }
        self.0.push(name.clone());
        name
    }
}

/// Where no tool is to be called, tools stay only for the calls that the conversation has.
fn tool_config(request: &Request) -> Result<Option<ToolConfig<'_>>, Error> {
    let is_call = |b: &Block| matches!(b, Block::ToolCall { .. });
    let has_calls = || request.turns.iter().flat_map(|t| &t.blocks).any(is_call);
    let is_none = request.tool_choice == Some(ToolChoice::None);
    if request.tools.is_empty() || (is_none && !has_calls()) {
        return Ok(None);
    }
    let mut tools = Vec::with_capacity(request.tools.len());
    for tool in &request.tools {
        tools.push(tool_spec(tool)?);
        if tool.cache.is_some() {
            tools.push(ToolPart::CachePoint { kind: "default" });
        }
    }
    let tool_choice = match &request.tool_choice {
        None | Some(ToolChoice::None) => None,
        Some(ToolChoice::Auto) => Some(Choice::Auto {}),
        Some(ToolChoice::Any) => Some(Choice::Any {}),
        Some(ToolChoice::Named(name)) => Some(Choice::Tool { name }),
    };
    Ok(Some(ToolConfig { tools, tool_choice }))
}

const NO_PROPERTIES: &str = r#"{"type":"object","properties":{}}"#;

fn tool_spec(tool: &Tool) -> Result<ToolPart<'_>, Error> {
    let description = tool.description.as_deref().filter(|text| !text.trim().is_empty());
    let schema = tool.schema.as_deref().map_or("", str::trim);
    let schema = if matches!(schema, "" | "null" | "{}") { NO_PROPERTIES } else { schema };
    let json = serde_json::from_str(schema).map_err(|_| Error::Refused {
        path: "tools".into(),
        what: format!("the parameters of `{}` are not JSON.", tool.name),
    })?;
    Ok(ToolPart::ToolSpec { name: &tool.name, description, input_schema: Schema { json } })
}
