//! Server-sent events: bytes cut anywhere → frames, frame → bytes.
//!
//! A frame is one message: its lines up to an empty one. Tolerated, because AI Core sends or may send them: LF and CRLF,
//! any run of empty lines, comments, `data:` without the space, several `data:` lines, a last frame without its empty line
//! (dossier 5a, 9.40; pitfalls 51).

use std::borrow::Cow;

use serde::de::IgnoredAny;

/// What is read at a time: a frame of a model's stream has a few hundred bytes.
const READ_BYTES: usize = 4 * 1024;

/// The data of OpenAI's last frame.
const DONE: &[u8] = b"[DONE]";

/// Collects chunks and gives whole frames.
#[derive(Debug, Default)]
pub struct Frames {
    /// What came is `bytes[..end]`, the rest is room.
    bytes: Vec<u8>,
    end: usize,
    /// Where the current frame begins.
    start: usize,
    /// Where the current line begins; everything before is known to hold no frame's end.
    line: usize,
    ended: bool,
}

/// One message of a stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The `event:` line.
    pub event: Option<&'a [u8]>,
    /// The `data:` lines, joined by LF.
    pub data: Cow<'a, [u8]>,
    /// The frame as it came, without its empty line: for bodies that are no events at all.
    pub raw: &'a [u8],
    /// The bytes ended before the frame's empty line: it may be half of one.
    pub is_cut: bool,
}

impl Frames {
    pub fn push(&mut self, chunk: &[u8]) {
        self.make_room(chunk.len());
        self.bytes[self.end..self.end + chunk.len()].copy_from_slice(chunk);
        self.end += chunk.len();
    }

    /// Lets `read` write a chunk; it says how long it is, 0 for the end. What it says is handed on.
    pub fn read<E>(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        self.make_room(READ_BYTES);
        let count = read(&mut self.bytes[self.end..])?;
        self.end += count;
        self.ended |= count == 0;
        Ok(count)
    }

    /// The bytes were the last: what is left without an empty line is a frame too.
    pub fn finish(&mut self) {
        self.ended = true;
    }

    /// Bytes kept because their frame is not whole.
    pub fn pending(&self) -> usize {
        self.end - self.start
    }

    fn make_room(&mut self, count: usize) {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.line -= self.start;
            self.end -= self.start;
            self.start = 0;
        }
        if self.bytes.len() < self.end + count {
            self.bytes.resize(self.end + count.max(self.end), 0);
        }
    }

    /// The next whole frame that is not empty.
    pub fn next_frame(&mut self) -> Option<Frame<'_>> {
        loop {
            let end = match memchr::memchr(b'\n', &self.bytes[self.line..self.end]) {
                Some(n) => self.line + n,
                None if self.ended && self.start < self.end => {
                    let raw = self.start..self.end;
                    self.start = raw.end;
                    self.line = raw.end;
                    return Some(Frame { is_cut: true, ..frame(&self.bytes[raw]) });
                }
                None => return None,
            };
            let is_empty = without_cr(&self.bytes[self.line..end]).is_empty();
            let raw = self.start..self.line;
            self.line = end + 1;
            if is_empty {
                self.start = end + 1;
                if !raw.is_empty() {
                    return Some(frame(&self.bytes[raw]));
                }
            }
        }
    }
}

impl Frame<'_> {
    /// The events in its data, mostly one. Where one line end, not two, is between events, each JSON value is one; what is
    /// none is one with all that follows.
    pub fn values(&self) -> impl Iterator<Item = &[u8]> {
        let is_one = matches!(self.data, Cow::Borrowed(_));
        let mut rest = self.data.trim_ascii();
        std::iter::from_fn(move || {
            let end = if is_one { rest.len() } else { value_end(rest) };
            let (value, after) = rest.split_at(end);
            rest = after.trim_ascii_start();
            (!value.is_empty()).then_some(value)
        })
    }
}

