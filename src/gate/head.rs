//! The head of a request: policed, and rebuilt for tiny_http.
//!
//! Whatever could be read in two ways is refused: that is how requests are smuggled. What goes on to tiny_http is a new
//! head with the request line and the few headers that are read further on ([`PASSED_ON`]); everything about framing and
//! the connection stays here.

use std::io;
use std::time::{Duration, Instant};

use super::connection::Connection;

/// Limits to a head, whole.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 100;
/// From a head's first byte to its last.
const HEAD_MAX: Duration = Duration::from_secs(10);

/// The headers that the relay reads. No other reaches it, so none can be forged inward.
pub const PASSED_ON: &[&str] = &[
    "access-control-request-headers",
    "anthropic-beta",
    "anthropic-version",
    "api-key",
    "authorization",
    "content-encoding",
    "origin",
    "upgrade",
    "x-api-key",
    "x-request-id",
];

/// What the gate keeps of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    pub body: BodyLength,
    pub is_http_1_0: bool,
    /// The client wants the connection closed after the answer.
    pub wants_close: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// How long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    Known(u64),
    Chunked,
}

/// Why there is no head.
#[derive(Debug, PartialEq, Eq)]
pub enum NoHead {
    /// The client left, was silent too long, or its connection broke: nothing to answer.
    Gone,
    /// To be answered with this status and sentence, and closed.
    Refused(u16, &'static str),
}

/// Reads one head. `inward` gets the rebuilt head, but for its last empty line.
pub fn read(
    connection: &mut Connection,
    idle_max: Duration,
    inward: &mut Vec<u8>,
) -> Result<Framing, NoHead> {
    let length = wait_for_whole(connection, idle_max)?;
    let framing = police(&connection.unused()[..length], inward);
    connection.used(length);
    framing
}

/// Waits until a whole head has come; its length. Looks at each byte once, however slowly they come.
fn wait_for_whole(connection: &mut Connection, idle_max: Duration) -> Result<usize, NoHead> {
    let mut deadline: Option<Instant> = None;
    let mut seen = 0;
    loop {
        if let Some(length) = find_end(connection.unused(), &mut seen)? {
            return Ok(length);
        }
        if connection.unused().len() >= HEAD_BYTES_MAX {
            return Err(NoHead::Refused(431, "The request's head is larger than 64 KiB."));
        }
        let limit = match deadline {
            _ if connection.unused().is_empty() => idle_max,
            None => {
                deadline = Some(Instant::now() + HEAD_MAX);
                HEAD_MAX
            }
            Some(deadline) => deadline.saturating_duration_since(Instant::now()),
        };
        let is_late =
            |e: &io::Error| matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        match connection.read_more(limit) {
            Ok(n) if n > 0 => {}
            Err(e) if deadline.is_some() && is_late(&e) => {
                return Err(NoHead::Refused(408, "The request's head did not arrive within 10 s."));
            }
            _ => return Err(NoHead::Gone),
        }
    }
}

/// The length of the head where its end has come. `seen`: how much is known to hold no end.
fn find_end(bytes: &[u8], seen: &mut usize) -> Result<Option<usize>, NoHead> {
    // One empty line before a request is tolerated (RFC 9112, 2.2).
    let skipped = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let starts_wrong = bytes.get(skipped).is_some_and(|b| !b.is_ascii_uppercase());
    if starts_wrong && !(skipped == 0 && bytes == b"\r") {
        return Err(NoHead::Refused(
            400,
            "This is not an HTTP request. Is it meant for an HTTPS port?",
        ));
    }
    for end in memchr::memchr_iter(b'\n', &bytes[*seen..]).map(|n| *seen + n) {
        if end == 0 || bytes[end - 1] != b'\r' {
            return Err(NoHead::Refused(400, "A line of the request's head ends without CR."));
        }
        if end > skipped + 2 && bytes[..end].ends_with(b"\r\n\r") {
            return Ok(Some(end + 1));
        }
    }
    *seen = bytes.len();
    Ok(None)
}

/// Checks a whole head and rebuilds it. Not inlined: its table of headers would stay on the stack for the whole request.
#[inline(never)]
fn police(bytes: &[u8], inward: &mut Vec<u8>) -> Result<Framing, NoHead> {
    let refused = |why| Err(NoHead::Refused(400, why));
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return refused("The request's head is broken."),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(NoHead::Refused(431, "The request has more than 100 headers."));
        }
        Err(httparse::Error::Version) => {
            return Err(NoHead::Refused(505, "HTTP/1.1 and HTTP/1.0 are spoken here."));
        }
        Err(_) => return refused("The request's head is broken."),
    }
    let (Some(method), Some(target), Some(version)) =
        (request.method, request.path, request.version)
    else {
        return refused("The request's head is broken.");
    };
    if method.len() > 32 || !method.bytes().all(|b| b.is_ascii_uppercase()) {
        return refused("The method is none of HTTP's.");
    }
    let is_asterisk = method == "OPTIONS" && target == "*";
    if !(target.starts_with('/') || is_asterisk) || !target.bytes().all(|b| b.is_ascii_graphic()) {
        return refused("The request's target must be a path that starts with '/'.");
    }
    let framing = framing(request.headers, version == 0)?;
    rebuild(method, target, request.headers, inward);
    Ok(framing)
}

