//! The binary as a child process, and a client that sends exactly what it is told to.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use serde_json::{Value, json};

pub const BINARY: &str = env!("CARGO_BIN_EXE_sap-ai-core-llm-proxy");
/// The client key of the demo, and of [`nowhere`].
pub const KEY: &str = "sk-demo";
/// How long anything may take that is not slow on purpose.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How long an honest client waits, whatever goes on.
const PROMPT: Duration = Duration::from_secs(3);
/// Descriptors and threads that may come and go by themselves.
const SLACK: usize = 2;

/// Waits until `is_so`, and fails where that does not come true in time.
pub fn until(limit: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A directory that is removed when dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("attacks-{}-{count}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A configuration whose AI Core is nowhere: enough for all that the proxy answers by itself.
pub fn nowhere(limits: Value) -> Value {
    let nowhere = "http://127.0.0.1:9";
    json!({
        "service_key_json": {
            "clientid": "some-id",
            "clientsecret": "some-secret",
            "url": nowhere,
            "serviceurls": {"AI_API_URL": nowhere},
        },
        "deployment_models": {"gpt-4o": format!("{nowhere}/v2/inference/deployments/d1")},
        "secret_authentication_tokens": [KEY],
        "limits": limits,
    })
}

/// How to start the binary.
#[derive(Default)]
pub struct Setup {
    /// `None`: `--demo`.
    pub config: Option<Value>,
    pub args: Vec<&'static str>,
    pub open_files: Option<u32>,
    /// Not empty: instead of a configuration and of `--demo`.
    pub environment: Vec<(&'static str, String)>,
}

/// The running binary. Killed when dropped.
pub struct Proxy {
    child: Child,
    folder: Folder,
    pub port: u16,
    pub is_https: bool,
    out: Text,
    log: Text,
    baseline: Usage,
}

/// What a process holds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    pub fds: usize,
    pub threads: usize,
    pub rss_kib: usize,
}

type Text = Arc<Mutex<Vec<u8>>>;

impl Proxy {
    pub fn demo() -> Proxy {
        Proxy::start(Setup::default())
    }

    pub fn with_limits(limits: Value) -> Proxy {
        Proxy::start(Setup { config: Some(nowhere(limits)), ..Setup::default() })
    }

    pub fn https() -> Proxy {
        Proxy::start(Setup { args: vec!["--https"], ..Setup::default() })
    }

    pub fn start(setup: Setup) -> Proxy {
        Proxy::start_in(Folder::new(), setup)
    }

    pub fn start_in(folder: Folder, setup: Setup) -> Proxy {
        raise_own_limit();
        let mut command = match setup.open_files {
            None => Command::new(BINARY),
            Some(n) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {n} && exec \"$0\" \"$@\""), BINARY]);
                shell
            }
        };
        match &setup.config {
            None if !setup.environment.is_empty() => &mut command,
            None => command.arg("--demo"),
            Some(config) => {
                command.arg("--config").arg(folder.write("config.json", &config.to_string()))
            }
        };
        if !setup.args.contains(&"--log-level") {
            command.args(["--log-level", "warn"]);
        }
        command.args(["--port", "0"]).args(&setup.args).current_dir(folder.path());
        without_keys(&mut command, folder.path()).envs(setup.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = collect(child.stdout.take().unwrap());
        let log = collect(child.stderr.take().unwrap());
        let is_https = setup.args.contains(&"--https");
        let mut proxy =
            Proxy { child, folder, port: 0, is_https, out, log, baseline: Usage::default() };
        until(PATIENCE, "the proxy tells where it serves", || {
            assert!(proxy.child.try_wait().unwrap().is_none(), "it ended: {}", proxy.log());
            proxy.out().contains("\nModels:\n")
        });
        proxy.port = base_url_port(&proxy.out());
        // Only now are signals expected.
        until(PATIENCE, "SIGTERM is handled", || proxy.handles_sigterm());
        proxy.honest();
        proxy.baseline = proxy.settled();
        proxy
    }

    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.out.lock().unwrap()).into_owned()
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&self.log.lock().unwrap()).into_owned()
    }

    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn terminate(&self) {
        kill_process(self.pid(), Signal::TERM).unwrap();
    }

    /// The threads that have this name.
    pub fn threads_named(&self, name: &str) -> Vec<Pid> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap().flatten();
        let is_it = |path: &PathBuf| {
            fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name)
        };
        let paths = tasks.map(|task| task.path()).filter(is_it);
        let ids = paths.filter_map(|path| path.file_name()?.to_str()?.parse().ok());
        ids.filter_map(Pid::from_raw).collect()
    }

    /// How it ended, where it does within `limit`.
    pub fn ended(&mut self, limit: Duration) -> ExitStatus {
        let mut status = None;
        until(limit, "the process ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// An honest client: connects, asks, is answered promptly. How long that took.
    pub fn honest(&self) -> Duration {
        let start = Instant::now();
        let mut client = self.connect();
        client.send(get("/v1/models", "Connection: close\r\n"));
        let answer = client.answer().expect("an honest client gets an answer");
        assert_eq!(answer.status, 200, "an honest client is served");
        assert!(client.rest().is_empty());
        let took = start.elapsed();
        assert!(took < PROMPT, "an honest client waited {took:?}");
        took
    }

    /// The process lives, did not panic, and serves honest clients.
    pub fn alive(&mut self) {
        self.honest();
        assert!(self.child.try_wait().unwrap().is_none(), "the proxy ended");
        let log = self.log();
        for word in ["panicked", "please report", "overflow", "backtrace"] {
            assert!(!log.contains(word), "{log}");
        }
    }

    /// [`Proxy::alive`], and nothing is left of an attack. At its worst it took no more than
    /// `peak_mib` of memory. Where AI Core was asked, its idle connections stay: see
    /// [`Proxy::clients_are_gone`].
    pub fn unharmed(&mut self, peak_mib: usize) {
        self.alive();
        let baseline = self.baseline;
        until(Duration::from_secs(8), &format!("no more than before, {baseline:?}"), || {
            let now = self.usage();
            now.fds <= baseline.fds + SLACK && now.threads <= baseline.threads + SLACK
        });
        let peak = self.status("VmHWM").saturating_sub(baseline.rss_kib) / 1024;
        let test = thread::current().name().unwrap_or_default().to_owned();
        eprintln!("{test}: peak {peak} MiB over {} MiB", baseline.rss_kib / 1024);
        assert!(peak <= peak_mib, "{peak} MiB more than at rest");
    }

    /// No thread is left that serves a client, but for the pool's own, and no descriptor but for
    /// `idle` connections to AI Core.
    pub fn clients_are_gone(&self, idle: usize) {
        let most = self.baseline.fds + SLACK + idle;
        until(Duration::from_secs(8), "the clients are forgotten", || {
            self.threads_named("client").len() <= 16 && self.fds() <= most
        });
    }

    /// Clients that hold a connection: descriptors beyond those at rest.
    pub fn fds_beyond_rest(&self) -> usize {
        self.usage().fds.saturating_sub(self.baseline.fds)
    }

    pub fn fds(&self) -> usize {
        self.usage().fds
    }

    pub fn rss_mib_beyond_rest(&self) -> usize {
        self.usage().rss_kib.saturating_sub(self.baseline.rss_kib) / 1024
    }

    fn usage(&self) -> Usage {
        let count =
            |what| fs::read_dir(format!("/proc/{}/{what}", self.child.id())).unwrap().count();
        Usage { fds: count("fd"), threads: count("task"), rss_kib: self.status("VmRSS") }
    }

    /// Waits until descriptors and threads stay as they are.
    pub fn settled(&self) -> Usage {
        let mut last = self.usage();
        until(PATIENCE, "the proxy is at rest", || {
            thread::sleep(Duration::from_millis(100));
            let now = self.usage();
            let is_settled = (now.fds, now.threads) == (last.fds, last.threads);
            last = now;
            is_settled
        });
        last
    }

    fn handles_sigterm(&self) -> bool {
        let mask = u64::from_str_radix(&self.status_text("SigCgt"), 16).unwrap();
        mask & (1 << (Signal::TERM.as_raw() - 1)) != 0
    }

    fn status(&self, name: &str) -> usize {
        self.status_text(name).trim_end_matches(" kB").parse().unwrap()
    }

    fn status_text(&self, name: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
    }

    pub fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub fn connect(&self) -> Client {
        match self.is_https {
            false => Client::new(self.tcp()),
            true => Client::new(self.tls(rustls::DEFAULT_VERSIONS, "localhost").unwrap()),
        }
    }

    /// After the handshake, with the server's certificate verified for `name`.
    pub fn tls(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        name: &str,
    ) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        tls(self.tcp(), &self.folder.path().join("cert/ca.pem"), versions, name)
    }
}

