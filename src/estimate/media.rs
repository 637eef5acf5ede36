//! How large an image is and how many pages a PDF has, by their own bytes, decoded as far as needed.

/// So many bytes of an image are looked through for its size: a JPEG may have a preview before it.
const IMAGE_BYTES_MAX: usize = 256 * 1024;

/// Bytes of a PDF for a page, where its pages cannot be counted.
const PAGE_BYTES: u64 = 40 * 1024;

/// Pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub width: u64,
    pub height: u64,
}

impl Size {
    /// Made smaller until no edge is longer.
    pub fn within(self, edge_max: u64) -> Size {
        let edge = self.width.max(self.height);
        if edge > edge_max { self.scaled(edge_max, edge) } else { self }
    }

    /// By `to / from`.
    pub fn scaled(self, to: u64, from: u64) -> Size {
        let scale = |edge: u64| (edge.saturating_mul(to) / from.max(1)).max(1);
        Size { width: scale(self.width), height: scale(self.height) }
    }

    /// Squares of that edge that cover it.
    pub fn tiles(self, edge: u64) -> u64 {
        self.width.div_ceil(edge).saturating_mul(self.height.div_ceil(edge))
    }
}

/// Of a PNG, JPEG, GIF or WebP in base64.
pub fn size(base64: &str) -> Option<Size> {
    let bytes = Bytes::new(base64).take(IMAGE_BYTES_MAX).collect::<Vec<u8>>();
    let size = match crate::media::sniff(&bytes)? {
        "image/png" => Size { width: big(&bytes, 16, 4)?, height: big(&bytes, 20, 4)? },
        "image/gif" => Size { width: little(&bytes, 6, 2)?, height: little(&bytes, 8, 2)? },
        "image/webp" => webp(&bytes)?,
        "image/jpeg" => jpeg(&bytes)?,
        _ => return None,
    };
    Some(size).filter(|s| s.width > 0 && s.height > 0)
}

/// Of a PDF in base64, at least one. Where the pages stand in compressed objects, by its bytes.
pub fn pages(base64: &str) -> u64 {
    let (mut pages, mut bytes) = (0u64, 0u64);
    let mut window = [0u8; 16];
    for byte in Bytes::new(base64) {
        bytes += 1;
        window.copy_within(1.., 0);
        window[15] = byte;
        // Most bytes end here: only behind the word something has to be looked at.
        if window[14] == b'e' && byte != b's' && is_page(&window[..15]) {
            pages += 1;
        }
    }
    if pages > 0 { pages } else { bytes.div_ceil(PAGE_BYTES).max(1) }
}

/// Ends with `/Type /Page`, the space being any or none.
fn is_page(window: &[u8]) -> bool {
    let Some(rest) = window.strip_suffix(b"/Page") else { return false };
    rest.trim_ascii_end().ends_with(b"/Type")
}

/// Leaves out every segment before the one that has the size.
fn jpeg(bytes: &[u8]) -> Option<Size> {
    let mut at = 2;
    loop {
        match (bytes.get(at)?, bytes.get(at + 1)?) {
            (0xff, 0xff) => at += 1,
            // Start of a frame, but the tables for Huffman and arithmetic codes and an extension.
            (0xff, 0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf) => {
                return Some(Size {
                    width: big(bytes, at + 7, 2)?,
                    height: big(bytes, at + 5, 2)?,
                });
            }
            (0xff, 0x01 | 0xd0..=0xd8) => at += 2,
            (0xff, _) => at += 2 + big(bytes, at + 2, 2)?.max(2) as usize,
            _ => return None,
        }
    }
}

/// Of its three kinds, lossy, lossless and extended.
fn webp(bytes: &[u8]) -> Option<Size> {
    match bytes.get(12..16)? {
        b"VP8 " => Some(Size {
            width: little(bytes, 26, 2)? & 0x3fff,
            height: little(bytes, 28, 2)? & 0x3fff,
        }),
        b"VP8L" => {
            let bits = little(bytes, 21, 4)?;
            Some(Size { width: (bits & 0x3fff) + 1, height: (bits >> 14 & 0x3fff) + 1 })
        }
        b"VP8X" => {
            Some(Size { width: little(bytes, 24, 3)? + 1, height: little(bytes, 27, 3)? + 1 })
        }
        _ => None,
    }
}

