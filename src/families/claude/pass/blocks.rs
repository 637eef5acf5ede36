//! The blocks of turns, results and the system. Only those are read in whose bytes something is that has to go.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::{Finder, find};
use serde_json::Value;

use super::{Lost, blank, kind};
use crate::dialect::anthropic::UNSIGNED;
use crate::envelope::{Envelope, field, header_safe, items, listed, quoted};
use crate::error::Error;
use crate::families::claude::Version;

/// What becomes of an item of a list: as it is, another one, or none.
pub(super) type Kept<'a> = Option<Cow<'a, [u8]>>;

/// The items as `settle` leaves them, each told by its JSON path; `None` where the list stays as it is, or is none.
pub(super) fn each<'a>(
    list: &'a [u8],
    path: &str,
    mut settle: impl FnMut(&'a [u8], &str) -> Result<Kept<'a>, Error>,
) -> Result<Option<Vec<Cow<'a, [u8]>>>, Error> {
    let Some(items) = items(list) else { return Ok(None) };
    let count = items.len();
    let mut kept = Vec::with_capacity(count);
    for (i, item) in items.into_iter().enumerate() {
        kept.extend(settle(item, &format!("{path}[{i}]"))?);
    }
    let is_edited = kept.len() < count || kept.iter().any(|item| matches!(item, Cow::Owned(_)));
    Ok(is_edited.then_some(kept))
}

/// Whether something in these bytes may have to go. A string in a text has its quotes escaped.
pub(super) fn are_concerned(json: &[u8], version: Version) -> bool {
    let has = |sign: &Finder<'_>| sign.find(json).is_some();
    SIGNS.iter().any(has) || (!version.caches() && has(&MARK)) || blank::is_in(json)
}

static SIGNS: LazyLock<[Finder<'static>; 8]> = LazyLock::new(|| {
    [
        &br#""scope""#[..],
        br#""thinking""#,
        br#""redacted_thinking""#,
        br#""tool_reference""#,
        br#"_tool_use""#,
        br#"_tool_result""#,
        br#""file_id""#,
        br#""web_search_result_location""#,
    ]
    .map(Finder::new)
});
static MARK: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#""cache_control""#));

/// What has blocks. Results hold no results, documents no documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    Turn,
    Result,
    Document,
}

/// The content of a turn, a result or a document.
pub(super) fn settle_content(
    content: &[u8],
    holder: Holder,
    path: &str,
    version: Version,
    lost: &mut Lost,
) -> Result<Content, Error> {
    if blank::is_blank(content) || blank::is_empty_list(content) {
        return Ok(Content::None);
    }
    let settle = |raw, path: &str| settle_block(raw, holder, path, version, lost);
    Ok(match each(content, &format!("{path}.content"), settle)? {
        None => Content::Same,
        Some(blocks) if blocks.is_empty() => Content::None,
        Some(blocks) => Content::Other(listed(&blocks)),
    })
}

/// What becomes of a content.
#[derive(Debug)]
pub(super) enum Content {
    Same,
    Other(Vec<u8>),
    None,
}

fn settle_block<'a>(
    raw: &'a [u8],
    holder: Holder,
    path: &str,
    version: Version,
    lost: &mut Lost,
) -> Result<Kept<'a>, Error> {
    let stays = Ok(Some(Cow::Borrowed(raw)));
    if is_own_thought(raw, version) || !are_concerned(raw, version) {
        return stays;
    }
    let Ok(mut block) = Envelope::parse(raw.to_vec()) else { return stays };
    match kind(&block).as_str() {
        "text" if block.raw("text").is_some_and(blank::is_blank) => return Ok(None),
        "text" => drop_citations(&mut block),
        "thinking" if !version.thinks() || !is_signed(raw) => return Ok(None),
        "redacted_thinking" if !version.thinks() => return Ok(None),
        "tool_reference" => return Ok(Some(Cow::Owned(reference(&block)))),
        "tool_result" if holder == Holder::Turn => {
            settle_result(&mut block, path, version, lost)?;
        }
        "tool_result" => {}
        kind @ ("server_tool_use" | "mcp_tool_use" | "container_upload") => {
            lost.add(format!("messages[].content[] of type {kind}"));
            return Ok(None);
        }
        kind if kind.ends_with("_tool_result") => {
            lost.add(format!("messages[].content[] of type {}", header_safe(kind)));
            return Ok(result_text(raw).map(Cow::Owned));
        }
        _ => {}
    }
    settle_source(&mut block, holder, path, version, lost)?;
    settle_mark(&mut block, version, lost);
    Ok(Some(if block.is_edited() { Cow::Owned(block.into_bytes()) } else { Cow::Borrowed(raw) }))
}

