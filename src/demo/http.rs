//! One connection of the demo: requests in, answers out, and every way an answer can go wrong on
//! the wire.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::fault::Fault;

/// A request's head. Header names are in lower case.
#[derive(Debug, Clone, Default)]
pub(super) struct Head {
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    pub headers: Vec<(String, String)>,
}

impl Head {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(&self.target, |(path, _)| path)
    }

    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    fn closes(&self) -> bool {
        self.header("connection").is_some_and(|v| v.to_ascii_lowercase().contains("close"))
    }
}

/// What goes back.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub content: Content,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    Whole(String),
    Stream(Stream),
}

#[derive(Debug, Clone)]
pub(super) struct Stream {
    /// What stands behind each `data: `.
    pub frames: Vec<String>,
    /// The frames that tell of an error.
    pub error: Vec<String>,
    pub framing: Framing,
}

/// How a frame stands on its lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Framing {
    #[default]
    Sse,
    /// With an `event: ` line before it, which is the JSON's `type`.
    Named,
    /// `data: ` and one line end.
    SingleNewline,
    /// Neither `data: ` nor a blank line.
    NoPrefix,
}

impl Answer {
    pub fn json(status: u16, body: &serde_json::Value) -> Answer {
        Answer::whole(status, "application/json", body.to_string())
    }

    pub fn text(status: u16, body: &str) -> Answer {
        Answer::whole(status, "text/plain", body.to_owned())
    }

    /// JSON or text, by the look of it.
    pub fn guess(status: u16, body: String) -> Answer {
        let kind = if body.starts_with(['{', '[']) { "application/json" } else { "text/plain" };
        Answer::whole(status, kind, body)
    }

    pub fn stream(frames: Vec<String>) -> Answer {
        let headers = vec![("content-type".to_owned(), "text/event-stream".to_owned())];
        let stream = Stream { frames, error: Vec::new(), framing: Framing::default() };
        Answer { status: 200, headers, content: Content::Stream(stream) }
    }

    /// With the frames that tell of an error, should it be a stream that has none yet.
    pub fn with_error(mut self, error: Vec<String>) -> Answer {
        if let Content::Stream(stream) = &mut self.content
            && stream.error.is_empty()
        {
            stream.error = error;
        }
        self
    }

    pub fn with_framing(mut self, framing: Framing) -> Answer {
        if let Content::Stream(stream) = &mut self.content {
            stream.framing = framing;
        }
        self
    }

    pub fn with_header(mut self, name: &str, value: &str) -> Answer {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn whole(status: u16, kind: &str, body: String) -> Answer {
        let headers = vec![("content-type".to_owned(), kind.to_owned())];
        Answer { status, headers, content: Content::Whole(body) }
    }
}

/// One accepted socket and what was read ahead of it.
pub(super) struct Connection {
    socket: Arc<TcpStream>,
    ahead: Vec<u8>,
}

impl Connection {
    pub fn new(socket: Arc<TcpStream>) -> Connection {
        Connection { socket, ahead: Vec::new() }
    }

    /// The next request's head; `None` where the client closed between requests.
    pub fn head(&mut self) -> io::Result<Option<Head>> {
        self.socket.set_read_timeout(None)?;
        loop {
            if let Some((head, length)) = parse_head(&self.ahead)? {
                self.ahead.drain(..length);
                return Ok(Some(head));
            }
            if self.ahead.len() > HEAD_BYTES_MAX {
                return Err(invalid("the head is too large"));
            }
            if self.read_more()? == 0 {
                return if self.ahead.is_empty() { Ok(None) } else { Err(gone()) };
            }
        }
    }

