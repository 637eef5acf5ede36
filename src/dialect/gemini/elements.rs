//! JSON objects one after the other, or in one array, from bytes cut anywhere.

/// The largest object that is waited for: what a frame may hold.
const ELEMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Finds where objects end. What stands between them is their commas and the array's brackets.
#[derive(Debug, Default)]
pub struct Elements {
    /// The object that has begun.
    element: Vec<u8>,
    /// Brackets of it that are open; 0 between objects.
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    has_begun: bool,
}

/// What came is no such thing: other bytes between objects, or too many of them in one.
#[derive(Debug, PartialEq, Eq)]
pub struct NoElement;

impl Elements {
    /// Hands on each object that these bytes complete.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), NoElement> {
        self.has_begun = true;
        // What was handed on of `bytes`, or is none of an object's.
        let mut start = 0;
        for (at, &byte) in bytes.iter().enumerate() {
            if self.depth == 0 {
                start = at;
                match byte {
                    b'{' => self.depth = 1,
                    b'[' | b']' | b',' | b' ' | b'\t' | b'\r' | b'\n' => {}
                    _ => return Err(NoElement),
                }
            } else if self.closes(byte) {
                self.element.extend_from_slice(&bytes[start..=at]);
                each(&self.element);
                self.element.clear();
            }
        }
        if self.depth > 0 {
            self.element.extend_from_slice(&bytes[start..]);
        }
        if self.element.len() > ELEMENT_BYTES_MAX { Err(NoElement) } else { Ok(()) }
    }

    /// Bytes have come.
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// An object has begun and is not complete.
    pub fn is_within(&self) -> bool {
        self.depth > 0
    }

    /// One more byte of an object; whether it is its last.
    fn closes(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
        self.depth == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(chunks: &[&[u8]]) -> (Vec<String>, Result<(), NoElement>, bool) {
        let mut elements = Elements::default();
        let mut found = vec![];
        for chunk in chunks {
            let mut each = |e: &[u8]| found.push(String::from_utf8_lossy(e).into_owned());
            if let Err(e) = elements.push(chunk, &mut each) {
                return (found, Err(e), elements.is_within());
            }
        }
        let is_within = elements.is_within();
        (found, Ok(()), is_within)
    }

    #[test]
    fn objects_are_found_wherever_bytes_are_cut() {
        let table: &[(&str, &[&str], bool, bool)] = &[
            ("[{},\n\n{\"a\":[{}]}]", &["{}", "{\"a\":[{}]}"], true, false),
            (r#"{"a":"}\"]\\"}{"b":1}"#, &[r#"{"a":"}\"]\\"}"#, r#"{"b":1}"#], true, false),
            (" [ {\"é\":\"👋\"} ] ", &["{\"é\":\"👋\"}"], true, false),
            ("[{\"a\":1},{\"b\"", &["{\"a\":1}"], true, true),
            ("[{\"a\":1},oh", &["{\"a\":1}"], false, false),
            ("", &[], true, false),
        ];
        for (text, expected, is_ok, is_within) in table {
            let bytes = text.as_bytes();
            for cut in 0..=bytes.len() {
                let (found, result, within) = all(&[&bytes[..cut], &bytes[cut..]]);
                assert_eq!(found, *expected, "{text} at {cut}");
                assert_eq!((result.is_ok(), within), (*is_ok, *is_within), "{text} at {cut}");
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(all(&single).0, *expected, "{text} byte by byte");
        }
    }
}
