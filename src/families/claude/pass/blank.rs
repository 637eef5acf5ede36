//! Texts without words, which Bedrock refuses (dossier 9.12), told without reading what has words.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// Whether this JSON is a string of nothing but white space.
pub(super) fn is_blank(json: &[u8]) -> bool {
    let Some(mut rest) = json.strip_prefix(b"\"") else { return false };
    loop {
        rest = match rest {
            [b'"', ..] => return true,
            [b' ', rest @ ..] | [b'\\', b'n' | b't' | b'r' | b'f', rest @ ..] => rest,
            [b'\\', b'u', a, b, c, d, rest @ ..] if is_space(&[*a, *b, *c, *d]) => rest,
            [0xc2, ..] => match spaces(rest, 2) {
                Some(rest) => rest,
                None => return false,
            },
            [0xe1..=0xe3, ..] => match spaces(rest, 3) {
                Some(rest) => rest,
                None => return false,
            },
            _ => return false,
        }
    }
}

/// Whether these are the digits of an escaped space.
fn is_space(hex: &[u8; 4]) -> bool {
    let code = std::str::from_utf8(hex).ok().and_then(|hex| u32::from_str_radix(hex, 16).ok());
    code.and_then(char::from_u32).is_some_and(char::is_whitespace)
}

/// What follows a space of so many bytes.
fn spaces(text: &[u8], length: usize) -> Option<&[u8]> {
    let (space, rest) = text.split_at_checked(length)?;
    std::str::from_utf8(space).ok()?.trim().is_empty().then_some(rest)
}

/// Whether a blank text or content, or an empty list of content, stands anywhere in this JSON.
pub(super) fn is_in(json: &[u8]) -> bool {
    [&*TEXT, &*CONTENT].iter().any(|key| {
        key.find_iter(json).any(|at| {
            let rest = json[at + key.needle().len()..].trim_ascii_start();
            let value = rest.strip_prefix(b":").unwrap_or_default().trim_ascii_start();
            is_blank(value) || is_empty_list(value)
        })
    })
}

pub(super) fn is_empty_list(json: &[u8]) -> bool {
    json.strip_prefix(b"[").is_some_and(|rest| rest.trim_ascii_start().starts_with(b"]"))
}

static TEXT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#""text""#));
static CONTENT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#""content""#));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_strings() {
        for (json, expected) in [
            (r#""""#, true),
            (r#"" ""#, true),
            (r#""\n\t \r\f""#, true),
            (r#""\u00a0\u2003""#, true),
            ("\"\u{a0}\u{2003}\u{3000}\"", true),
            (r#""\\n""#, false),
            (r#"" a""#, false),
            (r#""\u0041""#, false),
            ("\"ü\"", false),
            ("\"日\"", false),
            (r#""\"""#, false),
            (r#"" "#, false),
            ("[]", false),
            ("null", false),
            ("\"\u{200b}\"", false),
        ] {
            assert_eq!(is_blank(json.as_bytes()), expected, "{json}");
            if let Ok(text) = serde_json::from_str::<String>(json) {
                assert_eq!(text.trim().is_empty(), expected, "{json}");
            }
        }
    }

    #[test]
    fn blank_texts_anywhere() {
        for (json, expected) in [
            (r#"{"text":""}"#, true),
            (r#"{"text" : " \n"}"#, true),
            (r#"{"content": [ ]}"#, true),
            (r#"{"a":{"content":""}}"#, true),
            (r#"{"text":"a \"text\":\"\""}"#, false),
            (r#"{"texts":""}"#, false),
            (r#"{"type":"text","content":[1]}"#, false),
        ] {
            assert_eq!(is_in(json.as_bytes()), expected, "{json}");
        }
    }
}
