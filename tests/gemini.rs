//! Gemini's half towards AI Core: requests as they are written down, replies as they are understood, and the laws that hold
//! for any bytes. The shapes are those of the dossier, section 5c. `UPDATE=1` writes the golden files anew.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{TestRng, TestRunner};
use sap_ai_core_llm_proxy::chat::{
    Block, Brackets, Effort, Event, Format, MediaKind, Open, Request, Role, Seal, Source, Thinking,
    Tool, ToolChoice, Turn, fold,
};
use sap_ai_core_llm_proxy::dialect::gemini::Gemini;
use sap_ai_core_llm_proxy::dialect::{Target, UpstreamDialect};
use sap_ai_core_llm_proxy::families;
use sap_ai_core_llm_proxy::sse::Frames;

/// A budget for thinking, and levels with and without the lowest.
const MODELS: [&str; 3] = ["gemini-2.5-pro", "gemini-3.5-flash", "gemini-3.8-flash"];

// ── replies ──────────────────────────────────────────────────────────────────────────────────────

#[test]
fn whole_replies() {
    for (path, body) in cases("json") {
        check(&path.with_extension("json.events"), &shown(&whole(&body)));
    }
}

#[test]
fn streams_cut_anywhere() {
    for (path, bytes) in cases("sse") {
        let expected = stream([&*bytes]);
        check(&path.with_extension("sse.events"), &shown(&expected));
        for cut in 0..bytes.len() {
            let (before, after) = bytes.split_at(cut);
            assert_eq!(stream([before, after]), expected, "{path:?} at {cut}");
        }
        assert_eq!(stream(bytes.chunks(1)), expected, "{path:?} byte by byte");
    }
}

#[test]
fn stream_and_whole_are_the_same_reply() {
    let mut pairs = 0;
    for (path, bytes) in cases("sse") {
        if let Ok(body) = fs::read(path.with_extension("json")) {
            pairs += 1;
            assert_eq!(fold(stream([&*bytes])), fold(whole(&body)), "{path:?}");
        }
    }
    assert!(pairs >= 4, "{pairs} cases in both forms");
}

#[test]
fn what_broke_off_is_never_complete() {
    for (path, bytes) in cases("sse") {
        let Some(Event::Stop(_)) = stream([&*bytes]).pop() else { continue };
        let finish = b"\"finishReason\"";
        let known = bytes.windows(finish.len()).position(|w| w == finish);
        for cut in 0..known.unwrap_or_else(|| bytes.trim_ascii_end().len()) {
            let last = stream([&bytes[..cut]]).pop();
            assert!(matches!(last, Some(Event::Failed(_))), "{path:?} until {cut}: {last:?}");
        }
    }
}

#[test]
fn a_frame_is_told_before_the_next_one_comes() {
    let mut decoder = Gemini.stream_decoder();
    let mut brackets = Brackets::new("s");
    let mut frames = Frames::default();
    frames.push(b"data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"Ro\"}]}}]}\n\n");
    decoder.frame(&frames.next_frame().unwrap(), &mut brackets);
    let told: Vec<Event> = brackets.drain().collect();
    let delta = Event::Delta("Ro".into());
    assert_eq!(told, [Event::Start { id: None }, Event::Open(Open::Text), delta]);
}

#[test]
fn any_bytes_give_events_in_brackets() {
    let samples: Vec<Vec<u8>> = ["json", "sse"].into_iter().flat_map(cases).map(|c| c.1).collect();
    // Pieces of samples in any order, with anything between them.
    let piece = (select(samples), any::<Index>(), any::<Index>(), vec(any::<u8>(), 0..3));
    let mixed = vec(piece, 0..6).prop_map(|pieces| {
        let cut = |(sample, a, b, noise): (Vec<u8>, Index, Index, Vec<u8>)| {
            let (a, b) = (a.index(sample.len() + 1), b.index(sample.len() + 1));
            [&sample[a.min(b)..a.max(b)], &noise].concat()
        };
        pieces.into_iter().flat_map(cut).collect::<Vec<u8>>()
    });
    let inputs = prop_oneof![mixed, vec(any::<u8>(), 0..200)];
    let config =
        ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() };
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    let result = TestRunner::new_with_rng(config, rng).run(&inputs, |bytes| {
        let events = stream([&*bytes]);
        prop_assert!(is_bracketed(&events), "{events:?}");
        prop_assert_eq!(&events, &stream(bytes.chunks(7)));
        let events = whole(&bytes);
        prop_assert!(is_bracketed(&events), "{events:?}");
        Ok(())
    });
    result.unwrap_or_else(|e| panic!("{e}"));
}

