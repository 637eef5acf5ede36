//! The body of a request: read under a limit, and never a byte of the next one.

use std::io;
use std::time::Duration;

use super::connection::Connection;
use super::head::{BodyLength, Framing};
use crate::error::Error;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// A body's memory grows by at most this much ahead of what has come.
const AHEAD_BYTES_MAX: usize = 64 * 1024;
/// Limits to the lines between chunks, and to all that follows the last one.
const CHUNK_LINE_BYTES_MAX: usize = 256;
const TRAILERS_BYTES_MAX: usize = 8 * 1024;

/// Reads a whole body. After an error the connection is of no more use for reading.
pub fn read(
    connection: &mut Connection,
    framing: Framing,
    bytes_max: usize,
    stall_max: Duration,
) -> Result<Vec<u8>, Error> {
    if matches!(framing.body, BodyLength::Known(n) if n > bytes_max as u64) {
        return Err(Error::TooLarge { bytes_max });
    }
    if framing.expects_continue && connection.unused().is_empty() {
        connection.write(CONTINUE).map_err(|_| Error::ClientGone)?;
    }
    let mut reader = Reader { connection, stall_max };
    match framing.body {
        BodyLength::Known(length) => {
            let mut body = vec![];
            reader.take(length as usize, &mut body)?;
            Ok(body)
        }
        BodyLength::Chunked => reader.chunked(bytes_max),
    }
}

/// Passes over a body that nobody wants, if it is here already. False: it is not, and the connection has to be closed.
pub fn skip(connection: &mut Connection, framing: Framing) -> bool {
    match framing.body {
        BodyLength::Known(length) if length <= connection.unused().len() as u64 => {
            connection.used(length as usize);
            true
        }
        _ => false,
    }
}

struct Reader<'a> {
    connection: &'a mut Connection,
    stall_max: Duration,
}

impl Reader<'_> {
    /// Appends the next `count` bytes to `out`.
    fn take(&mut self, count: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        let wanted = out.len() + count;
        let unused = self.connection.unused();
        let here = unused.len().min(count);
        if out.is_empty() {
            // The rest of a body of known length is asked for as it comes, without spare room.
            out.reserve_exact(here);
        }
        out.extend_from_slice(&unused[..here]);
        self.connection.used(here);
        while out.len() < wanted {
            let filled = out.len();
            let ahead = (wanted - filled).min(AHEAD_BYTES_MAX.max(filled));
            out.reserve_exact(ahead);
            out.resize(filled + ahead, 0);
            let read = self.connection.read(&mut out[filled..], self.stall_max);
            out.truncate(filled + *read.as_ref().unwrap_or(&0));
            not_zero(read)?;
        }
        Ok(())
    }

    fn chunked(&mut self, bytes_max: usize) -> Result<Vec<u8>, Error> {
        let broken = || Error::bad_request("body", "the chunked transfer encoding is broken");
        let mut body = vec![];
        loop {
            let line = self.line(CHUNK_LINE_BYTES_MAX)?.ok_or_else(broken)?;
            let size = chunk_size(&line).ok_or_else(broken)?;
            if size == 0 {
                break;
            }
            if size > bytes_max.saturating_sub(body.len()) {
                return Err(Error::TooLarge { bytes_max });
            }
            self.take(size, &mut body)?;
            if !self.line(0)?.is_some_and(|rest| rest.is_empty()) {
                return Err(broken());
            }
        }
        let mut left = TRAILERS_BYTES_MAX;
        loop {
            let line = self.line(left)?.ok_or_else(broken)?;
            if line.is_empty() {
                return Ok(body);
            }
            left = left.saturating_sub(line.len());
        }
    }

    /// A line that ends in CRLF, without it; `None` where it does not, or is longer than `bytes_max`.
    fn line(&mut self, bytes_max: usize) -> Result<Option<Vec<u8>>, Error> {
        loop {
            let unused = self.connection.unused();
            if let Some(end) = memchr::memchr(b'\n', unused) {
                let line = unused[..end].strip_suffix(b"\r").map(<[u8]>::to_vec);
                self.connection.used(end + 1);
                return Ok(line.filter(|l| l.len() <= bytes_max));
            }
            if unused.len() > bytes_max + 2 {
                return Ok(None);
            }
            not_zero(self.connection.read_more(self.stall_max))?;
        }
    }
}

/// `1a;name=value` → 26.
fn chunk_size(line: &[u8]) -> Option<usize> {
    let digits = line.split(|b| *b == b';').next()?.trim_ascii();
    let is_hex = (1..=15).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    is_hex.then(|| usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok())?
}

fn not_zero(read: io::Result<usize>) -> Result<(), Error> {
    match read {
        Ok(0) => Err(Error::ClientGone),
        Ok(_) => Ok(()),
        Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Err(Error::SlowBody)
        }
        Err(_) => Err(Error::ClientGone),
    }
}

#[cfg(test)]
mod tests {
    use super::chunk_size;

    #[test]
    fn chunk_sizes() {
        let table: &[(&[u8], Option<usize>)] = &[
            (b"1a", Some(26)),
            (b"0", Some(0)),
            (b"A ;x=\"y\"", Some(10)),
            (b"", None),
            (b"-1", None),
            (b"+1", None),
            (b"0x1", None),
            (b"1g", None),
            (b"ffffffffffffffff", None),
        ];
        for (line, expected) in table {
            assert_eq!(chunk_size(line), *expected, "{}", String::from_utf8_lossy(line));
        }
    }
}
