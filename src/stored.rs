//! Responses of models whose vendors keep none, for clients that ask for them again or go on from them.
//!
//! OpenAI keeps every response unless it is told not to; clients count on it. Bounded by entries, bytes and age, all since
//! the last use: a conversation that goes on keeps all of its turns. What is lost is a 404 that names the id.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::envelope::{field, items, listed, quoted};
use crate::vault::Bounds;

/// The most turns that one conversation goes back.
const TURNS_MAX: usize = 10_000;

#[derive(Debug)]
pub struct Stored {
    bounds: Bounds,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_id: HashMap<String, Entry>,
    /// Ids by their last use, the oldest first.
    order: BTreeMap<u64, String>,
    bytes: usize,
    count: u64,
}

#[derive(Debug)]
struct Entry {
    turn: Arc<Turn>,
    used_at: Instant,
    /// Its place in the order.
    number: u64,
    bytes: usize,
    /// The client has deleted it; what goes on from it stands on it still.
    is_deleted: bool,
    /// How many go on from it.
    followers: usize,
}

/// A request and its response.
#[derive(Debug)]
pub struct Turn {
    /// The request's own items, a JSON list.
    pub input: Vec<u8>,
    /// The response, as the client got it.
    pub response: Vec<u8>,
    /// The id of the response that it went on from.
    pub previous: Option<String>,
}

impl Turn {
    fn output(&self) -> Vec<&[u8]> {
        field(&self.response, "output").and_then(items).unwrap_or_default()
    }

    fn items(&self) -> impl Iterator<Item = &[u8]> {
        items(&self.input).unwrap_or_default().into_iter().chain(self.output())
    }
}

/// Turns of which each goes on from another.
#[derive(Debug)]
pub struct Conversation {
    /// The last one first.
    turns: Vec<Arc<Turn>>,
}

impl Conversation {
    /// About as many as its items have, which are not put together yet.
    pub fn bytes(&self) -> usize {
        let output = |turn: &Turn| field(&turn.response, "output").map_or(0, <[u8]>::len);
        self.turns.iter().map(|turn| turn.input.len() + output(turn)).sum()
    }

    /// The items it began with: a JSON list.
    pub fn beginning(&self) -> &[u8] {
        self.turns.last().map_or(b"[]", |turn| &turn.input)
    }

    /// All its items: a JSON list.
    pub fn items(&self) -> Vec<u8> {
        let all = self.turns.iter().rev().flat_map(|turn| turn.items());
        listed(&all.collect::<Vec<_>>())
    }
}

impl Stored {
    pub fn new(bounds: Bounds) -> Stored {
        Stored { bounds, kept: Mutex::default() }
    }

    /// Keeps a response under its id.
    pub fn keep(&self, id: String, mut turn: Turn, now: Instant) {
        // What is reserved would not be counted.
        turn.input.shrink_to_fit();
        turn.response.shrink_to_fit();
        let previous = turn.previous.as_ref().map_or(0, String::len);
        let bytes = 2 * id.len() + turn.input.len() + turn.response.len() + previous + 256;
        if bytes > self.bounds.bytes_max / 4 {
            log::debug!(
                "response {id} is not kept: it is larger than a quarter of limits.responses_bytes_max"
            );
            return;
        }
        let mut kept = self.lock();
        kept.remove(&id);
        if let Some(previous) = turn.previous.as_ref().and_then(|id| kept.by_id.get_mut(id)) {
            previous.followers += 1;
        }
        kept.count += 1;
        let number = kept.count;
        kept.bytes += bytes;
        kept.order.insert(number, id.clone());
        let (turn, used_at) = (turn.into(), now);
        let entry = Entry { turn, used_at, number, bytes, is_deleted: false, followers: 0 };
        kept.by_id.insert(id, entry);
        kept.forget(&self.bounds, now);
    }

    /// The response of this id, and what it was asked.
    pub fn find(&self, id: &str, now: Instant) -> Option<Arc<Turn>> {
        let mut kept = self.lock();
        kept.forget(&self.bounds, now);
        kept.by_id.get(id).filter(|entry| !entry.is_deleted)?;
        kept.used(id, now)
    }

    /// Whether there was a response of this id.
    pub fn delete(&self, id: &str) -> bool {
        let mut kept = self.lock();
        let Some(entry) = kept.by_id.get_mut(id).filter(|entry| !entry.is_deleted) else {
            return false;
        };
        entry.is_deleted = true;
        kept.remove_idle(id);
        true
    }

    /// The conversation up to and with this response.
    pub fn conversation(&self, id: &str, now: Instant) -> Option<Conversation> {
        let mut turns = vec![self.find(id, now)?];
        {
            let mut kept = self.lock();
            while let Some(previous) = turns.last().and_then(|turn| turn.previous.clone()) {
                turns.push(kept.used(&previous, now)?);
                if turns.len() > TURNS_MAX {
                    return None;
                }
            }
        }
        Some(Conversation { turns })
    }

