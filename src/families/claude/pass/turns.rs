//! The turns: none without content, none of the system's, and an end from which the model can go on.
//!
//! What the system says before the first reply goes to its own field. What it says later stays at its place, in the user's
//! turn there: put to its own field, which comes before all turns, it would make AI Core forget what it has cached of them,
//! and agents send 100 KB of them each time.

use std::borrow::Cow;

use memchr::memmem::find;

use super::blocks::{self, Content, Holder};
use super::thinking::{self, Thought};
use super::{Lost, append_system};
use crate::envelope::{Envelope, field, first_item, items, listed, quoted};
use crate::error::Error;
use crate::families::claude::Version;

/// How a conversation ends.
#[derive(Debug, Default)]
pub(super) struct End {
    pub is_assistants: bool,
    pub thought: Thought,
}

pub(super) fn settle(body: &mut Envelope, version: Version, lost: &mut Lost) -> Result<End, Error> {
    let Some(messages) = body.raw("messages").and_then(items) else { return Ok(End::default()) };
    let mut turns = Turns { all: Vec::with_capacity(messages.len()), ..Turns::default() };
    let last = messages.len().saturating_sub(1);
    for (i, raw) in messages.into_iter().enumerate() {
        turns.add(raw, i, i == last, version, lost)?;
    }
    turns.complete();
    let is_asked = body.has("thinking") && !version.only_adapts();
    let end = End {
        is_assistants: turns.all.last().is_some_and(|turn| is_assistants(turn)),
        thought: if is_asked { thought(&turns.all) } else { Thought::Idle },
    };
    let system = std::mem::take(&mut turns.system);
    let messages = turns.is_edited.then(|| listed(&turns.all));
    if let Some(messages) = messages {
        body.set_raw("messages", messages);
    }
    if !system.is_empty() {
        hoist(body, system, lost);
    }
    Ok(end)
}

