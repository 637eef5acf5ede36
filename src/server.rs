//! The loop that serves: a thread pool, tiny_http, and the bytes of the answers.
//!
//! tiny_http parses requests and hands them out, and never sees a socket of the network (the gate's documentation says
//! why). A connection's thread reads a policed head, parks the connection in a slot, and writes the rebuilt head, with a
//! ticket that names the slot, to the inner connection of an unmodified `tiny_http::Server`. Then it asks the
//! server for *a* request, most often but not always its own, takes the connection that the request's ticket names, and
//! carries on with that one: so each head that goes in is matched by one request that comes out, nothing waits for a
//! particular thread, and no pump copies bytes. The answer is written straight to the client's socket; tiny_http's side of
//! a request ends with its unused writer, so nothing is ever written inward. `Inner` is the only place that names
//! tiny_http, `Seam::next_request` the seam.

use std::cell::{Cell, RefCell};
use std::fs::{DirBuilder, remove_dir_all};
use std::io::{self, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use threadpool::ThreadPool;

use crate::certificate::Reloading;
use crate::config::Limits;
use crate::dialect::{Dialect, openai_chat};
use crate::error::Error;
use crate::gate::connection::{Connection, DRAIN_BYTES_MAX, DRAIN_KNOWN_BYTES_MAX};
use crate::gate::head::{self, BodyLength, Framing, NoHead};
use crate::gate::{Gate, Place, Stop, body};
use crate::live::Live;
use crate::local;
use crate::log::RequestLine;
use crate::relay::{Client, Head};

/// Threads that are always there; a connection beyond gets one of its own for as long as it lasts.
const POOL_THREADS: usize = 16;
/// Enough for TLS, JSON as deep as is read, and ureq; only what is touched takes memory.
const STACK_BYTES: usize = 1024 * 1024;
/// A request that tiny_http does not hand out within this time is lost.
const TICKET_MAX: Duration = Duration::from_secs(5);
const TICKET: &str = "ticket";
/// An answer up to this size is written in one piece with its head.
const ONE_WRITE_BYTES_MAX: usize = 64 * 1024;

/// A running server.
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    connections_max: usize,
    stop: Stop,
    accepting: JoinHandle<()>,
}

struct Shared {
    live: Arc<Live>,
    seam: Seam,
    tls: Option<Reloading>,
    limits: Limits,
    in_flight: AtomicUsize,
    is_stopping: AtomicBool,
    pool: Mutex<ThreadPool>,
    in_pool: AtomicUsize,
}

