//! Images fetched from a real server of this file, which the configuration has to allow: it is not public.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use sap_ai_core_llm_proxy::aicore::{Allowed, FetchSettings, Fetched, Fetcher, URLS_MAX, Watch};
use sap_ai_core_llm_proxy::certificate;
use sap_ai_core_llm_proxy::error::Error;

const PATH: &str = "messages[0].content[1].image_url.url";
const BYTES_MAX: usize = 100_000;
const TIME_MAX: Duration = Duration::from_millis(600);
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";

#[test]
fn an_image_is_fetched_and_nothing_of_the_client_is_sent() {
    let server = Server::start(|stream, _| reply(stream, "200 OK", "image/x-wrong", PNG));
    let fetched = server.fetch("/a.png?size=1#top").unwrap();
    assert_eq!(fetched, Fetched { media_type: "image/png".into(), bytes: PNG.into() });
    let heads = server.heads();
    let mut lines: Vec<&str> = heads[0].trim_end().lines().collect();
    lines[1..].sort();
    let expected = [
        "GET /a.png?size=1 HTTP/1.1".to_owned(),
        "accept: image/png, image/jpeg, image/gif, image/webp, application/pdf".to_owned(),
        format!("host: 127.0.0.1:{}", server.port),
        format!("user-agent: sap-ai-core-llm-proxy/{}", env!("CARGO_PKG_VERSION")),
    ];
    assert_eq!(lines, expected);
    assert_eq!(URLS_MAX, 20);
}

#[test]
fn an_image_may_have_any_framing_and_just_the_size() {
    let image = [PNG, &vec![7; BYTES_MAX - PNG.len()]].concat();
    let body = image.clone();
    let server = Server::start(move |mut stream, head| match head.split(' ').nth(1) {
        Some("/chunked") => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            for part in body.chunks(7000) {
                let _ = write!(stream, "{:x}\r\n", part.len());
                let _ = stream.write_all(part);
                let _ = stream.write_all(b"\r\n");
            }
            let _ = stream.write_all(b"0\r\n\r\n");
        }
        Some("/close") => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            let _ = stream.write_all(&body);
        }
        _ => reply(stream, "200 OK", "image/png", &body),
    });
    for path in ["/length", "/chunked", "/close"] {
        assert_eq!(server.fetch(path).unwrap().bytes, image, "{path}");
    }
}

#[test]
fn what_is_too_large_is_refused_whatever_it_claims() {
    let too_large = "not fetched: it is larger than 100000 bytes (`limits.image_bytes_max`)";
    let server = Server::start(|mut stream, head| {
        let framing = match head.split(' ').nth(1) {
            Some("/length") => "Content-Length: 100001",
            Some("/absurd") => "Content-Length: 18446744073709551615",
            Some("/close") => "X: y",
            _ => "Transfer-Encoding: chunked",
        };
        let is_chunked = framing.starts_with('T');
        let _ = write!(stream, "HTTP/1.1 200 OK\r\n{framing}\r\n\r\n");
        let part = [PNG, &[0; 984]].concat();
        // Without end.
        while stream.write_all(if is_chunked { b"3e8\r\n" } else { b"" }).is_ok()
            && stream.write_all(&part).is_ok()
            && stream.write_all(if is_chunked { b"\r\n" } else { b"" }).is_ok()
        {}
    });
    for path in ["/length", "/absurd", "/close", "/chunked"] {
        assert_eq!(why(server.fetch(path)), too_large, "{path}");
    }
    let fetched = server.fetcher().fetch(&server.url("/length"), PATH, 500, None);
    let expected = "not fetched: the request would be too large with it (`limits.body_bytes_max`)";
    assert_eq!(why(fetched), expected);
}

#[test]
fn the_whole_has_its_time_however_lively_the_server_is() {
    let too_slow = "not fetched: it took longer than 600 ms (`limits.image_ms_max`)";
    let server = Server::start(|mut stream, head| {
        let lines: &[u8] = match head.split(' ').nth(1) {
            Some("/silent") => b"",
            Some("/head") => b"HTTP/1.1 200 OK\r\n",
            Some("/interim") => b"HTTP/1.1 100 Continue\r\n\r\n",
            _ => b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n\x89PNG\r\n\x1a\n",
        };
        let _ = stream.write_all(lines);
        let drip: &[u8] = match head.split(' ').nth(1) {
            Some("/silent") => b"",
            Some("/interim") => lines,
            Some("/head") => b"X: y\r\n",
            _ => b"x",
        };
        for _ in 0..60 {
            thread::sleep(Duration::from_millis(50));
            if stream.write_all(drip).is_err() {
                return;
            }
        }
    });
    for path in ["/silent", "/head", "/interim", "/body"] {
        let began = Instant::now();
        assert_eq!(why(server.fetch(path)), too_slow, "{path}");
        let took = began.elapsed();
        assert!(took >= TIME_MAX && took < TIME_MAX * 2, "{path}: {took:?}");
    }
}

