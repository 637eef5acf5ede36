//! Python's literals, as `repr()` writes them, read as JSON (dossier 5b.4, V3).
//!
//! Dictionaries with strings for keys, lists, tuples, strings in both kinds of quotes, bytes, numbers, `True`, `False` and
//! `None`. JSON has no bytes: they become base64, as AWS has them in JSON; `nan` and `inf` become `null`, and half a
//! surrogate pair U+FFFD.

use std::fmt;
use std::fmt::Write;

use crate::media;

/// As deep as `serde_json` reads.
const DEPTH_MAX: usize = 127;

/// The JSON text of one literal.
pub fn to_json(literal: &str) -> Result<String, Fault> {
    let json = String::with_capacity(literal.len() + literal.len() / 8);
    let mut reader = Reader { text: literal, at: 0, json };
    reader.value(0)?;
    match reader.next() {
        None => Ok(reader.json),
        Some(_) => Err(reader.fault("something follows the literal")),
    }
}

/// What is wrong with a text, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// In bytes.
    pub at: usize,
    pub what: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.what, self.at)
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    json: String,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<(), Fault> {
        if depth > DEPTH_MAX {
            return Err(self.fault("too deep a nesting"));
        }
        match self.next() {
            Some(b'{') => self.dictionary(depth),
            Some(b'[') => self.list(b']', depth),
            Some(b'(') => self.list(b')', depth),
            Some(quote @ (b'\'' | b'"')) => self.string(quote),
            Some(b'b' | b'B') if matches!(self.byte(1), Some(b'\'' | b'"')) => self.bytes(),
            Some(_) => self.word(),
            None => Err(self.fault("a value is missing")),
        }
    }

    fn dictionary(&mut self, depth: usize) -> Result<(), Fault> {
        self.json.push('{');
        self.items(b'}', |reader| {
            match reader.next() {
                Some(quote @ (b'\'' | b'"')) => reader.string(quote)?,
                _ => return Err(reader.fault("a key that is no string")),
            }
            if reader.next() != Some(b':') {
                return Err(reader.fault("no colon after a key"));
            }
            reader.at += 1;
            reader.json.push(':');
            reader.value(depth + 1)
        })?;
        self.json.push('}');
        Ok(())
    }

    fn list(&mut self, end: u8, depth: usize) -> Result<(), Fault> {
        self.json.push('[');
        self.items(end, |reader| reader.value(depth + 1))?;
        self.json.push(']');
        Ok(())
    }

    /// What stands between brackets. A last comma is allowed.
    fn items(
        &mut self,
        end: u8,
        mut item: impl FnMut(&mut Self) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.at += 1;
        let mut is_first = true;
        while self.next() != Some(end) {
            if !is_first {
                self.json.push(',');
            }
            is_first = false;
            item(self)?;
            match self.next() {
                Some(b',') => self.at += 1,
                Some(next) if next == end => {}
                _ => return Err(self.fault("neither a comma nor a closing bracket")),
            }
        }
        self.at += 1;
        Ok(())
    }

    fn string(&mut self, quote: u8) -> Result<(), Fault> {
        self.at += 1;
        self.json.push('"');
        loop {
            let rest = &self.text[self.at..];
            let is_odd = |b: u8| b == quote || b == b'\\' || b == b'"' || b < 0x20;
            let Some(length) = rest.bytes().position(is_odd) else {
                return Err(self.unterminated());
            };
            self.json.push_str(&rest[..length]);
            self.at += length + 1;
            match rest.as_bytes()[length] {
                end if end == quote => break,
                b'\\' => {
                    if let Some(code) = self.escaped(true)? {
                        self.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                }
                other => self.push(char::from(other)),
            }
        }
        self.json.push('"');
        Ok(())
    }

    fn bytes(&mut self) -> Result<(), Fault> {
        let quote = self.byte(1);
        self.at += 2;
        let mut bytes = vec![];
        loop {
            let Some(byte) = self.byte(0) else { return Err(self.unterminated()) };
            self.at += 1;
            match byte {
                end if Some(end) == quote => break,
                b'\\' => bytes.extend(self.escaped(false)?.map(|code| code as u8)),
                other => bytes.push(other),
            }
        }
        self.json.push('"');
        self.json.push_str(&media::base64(&bytes));
        self.json.push('"');
        Ok(())
    }

    /// What the escape means whose backslash was read; `None` for a line that goes on. As in Python, a backslash before
    /// anything unknown is a backslash.
    fn escaped(&mut self, is_text: bool) -> Result<Option<u32>, Fault> {
        let Some(kind) = self.byte(0) else { return Err(self.unterminated()) };
        let simple = |code: u8| Ok(Some(u32::from(code)));
        self.at += 1;
        match kind {
            b'\\' | b'\'' | b'"' => simple(kind),
            b'n' => simple(b'\n'),
            b'r' => simple(b'\r'),
            b't' => simple(b'\t'),
            b'a' => simple(0x07),
            b'b' => simple(0x08),
            b'v' => simple(0x0b),
            b'f' => simple(0x0c),
            b'\n' => Ok(None),
            b'0'..=b'7' => Ok(Some(self.octal(kind))),
            b'x' => self.hex(2).map(Some),
            b'u' if is_text => self.hex(4).map(Some),
            b'U' if is_text => self.hex(8).map(Some),
            _ => {
                self.at -= 1;
                simple(b'\\')
            }
        }
    }

    /// Up to three digits, of which one was read.
    fn octal(&mut self, first: u8) -> u32 {
        let mut code = u32::from(first - b'0');
        for _ in 0..2 {
            let Some(digit @ b'0'..=b'7') = self.byte(0) else { break };
            code = code * 8 + u32::from(digit - b'0');
            self.at += 1;
        }
        code
    }

    fn hex(&mut self, count: usize) -> Result<u32, Fault> {
        let digits = self.text.get(self.at..self.at + count).unwrap_or("");
        let is_hex = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let code = u32::from_str_radix(digits, 16).ok();
        match code.filter(|code| is_hex && *code <= u32::from(char::MAX)) {
            Some(code) => {
                self.at += count;
                Ok(code)
            }
            None => Err(self.fault("an escape that is none")),
        }
    }

    fn push(&mut self, c: char) {
        match c {
            '"' => self.json.push_str("\\\""),
            '\\' => self.json.push_str("\\\\"),
            '\n' => self.json.push_str("\\n"),
            c if c < ' ' => {
                let _ = write!(self.json, "\\u{:04x}", u32::from(c));
            }
            c => self.json.push(c),
        }
    }

    /// A name or a number.
    fn word(&mut self) -> Result<(), Fault> {
        let rest = &self.text[self.at..];
        let is_part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'+' | b'-' | b'.');
        let word = &rest[..rest.bytes().position(|b| !is_part(b)).unwrap_or(rest.len())];
        let json = match word {
            "True" => "true",
            "False" => "false",
            "None" | "nan" | "inf" | "-inf" => "null",
            number if is_number(number) => number,
            _ => return Err(self.fault("no literal")),
        };
        self.json.push_str(json);
        self.at += word.len();
        Ok(())
    }

    /// The next byte that is no white space; it is not read.
    fn next(&mut self) -> Option<u8> {
        while matches!(self.byte(0), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
        self.byte(0)
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    fn unterminated(&self) -> Fault {
        Fault { at: self.text.len(), what: "no end of a string" }
    }

    fn fault(&self, what: &'static str) -> Fault {
        Fault { at: self.at, what }
    }
}

/// Python writes numbers as JSON does.
fn is_number(word: &str) -> bool {
    let begins = word.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    begins && serde_json::from_str::<serde::de::IgnoredAny>(word).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_read() {
        let table = [
            ("{}", "{}"),
            ("[ ]", "[]"),
            ("()", "[]"),
            ("(1,)", "[1]"),
            (
                " {'a' : [1, -2, 3.5, 1e-05, 1e+16, 12345678901234567890123], } ",
                r#"{"a":[1,-2,3.5,1e-05,1e+16,12345678901234567890123]}"#,
            ),
            ("[True, False, None, nan, inf, -inf]", "[true,false,null,null,null,null]"),
            ("''", r#""""#),
            (r#""it's""#, r#""it's""#),
            (r#"'a "b"'"#, r#""a \"b\"""#),
            (r#"'it\'s "b"'"#, r#""it's \"b\"""#),
            (r#""\"""#, r#""\"""#),
            (r"'\\ \n\r\t\x0c\x1b'", r#""\\ \n\u000d\u0009\u000c\u001b""#),
            (r"'\a\b\f\v\0\1234'", "\"\\u0007\\u0008\\u000c\\u000b\\u0000S4\""),
            (r"'\xe9\u200b\U0001f5fc'", "\"é\u{200b}🗼\""),
            (r"'\ud83d\ude00'", "\"\u{fffd}\u{fffd}\""),
            (r"'\d\/\N'", r#""\\d\\/\\N""#),
            ("'a\\\nb'", "\"ab\""),
            ("'\t\u{7f}'", "\"\\u0009\u{7f}\""),
            ("'Grüße 🇫🇷 日本'", "\"Grüße 🇫🇷 日本\""),
            (r#"'{\'not\': True, "None": null}'"#, r#""{'not': True, \"None\": null}""#),
            (r"b'\x00\xff\'a\u'", r#""AP8nYVx1""#),
            ("B\"\"", r#""""#),
            (r#"{'a': {"b": ('c', {'d': b'e'})}}"#, r#"{"a":{"b":["c",{"d":"ZQ=="}]}}"#),
        ];
        for (literal, expected) in table {
            assert_eq!(to_json(literal).as_deref(), Ok(expected), "{literal}");
            serde_json::from_str::<serde_json::Value>(expected).unwrap();
        }
    }

    #[test]
    fn what_is_no_literal_is_a_fault() {
        let table = [
            ("", 0, "a value is missing"),
            ("   ", 3, "a value is missing"),
            ("{'a': 1", 7, "neither a comma nor a closing bracket"),
            ("{'a': 'b", 8, "no end of a string"),
            ("'a\\", 3, "no end of a string"),
            ("b'a", 3, "no end of a string"),
            ("{'a'}", 4, "no colon after a key"),
            ("{1: 2}", 1, "a key that is no string"),
            ("{'a'", 4, "no colon after a key"),
            ("[1 2]", 3, "neither a comma nor a closing bracket"),
            ("[,]", 1, "no literal"),
            ("[1}", 2, "neither a comma nor a closing bracket"),
            ("true", 0, "no literal"),
            ("01", 0, "no literal"),
            ("1_0", 0, "no literal"),
            ("datetime(1)", 0, "no literal"),
            ("é", 0, "no literal"),
            ("1 2", 2, "something follows the literal"),
            ("'a' 'b'", 4, "something follows the literal"),
            (r"'\x4'", 3, "an escape that is none"),
            (r"'\x+4'", 3, "an escape that is none"),
            (r"'\u12é'", 3, "an escape that is none"),
            (r"'\U00110000'", 3, "an escape that is none"),
        ];
        for (text, at, what) in table {
            assert_eq!(to_json(text), Err(Fault { at, what }), "{text}");
        }
        let deep = "[".repeat(1_000_000);
        assert_eq!(to_json(&deep).map_err(|f| f.what), Err("too deep a nesting"));
        let read = format!("{}{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
        let json = to_json(&read).unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
    }
}