    pub fn body(&mut self, head: &Head) -> io::Result<Vec<u8>> {
        if head.header("expect").is_some_and(|v| v.eq_ignore_ascii_case("100-continue")) {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let chunked = head.header("transfer-encoding");
        match (chunked.map(|v| v.eq_ignore_ascii_case("chunked")), head.header("content-length")) {
            (None, None) => Ok(Vec::new()),
            (None, Some(length)) => {
                let length = length.parse().map_err(|_| invalid("bad content-length"))?;
                self.take(length)
            }
            (Some(true), None) => self.chunks(),
            _ => Err(invalid("bad framing of the body")),
        }
    }

    /// Writes the answer as the fault has it. `Ok(true)` if the connection can serve another
    /// request; the error [`gone`] if the client hung up before the end.
    pub fn answer(
        &mut self,
        request: &Head,
        answer: &Answer,
        fault: &Fault,
        pace_ms: u64,
    ) -> io::Result<bool> {
        self.pause(fault.delay_ms)?;
        if fault.no_answer {
            return Ok(false);
        }
        let cut = match &answer.content {
            Content::Whole(body) => self.write_whole(answer, body, fault)?,
            Content::Stream(stream) => self.write_stream(answer, stream, fault, pace_ms)?,
        };
        let says_close = answer.headers.iter().any(|(n, v)| n == "connection" && v == "close");
        Ok(!(cut || fault.close || fault.early || says_close || request.closes()))
    }

    fn write_whole(&mut self, answer: &Answer, body: &str, fault: &Fault) -> io::Result<bool> {
        let mut bytes = response_head(answer, fault, &format!("content-length: {}", body.len()));
        let until = match (fault.bytes, fault.cut_after) {
            (Some(bytes), _) => bytes.min(body.len()),
            (None, Some(_)) => body.len() / 2,
            (None, None) => body.len(),
        };
        bytes.extend_from_slice(&body.as_bytes()[..until]);
        self.write(&bytes)?;
        Ok(fault.cut_after.is_some() || fault.bytes == Some(until))
    }

    fn write_stream(
        &mut self,
        answer: &Answer,
        stream: &Stream,
        fault: &Fault,
        pace_ms: u64,
    ) -> io::Result<bool> {
        self.write(&response_head(answer, fault, "transfer-encoding: chunked"))?;
        let pause_ms = fault.pause_ms.unwrap_or(pace_ms);
        let mut left = fault.bytes.unwrap_or(usize::MAX);
        for (n, frame) in bent(stream, fault).into_iter().enumerate() {
            if left == 0 {
                return Ok(true);
            }
            match fault.silence {
                Some((at, ms)) if at == n => self.pause(ms)?,
                _ if n > 0 => self.pause(pause_ms)?,
                _ => {}
            }
            let mut bytes = frame_bytes(frame, stream.framing, fault);
            bytes.truncate(left);
            left -= bytes.len();
            self.write_frame(&bytes, &fault.pieces)?;
        }
        if left == 0 || fault.cut_after.is_some() {
            return Ok(true);
        }
        self.write(b"0\r\n\r\n")?;
        Ok(false)
    }

    fn write_frame(&mut self, mut bytes: &[u8], pieces: &[usize]) -> io::Result<()> {
        if pieces.is_empty() {
            return self.write_chunk(bytes);
        }
        let mut sizes = pieces.iter().cycle();
        while !bytes.is_empty() {
            let size = sizes.next().map_or(bytes.len(), |n| (*n).clamp(1, bytes.len()));
            let (piece, rest) = bytes.split_at(size);
            self.write_chunk(piece)?;
            bytes = rest;
        }
        Ok(())
    }

    fn write_chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.write(&chunk)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        (&*self.socket).write_all(bytes).map_err(|_| gone())
    }

    /// Waits, and notices meanwhile if the client hangs up.
    fn pause(&mut self, ms: u64) -> io::Result<()> {
        let until = Instant::now() + Duration::from_millis(ms);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.socket.set_read_timeout(Some(left))?;
            match self.socket.peek(&mut [0]) {
                Ok(0) => return Err(gone()),
                // The next request is already there, so a hang-up can only be noticed by writing.
                Ok(_) => thread::sleep(left.min(Duration::from_millis(10))),
                Err(e) if is_timeout(&e) => {}
                Err(_) => return Err(gone()),
            }
        }
    }

    fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        if length > BODY_BYTES_MAX {
            return Err(invalid("the body is too large"));
        }
        while self.ahead.len() < length {
            if self.read_more()? == 0 {
                return Err(gone());
            }
        }
        let rest = self.ahead.split_off(length);
        Ok(std::mem::replace(&mut self.ahead, rest))
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let size = self.chunk_size()?;
            let chunk = self.take(size)?;
            let end = self.take(2)?;
            if end != b"\r\n" {
                return Err(invalid("a chunk does not end in a line break"));
            }
            if size == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&chunk);
            if body.len() > BODY_BYTES_MAX {
                return Err(invalid("the body is too large"));
            }
        }
    }

    fn chunk_size(&mut self) -> io::Result<usize> {
        loop {
            match httparse::parse_chunk_size(&self.ahead) {
                Ok(httparse::Status::Complete((length, size))) => {
                    self.ahead.drain(..length);
                    return usize::try_from(size).map_err(|_| invalid("the chunk is too large"));
                }
                Ok(httparse::Status::Partial) if self.ahead.len() < 1024 => {}
                _ => return Err(invalid("bad chunk size")),
            }
            if self.read_more()? == 0 {
                return Err(gone());
            }
        }
    }

    fn read_more(&mut self) -> io::Result<usize> {
        let mut piece = [0; 16 * 1024];
        let read = (&*self.socket).read(&mut piece)?;
        self.ahead.extend_from_slice(&piece[..read]);
        Ok(read)
    }
}

/// The error of an answer whose reader went away.
pub(super) fn gone() -> io::Error {
    io::Error::new(ErrorKind::ConnectionAborted, "the client hung up")
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn parse_head(bytes: &[u8]) -> io::Result<Option<(Head, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(invalid("not an HTTP/1 request")),
    };
    let owned = |header: &httparse::Header<'_>| {
        (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).trim().to_owned())
    };
    let head = Head {
        method: request.method.unwrap_or_default().to_owned(),
        target: request.path.unwrap_or_default().to_owned(),
        headers: request.headers.iter().map(owned).collect(),
    };
    Ok(Some((head, length)))
}

fn response_head(answer: &Answer, fault: &Fault, framing: &str) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} {}\r\n", answer.status, reason(answer.status));
    for (name, value) in &answer.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    let mut padding = fault.head_bytes;
    while padding > 0 {
        let size = padding.min(1000);
        let _ = write!(head, "x-padding: {}\r\n", "p".repeat(size));
        padding -= size;
    }
    let _ = write!(head, "{framing}\r\n\r\n");
    head.into_bytes()
}

/// The frames as the fault ends them.
fn bent<'a>(stream: &'a Stream, fault: &'a Fault) -> Vec<&'a str> {
    let frames = &stream.frames;
    let left = frames.len().saturating_sub(fault.drop_last);
    let ends = [fault.end_after, fault.cut_after, fault.error_after].into_iter().flatten();
    let left = ends.fold(left, usize::min);
    let error = match (fault.error_after, &fault.body) {
        (None, _) => &[],
        (Some(_), Some(body)) => std::slice::from_ref(body),
        (Some(_), None) => &stream.error[..],
    };
    frames[..left].iter().chain(error).map(String::as_str).collect()
}

fn frame_bytes(data: &str, framing: Framing, fault: &Fault) -> Vec<u8> {
    let line_end = if fault.crlf { "\r\n" } else { "\n" };
    let comment = if fault.comments { format!(": a comment{line_end}") } else { String::new() };
    let prefix = match framing {
        Framing::NoPrefix => "",
        _ if fault.no_space => "data:",
        _ => "data: ",
    };
    let event = match framing {
        Framing::Named => format!("event: {}{line_end}", kind_of(data)),
        _ => String::new(),
    };
    let is_sse = matches!(framing, Framing::Sse | Framing::Named);
    let blank = line_end.repeat(fault.blank_lines + usize::from(is_sse));
    format!("{comment}{event}{prefix}{data}{line_end}{blank}").into_bytes()
}

fn kind_of(data: &str) -> String {
    let json = serde_json::from_str::<serde_json::Value>(data).unwrap_or_default();
    json["type"].as_str().unwrap_or("error").to_owned()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Payload Too Large",
        415 => "Unsupported Media Type",
        424 => "Failed Dependency",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "",
    }
}

const HEADERS_MAX: usize = 128;
const HEAD_BYTES_MAX: usize = 256 * 1024;
const BODY_BYTES_MAX: usize = 256 << 20;
