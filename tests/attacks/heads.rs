//! Requests that could be read in two ways, or in none: refused, and never the next request's.

use std::thread;
use std::time::{Duration, Instant};

use super::harness::*;

/// What an attacker puts where a body would be.
fn smuggled() -> String {
    get("/v1/models", "X-Request-Id: smuggled\r\n")
}

/// Sends, and gets one answer and a close: nothing of what was sent ran as a second request.
fn refused(proxy: &Proxy, bytes: &[u8]) -> Answer {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    let mut client = proxy.connect();
    client.send(bytes);
    let answer = client.answer().unwrap_or_else(|| panic!("no answer to {shown:?}"));
    assert!(answer.closes(), "{shown:?}: {answer:?}");
    assert!(!answer.head.contains("smuggled"), "{shown:?}: {answer:?}");
    let rest = client.rest();
    assert!(rest.is_empty(), "{shown:?}: then {:?}", String::from_utf8_lossy(&rest));
    answer
}

#[test]
fn what_can_be_read_in_two_ways_is_refused_and_its_body_never_runs() {
    let mut proxy = Proxy::demo();
    let framings: &[(&str, u16)] = &[
        ("Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 0\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 3, 3\r\n", 400),
        ("Content-Length: -1\r\n", 400),
        ("Content-Length: +3\r\n", 400),
        ("Content-Length: 0x3\r\n", 400),
        ("Content-Length: 3 3\r\n", 400),
        ("Content-Length: 3;\r\n", 400),
        ("Content-Length:\r\n", 400),
        ("Content-Length: \u{0663}\r\n", 400),
        ("Content-Length: 18446744073709551616\r\n", 400),
        ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked, chunked\r\n", 400),
        ("Transfer-Encoding: gzip, chunked\r\n", 400),
        ("Transfer-Encoding: identity\r\n", 400),
        ("Transfer-Encoding: xchunked\r\n", 400),
        ("Transfer-Encoding: \u{b}chunked\r\n", 400),
        ("Transfer-Encoding: \"chunked\"\r\n", 400),
        ("Transfer-Encoding:\r\n", 400),
        ("Content-Length : 3\r\n", 400),
        ("Content-Length\t: 3\r\n", 400),
        (" Content-Length: 3\r\n", 400),
        ("X: y\r\n Content-Length: 3\r\n", 400),
        ("X: y\r\n\tz\r\n", 400),
        ("Content-Length: 3\n", 400),
        ("X: y\nContent-Length: 3\r\n", 400),
        ("X: y\rContent-Length: 3\r\n", 400),
        ("X: \0\r\n", 400),
        ("X: \u{7f}\r\n", 400),
        ("Content-Length\r\n", 400),
        (": 3\r\n", 400),
        ("Content Length: 3\r\n", 400),
        ("Content-Length\u{e9}: 3\r\n", 400),
        ("Host: y\r\n", 400),
        ("Expect: 200-ok\r\nContent-Length: 3\r\n", 417),
    ];
    for (framing, status) in framings {
        let answer = refused(&proxy, format!("{}{}", post(framing), smuggled()).as_bytes());
        assert_eq!(answer.status, *status, "{framing:?}");
    }
    let old = "POST /v1/chat/completions HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(refused(&proxy, format!("{old}{}", smuggled()).as_bytes()).status, 400);
    proxy.unharmed(8);
}

