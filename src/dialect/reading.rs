//! What clients' requests have in common, whichever grammar they are in: how lists, numbers and words are read, and what is
//! said of those that cannot be.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::chat::{Block, CachePoint, Effort, Request, Role, Source, Thinking, ToolChoice, Turn};
use crate::envelope::{Envelope, header_safe};
use crate::error::Error;
use crate::media;

pub fn number(body: &Envelope, key: &str, least: f64, most: f64) -> Result<Option<f64>, Error> {
    let expected = format!("a number from {least} to {most}");
    let number = body.get::<f64>(key, &expected)?;
    match number {
        Some(n) if !(least..=most).contains(&n) => {
            Err(Error::bad_request(key, format!("{expected} is expected")))
        }
        number => Ok(number),
    }
}

pub fn effort(path: &str, word: &str) -> Result<Thinking, Error> {
    Ok(Thinking::Effort(match word {
        "none" => return Ok(Thinking::Off),
        "minimal" => Effort::Minimal,
        "low" => Effort::Low,
        "medium" => Effort::Medium,
        "high" => Effort::High,
        "xhigh" => Effort::Highest,
        "max" => Effort::Max,
        _ => {
            let why = "none, minimal, low, medium, high, xhigh or max is expected";
            return Err(Error::bad_request(path, why));
        }
    }))
}

/// A string or a list of them.
#[derive(Default)]
pub struct Strings(pub Vec<String>);

