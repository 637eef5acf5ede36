//! A JSON object whose values stay verbatim.
//!
//! Only the top level is looked at: each value is a range of the bytes as they came. Single keys can be set, renamed and
//! removed; every other value is sent on byte for byte, so `1.10` stays `1.10` and a 30-digit integer keeps its digits.
//!
//! The scanner is own, because a prompt of 200 KB must not cost more than carrying it: it jumps from quote to quote and
//! counts brackets, about ten times as fast as a parser that checks every number. What is malformed deeper inside goes to
//! AI Core, which refuses it in its own words.

use std::borrow::Cow;
use std::ops::Range;

use serde::de::DeserializeOwned;

use crate::error::Error;

/// A request body: the bytes as they came, and where each top-level value lies in them.
#[derive(Debug, Default)]
pub struct Envelope {
    bytes: Vec<u8>,
    fields: Vec<Field>,
    edited: bool,
}

#[derive(Debug)]
struct Field {
    key: Json,
    value: Json,
}

/// A key or a value.
#[derive(Debug)]
enum Json {
    /// A range of the bytes.
    Verbatim(Range<usize>),
    /// Ours.
    Own(Vec<u8>),
}

impl Envelope {
    /// Reads a body. 400 with the byte offset where it is not a JSON object, or has a key twice.
    pub fn parse(bytes: Vec<u8>) -> Result<Envelope, Error> {
        if bytes.trim_ascii_start().is_empty() {
            return Err(Error::bad_request("body", "empty; a JSON object is expected"));
        }
        let mut scanner = Scanner { bytes: &bytes, at: 0 };
        let mut fields: Vec<Field> = Vec::with_capacity(16);
        let scanned = scanner.object(|key, value| {
            if fields.len() == KEYS_MAX {
                return Err(Fault::TooMany);
            }
            let text = key.of(&bytes);
            if fields.iter().any(|f| f.key.of(&bytes) == text) {
                return Err(Fault::Twice(read_key(text).chars().take(100).collect()));
            }
            fields.push(Field { key, value: Json::Verbatim(value) });
            Ok(())
        });
        match scanned {
            Ok(()) => Ok(Envelope { bytes, fields, edited: false }),
            Err(Fault::Twice(key)) => Err(Error::bad_request(key, "given twice")),
            Err(Fault::TooMany | Fault::Enough) => {
                Err(Error::bad_request("body", format!("more than {KEYS_MAX} keys")))
            }
            Err(Fault::At(at, what)) => {
                Err(Error::bad_request("body", format!("not valid JSON at byte {at}: {what}")))
            }
        }
    }

    /// The JSON of a value.
    pub fn raw(&self, key: &str) -> Option<&[u8]> {
        Some(self.fields[self.find(key)?].value.of(&self.bytes))
    }

    pub fn has(&self, key: &str) -> bool {
        self.raw(key).is_some()
    }

    /// A value read as `T`; `None` where the key is missing or null; 400 naming the key where it has another type.
    pub fn get<T: DeserializeOwned>(&self, key: &str, expected: &str) -> Result<Option<T>, Error> {
        match self.raw(key) {
            None | Some(b"null") => Ok(None),
            Some(raw) => serde_json::from_slice(raw)
                .map(Some)
                .map_err(|_| Error::bad_request(key, format!("{expected} is expected"))),
        }
    }

    /// The keys, in the order in which they came.
    pub fn keys(&self) -> impl Iterator<Item = String> {
        self.fields.iter().map(|f| read_key(f.key.of(&self.bytes)))
    }

    /// The first keys that have a value and are none of `known`, as they may stand in a header.
    pub fn names_beyond(&self, known: &[&str]) -> Vec<String> {
        let named = self.keys().filter(|key| !known.contains(&key.as_str()));
        let given = named.filter(|key| self.raw(key).is_some_and(|value| value != b"null"));
        given.map(|key| header_safe(&key)).take(NAMES_MAX).collect()
    }

    /// Sets `key` to a JSON text, in its place or at the end.
    pub fn set(&mut self, key: &str, json: impl Into<String>) {
        self.set_raw(key, json.into());
    }

    /// As [`set`](Envelope::set); a client's bytes need not be UTF-8.
    pub fn set_raw(&mut self, key: &str, json: impl Into<Vec<u8>>) {
        self.edited = true;
        let value = Json::Own(json.into());
        match self.find(key) {
            Some(at) => self.fields[at].value = value,
            None => self.fields.push(Field { key: own(key), value }),
        }
    }

