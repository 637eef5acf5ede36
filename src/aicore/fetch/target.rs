//! Where a client's URL leads: taken apart here and put together anew, so that nobody behind reads it differently.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const URL_BYTES_MAX: usize = 2048;

/// An http or https URL.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    pub is_https: bool,
    pub host: Host,
    pub port: u16,
    /// Path and query, from the slash on.
    tail: String,
}

/// A name in lower case, or an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    Name(String),
    Address(IpAddr),
}

/// A host that may be fetched from though it is not public: `host` for the ports 80 and 443, or `host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    host: Host,
    port: Option<u16>,
}

impl Target {
    /// The errors are for a person, and do not quote the URL.
    pub fn parse(url: &str) -> Result<Target, String> {
        if url.len() > URL_BYTES_MAX {
            return Err(format!("a URL of more than {URL_BYTES_MAX} bytes"));
        }
        let (scheme, rest) = url.split_once("://").ok_or("not an absolute http or https URL")?;
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err("neither an http nor an https URL".into()),
        };
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("a URL with a user name or password in it".into());
        }
        let (host, port) = host_and_port(authority)?;
        let port = port.unwrap_or(if is_https { 443 } else { 80 });
        Ok(Target { is_https, host, port, tail: encoded(tail)? })
    }

    /// Where a `Location` leads from here. Dots in a path are left to the server.
    pub fn join(&self, location: &str) -> Result<Target, String> {
        let base = self.tail.split('?').next().unwrap_or("/");
        let scheme = if self.is_https { "https" } else { "http" };
        if is_absolute(location) {
            Target::parse(location)
        } else if location.starts_with("//") {
            Target::parse(&format!("{scheme}:{location}"))
        } else if location.starts_with('/') {
            Target::parse(&format!("{}{location}", self.origin()))
        } else if location.starts_with('?') {
            Target::parse(&format!("{}{base}{location}", self.origin()))
        } else {
            let folder = &base[..base.rfind('/').map_or(0, |slash| slash + 1)];
            Target::parse(&format!("{}{folder}{location}", self.origin()))
        }
    }

    pub fn url(&self) -> String {
        self.url_at(&self.host)
    }

    /// The same with another host in its place.
    pub fn url_at(&self, host: &Host) -> String {
        let scheme = if self.is_https { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority(host), self.tail)
    }

    /// The value of the Host header.
    pub fn host_header(&self) -> String {
        self.authority(&self.host)
    }

    fn origin(&self) -> String {
        let scheme = if self.is_https { "https" } else { "http" };
        format!("{scheme}://{}", self.authority(&self.host))
    }

    fn authority(&self, host: &Host) -> String {
        match (self.is_https, self.port) {
            (true, 443) | (false, 80) => host.to_string(),
            (_, port) => format!("{host}:{port}"),
        }
    }
}

impl Allowed {
    pub fn parse(text: &str) -> Result<Allowed, String> {
        match host_and_port(text) {
            Ok((host, port)) => Ok(Allowed { host, port }),
            Err(why) => Err(format!("{why}: write HOST or HOST:PORT, as in images.example:8080")),
        }
    }

    pub fn is_of(&self, target: &Target) -> bool {
        self.host == target.host && self.port.map_or(is_usual(target.port), |p| p == target.port)
    }
}

/// The ports of web servers.
pub fn is_usual(port: u16) -> bool {
    matches!(port, 80 | 443)
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

fn host_and_port(text: &str) -> Result<(Host, Option<u16>), String> {
    let end = match text.starts_with('[') {
        true => text.find(']').map_or(text.len(), |bracket| bracket + 1),
        false => text.find(':').unwrap_or(text.len()),
    };
    let (host, rest) = text.split_at(end);
    let port = match rest {
        "" => None,
        _ => Some(rest.strip_prefix(':').and_then(port).ok_or("a port that is none")?),
    };
    Ok((Host::parse(host)?, port))
}

fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| is_plain && *port > 0)
}

