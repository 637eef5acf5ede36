//! JSON whose keys stay in the order given, and the same as Python writes it.

use std::fmt::Write as _;

use serde_json::Value;

/// An object of JSON texts.
pub(super) fn object(pairs: &[(&str, String)]) -> String {
    let pairs = pairs.iter().map(|(key, value)| format!("{}:{value}", quoted(key)));
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
}

pub(super) fn list(items: &[String]) -> String {
    format!("[{}]", items.join(","))
}

/// The keys that OpenAI writes first, then the others by name, and the metadata of a response last.
pub(super) fn ordered(value: &Value) -> String {
    let place = |key: &str| {
        let first = FIRST_KEYS.iter().position(|first| *first == key);
        first.unwrap_or(FIRST_KEYS.len() + usize::from(key == "metadata"))
    };
    match value {
        Value::Array(values) => list(&values.iter().map(ordered).collect::<Vec<_>>()),
        Value::Object(members) => {
            let mut members = members.iter().collect::<Vec<_>>();
            members.sort_by_key(|(key, _)| place(key));
            let pairs = members.iter().map(|(key, value)| (key.as_str(), ordered(value)));
            object(&pairs.collect::<Vec<_>>())
        }
        other => other.to_string(),
    }
}

pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// `repr()` of what a JSON text without spaces says.
pub(super) fn python(json: &str) -> String {
    let mut written = String::new();
    let mut rest = json;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_bytes(rest),
            _ if first.is_ascii_alphabetic() => {
                rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len())
            }
            _ => first.len_utf8(),
        };
        let (word, after) = rest.split_at(length);
        match word {
            "true" => written.push_str("True"),
            "false" => written.push_str("False"),
            "null" => written.push_str("None"),
            "," => written.push_str(", "),
            ":" => written.push_str(": "),
            _ if first == '"' => written.push_str(&repr(word)),
            _ => written.push_str(word),
        }
        rest = after;
    }
    written
}

/// How long the string is that a text begins with, its quotes included.
fn string_bytes(text: &str) -> usize {
    let mut escaped = true;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' if !escaped => return at + 1,
            b'\\' if !escaped => escaped = true,
            _ => escaped = false,
        }
    }
    text.len()
}

/// Of a JSON string: in single quotes, unless it has such and no double ones.
fn repr(json: &str) -> String {
    let text = serde_json::from_str::<String>(json).unwrap_or_default();
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut written = String::from(quote);
    for c in text.chars() {
        match c {
            '\n' => written.push_str("\\n"),
            '\r' => written.push_str("\\r"),
            '\t' => written.push_str("\\t"),
            '\\' => written.push_str("\\\\"),
            _ if c == quote => written.extend(['\\', c]),
            _ if is_printable(c) => written.push(c),
            _ => push_escaped(&mut written, c),
        }
    }
    written.push(quote);
    written
}

fn push_escaped(written: &mut String, c: char) {
    let code = u32::from(c);
    let _ = match code {
        ..=0xff => write!(written, "\\x{code:02x}"),
        0x100..=0xffff => write!(written, "\\u{code:04x}"),
        _ => write!(written, "\\U{code:08x}"),
    };
}

/// As `str.isprintable()`, but for characters that are not assigned.
fn is_printable(c: char) -> bool {
    let code = u32::from(c);
    !c.is_control() && !UNPRINTABLE.iter().any(|(first, last)| (*first..=*last).contains(&code))
}

const FIRST_KEYS: [&str; 5] = ["id", "object", "created_at", "type", "status"];
/// Formats, separators but the space, private use.
#[rustfmt::skip]
const UNPRINTABLE: &[(u32, u32)] = &[
    (0xa0, 0xa0), (0xad, 0xad), (0x600, 0x605), (0x61c, 0x61c), (0x6dd, 0x6dd), (0x70f, 0x70f),
    (0x890, 0x891), (0x8e2, 0x8e2), (0x1680, 0x1680), (0x180e, 0x180e), (0x2000, 0x200f),
    (0x2028, 0x202f), (0x205f, 0x206f), (0x3000, 0x3000), (0xd800, 0xf8ff), (0xfeff, 0xfeff),
    (0xfff9, 0xfffb), (0x110bd, 0x110bd), (0x110cd, 0x110cd), (0x13430, 0x1343f),
    (0x1bca0, 0x1bca3), (0x1d173, 0x1d17a), (0xe0001, 0xe0001), (0xe0020, 0xe007f),
    (0xf0000, 0x10ffff),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_written_in_its_order() {
        let value = serde_json::json!({
            "user": null, "metadata": {"b": 1, "a": 2.0}, "id": "x", "status": "y", "error": null,
            "created_at": 1, "object": "response", "output": [{"role": "r", "type": "t"}],
        });
        let expected = concat!(
            r#"{"id":"x","object":"response","created_at":1,"status":"y","error":null,"#,
            r#""output":[{"type":"t","role":"r"}],"user":null,"metadata":{"a":2.0,"b":1}}"#,
        );
        assert_eq!(ordered(&value), expected);
    }

    #[test]
    fn strings_are_quoted_as_python_quotes_them() {
        let rows = [
            ("plain", "'plain'"),
            ("it's", "\"it's\""),
            ("a \"b\"", "'a \"b\"'"),
            ("it's \"b\"", r#"'it\'s "b"'"#),
            ("\\ \n\r\t", r"'\\ \n\r\t'"),
            ("\u{8}\u{c}\u{1b}\u{7f}\u{a0}", r"'\x08\x0c\x1b\x7f\xa0'"),
            ("\u{200b}\u{2028}\u{feff}", r"'\u200b\u2028\ufeff'"),
            ("👩\u{200d}🚀 🏴\u{e0067}", r"'👩\u200d🚀 🏴\U000e0067'"),
            ("Grüße 🇫🇷 日本", "'Grüße 🇫🇷 日本'"),
            ("", "''"),
        ];
        for (text, expected) in rows {
            assert_eq!(python(&quoted(text)), expected);
        }
    }

    #[test]
    fn values_are_spaced_and_named_as_in_python() {
        let json = r#"{"a":[true,false,null,-1.5e3,{}],"b\"":"true, null: \\"}"#;
        let expected = r#"{'a': [True, False, None, -1.5e3, {}], 'b"': 'true, null: \\'}"#;
        assert_eq!(python(json), expected);
    }
}
