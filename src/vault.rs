//! Seals that clients cannot carry, kept for the next turn.
//!
//! A model that thinks and calls tools wants its thoughts back, sealed by its vendor, with the results. OpenAI's chat has no
//! place for them. So they are kept here under the id of the call they came before, and put back when that call returns in
//! a conversation. Bounded by entries, bytes and age; what is lost costs a turn its thinking, never the request.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::chat::{Block, Event, Open, Request, Role, Seal};

/// How much is kept.
#[derive(Debug, Clone)]
pub struct Bounds {
    pub entries_max: usize,
    pub bytes_max: usize,
    pub age_max: Duration,
}

#[derive(Debug)]
pub struct Vault {
    bounds: Bounds,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_id: HashMap<String, Entry>,
    /// Ids with the numbers of their entries, oldest first.
    order: VecDeque<(String, u64)>,
    bytes: usize,
    count: u64,
}

#[derive(Debug)]
struct Entry {
    sealed: Sealed,
    at: Instant,
    bytes: usize,
    number: u64,
}

/// What came before a call, and the seal of the call itself.
#[derive(Debug, Clone, Default, PartialEq)]
struct Sealed {
    reasoning: Vec<Block>,
    call: Option<Seal>,
    /// A digest of the arguments that seal was made with.
    arguments: u64,
}

impl Vault {
    pub fn new(bounds: Bounds) -> Vault {
        Vault { bounds, kept: Mutex::default() }
    }

    /// Puts back, before the calls of each assistant's turn that has none of its own, what was kept of them. Once for each
    /// id, and so much: the last turns are what a model goes on from, so they come first.
    pub fn restore(&self, request: &mut Request, now: Instant) {
        let mut restored = HashSet::new();
        let mut bytes_left = RESTORED_BYTES_MAX;
        for turn in request.turns.iter_mut().rev().filter(|t| t.role == Role::Assistant) {
            let is_sealed = |b: &Block| matches!(b, Block::Reasoning { seal: Some(_), .. });
            let is_carried = turn.blocks.iter().any(is_sealed);
            let mut reasoning = vec![];
            for block in &mut turn.blocks {
                let Block::ToolCall { id, seal, arguments, .. } = block else { continue };
                if restored.contains(id) {
                    continue;
                }
                let Some(sealed) = self.find(id, now, &mut bytes_left) else { continue };
                restored.insert(id.clone());
                reasoning.extend(sealed.reasoning);
                // Left open: whether a seal is over the arguments. Claude Code gives calls back with the defaults filled in;
                // what was sealed is taken to be another call.
                if seal.is_none() && sealed.arguments == digest(arguments) {
                    *seal = sealed.call;
                }
            }
            if !is_carried && !reasoning.is_empty() {
                // The client's own words of it, if it sent any, are the same without the seal.
                turn.blocks.retain(|b| !matches!(b, Block::Reasoning { .. }));
                turn.blocks.splice(0..0, reasoning);
            }
        }
    }

    fn find(&self, id: &str, now: Instant, bytes_left: &mut usize) -> Option<Sealed> {
        let kept = self.lock();
        let entry = kept.by_id.get(id)?;
        let is_fresh = now.saturating_duration_since(entry.at) <= self.bounds.age_max;
        if !is_fresh {
            return None;
        }
        *bytes_left = bytes_left.checked_sub(entry.bytes)?;
        Some(entry.sealed.clone())
    }

