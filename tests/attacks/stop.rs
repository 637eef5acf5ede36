//! Signals: requests in flight are finished, nothing else is waited for.

use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use super::commands::core;
use super::harness::*;

const AT_ONCE: Duration = Duration::from_secs(2);

/// A stream that is under way.
fn streaming(proxy: &Proxy, prompt: &str) -> Client {
    let mut client = proxy.connect();
    client.send(chat(prompt, true, ""));
    while memchr::memmem::find(client.unused(), b"data: ").is_none() {
        assert!(client.more(), "the stream ended before it began");
    }
    client
}

#[test]
fn a_stream_in_flight_is_finished() {
    for setup in [vec![], vec!["--https"]] {
        let mut proxy = Proxy::start(Setup { args: setup, ..Setup::default() });
        let mut idle = proxy.connect();
        idle.send(get("/v1/models", ""));
        assert_eq!(idle.answer().unwrap().status, 200);
        let mut client = streaming(&proxy, "[[demo pause_ms=200 frames=8]]");
        let start = Instant::now();
        proxy.terminate();
        let answer = client.answer().unwrap();
        assert!(start.elapsed() > Duration::from_millis(800), "{:?}", start.elapsed());
        assert_eq!(answer.status, 200);
        assert!(answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
        assert_eq!(proxy.ended(AT_ONCE).code(), Some(0));
        assert!(idle.rest().is_empty());
        assert!(!proxy.log().contains("cut off"), "{}", proxy.log());
    }
}

#[test]
fn nobody_new_is_accepted_meanwhile() {
    let mut proxy = Proxy::demo();
    let mut client = streaming(&proxy, "[[demo pause_ms=200 frames=8]]");
    let mut kept = proxy.connect();
    kept.send(get("/v1/models", ""));
    assert_eq!(kept.answer().unwrap().status, 200);
    proxy.terminate();
    until(AT_ONCE, "the port is closed", || {
        std::net::TcpStream::connect(("127.0.0.1", proxy.port)).is_err()
    });
    // A client that was there already is served once more, and told that this was the last time.
    kept.send(get("/v1/models", ""));
    let answer = kept.answer().unwrap();
    assert_eq!((answer.status, answer.closes()), (200, true));
    assert!(client.answer().unwrap().text().ends_with("data: [DONE]\n\n"));
    assert_eq!(proxy.ended(AT_ONCE).code(), Some(0));
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut proxy = Proxy::demo();
    let mut client = streaming(&proxy, "[[demo silence=3:60000]]");
    proxy.terminate();
    until(AT_ONCE, "the port is closed", || {
        std::net::TcpStream::connect(("127.0.0.1", proxy.port)).is_err()
    });
    kill_process(proxy.pid(), Signal::INT).unwrap();
    assert_eq!(proxy.ended(AT_ONCE).code(), Some(1));
    let rest = client.rest();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "no clean end for what was cut");
}

#[test]
fn what_takes_too_long_is_cut_off() {
    let core = core();
    let mut config = core.config_json();
    config["limits"] = serde_json::json!({"stop_ms_max": 300});
    let mut proxy = Proxy::start(Setup { config: Some(config), ..Setup::default() });
    let mut client = streaming(&proxy, "[[demo silence=3:60000]]");
    proxy.terminate();
    assert_eq!(proxy.ended(AT_ONCE).code(), Some(0));
    assert!(proxy.log().contains("cut off"), "{}", proxy.log());
    let rest = client.rest();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "no clean end for what was cut");
}

#[test]
fn without_requests_it_ends_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut proxy = Proxy::demo();
        // Idle, slow and stuck clients are no requests in flight.
        let [mut idle, mut slow] = [proxy.connect(), proxy.connect()];
        idle.send(get("/v1/models", ""));
        assert_eq!(idle.answer().unwrap().status, 200);
        slow.send("GET / HT");
        kill_process(proxy.pid(), signal).unwrap();
        assert_eq!(proxy.ended(AT_ONCE).code(), Some(0));
        assert!(idle.rest().is_empty() && slow.rest().is_empty());
    }
}

/// The system may hand a signal to any thread: also to the one that waits for clients.
#[test]
fn the_thread_that_takes_the_signal_does_not_matter() {
    for name in ["gate", "client"] {
        let mut proxy = Proxy::demo();
        let thread = proxy.threads_named(name)[0];
        kill_process(thread, Signal::TERM).unwrap();
        assert_eq!(proxy.ended(AT_ONCE).code(), Some(0), "{name}");
    }
}