fn framing(headers: &[httparse::Header<'_>], is_http_1_0: bool) -> Result<Framing, NoHead> {
    let refused = |why| Err(NoHead::Refused(400, why));
    let mut length: Option<u64> = None;
    let mut is_chunked = false;
    let mut hosts = 0;
    let mut wants_close = is_http_1_0;
    let mut expects_continue = false;
    for header in headers {
        let value = header.value.trim_ascii();
        if value.iter().any(|b| b.is_ascii_control() && *b != b'\t') {
            return refused("A header has control characters.");
        }
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            if length.is_some() {
                return refused("The request has two Content-Length headers.");
            }
            match decimal(value) {
                Some(n) => length = Some(n),
                None => return refused("Content-Length is not a number."),
            }
        } else if is("transfer-encoding") {
            if is_chunked || is_http_1_0 || !value.eq_ignore_ascii_case(b"chunked") {
                return refused(
                    "The only Transfer-Encoding here is a single `chunked`, in HTTP/1.1.",
                );
            }
            is_chunked = true;
        } else if is("host") {
            hosts += 1;
        } else if is("connection") {
            let has = |word: &[u8]| {
                value.split(|b| *b == b',').any(|w| w.trim_ascii().eq_ignore_ascii_case(word))
            };
            wants_close = has(b"close") || (wants_close && !has(b"keep-alive"));
        } else if is("expect") {
            if !value.eq_ignore_ascii_case(b"100-continue") {
                return Err(NoHead::Refused(417, "The only expectation met here is 100-continue."));
            }
            expects_continue = !is_http_1_0;
        }
    }
    if hosts > 1 || (hosts == 0 && !is_http_1_0) {
        return refused("A request has exactly one Host header.");
    }
    let body = match (length, is_chunked) {
        (Some(_), true) => {
            return refused("Content-Length and Transfer-Encoding exclude each other.");
        }
        (_, true) => BodyLength::Chunked,
        (length, false) => BodyLength::Known(length.unwrap_or(0)),
    };
    Ok(Framing { body, is_http_1_0, wants_close, expects_continue })
}

/// Digits, and not so many that they overflow: no sign, no list.
fn decimal(value: &[u8]) -> Option<u64> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(value).ok()?.parse().ok())?
}

fn rebuild(method: &str, target: &str, headers: &[httparse::Header<'_>], inward: &mut Vec<u8>) {
    inward.extend_from_slice(method.as_bytes());
    inward.push(b' ');
    inward.extend_from_slice(target.as_bytes());
    inward.extend_from_slice(b" HTTP/1.1\r\n");
    for header in headers {
        // tiny_http takes ASCII only; none of these headers has a meaning beyond it.
        let Some(name) = PASSED_ON.iter().find(|n| header.name.eq_ignore_ascii_case(n)) else {
            continue;
        };
        if header.value.is_ascii() {
            inward.extend_from_slice(name.as_bytes());
            inward.extend_from_slice(b": ");
            inward.extend_from_slice(header.value.trim_ascii());
            inward.extend_from_slice(b"\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<(Framing, String), NoHead> {
        let mut seen = 0;
        match find_end(text.as_bytes(), &mut seen)? {
            None => panic!("no end of the head in {text:?}"),
            Some(length) => {
                let mut inward = vec![];
                let framing = police(&text.as_bytes()[..length], &mut inward)?;
                Ok((framing, String::from_utf8(inward).unwrap()))
            }
        }
    }

    #[test]
    fn honest_heads() {
        let plain = Framing {
            body: BodyLength::Known(0),
            is_http_1_0: false,
            wants_close: false,
            expects_continue: false,
        };
        let table = [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", plain),
            ("\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", plain),
            ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", plain),
            (
                "POST /v1 HTTP/1.1\r\nhost: x\r\ncontent-length: 12\r\nExpect: 100-Continue\r\n\r\n{",
                Framing { body: BodyLength::Known(12), expects_continue: true, ..plain },
            ),
            (
                "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\nConnection: foo, Close\r\n\r\n",
                Framing { body: BodyLength::Chunked, wants_close: true, ..plain },
            ),
            ("GET / HTTP/1.0\r\n\r\n", Framing { is_http_1_0: true, wants_close: true, ..plain }),
            (
                "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
                Framing { is_http_1_0: true, ..plain },
            ),
        ];
        for (text, expected) in table {
            assert_eq!(read_text(text).unwrap().0, expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_ambiguous_or_hostile_is_refused() {
        let long = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(101));
        let table: &[(&str, u16)] = &[
            ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
            (
                "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
                400,
            ),
            ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 400),
            (
                "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                400,
            ),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
            ("GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
            ("GET * HTTP/1.1\r\nHost: x\r\n\r\n", 400),
            ("GET /\u{e9} HTTP/1.1\r\nHost: x\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: x\r\na: b\r\n c\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: x\r\na: \u{1}\r\n\r\n", 400),
            ("GET / HTTP/1.1\nHost: x\n\n", 400),
            ("get / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
            ("\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
            ("\u{16}\u{3}\u{1}", 400),
            ("GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
            ("GET / HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\n\r\n", 417),
            (&long, 431),
        ];
        for (text, status) in table {
            match read_text(text) {
                Err(NoHead::Refused(found, _)) => assert_eq!(found, *status, "{text:?}"),
                other => panic!("{text:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn only_what_is_read_goes_inward() {
        let (_, inward) = read_text(
            "POST /v1/x?y HTTP/1.1\r\nHost: x\r\nX-API-Key:  k \r\nTicket: 7\r\nOrigin: h\u{e9}\r\n\
             Connection: close\r\nContent-Length: 0\r\nOrigin: o\r\n\r\n",
        )
        .unwrap();
        assert_eq!(inward, "POST /v1/x?y HTTP/1.1\r\nx-api-key: k\r\norigin: o\r\n");
    }

    #[test]
    fn an_end_is_found_however_the_bytes_come() {
        let text = b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\nrest";
        let mut seen = 0;
        let found = (0..=text.len()).find_map(|n| find_end(&text[..n], &mut seen).unwrap());
        assert_eq!(found, Some(text.len() - 4));
    }
}
