//! A request's body. Texts are borrowed from the request, and arguments and schemas stay as they were written.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::chat::{
    Block, Effort, Format, MediaKind, Request, Role, Source, Thinking, Tool, ToolChoice,
};
use crate::dialect::Target;
use crate::dialect::to_json;
use crate::error::Error;
use crate::media;

pub fn body(request: &Request, target: &Target<'_>) -> Result<Vec<u8>, Error> {
    let tools = offered(request);
    let body = Body {
        model: target.model,
        messages: messages(request)?,
        stream: target.is_stream,
        tool_choice: if tools.is_empty() { None } else { tool_choice(request) },
        tools: tools.into_iter().map(tool).collect::<Result<_, _>>()?,
        response_format: response_format(&request.format)?,
        max_tokens: request.output_max,
        temperature: request.temperature,
        p: request.top_p,
        seed: request.seed,
        stop_sequences: &request.stop,
        frequency_penalty: request.frequency_penalty,
        presence_penalty: request.presence_penalty,
        thinking: request.thinking.map(thinking),
    };
    to_json(&body, request)
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "is_false")]
    stream: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ToolJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop_sequences: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<ThinkingJson>,
}

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
enum Message<'a> {
    System {
        content: Content<'a>,
    },
    User {
        content: Content<'a>,
    },
    Assistant {
        #[serde(skip_serializing_if = "Option::is_none")]
        content: Option<Content<'a>>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<Call<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        tool_plan: Option<String>,
    },
    Tool {
        tool_call_id: &'a str,
        content: String,
    },
}

/// One text is written as such.
#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(&'a str),
    Parts(Vec<Part<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: ImageUrl },
}

#[derive(Serialize)]
struct ImageUrl {
    url: String,
}

#[derive(Serialize)]
struct Call<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    function: CallFunction<'a>,
}

#[derive(Serialize)]
struct CallFunction<'a> {
    name: &'a str,
    arguments: &'a str,
}

#[derive(Serialize)]
struct ToolJson<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    parameters: &'a RawValue,
}

#[derive(Serialize)]
struct ResponseFormat<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    json_schema: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct ThinkingJson {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_budget: Option<u64>,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn messages(request: &Request) -> Result<Vec<Message<'_>>, Error> {
    let mut messages = vec![];
    if !request.system.is_empty() {
        messages.push(Message::System { content: content(&request.system)? });
    }
    for turn in &request.turns {
        match turn.role {
            Role::User => push_user(&turn.blocks, &mut messages)?,
            Role::Assistant => messages.push(assistant(&turn.blocks)),
        }
    }
    Ok(messages)
}

/// Results are messages of their own; they come first.
fn push_user<'a>(blocks: &'a [Block], messages: &mut Vec<Message<'a>>) -> Result<(), Error> {
    let is_result = |b: &&Block| matches!(b, Block::ToolResult { .. });
    for block in blocks {
        if let Block::ToolResult { id, content, is_error, .. } = block {
            messages.push(Message::Tool { tool_call_id: id, content: result(content, *is_error) });
        }
    }
    let said: Vec<&Block> = blocks.iter().filter(|b| !is_result(b)).collect();
    if !said.is_empty() {
        messages.push(Message::User { content: content(said)? });
    }
    Ok(())
}

/// Left open: whether a tool may give nothing.
fn result(content: &[Block], is_error: bool) -> String {
    match texts(content).join("\n") {
        none if none.is_empty() && is_error => "The tool failed.".to_owned(),
        none if none.is_empty() => "No result.".to_owned(),
        text if is_error => format!("The tool failed: {text}"),
        text => text,
    }
}

/// What is said beside calls is the plan for them.
fn assistant(blocks: &[Block]) -> Message<'_> {
    let calls = blocks.iter().filter_map(|block| match block {
        Block::ToolCall { id, name, arguments, .. } => {
            Some(Call { id, kind: "function", function: CallFunction { name, arguments } })
        }
        _ => None,
    });
    let tool_calls: Vec<Call<'_>> = calls.collect();
    let texts = texts(blocks);
    if tool_calls.is_empty() {
        let content = match texts[..] {
            [text] => Content::Text(text),
            _ => Content::Parts(texts.into_iter().map(|text| Part::Text { text }).collect()),
        };
        return Message::Assistant { content: Some(content), tool_calls, tool_plan: None };
    }
    let tool_plan = (!texts.is_empty()).then(|| texts.join("\n"));
    Message::Assistant { content: None, tool_calls, tool_plan }
}