impl Server {
    /// Listens and serves, in threads of its own.
    pub fn start(
        live: Arc<Live>,
        limits: &Limits,
        host: &str,
        port: u16,
        tls: Option<Reloading>,
    ) -> Result<Server, String> {
        let (mut gate, stop) = Gate::open(host, port, limits.connections_max)?;
        let pool = threadpool::Builder::new()
            .num_threads(POOL_THREADS)
            .thread_name("client".into())
            .thread_stack_size(STACK_BYTES)
            .build();
        let shared = Arc::new(Shared {
            live,
            seam: Seam::open().map_err(|e| format!("no inner connection: {e}"))?,
            tls,
            limits: limits.clone(),
            in_flight: AtomicUsize::new(0),
            is_stopping: AtomicBool::new(false),
            pool: Mutex::new(pool),
            in_pool: AtomicUsize::new(0),
        });
        let (address, connections_max) = (gate.address(), gate.connections_max());
        let for_gate = shared.clone();
        let accepting = std::thread::Builder::new()
            .name("gate".into())
            .spawn(move || gate.run(|stream, from, place| for_gate.welcome(stream, from, place)))
            .map_err(|e| format!("no thread: {e}"))?;
        Ok(Server { shared, address, connections_max, stop, accepting })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn connections_max(&self) -> usize {
        self.connections_max
    }

    /// Stops accepting, and waits for the requests in flight, at most `limits.stop_ms_max`. How many were cut off.
    pub fn stop(self) -> usize {
        self.shared.is_stopping.store(true, Ordering::Release);
        self.stop.stop();
        // The gate's thread ends with its listener; it cannot have panicked in a way that matters now.
        let _ = self.accepting.join();
        let deadline = Instant::now() + Duration::from_millis(self.shared.limits.stop_ms_max);
        loop {
            let left = self.shared.in_flight.load(Ordering::Acquire);
            if left == 0 || Instant::now() >= deadline {
                return left;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Shared {
    /// Gives a new connection a thread: one of the pool's, or one of its own.
    fn welcome(
        self: &Arc<Self>,
        stream: TcpStream,
        from: SocketAddr,
        place: Place,
    ) -> io::Result<()> {
        let shared = self.clone();
        if self.in_pool.load(Ordering::Acquire) < POOL_THREADS {
            self.in_pool.fetch_add(1, Ordering::AcqRel);
            let job = move || {
                shared.serve(stream, from, place);
                shared.in_pool.fetch_sub(1, Ordering::AcqRel);
            };
            self.pool.lock().unwrap_or_else(|e| e.into_inner()).execute(job);
            return Ok(());
        }
        let own = std::thread::Builder::new().name("client".into()).stack_size(STACK_BYTES);
        own.spawn(move || shared.serve(stream, from, place)).map(drop)
    }

    /// Serves a connection until it ends. A panic ends it, and nothing else.
    fn serve(&self, stream: TcpStream, from: SocketAddr, place: Place) {
        let served = catch_unwind(AssertUnwindSafe(|| {
            let tls = self.tls.as_ref().map(Reloading::current);
            let write_timeout = Duration::from_millis(self.limits.client_write_ms_max);
            match Connection::open(stream, from, place, tls, write_timeout) {
                Ok(connection) => self.serve_requests(connection),
                Err(e) => log::debug!("{}: no connection: {e}", from.ip()),
            }
        }));
        if served.is_err() {
            log::error!("A connection ended in a panic; please report it");
        }
    }

    fn serve_requests(&self, mut connection: Connection) {
        let idle_max = Duration::from_millis(self.limits.client_idle_ms_max);
        loop {
            let job = match self.seam.next_request(connection, idle_max) {
                Next::Job(job) => job,
                Next::Refused(connection, status, why) => {
                    return refuse(connection, status, why);
                }
                Next::Nothing => return,
            };
            match self.serve_request(job) {
                Some(kept) => connection = kept,
                None => return,
            }
        }
    }

    /// One request; the connection, where it can serve another.
    fn serve_request(&self, job: Job) -> Option<Connection> {
        let _in_flight = InFlight::new(&self.in_flight);
        let closes = job.framing.wants_close || self.is_stopping.load(Ordering::Acquire);
        let stall_max = Duration::from_millis(self.limits.client_stall_ms_max);
        let turn = Rc::new(Turn::new(job, closes, stall_max));
        let handled = catch_unwind(AssertUnwindSafe(|| self.live.relay().handle(turn.clone())));
        if handled.is_err() {
            log::error!("A request ended in a panic; please report it");
            turn.answer_panic();
        }
        // The relay keeps no hold of it; if it did, the connection would just be closed.
        Rc::into_inner(turn)?.into_connection()
    }
}

struct InFlight<'a>(&'a AtomicUsize);

impl<'a> InFlight<'a> {
    fn new(count: &'a AtomicUsize) -> InFlight<'a> {
        count.fetch_add(1, Ordering::AcqRel);
        InFlight(count)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

// ── the seam ────────────────────────────────────────────────────────────────────────────────────────────────────────

/// tiny_http, and the connections that wait for it to hand out their request.
struct Seam {
    inner: RwLock<Arc<Inner>>,
    slots: Mutex<Slots>,
}

/// A parsed request and the connection it came on.
struct Job {
    connection: Connection,
    framing: Framing,
    request: Parsed,
}

enum Next {
    Job(Job),
    /// To be told why, and closed.
    Refused(Connection, u16, &'static str),
    /// The connection is over, or another thread carries on with it.
    Nothing,
}

impl Seam {
    fn open() -> io::Result<Seam> {
        Ok(Seam { inner: RwLock::new(Arc::new(Inner::open()?)), slots: Mutex::default() })
    }

    /// Reads a head from `connection` and hands it to tiny_http; takes a request from it, and that request's connection.
    fn next_request(&self, mut connection: Connection, idle_max: Duration) -> Next {
        let mut inward = Vec::with_capacity(512);
        let framing = match head::read(&mut connection, idle_max, &mut inward) {
            Ok(framing) => framing,
            Err(NoHead::Gone) => {
                connection.close();
                return Next::Nothing;
            }
            Err(NoHead::Refused(status, why)) => return Next::Refused(connection, status, why),
        };
        let ticket = self.slots().put(connection, framing);
        let _ = write!(inward, "{TICKET}: {ticket}\r\n\r\n");
        let inner = match self.send(&inward) {
            Ok(inner) => inner,
            Err(e) => {
                log::error!("The inner connection is broken and cannot be made anew: {e}");
                return self.lost(ticket);
            }
        };
        let deadline = Instant::now() + TICKET_MAX;
        while Instant::now() < deadline {
            let Some(request) = inner.take(TICKET_MAX) else { break };
            let taken = request.ticket().and_then(|ticket| self.slots().take(ticket));
            if let Some((connection, framing)) = taken {
                return Next::Job(Job { connection, framing, request });
            }
        }
        self.lost(ticket)
    }

    /// tiny_http did not hand out a request in time. Where another thread has taken ours, it carries on with it; then a
    /// connection that has waited for too long is the one that nobody carries on with.
    fn lost(&self, ticket: Ticket) -> Next {
        let mut slots = self.slots();
        match slots.take(ticket).or_else(|| slots.take_overdue()) {
            Some((connection, _)) => Next::Refused(connection, 503, "this request was lost"),
            None => Next::Nothing,
        }
    }

    /// Writes a head inward; where the inner connection is broken, after it has been made anew.
    fn send(&self, head: &[u8]) -> io::Result<Arc<Inner>> {
        let inner = self.inner.read().unwrap_or_else(|e| e.into_inner()).clone();
        if inner.send(head).is_ok() {
            return Ok(inner);
        }
        let mut current = self.inner.write().unwrap_or_else(|e| e.into_inner());
        if Arc::ptr_eq(&current, &inner) {
            log::warn!("The inner connection broke; making a new one");
            *current = Arc::new(Inner::open()?);
        }
        current.send(head)?;
        Ok(current.clone())
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Where a connection waits: a slot, and which of its tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticket {
    slot: usize,
    tenant: u64,
}

impl std::fmt::Display for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.slot, self.tenant)
    }
}

impl Ticket {
    fn parse(text: &str) -> Option<Ticket> {
        let (slot, tenant) = text.split_once('-')?;
        Some(Ticket { slot: slot.parse().ok()?, tenant: tenant.parse().ok()? })
    }
}

struct Tenancy {
    tenant: u64,
    since: Instant,
    connection: Connection,
    framing: Framing,
}

#[derive(Default)]
struct Slots {
    slots: Vec<Option<Tenancy>>,
    free: Vec<usize>,
    tenants: u64,
}

impl Slots {
    fn put(&mut self, connection: Connection, framing: Framing) -> Ticket {
        self.tenants += 1;
        let tenancy =
            Some(Tenancy { tenant: self.tenants, since: Instant::now(), connection, framing });
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = tenancy;
                slot
            }
            None => {
                self.slots.push(tenancy);
                self.slots.len() - 1
            }
        };
        Ticket { slot, tenant: self.tenants }
    }

    fn take(&mut self, ticket: Ticket) -> Option<(Connection, Framing)> {
        let place = self.slots.get_mut(ticket.slot)?;
        let tenancy = place.take_if(|tenancy| tenancy.tenant == ticket.tenant)?;
        self.free.push(ticket.slot);
        Some((tenancy.connection, tenancy.framing))
    }

    /// One that has waited for as long as a ticket is good for.
    fn take_overdue(&mut self) -> Option<(Connection, Framing)> {
        let mut tenancies = self.slots.iter().enumerate();
        let (slot, tenant) = tenancies.find_map(|(slot, place)| {
            let tenancy = place.as_ref()?;
            (tenancy.since.elapsed() >= TICKET_MAX).then_some((slot, tenancy.tenant))
        })?;
        self.take(Ticket { slot, tenant })
    }
}

/// An unmodified tiny_http behind a Unix socket. One connection is enough: parsing is a fraction of a request, and the
/// more heads wait on the same connection, the fewer times its thread has to be woken.
struct Inner {
    server: tiny_http::Server,
    stream: Mutex<UnixStream>,
}

impl Inner {
    /// In a directory of our own that is gone afterwards: nobody else gets in, nothing is left behind however the process
    /// ends, and tiny_http's own thread pool, which loses connections that come in a burst, sees one.
    fn open() -> io::Result<Inner> {
        let folder = Folder::make()?;
        let path = folder.0.join("inner");
        let listener = UnixListener::bind(&path)?;
        let server = tiny_http::Server::from_listener(listener, None).map_err(io::Error::other)?;
        let stream = UnixStream::connect(&path)?;
        stream.set_write_timeout(Some(TICKET_MAX))?;
        Ok(Inner { server, stream: Mutex::new(stream) })
    }

    /// The lock is held while a few hundred bytes go into the system's buffer: heads must not mix.
    fn send(&self, head: &[u8]) -> io::Result<()> {
        let mut stream = self.stream.lock().unwrap_or_else(|e| e.into_inner());
        stream.write_all(head).inspect_err(|_| {
            // Half a head may be in there: nobody else's may follow it.
            let _ = stream.shutdown(Shutdown::Both);
        })
    }

    fn take(&self, wait_max: Duration) -> Option<Parsed> {
        let request = match self.server.recv_timeout(wait_max) {
            // A wake-up may be lost to a thread that had just given up waiting; the request is still there.
            Ok(None) => self.server.try_recv(),
            other => other,
        };
        request.ok().flatten().map(|r| Parsed(Some(r)))
    }
}

/// A directory that only we can look into, and that is removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn make() -> io::Result<Folder> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut last = io::Error::other("no directory");
        for base in [std::env::temp_dir(), PathBuf::from("/dev/shm"), PathBuf::from(".")] {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!(".sap-ai-core-llm-proxy-{}-{count}", std::process::id());
            let path = base.join(name);
            // Left over from a process of the same number that was killed.
            let _ = remove_dir_all(&path);
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Folder(path)),
                Err(e) => last = e,
            }
        }
        Err(last)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = remove_dir_all(&self.0);
    }
}

/// A request of tiny_http's. Dropped undisposed it would answer 500 inward.
struct Parsed(Option<tiny_http::Request>);

impl Parsed {
    fn ticket(&self) -> Option<Ticket> {
        Ticket::parse(self.header(TICKET)?)
    }

