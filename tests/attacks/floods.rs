//! Too many, too much, too slow, or gone.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size};
use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
use serde_json::json;

use super::commands::core;
use super::harness::*;

#[test]
fn bodies_that_never_come_hold_nobody_up() {
    let mut proxy = Proxy::demo();
    let request = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n";
    let start = Instant::now();
    let mut clients: Vec<Client> = (0..60).map(|_| proxy.connect()).collect();
    clients.iter_mut().for_each(|client| assert!(client.send(request)));
    for client in &mut clients {
        let answer = client.answer().unwrap();
        assert_eq!((answer.status, answer.closes()), (401, true));
        assert!(client.rest().is_empty());
    }
    // Guessing is slowed by up to 2 s; the body would have been awaited for 20 s.
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    until(Duration::from_secs(5), "given up while the clients stay", || {
        proxy.fds_beyond_rest() <= 2
    });
    drop(clients);
    proxy.unharmed(24);
}

#[test]
fn a_protocol_from_the_future_leaks_nothing() {
    let mut proxy = Proxy::demo();
    let mut clients: Vec<Client> = (0..60).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/2.0\r\n\r\n");
        assert_eq!(client.answer().unwrap().status, 505);
        assert!(client.rest().is_empty());
    }
    until(Duration::from_secs(5), "given up while the clients stay", || {
        proxy.fds_beyond_rest() <= 2
    });
    drop(clients);
    proxy.unharmed(24);
}

/// Those within the cap are served, those beyond are sent away at once.
fn fill(proxy: &Proxy, count: usize, cap: usize) {
    let mut clients: Vec<Client> = (0..cap).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        client.send(get("/v1/models", ""));
        assert_eq!(client.answer().unwrap().status, 200);
    }
    for _ in cap..count {
        let start = Instant::now();
        let mut beyond = proxy.connect();
        beyond.send(get("/v1/models", ""));
        let answer = beyond.answer().unwrap();
        assert_eq!((answer.status, answer.closes()), (503, true), "never queued");
        assert!(answer.header("retry-after").is_some());
        assert!(beyond.rest().is_empty());
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
    for client in &mut clients {
        client.send(get("/v1/models", ""));
        assert_eq!(client.answer().unwrap().status, 200, "those within are not disturbed");
    }
    drop(clients.pop());
    until(Duration::from_secs(5), "a place that was left is given away", || {
        let mut next = proxy.connect();
        next.send(get("/v1/models", ""));
        next.answer().is_some_and(|a| a.status == 200)
    });
}

#[test]
fn more_connections_than_the_cap_are_sent_away() {
    let mut proxy = Proxy::with_limits(json!({"connections_max": 8}));
    fill(&proxy, 40, 8);
    until(PATIENCE, "the places are free", || proxy.fds_beyond_rest() == 0);
    proxy.unharmed(16);
    assert!(proxy.log().contains("connections_max"), "{}", proxy.log());
    assert!(proxy.log().lines().count() < 5, "a flood of lines: {}", proxy.log());
}

#[test]
fn more_connections_than_descriptors_are_sent_away() {
    let mut proxy = Proxy::start(Setup { open_files: Some(64), ..Setup::default() });
    assert!(proxy.out().contains("Limits: 16 connections"), "{}", proxy.out());
    // All at once, silent: so many are kept as may be, the others are told.
    let silent: Vec<TcpStream> = (0..200).map(|_| proxy.tcp()).collect();
    let told = silent.iter().skip(16).filter(|stream| {
        let mut client = Client::new(stream.try_clone().unwrap());
        client.answer().is_some_and(|a| a.status == 503)
    });
    assert_eq!(told.count(), 184);
    drop(silent);
    until(PATIENCE, "the places are free", || proxy.fds_beyond_rest() == 0);
    // And with as many as may be, each has a descriptor left for AI Core.
    let mut clients: Vec<Client> = (0..16).map(|_| proxy.connect()).collect();
    let request = chat("[[demo pause_ms=20]]", true, "");
    clients.iter_mut().for_each(|client| assert!(client.send(&request)));
    for client in &mut clients {
        let answer = client.answer().unwrap();
        assert!(answer.status == 200 && answer.text().ends_with("data: [DONE]\n\n"), "{answer:?}");
    }
    drop(clients);
    // Both ends of 16 connections to AI Core: the demo is in the same process.
    proxy.clients_are_gone(32);
    proxy.alive();
}

