//! Marks of deployments in ids. What AI Core keeps (responses, their items, the key to encrypted reasoning) is known to the
//! deployment alone that made it. So every such id goes out with that deployment's mark, `resp_` + mark + `_` + rest, and
//! comes back with it: no table. An encrypted content is mark + `.` + rest, which is no Base64.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::envelope::{Envelope, each_field, field, items, listed};

/// A mark is this many lower-case hexadecimal digits.
const MARK_CHARS: usize = 8;
const PREVIOUS: &str = "previous_response_id";
/// How what is left out is named.
const CONTENT: &str = "input[].encrypted_content";

/// Who has to answer a request, or better had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub mark: String,
    /// What no other can find: the key and the id of what is kept there.
    pub bound_by: Option<(&'static str, String)>,
}

/// The deployment whose ids a request holds; of several, the one that answered last, whose thoughts matter most.
pub fn owner(body: &[u8]) -> Option<Owner> {
    if !may_have_marks(body) {
        return None;
    }
    let owner = |mark: &str, bound_by| Owner { mark: mark.to_owned(), bound_by };
    let bound = |key, id: &str| Some((key, id.to_owned()));
    if let Some(id) = field(body, PREVIOUS).and_then(string)
        && let Some((mark, _)) = split(id)
    {
        return Some(owner(mark, bound(PREVIOUS, id)));
    }
    let mut wish = None;
    for item in field(body, "input").and_then(items)? {
        let item = Item::of(item);
        if item.is_reference()
            && let Some(id) = item.id
            && let Some((mark, _)) = split(id)
        {
            return Some(owner(mark, bound("input", id)));
        }
        wish = item.mark().or(wish);
    }
    Some(owner(wish?, None))
}

/// The mark and AI Core's own id; `None` for an id without a mark.
pub fn unmarked(id: &str) -> Option<(&str, String)> {
    let (mark, (word, rest)) = split(id)?;
    Some((mark, [word, rest].concat()))
}

/// AI Core's id with a mark.
pub fn marked(id: &str, mark: &str) -> String {
    let (at, before) = place(id.as_bytes());
    [&id[..at], before, mark, "_", &id[at..]].concat()
}

/// An encrypted content with a mark.
pub fn marked_content(content: &str, mark: &str) -> String {
    [mark, ".", content].concat()
}

/// Whether an encrypted content, or its beginning, has a mark.
pub fn is_marked_content(content: &str) -> bool {
    split_content(content).is_some()
}

/// Where a mark goes into an id, and what before it; the same in an id's JSON.
pub(super) fn place(id: &[u8]) -> (usize, &'static str) {
    let word = word_length(id);
    // An id without a word before it gets an empty one.
    if word > 0 { (word + 1, "") } else { (0, "_") }
}

/// A body for one deployment: its marks are taken off, and what belongs to another is left out and named. What may be kept
/// there only, a response or an item that is referred to, stays as it is for AI Core to refuse.
pub fn body_for<'a>(body: &'a [u8], mark: &str) -> (Cow<'a, [u8]>, Vec<Cow<'static, str>>) {
    if !may_have_marks(body) {
        return (body.into(), vec![]);
    }
    let mut dropped = vec![];
    let previous = field(body, PREVIOUS).and_then(string).and_then(split);
    let previous = previous.filter(|(of, _)| *of == mark).map(|(_, own)| own);
    let input = field(body, "input").and_then(items).and_then(|items| {
        let count = items.len();
        let kept: Vec<_> =
            items.into_iter().filter_map(|item| item_for(item, mark, &mut dropped)).collect();
        let is_edited = kept.len() < count || kept.iter().any(|i| matches!(i, Cow::Owned(_)));
        is_edited.then(|| listed(&kept))
    });
    if previous.is_none() && input.is_none() {
        return (body.into(), dropped);
    }
    let Ok(mut edited) = Envelope::parse(body.to_vec()) else { return (body.into(), vec![]) };
    if let Some((word, rest)) = previous {
        edited.set(PREVIOUS, format!("\"{word}{rest}\""));
    }
    if let Some(input) = input {
        edited.set_raw("input", input);
    }
    (edited.into_bytes().into(), dropped)
}

