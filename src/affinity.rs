//! Which deployment a conversation is with.
//!
//! Prompt caches, and what a model wants to see again of its reasoning, live where the conversation began. So its later
//! turns go there, too. A conversation is known by how it begins: what comes up to the first message of its user; or by the
//! `prompt_cache_key` that its client gives it. Its first turn goes where the turns go, and is remembered; so requests that
//! are all alike and have no second turn are spread evenly. Bounded by entries and age; what is lost costs a cache.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The younger and the older half have this many each.
const ENTRIES_MAX: usize = 8192;
/// Longer than any prompt cache lives.
const AGE_MAX: Duration = Duration::from_secs(2 * 3600);
/// So much of a message's beginning, and of its end, tells conversations apart.
const PART_BYTES_MAX: usize = 4096;
/// Clients of Anthropic's move it from turn to turn.
const CACHE_POINT: &[u8] = br#""cache_control""#;
/// A conversation that has not come to its user by then is told by what there is.
const MESSAGES_MAX: usize = 8;

/// Where conversations are.
#[derive(Debug, Default)]
pub struct Affinity {
    seed: RandomState,
    kept: Mutex<Kept>,
}

/// Those of late, and those before: what is not asked for while the one half fills is forgotten with the other.
#[derive(Debug, Default)]
struct Kept {
    young: HashMap<u64, Entry>,
    old: HashMap<u64, Entry>,
}

/// Without an allocation of its own: thousands of small ones that stay would hold whole pages.
#[derive(Debug, Clone, Copy)]
struct Entry {
    mark: Mark,
    at: Instant,
}

/// A deployment's: so many hexadecimal digits.
type Mark = [u8; 8];

/// What a conversation is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    hash: u64,
    /// It is its first turn, and its client gives it no name.
    is_new: bool,
}

impl Affinity {
    /// Of a conversation that has a name: a JSON text.
    pub fn named(&self, model: &str, name: &[u8]) -> Key {
        Key { hash: self.hash(model, [name]), is_new: false }
    }

    /// Of one that begins with these messages, a JSON list; `None` where it is none.
    pub fn begun(&self, model: &str, messages: &[u8], has_more: bool) -> Option<Key> {
        let start = Start::of(messages)?;
        let messages = start.messages.iter().map(|m| without_cache_points(m.get().as_bytes()));
        let messages: Vec<_> = messages.collect();
        let hash = self.hash(model, messages.iter().map(|message| message.as_ref()));
        Some(Key { hash, is_new: !has_more && !start.has_more })
    }

    fn hash<'a>(&self, model: &'a str, parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
        let mut hasher = self.seed.build_hasher();
        for part in std::iter::once(model.as_bytes()).chain(parts) {
            let size = part.len().min(PART_BYTES_MAX);
            hasher.write(&part[..size]);
            hasher.write(&part[part.len() - size..]);
            hasher.write_usize(part.len());
        }
        hasher.finish()
    }

    /// The mark of the deployment it is with.
    pub fn find(&self, key: Key, now: Instant) -> Option<Mark> {
        if key.is_new {
            return None;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match kept.young.get(&key.hash) {
            Some(entry) => *entry,
            None => {
                let entry = kept.old.remove(&key.hash)?;
                kept.add(key.hash, entry);
                entry
            }
        };
        (now.saturating_duration_since(entry.at) < AGE_MAX).then_some(entry.mark)
    }

    /// The deployment with this mark is asked.
    pub fn note(&self, key: Key, mark: &str, now: Instant) {
        let Ok(mark) = Mark::try_from(mark.as_bytes()) else { return };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.young.get_mut(&key.hash) {
            Some(entry) if entry.mark == mark => entry.at = now,
            _ => kept.add(key.hash, Entry { mark, at: now }),
        }
    }
}

impl Kept {
    fn add(&mut self, hash: u64, entry: Entry) {
        if self.young.len() >= ENTRIES_MAX && !self.young.contains_key(&hash) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash, entry);
    }
}

/// A message as it is in each turn.
fn without_cache_points(message: &[u8]) -> Cow<'_, [u8]> {
    let Some(mut at) = memchr::memmem::find(message, CACHE_POINT) else {
        return Cow::Borrowed(message);
    };
    let (mut rest, mut kept) = (message, vec![]);
    loop {
        let before = rest[..at].trim_ascii_end();
        kept.extend_from_slice(before.strip_suffix(b",").unwrap_or(before).trim_ascii_end());
        // Its value has no objects within.
        let end = memchr::memchr(b'}', &rest[at..]).map_or(rest.len(), |end| at + end + 1);
        rest = &rest[end..];
        match memchr::memmem::find(rest, CACHE_POINT) {
            Some(next) => at = next,
            None => break,
        }
    }
    kept.extend_from_slice(rest);
    Cow::Owned(kept)
}

/// How a conversation begins. No more is read of it than this.
struct Start<'a> {
    /// Up to the first of its user.
    messages: Vec<&'a RawValue>,
    has_more: bool,
}

impl<'a> Start<'a> {
    /// Of a list of messages.
    fn of(messages: &'a [u8]) -> Option<Start<'a>> {
        let mut start = Start { messages: vec![], has_more: false };
        let mut json = serde_json::Deserializer::from_slice(messages);
        // Where it stops before the list's end, that is an error to the reader.
        let _ = (&mut json).deserialize_seq(Reading(&mut start));
        (!start.messages.is_empty()).then_some(start)
    }
}

struct Reading<'r, 'a>(&'r mut Start<'a>);

impl<'a> Visitor<'a> for Reading<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("messages")
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut list: S) -> Result<(), S::Error> {
        while let Some(message) = list.next_element::<&RawValue>()? {
            self.0.messages.push(message);
            if is_users(message.get()) || self.0.messages.len() >= MESSAGES_MAX {
                self.0.has_more = true;
                // Only to see whether the list ends here: what is next is not read to its end.
                list.next_element_seed(Unread)?;
                self.0.has_more = false;
                return Ok(());
            }
        }
        Ok(())
    }
}

