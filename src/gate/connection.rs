//! One client's connection: its socket, TLS, time-outs, and the bytes that were read but not used.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection};

use super::Place;

/// What is read at a time while a head is awaited.
const READ_BYTES: usize = 4096;
/// The limit to a TLS handshake, from its first byte to its last.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// After a refusal the client may still be sending: so long and so much of it is read, lest it misses the answer.
const DRAIN_MAX: Duration = Duration::from_secs(1);
/// … of a stranger, and of a client whose key is right but whose body is too large: Node's would never see the 413.
pub const DRAIN_BYTES_MAX: usize = 256 * 1024;
pub const DRAIN_KNOWN_BYTES_MAX: usize = 64 * 1024 * 1024;
const SINK_BYTES: usize = 1024;

const SPEAK_HTTPS: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\
Content-Length: 47\r\n\r\nThis port speaks HTTPS: use https:// in a URL.\n";

/// A client's connection.
#[derive(Debug)]
pub struct Connection {
    tcp: Arc<TcpStream>,
    tls: Option<Box<ServerConnection>>,
    address: IpAddr,
    /// Bytes that came and are not used yet: `buffer[start..]`.
    buffer: Vec<u8>,
    start: usize,
    read_timeout: Duration,
    _place: Place,
}

impl Connection {
    /// Makes a connection of an accepted socket; with `tls`, after the handshake. Blocks no longer than that may take.
    pub fn open(
        stream: TcpStream,
        address: SocketAddr,
        place: Place,
        tls: Option<Arc<ServerConfig>>,
        write_timeout: Duration,
    ) -> io::Result<Connection> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(write_timeout))?;
        let tls = tls.map(|config| handshake(&stream, config).map(Box::new)).transpose()?;
        Ok(Connection {
            tcp: Arc::new(stream),
            tls,
            address: address.ip().to_canonical(),
            buffer: vec![],
            start: 0,
            read_timeout: Duration::ZERO,
            _place: place,
        })
    }

    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// To be watched for the client's hang-up.
    pub fn socket(&self) -> Arc<TcpStream> {
        self.tcp.clone()
    }

    /// The bytes that came and are not used yet.
    pub fn unused(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Marks bytes as used.
    pub fn used(&mut self, count: usize) {
        self.start += count;
        if self.start >= self.buffer.len() {
            self.start = 0;
            self.buffer.clear();
            self.buffer.shrink_to(READ_BYTES);
        }
    }

    /// Gives memory back that is not needed while an answer lasts, perhaps for minutes.
    pub fn rest(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = vec![];
        }
    }

    /// Waits for more bytes to come, at most `limit`. 0 when the client will send no more.
    pub fn read_more(&mut self, limit: Duration) -> io::Result<usize> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        let filled = self.buffer.len();
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(filled + READ_BYTES, 0);
        let read = self.read(&mut buffer[filled..], limit);
        buffer.truncate(filled + *read.as_ref().unwrap_or(&0));
        self.buffer = buffer;
        read
    }

    /// Reads into `into`, past the buffer, which must have been used up.
    pub fn read(&mut self, into: &mut [u8], limit: Duration) -> io::Result<usize> {
        let deadline = Instant::now() + limit.max(Duration::from_millis(1));
        loop {
            let read = match &mut self.tls {
                None => {
                    self.set_read_timeout(limit)?;
                    (&*self.tcp).read(into)
                }
                // A record may come in many pieces: each is progress for TLS, but none for HTTP.
                Some(tls) => {
                    let mut until = Until { stream: &self.tcp, deadline };
                    rustls::Stream::new(tls.as_mut(), &mut until).read(into)
                }
            };
            match read {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // A client that leaves without TLS's goodbye has left all the same.
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                other => return other,
            }
        }
    }

    /// Writes all of it, as one TLS record or packet where it fits.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return (&*self.tcp).write_all(bytes) };
        let mut left = bytes;
        loop {
            send(tls, &self.tcp)?;
            if left.is_empty() {
                return Ok(());
            }
            let taken = tls.writer().write(left)?;
            left = &left[taken..];
        }
    }

    /// Closes, after an answer that the client may not have asked for yet: it is given the chance to read it.
    pub fn close_gently(mut self, drain_bytes_max: usize) {
        self.say_goodbye();
        let _ = self.tcp.shutdown(Shutdown::Write);
        let until = Instant::now() + DRAIN_MAX;
        let mut left = drain_bytes_max;
        let mut sink = [0; SINK_BYTES];
        while left > 0 {
            let remaining = until.saturating_duration_since(Instant::now());
            if remaining.is_zero() || self.tcp.set_read_timeout(Some(remaining)).is_err() {
                return;
            }
            match (&*self.tcp).read(&mut sink) {
                Ok(n) if n > 0 => left = left.saturating_sub(n),
                _ => return,
            }
        }
    }

    /// Closes a connection on which everything has been said.
    pub fn close(mut self) {
        self.say_goodbye();
    }

    /// Ends the connection so that the client can tell: no goodbye, no last chunk.
    pub fn abort(self) {
        let _ = self.tcp.shutdown(Shutdown::Both);
    }

    fn say_goodbye(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = send(tls, &self.tcp);
        }
    }

    /// The system is asked only where the time-out changes.
    fn set_read_timeout(&mut self, limit: Duration) -> io::Result<()> {
        if limit != self.read_timeout {
            self.tcp.set_read_timeout(Some(limit.max(Duration::from_millis(1))))?;
            self.read_timeout = limit;
        }
        Ok(())
    }
}

/// A client that speaks plain HTTP to the HTTPS port is told so. Not inlined: what it needs of the stack goes with it.
#[inline(never)]
fn handshake(stream: &TcpStream, config: Arc<ServerConfig>) -> io::Result<ServerConnection> {
    let deadline = Instant::now() + HANDSHAKE_MAX;
    stream.set_read_timeout(Some(HANDSHAKE_MAX))?;
    let mut first = [0];
    stream.peek(&mut first)?;
    if first[0].is_ascii_uppercase() {
        (&*stream).write_all(SPEAK_HTTPS)?;
        let _ = stream.shutdown(Shutdown::Write);
        stream.set_read_timeout(Some(DRAIN_MAX))?;
        let _ = (&*stream).read(&mut [0; SINK_BYTES]);
        return Err(io::Error::new(io::ErrorKind::InvalidData, "plain HTTP on the HTTPS port"));
    }
    let invalid = |e| io::Error::new(io::ErrorKind::InvalidData, e);
    let mut connection = ServerConnection::new(config).map_err(invalid)?;
    connection.complete_io(&mut Until { stream, deadline })?;
    Ok(connection)
}

/// Writes what TLS has to say. rustls' own stream reads where it cannot write, so that a client that never reads could
/// hold it for as long as it sends.
fn send(tls: &mut ServerConnection, mut tcp: &TcpStream) -> io::Result<()> {
    while tls.wants_write() {
        match tls.write_tls(&mut tcp) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// A socket that is read from until a point in time.
struct Until<'a> {
    stream: &'a TcpStream,
    deadline: Instant,
}

impl Read for Until<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        // rustls takes WouldBlock for a pause, after which it may be called again: this is the end.
        self.stream.read(into).map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
            _ => e,
        })
    }
}

impl Write for Until<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_canned_answer_states_its_length() {
        let text = std::str::from_utf8(super::SPEAK_HTTPS).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
    }
}
