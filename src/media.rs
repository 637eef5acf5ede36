//! What images and PDFs are, by their own bytes; and the `data:` URLs they come in.
//!
//! Only the first bytes count: what a client or a server says of a file is no better than its name.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// So many first bytes tell what a file is, if anything does.
pub const MAGIC_BYTES: usize = 12;

/// The media type of a file that models take: PNG, JPEG, GIF, WebP or PDF.
pub fn sniff(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        [b'%', b'P', b'D', b'F', b'-', ..] => Some("application/pdf"),
        _ => None,
    }
}

/// The media type of a file in base64, of which only the beginning is decoded.
pub fn sniff_base64(text: &str) -> Option<&'static str> {
    const SIGNS: usize = MAGIC_BYTES / 3 * 4;
    let signs = text.bytes().filter(|b| !b.is_ascii_whitespace() && *b != b'=');
    let first: Vec<u8> = signs.take(SIGNS).collect();
    sniff(&LENIENT.decode(first).ok()?)
}

/// The text of a file in base64; `None` where it is not UTF-8, or not base64.
pub fn text(base64: &str) -> Option<String> {
    let signs: Vec<u8> = base64.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    String::from_utf8(LENIENT.decode(signs).ok()?).ok()
}

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A file in base64.
pub fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Bytes in the base64 of URLs, unpadded.
pub fn base64_url(bytes: &[u8]) -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes behind such a text, if it is one.
pub fn of_base64_url(text: &str) -> Option<Vec<u8>> {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok()
}

/// Media type and base64 of a `data:` URL. The type is in lower case and without parameters, what is called `image/jpg` by
/// its right name; the base64 is as it was written. `None`: no `data:` URL, or one that is not base64.
pub fn data_url(url: &str) -> Option<(String, &str)> {
    let url = url.trim();
    let scheme = url.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("data:"))?;
    let (kind, payload) = url[scheme.len()..].split_once(',')?;
    let mut parts = kind.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or("").to_ascii_lowercase();
    if !parts.any(|part| part.eq_ignore_ascii_case("base64")) {
        return None;
    }
    let media_type = match media_type.as_str() {
        "" => "text/plain".to_owned(),
        "image/jpg" | "image/pjpeg" => "image/jpeg".to_owned(),
        _ => media_type,
    };
    Some((media_type, payload))
}

/// The `data:` URL of a file in base64.
pub fn as_data_url(media_type: &str, base64: &str) -> String {
    format!("data:{media_type};base64,{base64}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: &[(&[u8], Option<&str>)] = &[
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", Some("image/png")),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", Some("image/jpeg")),
        (b"GIF87a\x01\0", Some("image/gif")),
        (b"GIF89a\x01\0", Some("image/gif")),
        (b"RIFF\x24\0\0\0WEBPVP8 ", Some("image/webp")),
        (b"%PDF-1.7\n", Some("application/pdf")),
        (b"", None),
        (b"\x89PNG", None),
        (b"GIF88a", None),
        (b"RIFF\x24\0\0\0WAVEfmt ", None),
        (b" %PDF-1.7", None),
        (b"<svg xmlns=", None),
        (b"<!DOCTYPE html>", None),
        (b"\x1f\x8b\x08", None),
        (b"BM\x00\x00", None),
    ];

    #[test]
    fn files_are_told_by_their_first_bytes() {
        for (bytes, expected) in FILES {
            assert_eq!(sniff(bytes), *expected, "{bytes:?}");
        }
    }

    #[test]
    fn files_in_base64_are_told_too() {
        for (bytes, expected) in FILES {
            let text = base64::prelude::BASE64_STANDARD.encode(bytes);
            assert_eq!(sniff_base64(&text), *expected, "{text}");
            assert_eq!(sniff_base64(text.trim_end_matches('=')), *expected, "{text}");
            let broken_up: String = text.chars().flat_map(|c| [c, '\n']).collect();
            assert_eq!(sniff_base64(&broken_up), *expected, "{text}");
        }
        assert_eq!(
            sniff_base64("iVBORw0KGgoAAAANäöü, but the beginning is a PNG"),
            Some("image/png")
        );
        assert_eq!(sniff_base64("!!!!"), None);
    }

    #[test]
    fn data_urls_are_taken_apart() {
        let cases = [
            ("data:image/png;base64,AAAA", Some(("image/png", "AAAA"))),
            (" DATA:Image/PNG;Base64,AAAA\n", Some(("image/png", "AAAA"))),
            ("data:image/jpeg;charset=utf-8;base64,AA==", Some(("image/jpeg", "AA=="))),
            ("data:application/pdf;name=a.pdf; base64,AA,A", Some(("application/pdf", "AA,A"))),
            ("data:image/jpg;base64,", Some(("image/jpeg", ""))),
            ("data:;base64,AAAA", Some(("text/plain", "AAAA"))),
            ("data:image/png,AAAA", None),
            ("data:image/png;base64", None),
            ("data:text/plain;x=base64,AAAA", None),
            ("https://example.com/data:image/png;base64,AAAA", None),
            ("data", None),
            ("dätä:,", None),
        ];
        for (url, expected) in cases {
            let found = data_url(url);
            assert_eq!(
                found.as_ref().map(|(kind, data)| (kind.as_str(), *data)),
                expected,
                "{url}"
            );
        }
    }

    #[test]
    fn texts() {
        for (base64, expected) in [
            ("YSxi", Some("a,b")),
            ("w7 w=\n", Some("ü")),
            ("w7w", Some("ü")),
            ("/w==", None),
            ("?", None),
        ] {
            assert_eq!(text(base64).as_deref(), expected, "{base64}");
        }
    }
}
