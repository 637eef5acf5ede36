//! A request, written down for Gemini.
//!
//! Everything is borrowed: a conversation of megabytes is written once and copied nowhere. Schemas and arguments go as the
//! client and the model wrote them. Ids of calls are not sent (AI Core refuses them), and reasoning is not given back: only
//! the signatures on calls are asked for.

use serde::Serialize;
use serde_json::value::RawValue;

use super::Model;
use crate::chat::{
    Block, Effort, Format, Request, Role, Seal, Source, Thinking, Tool, ToolChoice, Turn, Written,
};
use crate::dialect::to_json;
use crate::error::Error;

/// The vendor's word for: this call was not made by a model that signs.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// The body.
pub fn encode(request: &Request, model: Model) -> Result<Vec<u8>, Error> {
    let body = Body {
        system_instruction: system(&request.system)?,
        contents: contents(&request.turns, model)?,
        tools: tools(&request.tools)?,
        tool_config: request.tool_choice.as_ref().and_then(tool_config),
        generation_config: generation_config(request, model)?,
    };
    to_json(&body, request)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<Content<'a>>,
    contents: Vec<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<[ToolGroup<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<ToolConfig<'a>>,
    generation_config: GenerationConfig<'a>,
}

#[derive(Serialize)]
struct Content<'a> {
    role: &'static str,
    parts: Vec<Part<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Data<'a> {
    Text(Written<'a>),
    InlineData(InlineData<'a>),
    FunctionCall(FunctionCall<'a>),
    FunctionResponse(FunctionResponse<'a>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    #[serde(flatten)]
    data: Data<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thought_signature: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InlineData<'a> {
    mime_type: &'a str,
    data: &'a str,
}

#[derive(Serialize)]
struct FunctionCall<'a> {
    name: &'a str,
    args: &'a RawValue,
}

#[derive(Serialize)]
struct FunctionResponse<'a> {
    name: &'a str,
    response: ToolOutput<'a>,
}

/// What a tool gave: always an object.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum ToolOutput<'a> {
    Result(Said<'a>),
    Error(Said<'a>),
    #[serde(untagged)]
    Object(&'a RawValue),
}

#[derive(Serialize)]
#[serde(untagged)]
enum Said<'a> {
    AtOnce(Written<'a>),
    InParts(String),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToolGroup<'a> {
    function_declarations: Vec<FunctionDeclaration<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FunctionDeclaration<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters_json_schema: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToolConfig<'a> {
    function_calling_config: FunctionCallingConfig<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FunctionCallingConfig<'a> {
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_function_names: Option<[&'a str; 1]>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    stop_sequences: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_mime_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_json_schema: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_config: Option<ThinkingConfig>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ThinkingConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_budget: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_level: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    include_thoughts: bool,
}

fn system(blocks: &[Block]) -> Result<Option<Content<'_>>, Error> {
    let parts = blocks.iter().map(part).collect::<Result<Vec<_>, _>>()?;
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    Ok((!parts.is_empty()).then_some(Content { role: "user", parts }))
}

/// Turns of nothing but reasoning are left out with it; those around them become one.
fn contents(turns: &[Turn], model: Model) -> Result<Vec<Content<'_>>, Error> {
    let mut contents: Vec<Content<'_>> = Vec::with_capacity(turns.len());
    for turn in turns {
        let content = content(turn, model)?;
        match contents.last_mut() {
            _ if content.parts.is_empty() => {}
            Some(last) if last.role == content.role => last.parts.extend(content.parts),
            _ => contents.push(content),
        }
    }
    Ok(contents)
}

fn content(turn: &Turn, model: Model) -> Result<Content<'_>, Error> {
    let parts = turn.blocks.iter().map(part).collect::<Result<Vec<_>, _>>()?;
    let mut parts: Vec<_> = parts.into_iter().flatten().collect();
    // Of parallel calls only the first has to be signed.
    let first = parts.iter_mut().find(|p| matches!(p.data, Data::FunctionCall(_)));
    if let Some(call) = first.filter(|_| model.wants_signatures()) {
        call.thought_signature.get_or_insert(NO_SIGNATURE);
    }
    let role = if turn.role == Role::User { "user" } else { "model" };
    Ok(Content { role, parts })
}

fn part(block: &Block) -> Result<Option<Part<'_>>, Error> {
    let mut thought_signature = None;
    let data = match block {
        Block::Text { text, .. } => Data::Text(text.written()),
        Block::Reasoning { .. } => return Ok(None),
        Block::ToolCall { name, arguments, seal, .. } => {
            if let Some(Seal::Gemini(signature)) = seal {
                thought_signature = Some(signature.as_str());
            }
            let why = || format!("the arguments of a call of {name} are no JSON");
            let no_json = || Error::bad_request("messages", why());
            let args = json(arguments).ok_or_else(no_json)?;
            Data::FunctionCall(FunctionCall { name, args })
        }
        Block::ToolResult { name, content, is_error, .. } => {
            let response = tool_output(content, *is_error);
            Data::FunctionResponse(FunctionResponse { name, response })
        }
        Block::Media { source: Source::Base64 { media_type, data }, path, .. } => {
            Data::InlineData(InlineData { mime_type: mime_type(media_type, path)?, data })
        }
        Block::Media { source: Source::Url(_), path, .. } => {
            let what = "this model takes files only within the request, as data: URLs";
            return Err(Error::Refused { path: path.clone(), what: what.into() });
        }
    };
    Ok(Some(Part { data, thought_signature }))
}

/// Of texts it knows the plain ones, which all of them are to a reader; of images not those that are drawn by commands.
fn mime_type<'a>(media_type: &'a str, path: &str) -> Result<&'a str, Error> {
    match media_type.split_once('/') {
        Some(("text", _)) | Some(("application", "json")) => Ok("text/plain"),
        Some(("image", "svg+xml")) => {
            let what = "Gemini takes no SVG; send the image as PNG, JPEG or WebP.";
            Err(Error::Refused { path: path.to_owned(), what: what.into() })
        }
        _ => Ok(media_type),
    }
}