    /// Takes `key` out. Whether it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        let found = self.find(key).map(|at| self.fields.remove(at));
        self.edited |= found.is_some();
        found.is_some()
    }

    /// Calls `key` `name` from now on, its value verbatim. Whether it was there.
    pub fn rename(&mut self, key: &str, name: &str) -> bool {
        let Some(at) = self.find(key) else { return false };
        self.fields[at].key = own(name);
        self.edited = true;
        true
    }

    /// The objects of the list at `key`; `None` where it is no list, or not one of objects.
    pub fn list(&self, key: &str) -> Option<Vec<Envelope>> {
        let items = items(self.raw(key)?)?;
        items.into_iter().map(|item| Envelope::parse(item.into()).ok()).collect()
    }

    pub fn set_list(&mut self, key: &str, items: &[Envelope]) {
        let items: Vec<_> = items.iter().map(Envelope::to_bytes).collect();
        self.set_raw(key, listed(&items));
    }

    /// Takes out what is not to stay, told by key and value.
    pub fn retain(&mut self, mut stays: impl FnMut(&str, &[u8]) -> bool) {
        let bytes = &self.bytes;
        let count = self.fields.len();
        self.fields.retain(|f| stays(&read_key(f.key.of(bytes)), f.value.of(bytes)));
        self.edited |= self.fields.len() < count;
    }

    /// Edits each object of the [`list`](Envelope::list) at `key`. What is not edited stays verbatim. Whether anything was.
    pub fn edit_each(&mut self, key: &str, edit: impl FnMut(&mut Envelope)) -> bool {
        let Some(mut items) = self.list(key) else { return false };
        items.iter_mut().for_each(edit);
        let edited = items.iter().any(|item| item.edited);
        if edited {
            self.set_list(key, &items);
        }
        edited
    }

    /// Edits the object at `key`, if it is one. Whether anything was edited.
    pub fn edit_in(&mut self, key: &str, edit: impl FnOnce(&mut Envelope)) -> bool {
        let inner = self.raw(key).and_then(|raw| Envelope::parse(raw.to_vec()).ok());
        let Some(mut inner) = inner else { return false };
        edit(&mut inner);
        let edited = inner.edited;
        if edited {
            self.set_raw(key, inner.into_bytes());
        }
        edited
    }

    /// Whether it is other than what was parsed.
    pub fn is_edited(&self) -> bool {
        self.edited
    }

    fn find(&self, key: &str) -> Option<usize> {
        let is_plain = key.bytes().all(|b| b >= b' ' && b != b'"' && b != b'\\');
        let json: Cow<'_, str> = if is_plain { key.into() } else { quoted(key).into() };
        self.fields.iter().position(|f| {
            let written = f.key.of(&self.bytes);
            let written = if is_plain { &written[1..written.len() - 1] } else { written };
            written == json.as_bytes()
        })
    }

    /// The body: the very bytes that came where nothing was edited.
    pub fn to_bytes(&self) -> Cow<'_, [u8]> {
        if !self.edited {
            return Cow::Borrowed(&self.bytes);
        }
        let mut out = Vec::with_capacity(self.bytes.len() + 64);
        out.push(b'{');
        for (i, field) in self.fields.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            out.extend_from_slice(field.key.of(&self.bytes));
            out.push(b':');
            out.extend_from_slice(field.value.of(&self.bytes));
        }
        out.push(b'}');
        Cow::Owned(out)
    }

    pub fn into_bytes(self) -> Vec<u8> {
        if self.edited { self.to_bytes().into_owned() } else { self.bytes }
    }
}

impl Json {
    fn of<'a>(&'a self, bytes: &'a [u8]) -> &'a [u8] {
        match self {
            Json::Verbatim(range) => &bytes[range.clone()],
            Json::Own(json) => json,
        }
    }
}

/// The key behind its JSON.
fn read_key(json: &[u8]) -> String {
    serde_json::from_slice(json).unwrap_or_default()
}

fn own(key: &str) -> Json {
    Json::Own(quoted(key).into_bytes())
}

/// The items of a JSON list, verbatim; `None` where it is no list.
pub fn items(list: &[u8]) -> Option<Vec<&[u8]>> {
    let mut items = vec![];
    let mut found = |range: Range<usize>| {
        items.push(&list[range]);
        Ok(())
    };
    Scanner { bytes: list, at: 0 }.list(&mut found).ok()?;
    Some(items)
}

/// The first item of a JSON list, verbatim; what follows it is not looked at.
pub fn first_item(list: &[u8]) -> Option<&[u8]> {
    let mut first = None;
    let mut found = |range: Range<usize>| {
        first = Some(&list[range]);
        Err(Fault::Enough)
    };
    let _ = Scanner { bytes: list, at: 0 }.list(&mut found);
    first
}

