//! A request's body. What is long is borrowed from the request, and arguments and schemas stay as they were written.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::chat::{
    Block, CachePoint, Effort, MediaKind, Request, Role, Seal, Source, Thinking, Tool, ToolChoice,
    Turn, Written,
};
use crate::dialect::to_json;
use crate::error::Error;
use crate::media;

/// The families' rules always set a limit; this is for who comes without.
const OUTPUT_MAX: u64 = 4_096;

pub fn body(request: &Request) -> Result<Vec<u8>, Error> {
    let (thinking, output_config) = thinking(request.thinking);
    let body = Body {
        anthropic_version: "bedrock-2023-05-31",
        max_tokens: request.output_max.unwrap_or(OUTPUT_MAX),
        system: parts(&request.system)?,
        messages: request.turns.iter().map(message).collect::<Result<_, _>>()?,
        tools: request.tools.iter().map(tool).collect::<Result<_, _>>()?,
        tool_choice: tool_choice(request),
        temperature: request.temperature,
        top_p: request.top_p,
        stop_sequences: &request.stop,
        thinking,
        output_config,
    };
    to_json(&body, request)
}

#[derive(Serialize)]
struct Body<'a> {
    anthropic_version: &'static str,
    max_tokens: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Part<'a>>,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ToolJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop_sequences: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<ThinkingJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Vec<Part<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    Text {
        text: Written<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    Image {
        source: Base64<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    Document {
        source: DocumentSource<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    Thinking {
        thinking: &'a str,
        signature: &'a str,
    },
    RedactedThinking {
        data: &'a str,
    },
    ToolUse {
        id: &'a str,
        name: &'a str,
        input: &'a RawValue,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    ToolResult {
        tool_use_id: &'a str,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        content: Vec<Part<'a>>,
        #[serde(skip_serializing_if = "is_false")]
        is_error: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
}

#[derive(Serialize)]
struct Base64<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    media_type: &'a str,
    data: &'a str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum DocumentSource<'a> {
    Base64(Base64<'a>),
    Text {
        #[serde(rename = "type")]
        kind: &'static str,
        media_type: &'static str,
        data: String,
    },
}

#[derive(Serialize)]
struct CacheControl {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'static str>,
}

#[derive(Serialize)]
struct ToolJson<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    input_schema: Cow<'a, RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheControl>,
}

#[derive(Serialize)]
struct Choice<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "is_false")]
    disable_parallel_tool_use: bool,
}

#[derive(Serialize)]
struct ThinkingJson {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget_tokens: Option<u64>,
}

#[derive(Serialize)]
struct OutputConfig {
    effort: &'static str,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn message(turn: &Turn) -> Result<Message<'_>, Error> {
    let role = match turn.role {
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    Ok(Message { role, content: parts(&turn.blocks)? })
}

fn parts(blocks: &[Block]) -> Result<Vec<Part<'_>>, Error> {
    blocks.iter().filter_map(|block| part(block).transpose()).collect()
}

const FAILED: Part<'_> =
    Part::Text { text: Written::Words("The tool failed."), cache_control: None };

/// `None` for reasoning that nobody has sealed: it cannot be given back.
fn part(block: &Block) -> Result<Option<Part<'_>>, Error> {
    Ok(Some(match block {
        Block::Text { text, cache } => {
            Part::Text { text: text.written(), cache_control: cache_control(*cache) }
        }
        Block::Reasoning { text, seal: Some(Seal::Claude(signature)) } => {
            Part::Thinking { thinking: text, signature }
        }
        Block::Reasoning { seal: Some(Seal::ClaudeRedacted(data)), .. } => {
            Part::RedactedThinking { data }
        }
        Block::Reasoning { .. } => return Ok(None),
        Block::ToolCall { id, name, arguments, cache, .. } => Part::ToolUse {
            id,
            name,
            // What fits is JSON.
            input: serde_json::from_str(arguments).map_err(|_| Error::Internal)?,
            cache_control: cache_control(*cache),
        },
        Block::ToolResult { id, content, is_error, cache, .. } => Part::ToolResult {
            tool_use_id: id,
            content: match parts(content)? {
                // An error without words is refused.
                none if none.is_empty() && *is_error => vec![FAILED],
                content => content,
            },
            is_error: *is_error,
            cache_control: cache_control(*cache),
        },
        Block::Media { kind, source, name, cache, path } => {
            file(*kind, source, name.as_deref(), cache_control(*cache), path)?
        }
    }))
}

