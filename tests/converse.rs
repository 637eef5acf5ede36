//! Bedrock's Converse, with Nova behind it: what is said of its replies, and what is written for it.

#[path = "support/upstream.rs"]
mod upstream;

use std::fmt::Write;
use std::fs;

use proptest::prelude::*;
use sap_ai_core_llm_proxy::chat::{
    Block, CachePoint, Effort, Format, MediaKind, Request, Role, Source, Thinking, Tool, ToolChoice,
};
use sap_ai_core_llm_proxy::dialect::converse::Converse;
use sap_ai_core_llm_proxy::dialect::converse::python::to_json;
use sap_ai_core_llm_proxy::error::Error;
use serde_json::{Value, json};
use upstream::{Answers, hi, turn};

const ANSWERS: Answers = Answers { dialect: &Converse, folder: "converse" };
const NOVA: &str = "amazon--nova-pro";

#[test]
fn replies_say_what_they_should() {
    ANSWERS.say_what_they_should();
}

#[test]
fn stream_and_whole_agree() {
    assert!(ANSWERS.agree() >= 4);
}

#[test]
fn however_it_is_written_it_says_the_same() {
    let events = |name: &str| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire/upstream/converse/");
        ANSWERS.streamed([&fs::read(format!("{folder}{name}")).unwrap()[..]])
    };
    let forms = ["text_json.sse", "text_crlf.sse", "text_no_prefix.txt", "text_one_newline.txt"];
    for name in forms {
        assert_eq!(events(name), events("text.sse"), "{name}");
    }
}

#[test]
fn a_plain_request() {
    let mut request = Request { system: vec![Block::text("Be brief.")], ..hi() };
    let expected = concat!(
        r#"{"system":[{"text":"Be brief."}],"messages":[{"role":"user","content":[{"text":"hi"}]}],"#,
        r#""inferenceConfig":{"maxTokens":10000}}"#,
    );
    assert_eq!(adapted(&mut request).unwrap(), expected);
    assert!(request.dropped.is_empty());
}

