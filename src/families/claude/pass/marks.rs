//! A mark for the cache that stands beside the messages: all that is sent is to be cached. Anthropic's API puts it to the last
//! block; Bedrock, which is not known to, gets it there.

use memchr::memmem::{find, find_iter};

use super::blocks::settle_mark;
use super::{Lost, kind, turns};
use crate::envelope::{Envelope, items, listed};
use crate::families::claude::Version;

const KEY: &str = "cache_control";
/// The most marks of a request (dossier 5b.7).
const MARKS_MAX: usize = 4;

/// Takes it from where it stands.
pub(super) fn of_all(body: &mut Envelope, version: Version) -> Option<Vec<u8>> {
    let mark = body.raw(KEY).filter(|mark| version.caches() && mark.starts_with(b"{"))?.to_vec();
    body.remove(KEY);
    Some(mark)
}

/// Puts it to the last block, where it may stand there.
pub(super) fn settle(body: &mut Envelope, mark: Vec<u8>, version: Version, lost: &mut Lost) {
    let marked = if has_room(body, &mark) { marked(body, mark, version, lost) } else { None };
    match marked {
        Some(messages) => body.set_raw("messages", messages),
        None => lost.add(KEY),
    }
}

/// A mark for an hour must not come after one for less.
fn has_room(body: &Envelope, mark: &[u8]) -> bool {
    let all = ["tools", "system", "messages"].into_iter().filter_map(|key| body.raw(key));
    let (mut marks, mut hours) = (0, 0);
    for json in all {
        marks += find_iter(json, br#""cache_control""#).count();
        hours += find_iter(json, br#""1h""#).count();
    }
    marks < MARKS_MAX && (marks == hours || find(mark, br#""1h""#).is_none())
}

/// The messages with it; `None` where their last block takes none.
fn marked(body: &Envelope, mark: Vec<u8>, version: Version, lost: &mut Lost) -> Option<Vec<u8>> {
    let mut messages = items(body.raw("messages")?)?;
    let mut turn = Envelope::parse(messages.pop()?.to_vec()).ok()?;
    let mut blocks = turns::blocks_of(turn.raw("content")?);
    let mut last = Envelope::parse(blocks.pop()?).ok()?;
    if !matches!(kind(&last).as_str(), "text" | "image" | "document" | "tool_use" | "tool_result") {
        return None;
    }
    if last.raw(KEY).is_none_or(|own| own == b"null") {
        last.set_raw(KEY, mark);
        settle_mark(&mut last, version, lost);
    }
    blocks.push(last.into_bytes());
    turn.set_raw("content", listed(&blocks));
    let turn = turn.into_bytes();
    messages.push(&turn);
    Some(listed(&messages))
}
