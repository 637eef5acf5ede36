//! Request bodies that come compressed: `Content-Encoding`.
//!
//! Some agents send theirs so (Codex with zstd, gateways with gzip). What counts for the limit is the size that a body has
//! when it is read, and never more than that is made of it.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::error::Error;

const HEADER: &str = "Content-Encoding";
/// The most codings of one body, one within the other.
const CODINGS_MAX: usize = 2;
/// What is made of a body at a time.
const STEP_BYTES: usize = 64 * 1024;
/// How far zstd may look back, where the limit of a body is not more: what its usual levels do.
const WINDOW_BYTES: usize = 8 << 20;

/// A way in which a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    Deflate,
    Zstd,
}

/// Reads the header: the codings in the order in which they were applied. 415 for one that is not known.
pub fn codings(header: &str) -> Result<Vec<Coding>, Error> {
    let names = header.split(',').map(str::trim);
    let names = names.filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity"));
    let all = names.map(|name| match name.to_ascii_lowercase().as_str() {
        "gzip" | "x-gzip" => Ok(Coding::Gzip),
        "deflate" => Ok(Coding::Deflate),
        "zstd" => Ok(Coding::Zstd),
        _ => Err(Error::UnsupportedEncoding { encoding: name.chars().take(50).collect() }),
    });
    let all = all.collect::<Result<Vec<_>, _>>()?;
    if all.len() > CODINGS_MAX {
        let why = format!("a body may be compressed {CODINGS_MAX} times at most");
        return Err(Error::bad_request(HEADER, why));
    }
    Ok(all)
}

/// The body as it was before these codings were applied. 413 where it has more than `bytes_max`, 400 where it is corrupt or
/// cut off.
pub fn decoded(body: Vec<u8>, codings: &[Coding], bytes_max: usize) -> Result<Vec<u8>, Error> {
    codings.iter().rev().try_fold(body, |body, coding| {
        let decoded = match coding {
            Coding::Gzip => read(MultiGzDecoder::new(&*body), bytes_max),
            Coding::Deflate => inflated(&body, bytes_max),
            Coding::Zstd => unpacked(&body, bytes_max),
        };
        decoded.map_err(|fault| match fault {
            Fault::TooLarge => Error::TooLarge { bytes_max },
            Fault::Corrupt => {
                let name = format!("{coding:?}").to_ascii_lowercase();
                let why = format!("the body is no {name}, or it is damaged or cut off");
                Error::bad_request(HEADER, why)
            }
        })
    })
}

enum Fault {
    TooLarge,
    Corrupt,
}

impl From<io::Error> for Fault {
    fn from(_: io::Error) -> Fault {
        Fault::Corrupt
    }
}

fn read(mut decoder: impl Read, bytes_max: usize) -> Result<Vec<u8>, Fault> {
    let mut out = vec![];
    let most = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    decoder.by_ref().take(most).read_to_end(&mut out)?;
    if out.len() > bytes_max { Err(Fault::TooLarge) } else { Ok(out) }
}

/// `deflate` means zlib's format by the standard, and without it by what some clients send.
fn inflated(body: &[u8], bytes_max: usize) -> Result<Vec<u8>, Fault> {
    let start = u16::from_be_bytes([*body.first().unwrap_or(&0), *body.get(1).unwrap_or(&0)]);
    let is_zlib = start >> 8 & 0x0f == 8 && start.is_multiple_of(31);
    let mut inflate = Decompress::new(is_zlib);
    let mut out = vec![];
    loop {
        let before = (inflate.total_in(), inflate.total_out());
        let rest = usize::try_from(before.0).ok().and_then(|at| body.get(at..));
        out.reserve(STEP_BYTES);
        let rest = rest.ok_or(Fault::Corrupt)?;
        let status = inflate.decompress_vec(rest, &mut out, FlushDecompress::None);
        if out.len() > bytes_max {
            return Err(Fault::TooLarge);
        }
        let is_stuck = before == (inflate.total_in(), inflate.total_out());
        match status.map_err(|_| Fault::Corrupt)? {
            Status::StreamEnd if inflate.total_in() == body.len() as u64 => return Ok(out),
            Status::Ok | Status::BufError if !is_stuck => {}
            _ => return Err(Fault::Corrupt),
        }
    }
}

/// All frames of a body, one after the other.
fn unpacked(body: &[u8], bytes_max: usize) -> Result<Vec<u8>, Fault> {
    let (mut rest, mut out) = (body, vec![]);
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(bytes_max.max(WINDOW_BYTES) as u64);
    loop {
        match decoder.init(&mut rest) {
            Ok(()) => frame(&mut decoder, &mut rest, &mut out, bytes_max)?,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => rest = rest.get(length as usize..).ok_or(Fault::Corrupt)?,
            Err(FrameDecoderError::WindowSizeTooBig { .. }) => return Err(Fault::TooLarge),
            Err(_) => return Err(Fault::Corrupt),
        }
        if rest.is_empty() {
            return Ok(out);
        }
    }
}