/// The cap keeps descriptors from running out. Where others use them up, it waits for better times.
#[test]
fn accepting_goes_on_after_descriptors_ran_out() {
    let mut proxy = Proxy::demo();
    let before = getrlimit(Resource::Nofile);
    let few = Rlimit { current: Some(proxy.fds() as u64 + 5), maximum: before.maximum };
    prlimit(Some(proxy.pid()), Resource::Nofile, few).unwrap();
    let clients: Vec<TcpStream> = (0..30).map(|_| proxy.tcp()).collect();
    until(PATIENCE, "it says so", || proxy.log().contains("Clients cannot be accepted"));
    thread::sleep(Duration::from_millis(300));
    assert!(proxy.log().lines().count() < 5, "a flood of lines: {}", proxy.log());
    drop(clients);
    // Still with few: the queue is worked off, then the next one is served.
    until(PATIENCE, "accepted again", || {
        let mut client = proxy.connect();
        client.send(get("/v1/models", ""));
        client.answer().is_some_and(|a| a.status == 200)
    });
    prlimit(Some(proxy.pid()), Resource::Nofile, before).unwrap();
    proxy.unharmed(24);
}

#[test]
fn a_reset_after_the_request_ends_that_request_only() {
    let mut proxy = Proxy::demo();
    let requests = [
        get("/v1/models", ""),
        chat("[[demo pause_ms=50]]", true, ""),
        chat("reset", false, ""),
        post("Content-Length: 100\r\n") + "{",
        "GET / HT".to_owned(),
    ];
    for nth in 0..150 {
        let mut stream = proxy.tcp();
        set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        stream.write_all(requests[nth % requests.len()].as_bytes()).unwrap();
        drop(stream);
    }
    // Where the answer was whole already, AI Core's connection is kept for the next request.
    proxy.clients_are_gone(60);
    proxy.alive();
    let mut proxy = Proxy::with_limits(json!({}));
    for _ in 0..150 {
        let mut stream = proxy.tcp();
        set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        stream.write_all(get("/v1/models", "").as_bytes()).unwrap();
    }
    proxy.unharmed(24);
}

#[test]
fn a_burst_of_honest_clients_is_answered_to_the_last() {
    let mut proxy = Proxy::demo();
    let (count, requests) = (64, 6);
    let gate = Barrier::new(count);
    thread::scope(|scope| {
        for who in 0..count {
            let (proxy, gate) = (&proxy, &gate);
            scope.spawn(move || {
                gate.wait();
                let mut client = proxy.connect();
                for nth in 0..requests {
                    let id = format!("burst-{who}-{nth}");
                    let headers = format!("X-Request-Id: {id}\r\n");
                    client.send(match nth {
                        2 => chat("a burst", false, &headers),
                        _ => get("/v1/models", &headers),
                    });
                    let answer = client.answer().expect("each is answered");
                    assert_eq!((answer.status, answer.header("x-request-id")), (200, Some(&*id)));
                    gate.wait();
                }
            });
        }
    });
    proxy.clients_are_gone(2 * count);
    proxy.alive();
}

/// Sends without end until the other side closes: how much it took, and its answer.
fn pour(proxy: &Proxy, first: &str, more: &[u8], most: usize) -> (usize, Answer) {
    let stream = proxy.tcp();
    let mut client = Client::new(stream.try_clone().unwrap());
    let mut sent = first.len();
    let pouring = thread::scope(|scope| {
        let pouring = scope.spawn(|| {
            let mut stream = &stream;
            let mut is_open = stream.write_all(first.as_bytes()).is_ok();
            while is_open && sent < most {
                is_open = stream.write_all(more).is_ok();
                sent += more.len();
            }
        });
        let answer = client.answer();
        client.rest();
        let _ = stream.shutdown(Shutdown::Both);
        pouring.join().unwrap();
        answer
    });
    (sent, pouring.expect("an answer before the close"))
}

