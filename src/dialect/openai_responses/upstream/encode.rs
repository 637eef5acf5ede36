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
/// is the first of the input. Clients of other models need not say so.
fn system(request: &Request) -> (Option<Words<'_>>, Option<Item<'_>>) {
    let system = request.system.as_slice();
    if request.format != Format::Json {
        return ((!system.is_empty()).then(|| words(system)), None);
    }
    let texts = request.turns.iter().flat_map(|turn| &turn.blocks).chain(system);
    let is_said = texts.into_iter().any(|block| match block {
        Block::Text { text, .. } => text.to_ascii_lowercase().contains("json"),
        _ => false,
    });
    let ask = (!is_said).then(|| Words::Made("Answer in JSON.".into()));
    let system = (!system.is_empty()).then(|| words(system));
    let content: Vec<_> =
        system.into_iter().chain(ask).map(|text| Part::InputText { text }).collect();
    (None, (!content.is_empty()).then_some(Item::Message { role: "developer", content }))
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
    blocks.iter().filter_map(part).collect()
}

fn part(block: &Block) -> Option<Result<Part<'_>, Error>> {
    match block {
        Block::Text { text, .. } => Some(Ok(Part::InputText { text: of(text) })),
        Block::Media { kind, source, name, path, .. } => {
            Some(media_part(*kind, source, name.as_deref(), path))
        }
        _ => None,
    }
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
    Ok(Function {
        r#type: "function",
        name: &tool.name,
        description,
        parameters,
        strict: tool.is_strict,
    })
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::chat::CachePoint;

    fn turn(role: Role, blocks: Vec<Block>) -> Turn {
        Turn { role, blocks }
    }

    fn call(id: &str, arguments: &str) -> Block {
        let (name, arguments) = ("f".to_owned(), arguments.to_owned());
        Block::ToolCall { id: id.to_owned(), name, arguments, seal: None, cache: None }
    }

    fn result(id: &str, content: Vec<Block>, is_error: bool) -> Block {
        let (id, name) = (id.to_owned(), "f".to_owned());
        Block::ToolResult { id, name, content, is_error, cache: None }
    }

    fn media(kind: MediaKind, media_type: &str, name: Option<&str>) -> Block {
        let source = Source::Base64 { media_type: media_type.to_owned(), data: "eA==".to_owned() };
        let path = "messages[0].content[1]".to_owned();
        Block::Media { kind, source, name: name.map(str::to_owned), cache: None, path }
    }

    fn thought(text: &str) -> Block {
        let seal = Seal::OpenAi { id: "rs_1".into(), encrypted: "gAAA".into() };
        Block::Reasoning { text: text.to_owned(), seal: Some(seal) }
    }

    fn written(request: &Request, is_stream: bool) -> Result<Value, Error> {
        let body = body(request, &Target { model: "gpt-5.5", is_stream })?;
        Ok(serde_json::from_slice(&body).unwrap())
    }

    /// Without what is the same for all.
    fn own(request: &Request) -> Value {
        let mut body = written(request, false).unwrap();
        let all = body.as_object_mut().unwrap();
        for (key, usual) in [
            ("model", json!("gpt-5.5")),
            ("include", json!(["reasoning.encrypted_content"])),
            ("store", json!(false)),
            ("stream", json!(false)),
        ] {
            assert_eq!(all.remove(key), Some(usual));
        }
        body
    }

    #[test]
    fn a_conversation() {
        let text = |text: &str| Block::text(text);
        let turns = vec![
            turn(
                Role::User,
                vec![
                    text("look"),
                    media(MediaKind::Image, "image/png", None),
                    media(MediaKind::File, "application/pdf", None),
                    media(MediaKind::File, "text/plain", Some("a.txt")),
                ],
            ),
            turn(Role::Assistant, vec![thought("hm"), text("a"), text("b"), call("c1", "{}")]),
            turn(
                Role::User,
                vec![
                    result("c1", vec![text("x"), media(MediaKind::Image, "image/png", None)], true),
                    text("and?"),
                ],
            ),
            turn(Role::Assistant, vec![thought(""), call("c2", "{\"n\": 1.10}"), call("c3", "{}")]),
            turn(
                Role::User,
                vec![result("c2", vec![text("y"), text("z")], true), result("c3", vec![], false)],
            ),
            // What it led to is gone.
            turn(Role::Assistant, vec![text("done"), thought("lost")]),
        ];
        let system = vec![text("Be brief."), text("Be kind.")];
        let found = own(&Request { system, turns, ..Request::default() });
        let png = "data:image/png;base64,eA==";
        let input = json!([
            {"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "look"},
                {"type": "input_image", "image_url": png},
                {"type": "input_file", "filename": "file.pdf", "file_data": "data:application/pdf;base64,eA=="},
                {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,eA=="},
            ]},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "gAAA"},
            {"type": "message", "role": "assistant", "content": [
                {"type": "output_text", "text": "a"}, {"type": "output_text", "text": "b"},
            ]},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": [
                {"type": "input_text", "text": "Error:"},
                {"type": "input_text", "text": "x"}, {"type": "input_image", "image_url": png},
            ]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "and?"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
            {"type": "function_call", "call_id": "c2", "name": "f", "arguments": "{\"n\": 1.10}"},
            {"type": "function_call", "call_id": "c3", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c2", "output": "Error: y\n\nz"},
            {"type": "function_call_output", "call_id": "c3", "output": "(empty)"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "done"}]},
        ]);
        assert_eq!(found, json!({"instructions": "Be brief.\n\nBe kind.", "input": input}));
    }

    #[test]
    fn texts_and_schemas_stay_as_they_were_written() {
        let raw: &RawValue = serde_json::from_str(r#""\u0041 \/ \u00e9""#).unwrap();
        let block = || Block::Text { text: Text::of_json(raw).unwrap(), cache: None };
        let schema = r#"{"type": "object", "x": 1.10}"#.to_owned();
        let tool = Tool {
            name: "f".into(),
            description: Some("d".into()),
            schema: Some(schema.clone()),
            cache: Some(CachePoint::OneHour),
            is_strict: false,
        };
        let request = Request {
            system: vec![block()],
            turns: vec![
                turn(Role::User, vec![block()]),
                turn(Role::Assistant, vec![block(), call("c", "{}")]),
                turn(Role::User, vec![result("c", vec![block()], false)]),
            ],
            tools: vec![tool],
            ..Request::default()
        };
        let body = body(&request, &Target { model: "m", is_stream: true }).unwrap();
        let body = String::from_utf8(body).unwrap();
        assert_eq!(body.matches(raw.get()).count(), 4, "{body}");
        let tool = format!(
            r#""tools":[{{"type":"function","name":"f","description":"d","parameters":{schema},"strict":false}}]"#
        );
        assert!(body.contains(&tool), "{body}");
        let end = r#""stream":true,"stream_options":{"include_obfuscation":false}}"#;
        assert!(body.ends_with(end), "{body}");
    }

    #[test]
    fn settings() {
        let base = || Request {
            turns: vec![turn(Role::User, vec![Block::text("hi")])],
            ..Request::default()
        };
        let tool = || Tool {
            name: "f".into(),
            description: None,
            schema: None,
            cache: None,
            is_strict: false,
        };
        let with_tools = |tool_choice, is_single_call| Request {
            tools: vec![tool()],
            tool_choice,
            is_single_call,
            ..base()
        };
        let thinks = |thinking| Request { thinking: Some(thinking), ..base() };
        let effort = |effort| thinks(Thinking::Effort(effort));
        let schema = |is_strict| Request {
            format: Format::Schema {
                name: "n".into(),
                description: Some("d".into()),
                schema: "{}".into(),
                is_strict,
            },
            ..base()
        };
        let named = json!({"type": "function", "name": "f"});
        let tools = json!([{"type": "function", "name": "f", "strict": false,
            "parameters": {"type": "object", "properties": {}}}]);
        let reasoning = |effort: &str| json!({"reasoning": {"effort": effort, "summary": "auto"}});
        let format = json!({"type": "json_schema", "name": "n", "description": "d", "schema": {}});
        let table = [
            (base(), json!({})),
            (Request { output_max: Some(1), ..base() }, json!({"max_output_tokens": 16})),
            (Request { output_max: Some(17), ..base() }, json!({"max_output_tokens": 17})),
            (
                Request { temperature: Some(0.5), top_p: Some(0.1), ..base() },
                json!({"temperature": 0.5, "top_p": 0.1}),
            ),
            (Request { user: Some("u".into()), ..base() }, json!({"user": "u"})),
            (thinks(Thinking::Off), json!({"reasoning": {"effort": "none"}})),
            (thinks(Thinking::Adaptive), json!({"reasoning": {"summary": "auto"}})),
            (thinks(Thinking::Budget(1024)), reasoning("low")),
            (thinks(Thinking::Budget(8192)), reasoning("medium")),
            (thinks(Thinking::Budget(31_999)), reasoning("high")),
            (effort(Effort::Minimal), reasoning("minimal")),
            (effort(Effort::Low), reasoning("low")),
            (effort(Effort::Medium), reasoning("medium")),
            (effort(Effort::High), reasoning("high")),
            (effort(Effort::Highest), reasoning("xhigh")),
            (effort(Effort::Max), reasoning("xhigh")),
            (with_tools(None, false), json!({"tools": tools})),
            (
                with_tools(Some(ToolChoice::Any), true),
                json!({"tools": tools, "tool_choice": "required", "parallel_tool_calls": false}),
            ),
            (
                with_tools(Some(ToolChoice::Auto), false),
                json!({"tools": tools, "tool_choice": "auto"}),
            ),
            (
                with_tools(Some(ToolChoice::None), false),
                json!({"tools": tools, "tool_choice": "none"}),
            ),
            (
                with_tools(Some(ToolChoice::Named("f".into())), false),
                json!({"tools": tools, "tool_choice": named}),
            ),
            // None without tools.
            (
                Request { tool_choice: Some(ToolChoice::Any), is_single_call: true, ..base() },
                json!({}),
            ),
            (schema(None), json!({"text": {"format": format}})),
        ];
        for (request, expected) in table {
            let mut found = own(&request);
            found.as_object_mut().unwrap().remove("input");
            assert_eq!(found, expected, "{request:?}");
        }
        let strict = own(&schema(Some(true)));
        assert_eq!(strict["text"]["format"]["strict"], true);
    }

    #[test]
    fn where_json_is_wanted_the_input_says_so() {
        let asks = |system: &[&str], text: &str| Request {
            system: system.iter().map(|text| Block::text(*text)).collect(),
            turns: vec![turn(Role::User, vec![Block::text(text)])],
            format: Format::Json,
            ..Request::default()
        };
        let developer = |texts: &[&str]| {
            let part = |text: &&str| json!({"type": "input_text", "text": text});
            let content = texts.iter().map(part).collect::<Vec<_>>();
            json!({"type": "message", "role": "developer", "content": content})
        };
        let asked = "Answer in JSON.";
        for (request, first) in [
            (asks(&[], "some JSON"), None),
            (asks(&["Write Json."], "hi"), Some(developer(&["Write Json."]))),
            (asks(&["Be brief."], "json"), Some(developer(&["Be brief."]))),
            (asks(&["Be brief."], "hi"), Some(developer(&["Be brief.", asked]))),
            (asks(&[], "hi"), Some(developer(&[asked]))),
        ] {
            let body = own(&request);
            assert_eq!(body["text"], json!({"format": {"type": "json_object"}}));
            assert!(body.get("instructions").is_none(), "{body}");
            let count = usize::from(first.is_some());
            assert_eq!(body["input"].as_array().unwrap().len(), 1 + count, "{body}");
            assert!(first.is_none_or(|first| body["input"][0] == first), "{body}");
        }
    }

    #[test]
    fn what_it_does_not_take_is_refused_with_its_path() {
        for block in [media(MediaKind::Audio, "audio/wav", None), {
            let source = Source::Url("https://example.org/a.pdf".into());
            let path = "messages[0].content[1]".to_owned();
            Block::Media { kind: MediaKind::File, source, name: None, cache: None, path }
        }] {
            let turns = vec![turn(Role::User, vec![block])];
            let error = written(&Request { turns, ..Request::default() }, false).unwrap_err();
            assert_eq!((error.status(), error.param()), (400, Some("messages[0].content[1]")));
        }
    }
}
