//! An embedded simulated SAP AI Core on loopback: what `--demo` talks to, and the upstream of our
//! tests.
//!
//! It is strict. What the real one refuses (dossier, sections 2 to 5a, 7 and 10) it refuses too, in
//! the recorded shapes, and beyond that it refuses requests that carry a client's own credentials
//! or negotiation headers upstream.
//!
//! ```text
//! POST /oauth/token                            credentials in the form, or Basic with the grant in form or query (2)
//! GET  /v2/lm/deployments[/{id}|/$count]       status, scenarioId, executableIds, configurationId, $top, $skip (4.1)
//! GET  /v2/lm/configurations/{id}              for deployments that do not name their model (4.1)
//! POST /v2/inference/deployments/{id}/…        the deployment's family decides: see FAMILIES
//! ```
//!
//! An answer is one of the demo's own: the user's text comes back in a sentence, tools are called
//! when the user's text names them, embeddings are drawn from a hash of the text. Everything is the
//! same each time but ids and times.
//!
//! # Faults
//!
//! A [`Fault`] is a behaviour out of the ordinary. A test queues it with [`Demo::push`]; a client
//! that has nothing but an SDK writes it into its prompt, and the last marker of a body counts:
//!
//! ```text
//! marker = "[[demo " word (" " word)* "]]"        no value holds a space, a quote or "]]"
//! word   = status=N retry_after=S body=TEXT delay_ms=N no_answer
//!        | pause_ms=N silence=FRAME:MS
//!        | frames=N tool=NAME[,NAME] error_after=N cut_after=N end_after=N drop_last=N
//!        | pieces=N[,N] crlf blank_lines=N comments no_space head_bytes=N close
//!        | times=N key=K                          only the first N requests with this key
//! ```
//!
//! Each word is the field of [`Fault`] of the same name (`tool` is `tools`, `retry_after` a
//! header). A marker the demo does not understand is answered with a 400 that says so. A queued
//! fault comes before a marker. A request that has to be refused is refused whatever the fault,
//! which is then used up; only `early` faults come before every check.
//!
//! # Why not tiny_http
//!
//! The demo has to cut a connection in the middle of a frame, to answer before a body is read, to
//! notice a hang-up during a pause, and to serve any burst of new connections. tiny_http 0.12 keeps
//! its sockets to itself, and its pool may leave one of several simultaneous connections unserved.
//! So the demo reads heads with httparse, a thread for each connection.

mod azure;
mod fault;
mod http;
mod schema;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

pub use fault::{Fault, Place};
use http::{Answer, Connection, Head};

/// The running demo. Dropping it closes its connections.
pub struct Demo {
    core: Arc<Core>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug, Clone)]
pub struct Options {
    /// Between the frames of a stream.
    pub pace_ms: u64,
    /// How long an access token is good for, in seconds.
    pub token_expires_in: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { pace_ms: 30, token_expires_in: 43199 }
    }
}

/// A request as it arrived.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case, in the order sent.
    pub headers: Vec<(String, String)>,
    /// Empty if the answer came before the body.
    pub body: Vec<u8>,
    /// The client's port: the same number is the same connection.
    pub connection: u16,
    /// The status it was answered with; 0 until then, and without an answer.
    pub status: u16,
    /// The client went away before the end of the answer.
    pub hung_up: bool,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

