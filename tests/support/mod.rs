//! The real server in this process, in front of the simulated AI Core, and a plain HTTP/1.1 client
//! that shows the framing.

// Each test file uses its own part of this.
#![allow(dead_code)]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use sap_ai_core_llm_proxy::config::{self, Limits};
use sap_ai_core_llm_proxy::demo::{Demo, Options, Seen};
use sap_ai_core_llm_proxy::dialect::{Passed, Passing};
use sap_ai_core_llm_proxy::error::Error;
use sap_ai_core_llm_proxy::live::Live;
use sap_ai_core_llm_proxy::relay::Relay;
use sap_ai_core_llm_proxy::server::Server;
use sap_ai_core_llm_proxy::sse::Frames;
use serde_json::{Value, json};

/// The header that lets a client of the demo's configuration in.
pub const KEY: &str = "authorization: Bearer sk-demo\r\n";
/// No wait for anything is longer than this.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running proxy and its upstream.
pub struct Proxy {
    pub demo: Demo,
    pub address: SocketAddr,
    pub server: Server,
}

impl Proxy {
    pub fn start() -> Proxy {
        Proxy::with(quick(), |_| {}, |_| {})
    }

    /// With the configuration file edited.
    pub fn configured(edit: impl FnOnce(&mut Value)) -> Proxy {
        Proxy::with(quick(), edit, |_| {})
    }

    pub fn limited(edit: impl FnOnce(&mut Limits)) -> Proxy {
        Proxy::with(quick(), |_| {}, edit)
    }

    pub fn with(
        options: Options,
        edit: impl FnOnce(&mut Value),
        limit: impl FnOnce(&mut Limits),
    ) -> Proxy {
        let demo = Demo::start(options).unwrap();
        let mut json = demo.config_json();
        edit(&mut json);
        let loaded = config::from_json(&json.to_string(), Path::new(""));
        let mut config = loaded.unwrap_or_else(|e| panic!("{e:?}")).config;
        limit(&mut config.limits);
        let live = Live::new(Relay::new(&config).unwrap());
        let server = Server::start(live, &config.limits, "127.0.0.1", 0, None).unwrap();
        Proxy { demo, address: server.address(), server }
    }

    pub fn client(&self) -> Client {
        Client::to(self.address)
    }

    /// A chat request on a connection of its own.
    pub fn chat(&self, body: &Value) -> Reply {
        self.client().chat(body)
    }

    /// The inference requests that reached the upstream.
    pub fn inferences(&self) -> Vec<Seen> {
        let seen = self.demo.seen().into_iter();
        seen.filter(|s| s.target.starts_with("/v2/inference/")).collect()
    }

    /// The last of them.
    pub fn last(&self) -> Seen {
        self.inferences().pop().expect("nothing reached the upstream")
    }
}

pub fn quick() -> Options {
    Options { pace_ms: 0, ..Options::default() }
}

/// A chat request for `model` that says `hi`.
pub fn hi(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "hi"}]})
}

/// The same, streamed.
pub fn stream(model: &str) -> Value {
    let mut body = hi(model);
    body["stream"] = json!(true);
    body
}

/// Waits until `is_so`, and no longer than is reasonable.
#[track_caller]
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    began.elapsed()
}

/// A connection to a proxy.
pub struct Client {
    socket: TcpStream,
    ahead: Vec<u8>,
}

/// An answer, as far as it came.
#[derive(Debug, Default)]
pub struct Reply {
    /// 0 if the connection ended before there was one.
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// What came together, where the framing shows it.
    pub chunks: Vec<Vec<u8>>,
    /// The framing's end was reached.
    pub is_whole: bool,
}

impl Client {
    pub fn to(address: SocketAddr) -> Client {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Client { socket, ahead: vec![] }
    }

    pub fn chat(&mut self, body: &Value) -> Reply {
        self.send("POST", "/v1/chat/completions", KEY, body.to_string().as_bytes())
    }

    /// `headers` are whole lines.
    pub fn send(&mut self, method: &str, target: &str, headers: &str, body: &[u8]) -> Reply {
        self.begin(method, target, headers, body);
        self.reply(method == "HEAD")
    }

    /// Sends a request and waits for nothing.
    pub fn begin(&mut self, method: &str, target: &str, headers: &str, body: &[u8]) {
        let length = match method {
            "POST" => format!("content-length: {}\r\n", body.len()),
            _ => String::new(),
        };
        let head = format!("{method} {target} HTTP/1.1\r\nhost: proxy\r\n{headers}{length}\r\n");
        self.write(&[head.as_bytes(), body].concat());
    }

    pub fn begin_chat(&mut self, body: &Value) {
        self.begin("POST", "/v1/chat/completions", KEY, body.to_string().as_bytes());
    }

    pub fn write(&mut self, bytes: &[u8]) {
        // Where the proxy has closed already, its answer is what counts.
        let _ = self.socket.write_all(bytes);
    }

