//! The front door: accepts clients and hands over connections that have been made safe.
//!
//! tiny_http never sees a socket of the network. Left alone with one it aborts on a large Content-Length, stops accepting
//! for ever when file descriptors run out, leaks on `HTTP/2.0`, and has no time-out of any kind. So here: a cap on
//! connections, TLS, time-outs, and a policed head ([`head`]) and body ([`body`]) for every request.

pub mod body;
pub mod connection;
pub mod head;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// File descriptors kept for all that is no client: listeners, logs, the token host, certificates.
const FDS_RESERVED: u64 = 32;
/// How long to wait when the system can give no more sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// At most one complaint of a kind in this time.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(5);

const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n\
Connection: close\r\nContent-Length: 134\r\n\r\n{\"error\":{\"message\":\"The proxy has as many connections as it may. Try again.\",\
\"type\":\"server_error\",\"param\":null,\"code\":\"overloaded\"}}";

/// A listening socket, and the means to stop listening.
pub struct Gate {
    listener: TcpListener,
    address: SocketAddr,
    connections_max: usize,
    wake: UnixStream,
}

/// Ends [`Gate::run`].
pub struct Stop(UnixStream);

/// The place of one connection among those allowed; given back when dropped.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Gate {
    /// Listens. `connections_max` is lowered to what the system's limit on open files allows.
    pub fn open(host: &str, port: u16, connections_max: usize) -> Result<(Gate, Stop), String> {
        let listener = listen(host, port)?;
        listener.set_nonblocking(true).map_err(|e| e.to_string())?;
        let address = listener.local_addr().map_err(|e| e.to_string())?;
        let (wake, stop) = UnixStream::pair().map_err(|e| e.to_string())?;
        let connections_max = connections_max.min(connections_possible());
        Ok((Gate { listener, address, connections_max, wake }, Stop(stop)))
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn connections_max(&self) -> usize {
        self.connections_max
    }

    /// Accepts until stopped. `welcome` is called with each connection and its place, and must not block; where it
    /// fails, the connection is closed.
    pub fn run(&mut self, mut welcome: impl FnMut(TcpStream, SocketAddr, Place) -> io::Result<()>) {
        let places = Arc::new(AtomicUsize::new(0));
        let mut complaints = Complaints::default();
        while let Some(accepted) = self.accept() {
            match accepted {
                Ok((stream, address)) => match Place::take(&places, self.connections_max) {
                    None => {
                        complaints.warn(format_args!(
                            "{} connections are open, the limit (`limits.connections_max`); a client was sent away",
                            self.connections_max
                        ));
                        send_away(stream);
                    }
                    Some(place) => {
                        if let Err(e) = welcome(stream, address, place) {
                            complaints.warn(format_args!("No thread for a client: {e}"));
                        }
                    }
                },
                Err(e) => {
                    if e.kind() != io::ErrorKind::ConnectionAborted {
                        complaints.warn(format_args!("Clients cannot be accepted: {e}"));
                        std::thread::sleep(ACCEPT_PAUSE);
                    }
                }
            }
        }
    }

    /// Waits for a client; `None` when it is time to stop.
    fn accept(&self) -> Option<io::Result<(TcpStream, SocketAddr)>> {
        loop {
            let mut fds = [
                PollFd::new(&self.listener, PollFlags::IN),
                PollFd::new(&self.wake, PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                // A signal: it is for another thread to say what it means.
                Err(Errno::INTR) => continue,
                Err(e) => return Some(Err(e.into())),
                Ok(_) if !fds[1].revents().is_empty() => return None,
                Ok(_) => {}
            }
            // The client may have left again: the listener does not block.
            match self.listener.accept() {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Some(Err(e)),
                Ok((stream, address)) => {
                    return Some(stream.set_nonblocking(false).map(|()| (stream, address)));
                }
            }
        }
    }
}

impl Stop {
    pub fn stop(&self) {
        // The other end may have gone already: then there is nothing to stop.
        let _ = (&self.0).write_all(b"!");
    }
}

impl Place {
    fn take(places: &Arc<AtomicUsize>, max: usize) -> Option<Place> {
        let taken = places
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < max).then_some(n + 1));
        taken.ok().map(|_| Place(places.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Answers at once, without waiting for a request, and closes.
fn send_away(mut stream: TcpStream) {
    let _ = stream.set_nonblocking(true);
    let _ = stream.write_all(TOO_MANY);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    // What has come already is read, or the close would destroy the answer on its way.
    let _ = stream.read(&mut [0; 4096]);
}

fn listen(host: &str, port: u16) -> Result<TcpListener, String> {
    let at = format!("{host}:{port}");
    let bare = host.trim_matches(['[', ']']);
    let addresses: Vec<_> = (bare, port)
        .to_socket_addrs()
        .map_err(|e| format!("cannot listen on {at}: {e}"))?
        .collect();
    TcpListener::bind(&addresses[..]).map_err(|e| match e.kind() {
        io::ErrorKind::AddrInUse => {
            format!("cannot listen on {at}: another program uses this port; choose another with --port")
        }
        io::ErrorKind::PermissionDenied => {
            format!("cannot listen on {at}: no permission; ports below 1024 need extra rights, choose another with --port")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("cannot listen on {at}: this machine has no such address; --host takes one of its own, or 0.0.0.0 for all")
        }
        _ => format!("cannot listen on {at}: {e}"),
    })
}

/// Raises the limit on open files as far as it goes; each connection may need two, one of them upstream.
fn connections_possible() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _ = setrlimit(Resource::Nofile, raised);
    let now = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let possible = now.saturating_sub(FDS_RESERVED) / 2;
    usize::try_from(possible).unwrap_or(usize::MAX).max(1)
}

/// Warnings that a flood must not turn into a flood of lines.
#[derive(Default)]
struct Complaints {
    last: Option<Instant>,
}

impl Complaints {
    fn warn(&mut self, what: std::fmt::Arguments<'_>) {
        let now = Instant::now();
        if self.last.is_none_or(|last| now.duration_since(last) >= COMPLAINT_PAUSE) {
            self.last = Some(now);
            log::warn!("{what}");
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_canned_answer_states_its_length() {
        let text = std::str::from_utf8(super::TOO_MANY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
        serde_json::from_str::<serde_json::Value>(body).unwrap();
    }
}
