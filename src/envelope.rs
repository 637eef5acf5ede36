//! A JSON object whose values stay verbatim.
//!
//! Only the top level is looked at: each value is a range of the bytes as they came. Single keys can be set, renamed and
//! removed; every other value is sent on byte for byte, so `1.10` stays `1.10` and a 30-digit integer keeps its digits.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::Error;

/// A request body: the bytes as they came, and where each top-level value lies in them.
#[derive(Debug)]
pub struct Envelope {
    text: String,
    fields: Vec<Field>,
    edited: bool,
}

#[derive(Debug)]
struct Field {
    key: String,
    value: Value,
}

#[derive(Debug)]
enum Value {
    /// A range of the text.
    Verbatim(Range<usize>),
    /// JSON of ours.
    Set(String),
}

impl Envelope {
    /// Reads a body. 400 with the byte offset where it is not a JSON object, or has a key twice.
    pub fn parse(bytes: Vec<u8>) -> Result<Envelope, Error> {
        let text = String::from_utf8(bytes).map_err(|e| {
            let at = e.utf8_error().valid_up_to();
            Error::bad_request("body", format!("not UTF-8 at byte {at}"))
        })?;
        let fields = Self::fields(&text)?;
        Ok(Envelope { text, fields, edited: false })
    }

    fn fields(text: &str) -> Result<Vec<Field>, Error> {
        if text.trim_ascii_start().is_empty() {
            return Err(Error::bad_request("body", "empty; a JSON object is expected"));
        }
        let mut reader = serde_json::Deserializer::from_str(text);
        let Fields(pairs) = Fields::read(&mut reader)
            .and_then(|fields| reader.end().map(|()| fields))
            .map_err(|e| not_json(text, &e))?;
        let mut fields: Vec<Field> = Vec::with_capacity(pairs.len());
        for (key, raw) in pairs {
            if fields.iter().any(|f| f.key == key) {
                return Err(Error::bad_request(key, "given twice"));
            }
            let start = raw.get().as_ptr() as usize - text.as_ptr() as usize;
            let value = Value::Verbatim(start..start + raw.get().len());
            fields.push(Field { key: key.into_owned(), value });
        }
        Ok(fields)
    }

    /// The JSON text of a value.
    pub fn raw(&self, key: &str) -> Option<&str> {
        self.fields.iter().find(|f| f.key == key).map(|f| self.text_of(&f.value))
    }

    pub fn has(&self, key: &str) -> bool {
        self.raw(key).is_some()
    }

    /// A value read as `T`; `None` where the key is missing or null; 400 naming the key where it has another type.
    pub fn get<T: DeserializeOwned>(&self, key: &str, expected: &str) -> Result<Option<T>, Error> {
        match self.raw(key) {
            None | Some("null") => Ok(None),
            Some(raw) => serde_json::from_str(raw)
                .map(Some)
                .map_err(|_| Error::bad_request(key, format!("{expected} is expected"))),
        }
    }

    /// The keys, in the order in which they came.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|f| f.key.as_str())
    }

    /// Sets `key` to a JSON text, in its place or at the end.
    pub fn set(&mut self, key: &str, json: impl Into<String>) {
        self.edited = true;
        let value = Value::Set(json.into());
        match self.fields.iter_mut().find(|f| f.key == key) {
            Some(field) => field.value = value,
            None => self.fields.push(Field { key: key.to_owned(), value }),
        }
    }

    /// Takes `key` out. Whether it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        let before = self.fields.len();
        self.fields.retain(|f| f.key != key);
        let removed = self.fields.len() < before;
        self.edited |= removed;
        removed
    }

    /// Calls `key` `name` from now on, its value verbatim. Whether it was there.
    pub fn rename(&mut self, key: &str, name: &str) -> bool {
        let Some(field) = self.fields.iter_mut().find(|f| f.key == key) else { return false };
        field.key = name.to_owned();
        self.edited = true;
        true
    }

    /// The body: the very bytes that came where nothing was edited.
    pub fn to_bytes(&self) -> Cow<'_, [u8]> {
        if !self.edited {
            return Cow::Borrowed(self.text.as_bytes());
        }
        let mut out = Vec::with_capacity(self.text.len() + 64);
        out.push(b'{');
        for (i, field) in self.fields.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            out.extend_from_slice(quoted(&field.key).as_bytes());
            out.push(b':');
            out.extend_from_slice(self.text_of(&field.value).as_bytes());
        }
        out.push(b'}');
        Cow::Owned(out)
    }

    fn text_of<'a>(&'a self, value: &'a Value) -> &'a str {
        match value {
            Value::Verbatim(range) => &self.text[range.clone()],
            Value::Set(json) => json,
        }
    }
}

