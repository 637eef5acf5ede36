//! Cohere's chat: what is said of its replies, and what is written for it.

#[path = "support/upstream.rs"]
mod upstream;

use proptest::prelude::*;
use sap_ai_core_llm_proxy::chat::{
    Block, Effort, Format, MediaKind, Request, Role, Source, Thinking, Tool, ToolChoice,
};
use sap_ai_core_llm_proxy::dialect::cohere::Cohere;
use serde_json::{Value, json};
use upstream::{Answers, adapted, hi, turn};

const ANSWERS: Answers = Answers { dialect: &Cohere, folder: "cohere" };
const REASONING: &str = "cohere--command-a-reasoning";
const PLAIN: &str = "cohere--command-a";

#[test]
fn replies_say_what_they_should() {
    ANSWERS.say_what_they_should();
}

#[test]
fn stream_and_whole_agree() {
    assert!(ANSWERS.agree() >= 3);
}

#[test]
fn a_plain_request() {
    let mut request = Request { system: vec![Block::text("Be brief.")], ..hi() };
    let expected = concat!(
        r#"{"model":"cohere--command-a","messages":[{"role":"system","content":"Be brief."},"#,
        r#"{"role":"user","content":"hi"}]}"#,
    );
    assert_eq!(adapted(PLAIN, false, &mut request).unwrap(), expected);
    let expected = r#"{"model":"cohere--command-a","messages":[{"role":"user","content":"hi"}],"stream":true}"#;
    assert_eq!(adapted(PLAIN, true, &mut hi()).unwrap(), expected);
}

#[test]
fn a_request_with_everything() {
    let id = "trains_1".to_owned();
    let call = Block::ToolCall {
        id: id.clone(),
        name: "trains.find".into(),
        arguments: r#"{"at": 1.10}"#.into(),
        seal: None,
        cache: None,
    };
    let result = Block::ToolResult {
        id,
        name: "trains.find".into(),
        content: vec![Block::text("none"), image("image/png")],
        is_error: true,
        cache: None,
    };
    let mut request = Request {
        system: vec![Block::text("Be brief."), Block::text("Be kind.")],
        turns: vec![
            turn(Role::User, vec![Block::text("when?")]),
            turn(Role::Assistant, vec![Block::text("I will look."), call]),
            turn(Role::User, vec![result, Block::text("hurry")]),
            turn(Role::Assistant, vec![Block::text("At one.")]),
            turn(Role::User, vec![Block::text("thanks")]),
        ],
        tools: vec![Tool {
            schema: Some(r#"{"type":"object","properties":{"at":{"maximum":1.10}}}"#.into()),
            ..tool("trains.find")
        }],
        tool_choice: Some(ToolChoice::Any),
        output_max: Some(100_000),
        temperature: Some(1.5),
        top_p: Some(1.0),
        seed: Some(7),
        frequency_penalty: Some(-0.5),
        presence_penalty: Some(1.5),
        stop: vec!["END".into()],
        thinking: Some(Thinking::Effort(Effort::Low)),
        ..Request::default()
    };
    let body: Value =
        serde_json::from_str(&adapted(REASONING, true, &mut request).unwrap()).unwrap();
    let name = body["tools"][0]["function"]["name"].as_str().unwrap();
    assert!(name.starts_with("trains_find"), "{name}");
    let expected = json!({
        "model": REASONING,
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}]},
            {"role": "user", "content": "when?"},
            {"role": "assistant", "tool_plan": "I will look.", "tool_calls": [
                {"id": "trains_1", "type": "function", "function": {"name": name, "arguments": "{\"at\": 1.10}"}},
            ]},
            {"role": "tool", "tool_call_id": "trains_1", "content": "The tool failed: none"},
            {"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                {"type": "text", "text": "hurry"},
            ]},
            {"role": "assistant", "content": "At one."},
            {"role": "user", "content": "thanks"},
        ],
        "stream": true,
        "tools": [{"type": "function", "function": {
            "name": name,
            "parameters": {"type": "object", "properties": {"at": {"maximum": 1.1}}},
        }}],
        "tool_choice": "REQUIRED",
        "max_tokens": 8192,
        "temperature": 1.0,
        "p": 0.99,
        "seed": 7,
        "stop_sequences": ["END"],
        "frequency_penalty": 0.0,
        "presence_penalty": 1.0,
        "thinking": {"type": "enabled", "token_budget": 1024},
    });
    assert_eq!(body, expected);
    assert!(request.dropped.is_empty(), "{:?}", request.dropped);
}

