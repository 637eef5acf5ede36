//! AI Core behind TLS, as it is: with a CA of one's own, through an HTTP proxy of the environment, and with connections
//! that are closed while they are idle. The upstream is a TLS server of this file, with real certificates.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use sap_ai_core_llm_proxy::live::Live;
use sap_ai_core_llm_proxy::relay::Relay;
use sap_ai_core_llm_proxy::server::Server;
use sap_ai_core_llm_proxy::{certificate, config};
use serde_json::{Value, json};
use support::{Client, hi, stream};

/// A name that no resolver knows: only a proxy can reach it.
const HOST: &str = "aicore.test";
/// A body of so many bytes is answered before it is read, and the connection is cut.
const EARLY_BYTES: usize = 16 << 20;

#[test]
fn one_connection_serves_one_request_after_the_other() {
    let aicore = AiCore::start(usize::MAX);
    let proxy = serve(&aicore.config("localhost", Some(&aicore.ca())));
    let mut client = Client::to(proxy.address());
    for _ in 0..3 {
        assert_eq!(client.chat(&hi("gpt-4o")).said(), "over TLS");
        assert_eq!(client.chat(&stream("gpt-4o")).said(), "over TLS");
    }
    assert_eq!(aicore.connections.load(Ordering::SeqCst), 1, "the token host is the same host");
}

#[test]
fn connections_that_were_closed_while_idle_are_replaced() {
    let aicore = AiCore::start(1);
    let proxy = serve(&aicore.config("localhost", Some(&aicore.ca())));
    let mut client = Client::to(proxy.address());
    for _ in 0..5 {
        assert_eq!(client.chat(&hi("gpt-4o")).said(), "over TLS");
    }
}

#[test]
fn a_certificate_of_nobody_is_not_trusted() {
    let aicore = AiCore::start(usize::MAX);
    let proxy = serve(&aicore.config("localhost", None));
    let reply = Client::to(proxy.address()).chat(&hi("gpt-4o"));
    assert_eq!(reply.status, 502);
    let message = reply.json()["error"]["message"].to_string();
    assert!(message.contains("certificate"), "{message}");
}

#[test]
fn a_certificate_of_another_host_is_not_trusted() {
    let aicore = AiCore::start_at("127.0.0.2", usize::MAX);
    let proxy = serve(&aicore.config("127.0.0.2", Some(&aicore.ca())));
    let reply = Client::to(proxy.address()).chat(&hi("gpt-4o"));
    assert_eq!(reply.status, 502);
    let message = reply.json()["error"]["message"].to_string();
    assert!(message.contains("certificate"), "{message}");
}

#[test]
fn a_proxy_of_the_environment_is_used_and_its_idle_tunnels_are_replaced() {
    for requests_max in [usize::MAX, 1] {
        let aicore = AiCore::start(requests_max);
        let tunnels = Tunnels::start(aicore.address);
        let file = aicore.folder.0.join("config.json");
        std::fs::write(&file, aicore.config(HOST, Some(&aicore.ca()))).unwrap();
        let binary = Binary::start(&file, &format!("http://{}", tunnels.address));
        let mut client = Client::to(binary.address);
        for _ in 0..4 {
            assert_eq!(client.chat(&hi("gpt-4o")).said(), "over TLS");
            assert_eq!(client.chat(&stream("gpt-4o")).said(), "over TLS");
        }
        let opened = tunnels.opened.load(Ordering::SeqCst);
        match requests_max {
            1 => assert!(opened >= 9, "{opened} tunnels"),
            // One for the requests, and one for what is asked at the start.
            _ => assert!((1..=2).contains(&opened), "{opened} tunnels"),
        }
    }
}

#[test]
fn an_answer_before_the_request_is_over_is_read_though_the_rest_cannot_be_written() {
    let aicore = AiCore::start(usize::MAX);
    let proxy = serve(&aicore.config("localhost", Some(&aicore.ca())));
    let mut body = hi("gpt-4o");
    body["messages"][0]["content"] = "x".repeat(EARLY_BYTES).into();
    for _ in 0..3 {
        let reply = Client::to(proxy.address()).chat(&body);
        let text = String::from_utf8_lossy(&reply.body);
        assert_eq!(reply.status, 413, "{text}");
        assert!(text.contains("too much"), "{text}");
    }
}

/// The proxy in this process.
fn serve(text: &str) -> Server {
    let config = config::from_json(text, Path::new("")).unwrap_or_else(|e| panic!("{e}")).config;
    let relay = Relay::new(&config).unwrap_or_else(|e| panic!("{e:?}"));
    Server::start(Live::new(relay), &config.limits, "127.0.0.1", 0, None).unwrap()
}

/// Token host and one deployment, over TLS.
struct AiCore {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    folder: Folder,
}