/// Puts blocks behind what the system says. What is marked for five minutes must not come before what is for an hour.
fn hoist(body: &mut Envelope, mut blocks: Vec<Vec<u8>>, lost: &mut Lost) {
    const MARK: &[u8] = br#""cache_control""#;
    let is_for_an_hour = |json: &[u8]| find(json, br#""1h""#).is_some();
    if body.raw("messages").is_some_and(is_for_an_hour) {
        for block in blocks.iter_mut().filter(|b| find(b, MARK).is_some() && !is_for_an_hour(b)) {
            let Ok(mut unmarked) = Envelope::parse(block.clone()) else { continue };
            if unmarked.remove("cache_control") {
                lost.add("cache_control");
                *block = unmarked.into_bytes();
            }
        }
    }
    append_system(body, &blocks.iter().map(Vec::as_slice).collect::<Vec<_>>());
}

/// The turns so far.
#[derive(Debug, Default)]
struct Turns<'a> {
    all: Vec<Cow<'a, [u8]>>,
    /// What the last of them goes on with.
    more: Vec<Cow<'a, [u8]>>,
    /// Whose the last of them is.
    speaker: Speaker,
    /// Blocks of messages of the system's before the first reply. Bedrock refuses such messages.
    system: Vec<Vec<u8>>,
    has_reply: bool,
    is_edited: bool,
    /// Whether the turn before the next one was taken out, or is the system's.
    has_gap: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Speaker {
    User,
    Assistant,
    System,
    #[default]
    Unknown,
}

impl Speaker {
    fn of(turn: &[u8]) -> Speaker {
        match field(turn, "role") {
            Some(br#""user""#) => Speaker::User,
            Some(br#""assistant""#) => Speaker::Assistant,
            Some(br#""system""#) => Speaker::System,
            _ => Speaker::Unknown,
        }
    }
}

impl<'a> Turns<'a> {
    fn add(
        &mut self,
        raw: &'a [u8],
        at: usize,
        is_last: bool,
        version: Version,
        lost: &mut Lost,
    ) -> Result<(), Error> {
        let speaker = Speaker::of(raw);
        self.has_reply |= speaker == Speaker::Assistant;
        if speaker != Speaker::System && !blocks::are_concerned(raw, version) {
            self.push(speaker, Cow::Borrowed(raw));
            return Ok(());
        }
        let Some(content) = field(raw, "content") else {
            self.push(speaker, Cow::Borrowed(raw));
            return Ok(());
        };
        let path = format!("messages[{at}]");
        let settled = blocks::settle_content(content, Holder::Turn, &path, version, lost)?;
        match (speaker, settled) {
            (Speaker::User, Content::None) if is_last => {
                self.push(speaker, with_content(raw, br#"".""#.to_vec()));
            }
            (_, Content::None) => self.leave_out(),
            (Speaker::System, Content::Same) => self.add_systems(blocks_of(content)),
            (Speaker::System, Content::Other(content)) => self.add_systems(blocks_of(&content)),
            (_, Content::Same) => self.push(speaker, Cow::Borrowed(raw)),
            (_, Content::Other(content)) => self.push(speaker, with_content(raw, content)),
        }
        Ok(())
    }

    /// Left open: newer models of Anthropic's take such messages where they stand, with a beta flag; whether Bedrock does is
    /// not known.
    fn add_systems(&mut self, blocks: Vec<Vec<u8>>) {
        if self.has_reply {
            let reminders: Vec<_> = blocks.into_iter().map(reminder).collect();
            self.has_gap = true;
            self.push(Speaker::User, Cow::Owned(turn(&reminders)));
            self.has_gap = true;
        } else {
            self.system.extend(blocks);
            self.leave_out();
        }
    }

    fn leave_out(&mut self) {
        self.is_edited = true;
        self.has_gap = true;
    }

    /// What a gap made neighbours is one turn if it is of one speaker.
    fn push(&mut self, speaker: Speaker, turn: Cow<'a, [u8]>) {
        self.is_edited |= matches!(turn, Cow::Owned(_));
        let has_gap = std::mem::take(&mut self.has_gap);
        if has_gap && speaker == self.speaker && speaker != Speaker::Unknown {
            self.more.push(turn);
            return;
        }
        self.merge();
        self.speaker = speaker;
        self.all.push(turn);
    }

    /// Puts what belongs to the last turn into it. Results come first, directly after their calls.
    fn merge(&mut self) {
        let more = std::mem::take(&mut self.more);
        let Some(last) = self.all.last_mut().filter(|_| !more.is_empty()) else { return };
        let said = std::iter::once(&*last).chain(&more).filter_map(|turn| field(turn, "content"));
        let mut blocks: Vec<_> = said.flat_map(blocks_of).collect();
        blocks.sort_by_cached_key(|block| field(block, "type") != Some(br#""tool_result""#));
        let content = listed(&blocks);
        let mut merged = Envelope::parse(last.to_vec()).unwrap_or_default();
        merged.set_raw("content", content);
        *last = Cow::Owned(merged.into_bytes());
    }

    /// A conversation begins with the person; what only instructs is what the person says.
    fn complete(&mut self) {
        self.merge();
        let said = |text: &str| Cow::Owned(turn(&[&*text_block(quoted(text).as_bytes())]));
        if self.all.is_empty() && self.is_edited {
            let system = std::mem::take(&mut self.system);
            self.all.push(if system.is_empty() { said(BEGIN) } else { Cow::Owned(turn(&system)) });
        }
        let Some((first, last)) = self.all.first().zip(self.all.last()) else { return };
        // An instruction after it shows that the last reply is over.
        let is_over = self.has_gap && is_assistants(last);
        if is_assistants(first) {
            self.is_edited = true;
            self.all.insert(0, said(BEGIN));
        }
        if is_over {
            self.all.push(said(CONTINUE));
        }
    }
}

const BEGIN: &str = "Begin.";
const CONTINUE: &str = "Continue.";

fn is_assistants(turn: &[u8]) -> bool {
    field(turn, "role") == Some(br#""assistant""#)
}

fn with_content(turn: &[u8], content: Vec<u8>) -> Cow<'_, [u8]> {
    let Ok(mut turned) = Envelope::parse(turn.to_vec()) else { return Cow::Borrowed(turn) };
    turned.set_raw("content", content);
    Cow::Owned(turned.into_bytes())
}

/// A turn of the user's.
fn turn<T: AsRef<[u8]>>(blocks: &[T]) -> Vec<u8> {
    [br#"{"role":"user","content":"#, &*listed(blocks), b"}"].concat()
}

fn text_block(json: &[u8]) -> Vec<u8> {
    [br#"{"type":"text","text":"#, json, b"}"].concat()
}

/// A text of the system's in a turn of the user's, in the way in which Claude Code writes them itself.
fn reminder(block: Vec<u8>) -> Vec<u8> {
    const BEGIN: &[u8] = b"<system-reminder>";
    let text = field(&block, "text");
    let text = text.and_then(|text| text.strip_prefix(b"\"")?.strip_suffix(b"\""));
    let Some(text) = text.filter(|text| !text.starts_with(BEGIN)) else { return block };
    let text = [b"\"", BEGIN, b"\\n", text, b"\\n</system-reminder>\""].concat();
    let Ok(mut reminder) = Envelope::parse(block.clone()) else { return block };
    reminder.set_raw("text", text);
    reminder.into_bytes()
}

/// The blocks of a content, verbatim; a text is one.
pub(super) fn blocks_of(content: &[u8]) -> Vec<Vec<u8>> {
    match items(content) {
        Some(blocks) => blocks.into_iter().map(<[u8]>::to_vec).collect(),
        None => vec![text_block(content)],
    }
}

/// What the loop of tool calls that goes on, if one does, has of the thoughts that led to its calls.
fn thought(turns: &[Cow<'_, [u8]>]) -> Thought {
    let mut found = Thought::Idle;
    for (i, turn) in turns.iter().enumerate().rev() {
        if !is_assistants(turn) {
            continue;
        }
        // Turns of one speaker are one; the first of them tells.
        let Some(next) = turns.get(i + 1) else { return Thought::Idle };
        if !is_assistants(next) && first_kind(next) != Some(br#""tool_result""#) {
            return found;
        }
        let kind = first_kind(turn);
        let is_thought = matches!(kind, Some(br#""thinking""# | br#""redacted_thinking""#));
        found = match found {
            Thought::Idle if is_thought => return Thought::Last,
            Thought::Idle => Thought::Missing,
            _ if is_thought => return Thought::Earlier,
            found => found,
        };
    }
    found
}

/// The type of a turn's first block, as JSON.
fn first_kind(turn: &[u8]) -> Option<&[u8]> {
    field(first_item(field(turn, "content")?)?, "type")
}

/// The beginning of a reply as the last turn: newer models refuse it, older ones refuse white space at its end.
pub(super) fn settle_ending(body: &mut Envelope, version: Version) {
    let Some(messages) = body.raw("messages").and_then(items) else { return };
    let Some((last, before)) = messages.split_last() else { return };
    let Ok(mut last) = Envelope::parse(last.to_vec()) else { return };
    let mut turns: Vec<Cow<'_, [u8]>> = before.iter().map(|turn| Cow::Borrowed(*turn)).collect();
    let is_continued = version.adapts() || thinking::is_on(body);
    if has_words(&mut last, !is_continued) {
        turns.push(Cow::Owned(last.into_bytes()));
        if is_continued {
            turns.push(Cow::Owned(turn(&[text_block(quoted(CONTINUE).as_bytes())])));
        }
    }
    let messages = listed(&turns);
    body.set_raw("messages", messages);
}

/// Takes the thoughts off the end of a turn, and the white space if it is to be trimmed. Whether anything is left.
fn has_words(turn: &mut Envelope, is_trimmed: bool) -> bool {
    let Some(content) = turn.raw("content") else { return true };
    let Some(mut blocks) = items(content) else {
        if let Some(text) = trimmed(content).filter(|_| is_trimmed) {
            turn.set("content", text);
        }
        return true;
    };
    let count = blocks.len();
    let is_thought = |block: &&[u8]| {
        let kind = field(block, "type");
        matches!(kind, Some(br#""thinking""# | br#""redacted_thinking""#))
    };
    while blocks.last().is_some_and(is_thought) {
        blocks.pop();
    }
    let end = blocks.last().filter(|_| is_trimmed).and_then(|block| {
        let text = trimmed(field(block, "text")?)?;
        let mut block = Envelope::parse(block.to_vec()).ok()?;
        block.set("text", text);
        Some(block.into_bytes())
    });
    if let (Some(end), Some(last)) = (&end, blocks.last_mut()) {
        *last = end;
    }
    let is_edited = blocks.len() < count || end.is_some();
    let has_some = !blocks.is_empty();
    let content = is_edited.then(|| listed(&blocks));
    if let Some(content) = content {
        turn.set_raw("content", content);
    }
    has_some
}

/// A JSON string without the white space at its end, where it has some.
fn trimmed(json: &[u8]) -> Option<String> {
    let text: String = serde_json::from_slice(json).ok()?;
    let short = text.trim_end();
    (short.len() < text.len()).then(|| quoted(short))
}
