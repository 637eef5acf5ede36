//! An embedded simulated SAP AI Core on loopback: what `--demo` talks to, and the upstream of our
//! tests.
//!
//! It is strict. What the real one refuses (dossier, sections 2 to 7 and 10) it refuses too, in
//! the recorded shapes, and beyond that it refuses requests that carry a client's own credentials
//! or negotiation headers upstream.
//!
//! ```text
//! POST /oauth/token                       id and secret in the form, or Basic (dossier 2)
//! GET  /v2/lm/deployments[/{id}|/$count]  filtered and paged as the real list is (4.1)
//! GET  /v2/lm/configurations/{id}         for deployments that do not name their model (4.1)
//! GET  /v2/lm/scenarios/foundation-models/models    the catalogue (4.3)
//! GET  /v2/admin/quota/model              requests a minute (4.5): see below
//! GET  /v2/admin/resourceGroups           the same
//! POST /v2/inference/deployments/{id}/…   the deployment's family decides: see FAMILIES
//! GET, DELETE …/{id}/responses/{id}       what such a deployment keeps (5a)
//! ```
//!
//! An answer is one of the demo's own: the user's text comes back in a sentence, tools are called
//! when the user's text names them, embeddings are drawn from a hash of the text. Everything is the
//! same each time but ids and times, and what a prompt cache already holds. A thought is signed: one
//! that was changed is refused when it comes back.
//!
//! # A subaccount of a pool
//!
//! A demo is one subaccount, and several are several: an access token of one is foreign to another.
//! What is deployed changes by [`Demo::deploy`], [`Demo::set_status`] and [`Demo::undeploy`], what the
//! catalogue says by [`Demo::retire`]. A request that found its deployment is served to its end.
//!
//! [`Demo::limit`] is what AI Core allows a tenant of a model: so many requests in any minute, over
//! all deployments of the model, and by orchestration, too (dossier 7.2). The next is answered with
//! the family's 429. A request counts once its deployment is found, whatever becomes of it then; one
//! that is beyond the limit uses up no fault. Left open: a `Retry-After`; there is none. `/v2/admin/…` is closed, as it is to most service keys
//! (403 `RBAC: access denied`), until a limit is set or [`Options::admin`] opens it.
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
//!        | refuse=FIELD[,FIELD] refuse_beta accept=PATH[,PATH]
//!        | frames=N tool=NAME[,NAME] redacted stop_reason=WORD interleave
//!        | call=NAME:ARGUMENTS[,NAME:ARGUMENTS]    once for each turn of an agent
//!        | error_after=N cut_after=N bytes=N end_after=N drop_last=N
//!        | converse=json|pyrepr|noprefix|single_newline
//!        | gemini=array|crlf|blocked cohere=v2 no_stream
//!        | pieces=N[,N] crlf blank_lines=N comments no_space head_bytes=N close
//!        | times=N key=K                          only the first N requests with this key
//! ```
//!
//! Each word is the field of [`Fault`] of the same name (`tool` is `tools`, `retry_after` a header,
//! `finish_reason` the same as `stop_reason`, `cohere=v2` is `cohere_v2`, `gemini=crlf` is `crlf`).
//! The n-th `call` is what the n-th turn after the marker calls, its arguments as JSON in base64url;
//! the turn after the last is an ordinary answer.
//!
//! `error_after=0`, or [`Fault::throttled`], is a rate limit that a stream of status 200 begins with, in
//! the shape that the family is known to have for it. Later in a stream some families fail with
//! another error.
//!
//! `refuse` and `accept` settle what nobody could find out about the real one: a field of `refuse`
//! is answered with `FIELD: Extra inputs are not permitted` if the request has it, a path of
//! `accept` (`output_config.format`) is not. A marker the demo does not understand is answered with
//! a 400 that says so. A queued fault comes before a marker. A request that has to be refused is
//! refused whatever the fault, which is then used up; only `early` faults come before every check.
//!
//! # Why not tiny_http
//!
//! The demo has to cut a connection in the middle of a frame, to answer before a body is read, to
//! notice a hang-up during a pause, and to serve any burst of new connections. tiny_http 0.12 keeps
//! its sockets to itself, and its pool may leave one of several simultaneous connections unserved.
//! So the demo reads heads with httparse, a thread for each connection.