#[test]
fn heads_without_end_are_refused_early() {
    let mut proxy = Proxy::demo();
    let piece = [b'a'; 64 * 1024];
    let lines = "a: b\r\n".repeat(10_000);
    let begin = "GET / HTTP/1.1\r\nHost: x\r\na: ";
    let (mib, mut worst) = (1024 * 1024, 0);
    // 100 MB of one line, 2 M headers, a path without end, a word without end.
    let rows = [
        (begin, piece.as_slice(), 100 * mib),
        ("GET / HTTP/1.1\r\nHost: x\r\n", lines.as_bytes(), 12 * mib),
        ("GET /", &piece, 100 * mib),
        ("AAAA", &[b'A'; 64 * 1024], 100 * mib),
    ];
    for (first, more, most) in rows {
        let (sent, answer) = pour(&proxy, first, more, most);
        assert_eq!(answer.status, 431, "{first:?}");
        worst = worst.max(sent);
    }
    // Most of it lies in the system's buffers; the proxy reads 64 KiB, then drains 256 KiB.
    assert!(worst < 20 * mib, "{worst} bytes went out before the refusal");
    proxy.unharmed(4);
}

#[test]
fn chunks_and_trailers_without_end_are_refused_early() {
    let mut proxy = Proxy::demo();
    let begin = post("Transfer-Encoding: chunked\r\n");
    let rows = [
        ("1;", "a".repeat(64 * 1024), 400),
        ("0\r\n", "a: b\r\n".repeat(10_000), 400),
        ("0\r\na: ", "b".repeat(64 * 1024), 400),
        ("", format!("10000\r\n{}\r\n", " ".repeat(0x10000)), 413),
    ];
    for (first, more, status) in rows {
        let (_, answer) = pour(&proxy, &(begin.clone() + first), more.as_bytes(), 100 << 20);
        assert_eq!(answer.status, status, "{first:?}");
    }
    // A body is held up to 32 MiB, and moved as it grows.
    proxy.unharmed(100);
}

#[test]
fn pipelined_requests_are_answered_one_by_one() {
    const COUNT: usize = 200_000;
    const LONGEST: Duration = Duration::from_secs(10);
    let mut proxy = Proxy::demo();
    let stream = proxy.tcp();
    let mut client = Client::new(stream.try_clone().unwrap());
    let start = Instant::now();
    let mut answered = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut stream = &stream;
            for part in 0..COUNT / 1000 {
                let request =
                    |n| format!("GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: p{n}\r\n\r\n");
                let requests: String = (0..1000).map(|n| request(part * 1000 + n)).collect();
                if stream.write_all(requests.as_bytes()).is_err() {
                    return;
                }
            }
        });
        while answered < COUNT && start.elapsed() < LONGEST {
            let answer = client.answer().expect("answers as long as there are requests");
            assert_eq!(answer.header("x-request-id"), Some(&*format!("p{answered}")));
            answered += 1;
            if answered % 5000 == 0 {
                let grown = proxy.rss_mib_beyond_rest();
                assert!(grown < 8, "{grown} MiB after {answered}");
            }
        }
        let _ = stream.shutdown(Shutdown::Both);
    });
    eprintln!("{answered} pipelined requests in {:?}", start.elapsed());
    assert!(answered >= 5000, "only {answered} in {LONGEST:?}");
    proxy.unharmed(8);
}

/// A proxy whose list of models is large, so that few requests fill the system's buffers.
pub fn with_large_answers(args: Vec<&'static str>) -> Proxy {
    let mut config = nowhere(json!({"client_write_ms_max": 500}));
    let url = config["deployment_models"]["gpt-4o"].clone();
    for nth in 0..2000 {
        config["deployment_models"][format!("gpt-4o-{nth}-{}", "x".repeat(60))] = url.clone();
    }
    Proxy::start(Setup { config: Some(config), args, ..Setup::default() })
}

#[test]
fn clients_that_never_read_are_given_up() {
    let mut proxy = with_large_answers(vec![]);
    let clients: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = proxy.tcp();
            set_socket_recv_buffer_size(&stream, 4096).unwrap();
            stream.write_all(get("/v1/models", "").repeat(40).as_bytes()).unwrap();
            stream
        })
        .collect();
    until(Duration::from_secs(5), "all are being served", || proxy.fds_beyond_rest() >= 18);
    proxy.honest();
    until(Duration::from_secs(10), "given up while they stay", || proxy.fds_beyond_rest() <= 2);
    drop(clients);
    // Each answer is built as a whole.
    proxy.unharmed(160);
}