#[test]
fn request_lines_that_are_none_are_refused() {
    let mut proxy = Proxy::demo();
    let hello = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(), &[7; 507]].concat();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let long = get(&format!("/{}", "a".repeat(70_000)), "");
    let rows: &[(&[u8], u16)] = &[
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: x\n\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / \r\n\r\n", 505),
        (b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /  HTTP/1.1\r\nHost: x\r\n\r\n", 505),
        (b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n", 400),
        (b"GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", 505),
        (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET http://x/v1/models HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET * HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"get / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"G(T / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"{\"model\":\"gpt-4o\"}\r\n\r\n", 400),
        (b"GET / HTTP/1.2\r\nHost: x\r\n\r\n", 505),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"GET / HTP/1.1\r\nHost: x\r\n\r\n", 505),
        (preface, 505),
        (&hello, 400),
        (long.as_bytes(), 431),
    ];
    for (bytes, status) in rows {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        assert_eq!(refused(&proxy, bytes).status, *status, "{shown:?}");
    }
    let many = |count: usize| get("/v1/models", &"a: b\r\n".repeat(count - 2));
    assert_eq!(refused(&proxy, many(101).as_bytes()).status, 431);
    let mut client = proxy.connect();
    client.send(many(100));
    assert_eq!(client.answer().unwrap().status, 200, "a hundred headers are none too many");
    proxy.unharmed(8);
}

#[test]
fn what_is_odd_but_clear_is_served_and_the_connection_kept() {
    let mut proxy = Proxy::demo();
    let body = chat_body("odd", false);
    let framed = format!("Content-Length: {}\r\n", body.len());
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let h2c = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n";
    let ones: String = body.bytes().map(|b| format!("1;x=\"y\"\r\n{}\r\n", b as char)).collect();
    let chunked = format!("{}{ones}0\r\nA: b\r\n\r\n", post("Transfer-Encoding: Chunked\r\n"));
    let rows = [
        (format!("\r\n{}", get("/v1/models", "")), 200),
        (get("/v1/models", "X-Name: J\u{fc}rgen\r\nEmpty:\r\n"), 200),
        (get("/v1/models", "Ticket: 0-1\r\nticket: 1-1\r\nTICKET: 0-2\r\n"), 200),
        (get("/v1/models", h2c), 200),
        (get("/v1/models", "Content-Length: 5\r\n") + "hello", 200),
        ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 204),
        (format!("{}{body}", post(&format!("{upgrade}{framed}"))), 200),
        (chunked, 200),
        (format!("{}{body}", post(&framed)), 200),
    ];
    let mut client = proxy.connect();
    for (request, status) in &rows {
        client.send(request);
        let answer = client.answer().unwrap_or_else(|| panic!("closed before {request:?}"));
        assert_eq!((answer.status, answer.closes()), (*status, false), "{request:?} {answer:?}");
    }
    assert!(client.unused().is_empty());
    drop(client);
    let foreign =
        "GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-d\u{e9}mo\r\n\r\n";
    let mut client = proxy.connect();
    client.send(foreign);
    assert_eq!(client.answer().unwrap().status, 401);
    drop(client);
    let mut client = proxy.connect();
    client.send(format!("GET /v1/models HTTP/1.0\r\nAuthorization: {KEY}\r\n\r\n"));
    assert!(client.answer().unwrap().closes());
    assert!(client.rest().is_empty());
    proxy.unharmed(8);
}

#[test]
fn a_forged_ticket_takes_nobody_elses_answer() {
    let mut proxy = Proxy::demo();
    let forged: String = (0..40).map(|n| format!("Ticket: {}-{}\r\n", n % 8, n)).collect();
    thread::scope(|scope| {
        for who in 0..16 {
            let (proxy, forged) = (&proxy, &forged);
            scope.spawn(move || {
                let mut client = proxy.connect();
                for nth in 0..25 {
                    let id = format!("mine-{who}-{nth}");
                    client.send(get("/v1/models", &format!("{forged}X-Request-Id: {id}\r\n")));
                    let answer = client.answer().unwrap();
                    assert_eq!((answer.status, answer.header("x-request-id")), (200, Some(&*id)));
                }
            });
        }
    });
    proxy.unharmed(16);
}