    /// The item of this id that some response has, as JSON. Items of ours are named after their response.
    pub fn item(&self, id: &str, now: Instant) -> Option<String> {
        let (_, rest) = id.split_once('_')?;
        let response = rest.get(..rest.len().checked_sub(ITEM_DIGITS)?)?;
        let turn = self.find(&format!("resp_{response}"), now)?;
        let json = quoted(id);
        let item = turn.output().into_iter().find(|i| field(i, "id") == Some(json.as_bytes()))?;
        Some(String::from_utf8_lossy(item).into_owned())
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last digits of an item's id: its place in the response.
const ITEM_DIGITS: usize = 3;

impl Kept {
    fn used(&mut self, id: &str, now: Instant) -> Option<Arc<Turn>> {
        let Kept { by_id, order, count, .. } = self;
        let entry = by_id.get_mut(id)?;
        *count += 1;
        order.remove(&entry.number);
        order.insert(*count, id.to_owned());
        (entry.number, entry.used_at) = (*count, now);
        Some(entry.turn.clone())
    }

    /// Takes out what is deleted, this and what it went on from, as far as nothing stands on it.
    fn remove_idle(&mut self, id: &str) {
        let mut next = Some(id.to_owned());
        while let Some(id) = next {
            let is_idle = |entry: &&Entry| entry.is_deleted && entry.followers == 0;
            let entry = self.by_id.get(&id).filter(is_idle).is_some().then(|| self.remove(&id));
            next = entry.flatten().and_then(|entry| entry.turn.previous.clone());
        }
    }

    fn remove(&mut self, id: &str) -> Option<Entry> {
        let entry = self.by_id.remove(id)?;
        self.order.remove(&entry.number);
        self.bytes -= entry.bytes;
        if let Some(previous) = entry.turn.previous.as_ref().and_then(|id| self.by_id.get_mut(id)) {
            previous.followers = previous.followers.saturating_sub(1);
        }
        Some(entry)
    }

    fn forget(&mut self, bounds: &Bounds, now: Instant) {
        while let Some((_, id)) = self.order.first_key_value() {
            let entry = self.by_id.get(id);
            let is_old = |e: &Entry| now.saturating_duration_since(e.used_at) > bounds.age_max;
            let is_over = self.by_id.len() > bounds.entries_max || self.bytes > bounds.bytes_max;
            if !is_over && !entry.is_none_or(is_old) {
                return;
            }
            self.order.pop_first().and_then(|(_, id)| self.remove(&id));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn stored(entries_max: usize, bytes_max: usize) -> Stored {
        Stored::new(Bounds { entries_max, bytes_max, age_max: Duration::from_secs(10) })
    }

    fn turn(n: usize, previous: Option<&str>) -> Turn {
        Turn {
            input: format!(r#"[{{"q":{n}}}]"#).into_bytes(),
            response: format!(r#"{{"id":"r{n}","output":[{{"id":"msg_r{n}000","a":{n}}}]}}"#)
                .into_bytes(),
            previous: previous.map(str::to_owned),
        }
    }

    #[test]
    fn a_conversation_is_all_its_turns_in_order() {
        let (stored, now) = (stored(9, 9000), Instant::now());
        stored.keep("resp_r1".into(), turn(1, None), now);
        stored.keep("resp_r2".into(), turn(2, Some("resp_r1")), now);
        stored.keep("resp_r3".into(), turn(3, Some("resp_r2")), now);
        let all =
            |id| stored.conversation(id, now).map(|all| String::from_utf8(all.items()).unwrap());
        let expected = r#"[{"q":1},{"id":"msg_r1000","a":1},{"q":2},{"id":"msg_r2000","a":2}]"#;
        assert_eq!(all("resp_r2").unwrap(), expected);
        assert!(all("resp_r3").unwrap().starts_with(expected.trim_end_matches(']')));
        assert_eq!(stored.item("msg_r2000", now).unwrap(), r#"{"id":"msg_r2000","a":2}"#);
        assert_eq!((stored.item("msg_r2001", now), stored.item("é", now)), (None, None));
        // What is deleted is not there, but what went on from it is.
        assert!(stored.delete("resp_r2") && !stored.delete("resp_r2"));
        assert!(stored.find("resp_r2", now).is_none() && all("resp_r2").is_none());
        assert!(all("resp_r3").unwrap().contains(r#"{"q":2}"#));
        // But no longer than that.
        assert!(stored.delete("resp_r3"));
        let there = |id: &str| stored.lock().by_id.contains_key(id);
        assert_eq!(["resp_r1", "resp_r2", "resp_r3"].map(there), [true, false, false]);
        assert!(stored.delete("resp_r1"));
        let kept = stored.lock();
        assert_eq!((kept.bytes, kept.by_id.len(), kept.order.len()), (0, 0, 0));
    }

    #[test]
    fn what_is_used_least_goes_first() {
        let (stored, now) = (stored(3, 9000), Instant::now());
        for n in 1..=3 {
            stored.keep(format!("resp_r{n}"), turn(n, None), now);
        }
        assert!(stored.find("resp_r1", now).is_some());
        stored.keep("resp_r4".into(), turn(4, Some("resp_r1")), now);
        let there = |n: usize| stored.lock().by_id.contains_key(&format!("resp_r{n}"));
        assert_eq!([1, 2, 3, 4].map(there), [true, false, true, true]);
        // A conversation's first turn is used with its last.
        stored.conversation("resp_r4", now).unwrap();
        stored.keep("resp_r5".into(), turn(5, None), now);
        stored.keep("resp_r6".into(), turn(6, None), now);
        assert_eq!([1, 3, 4, 5, 6].map(there), [true, false, false, true, true]);
        assert!(stored.conversation("resp_r4", now).is_none());
    }

    #[test]
    fn age_and_bytes_have_limits() {
        let (small, now) = (stored(9, 2400), Instant::now());
        for n in 1..=9 {
            small.keep(format!("resp_r{n}"), turn(n, None), now);
            assert!(small.lock().bytes <= 2400);
        }
        assert!(small.find("resp_r1", now).is_none() && small.find("resp_r9", now).is_some());
        let large = Turn { response: vec![b' '; 700], ..turn(1, None) };
        small.keep("resp_r1".into(), large, now);
        assert!(small.find("resp_r1", now).is_none());
        let late = now + Duration::from_secs(11);
        assert!(small.find("resp_r9", late).is_none());
        let kept = small.lock();
        assert_eq!((kept.bytes, kept.by_id.len(), kept.order.len()), (0, 0, 0));
    }
}