/// `Start · (Open · Delta* · Close)* · Usage? · (Stop | Failed)`.
fn is_bracketed(events: &[Event]) -> bool {
    let mut is_open = false;
    let Some((Event::Start { .. }, rest)) = events.split_first() else { return false };
    let Some((Event::Stop(_) | Event::Failed(_), rest)) = rest.split_last() else { return false };
    let rest = match rest {
        [rest @ .., Event::Usage(_)] => rest,
        rest => rest,
    };
    let fits = rest.iter().all(|event| match event {
        Event::Open(_) => !std::mem::replace(&mut is_open, true),
        Event::Close => std::mem::replace(&mut is_open, false),
        Event::Delta(_) | Event::Seal(_) => is_open,
        _ => false,
    });
    fits && !is_open
}

fn whole(body: &[u8]) -> Vec<Event> {
    let mut brackets = Brackets::new("s");
    Gemini.decode(body, &mut brackets);
    brackets.drain().collect()
}

fn stream<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
    let mut decoder = Gemini.stream_decoder();
    let mut brackets = Brackets::new("s");
    let mut frames = Frames::default();
    for chunk in chunks {
        frames.push(chunk);
        while let Some(frame) = frames.next_frame() {
            decoder.frame(&frame, &mut brackets);
        }
    }
    frames.finish();
    while let Some(frame) = frames.next_frame() {
        decoder.frame(&frame, &mut brackets);
    }
    decoder.finish(&mut brackets);
    brackets.drain().collect()
}

fn shown(events: &[Event]) -> String {
    events.iter().map(|event| format!("{event:?}\n")).collect()
}

// ── requests ─────────────────────────────────────────────────────────────────────────────────────

#[test]
fn requests_are_written_down() {
    for (case, request) in requests() {
        let sent = MODELS.map(|model| format!("# {model}\n{}", sent(request.clone(), model)));
        check(&folder().join(format!("request_{case}.out")), &sent.concat());
    }
}

#[test]
fn a_url_is_refused_with_its_path() {
    let mut request = asks(vec![image("messages[0].content[1]")]);
    let Block::Media { source, .. } = &mut request.turns[0].blocks[0] else { unreachable!() };
    *source = Source::Url("https://example.com/a.png".into());
    let target = Target { model: MODELS[0], is_stream: false };
    let error = Gemini.encode(&request, &target).unwrap_err();
    assert_eq!((error.status(), error.param()), (400, Some("messages[0].content[1]")));
}

/// What AI Core gets, and what it does not.
fn sent(mut request: Request, model: &str) -> String {
    let service = families::of_model(model).service.as_ref().unwrap();
    let target = Target { model, is_stream: true };
    let (body, _) = service.grammar.unwrap().body(&mut request, &target, false).unwrap();
    serde_json::from_slice::<serde_json::Value>(&body).unwrap();
    let mut text = String::from_utf8(body).unwrap() + "\n";
    if !request.dropped.is_empty() {
        text += &format!("dropped: {}\n", request.dropped.join(", "));
    }
    text
}

fn requests() -> Vec<(&'static str, Request)> {
    vec![
        ("plain", asks(vec![Block::text("hi")])),
        ("parameters", parameters()),
        ("tools", tools()),
        ("results", results()),
        ("media", asks(vec![Block::text("What is this?"), image("messages[0].content[1]")])),
        ("schema", schema()),
        ("schema_and_tools", schema_and_tools()),
        ("json", Request { format: Format::Json, ..asks(vec![Block::text("hi")]) }),
        ("thinking", thinking(Thinking::Effort(Effort::Minimal))),
        ("thinking_budget", thinking(Thinking::Budget(9_000))),
        ("thinking_off", thinking(Thinking::Off)),
        ("thinking_adaptive", thinking(Thinking::Adaptive)),
        ("reasoning_only", reasoning_only()),
    ]
}

fn asks(blocks: Vec<Block>) -> Request {
    Request { turns: vec![Turn { role: Role::User, blocks }], ..Request::default() }
}

fn thinking(thinking: Thinking) -> Request {
    Request { thinking: Some(thinking), ..asks(vec![Block::text("hi")]) }
}

fn parameters() -> Request {
    Request {
        system: vec![Block::text("Be brief."), Block::text("Be \"kind\".\n")],
        output_max: Some(100_000),
        temperature: Some(0.25),
        top_p: Some(0.5),
        stop: ["a", "b", "c", "d", "e", "f"].map(String::from).into(),
        seed: Some(42),
        frequency_penalty: Some(0.5),
        presence_penalty: Some(0.0),
        is_single_call: true,
        ..asks(vec![Block::text("hi")])
    }
}

