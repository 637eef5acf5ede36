use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::*;

/// Keys of nobody, made for these tests: as OpenSSL writes them.
const RSA_CERTIFICATE: &str = include_str!("rsa.crt.pem");
const RSA_PKCS1: &str = include_str!("rsa.pkcs1.pem");
const RSA_PKCS8: &str = include_str!("rsa.pkcs8.pem");
const EC_CERTIFICATE: &str = include_str!("ec.crt.pem");
const EC_SEC1: &str = include_str!("ec.sec1.pem");

/// A certificate that expires then, in DER and PEM, and its key.
fn made(year: i32, month: u8, day: u8) -> (Vec<u8>, String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["client.test".to_string()]).unwrap();
    params.not_before = date_time_ymd(1970, 1, 2);
    params.not_after = date_time_ymd(year, month, day);
    let certificate = params.self_signed(&key).unwrap();
    (certificate.der().to_vec(), certificate.pem(), key.serialize_pem())
}

fn seconds(time: Option<SystemTime>) -> Option<u64> {
    Some(time?.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
}

#[test]
fn every_kind_of_key_is_read() {
    let (_, chain, pkcs8) = made(2030, 1, 1);
    let with_issuer = format!("{chain}{RSA_CERTIFICATE}");
    let with_bags = format!("Bag Attributes\n    friendlyName: x\n{RSA_CERTIFICATE}");
    let cases = [
        (&*chain, &*pkcs8),
        (&with_issuer, &pkcs8),
        (&with_bags, RSA_PKCS8),
        (RSA_CERTIFICATE, RSA_PKCS1),
        (RSA_CERTIFICATE, RSA_PKCS8),
        (EC_CERTIFICATE, EC_SEC1),
    ];
    for (number, (chain, key)) in cases.into_iter().enumerate() {
        let identity = Identity::parse(chain, key).unwrap_or_else(|e| panic!("{number}: {e}"));
        assert!(identity.expires().is_some(), "{number}");
        assert_eq!(format!("{identity:?}"), "Identity");
    }
    assert_eq!(Identity::parse(&with_issuer, &pkcs8).unwrap().key.cert.len(), 2);
}

#[test]
fn what_is_wrong_is_said_and_never_quoted() {
    let (_, chain, key) = made(2030, 1, 1);
    let (_, _, other) = made(2030, 1, 1);
    let cut = |pem: &str| pem[..pem.len() / 2].to_string();
    let no_der = "-----BEGIN CERTIFICATE-----\nc2VjcmV0\n-----END CERTIFICATE-----\n";
    let no_key = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
    let locked = key.replace("PRIVATE", "ENCRYPTED PRIVATE");
    let cases = [
        ("", &*key, "certificate: holds no certificate: it should have"),
        ("secret", &key, "certificate: holds no certificate"),
        (&key, &key, "certificate: holds no certificate"),
        (&cut(&chain), &key, "certificate: is not proper PEM"),
        ("-----BEGIN secret", &key, "certificate: is not proper PEM"),
        (no_der, &key, "certificate: the first one in it is no X.509 certificate"),
        (&chain, "", "key: holds no private key: it should have"),
        (&chain, "secret", "key: holds no private key"),
        (&chain, &chain, "key: holds no private key"),
        (&chain, &cut(&key), "key: is not proper PEM"),
        (&chain, "-----BEGIN secret", "key: is not proper PEM"),
        (&chain, no_key, "key: neither an RSA nor an elliptic curve key"),
        (&chain, &locked, "key: is encrypted"),
        (&chain, &other, "key: it does not belong to the certificate beside it"),
        (RSA_CERTIFICATE, &key, "key: it does not belong"),
        (&chain, RSA_PKCS1, "key: it does not belong"),
    ];
    for (chain, key, expected) in cases {
        let why = Identity::parse(chain, key).unwrap_err();
        assert!(why.starts_with(expected), "{why} is not {expected}");
        assert!(!why.contains("secret") && !why.contains("c2Vj"), "{why}");
    }
}

#[test]
fn the_end_is_read_in_both_ways_of_writing_it() {
    // UTCTime until 2049, GeneralizedTime from 2050 on.
    let cases = [
        (2026, 3, 1, 1_772_323_200),
        (2024, 2, 29, 1_709_164_800),
        (2049, 12, 31, 2_524_521_600),
        (2050, 1, 1, 2_524_608_000),
        (2100, 3, 1, 4_107_542_400),
        (9999, 12, 31, 253_402_214_400),
    ];
    for (year, month, day, expected) in cases {
        let (der, pem, key) = made(year, month, day);
        assert_eq!(seconds(not_after(&der)), Some(expected), "{year}-{month}-{day}");
        let identity = Identity::parse(&pem, &key).unwrap();
        assert_eq!(seconds(identity.expires()), Some(expected));
    }
    // As OpenSSL writes them; `openssl x509 -noout -enddate` tells the same.
    let end = |pem, key| seconds(Identity::parse(pem, key).unwrap().expires());
    assert_eq!(end(RSA_CERTIFICATE, RSA_PKCS1), Some(2_573_014_222));
    assert_eq!(end(EC_CERTIFICATE, EC_SEC1), Some(2_054_614_222));
}

#[test]
fn times_are_read_as_they_are_written() {
    let cases: &[(u8, &[u8], Option<i64>)] = &[
        (UTC_TIME, b"700101000000Z", Some(0)),
        (UTC_TIME, b"691231235959Z", Some(-1)),
        (UTC_TIME, b"500101000000Z", Some(-631_152_000)),
        (UTC_TIME, b"491231235959Z", Some(2_524_607_999)),
        (GENERALIZED_TIME, b"20000229123456Z", Some(951_827_696)),
        (GENERALIZED_TIME, b"00000101000000Z", Some(-62_167_219_200)),
        (GENERALIZED_TIME, b"20010229000000Z", None),
        (GENERALIZED_TIME, b"21000229000000Z", None),
        (GENERALIZED_TIME, b"20260431000000Z", None),
        (GENERALIZED_TIME, b"20260001000000Z", None),
        (GENERALIZED_TIME, b"20261301000000Z", None),
        (GENERALIZED_TIME, b"20260100000000Z", None),
        (GENERALIZED_TIME, b"20260101240000Z", None),
        (GENERALIZED_TIME, b"20260101006000Z", None),
        (GENERALIZED_TIME, b"20260101000060Z", None),
        (GENERALIZED_TIME, b"20260101000000", None),
        (GENERALIZED_TIME, b"20260101000000+0100", None),
        (GENERALIZED_TIME, b"2026010100000.Z", None),
        (GENERALIZED_TIME, b"-0260101000000Z", None),
        (GENERALIZED_TIME, b"260101000000Z", None),
        (UTC_TIME, b"20260101000000Z", None),
        (UTC_TIME, b"2601010000Z", None),
        (UTC_TIME, b"Z", None),
        (UTC_TIME, b"", None),
        (0x16, b"260101000000Z", None),
    ];
    let signed = |time: SystemTime| match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => after.as_secs() as i64,
        Err(before) => -(before.duration().as_secs() as i64),
    };
    for (tag, text, expected) in cases {
        assert_eq!(time(*tag, text).map(signed), *expected, "{}", text.escape_ascii());
    }
}

