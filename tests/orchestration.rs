//! OpenAI's grammar towards AI Core, bare and within the orchestration service: what requests become, and what is read of
//! replies. `UPDATE=1` writes the golden files anew.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::{Index, select};
use sap_ai_core_llm_proxy::chat::{
    Block, Brackets, CachePoint, Effort, Event, Format, MediaKind, Request, Role, Seal, Source,
    Thinking, Tool, ToolChoice, Turn, fold,
};
use sap_ai_core_llm_proxy::dialect::openai_chat::Orchestration;
use sap_ai_core_llm_proxy::dialect::openai_chat::upstream::decode;
use sap_ai_core_llm_proxy::dialect::{StreamDecoder, Target, UpstreamDialect};
use sap_ai_core_llm_proxy::error::Error;
use sap_ai_core_llm_proxy::sse::Frames;

/// How a folder's replies are read.
struct Decoding {
    folder: &'static str,
    whole: fn(&[u8], &mut Brackets),
    stream: fn() -> Box<dyn StreamDecoder>,
}

const DECODINGS: [Decoding; 2] = [
    Decoding {
        folder: "orchestration",
        whole: |body, out| Orchestration.decode(body, out),
        stream: || Orchestration.stream_decoder(),
    },
    Decoding {
        folder: "openai_chat",
        whole: |body, out| decode::whole(body, decode::bare, out),
        stream: || Box::new(decode::Stream::new(decode::bare)),
    },
];

// ── replies ──────────────────────────────────────────────────────────────────────────────────────

#[test]
fn streams_are_read_however_they_are_cut() {
    for decoding in &DECODINGS {
        for (case, bytes) in cases(decoding.folder, "sse") {
            let events = stream_events(decoding, [&*bytes]);
            assert_law(&events);
            check(&case.with_extension("sse.events"), shown(&events).as_bytes());
            assert_eq!(stream_events(decoding, bytes.chunks(1)), events, "{case:?} by bytes");
            for at in 0..bytes.len() {
                let cut = stream_events(decoding, [&bytes[..at], &bytes[at..]]);
                assert_eq!(cut, events, "{case:?} cut at {at}");
            }
        }
    }
}

#[test]
fn whole_replies_are_read_and_say_what_their_streams_say() {
    let mut pairs = 0;
    for decoding in &DECODINGS {
        for (case, bytes) in cases(decoding.folder, "json") {
            let events = whole_events(decoding, &bytes);
            assert_law(&events);
            check(&case.with_extension("json.events"), shown(&events).as_bytes());
            if let Ok(stream) = fs::read(case.with_extension("sse")) {
                let streamed = stream_events(decoding, [&*stream]);
                assert_eq!(fold(streamed), fold(events), "{case:?}");
                pairs += 1;
            }
        }
    }
    assert!(pairs > 5);
}

#[test]
fn any_bytes_are_read_in_brackets() {
    let parts = vec![
        "data: ",
        "\n\n",
        "\n",
        "[DONE]",
        "{\"final_result\":",
        "{\"choices\":[{\"delta\":{",
        "\"content\":\"a\"",
        "\"tool_calls\":[{\"index\":0,\"id\":\"i\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]",
        "\"tool_calls\":[{\"function\":{\"arguments\":{}}}]",
        "\"reasoning_content\":[{\"content\":\"t\",\"signature\":\"s\"}]",
        "\"refusal\":\"no\"",
        ",",
        "},\"finish_reason\":\"stop\"}]}",
        "}}]}",
        "}",
        "{\"error\":{\"code\":429}}",
        "{\"code\":400}",
        "\"usage\":{\"prompt_tokens\":18446744073709551615}",
        "\u{fe}é",
    ];
    let text = prop::collection::vec(select(parts), 0..14).prop_map(|p| p.concat().into_bytes());
    let bytes = prop_oneof![text, prop::collection::vec(any::<u8>(), 0..60)];
    let config =
        ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(bytes in bytes, cut in any::<Index>())| {
        for decoding in &DECODINGS {
            assert_law(&whole_events(decoding, &bytes));
            let events = stream_events(decoding, [&*bytes]);
            assert_law(&events);
            let at = cut.index(bytes.len() + 1);
            prop_assert_eq!(stream_events(decoding, [&bytes[..at], &bytes[at..]]), events);
        }
    });
}

