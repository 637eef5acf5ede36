//! Tools that take a text and not JSON: to a model they are functions with this text as their one argument.

use serde_json::Value;

use crate::envelope::quoted;

/// The argument's name.
pub const INPUT: &str = "input";

/// The arguments that hold this text.
pub fn arguments(text: &str) -> String {
    format!("{{{}:{}}}", quoted(INPUT), quoted(text))
}

/// The text in such arguments, cut off or not. Models also write the text alone, or call it otherwise; what can be read in
/// none of these ways is taken as it is.
pub fn text(arguments: &str) -> String {
    let mut freeform = Freeform::default();
    let mut text = String::new();
    freeform.push(arguments, &mut text);
    if freeform.has_text {
        return text;
    }
    match serde_json::from_str(arguments) {
        Ok(Value::String(text)) => text,
        // A call without any arguments.
        Ok(Value::Object(entries)) if entries.is_empty() => String::new(),
        Ok(Value::Object(entries)) => {
            let mut texts = entries.values().filter_map(Value::as_str);
            match (texts.next(), texts.next()) {
                (Some(text), None) => text.to_owned(),
                _ => arguments.to_owned(),
            }
        }
        _ => arguments.to_owned(),
    }
}

/// The text in such arguments, as far as it has come. What is said before [`text`] knows all of them is only what is sure:
/// the string at `input`. Nothing where there is none.
#[derive(Debug, Default)]
pub struct Freeform {
    at: At,
    key: String,
    escape: Escape,
    /// Where the first half of a surrogate pair was read: its value.
    high: Option<u32>,
    has_text: bool,
}

/// Where in the arguments the next character is.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum At {
    #[default]
    Start,
    /// Before a key, or the object's end.
    Entry,
    Key,
    Colon,
    Value,
    Text,
    /// In the value of another key.
    Other(Other),
    /// Behind such a value.
    Comma,
    /// Nothing of what follows is read.
    Over,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Other {
    depth: usize,
    in_string: bool,
    is_escaped: bool,
}

/// Where in an escape the next character of a string is.
#[derive(Debug, Default)]
enum Escape {
    #[default]
    Outside,
    Begun,
    /// After `\u` and these digits.
    Hex(String),
}

impl Freeform {
    /// More of the arguments' JSON; what it holds of the text is appended to `text`.
    pub fn push(&mut self, json: &str, text: &mut String) {
        let mut rest = json;
        while let Some(next) = rest.chars().next() {
            rest = match self.at {
                At::Over => return,
                At::Text => self.string(rest, text, At::Over),
                At::Key => {
                    let mut key = std::mem::take(&mut self.key);
                    let rest = self.string(rest, &mut key, At::Colon);
                    self.key = key;
                    rest
                }
                _ => {
                    self.step(next);
                    &rest[next.len_utf8()..]
                }
            };
        }
    }

    /// A character outside of the strings that are read.
    fn step(&mut self, next: char) {
        let is_space = matches!(next, ' ' | '\n' | '\r' | '\t');
        self.at = match (self.at, next) {
            (At::Other(other), _) => other.after(next),
            (at, _) if is_space => at,
            (At::Start, '{') | (At::Comma, ',') => At::Entry,
            (At::Entry, '"') => {
                self.key.clear();
                At::Key
            }
            (At::Colon, ':') => At::Value,
            (At::Value, '"') if self.key == INPUT => {
                self.has_text = true;
                At::Text
            }
            (At::Value, _) => Other::default().after(next),
            _ => At::Over,
        };
    }