#[test]
fn streams_that_nobody_reads_are_given_up_on_both_sides() {
    let core = core();
    let mut config = core.config_json();
    config["limits"] = json!({"client_write_ms_max": 500});
    let mut proxy = Proxy::start(Setup { config: Some(config), ..Setup::default() });
    let clients: Vec<TcpStream> = (0..3)
        .map(|_| {
            let mut stream = proxy.tcp();
            set_socket_recv_buffer_size(&stream, 4096).unwrap();
            let request = chat("[[demo frames=60000 pause_ms=0]]", true, "");
            stream.write_all(request.as_bytes()).unwrap();
            stream
        })
        .collect();
    until(PATIENCE, "AI Core is left alone", || core.hung_up() == 3);
    until(Duration::from_secs(5), "given up while they stay", || proxy.fds_beyond_rest() <= 2);
    drop(clients);
    proxy.unharmed(16);
}

/// What is sent behind a request waits until that is answered, however long it takes.
#[test]
fn requests_behind_a_stream_wait_their_turn() {
    let mut proxy = Proxy::demo();
    let mut client = proxy.connect();
    let stream = chat("[[demo pause_ms=50 frames=6]]", true, "");
    client.send(format!("{stream}{}{stream}", get("/v1/models", "")));
    for nth in 0..3 {
        let answer = client.answer().unwrap();
        assert_eq!((answer.status, answer.closes()), (200, false));
        assert_eq!(answer.text().ends_with("data: [DONE]\n\n"), nth != 1);
    }
    drop(client);
    proxy.clients_are_gone(2);
    proxy.alive();
}

#[test]
fn a_body_that_stalls_is_answered_408() {
    let mut proxy = Proxy::with_limits(json!({"client_stall_ms_max": 500}));
    let begun = [
        post("Content-Length: 100\r\n") + "{\"model\"",
        post("Transfer-Encoding: chunked\r\n") + "64\r\n{\"model\"",
        post("Transfer-Encoding: chunked\r\n") + "6",
        post("Content-Length: 100\r\n"),
    ];
    let start = Instant::now();
    let mut clients: Vec<Client> = (0..40).map(|_| proxy.connect()).collect();
    for (client, begun) in clients.iter_mut().zip(begun.iter().cycle()) {
        client.send(begun);
    }
    proxy.honest();
    for client in &mut clients {
        let answer = client.answer().unwrap();
        assert_eq!((answer.status, answer.closes()), (408, true));
        assert!(client.rest().is_empty());
    }
    let took = start.elapsed();
    assert!(took > Duration::from_millis(450) && took < Duration::from_secs(5), "{took:?}");
    drop(clients);
    proxy.unharmed(24);
}

#[test]
fn idle_clients_are_let_go() {
    let mut proxy = Proxy::with_limits(json!({"client_idle_ms_max": 400}));
    let mut silent: Vec<Client> = (0..50).map(|_| proxy.connect()).collect();
    for (nth, client) in silent.iter_mut().enumerate() {
        if nth % 2 == 0 {
            client.send(get("/v1/models", ""));
            assert_eq!(client.answer().unwrap().status, 200);
        }
    }
    let start = Instant::now();
    assert!(silent.iter_mut().all(|client| client.rest().is_empty()));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    proxy.unharmed(32);
}

/// One byte a second, each from its own connection, while honest clients come and go.
#[test]
fn slow_heads_neither_starve_the_honest_nor_last() {
    let mut proxy = Proxy::demo();
    let mut slow: Vec<Client> = (0..300).map(|_| proxy.connect()).collect();
    let head = get("/v1/models", "X-Slow: and-very-slow\r\n");
    let start = Instant::now();
    let mut worst = Duration::ZERO;
    for (tick, byte) in head.bytes().take(8).enumerate() {
        for client in &mut slow {
            assert!(client.send([byte]), "cut before its time, after {:?}", start.elapsed());
        }
        while start.elapsed() < Duration::from_secs(tick as u64 + 1) {
            worst = worst.max(proxy.honest());
            thread::sleep(Duration::from_millis(50));
        }
    }
    assert!(proxy.fds_beyond_rest() >= 298, "{}", proxy.fds_beyond_rest());
    for client in &mut slow {
        let answer = client.answer().unwrap();
        assert_eq!((answer.status, answer.closes()), (408, true));
        assert!(client.rest().is_empty());
    }
    let took = start.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?}");
    drop(slow);
    eprintln!("300 slow heads: the slowest honest client took {worst:?}");
    proxy.unharmed(64);
}