    /// The rest of an answer.
    pub fn reply(&mut self, is_head: bool) -> Reply {
        let mut reply = self.head();
        if reply.header("transfer-encoding") == "chunked" {
            while let Some(chunk) = self.chunk() {
                reply.is_whole = chunk.is_empty();
                reply.body.extend_from_slice(&chunk);
                if reply.is_whole {
                    break;
                }
                reply.chunks.push(chunk);
            }
            return reply;
        }
        let length = match reply.header("content-length").parse() {
            _ if is_head || reply.status == 204 || reply.status == 100 => 0,
            Ok(length) => length,
            Err(_) => usize::MAX,
        };
        while reply.status != 0 && self.ahead.len() < length && self.read_more() {}
        reply.is_whole = reply.status != 0 && self.ahead.len() >= length;
        reply.body = self.ahead.drain(..length.min(self.ahead.len())).collect();
        reply
    }

    /// The head of an answer, without its body.
    pub fn head(&mut self) -> Reply {
        let Some(line) = self.line() else { return Reply::default() };
        let status = line.split(' ').nth(1).and_then(|s| s.parse().ok());
        let status = status.unwrap_or_else(|| panic!("not a status line: {line:?}"));
        let mut head = String::new();
        while let Some(line) = self.line().filter(|l| !l.is_empty()) {
            head += &line;
            head.push('\n');
        }
        Reply { status, head, ..Reply::default() }
    }

    /// The next chunk, empty for the last one; `None` where the connection ends before it.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = usize::from_str_radix(&self.line()?, 16).unwrap();
        while self.ahead.len() < size + 2 {
            if !self.read_more() {
                return None;
            }
        }
        let chunk = self.ahead.drain(..size + 2).collect::<Vec<_>>();
        Some(chunk[..size].to_vec())
    }

    /// Whether the proxy closes the connection and sends nothing before.
    pub fn is_closed(&mut self) -> bool {
        self.ahead.is_empty() && !self.read_more()
    }

    pub fn hang_up(self) {
        self.socket.shutdown(Shutdown::Both).unwrap();
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.ahead.iter().position(|b| *b == b'\n') {
                let line = self.ahead.drain(..=end).collect::<Vec<_>>();
                let line = line.strip_suffix(b"\r\n").expect("a line ends without CR");
                return Some(String::from_utf8(line.to_vec()).unwrap());
            }
            if !self.read_more() {
                return None;
            }
        }
    }

    /// False at the end. A time-out is a failure of the test.
    fn read_more(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        match self.socket.read(&mut piece) {
            Ok(n) => {
                self.ahead.extend_from_slice(&piece[..n]);
                n > 0
            }
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(e) => panic!("no answer: {e}"),
        }
    }
}

impl Reply {
    /// A header by its lower-case name; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(n, _)| *n == name).map_or("", |(_, value)| value)
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    /// What stands behind each `data: ` of a stream.
    pub fn data(&self) -> Vec<String> {
        self.text().lines().filter_map(|l| l.strip_prefix("data: ")).map(str::to_owned).collect()
    }

    /// The JSON frames of a stream.
    pub fn frames(&self) -> Vec<Value> {
        let data = self.data().into_iter().filter(|data| data != "[DONE]");
        data.map(|data| serde_json::from_str(&data).unwrap()).collect()
    }

    pub fn dones(&self) -> usize {
        self.data().iter().filter(|data| *data == "[DONE]").count()
    }

    /// The text of a chat reply, streamed or not.
    pub fn said(&self) -> String {
        if self.header("content-type") != "text/event-stream" {
            let json = self.json();
            return json["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
        }
        let frames = self.frames();
        frames.iter().filter_map(|f| f.pointer("/choices/0/delta/content")?.as_str()).collect()
    }
}

/// A stream as the relay passes it: what the client gets before the end or the failure.
pub fn pass<'a>(
    chunks: impl IntoIterator<Item = &'a [u8]>,
    stream: &mut dyn Passing,
) -> (Vec<u8>, Option<Error>) {
    let mut frames = Frames::default();
    let mut out = vec![];
    let ends = |passed: Passed| match passed {
        Passed::Nothing | Passed::Content => None,
        Passed::Done => Some(None),
        Passed::Failed(error) => Some(Some(error)),
    };
    for chunk in chunks {
        frames.push(chunk);
        while let Some(frame) = frames.next_frame() {
            if let Some(end) = ends(stream.frame(&frame, &mut out)) {
                return (out, end);
            }
        }
    }
    frames.finish();
    while let Some(frame) = frames.next_frame() {
        if let Some(end) = ends(stream.frame(&frame, &mut out)) {
            return (out, end);
        }
    }
    let end = ends(stream.finish(&mut out)).expect("a finished stream is done or has failed");
    (out, end)
}
