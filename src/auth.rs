//! Is this client key one of ours, and slowing those who guess.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Failures from one address that are answered at once; people mistype.
const FREE_FAILURES: u32 = 5;
/// The longest that an answer to a wrong key is held back.
const DELAY_MAX: Duration = Duration::from_secs(2);
/// An address without a failure for this long starts anew.
const FORGET_AFTER: Duration = Duration::from_secs(60);
/// Addresses that are remembered.
const ADDRESSES_MAX: usize = 4096;

/// The client keys, as SHA-256 digests.
#[derive(Debug)]
pub struct Auth {
    digests: Vec<[u8; 32]>,
    failures: Mutex<HashMap<IpAddr, Failures>>,
}

#[derive(Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Auth {
    /// No digests: every client is let in (`--no-auth`, loopback only).
    pub fn new(digests: Vec<[u8; 32]>) -> Auth {
        Auth { digests, failures: Mutex::default() }
    }

    /// Whether it was made of these.
    pub fn is_of(&self, digests: &[[u8; 32]]) -> bool {
        self.digests == digests
    }

    /// Whether any of the headers that carry keys holds one of ours. `header` looks a header up by its lower-case name.
    pub fn admits<'a>(&self, header: impl Fn(&str) -> Option<&'a str>) -> bool {
        if self.digests.is_empty() {
            return true;
        }
        let presented =
            [header("authorization").map(without_scheme), header("x-api-key"), header("api-key")];
        presented.into_iter().flatten().any(|key| self.knows(key.trim()))
    }

    /// Compares in constant time, over digests, with every key: time tells neither which key nor how much of it was right.
    fn knows(&self, key: &str) -> bool {
        let digest = digest(key);
        let found = self.digests.iter().fold(0, |found, d| found | d.ct_eq(&digest).unwrap_u8());
        found == 1
    }

    /// Counts a failure of this address; how long to hold back the answer.
    pub fn failed(&self, address: IpAddr, now: Instant) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(|e| e.into_inner());
        if failures.len() >= ADDRESSES_MAX {
            failures.retain(|_, f| now.duration_since(f.last) < FORGET_AFTER);
        }
        if failures.len() >= ADDRESSES_MAX && !failures.contains_key(&address) {
            // More guessing addresses than we remember: they all wait.
            return DELAY_MAX;
        }
        let entry = failures.entry(address).or_insert(Failures { count: 0, last: now });
        if now.duration_since(entry.last) >= FORGET_AFTER {
            entry.count = 0;
        }
        entry.count = entry.count.saturating_add(1);
        entry.last = now;
        let over = entry.count.saturating_sub(FREE_FAILURES).min(8);
        if over == 0 { Duration::ZERO } else { DELAY_MAX.min(Duration::from_millis(25 << over)) }
    }
}

/// SHA-256: what a key is kept as.
pub fn digest(bytes: impl AsRef<[u8]>) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// `Bearer KEY`, in any case, or the bare key.
fn without_scheme(value: &str) -> &str {
    match value.trim_start().split_once(' ') {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key,
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_every_header() {
        let auth = Auth::new(vec![digest("first"), digest("second key")]);
        let table = [
            ("authorization", "Bearer first", true),
            ("authorization", "bEARER   first ", true),
            ("authorization", "first", true),
            ("authorization", "second key", true),
            ("x-api-key", "second key", true),
            ("api-key", "first", true),
            ("authorization", "Basic first", false),
            ("authorization", "Bearer firs", false),
            ("authorization", "Bearer first2", false),
            ("authorization", "Bearer ", false),
            ("authorization", "", false),
            ("x-other", "first", false),
        ];
        for (name, value, expected) in table {
            let found = auth.admits(|n| (n == name).then_some(value));
            assert_eq!(found, expected, "{name}: {value}");
        }
        let both = |n: &str| match n {
            "authorization" => Some("Bearer wrong"),
            "x-api-key" => Some("first"),
            _ => None,
        };
        assert!(auth.admits(both), "Claude Code may send both headers");
    }

    #[test]
    fn guessing_gets_slower_and_is_forgiven() {
        let auth = Auth::new(vec![digest("k")]);
        let address = IpAddr::from([127, 0, 0, 1]);
        let start = Instant::now();
        for _ in 0..FREE_FAILURES {
            assert_eq!(auth.failed(address, start), Duration::ZERO);
        }
        let first = auth.failed(address, start);
        let second = auth.failed(address, start);
        assert!(Duration::ZERO < first && first < second);
        for _ in 0..100 {
            assert!(auth.failed(address, start) <= DELAY_MAX);
        }
        assert_eq!(auth.failed(address, start + FORGET_AFTER), Duration::ZERO);
        assert_eq!(auth.failed(IpAddr::from([127, 0, 0, 2]), start), Duration::ZERO);
    }
}
