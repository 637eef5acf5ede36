//! Images and PDFs that a client names by URL, fetched under limits for models that take them only within the request.
//!
//! The URL is a stranger's, and we stand in a network that he may not look into. So:
//!
//! - Only http and https, ports 80 and 443, no user names; at most three redirects, each judged as the first URL was, none
//!   from https to http.
//! - We look the name up ourselves, once. All of its addresses have to be of the public internet, and the connection goes
//!   to these very addresses: what the name means a moment later does not count (DNS rebinding).
//! - Hosts that the configuration names are free of this, and may have another port.
//! - Every failure is the client's 400. A name that there is none of and one that leads inside are told in the same words,
//!   and no part of an answer is ever told but its status.
//! - Nothing is sent but Host, User-Agent and Accept. No connection is used twice. Nothing is decompressed.
//! - What a file is, its own first bytes say; nobody's Content-Type is believed.
//!
//! With an HTTP proxy in the environment the same holds, and the tunnel is asked for by address, since the proxy would look
//! a name up anew: what cannot be looked up here is not fetched. Hosts that the configuration names go by their name, so
//! that is also the way out where a proxy admits only names.

mod address;
mod target;

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ureq::http::{self, header};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use super::{HeaderText, Settings, Url, Watch, pool, resolver, wire};
use crate::error::Error;
use crate::media;
use target::{Host, Target};

pub use target::Allowed;

/// The most URLs that may be fetched for one request; the caller counts.
pub const URLS_MAX: usize = 20;

const REDIRECTS_MAX: usize = 3;
/// Of a name's addresses so many are tried, all are judged.
const ADDRESSES_MAX: usize = 16;
/// Look-ups at a time. The system's takes as long as it likes, longer than the one who asked may wait.
const LOOK_UPS_MAX: usize = 128;

const ACCEPT: &str = "image/png, image/jpeg, image/gif, image/webp, application/pdf";
const SEND_DATA: &str = "send a data: URL";

/// Fetches what clients name. Cheap to share.
pub struct Fetcher {
    settings: FetchSettings,
    tls: Arc<rustls::ClientConfig>,
    proxy: Option<ureq::Proxy>,
    /// For the proxy's own name. Clients' names are not kept: there is no end of them.
    resolver: Arc<resolver::CachingResolver>,
    look_up: LookUp,
}

/// What may be fetched.
#[derive(Debug, Clone)]
pub struct FetchSettings {
    /// `limits.fetch_images`
    pub enabled: bool,
    /// `limits.fetch_images_from`
    pub allowed: Vec<Allowed>,
    /// `limits.image_bytes_max`
    pub bytes_max: usize,
    /// `limits.image_ms_max`: for the whole, from the look-up to the last byte.
    pub time_max: Duration,
    /// A PEM file with roots to trust beside the web's.
    pub extra_roots: Option<PathBuf>,
}

/// An image or a PDF, whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetched {
    /// As its bytes have it: `image/png`, `image/jpeg`, `image/gif`, `image/webp` or `application/pdf`.
    pub media_type: String,
    pub bytes: Vec<u8>,
}

type LookUp = Arc<dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

impl Fetcher {
    /// Fails where the file with extra roots cannot be used.
    pub fn new(settings: &FetchSettings) -> Result<Fetcher, String> {
        let look_up = |name: &str, port| (name, port).to_socket_addrs().map(Iterator::collect);
        Fetcher::with(settings, ureq::Proxy::try_from_env(), Arc::new(look_up))
    }

    fn with(
        settings: &FetchSettings,
        proxy: Option<ureq::Proxy>,
        look_up: LookUp,
    ) -> Result<Fetcher, String> {
        Ok(Fetcher {
            settings: settings.clone(),
            tls: Arc::new(super::tls_config(settings.extra_roots.as_deref())?),
            proxy,
            resolver: Arc::default(),
            look_up,
        })
    }

    /// Fetches `url`, which stands at the JSON path `path`. `room` is how many bytes the request may still grow by, in the
    /// file's own bytes; the smaller of it and the limit to one file counts. An error is a [`Error::BadRequest`], unless the
    /// client is gone or our own limits are reached.
    pub fn fetch(
        &self,
        url: &str,
        path: &str,
        room: usize,
        watch: Option<Rc<dyn Watch>>,
    ) -> Result<Fetched, Error> {
        let deadline = Instant::now() + self.settings.time_max;
        let call = wire::Call { watch, deadline: Some(deadline), ..wire::Call::default() };
        Task { fetcher: self, path, room, call, deadline }.run(url)
    }
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fetcher")
    }
}

/// One URL and what it leads to.
struct Task<'a> {
    fetcher: &'a Fetcher,
    path: &'a str,
    room: usize,
    call: wire::Call,
    deadline: Instant,
}

enum Answer {
    File(Fetched),
    Moved(Target),
}

/// How a host is reached.
enum Way {
    /// At these addresses.
    Direct(Vec<SocketAddr>),
    /// Through the proxy, which is asked for an address, or for the name.
    Tunnel(ureq::Proxy, Option<IpAddr>),
}

