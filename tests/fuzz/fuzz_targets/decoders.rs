//! Any bytes, into a decoder of the first byte's choice, in chunks of the second's: what it says is
//! in brackets, the same for every cut, and so is what the client is told where an answer in JSON
//! had to come as a call.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sap_ai_core_llm_proxy::chat::{Block, Brackets, Event, Format, Request, Role, Turn};
use sap_ai_core_llm_proxy::dialect::openai_responses::Tools;
use sap_ai_core_llm_proxy::dialect::{Passing, UpstreamDialect, anthropic, openai_responses};
use sap_ai_core_llm_proxy::families::TABLE;
use sap_ai_core_llm_proxy::sse::Frames;

fuzz_target!(|data: &[u8]| {
    let [which, size, bytes @ ..] = data else { return };
    let dialects: Vec<_> = TABLE.iter().filter_map(dialect).collect();
    let dialect = dialects[usize::from(*which) % dialects.len()];
    let all = streamed(dialect, [bytes]);
    assert_eq!(streamed(dialect, bytes.chunks(1 + usize::from(*size))), all);
    let mut out = Brackets::new("s");
    dialect.decode(bytes, &mut out);
    out.end();
    passed(bytes, &mut anthropic::PassStream::new("m"));
    passed(bytes, &mut openai_responses::PassStream::new("m", &Tools::default(), "0a1b2c3d"));
    for events in [all, out.drain().collect()] {
        in_brackets(&events);
        let turns = vec![Turn { role: Role::User, blocks: vec![Block::text("hi")] }];
        let mut request = Request { turns, format: Format::Json, ..Request::default() };
        let mut undo = dialect.fit().apply(&mut request);
        let mut told = vec![];
        events.into_iter().for_each(|event| undo.event(event, &mut told));
        in_brackets(&told);
    }
});

/// What passes is events with their names, each on its two lines.
fn passed(bytes: &[u8], stream: &mut dyn Passing) {
    let (mut frames, mut out) = (Frames::default(), vec![]);
    frames.push(bytes);
    frames.finish();
    while let Some(frame) = frames.next_frame() {
        stream.frame(&frame, &mut out);
    }
    stream.finish(&mut out);
    for frame in out.split(|b| *b == b'\n').collect::<Vec<_>>().chunks_exact(3) {
        let [name, data, end] = frame else { unreachable!() };
        assert!(name.starts_with(b"event: ") && data.starts_with(b"data: ") && end.is_empty());
    }
}

fn dialect(
    family: &sap_ai_core_llm_proxy::families::Family,
) -> Option<&'static dyn UpstreamDialect> {
    Some(family.service.as_ref()?.grammar.as_ref()?.dialect)
}

fn streamed<'a>(
    dialect: &dyn UpstreamDialect,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> Vec<Event> {
    let mut frames = Frames::default();
    let mut out = Brackets::new("s");
    let mut decoder = dialect.stream_decoder();
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
    out.end();
    out.drain().collect()
}

/// `Start · (Open · Delta* · Close)* · Usage? · (Stop | Failed)`.
fn in_brackets(events: &[Event]) {
    assert!(matches!(events[0], Event::Start { .. }), "{events:?}");
    let (last, between) = events[1..].split_last().unwrap();
    assert!(matches!(last, Event::Stop(_) | Event::Failed(_)), "{events:?}");
    let mut is_open = false;
    for (i, event) in between.iter().enumerate() {
        let is_expected = match event {
            Event::Open(_) => !is_open,
            Event::Delta(_) | Event::Seal(_) | Event::Close => is_open,
            Event::Usage(_) => !is_open && i + 1 == between.len(),
            _ => false,
        };
        assert!(is_expected, "{event:?} in {events:?}");
        is_open = matches!(event, Event::Open(_)) || (is_open && *event != Event::Close);
    }
    assert!(!is_open, "{events:?}");
}