impl Demo {
    /// Listens on a free port of 127.0.0.1.
    pub fn start(options: Options) -> io::Result<Demo> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let core = Arc::new(Core::new(listener.local_addr()?, options));
        let inner = core.clone();
        let accepting = thread::Builder::new()
            .name("demo-accept".to_owned())
            .spawn(move || accept(&listener, &inner))?;
        Ok(Demo { core, accepting: Some(accepting) })
    }

    /// `http://127.0.0.1:PORT`, of the token host and the AI API alike.
    pub fn url(&self) -> String {
        self.core.url()
    }

    /// A configuration of the proxy that has this demo as its upstream, all its running models and
    /// the client key `sk-demo`.
    pub fn config_json(&self) -> Value {
        let mut models = serde_json::Map::new();
        for deployment in DEPLOYMENTS.iter().filter(|d| d.serves(HOME_GROUP)) {
            let url = Value::from(self.deployment_url(deployment.id));
            match models.get_mut(deployment.model) {
                None => drop(models.insert(deployment.model.to_owned(), url)),
                Some(Value::Array(urls)) => urls.push(url),
                Some(first) => *first = json!([first.take(), url]),
            }
        }
        json!({
            "service_key_json": self.core.service_key(),
            "resource_group": HOME_GROUP,
            "deployment_models": models,
            "secret_authentication_tokens": ["sk-demo"],
        })
    }

    /// The URL of a deployment by its id.
    pub fn deployment_url(&self, id: &str) -> String {
        self.core.deployment_url(id)
    }

    /// The next `fault.times` requests it matches behave so, first pushed first.
    pub fn push(&self, fault: Fault) {
        lock(&self.core.faults).push(fault);
    }

    /// What arrived so far, oldest first; of a long run the last thousand requests or 64 MB.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.core.journal).requests.iter().cloned().collect()
    }

    /// How many access tokens were given.
    pub fn token_fetches(&self) -> usize {
        lock(&self.core.access_tokens).len()
    }

    /// Every access token given so far is answered with 401 `Jwt is expired` from now on.
    pub fn revoke_tokens(&self) {
        for expiry in lock(&self.core.access_tokens).values_mut() {
            *expiry = Instant::now();
        }
    }

    /// How many answers were not read to their end.
    pub fn hung_up(&self) -> usize {
        self.core.hung_up.load(Ordering::SeqCst)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.core.stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect_timeout(&self.core.address, Duration::from_secs(1));
        for socket in lock(&self.core.open).values().filter_map(Weak::upgrade) {
            let _ = socket.shutdown(Shutdown::Both);
        }
        if let Some(thread) = self.accepting.take() {
            let _ = thread.join();
        }
    }
}

/// What is deployed. `context_tokens` is the model's limit, `answers_as` its dated name.
struct Deployment {
    id: &'static str,
    group: &'static str,
    status: &'static str,
    executable: &'static str,
    model: &'static str,
    answers_as: &'static str,
    context_tokens: usize,
    details: Details,
}

/// How the list spells the model.
#[derive(Clone, Copy)]
enum Details {
    Both,
    Camel,
    Snake,
    Null,
    Missing,
    /// Present without a model, as of orchestration.
    Empty,
}

const HOME_GROUP: &str = "default";

#[rustfmt::skip]
const DEPLOYMENTS: &[Deployment] = {
    use Details::*;
    const AZURE: &str = "azure-openai";
    const fn row(
        id: &'static str,
        model: &'static str,
        answers_as: &'static str,
        context_tokens: usize,
        details: Details,
    ) -> Deployment {
        Deployment {
            id, group: HOME_GROUP, status: "RUNNING", executable: AZURE, model, answers_as, context_tokens, details,
        }
    }
    &[
        Deployment { executable: "orchestration", ..row("d00000000000000a", "", "", 0, Empty) },
        row("d00000000000001a", "gpt-4o", "gpt-4o-2024-08-06", 128_000, Both),
        row("d00000000000001b", "gpt-4o-mini", "gpt-4o-mini-2024-07-18", 128_000, Camel),
        row("d00000000000001c", "gpt-4.1", "gpt-4.1-2025-04-14", 1_047_576, Snake),
        row("d00000000000002a", "gpt-5", "gpt-5-2025-08-07-dz-std", 272_000, Both),
        row("d00000000000002b", "gpt-5", "gpt-5-2025-08-07-dz-std", 272_000, Both),
        row("d00000000000002c", "gpt-5-mini", "gpt-5-mini-2025-08-07", 272_000, Null),
        row("d00000000000002d", "gpt-5.5", "gpt-5.5-dz-std", 272_000, Both),
        row("d00000000000002e", "o3", "o3-2025-04-16", 200_000, Camel),
        row("d00000000000002f", "o4-mini", "o4-mini-2025-04-16", 200_000, Both),
        row("d00000000000003a", "text-embedding-3-small", "text-embedding-3-small", 8_192, Both),
        row("d00000000000003b", "text-embedding-3-large", "text-embedding-3-large", 8_192, Both),
        row("d00000000000003c", "text-embedding-ada-002", "ada", 8_192, Both),
        Deployment { status: "STOPPED", ..row("d00000000000005a", "gpt-4", "gpt-4-0613", 8_192, Both) },
        Deployment { status: "PENDING", ..row("d00000000000005b", "gpt-4.1", "gpt-4.1-2025-04-14", 8_192, Missing) },
        Deployment { status: "DEAD", ..row("d00000000000005c", "gpt-4o", "gpt-4o-2024-08-06", 8_192, Null) },
        Deployment { group: "team-b", ..row("d00000000000007a", "gpt-4o", "gpt-4o-2024-08-06", 128_000, Both) },
    ]
};