impl Task<'_> {
    fn run(&self, url: &str) -> Result<Fetched, Error> {
        if !self.fetcher.settings.enabled {
            let why = "image URLs are not fetched by this proxy (`limits.fetch_images`)";
            return Err(Error::bad_request(self.path, format!("{why}: {SEND_DATA}")));
        }
        let mut target = Target::parse(url).map_err(|why| self.refusal(&why))?;
        for _ in 0..=REDIRECTS_MAX {
            match self.get(&target)? {
                Answer::File(file) => return Ok(file),
                Answer::Moved(to) => target = to,
            }
        }
        Err(self.refusal(&format!("more than {REDIRECTS_MAX} redirects")))
    }

    fn get(&self, target: &Target) -> Result<Answer, Error> {
        let (agent, url) = self.agent(target, self.way(target)?)?;
        let head = self.head(target, &url)?;
        let response = wire::during(&self.call, || agent.run(head));
        let response = response.map_err(|e| self.failure(e))?;
        match response.status().as_u16() {
            200 => self.file(response).map(Answer::File),
            status @ (301 | 302 | 303 | 307 | 308) => {
                match response.headers().get(header::LOCATION).map(|v| v.as_bytes()) {
                    Some(location) => self.redirect(target, location).map(Answer::Moved),
                    None => Err(self.refusal(&format!("the server answered {status}"))),
                }
            }
            status => Err(self.refusal(&format!("the server answered {status}"))),
        }
    }

    fn redirect(&self, from: &Target, location: &[u8]) -> Result<Target, Error> {
        let location = std::str::from_utf8(location).map_err(|_| "no URL".to_owned());
        let to = location
            .and_then(|location| from.join(location))
            .map_err(|why| self.refusal(&format!("a redirect to what is not followed: {why}")))?;
        match from.is_https && !to.is_https {
            true => Err(self.refusal("a redirect from https to http")),
            false => Ok(to),
        }
    }

    fn way(&self, target: &Target) -> Result<Way, Error> {
        let is_allowed = self.fetcher.settings.allowed.iter().any(|a| a.is_of(target));
        if !is_allowed && !target::is_usual(target.port) {
            return Err(self.refusal("a port that is not the web's, 80 or 443"));
        }
        let url = self.parsed(&target.url())?;
        let is_direct =
            |proxy: &&ureq::Proxy| proxy.is_no_proxy(&url.0) || (is_allowed && url.is_loopback());
        let proxy = self.fetcher.proxy.as_ref().filter(|proxy| !is_direct(proxy));
        if let (Some(proxy), true) = (proxy, is_allowed) {
            return Ok(Way::Tunnel(proxy.clone(), None));
        }
        let addresses = self.addresses(target)?;
        if !is_allowed && !addresses.iter().all(|a| address::is_public(a.ip())) {
            return Err(self.not_found());
        }
        // Not every proxy knows IPv6.
        let first = addresses.iter().find(|a| a.is_ipv4()).or(addresses.first());
        match (proxy, first) {
            (_, None) => Err(self.not_found()),
            (Some(proxy), Some(first)) => Ok(Way::Tunnel(proxy.clone(), Some(first.ip()))),
            (None, Some(_)) => Ok(Way::Direct(addresses)),
        }
    }

    fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, Error> {
        let name = match &target.host {
            Host::Address(address) => return Ok(vec![SocketAddr::new(*address, target.port)]),
            Host::Name(name) => name,
        };
        let found = look_up(&self.fetcher.look_up, name, target.port, self.time_left())?;
        found.ok_or_else(|| if self.is_over() { self.too_slow() } else { self.not_found() })
    }

    /// An agent for this one request, and the URL it is given.
    fn agent(&self, target: &Target, way: Way) -> Result<(ureq::Agent, Url), Error> {
        let left = self.time_left();
        let settings = Settings { connect_max: left, idle_max: left, ..Settings::default() };
        let connector =
            wire::Connector::new(self.fetcher.tls.clone(), Arc::<pool::IdlePool>::default());
        let (proxy, ip) = match way {
            Way::Direct(addresses) => {
                let config = super::config(&settings, None);
                let agent = ureq::Agent::with_parts(config, connector, Judged(addresses));
                return Ok((agent, self.parsed(&target.url())?));
            }
            Way::Tunnel(proxy, ip) => (proxy, ip),
        };
        let host = ip.map_or(target.host.clone(), Host::Address);
        let connector = connector.with_stand_in(host.to_string(), target.host.to_string());
        let resolver = resolver::Shared(self.fetcher.resolver.clone());
        let config = super::config(&settings, Some(proxy));
        let agent = ureq::Agent::with_parts(config, connector, resolver);
        Ok((agent, self.parsed(&target.url_at(&host))?))
    }

    fn head(&self, target: &Target, url: &Url) -> Result<http::Request<()>, Error> {
        let host = HeaderText::new(&target.host_header()).map_err(|why| self.refusal(&why))?;
        let mut head = http::Request::new(());
        *head.uri_mut() = url.0.clone();
        head.headers_mut().insert(header::HOST, host.0);
        head.headers_mut().insert(header::ACCEPT, http::HeaderValue::from_static(ACCEPT));
        Ok(head)
    }

    fn parsed(&self, url: &str) -> Result<Url, Error> {
        Url::parse(url).map_err(|why| self.refusal(&why))
    }

    fn file(&self, response: http::Response<ureq::Body>) -> Result<Fetched, Error> {
        let bytes_max = self.room.min(self.fetcher.settings.bytes_max);
        let length = response.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|v| v.to_str().ok()?.parse::<u64>().ok()).unwrap_or(0);
        if length > bytes_max as u64 {
            return Err(self.too_large());
        }
        let mut reader = response.into_body().into_reader();
        let mut bytes = vec![];
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = wire::during(&self.call, || reader.read(&mut buffer));
            let n = read.map_err(|e| self.failure(e.into()))?;
            // Asked before the rest is fetched: what is no image would be fetched in vain.
            let had_magic = bytes.len() >= media::MAGIC_BYTES;
            bytes.extend_from_slice(&buffer[..n]);
            if n == 0 || (!had_magic && bytes.len() >= media::MAGIC_BYTES) {
                self.media_type(&bytes)?;
            }
            if bytes.len() > bytes_max {
                return Err(self.too_large());
            }
            if self.is_over() {
                return Err(self.too_slow());
            }
            if n == 0 {
                return Ok(Fetched { media_type: self.media_type(&bytes)?.to_owned(), bytes });
            }
        }
    }

    fn media_type(&self, bytes: &[u8]) -> Result<&'static str, Error> {
        let why = "not an image that models take (PNG, JPEG, GIF, WebP) nor a PDF";
        media::sniff(bytes).ok_or_else(|| Error::bad_request(self.path, why))
    }

    fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn is_over(&self) -> bool {
        self.time_left().is_zero()
    }

    fn refusal(&self, why: &str) -> Error {
        Error::bad_request(self.path, format!("not fetched: {why}"))
    }

    /// The same for what there is not and what is not to be seen.
    fn not_found(&self) -> Error {
        self.refusal(&format!(
            "its host cannot be found on the public internet; check the name, or {SEND_DATA}"
        ))
    }

    fn too_slow(&self) -> Error {
        let ms = self.fetcher.settings.time_max.as_millis();
        self.refusal(&format!("it took longer than {ms} ms (`limits.image_ms_max`)"))
    }

    fn too_large(&self) -> Error {
        let bytes_max = self.fetcher.settings.bytes_max;
        match self.room < bytes_max {
            true => {
                self.refusal("the request would be too large with it (`limits.body_bytes_max`)")
            }
            false => self.refusal(&format!(
                "it is larger than {bytes_max} bytes (`limits.image_bytes_max`)"
            )),
        }
    }

    /// Few words: the client learns no more of a failed connection than that it failed.
    fn failure(&self, error: ureq::Error) -> Error {
        let is_proxy = matches!(error, ureq::Error::ConnectProxyFailed(_));
        match super::failure(error, "", super::Method::Get) {
            Error::ClientGone => Error::ClientGone,
            Error::Timeout { .. } => self.too_slow(),
            _ if self.is_over() => self.too_slow(),
            _ if is_proxy => self.refusal("the HTTP proxy of the environment does not lead there"),
            Error::Unreachable { .. } | Error::CertificateRefused { .. } => self.refusal(
                "its host cannot be reached, has no certificate to trust, or broke the connection",
            ),
            _ => self.refusal("its host does not speak HTTP as it should"),
        }
    }
}