/// The value at a plain key of a JSON object, verbatim; what follows it is not looked at.
pub fn field<'a>(object: &'a [u8], key: &str) -> Option<&'a [u8]> {
    let mut value = None;
    let found = |name: Json, range: Range<usize>| {
        let name = name.of(object);
        if &name[1..name.len() - 1] == key.as_bytes() {
            value = Some(&object[range]);
            return Err(Fault::Enough);
        }
        Ok(())
    };
    let _ = Scanner { bytes: object, at: 0 }.object(found);
    value
}

/// Each key of a JSON object, without its quotes, and its value, both verbatim, as far as the object can be read.
pub fn each_field<'a>(object: &'a [u8], mut found: impl FnMut(&[u8], &'a [u8])) {
    let each = |key: Json, value: Range<usize>| {
        let key = key.of(object);
        found(&key[1..key.len() - 1], &object[value]);
        Ok(())
    };
    let _ = Scanner { bytes: object, at: 0 }.object(each);
}

/// A JSON list of these.
pub fn listed<T: AsRef<[u8]>>(items: &[T]) -> Vec<u8> {
    let length: usize = items.iter().map(|item| item.as_ref().len() + 1).sum();
    let mut list = Vec::with_capacity(length + 2);
    list.push(b'[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            list.push(b',');
        }
        list.extend_from_slice(item.as_ref());
    }
    list.push(b']');
    list
}

/// `text` as a JSON string.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A client's word as it may stand in a list in a header.
pub fn header_safe(word: &str) -> String {
    word.chars().filter(|c| c.is_ascii_graphic() && *c != ',').take(64).collect()
}