#[test]
fn a_handshake_has_no_more_time_than_the_rest() {
    let server = Server::raw(|mut stream| {
        // A record of 16 KiB that comes byte by byte.
        let _ = stream.write_all(b"\x16\x03\x03\x40\x00");
        for _ in 0..100 {
            thread::sleep(Duration::from_millis(30));
            if stream.write_all(b"\x02").is_err() {
                return;
            }
        }
    });
    let began = Instant::now();
    let url = server.url("/").replace("http:", "https:");
    let said = why(server.fetcher().fetch(&url, PATH, BYTES_MAX, None));
    assert_eq!(said, "not fetched: it took longer than 600 ms (`limits.image_ms_max`)");
    assert!(began.elapsed() < TIME_MAX * 2);
}

#[test]
fn the_redirects_share_one_time() {
    let server = Server::start(|stream, _| {
        thread::sleep(Duration::from_millis(250));
        redirect(stream, "/again");
    });
    let said = why(server.fetch("/"));
    assert_eq!(said, "not fetched: it took longer than 600 ms (`limits.image_ms_max`)");
}

#[test]
fn three_redirects_are_followed_and_no_more() {
    let server = Server::start(|stream, head| match head.split(' ').nth(1) {
        Some("/0") => reply(stream, "200 OK", "image/png", PNG),
        Some("/1") => redirect(stream, "0"),
        Some("/2") => redirect(stream, "/1"),
        Some("/3") => {
            let host = head.lines().find_map(|l| l.strip_prefix("host: ")).unwrap().to_owned();
            redirect(stream, &format!("//{host}/2"));
        }
        Some("/4") => redirect(stream, "/3"),
        _ => redirect(stream, "/loop"),
    });
    assert_eq!(server.fetch("/3").unwrap().bytes, PNG);
    for path in ["/4", "/loop"] {
        assert_eq!(why(server.fetch(path)), "not fetched: more than 3 redirects", "{path}");
    }
}

#[test]
fn a_redirect_is_judged_as_the_url_was() {
    let not_found = "not fetched: its host cannot be found on the public internet; check the name, or send a data: URL";
    let port = "not fetched: a port that is not the web's, 80 or 443";
    let unfollowed = "not fetched: a redirect to what is not followed: ";
    let inner = Server::start(|stream, _| reply(stream, "200 OK", "image/png", PNG));
    let at = inner.port;
    let cases = [
        (format!("http://127.0.0.1:{at}/"), port.to_owned()),
        (format!("http://localhost:{at}/"), port.to_owned()),
        ("http://127.0.0.1/".into(), not_found.into()),
        ("http://localhost/".into(), not_found.into()),
        ("//169.254.169.254/latest/meta-data/".into(), not_found.into()),
        ("https://[::ffff:10.0.0.1]/".into(), not_found.into()),
        ("http://2130706433/".into(), format!("{unfollowed}neither a host name nor an address")),
        ("file:///etc/passwd".into(), format!("{unfollowed}neither an http nor an https URL")),
        (
            "data:image/png;base64,AA".into(),
            format!("{unfollowed}not an absolute http or https URL"),
        ),
        (
            format!("http://a@127.0.0.1:{at}/"),
            format!("{unfollowed}a URL with a user name or password in it"),
        ),
        ("\u{ff0f}\u{ff0f}".into(), "not fetched: more than 3 redirects".into()),
    ];
    for (location, expected) in cases {
        let to = location.clone();
        let outer = Server::start(move |stream, _| redirect(stream, &to));
        assert_eq!(why(outer.fetch("/")), expected, "{location}");
    }
    let nowhere = Server::start(|stream, _| reply(stream, "302 Found", "text/html", PNG));
    assert_eq!(why(nowhere.fetch("/")), "not fetched: the server answered 302");
    assert_eq!(inner.connections(), 0);
}