impl Host {
    /// Addresses only as everybody writes them. What the system's resolver would take for one too (`127.1`, `0x7f000001`,
    /// `2130706433`, `0177.0.0.1`) is none, and no name either: a name's last part is no number.
    fn parse(text: &str) -> Result<Host, String> {
        if let Some(inside) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
            let address = inside.parse::<Ipv6Addr>();
            return address.map(|a| Host::Address(a.into())).map_err(|_| NO_HOST.into());
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Host::Address(address.into()));
        }
        if !text.is_ascii() {
            return Err("a host name that is not ASCII: write it in its xn-- form".into());
        }
        let is_name = text.len() <= 253 && text.split('.').all(is_label);
        if !is_name || text.rsplit('.').next().is_none_or(is_number) {
            return Err(NO_HOST.into());
        }
        Ok(Host::Name(text.to_ascii_lowercase()))
    }
}

const NO_HOST: &str = "neither a host name nor an address";

fn is_label(text: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    (1..=63).contains(&text.len()) && text.bytes().all(is_plain)
}

/// Decimal, octal or hexadecimal, as resolvers know them.
fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    match hex {
        Some(digits) => digits.bytes().all(|b| b.is_ascii_hexdigit()),
        None => label.bytes().all(|b| b.is_ascii_digit()),
    }
}

/// Whether a `Location` begins with a scheme.
fn is_absolute(location: &str) -> bool {
    let end = location.find([':', '/', '?', '#']);
    end.is_some_and(|end| end > 0 && location[end..].starts_with(':'))
}