/// The addresses of a name. `None`: there are none, or they did not come in time.
fn look_up(
    look_up: &LookUp,
    name: &str,
    port: u16,
    time_max: Duration,
) -> Result<Option<Vec<SocketAddr>>, Error> {
    let busy = || Error::Busy { what: "too many host names are being looked up" };
    let count = Count::one_more().ok_or_else(busy)?;
    let (name, look_up) = (name.to_owned(), look_up.clone());
    let (sender, receiver) = mpsc::sync_channel(1);
    let work = move || {
        let _count = count;
        // Nobody listens any more where it took too long.
        let _ = sender.send(look_up(&name, port));
    };
    thread::Builder::new().name("look-up".into()).spawn(work).map_err(|_| busy())?;
    Ok(receiver.recv_timeout(time_max).ok().and_then(Result::ok))
}

/// One of [`LOOK_UPS_MAX`].
struct Count;

static LOOK_UPS: AtomicUsize = AtomicUsize::new(0);

impl Count {
    fn one_more() -> Option<Count> {
        let more = |n| (n < LOOK_UPS_MAX).then_some(n + 1);
        LOOK_UPS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Count)
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        LOOK_UPS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Gives the addresses that were judged, whatever it is asked for.
#[derive(Debug)]
struct Judged(Vec<SocketAddr>);

impl Resolver for Judged {
    fn resolve(
        &self,
        _: &http::Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut result = self.empty();
        for address in self.0.iter().take(ADDRESSES_MAX) {
            result.push(*address);
        }
        if result.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(result) }
    }
}

#[cfg(test)]
mod tests;