    fn header(&self, name: &str) -> Option<&str> {
        let headers = self.0.as_ref()?.headers();
        // The names were written by us, in lower case.
        headers.iter().find(|h| h.field.as_str() == name).map(|h| h.value.as_str())
    }

    fn method(&self) -> &str {
        self.0.as_ref().map_or("", |r| r.method().as_str())
    }

    fn target(&self) -> &str {
        self.0.as_ref().map_or("", tiny_http::Request::url)
    }
}

impl Drop for Parsed {
    fn drop(&mut self) {
        drop(self.0.take().map(tiny_http::Request::into_writer));
    }
}

// ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/// One request and its answer, on a connection.
struct Turn {
    request: Parsed,
    framing: Framing,
    address: IpAddr,
    stall_max: Duration,
    connection: RefCell<Connection>,
    socket: Arc<TcpStream>,
    /// The head of an answer in parts, until the first of them; later the room in which parts are framed.
    out: RefCell<Vec<u8>>,
    state: Cell<State>,
    closes: Cell<bool>,
    has_read_body: Cell<bool>,
    /// The relay asked for the body: the client's key is one of ours.
    is_known: Cell<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    InParts,
    Complete,
    Broken,
}

impl Turn {
    fn new(job: Job, closes: bool, stall_max: Duration) -> Turn {
        let Job { connection, framing, request } = job;
        Turn {
            request,
            framing,
            address: connection.address(),
            stall_max,
            socket: connection.socket(),
            connection: RefCell::new(connection),
            out: RefCell::default(),
            state: Cell::new(State::Waiting),
            closes: Cell::new(closes),
            has_read_body: Cell::new(framing.body == BodyLength::Known(0)),
            is_known: Cell::new(false),
        }
    }

