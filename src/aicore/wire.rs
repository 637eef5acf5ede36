//! The bytes between us and AI Core: sockets, TLS, buffers and the wait for an answer, as ureq's transport.
//!
//! Own, because ureq's cannot watch a second socket while it waits (a client that hangs up must end the call), takes the
//! web's roots *or* a company's, writes a request's head and body in two packets, asks the system six times a request
//! whether a pooled connection is open, walks its whole pool under a lock for each, and keeps 256 KiB a connection.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use ureq::Timeout;
use ureq::http::uri::Authority;
use ureq::unversioned::transport as ureq_transport;
use ureq_transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Either, NextTimeout, Transport,
    TransportAdapter,
};

use super::Watch;
use super::pool::IdlePool;
use crate::error::Error;

/// What an input buffer begins with, and grows to when it keeps filling up.
const INPUT_BYTES: usize = 4 * 1024;
pub const INPUT_BYTES_MAX: usize = 256 * 1024;
/// The room that is always there for output; where it is written; what it grows to for large bodies.
const OUTPUT_ROOM_BYTES: usize = 8 * 1024;
const OUTPUT_BYTES: usize = 16 * 1024;
const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// How long AI Core is simply read from. Beyond, it is silent, and the client is looked at as well: asking the system about
/// two sockets for each of a stream's frames would double what a frame costs.
const BRIEF: Duration = Duration::from_millis(200);

/// The other end will send no more. Only Linux tells a half-closed socket apart; elsewhere a full close is seen.
#[cfg(target_os = "linux")]
const HUNG_UP: PollFlags = PollFlags::RDHUP;
#[cfg(not(target_os = "linux"))]
const HUNG_UP: PollFlags = PollFlags::HUP;

/// What a call wants of the connection it will have.
#[derive(Clone, Default)]
pub struct Call {
    /// Who looks on whenever AI Core is awaited.
    pub watch: Option<Rc<dyn Watch>>,
    /// A shorter limit to silences than the configured one.
    pub silence_max: Option<Duration>,
    /// When the whole call has to be over, however lively its connection is.
    pub deadline: Option<Instant>,
    /// An idle connection has just turned out to be closed: take a new one.
    pub is_repeat: bool,
}