#[test]
fn no_redirect_leads_from_https_to_http() {
    let inner = Server::start(|stream, _| reply(stream, "200 OK", "image/png", PNG));
    let to = inner.url("/");
    let folder = Folder::make();
    let files = certificate::locate_or_make(None, None, &folder.0, "localhost").unwrap();
    let tls = certificate::server_config(&files).unwrap();
    let outer = Server::raw(move |stream| {
        let connection = rustls::ServerConnection::new(tls.clone()).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, stream);
        let Some(head) = head(&mut stream) else { return };
        let answer = match head.starts_with("GET /image ") {
            true => [b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n", PNG].concat(),
            false => redirection(&to).into_bytes(),
        };
        let _ = stream.write_all(&answer).and_then(|()| stream.flush());
    });
    let allowed = [format!("localhost:{}", outer.port), format!("127.0.0.1:{}", inner.port)];
    let mut settings = settings(&allowed);
    let at = |path: &str| format!("https://localhost:{}{path}", outer.port);
    let fetch = |settings: &FetchSettings, path: &str| {
        Fetcher::new(settings).unwrap().fetch(&at(path), PATH, BYTES_MAX, None)
    };
    let untrusted = "not fetched: its host cannot be reached, has no certificate to trust, or broke the connection";
    assert_eq!(why(fetch(&settings, "/image")), untrusted);
    settings.extra_roots = Some(folder.0.join("cert/ca.pem"));
    assert_eq!(fetch(&settings, "/image").unwrap().bytes, PNG);
    assert_eq!(why(fetch(&settings, "/")), "not fetched: a redirect from https to http");
    assert_eq!(inner.connections(), 0);
}

#[test]
fn no_answer_but_a_whole_image_counts() {
    let server = Server::start(|mut stream, head| match head.split(' ').nth(1) {
        Some("/404") => reply(stream, "404 Not Found", "image/png", PNG),
        Some("/500") => reply(stream, "500 secret", "image/png", PNG),
        Some("/206") => reply(stream, "206 Partial Content", "image/png", PNG),
        Some("/304") => reply(stream, "304 Not Modified", "image/png", b""),
        Some("/html") => reply(stream, "200 OK", "image/png", b"<!DOCTYPE html> secret"),
        Some("/svg") => reply(stream, "200 OK", "image/svg+xml", b"<svg xmlns='x'/>"),
        Some("/empty") => reply(stream, "200 OK", "image/png", b""),
        Some("/short") => reply(stream, "200 OK", "image/png", b"\x89PN"),
        Some("/gzip") => reply(
            stream,
            "200 OK\r\nContent-Encoding: gzip",
            "image/png",
            b"\x1f\x8b\x08\0\0\0\0\0\0\0\0\0",
        ),
        Some("/cut") => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n");
            let _ = stream.write_all(PNG);
        }
        Some("/cut-chunked") => {
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n");
            let _ = stream.write_all(PNG);
        }
        Some("/garbage") => {
            let _ = stream.write_all(b"220 ftp.internal secret\r\n");
        }
        _ => {}
    });
    const NOT_AN_IMAGE: &str = "not an image that models take (PNG, JPEG, GIF, WebP) nor a PDF";
    const BROKEN: &str = "not fetched: its host ";
    let cases = [
        ("/404", "not fetched: the server answered 404"),
        ("/500", "not fetched: the server answered 500"),
        ("/206", "not fetched: the server answered 206"),
        ("/304", "not fetched: the server answered 304"),
        ("/html", NOT_AN_IMAGE),
        ("/svg", NOT_AN_IMAGE),
        ("/empty", NOT_AN_IMAGE),
        ("/short", NOT_AN_IMAGE),
        ("/gzip", NOT_AN_IMAGE),
        ("/cut", BROKEN),
        ("/cut-chunked", BROKEN),
        ("/garbage", BROKEN),
        ("/nothing", BROKEN),
    ];
    for (path, expected) in cases {
        let said = why(server.fetch(path));
        assert!(
            said == expected || (expected == BROKEN && said.starts_with(BROKEN)),
            "{path}: {said}"
        );
        assert!(!said.contains("secret") && !said.contains("127.0.0.1"), "{path}: {said}");
    }
}