/// Path and query as they can be sent: without the fragment, signs that no URL has written as `%XX`.
fn encoded(tail: &str) -> Result<String, String> {
    let tail = tail.split('#').next().unwrap_or("");
    let mut out = String::from(if tail.starts_with('/') { "" } else { "/" });
    for byte in tail.bytes() {
        match byte {
            0..0x20 | 0x7f => return Err("a URL with a control character in it".into()),
            b' ' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x80.. => {
                out.push_str(&format!("%{byte:02X}"));
            }
            _ => out.push(char::from(byte)),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Result<String, String> {
        Target::parse(text).map(|target| target.url())
    }

    #[test]
    fn urls_are_put_together_anew() {
        let cases = [
            ("https://Example.COM", "https://example.com/"),
            ("HTTP://example.com:80/a?b=c#d", "http://example.com/a?b=c"),
            ("https://example.com:80/", "https://example.com:80/"),
            ("https://example.com?q=1", "https://example.com/?q=1"),
            ("https://example.com#f", "https://example.com/"),
            ("https://a_b.example/ä b|c", "https://a_b.example/%C3%A4%20b%7Cc"),
            ("https://example.com/%41/../@x:y", "https://example.com/%41/../@x:y"),
            ("http://8.8.8.8/x", "http://8.8.8.8/x"),
            ("http://[2606:4700:0::1111]:443/x", "http://[2606:4700::1111]:443/x"),
        ];
        for (text, expected) in cases {
            assert_eq!(url(text).as_deref(), Ok(expected), "{text}");
            assert_eq!(url(expected).as_deref(), Ok(expected));
            assert!(expected.parse::<ureq::http::Uri>().is_ok(), "{expected}");
        }
    }

    #[test]
    fn what_is_no_url_of_the_web_is_told() {
        let long = format!("https://example.com/{}", "a".repeat(2048));
        let cases = [
            ("", "not an absolute http or https URL"),
            ("example.com/a.png", "not an absolute http or https URL"),
            ("file:///etc/passwd", "neither an http nor an https URL"),
            ("gopher://example.com/", "neither an http nor an https URL"),
            ("https:///x", NO_HOST),
            ("https://u@example.com/", "a URL with a user name or password in it"),
            ("https://a.example:80@b.example/", "a URL with a user name or password in it"),
            ("https://example.com:/", "a port that is none"),
            ("https://example.com:0/", "a port that is none"),
            ("https://example.com:+80/", "a port that is none"),
            ("https://example.com:65536/", "a port that is none"),
            ("https://example.com:80:80/", "a port that is none"),
            ("https://[::1]x/", "a port that is none"),
            ("https://[::1%25lo]/", NO_HOST),
            ("https://[fe80::1%eth0]/", NO_HOST),
            ("https://[127.0.0.1]/", NO_HOST),
            ("https://[::1/", NO_HOST),
            ("https://example.com./", NO_HOST),
            ("https://example..com/", NO_HOST),
            ("https://.example.com/", NO_HOST),
            ("https://exa mple.com/", NO_HOST),
            ("https://exa%6dple.com/", NO_HOST),
            ("https://example.com\\@10.0.0.1/", "a URL with a user name or password in it"),
            ("https://example.com\\.evil.example/", NO_HOST),
            ("https://example.com\t/", NO_HOST),
            (" https://example.com/", "neither an http nor an https URL"),
            ("https://example.com/a\r\nHost: x", "a URL with a control character in it"),
            ("https://①②⑦.⓪.⓪.①/", "a host name that is not ASCII: write it in its xn-- form"),
            ("https://127。0。0。1/", "a host name that is not ASCII: write it in its xn-- form"),
            (&long, "a URL of more than 2048 bytes"),
        ];
        for (text, expected) in cases {
            assert_eq!(url(text).unwrap_err(), expected, "{text}");
        }
    }

    #[test]
    fn odd_spellings_of_addresses_are_no_hosts() {
        let hosts = "2130706433 0x7f000001 0X7F000001 017700000001 127.1 127.0.1 0177.0.0.1 0x7f.0.0.1 127.0.0.0x1 127.0.0.1.
            127.0.0.01 1.2.3.4.5 256.0.0.1 example.1 example.0x 0x 0 127.0.0.1:80:1 a.0x7f";
        for host in hosts.split_whitespace() {
            assert!(url(&format!("http://{host}/")).is_err(), "{host}");
        }
    }

    #[test]
    fn locations_are_joined() {
        let base = Target::parse("https://example.com:444/a/b?c=d").unwrap();
        let cases = [
            ("http://other.example/x", "http://other.example/x"),
            ("//other.example/x", "https://other.example/x"),
            ("/x?y", "https://example.com:444/x?y"),
            ("?y", "https://example.com:444/a/b?y"),
            ("x:y", ""),
            ("javascript:x", ""),
            ("x/y", "https://example.com:444/a/x/y"),
            ("x?u=http://e", "https://example.com:444/a/x?u=http://e"),
            ("", "https://example.com:444/a/"),
            ("//", ""),
            ("@evil.example/", "https://example.com:444/a/@evil.example/"),
        ];
        for (location, expected) in cases {
            let joined = base.join(location).map(|target| target.url()).unwrap_or_default();
            assert_eq!(joined, expected, "{location}");
        }
    }

    #[test]
    fn hosts_are_allowed_with_their_port_or_the_usual_ones() {
        let cases = [
            ("images.example", "http://IMAGES.example/", true),
            ("Images.example", "https://images.example/", true),
            ("images.example", "http://images.example:8080/", false),
            ("images.example:8080", "http://images.example:8080/", true),
            ("images.example:8080", "http://images.example/", false),
            ("images.example", "http://x.images.example/", false),
            ("10.0.0.1", "http://10.0.0.1/", true),
            ("[::1]:81", "http://[0:0::1]:81/", true),
        ];
        for (allowed, target, expected) in cases {
            let target = Target::parse(target).unwrap();
            assert_eq!(Allowed::parse(allowed).unwrap().is_of(&target), expected, "{allowed}");
        }
        for bad in ["", "http://x", "x/y", "x:", "*.example", "::1", "u@x", "127.1"] {
            assert!(Allowed::parse(bad).is_err(), "{bad}");
        }
    }
}