/// A handshake that trusts only `ca`.
pub fn tls(
    tcp: TcpStream,
    ca: &Path,
    versions: &[&'static SupportedProtocolVersion],
    name: &str,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, tcp);
    stream.conn.complete_io(&mut stream.sock)?;
    Ok(stream)
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("its log:\n{}", self.log());
        }
    }
}

fn base_url_port(out: &str) -> u16 {
    let line = out.lines().find_map(|l| l.strip_prefix("Base URL for OpenAI clients: "));
    let port = line.and_then(|url| url.strip_suffix("/v1")?.rsplit(':').next()?.parse().ok());
    port.unwrap_or_else(|| panic!("no base URL in {out}"))
}

fn collect(mut from: impl Read + Send + 'static) -> Text {
    let text = Text::default();
    let into = text.clone();
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut chunk) {
            into.lock().unwrap().extend_from_slice(&chunk[..n]);
        }
    });
    text
}

/// The tests hold many sockets at the same time.
fn raise_own_limit() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised).unwrap();
    });
}

/// Runs a command to its end: exit code, standard output, standard error.
pub fn run(folder: &Folder, args: &[&str], input: &str) -> (i32, String, String) {
    let mut command = Command::new(BINARY);
    command.args(args).current_dir(folder.path());
    run_command(without_keys(&mut command, folder.path()), input)
}