/// An object goes as it is, anything else becomes one.
fn tool_output(content: &[Block], is_error: bool) -> ToolOutput<'_> {
    let texts = content.iter().filter_map(|block| match block {
        Block::Text { text, .. } => Some(text),
        _ => None,
    });
    let said = match texts.collect::<Vec<_>>()[..] {
        [] => Said::AtOnce(Written::Words("")),
        [text] => {
            let may_be_object = !is_error && text.first_char() == Some('{');
            match may_be_object.then(|| json(text)).flatten() {
                Some(object) => return ToolOutput::Object(object),
                None => Said::AtOnce(text.written()),
            }
        }
        ref texts => {
            let texts: Vec<&str> = texts.iter().map(|text| &***text).collect();
            Said::InParts(texts.join("\n"))
        }
    };
    if is_error { ToolOutput::Error(said) } else { ToolOutput::Result(said) }
}

fn tools(tools: &[Tool]) -> Result<Option<[ToolGroup<'_>; 1]>, Error> {
    let function_declarations = tools.iter().map(declaration).collect::<Result<Vec<_>, _>>()?;
    Ok((!tools.is_empty()).then_some([ToolGroup { function_declarations }]))
}

fn declaration(tool: &Tool) -> Result<FunctionDeclaration<'_>, Error> {
    let Tool { name, description, schema, .. } = tool;
    let no_json = || Error::bad_request("tools", format!("the schema of {name} is no JSON"));
    let schema = schema.as_deref().map(|schema| json(schema).ok_or_else(no_json));
    let parameters_json_schema = schema.transpose()?;
    Ok(FunctionDeclaration { name, description: description.as_deref(), parameters_json_schema })
}

fn tool_config(choice: &ToolChoice) -> Option<ToolConfig<'_>> {
    let (mode, allowed_function_names) = match choice {
        ToolChoice::Auto => return None,
        ToolChoice::None => ("NONE", None),
        ToolChoice::Any => ("ANY", None),
        ToolChoice::Named(name) => ("ANY", Some([name.as_str()])),
    };
    let function_calling_config = FunctionCallingConfig { mode, allowed_function_names };
    Some(ToolConfig { function_calling_config })
}

fn generation_config(request: &Request, model: Model) -> Result<GenerationConfig<'_>, Error> {
    let schema = match &request.format {
        Format::Schema { schema, .. } => Some(schema),
        Format::Text | Format::Json => None,
    };
    let no_json = || Error::bad_request("response_format", "its schema is no JSON");
    let schema = schema.map(|schema| json(schema).ok_or_else(no_json));
    Ok(GenerationConfig {
        max_output_tokens: request.output_max,
        temperature: request.temperature,
        top_p: request.top_p,
        stop_sequences: &request.stop,
        seed: request.seed,
        frequency_penalty: request.frequency_penalty,
        presence_penalty: request.presence_penalty,
        response_mime_type: (request.format != Format::Text).then_some("application/json"),
        response_json_schema: schema.transpose()?,
        thinking_config: request.thinking.map(|thinking| thinking_config(thinking, model)),
    })
}

/// Thoughts are shown to who asked for thinking.
fn thinking_config(thinking: Thinking, model: Model) -> ThinkingConfig {
    let has_levels = model.takes_levels();
    let (thinking_budget, thinking_level) = match thinking {
        Thinking::Off if has_levels => (None, Some(level(model.effort_min()))),
        Thinking::Off => (Some(model.budget_min() as i64), None),
        Thinking::Effort(effort) => (None, Some(level(effort))),
        Thinking::Budget(budget) => (Some(i64::try_from(budget).unwrap_or(i64::MAX)), None),
        Thinking::Adaptive if has_levels => (None, None),
        Thinking::Adaptive => (Some(-1), None),
    };
    let include_thoughts = thinking != Thinking::Off;
    ThinkingConfig { thinking_budget, thinking_level, include_thoughts }
}

fn level(effort: Effort) -> &'static str {
    match effort {
        Effort::Minimal => "MINIMAL",
        Effort::Low => "LOW",
        Effort::Medium => "MEDIUM",
        Effort::High | Effort::Highest | Effort::Max => "HIGH",
    }
}

/// The text itself, if it is JSON.
fn json(text: &str) -> Option<&RawValue> {
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_called_what_is_known() {
        let table = [
            ("text/csv", Some("text/plain")),
            ("text/plain", Some("text/plain")),
            ("application/json", Some("text/plain")),
            ("application/pdf", Some("application/pdf")),
            ("image/png", Some("image/png")),
            ("image/svg+xml", None),
        ];
        for (media_type, expected) in table {
            let found = mime_type(media_type, "messages[0].content[1]");
            match expected {
                Some(expected) => assert_eq!(found.unwrap(), expected),
                None => assert_eq!(found.unwrap_err().param(), Some("messages[0].content[1]")),
            }
        }
    }
}
