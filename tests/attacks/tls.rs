//! The HTTPS port: handshakes, clients that get stuck in them, certificates that change.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, ProtocolVersion, StreamOwned};
use sap_ai_core_llm_proxy::certificate::locate_or_make;
use serde_json::json;

use super::floods::with_large_answers;
use super::harness::*;

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// The start of a ClientHello, and no more.
const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

/// Reads until the other side closes; what came, and after how long.
fn until_closed(stream: &mut TcpStream, since: Instant) -> (Vec<u8>, Duration) {
    let mut bytes = vec![];
    if let Err(e) = stream.read_to_end(&mut bytes) {
        let is_late = matches!(e.kind(), std::io::ErrorKind::WouldBlock);
        assert!(!is_late, "not closed within {:?}", since.elapsed());
    }
    (bytes, since.elapsed())
}

#[test]
fn both_versions_shake_hands_and_the_made_certificate_is_good() {
    let mut proxy = Proxy::https();
    for (version, expected) in
        [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)]
    {
        for name in ["localhost", "127.0.0.1", "::1"] {
            let tls = proxy.tls(&[version], name).unwrap();
            assert_eq!(tls.conn.protocol_version(), Some(expected));
            assert_eq!(tls.conn.alpn_protocol(), Some(b"http/1.1".as_slice()));
            let mut client = Client::new(tls);
            for _ in 0..3 {
                client.send(get("/v1/models", ""));
                assert_eq!(client.answer().unwrap().status, 200);
            }
        }
    }
    let stranger = proxy.tls(&[&TLS13], "example.com").expect_err("no certificate for all");
    assert!(stranger.to_string().contains("not valid for name"), "{stranger}");
    proxy.unharmed(16);
}

#[test]
fn plain_http_on_the_https_port_is_told() {
    let mut proxy = Proxy::https();
    let mut client = Client::new(proxy.tcp());
    client.send(get("/v1/models", ""));
    let answer = client.answer().unwrap();
    assert_eq!((answer.status, answer.closes()), (400, true));
    assert!(answer.text().contains("https://"), "{answer:?}");
    assert!(client.rest().is_empty());
    proxy.unharmed(16);
}

#[test]
fn garbage_in_a_handshake_ends_it() {
    let mut proxy = Proxy::https();
    let record = |kind: u8, len: u16, body: &[u8]| {
        [&[kind, 3, 3], len.to_be_bytes().as_slice(), body].concat()
    };
    let rows = [
        [HELLO, &[0xff; 600]].concat(),
        [HELLO, &record(23, 5, b"hello")].concat(),
        record(22, 0xffff, &[1; 100]),
        record(22, 4, &[1, 0xff, 0xff, 0xff]),
        record(21, 2, &[2, 40]),
        b"\x80\x2e\x01\0\x02".to_vec(),
        vec![0; 4096],
        b"ssh-2.0-client\r\n".to_vec(),
    ];
    for bytes in &rows {
        let mut stream = proxy.tcp();
        stream.write_all(bytes).unwrap();
        // What is cut short is awaited: this one says that no more comes.
        stream.shutdown(Shutdown::Write).unwrap();
        let (answer, took) = until_closed(&mut stream, Instant::now());
        assert!(took < Duration::from_secs(3), "{bytes:?}: {took:?}");
        assert!(answer.len() < 100 && !answer.starts_with(b"HTTP"), "{answer:?}");
    }
    // After a good handshake.
    for bytes in [record(23, 100, &[7; 100]), record(22, 4, &[0, 0, 0, 0]), vec![0; 100]] {
        let mut tls = proxy.tls(&[&TLS13], "localhost").unwrap();
        tls.sock.write_all(&bytes).unwrap();
        let (_, took) = until_closed(&mut tls.sock, Instant::now());
        assert!(took < Duration::from_secs(3), "{took:?}");
    }
    proxy.unharmed(16);
}