impl AiCore {
    /// `requests_max`: after so many it closes a connection, with TLS's goodbye.
    fn start(requests_max: usize) -> AiCore {
        AiCore::start_at("127.0.0.1", requests_max)
    }

    fn start_at(host: &str, requests_max: usize) -> AiCore {
        let folder = Folder::make();
        let files = certificate::locate_or_make(None, None, &folder.0, HOST).unwrap();
        let tls = certificate::server_config(&files).unwrap();
        let listener = TcpListener::bind((host, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                // What waits to be sent is lost when a connection is cut.
                stream.set_nodelay(true).unwrap();
                let connection = rustls::ServerConnection::new(tls.clone()).unwrap();
                let stream = rustls::StreamOwned::new(connection, stream);
                thread::spawn(move || answer(stream, requests_max));
            }
        });
        AiCore { address, connections, folder }
    }

    fn ca(&self) -> PathBuf {
        self.folder.0.join("cert/ca.pem")
    }

    fn config(&self, host: &str, ca: Option<&Path>) -> String {
        let at = format!("https://{host}:{}", self.address.port());
        json!({
            "service_key_json": {
                "clientid": "id", "clientsecret": "secret", "url": at,
                "serviceurls": {"AI_API_URL": at},
            },
            "deployment_models": {"gpt-4o": format!("{at}/v2/inference/deployments/d1")},
            "secret_authentication_tokens": ["sk-demo"],
            "upstream_ca": ca,
        })
        .to_string()
    }
}

type TlsStream = rustls::StreamOwned<rustls::ServerConnection, TcpStream>;

fn answer(mut stream: TlsStream, requests_max: usize) {
    for _ in 0..requests_max {
        let Some((head, body)) = request(&mut stream) else { return };
        let reply = match head.starts_with("POST /oauth/token ") {
            true => whole(r#"{"access_token":"t","expires_in":43199}"#),
            false if body.is_empty() => too_large(),
            false => chat(&body),
        };
        let is_written = stream.write_all(reply.as_bytes()).and_then(|()| stream.flush()).is_ok();
        if !is_written || body.is_empty() {
            return;
        }
    }
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

fn request(stream: &mut TlsStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = vec![];
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).ok()?;
    let length =
        head.lines().find_map(|l| l.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.filter(|n| *n < EARLY_BYTES).unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    Some((head, body))
}

fn chat(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    if body["stream"] != json!(true) {
        let message = json!({"role": "assistant", "content": "over TLS"});
        let choices = json!([{"index": 0, "message": message, "finish_reason": "stop"}]);
        return whole(&json!({"model": "gpt-4o-2024", "choices": choices}).to_string());
    }
    let mut reply = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    let event = |delta: Value, finish: Option<&str>| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        json!({"model": "gpt-4o-2024", "choices": [choice]}).to_string()
    };
    let events = [
        event(json!({"content": "over TLS"}), None),
        event(json!({}), Some("stop")),
        "[DONE]".into(),
    ];
    for event in events {
        reply += &format!("{:x}\r\ndata: {event}\n\n\r\n", event.len() + 8);
    }
    reply + "0\r\n\r\n"
}

fn whole(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn too_large() -> String {
    let body = r#"{"error":{"message":"too much"}}"#;
    format!("HTTP/1.1 413 Too Large\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// An HTTP proxy that makes tunnels: whatever host it is asked for, to one address.
struct Tunnels {
    address: SocketAddr,
    opened: Arc<AtomicUsize>,
}

impl Tunnels {
    fn start(to: SocketAddr) -> Tunnels {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let opened = Arc::new(AtomicUsize::new(0));
        let count = opened.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || tunnel(client, to));
            }
        });
        Tunnels { address, opened }
    }
}

fn tunnel(mut client: TcpStream, to: SocketAddr) -> Option<()> {
    let mut head = vec![];
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    assert!(head.starts_with(format!("CONNECT {HOST}:").as_bytes()));
    let server = TcpStream::connect(to).ok()?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").ok()?;
    let (from_client, to_server) = (client.try_clone().ok()?, server.try_clone().ok()?);
    thread::spawn(move || pump(from_client, to_server));
    pump(server, client);
    Some(())
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(std::net::Shutdown::Write);
}

/// The binary, whose environment a test cannot share.
struct Binary {
    child: Child,
    address: SocketAddr,
}

impl Binary {
    fn start(config: &Path, proxy: &str) -> Binary {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sap-ai-core-llm-proxy"))
            .args(["--port", "0", "--log-level", "off", "--config"])
            .arg(config)
            .env("HTTPS_PROXY", proxy)
            .env_remove("NO_PROXY")
            .env_remove("PROXY_KEYS")
            .env_remove("no_proxy")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next());
        let address = address.unwrap_or_else(|| panic!("no address in {line:?}")).parse().unwrap();
        Binary { child, address }
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Folder(PathBuf);

impl Folder {
    fn make() -> Folder {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name =
            format!("upstream-tls-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