/// Whoever runs the tests may have service keys of their own in the environment.
fn without_keys<'c>(command: &'c mut Command, home: &Path) -> &'c mut Command {
    let is_ours =
        |name: &str| name.starts_with("AICORE_") || name == "VCAP_SERVICES" || name == "PROXY_KEYS";
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in names.filter(|name| is_ours(name)) {
        command.env_remove(name);
    }
    command.env("HOME", home)
}

pub fn run_command(command: &mut Command, input: &str) -> (i32, String, String) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.env("RUST_BACKTRACE", "1").spawn().unwrap();
    let (out, log) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let [out, log] = [collect_whole(out), collect_whole(log)];
    // A command that does not read its input may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if Instant::now() < deadline => thread::sleep(Duration::from_millis(10)),
            None => break None,
        }
    };
    if status.is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let (out, log) = (out.join().unwrap(), log.join().unwrap());
    let status = status.unwrap_or_else(|| panic!("did not end\n{out}\n{log}"));
    (status.code().unwrap_or_else(|| panic!("{status}\n{log}")), out, log)
}

fn collect_whole(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = vec![];
        from.read_to_end(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    })
}

pub fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n{headers}\r\n")
}

/// A chat request with the right key; `headers` frame the body.
pub fn post(headers: &str) -> String {
    get("/v1/chat/completions", headers).replacen("GET", "POST", 1)
}

