use super::*;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;

const PATH: &str = "messages[0].content[1].image_url.url";
const NOT_FOUND: &str = "not fetched: its host cannot be found on the public internet; check the name, or send a data: URL";

fn settings(allowed: &[&str]) -> FetchSettings {
    FetchSettings {
        enabled: true,
        allowed: allowed.iter().map(|a| Allowed::parse(a).unwrap()).collect(),
        bytes_max: 1000,
        time_max: Duration::from_secs(5),
        extra_roots: None,
    }
}

/// A resolver that knows these, and says what it was asked.
type Asked = Arc<Mutex<Vec<String>>>;

fn knowing(names: &'static [(&'static str, &'static [&'static str])]) -> (LookUp, Asked) {
    let asked = Asked::default();
    let seen = asked.clone();
    let look_up = move |name: &str, port| {
        seen.lock().unwrap().push(name.to_owned());
        let found = names.iter().find(|(known, _)| *known == name);
        let (_, addresses) = found.ok_or(io::ErrorKind::NotFound)?;
        Ok(addresses.iter().map(|a| SocketAddr::new(a.parse().unwrap(), port)).collect())
    };
    (Arc::new(look_up), asked)
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

/// Where the task would connect to.
fn way(fetcher: &Fetcher, url: &str) -> Result<String, Error> {
    let deadline = Instant::now() + fetcher.settings.time_max;
    let task = Task { fetcher, path: PATH, room: 0, call: wire::Call::default(), deadline };
    Ok(match task.way(&Target::parse(url).unwrap())? {
        Way::Direct(addresses) => format!("{addresses:?}"),
        Way::Tunnel(_, address) => format!("tunnel to {address:?}"),
    })
}

#[test]
fn every_address_of_a_name_has_to_be_public() {
    let (look_up, _) = knowing(&[
        ("public.example", &["1.1.1.1", "2606:4700::1111"]),
        ("mixed.example", &["1.1.1.1", "10.0.0.1"]),
        ("mixed6.example", &["2606:4700::1111", "::1"]),
        ("mapped.example", &["::ffff:1.1.1.1"]),
        ("inner.example", &["169.254.169.254"]),
        ("localhost", &["127.0.0.1", "::1"]),
        ("none.example", &[]),
    ]);
    let fetcher = Fetcher::with(&settings(&[]), None, look_up).unwrap();
    assert_eq!(
        way(&fetcher, "https://public.example/").unwrap(),
        "[1.1.1.1:443, [2606:4700::1111]:443]"
    );
    assert_eq!(way(&fetcher, "http://1.1.1.1/").unwrap(), "[1.1.1.1:80]");
    let hosts = "mixed.example mixed6.example mapped.example inner.example localhost none.example unknown.example
        127.0.0.1 10.0.0.1 169.254.169.254 [::1] [::] [::ffff:127.0.0.1] [::ffff:8.8.8.8] [fd00::1] [fe80::1]
        [64:ff9b::127.0.0.1] [2002:7f00:1::] [::127.0.0.1]";
    for host in hosts.split_whitespace() {
        for scheme in ["http", "https"] {
            let fetched = fetcher.fetch(&format!("{scheme}://{host}/a.png"), PATH, 1000, None);
            assert_eq!(why(fetched), NOT_FOUND, "{host}");
        }
    }
}

#[test]
fn odd_spellings_are_not_even_looked_up() {
    let (look_up, asked) = knowing(&[]);
    let fetcher = Fetcher::with(&settings(&[]), None, look_up).unwrap();
    let hosts = "2130706433 0x7f000001 017700000001 127.1 127.0.1 0177.0.0.1 0x7f.0.0.1 127.0.0.1. localhost. 127.0.0.01 0
        [::1%25lo] [127.0.0.1] ①②⑦.⓪.⓪.① 127。0。0。1 127.0.0.1%00.example localhost:8080 public.example:22
        user@public.example public.example\\@127.0.0.1 %6c%6f%63alhost";
    for host in hosts.split_whitespace() {
        let said = why(fetcher.fetch(&format!("http://{host}/a.png"), PATH, 1000, None));
        assert!(said.starts_with("not fetched: "), "{host}: {said}");
    }
    assert_eq!(*asked.lock().unwrap(), [""; 0]);
}

#[test]
fn a_name_is_looked_up_once_and_what_was_judged_is_connected_to() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let asked = head(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n%PDF-1.7").unwrap();
        asked
    });
    // No other resolver knows this name; ours would lead elsewhere the second time.
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let look_up: LookUp = Arc::new(move |_, port| {
        let ip: IpAddr = match count.fetch_add(1, Ordering::SeqCst) {
            0 => [127, 0, 0, 1].into(),
            _ => [127, 0, 0, 2].into(),
        };
        Ok(vec![SocketAddr::new(ip, port)])
    });
    let host = format!("images.invalid:{port}");
    let fetcher = Fetcher::with(&settings(&[&host]), None, look_up).unwrap();
    let fetched = fetcher.fetch(&format!("http://{host}/"), PATH, 1000, None).unwrap();
    assert_eq!(fetched.media_type, "application/pdf");
    assert!(server.join().unwrap().contains(&format!("\r\nhost: {host}\r\n")));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[test]
