//! Claude by Bedrock's invoke: what is said of its replies, and what is written for it.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use sap_ai_core_llm_proxy::chat::{Block, Brackets, Event, Request, Role, Turn, fold};
use sap_ai_core_llm_proxy::dialect::anthropic::Invoke;
use sap_ai_core_llm_proxy::dialect::{Target, UpstreamDialect};
use sap_ai_core_llm_proxy::families::{self, Grammar};
use sap_ai_core_llm_proxy::sse::Frames;

#[test]
fn replies_say_what_they_should() {
    for (path, body) in cases("json") {
        check(&path, &whole(&body));
    }
    for (path, body) in cases("sse") {
        let events = streamed([&body[..]]);
        check(&path, &events);
        for cut in 0..body.len() {
            let (head, tail) = body.split_at(cut);
            assert_eq!(streamed([head, tail]), events, "{} cut at {cut}", path.display());
        }
        assert_eq!(streamed(body.chunks(1)), events, "{} byte by byte", path.display());
    }
}

#[test]
fn stream_and_whole_agree() {
    let mut pairs = 0;
    for (path, body) in cases("json") {
        let Ok(stream) = fs::read(path.with_extension("sse")) else { continue };
        assert_eq!(fold(streamed([&stream[..]])), fold(whole(&body)), "{}", path.display());
        pairs += 1;
    }
    assert!(pairs >= 2);
}

#[test]
fn a_plain_request() {
    let turns = vec![Turn { role: Role::User, blocks: vec![Block::text("Hi.")] }];
    let mut request =
        Request { system: vec![Block::text("Be brief.")], turns, ..Request::default() };
    let Some(service) = &families::of_model(MODEL).service else { panic!("not served") };
    let Grammar::Other { dialect, adapt } = service.grammar else { panic!("not Claude's") };
    dialect.fit().apply(&mut request);
    adapt(&mut request, MODEL).unwrap();
    let target = Target { model: MODEL, is_stream: true };
    let body = dialect.encode(&request, &target).unwrap();
    assert_eq!(
        String::from_utf8(body).unwrap(),
        r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":32000,"system":[{"type":"text","text":"Be brief."}],"messages":[{"role":"user","content":[{"type":"text","text":"Hi."}]}]}"#
    );
}

const MODEL: &str = "anthropic--claude-4.5-sonnet";

proptest! {
    #[test]
    fn any_bytes_are_in_brackets(bytes: Vec<u8>, cut in 0..99usize) {
        let (head, tail) = bytes.split_at(cut.min(bytes.len()));
        assert_brackets(&streamed([head, tail]));
        assert_brackets(&whole(&bytes));
    }

    /// Nearly right streams: lines of real ones, in any order, some of them cut.
    #[test]
    fn any_frames_are_in_brackets(picks in prop::collection::vec((any::<u16>(), 0..300usize), 0..30)) {
        let bodies: Vec<Vec<u8>> = cases("sse").into_iter().map(|(_, body)| body).collect();
        let lines: Vec<&[u8]> = bodies.iter().flat_map(|b| b.split(|b| *b == b'\n')).collect();
        let mut stream = vec![];
        for (line, length) in picks {
            let line = lines[line as usize % lines.len()];
            // Most are whole.
            let length = if length < 40 { length } else { line.len() };
            stream.extend_from_slice(&line[..length.min(line.len())]);
            stream.extend_from_slice(b"\n\n");
        }
        assert_brackets(&streamed([&stream[..]]));
        if let Some(json) = stream.strip_prefix(b"data: ") {
            assert_brackets(&whole(json));
        }
    }
}

/// `Start · (Open · Delta* · Close)* · Usage? · (Stop | Failed)`.
fn assert_brackets(events: &[Event]) {
    assert!(matches!(events[0], Event::Start { .. }), "{events:?}");
    let (last, between) = events[1..].split_last().unwrap();
    assert!(matches!(last, Event::Stop(_) | Event::Failed(_)), "{events:?}");
    let mut is_open = false;
    for (i, event) in between.iter().enumerate() {
        let expected = match event {
            Event::Open(_) => !is_open,
            Event::Delta(_) | Event::Seal(_) | Event::Close => is_open,
            Event::Usage(_) => !is_open && i + 1 == between.len(),
            _ => false,
        };
        assert!(expected, "{event:?} in {events:?}");
        is_open = matches!(event, Event::Open(_)) || (is_open && *event != Event::Close);
    }
    assert!(!is_open, "{events:?}");
}

fn whole(body: &[u8]) -> Vec<Event> {
    let mut out = Brackets::new("s");
    Invoke.decode(body, &mut out);
    out.drain().collect()
}

/// What is said of a stream.
fn streamed<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
    let mut frames = Frames::default();
    let mut out = Brackets::new("s");
    let mut decoder = Invoke.stream_decoder();
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

fn cases(extension: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/upstream/claude");
    let paths = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        paths.filter(|p| p.extension().is_some_and(|e| e == extension)).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no case in {}", folder.display());
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// The events of `case.sse` are those of `case.sse.events`.
fn check(case: &Path, found: &[Event]) {
    let golden = PathBuf::from(format!("{}.events", case.display()));
    let mut text = String::new();
    found.iter().for_each(|event| writeln!(text, "{event:?}").unwrap());
    if std::env::var_os("UPDATE").is_some() {
        return fs::write(golden, text).unwrap();
    }
    let expected =
        fs::read_to_string(&golden).unwrap_or_else(|e| panic!("{}: {e}", golden.display()));
    assert_eq!(expected, text, "{}", golden.display());
}