mod admin;
mod azure;
mod bedrock;
mod cache;
mod catalogue;
mod claude;
mod cohere;
mod converse;
mod deployments;
mod fault;
mod gemini;
mod http;
mod literal;
mod open;
mod openai;
mod orchestration;
mod perplexity;
mod schema;
mod shape;
mod spaced;
mod story;
mod titan;

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use admin::Limits;
use deployments::{Deployment, Deployments, HOME_GROUP};
pub use fault::{Fault, Place};
use http::{Answer, Connection, Head};
pub use story::ToolCall;

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
    /// What is deployed in the group `default` at the start, by id and model, instead of the usual
    /// ones; the model is empty for orchestration.
    pub deployments: Option<Vec<(String, String)>>,
    /// The subaccount's id. Service keys of different tenants are different.
    pub tenant: String,
    /// The service key has this instead of a secret, and the token endpoint takes no secret.
    pub certificate: Option<Certificate>,
    /// The service key may read `/v2/admin/…`.
    pub admin: bool,
    /// How long a minute is in which requests are counted.
    pub minute_ms: u64,
}

/// What an X.509 service key has (dossier 1.2). The demo itself has no TLS: `url` is that of something
/// before it that asks for the certificate, or empty for the demo's own.
#[derive(Debug, Clone, Default)]
pub struct Certificate {
    /// `certificate`, in PEM.
    pub chain: String,
    /// In PEM.
    pub key: String,
    /// `certurl`.
    pub url: String,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            pace_ms: 30,
            token_expires_in: 43199,
            deployments: None,
            tenant: TENANT.to_owned(),
            certificate: None,
            admin: false,
            minute_ms: 60_000,
        }
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
    /// The status of the answer; 0 before there is one, and if there is to be none.
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
        for deployment in self.core.deployments.all().iter().filter(|d| d.serves(HOME_GROUP)) {
            let url = Value::from(self.deployment_url(&deployment.id));
            for model in deployment.names() {
                match models.get_mut(model) {
                    None => drop(models.insert(model.to_owned(), url.clone())),
                    Some(Value::Array(urls)) => urls.push(url.clone()),
                    Some(first) => *first = json!([first.take(), url]),
                }
            }
        }
        json!({
            "service_key_json": self.service_key(),
            "resource_group": HOME_GROUP,
            "deployment_models": models,
            "secret_authentication_tokens": ["sk-demo"],
        })
    }

    /// SAP's service key of this subaccount.
    pub fn service_key(&self) -> Value {
        self.core.service_key()
    }

    /// The URL of a deployment by its id.
    pub fn deployment_url(&self, id: &str) -> String {
        deployments::url(&self.core.url(), id)
    }

    /// A deployment of this id runs from now on, in the group `default`; the model, which tells its
    /// family, is empty for orchestration. One that has the id already is replaced.
    pub fn deploy(&self, id: &str, model: &str) {
        self.core.deployments.add(id, model);
    }

    /// `RUNNING`, `STOPPED`, … from now on, in the list and for inference, which only one that runs
    /// answers. `false` if there is none of this id.
    pub fn set_status(&self, id: &str, status: &str) -> bool {
        self.core.deployments.set_status(id, status)
    }

    /// It is gone, with what it kept. `false` if there is none of this id.
    pub fn undeploy(&self, id: &str) -> bool {
        lock(&self.core.kept).forget(id);
        self.core.deployments.remove(id)
    }

    /// Nothing is deployed any more.
    pub fn undeploy_all(&self) {
        lock(&self.core.kept).clear();
        self.core.deployments.clear();
    }

    /// The catalogue's `retirementDate` of the model's latest version, such as
    /// `2026-10-14T00:00:00Z`, which is deprecated then; empty for neither. `false` if the catalogue
    /// does not have the model.
    pub fn retire(&self, model: &str, date: &str) -> bool {
        lock(&self.core.retirements).insert(model.to_owned(), date.to_owned());
        catalogue::has(model)
    }

    /// So many requests of a model are answered in any minute from now on, those just answered
    /// included. The quota says so.
    pub fn limit(&self, model: &str, per_minute: u32) {
        self.core.limits.set(model, per_minute);
    }

    /// The next `fault.times` requests it matches behave so, first pushed first.
    pub fn push(&self, fault: Fault) {
        lock(&self.core.faults).push(fault);
    }

    /// Nothing that was pushed happens any more.
    pub fn forget_faults(&self) {
        lock(&self.core.faults).clear();
    }

    /// What arrived since the start or [`Demo::forget`], oldest first; of a long run the last thousand
    /// requests or 64 MB.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.core.journal).requests.iter().cloned().collect()
    }

    /// How many inference requests arrived since the start, or since [`Demo::forget`].
    pub fn count(&self) -> usize {
        self.core.inferences.load(Ordering::SeqCst)
    }

    /// What arrived so far is not told of any more.
    pub fn forget(&self) {
        let forgotten = lock(&self.core.journal).forget();
        drop(forgotten);
        self.core.inferences.store(0, Ordering::SeqCst);
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        lock(&self.core.open).len()
    }

    /// How many access tokens were given.
    pub fn token_fetches(&self) -> usize {
        self.core.token_fetches.load(Ordering::SeqCst)
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

/// Models served the same way. A family is a row here and a file.
struct Family {
    executable: &'static str,
    serve: fn(&Call<'_>) -> Result<Answer, Answer>,
    /// The body of an error; `None` for what gateways say.
    error_body: fn(u16) -> Option<String>,
    /// The frame that tells of an error amid a stream.
    error_frame: fn(&Call<'_>) -> String,
}

const FAMILIES: &[Family] = &[
    Family {
        executable: "azure-openai",
        serve: azure::serve,
        error_body: |_| None,
        error_frame: azure::error_frame,
    },
    Family {
        executable: "aws-bedrock",
        serve: bedrock::serve,
        error_body: bedrock::error_body,
        error_frame: bedrock::error_frame,
    },
    Family {
        executable: "gcp-vertexai",
        serve: gemini::serve,
        error_body: gemini::error_body,
        error_frame: gemini::error_frame,
    },
    Family {
        executable: "aicore-mistralai",
        serve: open::serve,
        error_body: open::error_body,
        error_frame: open::error_frame,
    },
    Family {
        executable: "aicore-opensource",
        serve: open::serve,
        error_body: open::error_body,
        error_frame: open::error_frame,
    },
    Family {
        executable: "aicore-nvidia",
        serve: open::serve,
        error_body: open::error_body,
        error_frame: open::error_frame,
    },
    Family {
        executable: "perplexity-ai",
        serve: perplexity::serve,
        error_body: perplexity::error_body,
        error_frame: perplexity::error_frame,
    },
    Family {
        executable: "aicore-cohere",
        serve: cohere::serve,
        error_body: cohere::error_body,
        error_frame: cohere::error_frame,
    },
    Family {
        executable: "orchestration",
        serve: orchestration::serve,
        error_body: orchestration::error_body,
        error_frame: orchestration::error_frame,
    },
];

/// An inference request that passed everything but its family's own checks. The `Err` of a family
/// is a refusal.
struct Call<'a> {
    deployment: &'a Deployment,
    method: &'a str,
    /// Behind `…/deployments/{id}/`.
    suffix: &'a str,
    query: &'a str,
    /// What the client takes.
    accept: &'a str,
    body: &'a [u8],
    fault: &'a Fault,
    /// Counts the requests, for ids.
    number: u64,
    /// Digests of the prefixes that prompt caches hold.
    cache: &'a Mutex<HashSet<String>>,
    /// What deployments keep of their responses.
    kept: &'a Mutex<azure::Kept>,
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
    token_fetches: AtomicUsize,
    deployments: Deployments,
    /// Model → when it retires, where the catalogue is to say something else than it usually does.
    retirements: Mutex<HashMap<String, String>>,
    limits: Limits,
    faults: Mutex<Vec<Fault>>,
    cache: Mutex<HashSet<String>>,
    kept: Mutex<azure::Kept>,
    /// Marker key → requests that had it.
    marked: Mutex<HashMap<String, usize>>,
    journal: Mutex<Journal>,
    inferences: AtomicUsize,
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
            deployments: Deployments::new(options.deployments.as_deref()),
            options,
            stopping: AtomicBool::default(),
            open: Mutex::default(),
            counter: AtomicU64::default(),
            access_tokens: Mutex::default(),
            token_fetches: AtomicUsize::default(),
            retirements: Mutex::default(),
            limits: Limits::default(),
            faults: Mutex::default(),
            cache: Mutex::default(),
            kept: Mutex::default(),
            marked: Mutex::default(),
            journal: Mutex::default(),
            inferences: AtomicUsize::default(),
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
            let entry = self.noted(&head, &body, port);
            let (answer, fault) = match early {
                Some(fault) => (Answer::guess(fault.status, fault.body_text()), fault),
                None => self.respond(&head, &body),
            };
            let answer = self.signed(answer, &head, &fault, started);
            let status = if fault.no_answer { 0 } else { answer.status };
            self.note(entry, |seen| seen.status = status);
            let result = connection.answer(&head, &answer, &fault, self.options.pace_ms);
            if result.is_err() && !self.stopping.load(Ordering::SeqCst) {
                self.note(entry, |seen| seen.hung_up = true);
                self.hung_up.fetch_add(1, Ordering::SeqCst);
            }
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

    /// Its place in the journal.
    fn noted(&self, head: &Head, body: &[u8], connection: u16) -> usize {
        if matches!(place_of(head), Some((Place::Inference, _))) {
            self.inferences.fetch_add(1, Ordering::SeqCst);
        }
        let seen = Seen {
            method: head.method.clone(),
            target: head.target.clone(),
            headers: head.headers.clone(),
            body: body.to_vec(),
            connection,
            ..Seen::default()
        };
        // What had to give way is freed when nobody waits for the journal any more.
        let (entry, _oldest) = lock(&self.journal).add(seen);
        entry
    }

    fn note(&self, entry: usize, change: impl FnOnce(&mut Seen)) {
        lock(&self.journal).entry(entry).map(change);
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
                let all = self.deployments.all();
                Ok(self.with_queued(head, || deployments::answer(&all, &self.url(), head, group)))
            }
            Some((Place::Catalogue, _)) => {
                self.authorize(head)?;
                method(head, "GET")?;
                resource_group(head)?;
                let catalogue = || catalogue::answer(&lock(&self.retirements));
                Ok(self.with_queued(head, || Answer::json(200, &catalogue())))
            }
            Some((Place::Admin, _)) => {
                self.authorize(head)?;
                method(head, "GET")?;
                Ok(self.with_queued(head, || self.admin(head)))
            }
            Some((Place::Inference, _)) => {
                self.authorize(head)?;
                inference_method(head)?;
                let group = resource_group(head)?;
                self.inference(head, group, body)
            }
        }
    }

    fn with_queued(&self, head: &Head, usual: impl FnOnce() -> Answer) -> (Answer, Fault) {
        let fault = self.queued(head, false).unwrap_or_default();
        let answer = fault.answer_instead(|_| None).unwrap_or_else(usual);
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

    /// Styles A (form), B (Basic and form) and C (Basic and query) of section 2; else 401. With a
    /// certificate A without a secret.
    fn token(&self, head: &Head, body: &[u8]) -> Answer {
        let form_sent = head
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        let form = if form_sent { pairs(&String::from_utf8_lossy(body)) } else { Vec::new() };
        let query = pairs(head.query());
        let key = self.service_key();
        let secret = key.get("clientsecret").and_then(Value::as_str);
        let wanted = (text(&key, "clientid"), secret);
        let grant = value(&form, "grant_type").or(value(&query, "grant_type"));
        let (given, refusal) = match head.header("authorization").and_then(basic) {
            Some((id, secret)) => (Some((id, Some(secret))), ("unauthorized", "Bad credentials")),
            None => (
                value(&form, "client_id").map(|id| (id, value(&form, "client_secret"))),
                ("invalid_client", "Client authentication failed"),
            ),
        };
        let right = given.is_some_and(|(id, secret)| (&*id, secret.as_deref()) == wanted);
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
        let (issuer, tenant, padding) = (self.url(), &self.options.tenant, "demo ".repeat(200));
        let claims =
            json!({"jti": jti, "iss": issuer, "zid": tenant, "scope": scope, "padding": padding});
        let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
        let access_token = format!("eyJhbGciOiJSUzI1NiJ9.{claims}.ZGVtbw");
        let expiry = Instant::now() + Duration::from_secs(seconds.min(u64::from(u32::MAX)));
        self.token_fetches.fetch_add(1, Ordering::SeqCst);
        let mut access_tokens = lock(&self.access_tokens);
        if access_tokens.len() >= ACCESS_TOKENS_MAX {
            access_tokens.retain(|_, expiry| *expiry > Instant::now());
        }
        access_tokens.insert(access_token.clone(), expiry);
        drop(access_tokens);
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

    fn admin(&self, head: &Head) -> Answer {
        if !self.options.admin && self.limits.is_empty() {
            return Answer::text(403, "RBAC: access denied");
        }
        admin::answer(&self.limits, &self.deployments, &self.options.tenant, head)
    }

    fn inference(&self, head: &Head, group: &str, body: &[u8]) -> Result<(Answer, Fault), Answer> {
        let missing = || {
            let why = "No deployment found with the given id, or no such path in it";
            ai_api_error(404, "01020404", why, head.path())
        };
        let (id, suffix) = deployment_path(head.path()).ok_or_else(missing)?;
        let deployment = self.deployments.serving(id, group).ok_or_else(missing)?;
        let family = FAMILIES.iter().find(|f| f.executable == deployment.executable);
        let family = family.ok_or_else(missing)?;
        let kind = head.header("content-type").unwrap_or_default().split(';').next();
        let is_bare = body.is_empty() && suffix.starts_with(RESPONSES);
        if !is_bare
            && !kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
        {
            return Err(Answer::text(415, "Unsupported Media Type"));
        }
        let minute = Duration::from_millis(self.options.minute_ms);
        if head.method == "POST" && !self.limits.grants(&deployment, body, minute) {
            let fault = Fault::status(429);
            return Ok((fault.answer_instead(family.error_body).unwrap_or_else(missing), fault));
        }
        let fault = match self.queued(head, false) {
            Some(fault) => fault,
            None => {
                let before = azure::spoken_before(&self.kept, &deployment, body);
                let whole = before.as_deref().unwrap_or(body);
                self.marked(whole).map_err(|why| ai_api_error(400, "0", &why, head.path()))?
            }
        };
        let number = self.counter.fetch_add(1, Ordering::SeqCst);
        let call = Call {
            deployment: &deployment,
            method: &head.method,
            suffix,
            query: head.query(),
            accept: head.header("accept").unwrap_or_default(),
            body,
            fault: &fault,
            number,
            cache: &self.cache,
            kept: &self.kept,
        };
        let answer = (family.serve)(&call)?.with_error(vec![(family.error_frame)(&call)]);
        Ok((fault.answer_instead(family.error_body).unwrap_or(answer), fault))
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
        if counts.len() >= MARKED_MAX {
            counts.clear();
        }
        let count = counts.entry(marker.key).or_default();
        *count += 1;
        if *count > marker.fault.times { Ok(Fault::default()) } else { Ok(marker.fault) }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn service_key(&self) -> Value {
        let tenant = &self.options.tenant;
        let is_usual = tenant == TENANT;
        let (app, zone, secret) = match is_usual {
            true => (APP, "demo-subaccount".to_owned(), "aaaa-bbbb$cccc+dddd=".to_owned()),
            false => (&**tenant, format!("demo-{tenant}"), format!("aaaa-{tenant}$cccc+dddd=")),
        };
        let mut key = json!({
            "serviceurls": {"AI_API_URL": self.url()},
            "appname": format!("{app}!b123456|aicore!b540"),
            "clientid": format!("sb-{app}!b123456|aicore!b540"),
            "identityzone": zone,
            "identityzoneid": tenant,
            "url": self.url(),
        });
        match &self.options.certificate {
            None => key["clientsecret"] = json!(secret),
            Some(Certificate { chain, key: private, url }) => {
                key["credential-type"] = json!("x509");
                key["certificate"] = json!(chain);
                key["key"] = json!(private);
                key["certurl"] = if url.is_empty() { json!(self.url()) } else { json!(url) };
            }
        }
        key
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
    /// Its number, and what had to give way.
    fn add(&mut self, seen: Seen) -> (usize, Vec<Seen>) {
        self.body_bytes += seen.body.len();
        self.requests.push_back(seen);
        let mut oldest = Vec::new();
        while self.requests.len() > 1
            && (self.requests.len() > SEEN_MAX || self.body_bytes > SEEN_BODY_BYTES_MAX)
        {
            oldest.extend(self.requests.pop_front());
            self.body_bytes -= oldest.last().map_or(0, |seen| seen.body.len());
            self.forgotten += 1;
        }
        (self.forgotten + self.requests.len() - 1, oldest)
    }

    fn forget(&mut self) -> VecDeque<Seen> {
        self.forgotten += self.requests.len();
        self.body_bytes = 0;
        std::mem::take(&mut self.requests)
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
    let place = match path {
        "/v2/lm/scenarios/foundation-models/models" => Place::Catalogue,
        _ if path.starts_with("/v2/lm/") => Place::Deployments,
        _ if path.starts_with("/v2/admin/") => Place::Admin,
        _ => return None,
    };
    Some((place, ""))
}

fn deployment_path(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix(INFERENCE)?;
    Some(rest.split_once('/').unwrap_or((rest, "")))
}

fn method(head: &Head, wanted: &str) -> Result<(), Answer> {
    if head.method == wanted { Ok(()) } else { Err(Answer::text(405, "Method Not Allowed")) }
}

/// What a deployment keeps is read and deleted, too.
fn inference_method(head: &Head) -> Result<(), Answer> {
    let suffix = deployment_path(head.path()).map_or("", |(_, suffix)| suffix);
    match head.method.as_str() {
        "GET" | "DELETE" if suffix.starts_with(RESPONSES) => Ok(()),
        _ => method(head, "POST"),
    }
}

fn resource_group(head: &Head) -> Result<&str, Answer> {
    head.header("ai-resource-group").filter(|group| !group.is_empty()).ok_or_else(|| {
        ai_api_error(400, "01010076", "Missing required header: AI-Resource-Group", head.path())
    })
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

const TENANT: &str = "99999999-8888-4777-8666-555555555555";
const APP: &str = "11111111-2222-4333-8444-555555555555";
const INFERENCE: &str = "/v2/inference/deployments/";
const RESPONSES: &str = "responses/";
const SEEN_MAX: usize = 1000;
const SEEN_BODY_BYTES_MAX: usize = 64 << 20;
/// From so many on, those that expired are forgotten, and are foreign ones then.
const ACCESS_TOKENS_MAX: usize = 1000;
/// So many keys of markers are counted, then all begin anew.
const MARKED_MAX: usize = 20_000;