fn file<'a>(
    kind: MediaKind,
    source: &'a Source,
    name: Option<&'a str>,
    cache_control: Option<CacheControl>,
    path: &str,
) -> Result<Part<'a>, Error> {
    let refused = |what: String| Error::Refused { path: path.to_owned(), what };
    let Source::Base64 { media_type, data } = source else {
        return Err(refused(
            "Claude on SAP AI Core takes no URLs here, and they are not fetched; send the content as base64.".into(),
        ));
    };
    let base64 = Base64 { kind: "base64", media_type, data };
    let title = name.filter(|name| !name.trim().is_empty());
    match media_type.split_once('/') {
        Some(("image", "png" | "jpeg" | "gif" | "webp")) if kind != MediaKind::Audio => {
            Ok(Part::Image { source: base64, cache_control })
        }
        Some(("application", "pdf")) => {
            let source = DocumentSource::Base64(base64);
            Ok(Part::Document { source, title, cache_control })
        }
        // An image that is written in words is read as them.
        Some(("text", _) | ("image", "svg+xml")) => {
            let data =
                media::text(data).ok_or_else(|| refused("this is not UTF-8 in base64.".into()))?;
            let source = DocumentSource::Text { kind: "text", media_type: "text/plain", data };
            Ok(Part::Document { source, title, cache_control })
        }
        _ => Err(refused(format!(
            "Claude takes images as PNG, JPEG, GIF or WebP, PDF and text, but not {media_type}; send one of those."
        ))),
    }
}

fn cache_control(point: Option<CachePoint>) -> Option<CacheControl> {
    let ttl = (point? == CachePoint::OneHour).then_some("1h");
    Some(CacheControl { kind: "ephemeral", ttl })
}

fn tool(tool: &Tool) -> Result<ToolJson<'_>, Error> {
    Ok(ToolJson {
        name: &tool.name,
        description: tool.description.as_deref(),
        input_schema: schema(tool)?,
        cache_control: cache_control(tool.cache),
    })
}

const NO_PROPERTIES: &str = r#"{"type":"object","properties":{}}"#;

/// The client's own schema, but for the `type` that Anthropic asks for.
fn schema(tool: &Tool) -> Result<Cow<'_, RawValue>, Error> {
    let refused = |what: &str| Error::Refused {
        path: "tools".into(),
        what: format!("the parameters of `{}` are not {what}.", tool.name),
    };
    let schema = tool.schema.as_deref().map_or("", str::trim);
    if matches!(schema, "" | "null" | "{}") {
        return raw(NO_PROPERTIES);
    }
    let Some(rest) = schema.strip_prefix('{') else {
        return Err(refused("a JSON schema, which is an object"));
    };
    let top: Top<'_> = serde_json::from_str(schema).map_err(|_| refused("JSON"))?;
    match top.kind.map(RawValue::get) {
        Some(r#""object""#) => raw(schema),
        Some(_) => Err(refused("of the type `object`; Claude takes no other")),
        None => owned(format!(r#"{{"type":"object",{rest}"#)),
    }
}

/// What is looked at of a schema.
#[derive(Deserialize)]
struct Top<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
}

fn raw(json: &str) -> Result<Cow<'_, RawValue>, Error> {
    serde_json::from_str(json).map(Cow::Borrowed).map_err(|_| Error::Internal)
}

fn owned<'a>(json: String) -> Result<Cow<'a, RawValue>, Error> {
    RawValue::from_string(json).map(Cow::Owned).map_err(|_| Error::Internal)
}

fn tool_choice(request: &Request) -> Option<Choice<'_>> {
    let choice = match &request.tool_choice {
        _ if request.tools.is_empty() => return None,
        None if !request.is_single_call => return None,
        None => &ToolChoice::Auto,
        Some(choice) => choice,
    };
    let (kind, name) = match choice {
        ToolChoice::Auto => ("auto", None),
        ToolChoice::None => ("none", None),
        ToolChoice::Any => ("any", None),
        ToolChoice::Named(name) => ("tool", Some(name.as_str())),
    };
    let disable_parallel_tool_use = request.is_single_call && kind != "none";
    Some(Choice { kind, name, disable_parallel_tool_use })
}

fn thinking(thinking: Option<Thinking>) -> (Option<ThinkingJson>, Option<OutputConfig>) {
    let json = |kind, budget_tokens| Some(ThinkingJson { kind, budget_tokens });
    match thinking {
        None => (None, None),
        Some(Thinking::Off) => (json("disabled", None), None),
        Some(Thinking::Budget(budget)) => (json("enabled", Some(budget)), None),
        Some(Thinking::Adaptive) => (json("adaptive", None), None),
        Some(Thinking::Effort(effort)) => {
            let effort = match effort {
                Effort::Minimal | Effort::Low => "low",
                Effort::Medium => "medium",
                Effort::High => "high",
                Effort::Highest => "xhigh",
                Effort::Max => "max",
            };
            (json("adaptive", None), Some(OutputConfig { effort }))
        }
    }
}