#[test]
fn parts_of_requests() {
    let chosen =
        |choice| Request { tools: vec![tool("f"), tool("g")], tool_choice: Some(choice), ..hi() };
    let thinking = |thinking| Request { thinking: Some(thinking), ..hi() };
    let schema = |tools| {
        let schema = r#"{"type":"object","required":["a"]}"#.to_owned();
        let (name, description) = ("n".into(), None);
        let format = Format::Schema { name, description, schema, is_strict: None };
        Request { format, tools, ..hi() }
    };
    let f = r#"{"name":"f","parameters":{"type":"object","properties":{}}}"#;
    let by_name =
        format!(r#""tools":[{{"type":"function","function":{f}}}],"tool_choice":"REQUIRED""#);
    let table = [
        (chosen(ToolChoice::None), r#""tool_choice":"NONE"}"#),
        (chosen(ToolChoice::Auto), r#""parameters":{"type":"object","properties":{}}}}]}"#),
        (chosen(ToolChoice::Named("f".into())), &by_name),
        (Request { format: Format::Json, ..hi() }, r#""response_format":{"type":"json_object"}}"#),
        (
            schema(vec![]),
            r#""response_format":{"type":"json_object","json_schema":{"type":"object","required":["a"]}}}"#,
        ),
        // Not beside tools.
        (schema(vec![tool("f")]), r#""tool_choice":"REQUIRED"}"#),
        (thinking(Thinking::Off), r#""thinking":{"type":"disabled"}}"#),
        (thinking(Thinking::Adaptive), r#""thinking":{"type":"enabled"}}"#),
        (
            thinking(Thinking::Budget(99_999)),
            r#""thinking":{"type":"enabled","token_budget":31000}}"#,
        ),
    ];
    for (mut request, expected) in table {
        let body = adapted(REASONING, false, &mut request).unwrap();
        assert!(body.contains(expected), "{expected}\n{body}");
        assert!(request.dropped.is_empty(), "{:?}", request.dropped);
    }
}

#[test]
fn what_cohere_has_no_word_for() {
    let mut request = Request {
        thinking: Some(Thinking::Budget(2_000)),
        seed: Some(-1),
        stop: ["a", "b", "c", "d", "e", "f"].map(str::to_owned).into(),
        ..hi()
    };
    let (name, schema) = ("n".into(), "{}".to_owned());
    let description = Some("Say it.".to_owned());
    let format = Format::Schema { name, description, schema, is_strict: None };
    let mut described = Request { format, ..hi() };
    adapted(PLAIN, false, &mut described).unwrap();
    assert_eq!(described.dropped, ["response_format.json_schema.description"]);
    let body = adapted(PLAIN, false, &mut request).unwrap();
    assert!(body.contains(r#""stop_sequences":["a","b","c","d","e"]"#), "{body}");
    assert!(!body.contains("thinking") && !body.contains("seed"), "{body}");
    assert_eq!(request.dropped, ["reasoning_effort", "seed", "stop"]);
}

#[test]
fn what_cannot_be_carried_is_refused() {
    let says = |block| Request { turns: vec![turn(Role::User, vec![block])], ..hi() };
    let mut url = image("image/png");
    if let Block::Media { source, .. } = &mut url {
        *source = Source::Url("https://example.org/a.png".into());
    }
    let mut speech = image("audio/wav");
    if let Block::Media { kind, .. } = &mut speech {
        *kind = MediaKind::Audio;
    }
    let no_schema = Tool { schema: Some("{1}".into()), ..tool("f") };
    let path = "messages[0].content[0]";
    let table = [
        (says(url), path),
        (says(speech), path),
        (says(image("application/pdf")), path),
        (Request { tools: vec![no_schema], ..hi() }, "tools"),
    ];
    for (mut request, path) in table {
        let error = adapted(PLAIN, false, &mut request).unwrap_err();
        assert_eq!((error.status(), error.param()), (400, Some(path)), "{error}");
    }
}

fn tool(name: &str) -> Tool {
    Tool { name: name.into(), description: None, schema: None, cache: None, is_strict: false }
}

fn image(media_type: &str) -> Block {
    let source = Source::Base64 { media_type: media_type.into(), data: "AA==".into() };
    let (kind, path) = (MediaKind::Image, "messages[0].content[0]".into());
    Block::Media { kind, source, name: None, cache: None, path }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_in_brackets(bytes: Vec<u8>, cut in 0..99usize) {
        ANSWERS.are_in_brackets(&bytes, cut);
    }

    #[test]
    fn any_frames_are_in_brackets(picks in prop::collection::vec((any::<u16>(), 0..300usize), 0..30)) {
        ANSWERS.of_any_lines_are_in_brackets(&picks);
    }
}
