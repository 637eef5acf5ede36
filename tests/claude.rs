//! Claude by Bedrock's invoke: what is said of its replies, and what is written for it.

#[path = "support/upstream.rs"]
mod upstream;

use proptest::prelude::*;
use sap_ai_core_llm_proxy::chat::{
    Block, CachePoint, Effort, MediaKind, Request, Role, Seal, Source, Thinking, Tool, ToolChoice,
    Turn,
};
use sap_ai_core_llm_proxy::dialect::anthropic::Invoke;
use upstream::{Answers, adapted, hi};

const ANSWERS: Answers = Answers { dialect: &Invoke, folder: "claude" };

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
    let expected = r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":32000,"system":[{"type":"text","text":"Be brief."}],"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}"#;
    assert_eq!(adapted("anthropic--claude-4.5-sonnet", true, &mut request).unwrap(), expected);
}

#[test]
fn a_request_with_everything() {
    let (arguments, seal) = (r#"{"at": 1.10}"#.into(), None);
    let (id, cache) = ("toolu_1".to_owned(), None);
    let call =
        Block::ToolCall { id: id.clone(), name: "trains".into(), arguments, seal, cache: None };
    let result = Block::ToolResult {
        id,
        name: String::new(),
        content: vec![Block::text("none"), media(MediaKind::Image, "image/png", "AA==")],
        is_error: true,
        cache: Some(CachePoint::OneHour),
    };
    let thought = |text: &str, seal| Block::Reasoning { text: text.into(), seal: Some(seal) };
    let turn = |role, blocks| Turn { role, blocks };
    let mut named = media(MediaKind::File, "application/pdf", "JVBERi0=");
    if let Block::Media { name, .. } = &mut named {
        *name = Some("plan.pdf".into());
    }
    let mut request = Request {
        turns: vec![
            turn(Role::User, vec![named, media(MediaKind::File, "text/csv", "YSxi")]),
            turn(
                Role::Assistant,
                vec![
                    thought("hm", Seal::Claude("sig".into())),
                    thought("", Seal::ClaudeRedacted("data".into())),
                    call,
                ],
            ),
            turn(Role::User, vec![result]),
        ],
        tools: vec![Tool {
            name: "trains".into(),
            description: Some("Finds trains.".into()),
            schema: Some(r#"{"type":"object","properties":{"at":{"maximum":1.10}}}"#.into()),
            cache,
            is_strict: false,
        }],
        is_single_call: true,
        output_max: Some(9_000),
        stop: vec!["END".into()],
        thinking: Some(Thinking::Effort(Effort::Low)),
        top_p: Some(0.95),
        ..Request::default()
    };
    let expected = concat!(
        r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":9000,"messages":["#,
        r#"{"role":"user","content":["#,
        r#"{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0="},"title":"plan.pdf"},"#,
        r#"{"type":"document","source":{"type":"text","media_type":"text/plain","data":"a,b"}}]},"#,
        r#"{"role":"assistant","content":["#,
        r#"{"type":"thinking","thinking":"hm","signature":"sig"},"#,
        r#"{"type":"redacted_thinking","data":"data"},"#,
        r#"{"type":"tool_use","id":"toolu_1","name":"trains","input":{"at": 1.10}}]},"#,
        r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":["#,
        r#"{"type":"text","text":"none"},"#,
        r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA=="}}],"#,
        r#""is_error":true,"cache_control":{"type":"ephemeral","ttl":"1h"}}]}],"#,
        r#""tools":[{"name":"trains","description":"Finds trains.","input_schema":{"type":"object","properties":{"at":{"maximum":1.10}}}}],"#,
        r#""tool_choice":{"type":"auto","disable_parallel_tool_use":true},"#,
        r#""top_p":0.95,"stop_sequences":["END"],"#,
        r#""thinking":{"type":"enabled","budget_tokens":2048}}"#,
    );
    assert_eq!(adapted("claude-sonnet-4-5", true, &mut request).unwrap(), expected);
}

#[test]
fn parts_of_requests() {
    let tool = |schema: Option<&str>| {
        let schema = schema.map(str::to_owned);
        vec![Tool { name: "f".into(), description: None, schema, cache: None, is_strict: false }]
    };
    let choice = |choice, is_single_call| Request {
        tools: tool(None),
        tool_choice: choice,
        is_single_call,
        ..hi()
    };
    let thinking = |thinking| Request { thinking: Some(thinking), ..hi() };
    let svg = |data: &str| {
        let blocks = vec![media(MediaKind::Image, "image/svg+xml", data)];
        Request { turns: vec![Turn { role: Role::User, blocks }], ..hi() }
    };
    let table = [
        (
            Request { tools: tool(None), ..hi() },
            r#""input_schema":{"type":"object","properties":{}}"#,
        ),
        (Request { tools: tool(Some(" {} ")), ..hi() }, r#"{"type":"object","properties":{}}"#),
        (
            Request { tools: tool(Some(r#"{"$schema":"x","properties":{}}"#)), ..hi() },
            r#""input_schema":{"type":"object","$schema":"x","properties":{}}"#,
        ),
        (choice(Some(ToolChoice::Auto), false), r#""tool_choice":{"type":"auto"}"#),
        (choice(Some(ToolChoice::None), true), r#""tool_choice":{"type":"none"}"#),
        (
            choice(Some(ToolChoice::Any), true),
            r#""tool_choice":{"type":"any","disable_parallel_tool_use":true}"#,
        ),
        (
            choice(Some(ToolChoice::Named("f".into())), false),
            r#""tool_choice":{"type":"tool","name":"f"}"#,
        ),
        (thinking(Thinking::Adaptive), r#""thinking":{"type":"adaptive"}}"#),
        (
            thinking(Thinking::Effort(Effort::Highest)),
            r#""thinking":{"type":"adaptive"},"output_config":{"effort":"xhigh"}}"#,
        ),
        (
            thinking(Thinking::Effort(Effort::Max)),
            r#""thinking":{"type":"adaptive"},"output_config":{"effort":"max"}}"#,
        ),
        (
            Request { tools: tool(Some(r#"{"anyOf":[{"properties":{"a":{"x" : 1}}}]}"#)), ..hi() },
            r#""input_schema":{"type":"object","properties":{"a":{"x" : 1}}}"#,
        ),
        (
            svg("PHN2Zy8+"),
            r#"{"type":"document","source":{"type":"text","media_type":"text/plain","data":"<svg/>"}}"#,
        ),
        (
            thinking(Thinking::Effort(Effort::Minimal)),
            r#""thinking":{"type":"adaptive"},"output_config":{"effort":"low"}}"#,
        ),
        (thinking(Thinking::Off), r#""text":"hi"}]}]}"#),
    ];
    let mut off = thinking(Thinking::Off);
    let body = adapted("anthropic--claude-5-sonnet", true, &mut off).unwrap();
    assert!(body.contains(r#""thinking":{"type":"disabled"}"#), "{body}");
    for (mut request, expected) in table {
        let body = adapted("claude-opus-4-8", true, &mut request).unwrap();
        assert!(body.contains(expected), "{expected}\n{body}");
        assert!(!choice_without_tools(&body), "{body}");
    }
}

#[test]
fn what_cannot_be_carried_is_refused() {
    let says =
        |block| Request { turns: vec![Turn { role: Role::User, blocks: vec![block] }], ..hi() };
    let mut url = media(MediaKind::Image, "", "");
    if let Block::Media { source, .. } = &mut url {
        *source = Source::Url("https://example.org/a.png".into());
    }
    let tool = |schema: &str| {
        let schema = Some(schema.to_owned());
        let tools = vec![Tool {
            name: "f".into(),
            description: None,
            schema,
            cache: None,
            is_strict: false,
        }];
        Request { tools, ..hi() }
    };
    let table = [
        (says(url), "messages[0].content[0]", "not fetched"),
        (says(media(MediaKind::Audio, "audio/wav", "AA==")), "messages[0].content[0]", "audio/wav"),
        (says(media(MediaKind::File, "application/zip", "AA==")), "messages[0].content[0]", "zip"),
        (says(media(MediaKind::File, "text/plain", "/w==")), "messages[0].content[0]", "UTF-8"),
        (says(media(MediaKind::Image, "image/bmp", "AA==")), "messages[0].content[0]", "bmp"),
        (tool(r#"{"type":"array"}"#), "tools", "`f`"),
        (tool(r#"{"properties":{"a b":{}}}"#), "tools", "`f`"),
        (tool("[]"), "tools", "`f`"),
        (tool("{1}"), "tools", "`f`"),
    ];
    for (mut request, path, word) in table {
        let error = adapted("claude-opus-4-8", true, &mut request).unwrap_err();
        assert_eq!((error.status(), error.param()), (400, Some(path)));
        assert!(error.to_string().contains(word), "{error}");
    }
}

fn choice_without_tools(body: &str) -> bool {
    body.contains("tool_choice") && !body.contains(r#""tools""#)
}

fn media(kind: MediaKind, media_type: &str, data: &str) -> Block {
    let source = Source::Base64 { media_type: media_type.into(), data: data.into() };
    let path = "messages[0].content[0]".into();
    Block::Media { kind, source, name: None, cache: None, path }
}

proptest! {
    #[test]
    fn any_bytes_are_in_brackets(bytes: Vec<u8>, cut in 0..99usize) {
        ANSWERS.are_in_brackets(&bytes, cut);
    }

    #[test]
    fn any_frames_are_in_brackets(picks in prop::collection::vec((any::<u16>(), 0..300usize), 0..30)) {
        ANSWERS.of_any_lines_are_in_brackets(&picks);
    }
}