fn texts(blocks: &[Block]) -> Vec<&str> {
    let texts = blocks.iter().filter_map(|block| match block {
        Block::Text { text, .. } => Some(&**text),
        _ => None,
    });
    texts.collect()
}

/// Texts and images.
fn content<'a>(blocks: impl IntoIterator<Item = &'a Block>) -> Result<Content<'a>, Error> {
    let mut parts = vec![];
    for block in blocks {
        match block {
            Block::Text { text, .. } => parts.push(Part::Text { text }),
            Block::Media { kind, source, path, .. } => parts.push(image(*kind, source, path)?),
            _ => {}
        }
    }
    Ok(match parts[..] {
        [Part::Text { text }] => Content::Text(text),
        _ => Content::Parts(parts),
    })
}

fn image<'a>(kind: MediaKind, source: &Source, path: &str) -> Result<Part<'a>, Error> {
    let refused = |what: &str| Error::Refused { path: path.to_owned(), what: what.to_owned() };
    match source {
        // Left open: the vendor fetches them, a deployment on AI Core may not be able to.
        Source::Url(_) => Err(refused(
            "Cohere on SAP AI Core takes no URLs here, and they are not fetched; send the content as base64.",
        )),
        Source::Base64 { media_type, data }
            if kind != MediaKind::Audio && media_type.starts_with("image/") =>
        {
            let url = media::as_data_url(media_type, data);
            Ok(Part::ImageUrl { image_url: ImageUrl { url } })
        }
        Source::Base64 { .. } => Err(refused("Cohere takes images, but neither files nor audio.")),
    }
}

/// The vendor knows no choice of a tool by its name: that tool alone is offered.
fn offered(request: &Request) -> Vec<&Tool> {
    let is_offered = |tool: &&Tool| match &request.tool_choice {
        Some(ToolChoice::Named(name)) => tool.name == *name,
        _ => true,
    };
    request.tools.iter().filter(is_offered).collect()
}

fn tool_choice(request: &Request) -> Option<&'static str> {
    match request.tool_choice {
        None | Some(ToolChoice::Auto) => None,
        Some(ToolChoice::None) => Some("NONE"),
        Some(ToolChoice::Any | ToolChoice::Named(_)) => Some("REQUIRED"),
    }
}

const NO_PROPERTIES: &str = r#"{"type":"object","properties":{}}"#;

fn tool(tool: &Tool) -> Result<ToolJson<'_>, Error> {
    let schema = tool.schema.as_deref().map_or("", str::trim);
    let schema = if matches!(schema, "" | "null" | "{}") { NO_PROPERTIES } else { schema };
    let parameters = serde_json::from_str(schema).map_err(|_| Error::Refused {
        path: "tools".into(),
        what: format!("the parameters of `{}` are not JSON.", tool.name),
    })?;
    let description = tool.description.as_deref();
    let function = Function { name: &tool.name, description, parameters };
    Ok(ToolJson { kind: "function", function })
}

fn response_format(format: &Format) -> Result<Option<ResponseFormat<'_>>, Error> {
    let json_schema = match format {
        Format::Text => return Ok(None),
        Format::Json => None,
        Format::Schema { schema, .. } => {
            Some(serde_json::from_str(schema).map_err(|_| Error::Refused {
                path: "response_format".into(),
                what: "the schema is not JSON.".into(),
            })?)
        }
    };
    Ok(Some(ResponseFormat { kind: "json_object", json_schema }))
}

/// The largest budget for thinking that is taken.
const BUDGET_MAX: u64 = 31_000;

/// Without a budget the model thinks as much as it sees fit, which for high efforts is right.
fn thinking(thinking: Thinking) -> ThinkingJson {
    let token_budget = match thinking {
        Thinking::Off => return ThinkingJson { kind: "disabled", token_budget: None },
        Thinking::Budget(budget) => Some(budget.clamp(1, BUDGET_MAX)),
        Thinking::Effort(Effort::Minimal) => Some(512),
        Thinking::Effort(Effort::Low) => Some(1_024),
        Thinking::Effort(Effort::Medium) => Some(4_096),
        Thinking::Effort(Effort::High | Effort::Highest | Effort::Max) | Thinking::Adaptive => None,
    };
    ThinkingJson { kind: "enabled", token_budget }
}