#[test]
fn a_request_with_everything() {
    let id = "tooluse_1".to_owned();
    let call = Block::ToolCall {
        id: id.clone(),
        name: "trains".into(),
        arguments: r#"{"at": 1.10}"#.into(),
        seal: None,
        cache: None,
    };
    let result = Block::ToolResult {
        id,
        name: "trains".into(),
        content: vec![Block::text("none"), media(MediaKind::Image, "image/png", None)],
        is_error: true,
        cache: Some(CachePoint::OneHour),
    };
    let thought = Block::Reasoning { text: "hm".into(), seal: None };
    let file = |media_type, name| media(MediaKind::File, media_type, Some(name));
    let mut system = Block::text("Be brief.");
    *system.cache().unwrap() = Some(CachePoint::FiveMinutes);
    let mut request = Request {
        system: vec![system],
        turns: vec![
            turn(
                Role::User,
                vec![
                    file("application/pdf", "a_plan,  (v1.2).pdf"),
                    file("text/csv", "a_plan, (v1.2).csv"),
                    file("text/plain", ".."),
                ],
            ),
            turn(Role::Assistant, vec![thought, call]),
            turn(Role::User, vec![result]),
        ],
        tools: vec![Tool {
            description: Some("Finds trains.".into()),
            schema: Some(r#"{"type":"object","properties":{"at":{"maximum":1.10}}}"#.into()),
            ..tool("trains")
        }],
        tool_choice: Some(ToolChoice::Auto),
        output_max: Some(9_000),
        temperature: Some(1.5),
        top_p: Some(0.9),
        stop: vec!["END".into()],
        ..Request::default()
    };
    let expected = concat!(
        r#"{"system":[{"text":"Be brief."},{"cachePoint":{"type":"default"}}],"messages":["#,
        r#"{"role":"user","content":["#,
        r#"{"document":{"format":"pdf","name":"a-plan- (v1-2)","source":{"bytes":"AA=="}}},"#,
        r#"{"document":{"format":"csv","name":"a-plan- (v1-2) (2)","source":{"bytes":"AA=="}}},"#,
        r#"{"document":{"format":"txt","name":"-","source":{"bytes":"AA=="}}},"#,
        r#"{"text":"See the attached document."}]},"#,
        r#"{"role":"assistant","content":["#,
        r#"{"toolUse":{"toolUseId":"tooluse_1","name":"trains","input":{"at": 1.10}}}]},"#,
        r#"{"role":"user","content":[{"toolResult":{"toolUseId":"tooluse_1","content":["#,
        r#"{"text":"none"},{"image":{"format":"png","source":{"bytes":"AA=="}}}],"status":"error"}},"#,
        r#"{"cachePoint":{"type":"default"}}]}],"#,
        r#""inferenceConfig":{"maxTokens":9000,"temperature":1.0,"topP":0.9,"stopSequences":["END"]},"#,
        r#""toolConfig":{"tools":[{"toolSpec":{"name":"trains","description":"Finds trains.","#,
        r#""inputSchema":{"json":{"properties":{"at":{"maximum":1.10}},"type":"object"}}}}],"#,
        r#""toolChoice":{"auto":{}}}}"#,
    );
    assert_eq!(adapted(&mut request).unwrap(), expected);
    assert!(request.dropped.is_empty(), "{:?}", request.dropped);
}

#[test]
fn choices_of_tools() {
    let chosen = |choice| Request { tools: vec![tool("f")], tool_choice: choice, ..hi() };
    let called = |tools, choice| {
        let (id, name, arguments) = ("c".to_owned(), "f".to_owned(), String::new());
        let call = Block::ToolCall { id, name, arguments, seal: None, cache: None };
        let turns =
            vec![turn(Role::User, vec![Block::text("hi")]), turn(Role::Assistant, vec![call])];
        Request { turns, tools, tool_choice: choice, ..Request::default() }
    };
    let table = [
        (chosen(None), json!(null)),
        (chosen(Some(ToolChoice::Auto)), json!({"auto": {}})),
        (chosen(Some(ToolChoice::Any)), json!({"any": {}})),
        (chosen(Some(ToolChoice::Named("f".into()))), json!({"tool": {"name": "f"}})),
        (called(vec![tool("f")], Some(ToolChoice::None)), json!(null)),
        (called(vec![], None), json!(null)),
    ];
    for (mut request, choice) in table {
        let body: Value = serde_json::from_str(&adapted(&mut request).unwrap()).unwrap();
        let spec = &body["toolConfig"]["tools"][0]["toolSpec"];
        assert_eq!(spec["name"], "f", "{body}");
        assert_eq!(spec["inputSchema"]["json"], json!({"type": "object", "properties": {}}));
        assert_eq!(body["toolConfig"]["toolChoice"], choice);
    }
    let body = adapted(&mut chosen(Some(ToolChoice::None))).unwrap();
    assert!(!body.contains("toolConfig"), "{body}");
}

#[test]
fn what_nova_has_no_word_for() {
    let schema = r#"{"type":"object","$schema":"x","oneOf":[],"additionalProperties":false,"properties":{"a":{"additionalProperties":false}}}"#;
    let marked = |cache| Tool { cache, ..tool("g") };
    let mut texts: Vec<Block> = (0..5).map(|n| Block::text(format!("{n}"))).collect();
    texts.iter_mut().for_each(|text| *text.cache().unwrap() = Some(CachePoint::OneHour));
    let mut request = Request {
        turns: vec![turn(Role::User, texts)],
        tools: vec![
            Tool { schema: Some(schema.into()), ..tool("f") },
            marked(Some(CachePoint::FiveMinutes)),
        ],
        is_single_call: true,
        thinking: Some(Thinking::Effort(Effort::High)),
        seed: Some(1),
        frequency_penalty: Some(0.1),
        presence_penalty: Some(0.1),
        stop: ["a", "b", "", "c", "d", "e"].map(str::to_owned).into(),
        output_max: Some(1_000_000),
        ..Request::default()
    };
    let body: Value = serde_json::from_str(&adapted(&mut request).unwrap()).unwrap();
    let inference = json!({"maxTokens": 10_000, "stopSequences": ["a", "b", "c", "d"]});
    assert_eq!(body["inferenceConfig"], inference);
    assert_eq!(
        body["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"],
        json!({"type": "object", "properties": {"a": {"additionalProperties": false}}})
    );
    assert_eq!(body["toolConfig"]["tools"].as_array().map(Vec::len), Some(2));
    assert_eq!(body.to_string().matches("cachePoint").count(), 4);
    assert_eq!(
        request.dropped,
        [
            "reasoning_effort",
            "seed",
            "frequency_penalty",
            "presence_penalty",
            "stop",
            "cache_control",
            "tools.parameters.oneOf",
        ]
    );
}

#[test]
fn an_answer_by_schema_is_a_call_that_was_not_asked_for() {
    let schema = r#"{"type":"array"}"#.to_owned();
    let (name, description) = ("n".into(), None);
    let format = Format::Schema { name, description, schema, is_strict: None };
    let mut request = Request { format, thinking: Some(Thinking::Off), ..hi() };
    let body = adapted(&mut request).unwrap();
    assert!(body.contains(r#""toolChoice":{"tool":{"name":"give_answer"}}"#), "{body}");
    assert!(request.dropped.is_empty(), "{:?}", request.dropped);
}

#[test]
fn what_cannot_be_carried_is_refused() {
    let says = |block| Request { turns: vec![turn(Role::User, vec![block])], ..hi() };
    let mut url = media(MediaKind::Image, "", None);
    if let Block::Media { source, .. } = &mut url {
        *source = Source::Url("https://example.org/a.png".into());
    }
    let schema = |schema: &str| {
        let tools = vec![Tool { schema: Some(schema.to_owned()), ..tool("f") }];
        Request { tools, ..hi() }
    };
    let path = "messages[0].content[0]";
    let table = [
        (says(url), path, "not fetched"),
        (says(media(MediaKind::Audio, "audio/wav", None)), path, "no audio"),
        (says(media(MediaKind::File, "application/zip", None)), path, "zip"),
        (says(media(MediaKind::Image, "image/tiff", None)), path, "tiff"),
        (schema(r#"{"type":"array"}"#), "tools", "`f`"),
        (schema("[]"), "tools", "`f`"),
        (schema("{1}"), "tools", "`f`"),
    ];
    for (mut request, path, word) in table {
        let error = adapted(&mut request).unwrap_err();
        assert_eq!((error.status(), error.param()), (400, Some(path)), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
}

fn adapted(request: &mut Request) -> Result<String, Error> {
    upstream::adapted(NOVA, true, request)
}

fn tool(name: &str) -> Tool {
    Tool { name: name.into(), description: None, schema: None, cache: None, is_strict: false }
}

fn media(kind: MediaKind, media_type: &str, name: Option<&str>) -> Block {
    let source = Source::Base64 { media_type: media_type.into(), data: "AA==".into() };
    let path = "messages[0].content[0]".into();
    Block::Media { kind, source, name: name.map(str::to_owned), cache: None, path }
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

    #[test]
    fn what_python_writes_is_read(value in values()) {
        let mut literal = String::new();
        write_python(&value, &mut literal);
        let json = to_json(&literal).map_err(|f| TestCaseError::fail(format!("{f}: {literal}")))?;
        prop_assert_eq!(&serde_json::from_str::<Value>(&json).unwrap(), &value, "{}", literal);
    }

    /// Bytes as they are in Python are base64 in JSON.
    #[test]
    fn any_bytes_of_python_are_read(bytes: Vec<u8>) {
        let json = to_json(&format!("b'{}'", bytes.escape_ascii())).unwrap();
        let expected = sap_ai_core_llm_proxy::media::base64(&bytes);
        prop_assert_eq!(json, format!("\"{expected}\""));
    }

    #[test]
    fn any_text_is_read_as_json_or_is_a_fault(text in "[\\[\\](){},:'\"\\\\bxuU0-9aNTrue .é-]{0,40}") {
        match to_json(&text) {
            Ok(json) => prop_assert!(serde_json::from_str::<Value>(&json).is_ok(), "{} {}", text, json),
            Err(fault) => prop_assert!(fault.at <= text.len()),
        }
    }
}

/// What a JSON value can be, with many texts in it that are hard to quote.
fn values() -> impl Strategy<Value = Value> {
    let hard = prop::collection::vec(
        prop::sample::select(vec![
            "'", "\"", "\\", "\n", "\r", "\t", "\u{0}", "\u{200b}", "🦉", "x", "None",
        ]),
        0..8,
    );
    let text = prop_oneof![any::<String>(), hard.prop_map(|parts| parts.concat())];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 8.0)),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((text.clone(), inner), 0..5)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// As `repr()` does.
fn write_python(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Number(number) => write!(out, "{number}").unwrap(),
        Value::String(text) => write_repr(text, out),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                write_python(item, out);
            }
            out.push(']');
        }
        Value::Object(pairs) => {
            out.push('{');
            for (i, (key, item)) in pairs.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                write_repr(key, out);
                out.push_str(": ");
                write_python(item, out);
            }
            out.push('}');
        }
    }
}

/// Of what is not ASCII, some is escaped, since Python escapes what cannot be printed.
fn write_repr(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        let code = u32::from(c);
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            c if !c.is_control() && code % 2 == 0 => out.push(c),
            _ if code <= 0xff => write!(out, "\\x{code:02x}").unwrap(),
            _ if code <= 0xffff => write!(out, "\\u{code:04x}").unwrap(),
            _ => write!(out, "\\U{code:08x}").unwrap(),
        }
    }
    out.push(quote);
}
