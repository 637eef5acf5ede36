//! The bytes between us and AI Core: sockets, TLS, buffers and the wait for an answer, as ureq's transport.
//!
//! Own, because ureq's cannot watch a second socket while it waits (a client that hangs up must end the call), takes the
//! web's roots *or* a company's, writes a request's head and body in two packets, asks the system six times a request
//! whether a pooled connection is open, looks host names up anew for each request, and keeps 256 KiB a connection.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use ureq::Timeout;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport as ureq_transport;
use ureq_transport::{Buffers, ConnectionDetails, NextTimeout, Transport, TransportAdapter};

use super::Watch;
use crate::error::Error;

/// What an input buffer begins with, and grows to when it keeps filling up.
const INPUT_BYTES: usize = 4 * 1024;
pub const INPUT_BYTES_MAX: usize = 256 * 1024;
/// Where an output buffer is written; what it grows to for large bodies.
const OUTPUT_BYTES: usize = 16 * 1024;
const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// How long AI Core is simply read from. Beyond, it is silent, and the client is looked at as well: asking the system about
/// two sockets for each of a stream's frames would double what a frame costs.
const BRIEF: Duration = Duration::from_millis(200);
/// How long a looked-up address is used.
const ADDRESS_AGE_MAX: Duration = Duration::from_secs(30);

/// The other end will send no more. Only Linux tells a half-closed socket apart; elsewhere a full close is seen.
#[cfg(target_os = "linux")]
const HUNG_UP: PollFlags = PollFlags::RDHUP;
#[cfg(not(target_os = "linux"))]
const HUNG_UP: PollFlags = PollFlags::HUP;

thread_local! {
    /// Who looks on during the call of this thread, if one is under way.
    static WATCH: RefCell<Option<Rc<dyn Watch>>> = const { RefCell::new(None) };
    /// Whether this call's connection was pooled, and whether a byte of its answer came.
    static IS_POOLED: Cell<bool> = const { Cell::new(false) };
    static HAS_ANSWERED: Cell<bool> = const { Cell::new(false) };
    /// A shorter limit to reads than the configured one.
    static HURRY: Cell<Duration> = const { Cell::new(Duration::MAX) };
}

/// Runs `call` with `watch` looking on whenever it waits for AI Core.
pub fn during_call<T>(watch: Option<Rc<dyn Watch>>, call: impl FnOnce() -> T) -> T {
    WATCH.set(watch);
    IS_POOLED.set(false);
    HAS_ANSWERED.set(false);
    let result = call();
    WATCH.set(None);
    result
}

/// Whether the last call of this thread failed on a connection that had been idle, before a byte of an answer came.
pub fn was_stale() -> bool {
    IS_POOLED.get() && !HAS_ANSWERED.get()
}

/// Limits the reads of this thread to this long.
pub fn hurry(limit: Duration) {
    HURRY.set(limit);
}

/// Opens connections: TCP, or the tunnel that a proxy of the environment gave, and TLS over either.
pub struct Connector {
    tls: Arc<rustls::ClientConfig>,
}

impl Connector {
    pub fn new(tls: Arc<rustls::ClientConfig>) -> Connector {
        Connector { tls }
    }
}

impl<In: Transport> ureq_transport::Connector<In> for Connector {
    type Out = Wire;