    fn keep(&self, id: String, sealed: Sealed, now: Instant) {
        let bytes = id.len() + sealed.bytes();
        if bytes > self.bounds.bytes_max / 4 {
            return;
        }
        let mut kept = self.lock();
        kept.count += 1;
        let number = kept.count;
        kept.bytes += bytes;
        kept.order.push_back((id.clone(), number));
        let before = kept.by_id.insert(id, Entry { sealed, at: now, bytes, number });
        kept.bytes -= before.map_or(0, |entry| entry.bytes);
        kept.forget(&self.bounds, now);
        kept.shrink();
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn forget(&mut self, bounds: &Bounds, now: Instant) {
        while let Some((id, number)) = self.order.front() {
            let entry = self.by_id.get(id).filter(|entry| entry.number == *number);
            let is_old = |e: &Entry| now.saturating_duration_since(e.at) > bounds.age_max;
            let is_over = self.by_id.len() > bounds.entries_max || self.bytes > bounds.bytes_max;
            if let Some(entry) = entry {
                if !is_over && !is_old(entry) {
                    return;
                }
                self.bytes -= entry.bytes;
                self.by_id.remove(id);
            }
            self.order.pop_front();
        }
    }

    /// Ids that are kept again and again leave their old places behind.
    fn shrink(&mut self) {
        let Kept { by_id, order, .. } = self;
        if order.len() > 2 * by_id.len() + 16 {
            order.retain(|(id, number)| by_id.get(id).is_some_and(|e| e.number == *number));
        }
    }
}

impl Sealed {
    fn bytes(&self) -> usize {
        let of_seal = |seal: &Seal| match seal {
            Seal::Claude(s) | Seal::ClaudeRedacted(s) | Seal::Gemini(s) => s.len(),
            Seal::OpenAi { id, encrypted } => id.len() + encrypted.len(),
        };
        let of_block = |block: &Block| match block {
            Block::Reasoning { text, seal } => text.len() + seal.as_ref().map_or(0, of_seal) + 64,
            _ => 0,
        };
        64 + self.reasoning.iter().map(of_block).sum::<usize>()
            + self.call.as_ref().map_or(0, of_seal)
    }
}

/// Reads a reply for what is to be kept of it.
#[derive(Debug, Default)]
pub struct Recorder {
    reasoning: Vec<Block>,
    /// The call that is open.
    call: Option<String>,
    arguments: String,
    call_seal: Option<Seal>,
    in_reasoning: bool,
}

impl Recorder {
    /// One event, before the client hears of it: its next request may be here at once.
    pub fn event(&mut self, event: &Event, vault: &Vault) {
        match event {
            Event::Open(Open::Reasoning) => {
                self.in_reasoning = true;
                self.reasoning.push(Block::Reasoning { text: String::new(), seal: None });
            }
            Event::Open(Open::ToolCall { id, .. }) => {
                self.call = Some(id.clone());
                self.arguments.clear();
            }
            Event::Delta(more) if self.call.is_some() => self.arguments.push_str(more),
            Event::Delta(more) if self.in_reasoning => {
                if let Some(Block::Reasoning { text, .. }) = self.reasoning.last_mut() {
                    text.push_str(more);
                }
            }
            Event::Seal(new) => match self.reasoning.last_mut() {
                Some(Block::Reasoning { seal, .. }) if self.in_reasoning => {
                    *seal = Some(new.clone())
                }
                _ => self.call_seal = Some(new.clone()),
            },
            Event::Close => {
                self.in_reasoning = false;
                if let Some(id) = self.call.take() {
                    self.keep(id, vault);
                }
            }
            _ => {}
        }
    }

    /// With the first call everything that was thought before it; the others of a turn have but their own seal.
    fn keep(&mut self, id: String, vault: &Vault) {
        let is_sealed = |b: &Block| matches!(b, Block::Reasoning { seal: Some(_), .. });
        let mut reasoning = std::mem::take(&mut self.reasoning);
        reasoning.retain(is_sealed);
        let call = self.call_seal.take();
        if !reasoning.is_empty() || call.is_some() {
            let arguments = call.as_ref().map_or(0, |_| digest(&self.arguments));
            vault.keep(id, Sealed { reasoning, call, arguments }, Instant::now());
        }
    }
}

/// The same for the same JSON, however it is written.
fn digest(arguments: &str) -> u64 {
    let arguments = if arguments.is_empty() { "{}" } else { arguments };
    let json: Value = serde_json::from_str(arguments).unwrap_or_else(|_| arguments.into());
    let mut hasher = DefaultHasher::new();
    json.hash(&mut hasher);
    hasher.finish()
}

/// What is put back into one request.
const RESTORED_BYTES_MAX: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Turn;

    fn reply(id: &str) -> Vec<Event> {
        let call = Open::ToolCall { id: id.into(), name: "f".into() };
        vec![
            Event::Open(Open::Reasoning),
            Event::Delta("hm".into()),
            Event::Seal(Seal::Claude("sig".into())),
            Event::Close,
            Event::Open(call),
            Event::Delta("{}".into()),
            Event::Close,
        ]
    }

    fn vault(entries_max: usize, bytes_max: usize) -> Vault {
        Vault::new(Bounds { entries_max, bytes_max, age_max: Duration::from_secs(60) })
    }

    fn record(vault: &Vault, id: &str) {
        let mut recorder = Recorder::default();
        reply(id).iter().for_each(|event| recorder.event(event, vault));
    }