#[test]
fn more_tls_clients_than_the_cap_are_sent_away() {
    let config = nowhere(json!({"connections_max": 4}));
    let setup = Setup { config: Some(config), args: vec!["--https"], ..Setup::default() };
    let mut proxy = Proxy::start(setup);
    let mut within: Vec<Client> = (0..4).map(|_| proxy.connect()).collect();
    for _ in 0..20 {
        let start = Instant::now();
        assert!(proxy.tls(&[&TLS13], "localhost").is_err(), "never queued");
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
    for client in &mut within {
        client.send(get("/v1/models", ""));
        assert_eq!(client.answer().unwrap().status, 200, "those within are not disturbed");
    }
    drop(within);
    until(PATIENCE, "the places are free", || proxy.fds_beyond_rest() == 0);
    proxy.unharmed(16);
}

/// Handshakes and heads that come a byte a second, or not at all, while honest clients come and go.
#[test]
fn slow_handshakes_neither_starve_the_honest_nor_last() {
    let mut proxy = Proxy::https();
    let mut handshakes: Vec<TcpStream> = (0..150).map(|_| proxy.tcp()).collect();
    let mut heads: Vec<Tls> =
        (0..150).map(|_| proxy.tls(&[&TLS13], "localhost").unwrap()).collect();
    let head = get("/v1/models", "X-Slow: and-very-slow\r\n");
    let start = Instant::now();
    let mut worst = Duration::ZERO;
    for tick in 0..8 {
        for (nth, stream) in handshakes.iter_mut().enumerate() {
            if nth % 3 > 0 {
                // It may be closed: its 10 s began when it was accepted.
                let _ = stream.write_all(&HELLO[tick..=tick]);
            }
        }
        for tls in &mut heads {
            tls.write_all(&head.as_bytes()[tick..=tick]).unwrap();
        }
        while start.elapsed() < Duration::from_secs(tick as u64 + 1) {
            worst = worst.max(proxy.honest());
            thread::sleep(Duration::from_millis(50));
        }
    }
    for stream in &mut handshakes {
        let (answer, took) = until_closed(stream, start);
        assert!(answer.is_empty() && took < Duration::from_secs(14), "{answer:?} {took:?}");
    }
    for tls in heads {
        let mut client = Client::new(tls);
        assert_eq!(client.answer().unwrap().status, 408);
        assert!(client.rest().is_empty());
    }
    assert!(start.elapsed() < Duration::from_secs(16), "{:?}", start.elapsed());
    eprintln!("300 slow TLS clients: the slowest honest client took {worst:?}");
    proxy.unharmed(64);
}

/// A silent client and one that stops in the middle: cut after 10 s, and not before.
#[test]
fn a_handshake_that_stalls_is_cut() {
    let mut proxy = Proxy::https();
    let start = Instant::now();
    let mut stalled: Vec<TcpStream> = (0..4).map(|_| proxy.tcp()).collect();
    for (nth, stream) in stalled.iter_mut().enumerate() {
        stream.write_all(&HELLO[..nth * 3]).unwrap();
    }
    for stream in &mut stalled {
        let (answer, took) = until_closed(stream, start);
        assert!(answer.is_empty(), "{answer:?}");
        assert!((9..14).contains(&took.as_secs()), "{took:?}");
    }
    proxy.unharmed(16);
}

/// Within one TLS record each byte is progress for TLS, but none for HTTP.
#[test]
fn a_record_that_trickles_in_is_no_way_around_the_time_limits() {
    let config = nowhere(json!({"client_idle_ms_max": 1000, "client_stall_ms_max": 1000}));
    let setup = Setup { config: Some(config), args: vec!["--https"], ..Setup::default() };
    let mut proxy = Proxy::start(setup);
    let in_body = post("Content-Length: 100\r\n");
    for first in ["", &in_body] {
        let mut tls = proxy.tls(&[&TLS13], "localhost").unwrap();
        tls.write_all(first.as_bytes()).unwrap();
        let start = Instant::now();
        let record = [b"\x17\x03\x03\x40\x00".as_slice(), &[0; 100]].concat();
        let mut is_open = true;
        for byte in record {
            is_open = is_open && tls.sock.write_all(&[byte]).is_ok();
            thread::sleep(Duration::from_millis(100));
            if !is_open || start.elapsed() > Duration::from_secs(8) {
                break;
            }
        }
        assert!(!is_open, "held open for {:?}, after {first:?}", start.elapsed());
    }
    proxy.unharmed(16);
}

/// Neither do they get more time by sending what TLS has to read.
#[test]
fn clients_that_never_read_are_given_up() {
    let mut proxy = with_large_answers(vec!["--https"]);
    let mut clients: Vec<Tls> = (0..10)
        .map(|_| {
            let mut tls = proxy.tls(&[&TLS13], "localhost").unwrap();
            set_socket_recv_buffer_size(&tls.sock, 4096).unwrap();
            tls.write_all(get("/v1/models", "").repeat(40).as_bytes()).unwrap();
            tls
        })
        .collect();
    until(Duration::from_secs(5), "all are being served", || proxy.fds_beyond_rest() >= 8);
    proxy.honest();
    let record = [b"\x17\x03\x03\x40\x00".as_slice(), &[0; 10_000]].concat();
    let mut bytes = record.into_iter();
    until(Duration::from_secs(10), "given up while they stay", || {
        let byte = bytes.next().unwrap();
        // Half of them are silent.
        for tls in clients.iter_mut().step_by(2) {
            let _ = tls.sock.write_all(&[byte]);
        }
        proxy.fds_beyond_rest() <= 2
    });
    drop(clients);
    proxy.unharmed(160);
}

#[test]
fn a_stream_arrives_frame_by_frame_and_ends_with_a_goodbye() {
    let mut proxy = Proxy::https();
    for version in [&TLS12, &TLS13] {
        let mut tls = proxy.tls(&[version], "localhost").unwrap();
        let request = chat("[[demo pause_ms=150 frames=5]]", true, "Connection: close\r\n");
        tls.write_all(request.as_bytes()).unwrap();
        let mut arrivals = vec![];
        let mut text = vec![];
        loop {
            let mut piece = [0; 16 * 1024];
            // Without close_notify this would be the error UnexpectedEof.
            let count = tls.read(&mut piece).expect("a clean end");
            if count == 0 {
                break;
            }
            arrivals.push(Instant::now());
            text.extend_from_slice(&piece[..count]);
        }
        let text = String::from_utf8(text).unwrap();
        assert!(text.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"), "{text}");
        let pauses = arrivals.windows(2).filter(|w| w[1] - w[0] > Duration::from_millis(75));
        assert!(pauses.count() >= 4, "{arrivals:?}");
    }
    proxy.clients_are_gone(2);
    proxy.alive();
}

#[test]
fn changed_certificate_files_are_served_without_a_restart() {
    let [first, second, served] = [Folder::new(), Folder::new(), Folder::new()];
    let [first, second] = [&first, &second].map(|folder| {
        locate_or_make(None, None, folder.path(), "localhost").unwrap();
        folder.path().join("cert")
    });
    let cert = served.path().join("cert");
    let serve = |from: &Path| {
        for name in ["cert.pem", "key.pem"] {
            fs::copy(from.join(name), cert.join(name)).unwrap();
        }
    };
    fs::create_dir(&cert).unwrap();
    serve(&first);
    fs::copy(first.join("ca.pem"), cert.join("ca.pem")).unwrap();
    let args = vec!["--https", "--cert", "cert/cert.pem", "--key", "cert/key.pem"];
    let mut proxy = Proxy::start_in(served, Setup { args, ..Setup::default() });
    let trusts = |ca: &Path| tls(proxy.tcp(), &ca.join("ca.pem"), &[&TLS13], "localhost").is_ok();
    assert!(trusts(&first) && !trusts(&second));
    let mut kept = proxy.connect();
    serve(&second);
    until(Duration::from_secs(8), "the new certificate is served", || trusts(&second));
    fs::write(cert.join("cert.pem"), "no certificate").unwrap();
    until(Duration::from_secs(8), "it says that the new file is bad", || {
        assert!(trusts(&second), "the last good one stays");
        proxy.log().contains("the old one stays")
    });
    kept.send(get("/v1/models", ""));
    assert_eq!(kept.answer().unwrap().status, 200, "connections of before go on");
    drop(kept);
    serve(&first);
    until(Duration::from_secs(8), "the first certificate is served again", || trusts(&first));
    proxy.unharmed(16);
}
