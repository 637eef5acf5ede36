//! Images and documents that are named by URL: Bedrock takes them in base64 only (dossier 5b.2).

use std::borrow::Cow;

use memchr::memmem::find;

use super::blocks::{Kept, each};
use crate::chat::Source;
use crate::envelope::{Envelope, field, listed, quoted};
use crate::error::Error;
use crate::media;

/// Gives each URL of the messages, with its JSON path (`messages[0].content[1].source`), what it names.
pub fn each_url(
    body: &mut Envelope,
    mut named: impl FnMut(&str, &str) -> Result<Source, Error>,
) -> Result<(), Error> {
    let Some(messages) = body.raw("messages").filter(|raw| may_name(raw)) else { return Ok(()) };
    let turns = each(messages, "messages", |turn, path| in_content(turn, path, &mut named))?;
    if let Some(messages) = turns.map(|turns| listed(&turns)) {
        body.set_raw("messages", messages);
    }
    Ok(())
}

fn may_name(json: &[u8]) -> bool {
    find(json, br#""url""#).is_some()
}

/// In a turn, or a result.
fn in_content<'a>(
    raw: &'a [u8],
    path: &str,
    named: &mut dyn FnMut(&str, &str) -> Result<Source, Error>,
) -> Result<Kept<'a>, Error> {
    let stays = Ok(Some(Cow::Borrowed(raw)));
    let Some(content) = field(raw, "content").filter(|content| may_name(content)) else {
        return stays;
    };
    let path = format!("{path}.content");
    let Some(blocks) = each(content, &path, |block, path| in_block(block, path, named))? else {
        return stays;
    };
    let Ok(mut holder) = Envelope::parse(raw.to_vec()) else { return stays };
    holder.set_raw("content", listed(&blocks));
    Ok(Some(Cow::Owned(holder.into_bytes())))
}

fn in_block<'a>(
    raw: &'a [u8],
    path: &str,
    named: &mut dyn FnMut(&str, &str) -> Result<Source, Error>,
) -> Result<Kept<'a>, Error> {
    let stays = Ok(Some(Cow::Borrowed(raw)));
    if !may_name(raw) {
        return stays;
    }
    match field(raw, "type") {
        Some(br#""tool_result""#) => return in_content(raw, path, named),
        Some(br#""image""# | br#""document""#) => {}
        _ => return stays,
    }
    let source = field(raw, "source").and_then(|raw| Envelope::parse(raw.to_vec()).ok());
    let Some(source) = source.filter(|source| super::kind(source) == "url") else { return stays };
    let path = format!("{path}.source");
    let url = source.get::<String>("url", "a string").ok().flatten();
    let url = url.ok_or_else(|| Error::bad_request(format!("{path}.url"), "a URL is expected"))?;
    let Ok(mut block) = Envelope::parse(raw.to_vec()) else { return stays };
    block.set("source", source_json(&named(&url, &path)?));
    Ok(Some(Cow::Owned(block.into_bytes())))
}

fn source_json(source: &Source) -> String {
    match source {
        Source::Url(url) => format!(r#"{{"type":"url","url":{}}}"#, quoted(url)),
        Source::Base64 { media_type, data } => {
            let text = media_type.starts_with("text/").then(|| media::text(data)).flatten();
            let (kind, media_type, data) = match &text {
                // The only other form of a document.
                Some(text) => ("text", "text/plain", text),
                None => ("base64", media_type.as_str(), data),
            };
            format!(
                r#"{{"type":"{kind}","media_type":{},"data":{}}}"#,
                quoted(media_type),
                quoted(data)
            )
        }
    }
}
