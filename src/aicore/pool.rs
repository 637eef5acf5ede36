//! Idle connections to AI Core: a stack for each host, the last used on top.
//!
//! Own, because each take and give of ureq's pool walks the whole of it, twice a request: 60 µs with one idle connection,
//! 190 with a thousand. Here both are one step. A stack, so that few connections stay in use and the others age away.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use ureq::http::uri::Authority;

use super::wire::Stream;

/// Idle connections to one host.
const IDLE_MAX: usize = 2048;
/// An idle connection older than this is not used again: what stands between may have forgotten it.
const AGE_MAX: Duration = Duration::from_secs(55);
/// Connections that wait for a request.
#[derive(Default)]
pub struct IdlePool {
    plain: Mutex<HashMap<Authority, VecDeque<Idle>>>,
    tls: Mutex<HashMap<Authority, VecDeque<Idle>>>,
}

struct Idle {
    stream: Stream,
    since: Instant,
}

impl IdlePool {
    /// A connection that is open as far as can be told.
    pub fn take(&self, is_tls: bool, host: &Authority) -> Option<Stream> {
        loop {
            // The lock is held for this line: looking at a connection is I/O.
            let mut idle = self.lock(is_tls).get_mut(host)?.pop_back()?;
            // Bytes that nobody asked for would be taken for the next client's answer: each connection is looked at.
            if idle.since.elapsed() < AGE_MAX && idle.stream.is_silent_and_open() {
                return Some(idle.stream);
            }
        }
    }

    /// Takes a connection back. The oldest give way.
    pub fn give(&self, is_tls: bool, host: &Authority, stream: Stream) {
        let now = Instant::now();
        let mut too_old = vec![];
        {
            let mut hosts = self.lock(is_tls);
            let stack = hosts.entry(host.clone()).or_default();
            let is_over = |stack: &VecDeque<Idle>| {
                let oldest = stack.front().map(|i| now.duration_since(i.since));
                stack.len() >= IDLE_MAX || oldest.is_some_and(|age| age >= AGE_MAX)
            };
            while is_over(stack) {
                too_old.extend(stack.pop_front());
            }
            stack.push_back(Idle { stream, since: now });
        }
        // Closed here, after the lock.
        drop(too_old);
    }

    fn lock(&self, is_tls: bool) -> MutexGuard<'_, HashMap<Authority, VecDeque<Idle>>> {
        let hosts = if is_tls { &self.tls } else { &self.plain };
        hosts.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl fmt::Debug for IdlePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdlePool")
    }
}