/// The id of what an item refers to.
pub(super) fn referred(item: &[u8]) -> Option<&str> {
    Some(Item::of(item)).filter(Item::is_reference)?.id
}

fn may_have_marks(body: &[u8]) -> bool {
    KEYS.iter().any(|key| key.find(body).is_some())
}

/// Without one of these as a key, a body has no mark.
static KEYS: LazyLock<[Finder<'static>; 3]> = LazyLock::new(|| {
    [&br#""id""#[..], br#""encrypted_content""#, br#""previous_response_id""#].map(Finder::new)
});

/// What becomes of an item: as it is, another one, or none.
fn item_for<'a>(
    raw: &'a [u8],
    mark: &str,
    dropped: &mut Vec<Cow<'static, str>>,
) -> Option<Cow<'a, [u8]>> {
    let item = Item::of(raw);
    let id = item.id.and_then(split);
    let content = item.content.and_then(split_content);
    if item.is_sealed() && item.mark().is_some_and(|of| of != mark) {
        let name = match item.content {
            Some(_) => CONTENT,
            None => "input[] of type reasoning",
        };
        if !dropped.contains(&Cow::Borrowed(name)) {
            dropped.push(name.into());
        }
        return None;
    }
    let stays = Some(Cow::Borrowed(raw));
    let is_foreign_reference = item.is_reference() && id.is_some_and(|(of, _)| of != mark);
    if (id.is_none() && content.is_none()) || is_foreign_reference {
        return stays;
    }
    let Ok(mut edited) = Envelope::parse(raw.to_vec()) else { return stays };
    match id {
        // A call of another tool is one of a function there.
        Some((of, ("ctc_" | "tsc_", rest))) if of == mark => {
            edited.set("id", format!("\"fc_{rest}\""))
        }
        Some((of, (word, rest))) if of == mark => edited.set("id", format!("\"{word}{rest}\"")),
        Some(_) => {
            edited.remove("id");
        }
        None => {}
    }
    if let Some((_, rest)) = content.filter(|(of, _)| *of == mark) {
        edited.set("encrypted_content", format!("\"{rest}\""));
    }
    Some(Cow::Owned(edited.into_bytes()))
}

/// What of an item may have a mark. Strings are without their quotes, as JSON writes them.
#[derive(Default)]
struct Item<'a> {
    kind: Option<&'a str>,
    has_role: bool,
    id: Option<&'a str>,
    content: Option<&'a str>,
}

impl<'a> Item<'a> {
    fn of(raw: &'a [u8]) -> Item<'a> {
        let mut item = Item::default();
        each_field(raw, |key, value| match key {
            b"type" => item.kind = string(value),
            b"role" => item.has_role = true,
            b"id" => item.id = string(value),
            b"encrypted_content" => item.content = string(value),
            _ => {}
        });
        item
    }

    /// Whose it is: only that deployment can read the content, and knows the id.
    fn mark(&self) -> Option<&'a str> {
        let content = self.content.and_then(split_content).map(|(mark, _)| mark);
        content.or_else(|| self.id.and_then(split).map(|(mark, _)| mark))
    }

    fn is_reference(&self) -> bool {
        self.kind.map_or(!self.has_role, |kind| kind == "item_reference")
    }

    /// What it says, only its owner can read.
    fn is_sealed(&self) -> bool {
        self.content.is_some() || self.kind == Some("reasoning")
    }
}

/// The mark, and what stands before it and behind it.
fn split(id: &str) -> Option<(&str, (&str, &str))> {
    let word = word_length(id.as_bytes());
    let after = id.get(word..)?.strip_prefix('_')?;
    let (mark, rest) = after.split_at_checked(MARK_CHARS)?;
    let rest = rest.strip_prefix('_').filter(|_| is_mark(mark))?;
    let before = if word > 0 { &id[..=word] } else { "" };
    Some((mark, (before, rest)))
}

