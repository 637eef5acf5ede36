//! What families that take a client's own bytes change within them. What is not changed stays verbatim, and `messages`, which
//! may be long, is only read where it holds what has to be changed.

use std::borrow::Cow;

use memchr::memmem::find;
use serde_json::value::RawValue;

use super::Dropped;
use crate::chat::{Block, MediaKind, Request};
use crate::envelope::{Envelope, quoted};
use crate::error::Error;

/// Of a request in words of our own: models that look at images read no other files.
pub fn refuse_files(request: &Request) -> Result<(), Error> {
    for block in request.turns.iter().flat_map(|turn| &turn.blocks) {
        if let Block::Media { kind: MediaKind::File, path, .. } = block {
            let what = "this model reads no files; send what is in it as text or as images.";
            return Err(Error::Refused { path: path.clone(), what: what.into() });
        }
    }
    Ok(())
}

pub fn set_model(body: &mut Envelope, model: &str) {
    let name = quoted(model);
    if body.raw("model") != Some(name.as_bytes()) {
        body.set("model", name);
    }
}

/// There and not null.
pub fn is_given(body: &Envelope, key: &str) -> bool {
    body.raw(key).is_some_and(|value| value != b"null")
}

/// Takes these out, and names those that said something.
pub fn drop_fields(body: &mut Envelope, keys: &[&'static str], dropped: &mut Dropped) {
    for key in keys {
        let says = is_given(body, key) && body.raw(key) != Some(b"false");
        body.remove(key);
        dropped.extend(says.then_some(Cow::Borrowed(*key)));
    }
}

/// More effort than `high` has no word of its own here.
pub fn settle_effort(body: &mut Envelope) {
    if matches!(body.raw("reasoning_effort"), Some(br#""xhigh""# | br#""max""#)) {
        body.set("reasoning_effort", r#""high""#);
    }
}

/// A reply in another form than text cannot be left out in silence.
pub fn refuse_speech(body: &Envelope) -> Result<(), Error> {
    let modalities = body.get::<Vec<String>>("modalities", "a list of strings")?;
    if modalities.unwrap_or_default().iter().any(|m| m != "text") {
        return Err(refused("modalities", "this model only answers with text."));
    }
    Ok(())
}

/// What came before `tools`.
pub fn refuse_functions(body: &Envelope) -> Result<(), Error> {
    if body.list("functions").is_some_and(|functions| !functions.is_empty()) {
        return Err(refused("functions", "this model does not take them; send them as `tools`."));
    }
    Ok(())
}

pub fn refused(path: &str, what: &str) -> Error {
    Error::Refused { path: path.into(), what: what.into() }
}

/// Whether the messages hold this key or value. In a text its quotes would be escaped.
pub fn mention(body: &Envelope, json: &[u8]) -> bool {
    body.raw("messages").is_some_and(|messages| find(messages, json).is_some())
}

/// Marks for a cache, which only Claude has.
pub fn drop_cache_control(body: &mut Envelope, dropped: &mut Dropped) {
    const KEY: &str = "cache_control";
    let mark = |raw: &[u8]| find(raw, b"\"cache_control\"").is_some();
    let mut found = false;
    if body.raw("messages").is_some_and(mark) {
        found |= body.edit_each("messages", |message| {
            message.remove(KEY);
            message.edit_each("content", |part| drop_key(part, KEY));
            message.edit_each("tool_calls", |call| drop_key(call, KEY));
        });
    }
    if body.raw("tools").is_some_and(mark) {
        found |= body.edit_each("tools", |tool| {
            tool.remove(KEY);
            tool.edit_in("function", |function| drop_key(function, KEY));
        });
    }
    if found && !dropped.iter().any(|name| name == KEY) {
        dropped.push(KEY.into());
    }
}

fn drop_key(object: &mut Envelope, key: &str) {
    object.remove(key);
}

pub fn role(message: &Envelope) -> String {
    message.get("role", "a string").ok().flatten().unwrap_or_default()
}

pub fn developer_to_system(message: &mut Envelope) {
    if message.raw("role") == Some(b"\"developer\"") {
        message.set("role", "\"system\"");
    }
}

pub fn message(role: &str, text: &str) -> Envelope {
    let mut message = Envelope::default();
    message.set("role", quoted(role));
    message.set("content", quoted(text));
    message
}

/// The result of a call that the model cannot be shown, as the person says it.
pub fn result_as_text(result: &Envelope) -> Envelope {
    let text = texts(result).join("\n");
    message("user", &format!("Result of an earlier tool call: {text}"))
}

/// The texts of a message's content.
pub fn texts(message: &Envelope) -> Vec<String> {
    if let Ok(Some(text)) = message.get::<String>("content", "a string") {
        return if text.is_empty() { vec![] } else { vec![text] };
    }
    let parts = message.list("content").unwrap_or_default();
    parts.iter().filter_map(|part| part.get("text", "a string").ok().flatten()).collect()
}

/// Adds what `next` says to `last`, which is of the same role.
pub fn join(last: &mut Envelope, next: &Envelope) {
    let said = |text: &String| !text.is_empty();
    let text = |m: &Envelope| {
        let text = m.get::<String>("content", "a string")?;
        Ok::<_, Error>(text.filter(said))
    };
    match (text(last), text(next)) {
        (_, Ok(None)) => {}
        (Ok(None), _) => {
            let content = next.raw("content").unwrap_or(b"null");
            last.set("content", String::from_utf8_lossy(content));
        }
        (Ok(Some(a)), Ok(Some(b))) => last.set("content", quoted(&format!("{a}\n\n{b}"))),
        _ => {
            let parts = [parts(last), parts(next)].concat();
            last.set("content", format!("[{}]", parts.join(",")));
        }
    }
}

/// The parts of a message's content, verbatim; a text is one.
fn parts(message: &Envelope) -> Vec<String> {
    if let Ok(Some(text)) = message.get::<String>("content", "a string") {
        return vec![format!(r#"{{"type":"text","text":{}}}"#, quoted(&text))];
    }
    let parts = message.get::<Vec<Box<RawValue>>>("content", "a list").ok().flatten();
    parts.unwrap_or_default().iter().map(|part| part.get().to_owned()).collect()
}