fn value_end(data: &[u8]) -> usize {
    if data.starts_with(DONE) {
        return DONE.len();
    }
    let mut values = serde_json::Deserializer::from_slice(data).into_iter::<IgnoredAny>();
    match values.next() {
        Some(Ok(_)) => values.byte_offset(),
        _ => data.len(),
    }
}

/// Appends a frame with this data. The data holds no line end: JSON of one line.
pub fn write_data(out: &mut Vec<u8>, data: &[u8]) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
}

/// Appends a frame with a name and the data that `write` writes, of one line.
pub fn write_event(out: &mut Vec<u8>, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    write(out);
    out.extend_from_slice(b"\n\n");
}

fn frame(raw: &[u8]) -> Frame<'_> {
    let mut event = None;
    let mut data: Option<Cow<'_, [u8]>> = None;
    for line in raw.split(|b| *b == b'\n').map(without_cr) {
        if let Some(value) = field(line, b"data") {
            match &mut data {
                None => data = Some(Cow::Borrowed(value)),
                Some(lines) => {
                    let lines = lines.to_mut();
                    lines.push(b'\n');
                    lines.extend_from_slice(value);
                }
            }
        } else if let Some(value) = field(line, b"event") {
            event = Some(value);
        }
    }
    Frame {
        event,
        data: data.unwrap_or(Cow::Borrowed(b"")),
        raw: raw.trim_ascii_end(),
        is_cut: false,
    }
}

fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let value = line.strip_prefix(name)?.strip_prefix(b":")?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(chunks: &[&[u8]]) -> Vec<(String, String)> {
        let mut frames = Frames::default();
        let mut out = vec![];
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        for chunk in chunks {
            frames.push(chunk);
            while let Some(f) = frames.next_frame() {
                out.push((f.event.map(text).unwrap_or_default(), text(&f.data)));
            }
        }
        frames.finish();
        while let Some(f) = frames.next_frame() {
            out.push((f.event.map(text).unwrap_or_default(), text(&f.data)));
        }
        out
    }

    #[test]
    fn values_of_a_frame() {
        let table: &[(&str, &[&str])] = &[
            (
                "data: {\"a\":\ndata: 1}\ndata:{}\ndata: [DONE]\n\n",
                &["{\"a\":\n1}", "{}", "[DONE]"],
            ),
            ("data: {} \ndata: {\"a\ndata: {}\n\n", &["{}", "{\"a\n{}"]),
            ("data: {}{}\n\n", &["{}{}"]),
            ("data:\ndata: \n\n", &[]),
        ];
        for (text, expected) in table {
            let mut frames = Frames::default();
            frames.push(text.as_bytes());
            let frame = frames.next_frame();
            let values = frame.iter().flat_map(Frame::values).map(String::from_utf8_lossy);
            assert_eq!(values.collect::<Vec<_>>(), *expected, "{text:?}");
        }
    }

    #[test]
    fn every_form_of_a_frame() {
        let table: &[(&str, &[(&str, &str)])] = &[
            ("data: a\n\ndata: b\n\n", &[("", "a"), ("", "b")]),
            ("data:a\n\n\n\ndata:  b\n\n", &[("", "a"), ("", " b")]),
            ("data: a\r\n\r\ndata: b\r\n\r\n", &[("", "a"), ("", "b")]),
            ("event: x\ndata: a\ndata: b\n\n", &[("x", "a\nb")]),
            (": comment\n\ndata: a", &[("", ""), ("", "a")]),
            ("\n\r\n\ndata: a\nid: 7\nretry: 1\n\n", &[("", "a")]),
            ("{\"error\":1}", &[("", "")]),
            ("", &[]),
        ];
        for (text, expected) in table {
            let expected: Vec<_> =
                expected.iter().map(|(e, d)| (e.to_string(), d.to_string())).collect();
            assert_eq!(all(&[text.as_bytes()]), expected, "{text:?}");
            let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(all(&single), expected, "{text:?} byte by byte");
        }
    }
}