/// Every cut, every byte altered in every way that lengths and tags are sensitive to: no panic, and no date out of the blue.
#[test]
fn what_is_no_certificate_has_no_end_and_does_no_harm() {
    let (der, _, _) = made(2026, 3, 1);
    let end = not_after(&der);
    for length in 0..der.len() {
        assert_eq!(not_after(&der[..length]), None, "{length} bytes: the outer length is wrong");
    }
    for place in 0..der.len() {
        for value in [0, 1, 0x17, 0x18, 0x30, 0x7f, 0x80, 0x81, 0x82, 0x83, 0x84, 0xa0, 0xff] {
            let mut altered = der.clone();
            altered[place] = value;
            let _ = not_after(&altered);
        }
    }
    let long_cut = |length: &[u8]| [&[SEQUENCE], length, &[0; 4]].concat();
    let cases: [&[u8]; 9] = [
        b"",
        b"0",
        b"0\0",
        &long_cut(b"\x80"),
        &long_cut(b"\x81"),
        &long_cut(b"\x82\xff\xff"),
        &long_cut(b"\x83\xff\xff\xff"),
        &long_cut(b"\x88\xff\xff\xff\xff\xff\xff\xff\xff"),
        &[SEQUENCE; 4096],
    ];
    for case in cases {
        assert_eq!(not_after(case), None, "{}", case.escape_ascii());
    }
    // Behind the validity there is nothing that matters.
    let mut altered = der.clone();
    *altered.last_mut().unwrap() ^= 0xff;
    assert_eq!(not_after(&altered), end);
}