fn whole_events(decoding: &Decoding, body: &[u8]) -> Vec<Event> {
    let mut out = Brackets::new("seed");
    (decoding.whole)(body, &mut out);
    out.drain().collect()
}

fn stream_events<'a>(
    decoding: &Decoding,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> Vec<Event> {
    let mut frames = Frames::default();
    let mut out = Brackets::new("seed");
    let mut decoder = (decoding.stream)();
    for chunk in chunks {
        frames.push(chunk);
        while let Some(frame) = frames.next_frame() {
            decoder.frame(&frame, &mut out);
        }
    }
    frames.finish();
    while let Some(frame) = frames.next_frame() {
        decoder.frame(&frame, &mut out);
    }
    decoder.finish(&mut out);
    out.drain().collect()
}

/// `Start · (Open · Delta* · Close)* · Usage? · (Stop | Failed)`.
fn assert_law(events: &[Event]) {
    let (mut is_open, mut has_usage) = (false, false);
    for (at, event) in events.iter().enumerate() {
        let is_last = at + 1 == events.len();
        let fits = match event {
            Event::Start { .. } => at == 0,
            Event::Open(_) => !std::mem::replace(&mut is_open, true) && !has_usage,
            Event::Delta(_) | Event::Seal(_) => is_open,
            Event::Close => std::mem::replace(&mut is_open, false),
            Event::Usage(_) => !is_open && !std::mem::replace(&mut has_usage, true),
            Event::Stop(_) | Event::Failed(_) => !is_open && is_last && at > 0,
        };
        assert!(fits, "{at}: {events:#?}");
    }
    assert!(matches!(events.last(), Some(Event::Stop(_) | Event::Failed(_))), "{events:#?}");
}

fn shown(events: &[Event]) -> String {
    events.iter().map(|event| format!("{event:?}\n")).collect()
}

// ── requests ─────────────────────────────────────────────────────────────────────────────────────

#[test]
fn requests_are_written() {
    let cases: [(&str, &str, bool, Request); 6] = [
        ("plain", "gpt-4o", false, conversation()),
        ("result_last", "anthropic--claude-4.5-sonnet", true, with_result_last()),
        ("parts_last", "gemini-2.5-flash", false, with_parts_last()),
        ("all_of_claude", "anthropic--claude-4.6-opus", true, with_all(true)),
        ("all_of_openai", "gpt-5", true, with_all(false)),
        ("schema", "mistralai--mistral-small", false, with_schema()),
    ];
    for (case, model, is_stream, mut request) in cases {
        Orchestration.fit().apply(&mut request);
        let mut body = Orchestration.encode(&request, &Target { model, is_stream }).unwrap();
        body.push(b'\n');
        let golden = folder("orchestration/request").join(case).with_extension("out");
        check(&golden, &body);
    }
}

#[test]
fn what_cannot_be_carried_is_refused() {
    let media = |kind, source| Block::Media {
        kind,
        source,
        name: None,
        cache: None,
        path: "messages[0].content[0]".into(),
    };
    let url = || Source::Url("https://example.com/a.pdf".into());
    for block in [media(MediaKind::File, url()), media(MediaKind::Audio, url())] {
        let request = user(vec![block]);
        let target = Target { model: "gpt-4o", is_stream: false };
        let error = Orchestration.encode(&request, &target).unwrap_err();
        assert!(matches!(error, Error::Refused { ref path, .. } if path.starts_with("messages")));
    }
}

fn user(blocks: Vec<Block>) -> Request {
    Request { turns: vec![Turn { role: Role::User, blocks }], ..Request::default() }
}

fn conversation() -> Request {
    let turn = |role, text: &str| Turn { role, blocks: vec![Block::text(text)] };
    Request {
        system: vec![Block::text("Write {{ jinja }}."), Block::text("Be terse.")],
        turns: vec![
            turn(Role::User, "What is {{?current}}?"),
            turn(Role::Assistant, "A {% placeholder %}."),
            turn(Role::User, "And {{ this }}? {# no #}"),
        ],
        output_max: Some(100),
        temperature: Some(0.25),
        stop: vec!["END".into()],
        seed: Some(7),
        ..Request::default()
    }
}