/// `text` as a JSON string.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    fn read<D: Deserializer<'a>>(reader: D) -> Result<Fields<'a>, D::Error> {
        struct Object;
        impl<'a> Visitor<'a> for Object {
            type Value = Fields<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Fields<'a>, A::Error> {
                let mut pairs = Vec::with_capacity(16);
                while let Some(key) = map.next_key::<Key>()? {
                    pairs.push((key.0, map.next_value()?));
                }
                Ok(Fields(pairs))
            }
        }
        reader.deserialize_map(Object)
    }
}

#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

fn not_json(text: &str, e: &serde_json::Error) -> Error {
    let at = byte_offset(text, e.line(), e.column());
    let what = e.to_string();
    // serde_json ends its sentence with " at line L column C"; the offset says it better for one-line bodies.
    let what = what.split(" at line ").next().unwrap_or(&what);
    Error::bad_request("body", format!("not valid JSON at byte {at}: {what}"))
}

/// The 0-based offset of a 1-based line and column.
fn byte_offset(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    (before + column.saturating_sub(1)).min(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Envelope, Error> {
        Envelope::parse(text.as_bytes().to_vec())
    }

    #[test]
    fn untouched_bytes_are_the_very_bytes() {
        let text = " {\"a\" : 1.10,\n\"b\":{\"x\": [1e400, 123456789012345678901234567890]} } ";
        assert_eq!(parse(text).unwrap().to_bytes(), text.as_bytes());
    }

    #[test]
    fn edits_keep_the_other_values_verbatim() {
        let mut e =
            parse(r#"{"a": 1.10, "max_tokens": 7, "c": {"k" : 1e2}, "d\"": "\u0041"}"#).unwrap();
        assert!(e.rename("max_tokens", "max_completion_tokens"));
        assert!(e.remove("a"));
        e.set("new", "true");
        assert_eq!(
            String::from_utf8_lossy(&e.to_bytes()),
            r#"{"max_completion_tokens":7,"c":{"k" : 1e2},"d\"":"\u0041","new":true}"#
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_offset() {
        let table: &[(&[u8], &str)] = &[
            (b"", "body: empty; a JSON object is expected"),
            (b"  \n", "body: empty; a JSON object is expected"),
            (
                b"[1]",
                "body: not valid JSON at byte 0: invalid type: sequence, expected a JSON object",
            ),
            (b"{\"a\":1,}", "body: not valid JSON at byte 7: trailing comma"),
            (b"{\"a\":\n tru}", "body: not valid JSON at byte 10: expected ident"),
            (b"{\"a\":1} x", "body: not valid JSON at byte 8: trailing characters"),
            (b"{\"a\":\"\xff\"}", "body: not UTF-8 at byte 6"),
            (b"{\"a\":1,\"a\":2}", "a: given twice"),
            (b"{\"a\":1", "body: not valid JSON at byte 5: EOF while parsing an object"),
        ];
        for (body, expected) in table {
            let error = Envelope::parse(body.to_vec()).unwrap_err();
            assert_eq!(error.to_string(), *expected, "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn a_value_of_another_type_is_named() {
        let e = parse(r#"{"model": 7, "stream": null}"#).unwrap();
        assert_eq!(e.get::<bool>("stream", "true or false").unwrap(), None);
        let error = e.get::<String>("model", "a string").unwrap_err();
        assert_eq!(error.to_string(), "model: a string is expected");
    }
}