fn split_content(content: &str) -> Option<(&str, &str)> {
    let (mark, rest) = content.split_at_checked(MARK_CHARS)?;
    Some((mark, rest.strip_prefix('.').filter(|_| is_mark(mark))?))
}

fn is_mark(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The letters before the first `_`; 0 where there are others, or no `_`.
fn word_length(id: &[u8]) -> usize {
    let length = id.iter().take_while(|b| b.is_ascii_alphabetic()).count();
    if id.get(length) == Some(&b'_') { length } else { 0 }
}

/// What is between the quotes of a JSON string.
fn string(raw: &[u8]) -> Option<&str> {
    std::str::from_utf8(raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "0a1b2c3d";
    const OTHERS: &str = "ffffffff";

    #[test]
    fn ids_with_a_mark_and_without() {
        for (own, id) in [
            ("resp_abc", "resp_0a1b2c3d_abc"),
            ("rs_a_b", "rs_0a1b2c3d_a_b"),
            ("msg_", "msg_0a1b2c3d_"),
            ("item_abc", "item_0a1b2c3d_abc"),
            ("abc", "_0a1b2c3d_abc"),
            ("_abc", "_0a1b2c3d__abc"),
            ("1_abc", "_0a1b2c3d_1_abc"),
            ("é_abc", "_0a1b2c3d_é_abc"),
            ("resp_ffffffff_abc", "resp_0a1b2c3d_ffffffff_abc"),
        ] {
            assert_eq!(marked(own, OURS), id);
            assert_eq!(unmarked(id), Some((OURS, own.to_owned())), "{id}");
        }
        for id in [
            "",
            "_",
            "resp_abc",
            "resp_0a1b2c3",
            "resp_0a1b2c3d",
            "resp_0a1b2c3dx_a",
            "resp_0A1B2C3D_abc",
            "resp0a1b2c3d_abc",
            "resp__0a1b2c3d_abc",
            "0a1b2c3d.abc",
            "resp_0a1b2cé_abc",
        ] {
            assert_eq!(unmarked(id), None, "{id}");
        }
        assert_eq!(split_content(&marked_content("gAA", OURS)), Some((OURS, "gAA")));
        for content in ["", "gAAAAAAAA", "0a1b2c3d", "0a1b2c3dgAA", "proxy1.abc", "0A1B2C3D.a"] {
            assert!(!is_marked_content(content), "{content}");
        }
    }

    #[test]
    fn whose_a_request_is() {
        let bound = |mark: &str| Some((mark.to_owned(), true));
        let wished = |mark: &str| Some((mark.to_owned(), false));
        for (body, expected) in [
            (r#"{"input":"resp_0a1b2c3d_a"}"#, None),
            (r#"{"input":[{"role":"user","content":"msg_0a1b2c3d_a"}]}"#, None),
            (r#"{"previous_response_id":null,"input":[{"id":"msg_a"}]}"#, None),
            (
                r#"{"previous_response_id":"resp_0a1b2c3d_a","input":[{"type":"reasoning","id":"rs_ffffffff_a"}]}"#,
                bound(OURS),
            ),
            (r#"{"input":[{"type":"item_reference","id":"msg_0a1b2c3d_a"}]}"#, bound(OURS)),
            (r#"{"input":[{"id":"msg_0a1b2c3d_a"}]}"#, bound(OURS)),
            (r#"{"input":[{"id":"msg_0a1b2c3d_a","role":"assistant"}]}"#, wished(OURS)),
            (
                r#"{"input":[{"type":"reasoning","encrypted_content":"0a1b2c3d.a"},{"role":"user"}]}"#,
                wished(OURS),
            ),
            (
                r#"{"input":[{"type":"function_call","id":"fc_ffffffff_a"},{"type":"function_call","id":"fc_0a1b2c3d_a"}]}"#,
                wished(OURS),
            ),
        ] {
            let found = owner(body.as_bytes());
            assert_eq!(
                found.map(|owner| (owner.mark, owner.bound_by.is_some())),
                expected,
                "{body}"
            );
        }
    }

    #[test]
    fn a_deployment_gets_what_is_its_own() {
        let table: &[(&str, &str, &[&str])] = &[
            (
                r#"{"n": 1.10, "previous_response_id":"resp_0a1b2c3d_a","input":"a"}"#,
                r#"{"n":1.10,"previous_response_id":"resp_a","input":"a"}"#,
                &[],
            ),
            (
                r#"{"previous_response_id":"resp_ffffffff_a","input": [{"id":"msg_ffffffff_a"}] }"#,
                r#"{"previous_response_id":"resp_ffffffff_a","input": [{"id":"msg_ffffffff_a"}] }"#,
                &[],
            ),
            (
                r#"{"input":[{"type":"item_reference","id":"ctc_0a1b2c3d_a"}, {"role": "user"}]}"#,
                r#"{"input":[{"type":"item_reference","id":"fc_a"},{"role": "user"}]}"#,
                &[],
            ),
            (
                r#"{"input":[{"type":"reasoning","id":"rs_0a1b2c3d_a","encrypted_content":"0a1b2c3d.gAA","summary":[ ]},{"type":"message","role":"assistant","id":"msg_0a1b2c3d_a"}]}"#,
                r#"{"input":[{"type":"reasoning","id":"rs_a","encrypted_content":"gAA","summary":[ ]},{"type":"message","role":"assistant","id":"msg_a"}]}"#,
                &[],
            ),
            (
                r#"{"input":[{"type":"reasoning","id":"rs_ffffffff_a","encrypted_content":"ffffffff.gAA"},{"type":"compaction","encrypted_content":"ffffffff.gAA"},{"type":"function_call","id":"fc_ffffffff_a","name":"f"}]}"#,
                r#"{"input":[{"type":"function_call","name":"f"}]}"#,
                &["input[].encrypted_content"],
            ),
            (
                r#"{"input":[{"type":"reasoning","id":"rs_ffffffff_a"},{"role":"user"}]}"#,
                r#"{"input":[{"role":"user"}]}"#,
                &["input[] of type reasoning"],
            ),
            // Whoever made the content can read it.
            (
                r#"{"input":[{"type":"reasoning","id":"rs_ffffffff_a","encrypted_content":"0a1b2c3d.gAA"}]}"#,
                r#"{"input":[{"type":"reasoning","encrypted_content":"gAA"}]}"#,
                &[],
            ),
        ];
        for (body, expected, dropped) in table {
            let (found, named) = body_for(body.as_bytes(), OURS);
            assert_eq!(String::from_utf8_lossy(&found), *expected);
            assert_eq!(named, *dropped, "{body}");
        }
        assert_eq!(owner(br#"{"input":[]}"#), None);
        let foreign = br#"{"input":[{"type":"function_call","id":"fc_ffffffff_a"}]}"#;
        let for_them = body_for(foreign, OTHERS).0;
        assert_eq!(&*for_them, br#"{"input":[{"type":"function_call","id":"fc_a"}]}"#);
    }

    #[test]
    fn what_has_no_mark_is_not_copied() {
        for body in [
            r#"{"input":"a"}"#,
            r#"{"input":[ {"id":"msg_1","role":"user","content":"\"id\":\"msg_0a1b2c3d_a\""}]}"#,
            r#"{"input":[{"type":"reasoning","encrypted_content":"gAAA"}]}"#,
            r#"{"previous_response_id":"resp_1"}"#,
            r#"not JSON, "id""#,
        ] {
            assert!(
                matches!(body_for(body.as_bytes(), OURS), (Cow::Borrowed(_), d) if d.is_empty())
            );
        }
    }
}