fn a_resolver_that_hangs_is_left_behind() {
    let look_up: LookUp = Arc::new(|_, _| {
        thread::sleep(Duration::from_secs(2));
        Ok(vec![])
    });
    let time_max = Duration::from_millis(100);
    let fetcher = Fetcher::with(&FetchSettings { time_max, ..settings(&[]) }, None, look_up);
    let began = Instant::now();
    let said = why(fetcher.unwrap().fetch("https://slow.example/", PATH, 1000, None));
    assert_eq!(said, "not fetched: it took longer than 100 ms (`limits.image_ms_max`)");
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_proxy_of_the_environment_is_asked_for_judged_addresses() {
    let (look_up, asked) = knowing(&[
        ("public.example", &["2606:4700::1111", "1.1.1.1"]),
        ("inner.example", &["10.0.0.1"]),
        ("near.example", &["1.0.0.1"]),
    ]);
    let proxy = ureq::Proxy::builder(ureq::ProxyProtocol::Http)
        .host("127.0.0.1")
        .no_proxy("near.example")
        .build();
    let allowed = settings(&["images.corp:8080", "inner.example", "127.0.0.1:81"]);
    let fetcher = Fetcher::with(&allowed, proxy.ok(), look_up).unwrap();
    let cases = [
        ("https://public.example/", "tunnel to Some(1.1.1.1)"),
        ("https://near.example/", "[1.0.0.1:443]"),
        ("http://images.corp:8080/", "tunnel to None"),
        ("http://inner.example/", "tunnel to None"),
        ("http://127.0.0.1:81/", "[127.0.0.1:81]"),
    ];
    for (url, expected) in cases {
        assert_eq!(way(&fetcher, url).unwrap(), expected, "{url}");
    }
    assert_eq!(*asked.lock().unwrap(), ["public.example", "near.example"]);
    for url in
        ["https://unknown.example/", "http://images.corp/", "http://10.0.0.1/", "http://[::1]/"]
    {
        assert_eq!(why(way(&fetcher, url).map(|_| unreachable!())), NOT_FOUND, "{url}");
    }
}

#[test]
fn a_tunnel_is_made_to_the_address_and_the_name_is_told_within() {
    let (proxy, server) = proxy(|mut stream| {
        let head = head(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nGIF89a").unwrap();
        head
    });
    let (look_up, _) = knowing(&[("public.example", &["1.1.1.1"])]);
    let fetcher = Fetcher::with(&settings(&[]), Some(proxy), look_up).unwrap();
    let fetched = fetcher.fetch("http://public.example/a.gif", PATH, 1000, None).unwrap();
    assert_eq!(fetched, Fetched { media_type: "image/gif".into(), bytes: b"GIF89a".into() });
    let (connect, get) = server.join().unwrap();
    assert!(connect.starts_with("CONNECT 1.1.1.1:80 HTTP/1.1\r\n"), "{connect}");
    assert!(!connect.contains("public.example"), "{connect}");
    assert!(get.starts_with("GET /a.gif HTTP/1.1\r\n"), "{get}");
    assert!(get.contains("\r\nhost: public.example\r\n"), "{get}");
}

#[test]
fn within_a_tunnel_the_certificate_of_the_name_is_wanted() {
    let folder = std::env::temp_dir().join(format!("fetch-tunnel-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let files = crate::certificate::locate_or_make(None, None, &folder, "public.example").unwrap();
    let tls = crate::certificate::server_config(&files).unwrap();
    let (look_up, _) =
        knowing(&[("public.example", &["1.1.1.1"]), ("other.example", &["1.1.1.1"])]);
    for (name, is_right) in [("public.example", true), ("other.example", false), ("1.1.1.1", false)]
    {
        let tls = tls.clone();
        let (proxy, server) = proxy(move |stream| {
            let connection = rustls::ServerConnection::new(tls).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream);
            if !is_right {
                return stream.flush().unwrap_err().to_string();
            }
            let head = head(&mut stream);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nGIF89a").unwrap();
            stream.flush().unwrap();
            head
        });
        let extra_roots = Some(folder.join("cert/ca.pem"));
        let settings = FetchSettings { extra_roots, ..settings(&[]) };
        let fetcher = Fetcher::with(&settings, Some(proxy), look_up.clone()).unwrap();
        let fetched = fetcher.fetch(&format!("https://{name}/"), PATH, 1000, None);
        assert_eq!(fetched.is_ok(), is_right, "{name}: {fetched:?}");
        if !is_right {
            assert!(why(fetched).contains("no certificate to trust"));
        }
        let (connect, inside) = server.join().unwrap();
        assert!(connect.starts_with("CONNECT 1.1.1.1:443 HTTP/1.1\r\n"), "{connect}");
        assert_eq!(inside.contains("\r\nhost: public.example\r\n"), is_right, "{inside}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

/// An HTTP proxy for one tunnel, at whose other end is `serve`. It tells both heads.
fn proxy(
    serve: impl FnOnce(TcpStream) -> String + Send + 'static,
) -> (ureq::Proxy, thread::JoinHandle<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let connect = head(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        (connect, serve(stream))
    });
    (ureq::Proxy::new(&format!("http://{address}")).unwrap(), server)
}

fn head(stream: &mut impl Read) -> String {
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}