impl Deployment {
    fn serves(&self, group: &str) -> bool {
        self.group == group && self.status == "RUNNING" && !self.model.is_empty()
    }

    fn is_orchestration(&self) -> bool {
        self.executable == "orchestration"
    }

    fn scenario(&self) -> &'static str {
        if self.is_orchestration() { "orchestration" } else { "foundation-models" }
    }

    fn configuration_id(&self) -> String {
        format!("00000000-0000-4000-8000-0000000000{}", &self.id[self.id.len() - 2..])
    }

    fn is_reasoning(&self) -> bool {
        ["o1", "o3", "o4", "gpt-5"].iter().any(|prefix| self.model.starts_with(prefix))
    }
}

/// Models served the same way. A family is a row here and a file.
struct Family {
    executable: &'static str,
    serve: fn(&Call<'_>) -> Result<Answer, Answer>,
}

const FAMILIES: &[Family] = &[Family { executable: "azure-openai", serve: azure::serve }];

/// An inference request that passed everything but its family's own checks. The `Err` of a family
/// is a refusal.
struct Call<'a> {
    deployment: &'a Deployment,
    /// Behind `…/deployments/{id}/`.
    suffix: &'a str,
    query: &'a str,
    body: &'a [u8],
    fault: &'a Fault,
    /// Counts the requests, for ids.
    number: u64,
}

/// What all connections share.
struct Core {
    address: SocketAddr,
    options: Options,
    stopping: AtomicBool,
    open: Mutex<HashMap<u64, Weak<TcpStream>>>,
    counter: AtomicU64,
    /// Access token → when it expires.
    access_tokens: Mutex<HashMap<String, Instant>>,
    faults: Mutex<Vec<Fault>>,
    /// Marker key → requests that had it.
    marked: Mutex<HashMap<String, usize>>,
    journal: Mutex<Journal>,
    hung_up: AtomicUsize,
}