    fn asked(ids: &[&str]) -> Request {
        let call = |id: &&str| Block::ToolCall {
            id: id.to_string(),
            name: "f".into(),
            arguments: "{}".into(),
            seal: None,
            cache: None,
        };
        let turn = |id| Turn { role: Role::Assistant, blocks: vec![call(id)] };
        Request { turns: ids.iter().map(turn).collect(), ..Request::default() }
    }

    fn restored(vault: &Vault, id: &str, now: Instant) -> Vec<Block> {
        let mut request = asked(&[id]);
        vault.restore(&mut request, now);
        request.turns.remove(0).blocks
    }

    #[test]
    fn what_was_thought_before_a_call_comes_back_with_it() {
        let vault = vault(10, 100_000);
        record(&vault, "a");
        let blocks = restored(&vault, "a", Instant::now());
        let seal = Some(Seal::Claude("sig".into()));
        assert_eq!(blocks[0], Block::Reasoning { text: "hm".into(), seal });
        assert_eq!(blocks.len(), 2);
        assert_eq!(restored(&vault, "b", Instant::now()).len(), 1);
    }

    #[test]
    fn a_call_is_sealed_with_its_arguments() {
        let vault = vault(10, 100_000);
        let mut recorder = Recorder::default();
        let call = Open::ToolCall { id: "a".into(), name: "f".into() };
        [
            Event::Open(call),
            Event::Delta(r#"{"x":1,"#.into()),
            Event::Seal(Seal::Gemini("sig".into())),
            Event::Delta(r#""y":{}}"#.into()),
            Event::Close,
        ]
        .iter()
        .for_each(|event| recorder.event(event, &vault));
        let given_back = |json: &str| {
            let mut request = asked(&["a"]);
            let Block::ToolCall { arguments, .. } = &mut request.turns[0].blocks[0] else {
                panic!()
            };
            json.clone_into(arguments);
            vault.restore(&mut request, Instant::now());
            let Block::ToolCall { seal, .. } = request.turns.remove(0).blocks.remove(0) else {
                panic!()
            };
            seal
        };
        assert_eq!(given_back(r#"{ "y": {}, "x": 1 }"#), Some(Seal::Gemini("sig".into())));
        assert_eq!(given_back(r#"{"x":1,"y":{},"z":false}"#), None);
    }

    #[test]
    fn it_is_bounded_by_entries_bytes_and_age() {
        let vault = vault(2, 100_000);
        ["a", "b", "a", "c"].iter().for_each(|id| record(&vault, id));
        let now = Instant::now();
        let kept = |vault: &Vault, id: &str| restored(vault, id, now).len() == 2;
        assert_eq!(["a", "b", "c"].map(|id| kept(&vault, id)), [true, false, true]);
        assert_eq!(restored(&vault, "c", now + Duration::from_secs(61)).len(), 1);
        let small = super::Vault::new(Bounds { bytes_max: 800, ..vault.bounds.clone() });
        (0..100).for_each(|n| record(&small, &n.to_string()));
        let kept = small.lock();
        assert!(
            kept.bytes <= 800 && !kept.by_id.is_empty() && kept.order.len() == kept.by_id.len()
        );
    }

    #[test]
    fn an_id_comes_back_once_and_not_too_much_does() {
        let vault = vault(100, 400 << 20);
        record(&vault, "a");
        let mut request = asked(&["a"; 2000]);
        vault.restore(&mut request, Instant::now());
        assert_eq!(request.turns.iter().filter(|t| t.blocks.len() == 2).count(), 1);
        assert_eq!(request.turns[1999].blocks.len(), 2);
        let ids = ["b", "c", "d"];
        for id in ids {
            let seal = Some(Seal::Claude("s".repeat(3 << 20)));
            let reasoning = vec![Block::Reasoning { text: String::new(), seal }];
            vault.keep(id.into(), Sealed { reasoning, ..Sealed::default() }, Instant::now());
        }
        let mut request = asked(&ids);
        vault.restore(&mut request, Instant::now());
        assert_eq!(request.turns.iter().map(|t| t.blocks.len()).collect::<Vec<_>>(), [1, 2, 2]);
    }

    #[test]
    fn an_id_that_is_kept_again_takes_one_place() {
        let vault = vault(100, 100_000);
        record(&vault, "old");
        (0..1000).for_each(|_| record(&vault, "a"));
        let kept = vault.lock();
        assert!(kept.by_id.len() == 2 && kept.order.len() <= 20, "{}", kept.order.len());
    }
}