    fn is_head(&self) -> bool {
        self.request.method() == "HEAD"
    }

    /// Parts are chunks, but for a client that knows none: it reads until the connection is closed.
    fn is_chunked(&self) -> bool {
        !self.framing.is_http_1_0
    }

    /// A body that nobody read is in the way of the next request.
    fn pass_over_body(&self) {
        if !self.has_read_body.replace(true)
            && !body::skip(&mut self.connection.borrow_mut(), self.framing)
        {
            self.closes.set(true);
        }
    }

    fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        self.connection.borrow_mut().write(bytes).map_err(|_| {
            self.state.set(State::Broken);
            Error::ClientGone
        })
    }

    fn write_head(&self, head: &Head, length: Option<usize>, out: &mut Vec<u8>) {
        let _ = write!(out, "HTTP/1.1 {} {}\r\n", head.status, reason(head.status));
        for (name, value) in &head.headers {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            // Values may hold text of a client's or of AI Core's.
            let one_line = |b: u8| if matches!(b, b'\r' | b'\n' | b'\0') { b' ' } else { b };
            out.extend(value.bytes().map(one_line));
            out.extend_from_slice(b"\r\n");
        }
        let _ = match length {
            Some(_) if head.status == 204 => Ok(()),
            Some(length) => write!(out, "content-length: {length}\r\n"),
            None if self.is_chunked() => out.write_all(b"transfer-encoding: chunked\r\n"),
            None => {
                self.closes.set(true);
                Ok(())
            }
        };
        let _ = match (self.closes.get(), self.framing.is_http_1_0) {
            (true, _) => out.write_all(b"connection: close\r\n\r\n"),
            (false, true) => out.write_all(b"connection: keep-alive\r\n\r\n"),
            (false, false) => out.write_all(b"\r\n"),
        };
    }