fn frame(
    decoder: &mut FrameDecoder,
    rest: &mut &[u8],
    out: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<(), Fault> {
    loop {
        let step = BlockDecodingStrategy::UptoBytes(STEP_BYTES);
        let is_over = decoder.decode_blocks(&mut *rest, step).map_err(|_| Fault::Corrupt)?;
        decoder.collect_to_writer(&mut *out)?;
        if out.len() > bytes_max {
            return Err(Fault::TooLarge);
        }
        if is_over {
            break;
        }
    }
    let told = decoder.get_checksum_from_data();
    let is_damaged = told.is_some() && told != decoder.get_calculated_checksum();
    if is_damaged { Err(Fault::Corrupt) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    type Coder = fn(&[u8]) -> Vec<u8>;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(vec![], Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(vec![], Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(vec![], Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    const CODERS: [(&str, Coder); 4] =
        [("gzip", gzip), ("deflate", zlib), ("deflate", deflate), ("zstd", zstd)];

    fn undone(header: &str, body: Vec<u8>, bytes_max: usize) -> Result<Vec<u8>, Error> {
        decoded(body, &codings(header)?, bytes_max)
    }

    fn is_corrupt(result: Result<Vec<u8>, Error>) -> bool {
        matches!(result, Err(Error::BadRequest { path, .. }) if path == HEADER)
    }

    /// Not all of it is the same, and it is more than a step.
    fn text() -> Vec<u8> {
        (0..40_000_u32)
            .flat_map(|n| format!("{{\"n\":{}}}", n.wrapping_mul(2_654_435_761)).into_bytes())
            .collect()
    }

    #[test]
    fn every_coding_is_undone() {
        for (name, coder) in CODERS {
            for body in [&b"x"[..], b"{\"a\":1}", &text()] {
                let header = format!("identity, {}", name.to_uppercase());
                assert_eq!(undone(&header, coder(body), body.len()).as_deref(), Ok(body), "{name}");
                assert_eq!(undone("", body.to_vec(), 1).as_deref(), Ok(body));
            }
            for (outer_name, outer) in CODERS {
                let body = outer(&coder(b"twice"));
                let header = format!("{name},{outer_name}");
                assert_eq!(undone(&header, body, 1000).as_deref(), Ok(&b"twice"[..]), "{header}");
            }
        }
    }

    #[test]
    fn what_is_cut_or_damaged_or_too_long_is_refused() {
        for (name, coder) in CODERS {
            let whole = coder(b"{\"model\":\"gpt-4o\",\"messages\":[1,2,3,4,5,6,7,8,9]}");
            for end in 0..whole.len() {
                let cut = undone(name, whole[..end].to_vec(), 1000);
                assert!(is_corrupt(cut), "{name} up to {end}");
            }
            let trailing = [&whole[..], b"\0trailing"].concat();
            assert!(is_corrupt(undone(name, trailing, 1000)), "{name}");
            assert!(is_corrupt(undone(name, b"{\"model\":1}".to_vec(), 1000)), "{name}");
            for at in 0..whole.len() {
                let mut damaged = whole.clone();
                damaged[at] ^= 0x55;
                // Raw deflate has no checksum; that there is no panic is enough.
                let _ = undone(name, damaged, 1000);
            }
        }
    }

    #[test]
    fn several_members_are_read_on() {
        for (name, coder) in [CODERS[0], CODERS[3]] {
            let both = [coder(b"one "), coder(b"two")].concat();
            assert_eq!(undone(name, both.clone(), 7).as_deref(), Ok(&b"one two"[..]), "{name}");
            assert_eq!(undone(name, both, 6), Err(Error::TooLarge { bytes_max: 6 }), "{name}");
        }
        let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &zstd(b"x")].concat();
        assert_eq!(undone("zstd", skipped, 9).as_deref(), Ok(&b"x"[..]));
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let zeros = vec![0; 64 << 20];
        for (name, coder) in CODERS {
            let bomb = coder(&zeros);
            assert!(bomb.len() < zeros.len() / 100);
            let most = 1 << 20;
            assert_eq!(
                undone(name, bomb, most),
                Err(Error::TooLarge { bytes_max: most }),
                "{name}"
            );
        }
        // A frame that says it will look back on 2 GB.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 1, 0, 0];
        assert_eq!(undone("zstd", frame.to_vec(), 9), Err(Error::TooLarge { bytes_max: 9 }));
    }

    #[test]
    fn unknown_codings_are_named() {
        let known = |header| codings(header).map(|all| all.len());
        assert_eq!(known("x-gzip , zstd"), Ok(2));
        assert_eq!(known("gzip, br"), Err(Error::UnsupportedEncoding { encoding: "br".into() }));
        assert!(matches!(known("gzip,gzip,gzip"), Err(Error::BadRequest { .. })));
    }
}