    fn connect(
        &self,
        details: &ConnectionDetails,
        tunnel: Option<In>,
    ) -> Result<Option<Wire>, ureq::Error> {
        IS_POOLED.set(false);
        let mut socket = match tunnel {
            Some(transport) => {
                let boxed: Box<dyn Transport> = Box::new(transport);
                let mut adapter = TransportAdapter::new(boxed, details.current_time.clone());
                adapter.set_timeout(details.timeout);
                Socket::Tunnel(Box::new(adapter))
            }
            None => Socket::Tcp { stream: tcp(details)?, read_max: *details.timeout.after },
        };
        let stream = if details.needs_tls() {
            let name =
                ServerName::try_from(details.uri.host().unwrap_or("").trim_matches(['[', ']']))
                    .map_err(|_| ureq::Error::Tls("the host name can have no certificate"))?
                    .to_owned();
            let connection = ClientConnection::new(self.tls.clone(), name).map_err(tls_error)?;
            let mut tls = Box::new(rustls::StreamOwned::new(connection, socket));
            tls.conn.complete_io(&mut tls.sock)?;
            Stream::Tls(tls)
        } else {
            if let Socket::Tunnel(adapter) = &mut socket {
                adapter.set_timeout(NextTimeout::default());
            }
            Stream::Plain(socket)
        };
        Ok(Some(Wire {
            stream,
            buffers: WireBuffers::default(),
            is_used: false,
            is_in_use: false,
            write_error: None,
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
                // A model may think for minutes; firewalls forget silent connections.
                rustix::net::sockopt::set_socket_keepalive(&stream, true)
                    .map_err(io::Error::from)?;
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

/// One connection to AI Core.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    buffers: WireBuffers,
    /// A request went over it before.
    is_used: bool,
    /// A request is on it now.
    is_in_use: bool,
    /// Writing failed; the answer that explains it may still be readable (an early 413).
    write_error: Option<io::Error>,
}

#[derive(Debug)]
enum Stream {
    Plain(Socket),
    Tls(Box<rustls::StreamOwned<ClientConnection, Socket>>),
}

enum Socket {
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
        IS_POOLED.set(self.is_used);
        self.is_in_use = true;
        let limit = timeout.for_read();
        let read_max = (*limit.after).min(HURRY.get());
        let free = self.buffers.input_append_buf();
        let room = free.len();
        let read = match &mut self.stream {
            Stream::Plain(socket) => {
                socket.set_read_max(read_max, timeout);
                socket.read(free)
            }
            Stream::Tls(tls) => {
                tls.sock.set_read_max(read_max, timeout);
                tls.read(free)
            }
        };
        match read {
            Ok(n) => {
                self.buffers.input_appended(n);
                if n == room {
                    self.buffers.grow_input();
                }
                if n > 0 {
                    HAS_ANSWERED.set(true);
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
            Err(e) => Err(self.write_error.take().unwrap_or(e).into()),
        }
    }

    /// Asked when a connection goes into the pool, and, which is early enough to look, when it is taken out.
    fn is_open(&mut self) -> bool {
        self.is_used = true;
        let comes_from_use = std::mem::take(&mut self.is_in_use);
        let is_open =
            self.write_error.is_none() && (comes_from_use || self.stream.is_silent_and_open());
        self.buffers.release();
        is_open
    }

    fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }
}

impl Stream {
    fn is_silent_and_open(&mut self) -> bool {
        match self {
            Stream::Plain(socket) => !socket.is_readable(),
            Stream::Tls(tls) => {
                // A session ticket may come late; that is no answer.
                !tls.sock.is_readable()
                    || (matches!(tls.conn.read_tls(&mut tls.sock), Ok(n) if n > 0)
                        && tls.conn.process_new_packets().is_ok_and(|state| {
                            state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed()
                        }))
            }
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
            Socket::Tunnel(adapter) => !adapter.get_mut().is_open(),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp { stream, read_max } if *read_max > BRIEF => match stream.read(buffer) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    wait_readable(stream, *read_max - BRIEF)?;
                    stream.read(buffer)
                }
                read => read,
            },
            Socket::Tcp { stream, read_max } => {
                wait_readable(stream, *read_max)?;
                stream.read(buffer)
            }
            Socket::Tunnel(adapter) => adapter.read(buffer),
        }
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

/// Waits for AI Core, and looks at the client meanwhile: its hang-up ends the wait, and it hears of long silences.
fn wait_readable(stream: &TcpStream, limit: Duration) -> io::Result<()> {
    let watch = WATCH.with_borrow(Clone::clone);
    let watch = watch.as_deref();
    let began = Instant::now();
    let patience = watch.and_then(Watch::patience).unwrap_or(Duration::MAX);
    let mut quiet_until = patience;
    loop {
        let waited = began.elapsed();
        if waited >= limit {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if waited >= quiet_until {
            watch.map_or(Ok(()), Watch::silent).map_err(io::Error::other)?;
            quiet_until = quiet_until.saturating_add(patience);
            continue;
        }
        let client = watch.and_then(Watch::socket);
        let mut fds = [
            PollFd::new(stream, PollFlags::IN),
            PollFd::from_borrowed_fd(client.unwrap_or(stream.as_fd()), HUNG_UP),
        ];
        let count = if client.is_some() { 2 } else { 1 };
        match poll(&mut fds[..count], Some(&timespec(limit.min(quiet_until) - waited))) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
            Ok(_) if !fds[0].revents().is_empty() => return Ok(()),
            Ok(_) => return Err(io::Error::other(Error::ClientGone)),
        }
    }
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

    /// An idle connection holds no memory.
    fn release(&mut self) {
        if self.start == self.end {
            self.input = Vec::new();
            (self.start, self.end) = (0, 0);
        }
        if self.pending == 0 {
            self.output = Vec::new();
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
        if self.output.len() < self.pending + OUTPUT_BYTES {
            self.output.resize(self.pending + OUTPUT_BYTES, 0);
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

/// Looks host names up, and remembers the answer for a while: ureq asks for each request.
#[derive(Debug, Default)]
pub struct CachingResolver {
    found: Mutex<HashMap<String, (Vec<SocketAddr>, Instant)>>,
}

/// One resolver for all agents.
#[derive(Debug)]
pub struct Shared(pub Arc<CachingResolver>);

impl Resolver for Shared {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(ureq::Error::HostNotFound);
        };
        let mut result = self.empty();
        if let (Ok(ip), Some(port)) = (authority.host().parse(), authority.port_u16()) {
            result.push(SocketAddr::new(ip, port));
            return Ok(result);
        }
        let name =
            DefaultResolver::host_and_port(scheme, authority).ok_or(ureq::Error::HostNotFound)?;
        let addresses = self.0.look_up(&name)?;
        for address in config.ip_family().keep_wanted(addresses.into_iter()).take(16) {
            result.push(address);
        }
        if result.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(result) }
    }
}

impl CachingResolver {
    fn look_up(&self, name: &str) -> Result<Vec<SocketAddr>, ureq::Error> {
        let lock = || self.found.lock().unwrap_or_else(|e| e.into_inner());
        let is_fresh = |at: &Instant| at.elapsed() < ADDRESS_AGE_MAX;
        if let Some((addresses, _)) = lock().get(name).filter(|(_, at)| is_fresh(at)) {
            return Ok(addresses.clone());
        }
        match name.to_socket_addrs() {
            Ok(addresses) => {
                let addresses: Vec<_> = addresses.collect();
                lock().insert(name.to_owned(), (addresses.clone(), Instant::now()));
                Ok(addresses)
            }
            // The name server is down or knows no such name; where it knew one before, that is the best guess.
            Err(_) => match lock().get(name) {
                Some((addresses, _)) => Ok(addresses.clone()),
                None => Err(ureq::Error::HostNotFound),
            },
        }
    }
}