#[test]
fn hostile_urls_connect_to_nobody() {
    let server = Server::start(|stream, _| reply(stream, "200 OK", "image/png", PNG));
    let hosts = "127.0.0.1 127.1 127.0.1 0177.0.0.1 017700000001 0x7f.0.0.1 0x7f000001 0X7F.1 2130706433 127.0.0.1.
        127.000.000.001 0 0.0.0.0 localhost localhost. LOCALHOST localhost.localdomain ip6-localhost [::1] [::] [0:0::1]
        [::ffff:127.0.0.1] [::ffff:7f00:1] [::127.0.0.1] [64:ff9b::7f00:1] [2002:7f00:1::] [::1%25lo] [::1%lo]
        127.0.0.1%00 %31%32%37.0.0.1 ①②⑦.⓪.⓪.① 127。0。0。1 a@127.0.0.1 a:b@127.0.0.1 127.0.0.1\\@a.example
        a.example#@127.0.0.1 169.254.169.254 [fd00:ec2::254]";
    let fetcher = Fetcher::new(&settings(&[])).unwrap();
    let fetch = |url: &str| why(fetcher.fetch(url, PATH, BYTES_MAX, None));
    for host in hosts.split_whitespace() {
        for url in [
            format!("http://{host}:{}/", server.port),
            format!("https://{host}:{}/", server.port),
            format!("HTTP://{host}/"),
            format!("http://{host}"),
        ] {
            assert!(fetch(&url).starts_with("not fetched: "), "{url}");
        }
    }
    let port = server.port;
    for url in [
        format!("ftp://127.0.0.1:{port}/"),
        format!("gopher://127.0.0.1:{port}/_GET"),
        format!("//127.0.0.1:{port}/"),
        format!("127.0.0.1:{port}/"),
        format!("http:127.0.0.1:{port}/"),
        format!("http:/127.0.0.1:{port}/"),
        format!("http:\\\\127.0.0.1:{port}/"),
        format!("http://127.0.0.1:{port}/\r\nX: y"),
        format!(" http://127.0.0.1:{port}/"),
        format!("http://127.0.0.1:{port}/{}", "a".repeat(3000)),
        "file:///etc/passwd".into(),
        "".into(),
    ] {
        assert!(fetch(&url).starts_with("not fetched: "), "{url}");
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn images_are_fetched_only_where_that_is_wanted() {
    let server = Server::start(|stream, _| reply(stream, "200 OK", "image/png", PNG));
    let settings = FetchSettings { enabled: false, ..settings(&[server.name()]) };
    let fetched = Fetcher::new(&settings).unwrap().fetch(&server.url("/"), PATH, BYTES_MAX, None);
    let expected =
        "image URLs are not fetched by this proxy (`limits.fetch_images`): send a data: URL";
    assert_eq!(why(fetched), expected);
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_client_that_hangs_up_ends_it() {
    let server = Server::start(|_stream, _| thread::sleep(Duration::from_secs(3)));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    let hang_up = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        client.shutdown(Shutdown::Both).unwrap();
    });
    let began = Instant::now();
    let settings = FetchSettings { time_max: Duration::from_secs(3), ..settings(&[server.name()]) };
    let watch: Rc<dyn Watch> = Rc::new(Client(accepted));
    let fetcher = Fetcher::new(&settings).unwrap();
    let fetched = fetcher.fetch(&server.url("/"), PATH, BYTES_MAX, Some(watch));
    assert_eq!(fetched, Err(Error::ClientGone));
    assert!(began.elapsed() < Duration::from_secs(2));
    hang_up.join().unwrap();
}

struct Client(TcpStream);

impl Watch for Client {
    fn socket(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }

    fn patience(&self) -> Option<Duration> {
        None
    }

    fn silent(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn settings(allowed: &[String]) -> FetchSettings {
    FetchSettings {
        enabled: true,
        allowed: allowed.iter().map(|a| Allowed::parse(a).unwrap()).collect(),
        bytes_max: BYTES_MAX,
        time_max: TIME_MAX,
        extra_roots: None,
    }
}

fn why(fetched: Result<Fetched, Error>) -> String {
    match fetched {
        Err(Error::BadRequest { path, why }) => {
            assert_eq!(path, PATH);
            why
        }
        other => panic!("{other:?}"),
    }
}

/// A server that answers each connection once.
struct Server {
    port: u16,
    connections: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(answer: impl Fn(TcpStream, &str) + Send + Sync + 'static) -> Server {
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let seen = heads.clone();
        let server = Server::raw(move |mut stream| {
            let Some(head) = head(&mut stream) else { return };
            seen.lock().unwrap().push(head.clone());
            answer(stream, &head);
        });
        Server { heads, ..server }
    }

    fn raw(answer: impl Fn(TcpStream) + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let (count, answer) = (connections.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                let answer = answer.clone();
                thread::spawn(move || answer(stream));
            }
        });
        Server { port, connections, heads: Arc::default() }
    }

    fn name(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.name())
    }

    fn fetcher(&self) -> Fetcher {
        Fetcher::new(&settings(&[self.name()])).unwrap()
    }

    fn fetch(&self, path: &str) -> Result<Fetched, Error> {
        self.fetcher().fetch(&self.url(path), PATH, BYTES_MAX, None)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn head(stream: &mut impl Read) -> Option<String> {
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

fn reply(mut stream: TcpStream, status: &str, kind: &str, body: &[u8]) {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nSet-Cookie: a=b\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

fn redirect(mut stream: TcpStream, to: &str) {
    let _ = stream.write_all(redirection(to).as_bytes());
}

fn redirection(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")
}

struct Folder(PathBuf);

impl Folder {
    fn make() -> Folder {
        let path = std::env::temp_dir().join(format!("fetch-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