#[test]
fn broken_chunks_are_refused() {
    let mut proxy = Proxy::demo();
    let trailers = format!("0\r\n{}", "A: b\r\n".repeat(10_000));
    let line = format!("1;{}", "a".repeat(1_000_000));
    let rows: &[(&str, u16)] = &[
        ("zz\r\n", 400),
        ("-1\r\n", 400),
        ("+1\r\na\r\n", 400),
        ("0x1\r\na\r\n", 400),
        ("1 1\r\na\r\n", 400),
        ("\r\n", 400),
        (";\r\n", 400),
        ("ffffffffffffffff\r\n", 400),
        ("10000000000000000\r\n", 400),
        ("fffffffffffffff\r\n", 413),
        ("2000001\r\n", 413),
        ("3\r\nabcd\r\n0\r\n\r\n", 400),
        ("3\r\nabc0\r\n\r\n", 400),
        ("3\nabc\r\n0\r\n\r\n", 400),
        ("3\r\nabc\n0\r\n\r\n", 400),
        ("3\r\nabc\r\n0\n\n", 400),
        (&trailers, 400),
        (&line, 400),
    ];
    for (body, status) in rows {
        let shown = &body[..body.len().min(40)];
        let request = format!("{}{body}", post("Transfer-Encoding: chunked\r\n"));
        let answer = refused(&proxy, format!("{request}{}", smuggled()).as_bytes());
        assert_eq!(answer.status, *status, "{shown:?}: {answer:?}");
    }
    proxy.unharmed(8);
}

#[test]
fn a_length_is_no_reason_to_wait_or_to_take_memory() {
    let mut proxy = Proxy::demo();
    let lengths = ["100000000000", "1000000000000", "18446744073709551615"];
    for length in lengths {
        let start = Instant::now();
        let bare = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
        );
        assert_eq!(refused(&proxy, bare.as_bytes()).status, 401);
        let known = post(&format!("Content-Length: {length}\r\nExpect: 100-continue\r\n"));
        assert_eq!(refused(&proxy, known.as_bytes()).status, 413);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }
    // As large as may be, of which nothing comes but the beginning.
    let mut client = proxy.connect();
    client.send(post("Content-Length: 33554432\r\n") + "{\"model\":");
    thread::sleep(Duration::from_millis(300));
    let grown = proxy.rss_mib_beyond_rest();
    assert!(grown < 8, "{grown} MiB for a body that did not come");
    drop(client);
    proxy.unharmed(8);
}

#[test]
fn the_body_is_asked_for_only_after_a_right_key() {
    let mut proxy = Proxy::demo();
    let body = chat_body("asked for", false);
    let expecting = format!("Content-Length: {}\r\nExpect: 100-continue\r\n", body.len());
    let mut client = proxy.connect();
    for _ in 0..2 {
        client.send(post(&expecting));
        assert_eq!(client.answer().unwrap().status, 100);
        client.send(&body);
        assert_eq!(client.answer().unwrap().status, 200);
    }
    drop(client);
    let wrong = post(&expecting).replace(KEY, "sk-guess");
    assert_eq!(refused(&proxy, wrong.as_bytes()).status, 401);
    let nowhere = post(&expecting).replace("/v1/chat", "/v1/chit");
    assert_eq!(refused(&proxy, nowhere.as_bytes()).status, 404);
    proxy.unharmed(8);
}

/// With a right key, so that the whole of the body is read.
#[test]
fn hostile_json_is_answered() {
    let mut proxy = Proxy::demo();
    let deep = |open: &str, close: &str| {
        let (open, close) = (open.repeat(100_000), close.repeat(100_000));
        format!("{{\"model\":\"gpt-4o\",\"messages\":{open}1{close}}}")
    };
    let name = format!("{{\"model\":\"{}\",\"messages\":[]}}", "a".repeat(1_000_000));
    let twice = "{\"model\":\"gpt-4o\",\"model\":\"o3\"}".to_owned();
    let rows = [
        deep("[", "]"),
        deep("{\"a\":", "}"),
        deep("[", ""),
        deep("", "").replace("gpt-4o", "\u{0}"),
        name,
        twice,
        "[".repeat(1_000_000),
        String::from("\u{feff}{}"),
        String::from("null"),
        String::new(),
    ];
    for body in &rows {
        let head = post(&format!("Content-Length: {}\r\n", body.len()));
        let mut client = proxy.connect();
        client.send(format!("{head}{body}"));
        let answer = client.answer().unwrap();
        let shown = &body[..body.len().min(60)];
        assert!(matches!(answer.status, 400 | 404), "{shown:?}: {answer:?}");
    }
    proxy.unharmed(64);
}
