//! What is read out of the answers in `tests/wire/upstream/FOLDER`, and held against the events beside them.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use sap_ai_core_llm_proxy::chat::{Block, Brackets, Event, Request, Role, Turn, fold};
use sap_ai_core_llm_proxy::dialect::{Target, UpstreamDialect};
use sap_ai_core_llm_proxy::error::Error;
use sap_ai_core_llm_proxy::families;
use sap_ai_core_llm_proxy::sse::Frames;

/// Bytes of streams: frames, or what should have been frames.
const STREAMS: [&str; 2] = ["sse", "txt"];

pub struct Answers {
    pub dialect: &'static dyn UpstreamDialect,
    pub folder: &'static str,
}

impl Answers {
    /// Each case says what its `.events` say, however its stream is cut.
    pub fn say_what_they_should(&self) {
        for (path, body) in self.cases(&["json"]) {
            check(&path, &self.whole(&body));
        }
        for (path, body) in self.streams() {
            let events = self.streamed([&body[..]]);
            check(&path, &events);
            for cut in 0..body.len() {
                let (head, tail) = body.split_at(cut);
                assert_eq!(self.streamed([head, tail]), events, "{} at {cut}", path.display());
            }
            assert_eq!(self.streamed(body.chunks(1)), events, "{} by bytes", path.display());
        }
    }

    /// A stream and a whole reply of one name say the same; how many there are of such.
    pub fn agree(&self) -> usize {
        let mut pairs = 0;
        for (path, body) in self.cases(&["json"]) {
            let Ok(stream) = fs::read(path.with_extension("sse")) else { continue };
            let streamed = fold(self.streamed([&stream[..]])).unwrap();
            assert_eq!(Ok(streamed), fold(self.whole(&body)), "{}", path.display());
            pairs += 1;
        }
        pairs
    }

    /// `Start · (Open · Delta* · Close)* · Usage? · (Stop | Failed)`, whatever the bytes are.
    pub fn are_in_brackets(&self, bytes: &[u8], cut: usize) {
        let (head, tail) = bytes.split_at(cut.min(bytes.len()));
        assert_brackets(&self.streamed([head, tail]));
        assert_brackets(&self.whole(bytes));
    }

    /// Nearly right streams: lines of real ones, in any order, some of them cut.
    pub fn of_any_lines_are_in_brackets(&self, picks: &[(u16, usize)]) {
        let bodies: Vec<Vec<u8>> = self.streams().into_iter().map(|(_, body)| body).collect();
        let lines: Vec<&[u8]> = bodies.iter().flat_map(|b| b.split(|b| *b == b'\n')).collect();
        let mut stream = vec![];
        for (line, length) in picks {
            let line = lines[*line as usize % lines.len()];
            // Most are whole.
            let length = if *length < 40 { *length } else { line.len() };
            stream.extend_from_slice(&line[..length.min(line.len())]);
            stream.extend_from_slice(if length % 2 == 0 { b"\n\n" } else { b"\n" });
        }
        assert_brackets(&self.streamed([&stream[..]]));
        if let Some(json) = stream.strip_prefix(b"data: ") {
            assert_brackets(&self.whole(json));
        }
    }

    pub fn whole(&self, body: &[u8]) -> Vec<Event> {
        let mut out = Brackets::new("s");
        self.dialect.decode(body, &mut out);
        out.drain().collect()
    }

    pub fn streamed<'a>(&self, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
        let mut frames = Frames::default();
        let mut out = Brackets::new("s");
        let mut decoder = self.dialect.stream_decoder();
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

    fn streams(&self) -> Vec<(PathBuf, Vec<u8>)> {
        self.cases(&STREAMS)
    }

    fn cases(&self, extensions: &[&str]) -> Vec<(PathBuf, Vec<u8>)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = root.join("tests/wire/upstream").join(self.folder);
        let paths = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let is_one =
            |p: &PathBuf| p.extension().is_some_and(|e| extensions.iter().any(|x| e == *x));
        let mut paths: Vec<_> = paths.filter(is_one).collect();
        paths.sort();
        assert!(!paths.is_empty(), "no case in {}", folder.display());
        paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }
}

/// The body for this model, as the relay has it made.
pub fn adapted(model: &str, is_stream: bool, request: &mut Request) -> Result<String, Error> {
    let Some(service) = &families::of_model(model).service else { panic!("not served") };
    let Some(grammar) = &service.grammar else { panic!("does not chat") };
    let (body, _) = grammar.body(request, &Target { model, is_stream }, false)?;
    Ok(String::from_utf8(body).unwrap())
}

pub fn hi() -> Request {
    let turns = vec![turn(Role::User, vec![Block::text("hi")])];
    Request { turns, ..Request::default() }
}

pub fn turn(role: Role, blocks: Vec<Block>) -> Turn {
    Turn { role, blocks }
}

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