/// Why a body is no JSON object.
enum Fault {
    /// At this byte, this is wrong.
    At(usize, &'static str),
    /// This key is there twice.
    Twice(String),
    /// More than [`KEYS_MAX`] keys.
    TooMany,
    /// What was looked for is found: no more has to be read.
    Enough,
}

/// Finds the top-level keys and values of an object, or the items of a list.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The most keys of a body. No API has a tenth of it.
const KEYS_MAX: usize = 256;
/// The most keys that are named in a header.
const NAMES_MAX: usize = 20;
/// The deepest nesting; as deep as serde_json reads.
const DEPTH_MAX: u32 = 127;

impl Scanner<'_> {
    fn object(
        &mut self,
        mut found: impl FnMut(Json, Range<usize>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.expect(b'{', "a JSON object is expected")?;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return self.end();
        }
        loop {
            if self.peek() != Some(b'"') {
                return self.fault("a key in double quotes is expected");
            }
            let key = self.key()?;
            self.expect(b':', "`:` is expected after a key")?;
            self.skip_space();
            let start = self.at;
            self.value()?;
            found(key, start..self.at)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return self.end();
                }
                _ => return self.fault("`,` or `}` is expected after a value"),
            }
            self.skip_space();
        }
    }

    fn list(
        &mut self,
        found: &mut impl FnMut(Range<usize>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.expect(b'[', "a list is expected")?;
        if self.peek() == Some(b']') {
            self.at += 1;
            return self.end();
        }
        loop {
            let start = self.at;
            self.value()?;
            found(start..self.at)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return self.end();
                }
                _ => return self.fault("`,` or `]` is expected after a value"),
            }
            self.skip_space();
        }
    }

    /// A key, verbatim where it is written in the only way there is, so that keys that are equal are written alike.
    fn key(&mut self) -> Result<Json, Fault> {
        let start = self.at;
        self.string()?;
        let json = &self.bytes[start..self.at];
        if json.iter().all(|b| matches!(b, b' '..=b'~') && *b != b'\\') {
            return Ok(Json::Verbatim(start..self.at));
        }
        let key: String = serde_json::from_slice(json)
            .map_err(|_| Fault::At(start, "a key that is no valid string"))?;
        Ok(own(&key))
    }

    fn end(&mut self) -> Result<(), Fault> {
        match self.peek() {
            None => Ok(()),
            Some(_) => self.fault("more after the object's end"),
        }
    }

    fn value(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'{' | b'[') => self.nested(),
            _ => self.scalar(),
        }
    }

    /// A number, `true`, `false` or `null`.
    fn scalar(&mut self) -> Result<(), Fault> {
        let rest = &self.bytes[self.at..];
        let ends = |b: &u8| matches!(b, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        if serde_json::from_slice::<&serde_json::value::RawValue>(&rest[..length]).is_err() {
            return self.fault("a value is expected");
        }
        self.at += length;
        Ok(())
    }

    /// An object or a list: to the bracket that closes it.
    fn nested(&mut self) -> Result<(), Fault> {
        let start = self.at;
        let mut depth = 0;
        // Of each open bracket, the innermost in the lowest bit, whether it is a brace.
        let mut braces: u128 = 0;
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => {
                    if depth == DEPTH_MAX {
                        return self.fault("nested too deeply");
                    }
                    depth += 1;
                    braces = braces << 1 | u128::from(byte == b'{');
                }
                b'}' | b']' => {
                    if (braces & 1 == 1) != (byte == b'}') {
                        return self.fault("a bracket that closes nothing");
                    }
                    depth -= 1;
                    braces >>= 1;
                    if depth == 0 {
                        self.at += 1;
                        return Ok(());
                    }
                }
                _ => {}
            }
            self.at += 1;
        }
        Err(Fault::At(start, "a bracket that is never closed"))
    }

    /// A string, from quote to quote: the first that an even number of backslashes precedes.
    fn string(&mut self) -> Result<(), Fault> {
        let start = self.at;
        self.at += 1;
        let inner = self.at;
        while let Some(found) = find_quote(&self.bytes[self.at..]) {
            let before = &self.bytes[inner..self.at + found];
            let backslashes = before.iter().rev().take_while(|b| **b == b'\\').count();
            self.at += found + 1;
            if backslashes % 2 == 0 {
                return Ok(());
            }
        }
        Err(Fault::At(start, "a string that never ends"))
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Fault> {
        if self.peek() != Some(byte) {
            return self.fault(what);
        }
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn fault<T>(&self, what: &'static str) -> Result<T, Fault> {
        Err(Fault::At(self.at, what))
    }
}

/// The first double quote. Most strings of a request are short, and jumping into a search for long ones costs more than
/// looking at the first bytes here, a block at a time.
fn find_quote(bytes: &[u8]) -> Option<usize> {
    const NEAR_BLOCKS: usize = 4;
    let (blocks, rest) = bytes.as_chunks::<32>();
    for (i, block) in blocks.iter().take(NEAR_BLOCKS).enumerate() {
        // Without a way out in its middle, the compiler makes a few vector instructions of this.
        if block.iter().fold(false, |found, b| found | (*b == b'"')) {
            return Some(i * 32 + quote_in(block)?);
        }
    }
    if blocks.len() < NEAR_BLOCKS {
        return Some(blocks.len() * 32 + rest.iter().position(|b| *b == b'"')?);
    }
    let near = NEAR_BLOCKS * 32;
    Some(near + memchr::memchr(b'"', &bytes[near..])?)
}

/// Where a quote is in a block, eight bytes at a time.
fn quote_in(block: &[u8; 32]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    const QUOTES: u64 = ONES * b'"' as u64;
    let (words, _) = block.as_chunks::<8>();
    words.iter().enumerate().find_map(|(i, word)| {
        // A byte that equals a quote is zero now; the subtraction borrows into its highest bit.
        let differs = u64::from_le_bytes(*word) ^ QUOTES;
        let zeros = differs.wrapping_sub(ONES) & !differs & (ONES << 7);
        (zeros != 0).then(|| i * 8 + zeros.trailing_zeros() as usize / 8)
    })
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
    fn edits_inside_keep_the_rest_verbatim() {
        let text = r#"{"l": [ {"a": 1.10, "b": {"c": 1e2, "d": 0}} , {"x" : 2} ], "m": [1]}"#;
        let mut e = parse(text).unwrap();
        assert!(!e.edit_each("l", |_| {}) && !e.edit_each("m", |item| item.set("a", "1")));
        assert_eq!(e.to_bytes(), text.as_bytes());
        assert!(e.edit_each("l", |item| {
            item.edit_in("b", |b| {
                b.remove("d");
            });
        }));
        assert_eq!(
            String::from_utf8_lossy(&e.to_bytes()),
            r#"{"l":[{"a":1.10,"b":{"c":1e2}},{"x" : 2}],"m":[1]}"#
        );
    }

    #[test]
    fn lists_and_objects_are_looked_into() {
        let table: &[(&str, Option<&[&str]>)] = &[
            ("[]", Some(&[])),
            (" [ ] ", Some(&[])),
            ("[1.10 , {\"a\": [1]},\n\"],\"]", Some(&["1.10", "{\"a\": [1]}", "\"],\""])),
            ("[1,]", None),
            ("[1 2]", None),
            ("[1", None),
            ("[1] x", None),
            ("{}", None),
            ("1", None),
            ("", None),
        ];
        for (list, expected) in table {
            let found = items(list.as_bytes());
            let expected = expected.map(|e| e.iter().map(|i| i.as_bytes()).collect());
            assert_eq!(found, expected, "{list}");
            if let Some(found) = found {
                assert_eq!(first_item(list.as_bytes()), found.first().copied(), "{list}");
                assert_eq!(items(&listed(&found)), Some(found), "{list}");
            }
        }
        let object = br#"{"a\"": 1, "b" : [1.10 ], "c": "#;
        assert_eq!(field(object, "b"), Some(&b"[1.10 ]"[..]));
        assert_eq!((field(object, "c"), field(object, "a"), field(b"[]", "a")), (None, None, None));
        assert_eq!(first_item(b"[ {} , oops"), Some(&b"{}"[..]));
        let mut found = vec![];
        each_field(object, |key, value| found.push((key.to_vec(), value)));
        let expected = [(br#"a\""#.to_vec(), &b"1"[..]), (b"b".to_vec(), b"[1.10 ]")];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_no_utf8_stays_what_it_is() {
        let mut e = Envelope::parse(b"{\"l\":[{\"a\":\"\xff\"},{\"b\":1}]}".to_vec()).unwrap();
        assert!(e.edit_each("l", |item| {
            item.remove("b");
        }));
        assert_eq!(e.to_bytes(), &b"{\"l\":[{\"a\":\"\xff\"},{}]}"[..]);
    }

    #[test]
    fn what_is_not_to_stay_goes() {
        let mut e = parse(r#"{"a":null,"b": 1.10,"c":2}"#).unwrap();
        e.retain(|_, _| true);
        assert!(!e.is_edited());
        e.retain(|key, value| key != "c" && value != b"null");
        assert_eq!(e.to_bytes(), &br#"{"b":1.10}"#[..]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_offset() {
        let deep = "[".repeat(128);
        let deep = format!("{{\"a\":{deep}");
        let table: &[(&[u8], &str)] = &[
            (b"", "body: empty; a JSON object is expected"),
            (b"  \n", "body: empty; a JSON object is expected"),
            (b"[1]", "body: not valid JSON at byte 0: a JSON object is expected"),
            (b"{\"a\":1,}", "body: not valid JSON at byte 7: a key in double quotes is expected"),
            (b"{a:1}", "body: not valid JSON at byte 1: a key in double quotes is expected"),
            (b"{\"a\" 1}", "body: not valid JSON at byte 5: `:` is expected after a key"),
            (b"{\"a\":\n tru}", "body: not valid JSON at byte 7: a value is expected"),
            (b"{\"a\":}", "body: not valid JSON at byte 5: a value is expected"),
            (b"{\"a\":01}", "body: not valid JSON at byte 5: a value is expected"),
            (
                b"{\"a\":1 2}",
                "body: not valid JSON at byte 7: `,` or `}` is expected after a value",
            ),
            (b"{\"a\":1} x", "body: not valid JSON at byte 8: more after the object's end"),
            (b"{\"a\":[1}", "body: not valid JSON at byte 7: a bracket that closes nothing"),
            (b"{\"a\":[{]}", "body: not valid JSON at byte 7: a bracket that closes nothing"),
            (b"{\"a\":[\"]\"", "body: not valid JSON at byte 5: a bracket that is never closed"),
            (b"{\"a\":\"x\\\"", "body: not valid JSON at byte 5: a string that never ends"),
            (b"{\"a\":\"x\\", "body: not valid JSON at byte 5: a string that never ends"),
            (b"{\"\xff\":1}", "body: not valid JSON at byte 1: a key that is no valid string"),
            (b"{\"a\":1,\"\\u0061\":2}", "a: given twice"),
            (b"{\"a\":1", "body: not valid JSON at byte 6: `,` or `}` is expected after a value"),
            (deep.as_bytes(), "body: not valid JSON at byte 132: nested too deeply"),
        ];
        let many: Vec<String> = (0..=KEYS_MAX).map(|n| format!("\"{n}\":0")).collect();
        let many = format!("{{{}}}", many.join(","));
        let error = parse(&many).unwrap_err();
        assert_eq!(error.to_string(), "body: more than 256 keys");
        for (body, expected) in table {
            let error = Envelope::parse(body.to_vec()).unwrap_err();
            assert_eq!(error.to_string(), *expected, "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn a_quote_is_found_wherever_it_is() {
        for length in 0..200 {
            let mut bytes = vec![b'!'; length];
            assert_eq!(find_quote(&bytes), None);
            for at in (0..length).rev() {
                bytes[at] = b'"';
                assert_eq!(find_quote(&bytes), Some(at), "of {length}");
            }
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