impl<'de> Deserialize<'de> for Strings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Strings, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Strings;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Strings, E> {
                Ok(Strings(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Strings, A::Error> {
                let mut all = vec![];
                while let Some(text) = seq.next_element()? {
                    all.push(text);
                }
                Ok(Strings(all))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[derive(Deserialize)]
pub struct CacheControl {
    ttl: Option<String>,
}

impl CacheControl {
    pub fn point(&self) -> CachePoint {
        match self.ttl.as_deref() {
            Some("1h") => CachePoint::OneHour,
            _ => CachePoint::FiveMinutes,
        }
    }
}

/// The limit that is named first, if there is one: 0 and -1 are words for none.
pub fn output_max(
    body: &Envelope,
    keys: &[&'static str],
    request: &mut Request,
) -> Result<(), Error> {
    const EXPECTED: &str = "a whole number";
    for key in keys {
        match body.get::<f64>(key, EXPECTED)? {
            None => {}
            Some(n) if n.fract() != 0.0 => {
                return Err(Error::bad_request(*key, format!("{EXPECTED} is expected")));
            }
            Some(n) if n < 1.0 => request.drop_field(*key),
            Some(n) => {
                request.output_max = Some(n as u64);
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A string of JSON; an object by clients that have not read the reference.
pub fn arguments(json: &RawValue) -> serde_json::Result<String> {
    let text = match json.get() {
        string if string.starts_with('"') => serde_json::from_str(string)?,
        other => other.to_owned(),
    };
    Ok(mended(&text).unwrap_or(text))
}

/// Texts that tell the model what to do, among the turns. Those before the first reply go to their own place. Later ones stay
/// where they are, as reminders in the user's turn, as Claude Code itself writes them: at their own place, which is before
/// all turns, they would make the vendors forget what they have cached of them.
pub fn instruct(mut texts: Vec<Block>, request: &mut Request) {
    if request.turns.iter().all(|turn| turn.role == Role::User) {
        request.system.extend(texts);
        return;
    }
    for block in &mut texts {
        if let Block::Text { text, .. } = block
            && !text.is_blank()
            && !text.starts_with("<system-reminder>")
        {
            *text = format!("<system-reminder>\n{text}\n</system-reminder>").into();
        }
    }
    request.turns.push(Turn { role: Role::User, blocks: texts });
}

/// The JSON of a request's `messages`.
pub fn messages_of(body: &Envelope) -> Result<&[u8], Error> {
    let list = body.raw("messages").filter(|raw| raw.starts_with(b"["));
    list.ok_or_else(|| Error::bad_request("messages", "a list of messages is expected"))
}

/// At least one message.
pub fn messages<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<Vec<T>, Error> {
    let messages = list(json, "messages")?;
    if messages.is_empty() {
        return Err(Error::bad_request("messages", "at least one message is expected"));
    }
    Ok(messages)
}

/// A list read item by item only where reading it whole fails, to name the item.
pub fn list<'a, T: Deserialize<'a>>(json: &'a [u8], path: &str) -> Result<Vec<T>, Error> {
    serde_json::from_slice(json).map_err(|whole| {
        explained::<T>(json, path).unwrap_or_else(|| {
            let why = match json.trim_ascii_start().starts_with(b"[") {
                true => format!("a list is expected: {}", without_place(&whole)),
                false => "a list is expected".to_owned(),
            };
            Error::bad_request(path, why)
        })
    })
}

fn explained<'a, T: Deserialize<'a>>(json: &'a [u8], path: &str) -> Option<Error> {
    let items = serde_json::from_slice::<Vec<&RawValue>>(json).ok()?;
    items.iter().enumerate().find_map(|(i, item)| {
        let why = serde_json::from_str::<T>(item.get()).err()?;
        Some(Error::bad_request(format!("{path}[{i}]"), without_place(&why)))
    })
}

/// The place is that within an item, which nobody could find.
pub fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

/// A data URL, an http or https URL, or the bare base64 of a file.
pub fn source(url: String, path: &str, what: &str) -> Result<Source, Error> {
    let has_scheme = |scheme: &str| {
        url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    if has_scheme("http://") || has_scheme("https://") {
        return Ok(Source::Url(url));
    }
    let (media_type, data) = match media::data_url(&url) {
        Some((media_type, data)) => (media_type, data),
        None if what == "file" && !url.contains(':') => (String::new(), url.as_str()),
        None => {
            let why =
                format!("a data: URL with base64, or an http(s) URL of the {what}, is expected");
            return Err(Error::bad_request(path, why));
        }
    };
    Ok(base64(media_type, data.to_owned()))
}

/// Models refuse an image whose type is not what was said; the bytes know better.
pub fn base64(media_type: String, data: String) -> Source {
    let media_type = media::sniff_base64(&data).map_or(media_type, str::to_owned);
    let media_type = if media_type.is_empty() { "text/plain".to_owned() } else { media_type };
    Source::Base64 { media_type, data }
}

/// The most types of tools that are named as dropped.
const TOOL_TYPES_MAX: usize = 10;

/// Tools that a vendor runs, or that take no JSON: the model can do without.
pub fn drop_tools_of(types: Vec<String>, request: &mut Request) {
    tools_of(types).into_iter().for_each(|tools| request.drop_field(tools));
}

/// How tools of these types are named as dropped.
pub fn tools_of(mut types: Vec<String>) -> Vec<String> {
    types.sort_unstable();
    types.dedup();
    let named = types.iter().take(TOOL_TYPES_MAX);
    named.map(|kind| format!("tools[] of type {}", header_safe(kind))).collect()
}

/// Names of tools differ, and the one that is chosen is among them.
pub fn unambiguous(request: &Request) -> Result<(), Error> {
    let mut names: Vec<&str> = request.tools.iter().map(|t| t.name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        let why = format!("two tools are called {:?}; names must differ", twice[0]);
        return Err(Error::bad_request("tools", why));
    }
    match &request.tool_choice {
        Some(ToolChoice::Named(name)) if !names.contains(&name.as_str()) => {
            let why = format!("{name:?} is none of the tools");
            Err(Error::bad_request("tool_choice", why))
        }
        _ => Ok(()),
    }
}

/// A path by the client's names of fields, whose other names come first.
pub fn renamed<'a>(path: &'a str, fields: &[(&str, &str)]) -> Cow<'a, str> {
    let renamed = fields.iter().find_map(|(name, own)| {
        let rest = path.strip_prefix(name)?;
        let is_whole = rest.is_empty() || rest.starts_with(['.', '[']);
        is_whole.then(|| format!("{own}{rest}"))
    });
    renamed.map_or(Cow::Borrowed(path), Cow::Owned)
}

/// JSON with no string that cannot be read, for what JavaScript wrote of a text that it had cut within a character.
pub fn readable(json: &[u8]) -> Cow<'_, [u8]> {
    let has = |start: &[u8]| memchr::memmem::find(json, start).is_some();
    if !has(b"\\ud") && !has(b"\\uD") {
        return json.into();
    }
    let mended = std::str::from_utf8(json).ok().and_then(mended);
    mended.map_or(json.into(), |mended| mended.into_bytes().into())
}

/// JSON with U+FFFD for each half of a surrogate pair; `None` where there is none.
pub fn mended(json: &str) -> Option<String> {
    let bytes = json.as_bytes();
    let (mut out, mut kept, mut at) = (String::new(), 0, 0);
    while let Some(found) = memchr::memchr(b'\\', bytes.get(at..).unwrap_or_default()) {
        at += found;
        let is_low = |unit| matches!(unit, Some(0xDC00..=0xDFFF));
        at += match utf16_unit(&bytes[at..]) {
            None => 2,
            Some(0xD800..=0xDBFF) if is_low(utf16_unit(&bytes[at + 6..])) => 12,
            Some(0xD800..=0xDFFF) => {
                out.push_str(&json[kept..at]);
                out.push_str("\\ufffd");
                kept = at + 6;
                6
            }
            Some(_) => 6,
        };
    }
    (kept > 0).then(|| out + &json[kept..])
}

/// What `\uXXXX` stands for.
fn utf16_unit(escape: &[u8]) -> Option<u16> {
    let digits = escape.strip_prefix(b"\\u")?.get(..4)?;
    let digits =
        digits.iter().try_fold(0, |sum, digit| Some(sum << 4 | char::from(*digit).to_digit(16)?));
    u16::try_from(digits?).ok()
}