    /// Reads a string up to its end, behind which is `then`, or as far as it has come; what is left.
    fn string<'a>(&mut self, json: &'a str, out: &mut String, then: At) -> &'a str {
        let mut rest = json;
        while let Some(next) = rest.chars().next() {
            let after = &rest[next.len_utf8()..];
            match &mut self.escape {
                Escape::Outside => {
                    let end = rest.find(['"', '\\']).unwrap_or(rest.len());
                    if end > 0 {
                        self.no_low(out);
                        out.push_str(&rest[..end]);
                        rest = &rest[end..];
                    } else if next == '"' {
                        self.no_low(out);
                        self.at = then;
                        return after;
                    } else {
                        self.escape = Escape::Begun;
                        rest = after;
                    }
                }
                Escape::Begun => {
                    rest = after;
                    self.escaped(next, out);
                }
                Escape::Hex(digits) if next.is_ascii_hexdigit() => {
                    rest = after;
                    digits.push(next);
                    if let (4, Ok(unit)) = (digits.len(), u32::from_str_radix(digits, 16)) {
                        self.escape = Escape::Outside;
                        self.unit(unit, out);
                    }
                }
                Escape::Hex(digits) => {
                    let written = format!("\\u{digits}");
                    self.escape = Escape::Outside;
                    self.no_low(out);
                    out.push_str(&written);
                }
            }
        }
        rest
    }

    fn escaped(&mut self, next: char, out: &mut String) {
        if next == 'u' {
            self.escape = Escape::Hex(String::new());
            return;
        }
        self.escape = Escape::Outside;
        self.no_low(out);
        match next {
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            '"' | '\\' | '/' => out.push(next),
            // Models forget to escape backslashes.
            _ => out.extend(['\\', next]),
        }
    }

    /// A unit of UTF-16.
    fn unit(&mut self, unit: u32, out: &mut String) {
        if let (Some(high), 0xdc00..0xe000) = (self.high, unit) {
            self.high = None;
            let code = 0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00);
            return out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        self.no_low(out);
        match unit {
            0xd800..0xdc00 => self.high = Some(unit),
            _ => out.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)),
        }
    }

    /// What follows is no second half of a surrogate pair.
    fn no_low(&mut self, out: &mut String) {
        if self.high.take().is_some() {
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

impl Other {
    fn after(mut self, next: char) -> At {
        if self.in_string {
            match next {
                _ if self.is_escaped => self.is_escaped = false,
                '\\' => self.is_escaped = true,
                '"' => self.in_string = false,
                _ => {}
            }
            let is_over = !self.in_string && self.depth == 0;
            return if is_over { At::Comma } else { At::Other(self) };
        }
        match (next, self.depth) {
            ('"', _) => self.in_string = true,
            ('{' | '[', _) => self.depth += 1,
            ('}' | ']', 0) => return At::Over,
            ('}' | ']', 1) => return At::Comma,
            ('}' | ']', _) => self.depth -= 1,
            (',', 0) => return At::Entry,
            _ => {}
        }
        At::Other(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of arguments that come in these pieces.
    fn pushed<'a>(pieces: impl IntoIterator<Item = &'a str>) -> String {
        let (mut freeform, mut text) = (Freeform::default(), String::new());
        pieces.into_iter().for_each(|piece| freeform.push(piece, &mut text));
        text
    }

    #[test]
    fn texts_of_arguments() {
        // Arguments, what is sure of them, and what they are taken for.
        let table = [
            (r#"{"input":"a\nb"}"#, "a\nb", None),
            (r#" { "input" : "a" , "b": 1 } "#, "a", None),
            (r#"{"b":{"input":"no","c":["}\"{"]},"input":"yes"}"#, "yes", None),
            (r#"{"b":"\\","c":-1.5e3,"d":null,"e":[[],{}],"input":"yes"}"#, "yes", None),
            (r#"{"b":"input","input":""}"#, "", None),
            (r#"{"input":{"input":"no"},"\u0069nput":"yes"}"#, "yes", None),
            (r#"{"input":"first","input":"second"}"#, "first", None),
            (r#"{"input":"\ud83d\ude00\u00e9\/\b\f\r\t\"\\"}"#, "😀é/\u{8}\u{c}\r\t\"\\", None),
            (
                r#"{"input":"\ud83d\ud83d\ude00 \ude00\ud83dx\ud83d"}"#,
                "\u{fffd}😀 \u{fffd}\u{fffd}x\u{fffd}",
                None,
            ),
            // What is not JSON but can be told.
            (r#"{"input":"\d+\u12"}"#, "\\d+\\u12", None),
            ("{\"input\":\"a\nb\"}", "a\nb", None),
            (r#"{"input":"cut o"#, "cut o", None),
            (r#"{"input":"cut \ud83d"#, "cut ", None),
            (r#"{"input":"a"} and more"#, "a", None),
            // What says it otherwise.
            ("", "", Some("")),
            ("{}", "", Some("")),
            (r#""a\nb""#, "", Some("a\nb")),
            (r#"{"patch":"a","n":1}"#, "", Some("a")),
            (r#"{"patch":"a","b":"c"}"#, "", Some(r#"{"patch":"a","b":"c"}"#)),
            (r#"{"input":["a"]}"#, "", Some(r#"{"input":["a"]}"#)),
            (r#"["a"]"#, "", Some(r#"["a"]"#)),
            ("*** Begin Patch", "", Some("*** Begin Patch")),
            (r#"{"inp"#, "", Some(r#"{"inp"#)),
            (r#"{"input""#, "", Some(r#"{"input""#)),
            (r#"{"b" 1,"input":"a"}"#, "", Some(r#"{"b" 1,"input":"a"}"#)),
            (r#"{"b":1]"input":"a"}"#, "", Some(r#"{"b":1]"input":"a"}"#)),
        ];
        for (json, sure, taken) in table {
            assert_eq!(pushed([json]), sure, "{json}");
            assert_eq!(text(json), taken.unwrap_or(sure), "{json}");
            let pieces = json.char_indices().map(|(at, c)| &json[at..at + c.len_utf8()]);
            assert_eq!(pushed(pieces), sure, "{json} letter by letter");
        }
    }

    #[test]
    fn a_text_comes_back() {
        for words in ["", "a\n\"b\" \\ 😀 \u{0}\u{2028}", "{\"input\":\"x\"}"] {
            assert_eq!(text(&arguments(words)), words);
        }
    }
}