fn tools() -> Request {
    let tool = |name: &str, schema: Option<&str>| Tool {
        name: name.into(),
        description: schema.map(|_| "Tells the weather.".into()),
        schema: schema.map(String::from),
        cache: None,
        is_strict: false,
    };
    // As the client wrote it.
    let schema = r#"{ "type": "object", "properties": {"days": {"const": 1.10}}, "$schema": "x" }"#;
    Request {
        tools: vec![tool("weather/of", Some(schema)), tool("clock", None)],
        tool_choice: Some(ToolChoice::Named("weather/of".into())),
        is_single_call: true,
        ..asks(vec![Block::text("The weather?")])
    }
}

fn results() -> Request {
    let call = |id: &str, arguments: &str, signature: Option<&str>| Block::ToolCall {
        id: id.into(),
        name: "weather".into(),
        arguments: arguments.into(),
        seal: signature.map(|s| Seal::Gemini(s.into())),
        cache: None,
    };
    let result = |id: &str, texts: &[&str], is_error| Block::ToolResult {
        id: id.into(),
        name: "weather".into(),
        content: texts.iter().map(|t| Block::text(*t)).collect(),
        is_error,
        cache: None,
    };
    let with_image = Block::ToolResult {
        id: "e".into(),
        name: "weather".into(),
        content: vec![image("messages[6].content[0]")],
        is_error: false,
        cache: None,
    };
    let turn = |role, blocks| Turn { role, blocks };
    let turns = vec![
        turn(Role::User, vec![Block::text("The weather?")]),
        turn(
            Role::Assistant,
            vec![
                call("a", r#"{"b": 1.10, "a": 12345678901234567890}"#, Some("U2lnbmVk")),
                call("b", "", None),
            ],
        ),
        turn(
            Role::User,
            vec![result("a", &[r#" {"sun": 1.10} "#], false), result("b", &["rain"], false)],
        ),
        turn(
            Role::Assistant,
            vec![
                Block::text("And"),
                call("c", "{}", None),
                call("d", "[1]", None),
                call("e", "{}", None),
            ],
        ),
        turn(
            Role::User,
            vec![
                result("c", &["no such", "city"], true),
                result("d", &["{1}"], false),
                with_image,
                Block::text("Well?"),
            ],
        ),
    ];
    let thought = Block::Reasoning { text: "hm".into(), seal: Some(Seal::Gemini("x".into())) };
    let mut request = Request { turns, tool_choice: Some(ToolChoice::None), ..tools() };
    request.turns[1].blocks.insert(0, thought);
    request
}

fn reasoning_only() -> Request {
    let thought = Block::Reasoning { text: "hm".into(), seal: Some(Seal::Gemini("x".into())) };
    let turn = |role, block| Turn { role, blocks: vec![block] };
    let turns = vec![
        turn(Role::User, Block::text("hi")),
        turn(Role::Assistant, thought),
        turn(Role::User, Block::text("well?")),
    ];
    Request { turns, ..Request::default() }
}

fn image(path: &str) -> Block {
    Block::Media {
        kind: MediaKind::Image,
        source: Source::Base64 { media_type: "image/png".into(), data: "iVBORw0KGgo=".into() },
        name: None,
        cache: None,
        path: path.into(),
    }
}

fn schema() -> Request {
    let schema = r#"{"type": "object", "properties": {"a": {"enum": [1.10]}}}"#.to_owned();
    let format =
        Format::Schema { name: "n".into(), description: None, schema, is_strict: Some(true) };
    Request { format, ..asks(vec![Block::text("hi")]) }
}

fn schema_and_tools() -> Request {
    let tools = Request { tool_choice: None, is_single_call: false, ..tools() };
    Request { format: schema().format, ..tools }
}

// ── files ────────────────────────────────────────────────────────────────────────────────────────

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/upstream/gemini")
}

/// The answers of this kind.
fn cases(extension: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let is_case = |p: &PathBuf| p.extension().is_some_and(|e| e == extension);
    let mut paths: Vec<PathBuf> = paths.filter(is_case).collect();
    paths.sort();
    assert!(paths.len() > 5);
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[track_caller]
fn check(golden: &Path, found: &str) {
    if std::env::var_os("UPDATE").is_some() {
        return fs::write(golden, found).unwrap();
    }
    let expected = fs::read_to_string(golden).unwrap_or_else(|e| panic!("{golden:?}: {e}"));
    assert_eq!(expected, found, "{golden:?}");
}