/// A chat request, whole.
pub fn chat(prompt: &str, is_stream: bool, headers: &str) -> String {
    let body = chat_body(prompt, is_stream);
    format!("{}{body}", post(&format!("{headers}Content-Length: {}\r\n", body.len())))
}

pub fn chat_body(prompt: &str, is_stream: bool) -> String {
    json!({
        "model": "gpt-4o",
        "stream": is_stream,
        "messages": [{"role": "user", "content": prompt}],
    })
    .to_string()
}

pub trait Wire: Read + Write + Send {}

impl<T: Read + Write + Send> Wire for T {}

/// A connection, and what came on it but was not looked at yet.
pub struct Client {
    wire: Box<dyn Wire>,
    buffer: Vec<u8>,
    start: usize,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// In lower case.
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": "))
    }

    pub fn closes(&self) -> bool {
        self.header("connection") == Some("close")
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Client {
    pub fn new(wire: impl Wire + 'static) -> Client {
        Client { wire: Box::new(wire), buffer: vec![], start: 0 }
    }

    /// Sends, as far as the other side lets it: it may have closed in the middle.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.wire.write_all(bytes.as_ref()).and_then(|()| self.wire.flush()).is_ok()
    }

    /// The next answer; `None` where the connection is closed before its first byte.
    pub fn answer(&mut self) -> Option<Answer> {
        let end = loop {
            match memchr::memmem::find(self.unused(), b"\r\n\r\n") {
                Some(end) => break end + 4,
                None if self.more() => {}
                None => {
                    assert!(self.unused().is_empty(), "cut within an answer's head");
                    return None;
                }
            }
        };
        let head = String::from_utf8(self.take(end)).unwrap().to_ascii_lowercase();
        let status = head.strip_prefix("http/1.1 ").and_then(|h| h.get(..3)?.parse().ok());
        let status = status.unwrap_or_else(|| panic!("{head:?}"));
        let mut answer = Answer { status, head, body: vec![] };
        if matches!(status, 100 | 204) {
            return Some(answer);
        }
        answer.body = match answer.header("content-length") {
            Some(length) => {
                let length: usize = length.parse().unwrap();
                self.take(length)
            }
            None if answer.header("transfer-encoding") == Some("chunked") => self.chunks(),
            None => self.rest(),
        };
        Some(answer)
    }

    /// All that comes until the connection is closed.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.more() {}
        self.take(self.buffer.len() - self.start)
    }

    /// The next chunk of an answer in parts; empty: the last one.
    pub fn chunk(&mut self) -> Vec<u8> {
        let end = loop {
            match memchr::memmem::find(self.unused(), b"\r\n") {
                Some(end) => break end,
                None => assert!(self.more(), "cut within a chunk's size"),
            }
        };
        let line = String::from_utf8(self.take(end + 2)).unwrap();
        let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
        let mut chunk = self.take(size + 2);
        assert!(chunk.ends_with(b"\r\n"));
        chunk.truncate(size);
        chunk
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = vec![];
        loop {
            match self.chunk() {
                chunk if chunk.is_empty() => return body,
                chunk => body.extend(chunk),
            }
        }
    }

    pub fn unused(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        while self.unused().len() < count {
            assert!(self.more(), "cut within an answer");
        }
        let taken = self.unused()[..count].to_vec();
        self.start += count;
        taken
    }

    /// Reads once. False: closed, in whatever manner. Fails where nothing comes in time.
    pub fn more(&mut self) -> bool {
        self.buffer.drain(..self.start);
        self.start = 0;
        let filled = self.buffer.len();
        self.buffer.resize(filled + 16 * 1024, 0);
        let read = loop {
            match self.wire.read(&mut self.buffer[filled..]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(filled + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(n) => n > 0,
            Err(e) => {
                let is_late =
                    matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
                assert!(!is_late, "neither an answer nor a close in time");
                false
            }
        }
    }
}
