//! A text of a conversation, as words or as the JSON string that a client wrote.
//!
//! Most of a request is text that nobody on the way looks into. It stays the JSON it came as, and goes out as that: to read
//! the escapes of 200 KB and to write them again costs more than all else that is done for a request.

use std::fmt;
use std::ops::Deref;
use std::sync::OnceLock;

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::value::RawValue;

/// Derefs to the words; those in JSON are then read, once.
#[derive(Clone)]
pub struct Text(Form);

#[derive(Clone)]
enum Form {
    Words(String),
    /// A string that can be read.
    Json {
        json: Box<RawValue>,
        words: OnceLock<String>,
    },
}

/// How a text is written into JSON.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(untagged)]
pub enum Written<'a> {
    Words(&'a str),
    Json(&'a RawValue),
}

impl Text {
    /// The text of a JSON string. It is read now only if that could fail.
    pub fn of_json(json: &RawValue) -> serde_json::Result<Text> {
        let text = json.get();
        // Of strings serde_json scans all but whether surrogates are paired.
        if !text.starts_with('"') || text.contains("\\ud") || text.contains("\\uD") {
            return serde_json::from_str(text).map(Form::Words).map(Text);
        }
        Ok(Text(Form::Json { json: json.to_owned(), words: OnceLock::new() }))
    }

    /// Its first character that is no white space, for which words in JSON are seldom read.
    pub fn first_char(&self) -> Option<char> {
        let first = |text: &str| text.trim_start().chars().next();
        let in_json = match &self.0 {
            Form::Words(_) => None,
            Form::Json { json, .. } => first(&json.get()[1..]),
        };
        // The quote is the string's end; what is escaped may be white space.
        in_json.filter(|c| !matches!(c, '"' | '\\')).or_else(|| first(self))
    }

    pub fn is_blank(&self) -> bool {
        self.first_char().is_none()
    }

    /// About how many bytes it holds.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Form::Words(words) => words.len(),
            Form::Json { json, .. } => json.get().len(),
        }
    }

    pub fn written(&self) -> Written<'_> {
        match &self.0 {
            Form::Words(words) => Written::Words(words),
            Form::Json { json, .. } => Written::Json(json),
        }
    }

    pub fn push_str(&mut self, more: &str) {
        match &mut self.0 {
            Form::Words(words) => words.push_str(more),
            Form::Json { .. } => *self = Text::from(format!("{self}{more}")),
        }
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            Form::Words(words) => words,
            Form::Json { json, words } => {
                words.get_or_init(|| serde_json::from_str(json.get()).unwrap_or_default())
            }
        }
    }
}

impl<T: Into<String>> From<T> for Text {
    fn from(words: T) -> Text {
        Text(Form::Words(words.into()))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?;
        Text::of_json(json).map_err(de::Error::custom)
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Text) -> bool {
        **self == **other
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_json(json: &str) -> serde_json::Result<Text> {
        Text::of_json(serde_json::from_str(json)?)
    }

    #[test]
    fn words_in_json() {
        let table = [
            (r#""""#, "", None),
            (r#"" ""#, " ", None),
            (r#""\n\u0020\t""#, "\n \t", None),
            ("\"\u{a0}\"", "\u{a0}", None),
            (r#"" a\"""#, " a\"", Some('a')),
            (r#""\n{""#, "\n{", Some('{')),
            (r#"" \"""#, " \"", Some('"')),
            (r#""\\""#, "\\", Some('\\')),
            (r#""\/\u00fcü""#, "/üü", Some('/')),
            (r#""\ud83d\ude00""#, "😀", Some('😀')),
        ];
        for (json, words, first) in table {
            let text = of_json(json).unwrap();
            assert_eq!((text.first_char(), text.is_blank()), (first, first.is_none()), "{json}");
            assert_eq!((&*text, &text), (words, &Text::from(words)), "{json}");
            let written = serde_json::to_string(&text.written()).unwrap();
            assert_eq!(serde_json::from_str::<String>(&written).unwrap(), words, "{json}");
        }
    }

    #[test]
    fn what_nobody_asks_for_is_not_read() {
        let json = r#""  caf\u00e9 \/""#;
        let text = of_json(json).unwrap();
        assert!(!text.is_blank());
        assert_eq!(serde_json::to_string(&text.written()).unwrap(), json);
        assert!(matches!(&text.0, Form::Json { words, .. } if words.get().is_none()));
    }

    #[test]
    fn what_is_no_text_is_told_at_once() {
        for json in ["5", "[]", "null", r#""\ud83d""#, r#""\uDE00x""#, "\"\n\"", r#""\x""#] {
            assert!(of_json(json).is_err(), "{json}");
        }
    }

    #[test]
    fn words_can_follow() {
        let mut text = of_json(r#""a\n""#).unwrap();
        text.push_str("b");
        assert_eq!(&*text, "a\nb");
    }
}