/// An element that is there, which is all that is wanted of it.
struct Unread;

impl<'de> DeserializeSeed<'de> for Unread {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, _: D) -> Result<(), D::Error> {
        Err(D::Error::custom("there is one"))
    }
}

/// Whether it is a message of the user's.
fn is_users(message: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Message<'a> {
        role: Option<&'a str>,
    }
    serde_json::from_str::<Message<'_>>(message).is_ok_and(|m| m.role == Some("user"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(affinity: &Affinity, messages: &str) -> Key {
        affinity.begun("m", messages.as_bytes(), false).unwrap_or_else(|| panic!("{messages}"))
    }

    #[test]
    fn a_conversation_is_known_by_how_it_begins() {
        let affinity = Affinity::default();
        let first = r#"[{"role":"system","content":"s"}, {"content":[], "role":"user"}]"#;
        let begun = key(&affinity, first);
        assert!(begun.is_new);
        for (more, is_same, is_new) in [
            (first.to_owned(), true, true),
            (first.replacen("}]", r#"},{"role":"assistant","content":"a"}]"#, 1), true, false),
            (first.replacen("}]", "}, {never read", 1), true, false),
            (first.replace("\"s\"", "\"t\""), false, true),
            (first.replace("user", "system"), false, true),
        ] {
            let key = key(&affinity, &more);
            assert_eq!((key.hash == begun.hash, key.is_new), (is_same, is_new), "{more}");
        }
        let other = affinity.begun("another model", first.as_bytes(), false);
        assert!(other.is_some_and(|other| other.hash != begun.hash));
        for nothing in ["", "[]", "{}", "5", "null", "[", "\"hi\""] {
            assert_eq!(affinity.begun("m", nothing.as_bytes(), true), None, "{nothing}");
        }
        let long = |start: &str, middle: &str, end: &str| {
            let filler = "x".repeat(PART_BYTES_MAX);
            let content = [start, &filler, middle, &filler, end].concat();
            key(&affinity, &format!(r#"[{{"role":"user","content":"{content}"}}]"#))
        };
        assert_eq!(long("a", "b", "c"), long("a", "d", "c"), "its beginning and its end count");
        for other in [long("d", "b", "c"), long("a", "b", "d"), long("a", "bb", "c")] {
            assert_ne!(long("a", "b", "c"), other);
        }
        let many = format!("[{}]", ["{}"; MESSAGES_MAX + 2].join(","));
        assert!(!key(&affinity, &many).is_new);
    }

    #[test]
    fn cache_points_that_move_do_not_count() {
        let affinity = Affinity::default();
        let plain = r#"[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]"#;
        let points = [
            r#""text":"b","cache_control":{"type":"ephemeral"}"#,
            r#""text":"b" , "cache_control" : {"type":"ephemeral","ttl":"1h"}"#,
        ];
        for point in points {
            let marked = plain.replace(r#""text":"b""#, point);
            assert_eq!(key(&affinity, &marked), key(&affinity, plain), "{marked}");
            let both =
                marked.replace(r#""text":"a""#, r#""text":"a","cache_control":{"type":"x"}"#);
            assert_eq!(key(&affinity, &both), key(&affinity, plain), "{both}");
        }
        let quoted = plain.replace(r#":"b""#, r#":"\"cache_control\":{}""#);
        assert_ne!(key(&affinity, &quoted), key(&affinity, &quoted.replace("{}", "{1}")));
        assert_eq!(without_cache_points(br#"{"cache_control""#), br#"{"#.as_slice());
    }

    #[test]
    fn a_conversation_stays_where_it_was_last() {
        let (affinity, now) = (Affinity::default(), Instant::now());
        let first = key(&affinity, r#"[{"role":"user"}]"#);
        let later = key(&affinity, r#"[{"role":"user"},{"role":"assistant"}]"#);
        assert_eq!(affinity.find(later, now), None);
        affinity.note(first, "aaaaaaaa", now);
        assert_eq!(affinity.find(first, now), None, "what begins takes its turn");
        assert_eq!(affinity.find(later, now), Some(*b"aaaaaaaa"));
        affinity.note(later, "bbbbbbbb", now);
        assert_eq!(affinity.find(later, now), Some(*b"bbbbbbbb"));
        assert_eq!(affinity.find(later, now + AGE_MAX), None);
        let named = affinity.named("m", br#""key""#);
        affinity.note(named, "cccccccc", now);
        assert_eq!(affinity.find(named, now), Some(*b"cccccccc"), "a name holds from the start");
    }

    #[test]
    fn what_is_not_used_is_forgotten_and_what_is_stays() {
        let (affinity, now) = (Affinity::default(), Instant::now());
        let named = |n: usize| affinity.named("m", n.to_string().as_bytes());
        for n in 0..5 * ENTRIES_MAX {
            affinity.note(named(n), "aaaaaaaa", now);
            assert!(affinity.find(named(0), now).is_some(), "{n}");
        }
        assert_eq!(affinity.find(named(1), now), None);
        let kept = affinity.kept.lock().unwrap();
        assert!(kept.young.len() + kept.old.len() <= 2 * ENTRIES_MAX);
    }
}