thread_local! {
    /// The call that this thread is in.
    static CALL: RefCell<Call> = RefCell::default();
    /// Whether its connection was an idle one, and whether a byte of its answer came.
    static WAS_IDLE: Cell<bool> = const { Cell::new(false) };
    static HAS_ANSWERED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` as part of `call`.
pub fn during<T>(call: &Call, work: impl FnOnce() -> T) -> T {
    /// Nothing of a call outlives it, even in a panic.
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            CALL.set(Call::default());
        }
    }
    let _end = End;
    CALL.set(call.clone());
    WAS_IDLE.set(false);
    HAS_ANSWERED.set(false);
    work()
}

/// Whether what this thread did last failed on a connection that had been idle, before a byte of an answer came.
pub fn was_stale() -> bool {
    WAS_IDLE.get() && !HAS_ANSWERED.get()
}

/// Gives connections: an idle one, or a new one over TCP, or through a tunnel that a proxy of the environment grants, and
/// with TLS over either.
pub struct Connector {
    tls: Arc<rustls::ClientConfig>,
    pool: Arc<IdlePool>,
    proxy: ConnectProxyConnector,
    /// The host of a URL that stands for another one, and whose certificate is wanted of it.
    stand_in: Option<(String, String)>,
}

impl Connector {
    pub fn new(tls: Arc<rustls::ClientConfig>, pool: Arc<IdlePool>) -> Connector {
        Connector { tls, pool, proxy: ConnectProxyConnector::default(), stand_in: None }
    }

    /// Of `host` the certificate of `name` is wanted.
    pub fn with_stand_in(self, host: String, name: String) -> Connector {
        Connector { stand_in: Some((host, name)), ..self }
    }

    /// Not inlined: an idle connection is the rule, and takes less of the stack.
    #[inline(never)]
    fn open(&self, details: &ConnectionDetails) -> Result<Stream, ureq::Error> {
        let mut socket = match ureq_transport::Connector::<()>::connect(&self.proxy, details, None)?
        {
            Some(Either::B(transport)) => {
                let mut adapter = TransportAdapter::new(transport, details.current_time.clone());
                adapter.set_timeout(details.timeout);
                Socket::Tunnel(Box::new(adapter))
            }
            _ => Socket::Tcp { stream: tcp(details)?, read_max: *details.timeout.after },
        };
        if !details.needs_tls() {
            if let Socket::Tunnel(adapter) = &mut socket {
                adapter.set_timeout(NextTimeout::default());
            }
            return Ok(Stream::Plain(socket));
        }
        let host = details.uri.host().unwrap_or("");
        let host = match &self.stand_in {
            Some((stand_in, name)) if stand_in == host => name,
            _ => host,
        };
        let name = ServerName::try_from(host.trim_matches(['[', ']']))
            .map_err(|_| ureq::Error::Tls("the host name can have no certificate"))?
            .to_owned();
        let connection = ClientConnection::new(self.tls.clone(), name).map_err(tls_error)?;
        let mut tls = Box::new(rustls::StreamOwned::new(connection, socket));
        match tls.conn.complete_io(&mut tls.sock) {
            Ok(_) => Ok(Stream::Tls(tls)),
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) =>
            {
                match last_words(&mut tls, &mut [0]) {
                    Err(why) if why.kind() == io::ErrorKind::InvalidData => Err(why.into()),
                    _ => Err(e.into()),
                }
            }
            Err(e) => Err(e.into()),
        }
    }
}

impl ureq_transport::Connector<()> for Connector {
    type Out = Wire;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _: Option<()>,
    ) -> Result<Option<Wire>, ureq::Error> {
        let authority = details.uri.authority().ok_or(ureq::Error::HostNotFound)?;
        let idle = match CALL.with_borrow(|call| call.is_repeat) {
            true => None,
            false => self.pool.take(details.needs_tls(), authority),
        };
        let was_idle = idle.is_some();
        let stream = match idle {
            Some(stream) => stream,
            None => self.open(details)?,
        };
        WAS_IDLE.set(was_idle);
        Ok(Some(Wire {
            stream,
            buffers: WireBuffers::default(),
            write_error: None,
            home: (self.pool.clone(), authority.clone()),
            goes_home: false,
        }))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

fn tls_error(e: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, e)
}

/// The first address that accepts, each tried for an equal share of the time.
fn tcp(details: &ConnectionDetails) -> Result<TcpStream, ureq::Error> {
    let addresses: Vec<SocketAddr> = details.addrs.iter().copied().collect();
    let share = *details.timeout.after / addresses.len().max(1) as u32;
    let mut failure = ureq::Error::HostNotFound;
    for address in addresses {
        match TcpStream::connect_timeout(&address, share.max(Duration::from_millis(10))) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(BRIEF))?;
                stream.set_write_timeout(details.config.timeout_per_write())?;
                keep_alive(&stream)?;
                return Ok(stream);
            }
            Err(e) if e.kind() == io::ErrorKind::TimedOut => {
                failure = ureq::Error::Timeout(Timeout::Connect);
            }
            Err(e) => failure = e.into(),
        }
    }
    Err(failure)
}

/// A model may think for minutes, and what stands between forgets silent connections after a few.
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt::*;
    set_socket_keepalive(stream, true)?;
    set_tcp_keepidle(stream, Duration::from_secs(60))?;
    Ok(set_tcp_keepintvl(stream, Duration::from_secs(30))?)
}

/// One connection to AI Core.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    buffers: WireBuffers,
    /// Writing failed; the answer that explains it may still be readable (an early 413).
    write_error: Option<io::Error>,
    /// The pool to which the connection goes back, and its name there.
    home: (Arc<IdlePool>, Authority),
    goes_home: bool,
}

/// The bytes' way.
#[derive(Debug)]
pub enum Stream {
    Plain(Socket),
    Tls(Box<rustls::StreamOwned<ClientConnection, Socket>>),
    /// It went back to the pool.
    Gone,
}

pub enum Socket {
    Tcp { stream: TcpStream, read_max: Duration },
    Tunnel(Box<TransportAdapter>),
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Socket")
    }
}

impl Wire {
    fn flush(&mut self) {
        let pending = std::mem::take(&mut self.buffers.pending);
        if pending == 0 || self.write_error.is_some() {
            return;
        }
        let bytes = &self.buffers.output[..pending];
        let result = match &mut self.stream {
            Stream::Plain(socket) => socket.write_all(bytes),
            Stream::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
            Stream::Gone => Err(io::ErrorKind::NotConnected.into()),
        };
        self.write_error = result.err();
    }
}

impl Transport for Wire {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    /// Collects; a request of less than [`OUTPUT_BYTES`] goes out as one packet, when its answer is awaited.
    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        self.buffers.pending += amount;
        if self.buffers.pending >= OUTPUT_BYTES {
            let is_full = self.buffers.pending == self.buffers.output.len();
            self.flush();
            if is_full {
                self.buffers.output.resize(OUTPUT_BYTES_MAX, 0);
            }
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        if self.buffers.pending > 0 {
            self.flush();
            // While the answer is read, a stream of minutes, nothing is written.
            self.buffers.output = Vec::new();
        }
        let limit = timeout.for_read();
        let silence_max = CALL.with_borrow(|call| call.silence_max).unwrap_or(Duration::MAX);
        let read_max = (*limit.after).min(silence_max);
        let had_answered = HAS_ANSWERED.get();
        let free = self.buffers.input_append_buf();
        let room = free.len();
        let read = match &mut self.stream {
            Stream::Plain(socket) => {
                socket.set_read_max(read_max, timeout);
                socket.read(free)
            }
            Stream::Tls(tls) => {
                tls.sock.set_read_max(read_max, timeout);
                match self.write_error {
                    Some(_) => last_words(tls, free),
                    None => tls.read(free),
                }
            }
            Stream::Gone => Err(io::ErrorKind::NotConnected.into()),
        };
        // In a tunnel, the connection to the proxy has its own view; bytes of TLS are no answer.
        HAS_ANSWERED.set(had_answered || matches!(read, Ok(n) if n > 0));
        match read {
            Ok(n) => {
                self.buffers.input_appended(n);
                if n == room {
                    self.buffers.grow_input();
                }
                if n > 0 {
                    return Ok(true);
                }
                match self.write_error.take() {
                    Some(e) => Err(e.into()),
                    None => Ok(false),
                }
            }
            Err(e) if e.kind() == io::ErrorKind::TimedOut => {
                Err(ureq::Error::Timeout(limit.reason))
            }
            // TLS's last word explains why writing failed.
            Err(e) if e.kind() == io::ErrorKind::InvalidData => Err(e.into()),
            Err(e) => Err(self.write_error.take().unwrap_or(e).into()),
        }
    }

    /// ureq asks this of a connection on which an answer has ended well, just before it puts it into its own pool. That
    /// holds nothing (`max_idle_connections(0)`) and drops it: so it goes to ours.
    fn is_open(&mut self) -> bool {
        self.goes_home = self.write_error.is_none();
        self.goes_home
    }

    fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }
}

/// Reads as rustls' stream does, which would first try to write again what cannot be written, and never come to read why.
fn last_words(
    tls: &mut rustls::StreamOwned<ClientConnection, Socket>,
    buffer: &mut [u8],
) -> io::Result<usize> {
    loop {
        match tls.conn.reader().read(buffer) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
        if tls.conn.read_tls(&mut tls.sock)? == 0 {
            return Ok(0);
        }
        tls.conn.process_new_packets().map_err(tls_error)?;
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.goes_home {
            let stream = std::mem::replace(&mut self.stream, Stream::Gone);
            self.home.0.give(matches!(stream, Stream::Tls(_)), &self.home.1, stream);
        }
    }
}

impl Stream {
    /// Whether an idle connection can be used: nothing waits to be read, neither bytes nor an end.
    pub fn is_silent_and_open(&mut self) -> bool {
        match self {
            Stream::Plain(socket) => !socket.is_readable(),
            Stream::Tls(tls) => {
                // A session ticket may come late; that is no answer.
                let has_read = !tls.sock.is_readable()
                    || matches!(tls.conn.read_tls(&mut tls.sock), Ok(n) if n > 0);
                has_read
                    && tls.conn.process_new_packets().is_ok_and(|state| {
                        state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed()
                    })
            }
            Stream::Gone => false,
        }
    }
}

impl Socket {
    fn set_read_max(&mut self, limit: Duration, timeout: NextTimeout) {
        match self {
            Socket::Tcp { read_max, .. } => *read_max = limit,
            Socket::Tunnel(adapter) => adapter.set_timeout(timeout),
        }
    }

    fn is_readable(&mut self) -> bool {
        match self {
            Socket::Tcp { stream, .. } => {
                let mut fds = [PollFd::new(stream, PollFlags::IN)];
                !matches!(poll(&mut fds, Some(&timespec(Duration::ZERO))), Ok(0))
            }
            // Cannot be told; if it was closed, the request is repeated.
            Socket::Tunnel(_) => false,
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (stream, read_max) = match self {
            Socket::Tcp { stream, read_max } => (stream, (*read_max).min(time_left())),
            Socket::Tunnel(adapter) => return adapter.read(buffer),
        };
        if read_max > BRIEF {
            match stream.read(buffer) {
                Err(e) if is_early(&e) => wait_readable(stream, read_max - BRIEF)?,
                read => return read,
            }
        } else {
            wait_readable(stream, read_max)?;
        }
        stream.read(buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp { stream, .. } => stream.write(bytes),
            Socket::Tunnel(adapter) => adapter.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Until the call has to be over.
fn time_left() -> Duration {
    let deadline = CALL.with_borrow(|call| call.deadline);
    deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()))
}

/// Waits for AI Core, and looks at the client meanwhile: its hang-up ends the wait, and it hears of long silences.
fn wait_readable(stream: &TcpStream, limit: Duration) -> io::Result<()> {
    let watch = CALL.with_borrow(|call| call.watch.clone());
    let watch = watch.as_deref();
    let began = Instant::now();
    loop {
        let left = limit.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let quiet = watch.and_then(Watch::patience).unwrap_or(Duration::MAX);
        if quiet.is_zero() {
            watch.map_or(Ok(()), Watch::silent).map_err(io::Error::other)?;
            continue;
        }
        let client = watch.and_then(Watch::socket);
        let mut fds = [
            PollFd::new(stream, PollFlags::IN),
            PollFd::from_borrowed_fd(client.unwrap_or(stream.as_fd()), HUNG_UP),
        ];
        let count = if client.is_some() { 2 } else { 1 };
        match poll(&mut fds[..count], Some(&timespec(left.min(quiet)))) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
            Ok(_) if !fds[0].revents().is_empty() => return Ok(()),
            Ok(_) => return Err(io::Error::other(Error::ClientGone)),
        }
    }
}

/// The brief wait is over, or a signal cut it short.
fn is_early(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// At most a day: the system refuses absurd times.
fn timespec(time: Duration) -> rustix::event::Timespec {
    let time = time.min(Duration::from_secs(86_400));
    rustix::event::Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() }
}

/// Buffers that exist only while they are needed.
#[derive(Debug, Default)]
struct WireBuffers {
    input: Vec<u8>,
    start: usize,
    end: usize,
    has_progressed: bool,
    output: Vec<u8>,
    /// Bytes of `output` that are not yet written.
    pending: usize,
}

impl WireBuffers {
    fn grow_input(&mut self) {
        let larger = (self.input.len() * 2).min(INPUT_BYTES_MAX / 4);
        if larger > self.input.len() {
            self.input.resize(larger, 0);
        }
    }

    fn make_room_for_input(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.end == self.input.len() && self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.input.len() && self.input.len() < INPUT_BYTES_MAX {
            self.input.resize((self.input.len() * 2).max(INPUT_BYTES), 0);
        }
    }

    fn make_room_for_output(&mut self) {
        if self.output.len() < self.pending + OUTPUT_ROOM_BYTES {
            self.output.resize(self.pending + OUTPUT_ROOM_BYTES, 0);
        }
    }
}

impl Buffers for WireBuffers {
    fn output(&mut self) -> &mut [u8] {
        self.make_room_for_output();
        &mut self.output[self.pending..]
    }

    fn input(&self) -> &[u8] {
        &self.input[self.start..self.end]
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        self.make_room_for_input();
        &mut self.input[self.end..]
    }

    fn input_appended(&mut self, amount: usize) {
        self.end += amount;
    }

    fn input_consume(&mut self, amount: usize) {
        self.has_progressed = amount > 0;
        self.start += amount;
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        self.make_room_for_input();
        self.make_room_for_output();
        (&mut self.input[self.end..], &mut self.output[self.pending..])
    }

    fn can_use_input(&self) -> bool {
        self.start < self.end && self.has_progressed
    }
}