/// A file, as it is or as blocks of its text. There is no Files API.
fn settle_source(
    block: &mut Envelope,
    holder: Holder,
    path: &str,
    version: Version,
    lost: &mut Lost,
) -> Result<(), Error> {
    let kind = block.raw("source").and_then(|source| field(source, "type"));
    let path = format!("{path}.source");
    match kind {
        Some(br#""file""#) => {
            let what = "files are not kept here; send the file itself as base64".to_owned();
            Err(Error::Refused { path, what })
        }
        Some(br#""content""#) if holder != Holder::Document => {
            let mut found = Ok(());
            block.edit_in("source", |source| {
                let Some(content) = source.raw("content") else { return };
                match settle_content(content, Holder::Document, &path, version, lost) {
                    Ok(Content::Other(content)) => source.set_raw("content", content),
                    Ok(Content::Same | Content::None) => {}
                    Err(error) => found = Err(error),
                }
            });
            found
        }
        _ => Ok(()),
    }
}

/// What Claude's own servers found is not in the conversation any more.
fn drop_citations(block: &mut Envelope) {
    const FOUND: &[u8] = br#""web_search_result_location""#;
    if block.raw("citations").is_some_and(|citations| find(citations, FOUND).is_some()) {
        block.remove("citations");
    }
}

/// Nearly all blocks in which a sign is found, and nothing has to go.
fn is_own_thought(raw: &[u8], version: Version) -> bool {
    let is_thought = field(raw, "type") == Some(br#""thinking""#);
    is_thought && version.thinks() && is_signed(raw) && find(raw, br#""scope""#).is_none()
}

/// Whether a Claude signed this thought; ours say that another model thought it.
fn is_signed(thought: &[u8]) -> bool {
    field(thought, "signature").is_some_and(|signature| {
        signature.starts_with(b"\"")
            && !blank::is_blank(signature)
            && find(signature, UNSIGNED.as_bytes()).is_none()
    })
}

/// A tool that a search found, where only texts and media may be.
fn reference(block: &Envelope) -> Vec<u8> {
    let name: Option<String> = block.get("tool_name", "a string").ok().flatten();
    text_block(&format!("Found the tool `{}`.", name.unwrap_or_default()))
}

fn text_block(text: &str) -> Vec<u8> {
    format!(r#"{{"type":"text","text":{}}}"#, quoted(text)).into_bytes()
}

/// A result may be empty, unless it is an error's.
fn settle_result(
    block: &mut Envelope,
    path: &str,
    version: Version,
    lost: &mut Lost,
) -> Result<(), Error> {
    let Some(content) = block.raw("content") else { return Ok(()) };
    match settle_content(content, Holder::Result, path, version, lost)? {
        Content::Same => return Ok(()),
        Content::Other(content) => {
            block.set_raw("content", content);
            return Ok(());
        }
        Content::None => {}
    }
    if block.raw("is_error") == Some(b"true") {
        block.set("content", r#"".""#);
    } else {
        block.remove("content");
    }
    Ok(())
}

/// What the result of a tool of Anthropic's servers says, as far as it is text.
fn result_text(raw: &[u8]) -> Option<Vec<u8>> {
    let block: Value = serde_json::from_slice(raw).ok()?;
    let mut texts = vec![];
    collect(block.get("content")?, &mut texts);
    (!texts.is_empty()).then(|| text_block(&texts.join("\n")))
}

fn collect(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) if !text.trim().is_empty() => texts.push(text.clone()),
        Value::Array(all) => all.iter().for_each(|value| collect(value, texts)),
        Value::Object(object) => {
            let is_text = object.get("type").is_some_and(|kind| kind == "text");
            for key in ["title", "url", "text", "stdout", "stderr", "content", "source"] {
                object.get(key).into_iter().for_each(|value| collect(value, texts));
            }
            // A plain text as a document's source.
            let data = object.get("data").filter(|_| is_text);
            data.into_iter().for_each(|value| collect(value, texts));
        }
        _ => {}
    }
}

/// The system's blocks, without those that say nothing.
pub(super) fn texts<'a>(
    blocks: &[&'a [u8]],
    version: Version,
    lost: &mut Lost,
) -> Vec<Cow<'a, [u8]>> {
    let said = blocks.iter().filter(|block| !field(block, "text").is_some_and(blank::is_blank));
    let marked = said.map(|raw| match Envelope::parse(raw.to_vec()) {
        Ok(mut block) => {
            settle_mark(&mut block, version, lost);
            if block.is_edited() { Cow::Owned(block.into_bytes()) } else { Cow::Borrowed(*raw) }
        }
        Err(_) => Cow::Borrowed(*raw),
    });
    marked.collect()
}

/// A mark for the cache: without a `scope`, which only Anthropic's API knows, and none where the model does not cache.
pub(super) fn settle_mark(holder: &mut Envelope, version: Version, lost: &mut Lost) {
    const KEY: &str = "cache_control";
    if version.caches() {
        holder.edit_in(KEY, |mark| {
            mark.remove("scope");
        });
    } else if holder.remove(KEY) {
        lost.add(KEY);
    }
}