    /// Frames a part in the room kept for it, head and last chunk included where they are due: one write.
    fn write_part(&self, bytes: &[u8], is_last: bool) -> Result<(), Error> {
        if self.state.get() != State::InParts {
            return Err(Error::ClientGone);
        }
        let mut out = self.out.borrow_mut();
        if !self.is_head() {
            if self.is_chunked() && !bytes.is_empty() {
                let _ = write!(out, "{:x}\r\n", bytes.len());
                out.extend_from_slice(bytes);
                out.extend_from_slice(b"\r\n");
            } else {
                out.extend_from_slice(bytes);
            }
            if self.is_chunked() && is_last {
                out.extend_from_slice(b"0\r\n\r\n");
            }
        }
        let written = self.write(&out);
        out.clear();
        written
    }

    /// The relay panicked: an honest answer, where none has begun.
    fn answer_panic(&self) {
        match self.state.get() {
            State::Waiting => {
                self.closes.set(true);
                let body = Dialect::OpenAi.error_body(&Error::Internal, "");
                let headers = vec![("content-type", "application/json".into())];
                let _ = self.answer(&Head { status: 500, headers }, body.as_bytes());
            }
            State::InParts => self.state.set(State::Broken),
            State::Complete | State::Broken => {}
        }
    }

    /// The connection, where another request can follow.
    fn into_connection(self) -> Option<Connection> {
        let connection = self.connection.into_inner();
        match self.state.get() {
            State::Complete if !self.closes.get() => return Some(connection),
            State::Complete if self.is_known.get() => {
                connection.close_gently(DRAIN_KNOWN_BYTES_MAX);
            }
            State::Complete => connection.close_gently(DRAIN_BYTES_MAX),
            State::Waiting | State::InParts | State::Broken => connection.abort(),
        }
        None
    }
}

impl Client for Turn {
    fn method(&self) -> &str {
        self.request.method()
    }

    fn target(&self) -> &str {
        self.request.target()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.request.header(name)
    }

    fn address(&self) -> IpAddr {
        self.address
    }

    fn body(&self, bytes_max: usize) -> Result<Vec<u8>, Error> {
        self.has_read_body.set(true);
        self.is_known.set(true);
        let mut connection = self.connection.borrow_mut();
        let read = body::read(&mut connection, self.framing, bytes_max, self.stall_max);
        if read.is_err() {
            self.closes.set(true);
        }
        read
    }

    fn socket(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn answer(&self, head: &Head, body: &[u8]) -> Result<(), Error> {
        self.pass_over_body();
        let mut out = Vec::with_capacity(512 + body.len().min(ONE_WRITE_BYTES_MAX));
        self.write_head(head, Some(body.len()), &mut out);
        let body = if self.is_head() { b"" } else { body };
        if body.len() <= ONE_WRITE_BYTES_MAX {
            out.extend_from_slice(body);
            self.write(&out)?;
        } else {
            self.write(&out)?;
            self.write(body)?;
        }
        self.state.set(State::Complete);
        Ok(())
    }

    fn begin(&self, head: &Head) {
        self.pass_over_body();
        self.connection.borrow_mut().rest();
        self.write_head(head, None, &mut self.out.borrow_mut());
        self.state.set(State::InParts);
    }

    fn part(&self, bytes: &[u8]) -> Result<(), Error> {
        self.write_part(bytes, false)
    }

    fn end(&self, bytes: &[u8]) -> Result<(), Error> {
        self.write_part(bytes, true)?;
        self.state.set(State::Complete);
        Ok(())
    }

    fn abort(&self) {
        self.state.set(State::Broken);
    }
}

/// Answers what never became a request, logs it, and closes.
fn refuse(mut connection: Connection, status: u16, why: &'static str) {
    let error = match status {
        408 => Error::SlowBody,
        503 => Error::Busy { what: why },
        _ => Error::BadRequest { path: "request".into(), why: why.into() },
    };
    let id = local::request_id(None);
    let body = openai_chat::error_body(&error);
    let head = format!(
        "HTTP/1.1 {status} {}\r\ncontent-type: application/json\r\nx-request-id: {id}\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        reason(status),
        body.len()
    );
    let client = connection.address().to_string();
    RequestLine { id, client, status, error: Some(why.into()), ..RequestLine::default() }.write();
    if connection.write(head.as_bytes()).is_ok() {
        connection.close_gently(DRAIN_BYTES_MAX);
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        424 => "Failed Dependency",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Status",
    }
}