fn call(id: &str) -> Block {
    let (name, arguments) = ("berths".into(), r#"{"pier": {"n": 1.10}}"#.into());
    Block::ToolCall { id: id.into(), name, arguments, seal: None, cache: None }
}

fn result(id: &str, content: Vec<Block>, is_error: bool) -> Block {
    Block::ToolResult { id: id.into(), name: "berths".into(), content, is_error, cache: None }
}

fn with_result_last() -> Request {
    let mut request = user(vec![Block::text("Which berths?")]);
    let results = vec![
        result("call_1", vec![Block::text("no pier"), Block::text("at all")], true),
        result("call_2", vec![], false),
    ];
    request
        .turns
        .push(Turn { role: Role::Assistant, blocks: vec![call("call_1"), call("call_2")] });
    request.turns.push(Turn { role: Role::User, blocks: results });
    request
}

fn with_parts_last() -> Request {
    let media = |kind, source, name: Option<&str>| Block::Media {
        kind,
        source,
        name: name.map(str::to_owned),
        cache: None,
        path: String::new(),
    };
    let base64 = |media_type: &str| Source::Base64 {
        media_type: media_type.into(),
        data: "aGFyYm91cg==".into(),
    };
    user(vec![
        Block::text("Compare {{ these }}:"),
        media(MediaKind::Image, base64("image/png"), None),
        media(MediaKind::Image, Source::Url("https://example.com/{{x}}.png".into()), None),
        media(MediaKind::File, base64("application/pdf"), None),
        media(MediaKind::File, base64("text/plain"), Some("{{a}}.txt")),
        Block::text("Which is {% newer %}?"),
    ])
}

fn with_all(is_claude: bool) -> Request {
    let cached = |text: &str, point| Block::Text { text: text.into(), cache: Some(point) };
    let seal = Some(Seal::Claude("c2lnbmVk".into()));
    let mut request = with_result_last();
    request.system = vec![Block::text("Be terse."), cached("Long.", CachePoint::OneHour)];
    request.turns[0].blocks = vec![cached("Which berths?", CachePoint::FiveMinutes)];
    request.turns[1].blocks.insert(0, Block::Reasoning { text: "Which?".into(), seal });
    request.tools = vec![
        Tool {
            name: "harbour.berths".into(),
            description: Some("Free berths".into()),
            schema: Some(r#"{"type":"object","properties":{"pier":{"type":"number"}}}"#.into()),
            cache: Some(CachePoint::FiveMinutes),
            is_strict: false,
        },
        Tool {
            name: "berths".into(),
            description: None,
            schema: None,
            cache: None,
            is_strict: false,
        },
    ];
    request.tool_choice = Some(match is_claude {
        true => ToolChoice::Auto,
        false => ToolChoice::Named("harbour.berths".into()),
    });
    request.is_single_call = true;
    request.output_max = Some(9000);
    request.thinking = Some(Thinking::Effort(Effort::Medium));
    request
}

fn with_schema() -> Request {
    let schema = r#"{"type":"object","properties":{"b":{"type":"string"},"a":{"type":"null"}}}"#;
    Request {
        format: Format::Schema {
            name: "answer".into(),
            description: None,
            schema: schema.into(),
            is_strict: Some(true),
        },
        ..user(vec![Block::text("Say it."), Block::text("Twice.")])
    }
}

// ── files ────────────────────────────────────────────────────────────────────────────────────────

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/upstream").join(name)
}

fn cases(name: &str, extension: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        paths.filter(|p| p.extension().is_some_and(|e| e == extension)).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no case in {name}");
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn check(golden: &Path, found: &[u8]) {
    if std::env::var_os("UPDATE").is_some() {
        return fs::write(golden, found).unwrap();
    }
    let expected = fs::read(golden).unwrap_or_else(|e| panic!("{}: {e}", golden.display()));
    if expected != found {
        let (expected, found) =
            (String::from_utf8_lossy(&expected), String::from_utf8_lossy(found));
        panic!("{}\nexpected:\n{expected}\nfound:\n{found}", golden.display());
    }
}