fn accept(listener: &TcpListener, core: &Arc<Core>) {
    for socket in listener.incoming() {
        if core.stopping.load(Ordering::SeqCst) {
            return;
        }
        match socket {
            Ok(socket) => core.serve_on_thread(socket),
            // Out of descriptors, most likely: serve those there are.
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

impl Core {
    fn new(address: SocketAddr, options: Options) -> Core {
        Core {
            address,
            options,
            stopping: AtomicBool::default(),
            open: Mutex::default(),
            counter: AtomicU64::default(),
            access_tokens: Mutex::default(),
            faults: Mutex::default(),
            marked: Mutex::default(),
            journal: Mutex::default(),
            hung_up: AtomicUsize::default(),
        }
    }

    fn serve_on_thread(self: &Arc<Core>, socket: TcpStream) {
        let socket = Arc::new(socket);
        let number = self.counter.fetch_add(1, Ordering::SeqCst);
        lock(&self.open).insert(number, Arc::downgrade(&socket));
        let core = self.clone();
        let thread = thread::Builder::new().name("demo-connection".to_owned()).spawn(move || {
            if let Err(error) = core.serve(&socket) {
                log::debug!("demo: connection ended: {error}");
            }
            let _ = socket.shutdown(Shutdown::Both);
            lock(&core.open).remove(&number);
        });
        if thread.is_err() {
            lock(&self.open).remove(&number);
        }
    }

    fn serve(&self, socket: &Arc<TcpStream>) -> io::Result<()> {
        socket.set_nodelay(true)?;
        let port = socket.peer_addr()?.port();
        let mut connection = Connection::new(socket.clone());
        while let Some(head) = connection.head()? {
            let started = Instant::now();
            let early = self.queued(&head, true);
            let body = if early.is_some() { Vec::new() } else { connection.body(&head)? };
            let entry = lock(&self.journal).add(&head, &body, port);
            let (answer, fault) = match early {
                Some(fault) => (Answer::guess(fault.status, fault.body_text()), fault),
                None => self.respond(&head, &body),
            };
            let answer = self.signed(answer, &head, &fault, started);
            let result = connection.answer(&head, &answer, &fault, self.options.pace_ms);
            self.note(entry, &answer, &fault, &result);
            log::debug!("demo: {} {} {}", head.method, head.target, answer.status);
            if fault.early {
                linger(socket);
            }
            if !result? {
                break;
            }
        }
        Ok(())
    }

    fn note(&self, entry: usize, answer: &Answer, fault: &Fault, result: &io::Result<bool>) {
        if result.is_err() && !self.stopping.load(Ordering::SeqCst) {
            self.hung_up.fetch_add(1, Ordering::SeqCst);
        }
        if let Some(seen) = lock(&self.journal).entry(entry) {
            seen.status = if fault.no_answer { 0 } else { answer.status };
            seen.hung_up = result.is_err();
        }
    }

    /// With the headers of an inference answer, and those of the fault.
    fn signed(&self, mut answer: Answer, head: &Head, fault: &Fault, started: Instant) -> Answer {
        if matches!(place_of(head), Some((Place::Inference, _))) {
            let number = self.counter.fetch_add(1, Ordering::SeqCst);
            let id = format!("00000000-0000-4000-8000-{number:012x}");
            answer = answer
                .with_header("x-request-id", &id)
                .with_header("ai-inference-id", &id)
                .with_header("x-upstream-service-time", &started.elapsed().as_millis().to_string());
        }
        answer.headers.extend(fault.headers.iter().cloned());
        answer
    }

    fn respond(&self, head: &Head, body: &[u8]) -> (Answer, Fault) {
        match self.checked(head, body) {
            Ok(answered) => answered,
            Err(refusal) => (refusal, Fault::default()),
        }
    }

    fn checked(&self, head: &Head, body: &[u8]) -> Result<(Answer, Fault), Answer> {
        self.refuse_leaks(head)?;
        match place_of(head) {
            None => Err(Answer::text(404, "")),
            Some((Place::Token, _)) => {
                method(head, "POST")?;
                Ok(self.with_queued(head, || self.token(head, body)))
            }
            Some((Place::Deployments, _)) => {
                self.authorize(head)?;
                method(head, "GET")?;
                let group = resource_group(head)?;
                Ok(self.with_queued(head, || either(self.lm(head, group))))
            }
            Some((Place::Inference, _)) => {
                self.authorize(head)?;
                method(head, "POST")?;
                let group = resource_group(head)?;
                self.inference(head, group, body)
            }
        }
    }

    fn with_queued(&self, head: &Head, usual: impl FnOnce() -> Answer) -> (Answer, Fault) {
        let fault = self.queued(head, false).unwrap_or_default();
        let answer = replaced(&fault).unwrap_or_else(usual);
        (answer, fault)
    }

    /// Headers that only a client's request can have brought: the real one ignores or misreads
    /// them, here they show.
    fn refuse_leaks(&self, head: &Head) -> Result<(), Answer> {
        let leaked = ["x-api-key", "api-key", "anthropic-version", "anthropic-beta", "cookie"]
            .into_iter()
            .find(|name| head.header(name).is_some());
        let zipped = head.header("accept-encoding").is_some_and(|v| v.contains("gzip"));
        let port = self.address.port();
        let ours = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
        let strange = !head.header("host").is_some_and(|host| ours.iter().any(|h| h == host));
        let name = leaked
            .or(zipped.then_some("accept-encoding"))
            .or(strange.then_some("host"))
            .map(|name| format!("demo: the client's header `{name}` was sent upstream"));
        name.map_or(Ok(()), |why| Err(ai_api_error(400, "01010001", &why, head.path())))
    }

    /// Styles A (form), B (Basic and form) and C (Basic and query) of section 2; else 401.
    fn token(&self, head: &Head, body: &[u8]) -> Answer {
        let form_sent = head
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        let form = if form_sent { pairs(&String::from_utf8_lossy(body)) } else { Vec::new() };
        let query = pairs(head.query());
        let key = self.service_key();
        let wanted = (text(&key, "clientid"), text(&key, "clientsecret"));
        let grant = value(&form, "grant_type").or(value(&query, "grant_type"));
        let (given, refusal) = match head.header("authorization").and_then(basic) {
            Some(given) => (Some(given), ("unauthorized", "Bad credentials")),
            None => (
                value(&form, "client_id").zip(value(&form, "client_secret")),
                ("invalid_client", "Client authentication failed"),
            ),
        };
        let right = given.as_ref().is_some_and(|(id, secret)| (&**id, &**secret) == wanted);
        if !right || grant.as_deref() != Some("client_credentials") {
            return Answer::json(401, &json!({"error": refusal.0, "error_description": refusal.1}));
        }
        Answer::json(200, &self.new_access_token())
    }

    fn new_access_token(&self) -> Value {
        let number = self.counter.fetch_add(1, Ordering::SeqCst);
        let seconds = self.options.token_expires_in;
        let scope = "aicore!b540.scenario.foundation-models.read uaa.resource";
        let jti = format!("{number:032x}");
        let claims = json!({"jti": jti, "scope": scope, "padding": "demo ".repeat(200)});
        let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
        let access_token = format!("eyJhbGciOiJSUzI1NiJ9.{claims}.ZGVtbw");
        let expiry = Instant::now() + Duration::from_secs(seconds.min(u64::from(u32::MAX)));
        lock(&self.access_tokens).insert(access_token.clone(), expiry);
        json!({
            "access_token": access_token,
            "token_type": "bearer",
            "expires_in": seconds,
            "scope": scope,
            "jti": jti,
        })
    }

    /// The service mesh's part: 403 without a bearer, 401 with an expired or a foreign one.
    fn authorize(&self, head: &Head) -> Result<(), Answer> {
        let bearer = head.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let Some(bearer) = bearer else { return Err(Answer::text(403, "RBAC: access denied")) };
        match lock(&self.access_tokens).get(bearer) {
            Some(expiry) if *expiry > Instant::now() => Ok(()),
            Some(_) => Err(Answer::text(401, "Jwt is expired")),
            None => Err(Answer::text(401, "Jwt verification fails")),
        }
    }

    fn lm(&self, head: &Head, group: &str) -> Result<Answer, Answer> {
        let path = head.path().strip_prefix("/v2/lm/").unwrap_or_default();
        let missing = || ai_api_error(404, "01020404", "No such resource", head.path());
        match path.split_once('/').unwrap_or((path, "")) {
            ("deployments", "") => self.list(head, group),
            ("deployments", "$count") => {
                let count = matching(head, group)?.len();
                Ok(Answer::text(200, &count.to_string()))
            }
            ("deployments", id) => {
                let one = DEPLOYMENTS.iter().find(|d| d.id == id && d.group == group);
                one.map(|d| Answer::json(200, &self.described(d))).ok_or_else(missing)
            }
            ("configurations", id) => {
                let mut there = DEPLOYMENTS.iter().filter(|d| d.group == group);
                let one = there.find(|d| d.configuration_id() == id);
                one.map(|d| Answer::json(200, &configuration(d))).ok_or_else(missing)
            }
            _ => Err(missing()),
        }
    }

    fn list(&self, head: &Head, group: &str) -> Result<Answer, Answer> {
        let all = matching(head, group)?;
        let query = pairs(head.query());
        let number = |name: &str, usual: usize| match value(&query, name) {
            None => Ok(usual),
            Some(text) => text.parse().map_err(|_| {
                ai_api_error(400, "01010002", &format!("{name} is not a number"), head.path())
            }),
        };
        let (skip, top) = (number("$skip", 0)?, number("$top", 10_000)?);
        let page = all.iter().skip(skip).take(top).map(|d| self.described(d)).collect::<Vec<_>>();
        Ok(Answer::json(200, &json!({"count": all.len(), "resources": page})))
    }

    fn described(&self, deployment: &Deployment) -> Value {
        let d = deployment;
        let configuration = d.configuration_id();
        let running = d.status == "RUNNING";
        let url = if d.status == "PENDING" { String::new() } else { self.deployment_url(d.id) };
        let target = if d.status == "STOPPED" { "STOPPED" } else { "RUNNING" };
        let name = if d.is_orchestration() {
            "defaultOrchestrationConfig"
        } else {
            "a name of no meaning"
        };
        let mut entry = json!({
            "id": d.id,
            "createdAt": "2026-05-01T08:00:00Z",
            "modifiedAt": "2026-05-01T08:05:00Z",
            "submissionTime": "2026-05-01T08:00:30Z",
            "startTime": "2026-05-01T08:01:10Z",
            "status": d.status,
            "targetStatus": target,
            "scenarioId": d.scenario(),
            "configurationId": configuration,
            "configurationName": name,
            "deploymentUrl": url,
        });
        if running {
            entry["latestRunningConfigurationId"] = json!(configuration);
            entry["lastOperation"] = json!("CREATE");
        } else {
            entry["completionTime"] = json!("2026-05-02T10:00:00Z");
        }
        if d.status == "DEAD" {
            entry["statusMessage"] = json!("Deployment failed (demo)");
        }
        // Recorded lists name the executable of some and not of others.
        if d.id.ends_with('a') {
            entry["executableId"] = json!(d.executable);
        }
        if let Some(details) = details(d) {
            entry["details"] = details;
        }
        entry
    }

    fn inference(&self, head: &Head, group: &str, body: &[u8]) -> Result<(Answer, Fault), Answer> {
        let missing = || {
            let why = "No deployment found with the given id, or no such path in it";
            ai_api_error(404, "01020404", why, head.path())
        };
        let (id, suffix) = deployment_path(head.path()).ok_or_else(missing)?;
        let mut serving = DEPLOYMENTS.iter().filter(|d| d.serves(group));
        let deployment = serving.find(|d| d.id == id).ok_or_else(missing)?;
        let family = FAMILIES.iter().find(|f| f.executable == deployment.executable);
        let family = family.ok_or_else(missing)?;
        let kind = head.header("content-type").unwrap_or_default().split(';').next();
        if !kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
            return Err(Answer::text(415, "Unsupported Media Type"));
        }
        let fault = match self.queued(head, false) {
            Some(fault) => fault,
            None => self.marked(body).map_err(|why| ai_api_error(400, "0", &why, head.path()))?,
        };
        let number = self.counter.fetch_add(1, Ordering::SeqCst);
        let query = head.query();
        let call = Call { deployment, suffix, query, body, fault: &fault, number };
        let answer = (family.serve)(&call)?;
        Ok((replaced(&fault).unwrap_or(answer), fault))
    }

    /// Takes the next pushed fault that is for this request.
    fn queued(&self, head: &Head, early: bool) -> Option<Fault> {
        let (place, id) = place_of(head)?;
        let mut faults = lock(&self.faults);
        let matches = |f: &Fault| f.at == place && (f.deployment.is_empty() || f.deployment == id);
        let index = faults.iter().position(matches)?;
        if faults[index].early != early {
            return None;
        }
        faults[index].times = faults[index].times.saturating_sub(1);
        let fault = faults[index].clone();
        if fault.times == 0 {
            faults.remove(index);
        }
        Some(fault)
    }

    /// The fault the body asks for.
    fn marked(&self, body: &[u8]) -> Result<Fault, String> {
        let Some(marker) = fault::find_marker(&String::from_utf8_lossy(body))? else {
            return Ok(Fault::default());
        };
        if marker.fault.times == usize::MAX {
            return Ok(marker.fault);
        }
        let mut counts = lock(&self.marked);
        let count = counts.entry(marker.key).or_default();
        *count += 1;
        if *count > marker.fault.times { Ok(Fault::default()) } else { Ok(marker.fault) }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn deployment_url(&self, id: &str) -> String {
        format!("{}{INFERENCE}{id}", self.url())
    }

    fn service_key(&self) -> Value {
        json!({
            "serviceurls": {"AI_API_URL": self.url()},
            "appname": "11111111-2222-4333-8444-555555555555!b123456|aicore!b540",
            "clientid": "sb-11111111-2222-4333-8444-555555555555!b123456|aicore!b540",
            "clientsecret": "aaaa-bbbb$cccc+dddd=",
            "identityzone": "demo-subaccount",
            "identityzoneid": "99999999-8888-4777-8666-555555555555",
            "url": self.url(),
        })
    }
}

/// The requests of late, with numbers that stay.
#[derive(Default)]
struct Journal {
    requests: VecDeque<Seen>,
    forgotten: usize,
    body_bytes: usize,
}

impl Journal {
    fn add(&mut self, head: &Head, body: &[u8], connection: u16) -> usize {
        self.requests.push_back(Seen {
            method: head.method.clone(),
            target: head.target.clone(),
            headers: head.headers.clone(),
            body: body.to_vec(),
            connection,
            ..Seen::default()
        });
        self.body_bytes += body.len();
        while self.requests.len() > 1
            && (self.requests.len() > SEEN_MAX || self.body_bytes > SEEN_BODY_BYTES_MAX)
        {
            let oldest = self.requests.pop_front();
            self.body_bytes -= oldest.map_or(0, |seen| seen.body.len());
            self.forgotten += 1;
        }
        self.forgotten + self.requests.len() - 1
    }

    fn entry(&mut self, number: usize) -> Option<&mut Seen> {
        self.requests.get_mut(number.checked_sub(self.forgotten)?)
    }
}

/// Where a request goes, and the deployment's id if it has one.
fn place_of(head: &Head) -> Option<(Place, &str)> {
    let path = head.path();
    if let Some((id, _)) = deployment_path(path) {
        return Some((Place::Inference, id));
    }
    if path == "/oauth/token" {
        return Some((Place::Token, ""));
    }
    path.starts_with("/v2/lm/").then_some((Place::Deployments, ""))
}

fn deployment_path(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix(INFERENCE)?;
    Some(rest.split_once('/').unwrap_or((rest, "")))
}

fn method(head: &Head, wanted: &str) -> Result<(), Answer> {
    if head.method == wanted { Ok(()) } else { Err(Answer::text(405, "Method Not Allowed")) }
}

fn resource_group(head: &Head) -> Result<&str, Answer> {
    head.header("ai-resource-group").filter(|group| !group.is_empty()).ok_or_else(|| {
        ai_api_error(400, "01010076", "Missing required header: AI-Resource-Group", head.path())
    })
}

fn replaced(fault: &Fault) -> Option<Answer> {
    (fault.status != 0).then(|| Answer::guess(fault.status, fault.body_text()))
}

fn either(result: Result<Answer, Answer>) -> Answer {
    result.unwrap_or_else(|refusal| refusal)
}

/// As gateways do after an early answer: the sending half is closed, the rest is not read for a
/// while, then dropped.
fn linger(socket: &TcpStream) {
    let _ = socket.shutdown(Shutdown::Write);
    thread::sleep(Duration::from_millis(300));
}

/// The AI API's error object (4.6).
fn ai_api_error(status: u16, code: &str, message: &str, target: &str) -> Answer {
    let id = "00000000-1111-4222-8333-444444444444";
    let error = json!({
        "code": code,
        "message": message,
        "requestId": id,
        "target": target,
        "details": [],
    });
    Answer::json(status, &json!({ "error": error }))
}

/// The deployments of a group that the query's filters leave.
fn matching(head: &Head, group: &str) -> Result<Vec<&'static Deployment>, Answer> {
    let query = pairs(head.query());
    let refused = |why: String| ai_api_error(400, "01010002", &why, head.path());
    if let Some((name, _)) = query.iter().find(|(name, _)| !LIST_PARAMETERS.contains(&&**name)) {
        return Err(refused(format!("Unknown query parameter {name}")));
    }
    let status = value(&query, "status");
    if status.as_deref().is_some_and(|status| !STATUSES.contains(&status)) {
        return Err(refused("status is none of the known ones".to_owned()));
    }
    let scenario = value(&query, "scenarioId");
    let executables = value(&query, "executableIds");
    let configuration = value(&query, "configurationId");
    let fits = |d: &&Deployment| {
        d.group == group
            && status.as_ref().is_none_or(|s| s == d.status)
            && scenario.as_ref().is_none_or(|s| s == d.scenario())
            && executables.as_ref().is_none_or(|list| list.split(',').any(|e| e == d.executable))
            && configuration.as_ref().is_none_or(|c| *c == d.configuration_id())
    };
    Ok(DEPLOYMENTS.iter().filter(fits).collect())
}

fn details(deployment: &Deployment) -> Option<Value> {
    let model = json!({"model": {"name": deployment.model, "version": "latest"}});
    let resources = match deployment.details {
        Details::Missing => return None,
        Details::Null => return Some(Value::Null),
        Details::Both => json!({"backendDetails": model, "backend_details": model}),
        Details::Camel => json!({ "backendDetails": model }),
        Details::Snake => json!({ "backend_details": model }),
        Details::Empty => json!({"backendDetails": {}, "backend_details": {}}),
    };
    let scaling = json!({"backendDetails": {}, "backend_details": {}});
    Some(json!({"resources": resources, "scaling": scaling}))
}

fn configuration(deployment: &Deployment) -> Value {
    json!({
        "id": deployment.configuration_id(),
        "createdAt": "2026-05-01T07:59:00Z",
        "name": "a name of no meaning",
        "executableId": deployment.executable,
        "scenarioId": deployment.scenario(),
        "parameterBindings": [
            {"key": "modelName", "value": deployment.model},
            {"key": "modelVersion", "value": "latest"},
        ],
        "inputArtifactBindings": [],
    })
}

fn basic(authorization: &str) -> Option<(String, String)> {
    let encoded = authorization.strip_prefix("Basic ")?;
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    decoded.split_once(':').map(|(id, secret)| (id.to_owned(), secret.to_owned()))
}

/// The pairs of a query or a form, decoded.
fn pairs(encoded: &str) -> Vec<(String, String)> {
    let parts = encoded.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(name, value)| (url_decoded(name), url_decoded(value)))
        .collect()
}

fn value(pairs: &[(String, String)], name: &str) -> Option<String> {
    pairs.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone())
}

fn url_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let escaped = hex.and_then(|two| u8::from_str_radix(two, 16).ok());
        (rest, _) = match (first, escaped) {
            (b'%', Some(byte)) => (&after[2..], bytes.push(byte)),
            (b'+', _) => (after, bytes.push(b' ')),
            (byte, _) => (after, bytes.push(*byte)),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const INFERENCE: &str = "/v2/inference/deployments/";
const LIST_PARAMETERS: [&str; 7] =
    ["status", "scenarioId", "executableIds", "configurationId", "$top", "$skip", "$select"];
const STATUSES: [&str; 7] =
    ["PENDING", "RUNNING", "COMPLETED", "DEAD", "STOPPING", "STOPPED", "UNKNOWN"];
const SEEN_MAX: usize = 1000;
const SEEN_BODY_BYTES_MAX: usize = 64 << 20;
