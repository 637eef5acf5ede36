//! Who we are in a TLS handshake: the certificate and the private key of an X.509 service key (dossier 1.2).
//!
//! Nothing that rustls shows tells when a certificate expires, and a parser of X.509 is a large dependency for one date: so
//! the way to `notAfter` is walked here. Whether a certificate is any good is for the token host to say.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

/// A certificate with what leads to its root, and its private key.
#[derive(Clone)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    expires: Option<SystemTime>,
}

impl Identity {
    /// From PEM: the chain begins with our own certificate; the key is PKCS#1, PKCS#8 or SEC1. An error begins with
    /// `certificate: ` or `key: `, the field of a service key that is at fault, and quotes neither.
    pub fn parse(chain: &str, key: &str) -> Result<Identity, String> {
        let chain = certificates(chain).map_err(|e| format!("certificate: {e}"))?;
        let expires = chain.first().and_then(|first| not_after(first));
        let key = private_key(key).map_err(|e| format!("key: {e}"))?;
        let key = super::provider()
            .key_provider
            .load_private_key(key)
            .map_err(|_| "key: neither an RSA nor an elliptic curve key that TLS can use")?;
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            Ok(()) => Ok(Identity { key: Arc::new(key), expires }),
            Err(rustls::Error::InvalidCertificate(_)) => {
                Err("certificate: the first one in it is no X.509 certificate".into())
            }
            Err(_) => Err("key: it does not belong to the certificate beside it".into()),
        }
    }

    /// When our own certificate expires, the first of the chain. `None`: it does not say so in a way we can read.
    pub fn expires(&self) -> Option<SystemTime> {
        self.expires
    }

    /// Shows the certificate to whoever asks for one.
    pub(super) fn resolver(&self) -> Arc<SingleCertAndKey> {
        Arc::new(SingleCertAndKey::from(self.key.clone()))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(chain) if chain.is_empty() => {
            Err("holds no certificate: it should have a PEM block `BEGIN CERTIFICATE`")
        }
        Ok(chain) => Ok(chain),
        Err(_) => Err(NO_PEM),
    }
}

fn private_key(pem: &str) -> Result<PrivateKeyDer<'static>, &'static str> {
    if pem.contains("ENCRYPTED") {
        return Err("is encrypted: decrypt it with `openssl pkey`");
    }
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|e| match e {
        Error::NoItemsFound => {
            "holds no private key: it should have a PEM block `BEGIN PRIVATE KEY` or `BEGIN RSA PRIVATE KEY`"
        }
        _ => NO_PEM,
    })
}

/// What the reader says of it quotes it.
const NO_PEM: &str = "is not proper PEM: it is cut off or altered";

/// `notAfter` of a certificate: the way through RFC 5280, 4.1, as far as there.
fn not_after(certificate: &[u8]) -> Option<SystemTime> {
    let mut signed = Der(Der(certificate).inside(SEQUENCE)?.inside(SEQUENCE)?.0);
    if signed.0.first() == Some(&VERSION) {
        signed.next()?;
    }
    let _serial = signed.next()?;
    let _algorithm = signed.next()?;
    let _issuer = signed.next()?;
    let mut validity = signed.inside(SEQUENCE)?;
    let _not_before = validity.next()?;
    let (tag, text) = validity.next()?;
    time(tag, text)
}

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Values one after the other, each with its tag and its length.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn inside(&mut self, tag: u8) -> Option<Der<'a>> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, value)| Der(value))
    }

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match first {
            0..=0x7f => (first.into(), rest),
            // As many bytes of length; a certificate is no larger than three can say.
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked((first - 0x80).into())?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }
}

/// `YYMMDDHHMMSSZ`, from 1950 on, or `YYYYMMDDHHMMSSZ`: RFC 5280 allows no other way of writing them.
fn time(tag: u8, text: &[u8]) -> Option<SystemTime> {
    let digits = text.strip_suffix(b"Z")?;
    let (year, rest) = match (tag, digits.len()) {
        (UTC_TIME, 12) => match number(&digits[..2])? {
            year @ 0..50 => (2000 + year, &digits[2..]),
            year => (1900 + year, &digits[2..]),
        },
        (GENERALIZED_TIME, 14) => (number(&digits[..4])?, &digits[4..]),
        _ => return None,
    };
    let mut parts = [0; 5];
    for (part, pair) in parts.iter_mut().zip(rest.chunks(2)) {
        *part = number(pair)?;
    }
    let [month, day, hour, minute, second] = parts;
    let is_time = hour < 24 && minute < 60 && second < 60;
    if !is_time || !(1..=12).contains(&month) || !(1..=days_of(month, year)).contains(&day) {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    let distance = Duration::from_secs(seconds.unsigned_abs());
    match seconds {
        0.. => SystemTime::UNIX_EPOCH.checked_add(distance),
        _ => SystemTime::UNIX_EPOCH.checked_sub(distance),
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    let step = |sum, digit: &u8| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0'));
    digits.iter().try_fold(0, step)
}

fn days_of(month: i64, year: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Years begin in March, so that the day that some lack is their last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests;