fn big(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + length)?;
    Some(bytes.iter().fold(0, |sum, b| sum << 8 | u64::from(*b)))
}

fn little(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + length)?;
    Some(bytes.iter().rev().fold(0, |sum, b| sum << 8 | u64::from(*b)))
}

/// The bytes of a base64, one by one. Spaces are left out; at any other sign it ends.
struct Bytes<'a> {
    signs: std::slice::Iter<'a, u8>,
    bits: u32,
    count: u32,
}

impl Bytes<'_> {
    fn new(base64: &str) -> Bytes<'_> {
        Bytes { signs: base64.as_bytes().iter(), bits: 0, count: 0 }
    }
}

impl Iterator for Bytes<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        while self.count < 8 {
            let value = match self.signs.next()? {
                sign @ b'A'..=b'Z' => sign - b'A',
                sign @ b'a'..=b'z' => sign - b'a' + 26,
                sign @ b'0'..=b'9' => sign - b'0' + 52,
                b'+' | b'-' => 62,
                b'/' | b'_' => 63,
                sign if sign.is_ascii_whitespace() => continue,
                _ => return None,
            };
            self.bits = self.bits << 6 | u32::from(value);
            self.count += 6;
        }
        self.count -= 8;
        Some((self.bits >> self.count) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        bytes.extend(width.to_be_bytes());
        bytes.extend(height.to_be_bytes());
        bytes
    }

    #[test]
    fn sizes_of_images() {
        let jpeg = |sof: u8| {
            let mut bytes = b"\xff\xd8\xff\xe0\0\x04ab\xff\xff\xdb\0\x03c\xff".to_vec();
            bytes.extend([sof, 0, 11, 8, 0x03, 0x00, 0x04, 0x00]);
            bytes
        };
        let found = |width, height| Some(Size { width, height });
        let cases: Vec<(Vec<u8>, Option<Size>)> = vec![
            (png(1920, 1080), found(1920, 1080)),
            (png(0, 1080), None),
            (png(9, 9)[..20].to_vec(), None),
            (b"GIF89a\x40\x01\xc8\x00".to_vec(), found(320, 200)),
            (jpeg(0xc0), found(1024, 768)),
            (jpeg(0xc2), found(1024, 768)),
            (jpeg(0xc4), None),
            (b"\xff\xd8\xff\xe0\0\0\0\0".to_vec(), None),
            (
                b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a\x20\x03\x58\x02".to_vec(),
                found(800, 600),
            ),
            (b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f\x1f\xc3\x95\x00".to_vec(), found(800, 600)),
            (b"RIFF\0\0\0\0WEBPVP8X\0\0\0\0\0\0\0\0\x1f\x03\0\x57\x02\0".to_vec(), found(800, 600)),
            (b"RIFF\0\0\0\0WEBPVP9 ".to_vec(), None),
            (b"%PDF-1.7".to_vec(), None),
            (vec![], None),
        ];
        for (bytes, expected) in cases {
            assert_eq!(size(&crate::media::base64(&bytes)), expected, "{bytes:?}");
        }
    }

    #[test]
    fn pages_of_documents() {
        let tail = vec![b'x'; 200_000];
        let cases: Vec<(Vec<u8>, u64)> = vec![
            (b"%PDF-1.7 <</Type /Pages/Count 2>> <</Type /Page>> <</Type/Page\n/X 1>>".to_vec(), 2),
            (b"%PDF-1.7 <</Type\r\n/Page /Parent 1 0 R>>".to_vec(), 1),
            (b"%PDF-1.7 /Page /PageMode".to_vec(), 1),
            (tail, 5),
            (vec![], 1),
        ];
        for (bytes, expected) in cases {
            let text = crate::media::base64(&bytes);
            assert_eq!(
                pages(&text),
                expected,
                "{}",
                String::from_utf8_lossy(&bytes[..bytes.len().min(80)])
            );
        }
    }

    #[test]
    fn base64_is_read_as_the_crate_does() {
        let bytes: Vec<u8> = (0..=255).chain(0..77).collect();
        let text = crate::media::base64(&bytes);
        let spaced: String = text.chars().flat_map(|c| [c, '\n']).collect();
        assert_eq!(Bytes::new(&text).collect::<Vec<u8>>(), bytes);
        assert_eq!(Bytes::new(&spaced).collect::<Vec<u8>>(), bytes);
    }
}
