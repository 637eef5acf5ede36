//! A prompt cache: what of a prompt was there before, up to its cache points. Real ones hold only
//! prefixes of 1024 tokens and more, for minutes; this one any, for a
//! long time.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Call, lock};

/// A piece of a prompt, in the order the model reads them.
pub(super) struct Part {
    pub text: String,
    pub tokens: usize,
    /// A cache point stands behind it.
    pub point: Option<Life>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Minutes,
    Hour,
}

/// Where a prompt's tokens were counted.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Counts {
    pub fresh: usize,
    pub read: usize,
    pub written_5m: usize,
    pub written_1h: usize,
}

impl Counts {
    pub fn total(&self) -> usize {
        self.fresh + self.read + self.written()
    }

    pub fn written(&self) -> usize {
        self.written_5m + self.written_1h
    }
}

pub(super) fn counts(call: &Call<'_>, parts: &[Part]) -> Counts {
    let mut held = held(call.cache);
    let keys = keys(&call.deployment.model, parts);
    let read = keys.iter().rposition(|key| key.as_ref().is_some_and(|key| held.contains(key)));
    let (old, new) = parts.split_at(read.map_or(0, |last| last + 1));
    let mut counts = Counts { read: old.iter().map(|p| p.tokens).sum(), ..Counts::default() };
    for part in new {
        counts.fresh += part.tokens;
        let written = match part.point {
            None => continue,
            Some(Life::Minutes) => &mut counts.written_5m,
            Some(Life::Hour) => &mut counts.written_1h,
        };
        *written += std::mem::take(&mut counts.fresh);
    }
    let is_answered = call.fault.status == 0 && !call.fault.no_answer;
    held.extend(keys.into_iter().flatten().filter(|_| is_answered));
    counts
}

/// Whether the cache does not hold this yet, as it does from now on.
pub(super) fn is_new(call: &Call<'_>, prefix: &str) -> bool {
    held(call.cache).insert(STANDARD.encode(crate::auth::digest(prefix)))
}

/// The digests of what is held. A cache that holds very much begins anew.
fn held(cache: &Mutex<HashSet<String>>) -> MutexGuard<'_, HashSet<String>> {
    let mut held = lock(cache);
    if held.len() >= HELD_MAX {
        held.clear();
    }
    held
}

/// For each part with a point the digest of all up to there.
fn keys(model: &str, parts: &[Part]) -> Vec<Option<String>> {
    let mut so_far = model.to_owned();
    let key = |part: &Part| {
        so_far = STANDARD.encode(crate::auth::digest(format!("{so_far}\n{}", part.text)));
        part.point.map(|_| so_far.clone())
    };
    parts.iter().map(key).collect()
}

const HELD_MAX: usize = 20_000;
