//! HTTP towards AI Core and its token host, and for images of clients (`fetch`). The only place that names ureq.
//!
//! What ureq is told, and why (measured in the design of the front door): error statuses and redirects are answers, nothing
//! is decompressed, HTTP proxies of the environment are honoured (not for loopback addresses), and connections are kept in
//! a pool of ours (`pool`). Several agents share the load, since each has a lock that every request takes.

mod fetch;
mod identity;
mod pool;
mod resolver;
mod wire;

use std::cell::Cell;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::http;

use crate::error::Error;

pub use fetch::{Allowed, FetchSettings, Fetched, Fetcher, URLS_MAX};
pub use identity::Identity;

const AGENTS: usize = 8;
/// A connection that had been closed while it was idle is found out at once. One that breaks later was at work.
const STALE_MAX: Duration = Duration::from_secs(2);
/// The longest that AI Core may not take a byte of a request.
const WRITE_MAX: Duration = Duration::from_secs(30);

/// A client for AI Core. Cheap to share, pools its connections.
#[derive(Debug)]
pub struct AiCore {
    agents: Vec<ureq::Agent>,
    /// For loopback addresses, which no proxy of the environment can reach.
    direct_agents: Vec<ureq::Agent>,
}

/// How long AI Core may take, and whom to trust.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub connect_max: Duration,
    /// The longest silence: before the answer's head, and between its parts.
    pub idle_max: Duration,
    /// A PEM file with roots to trust beside the web's.
    pub extra_roots: Option<std::path::PathBuf>,
    /// Who we are, shown to every host that asks for it. Only for a token host: no other host is asked with it.
    pub identity: Option<Identity>,
}

/// An absolute http or https URL.
#[derive(Debug, Clone)]
pub struct Url(http::Uri);

/// A header's value.
#[derive(Debug, Clone)]
pub struct HeaderText(http::HeaderValue);

/// One request.
#[derive(Debug)]
pub struct Request<'a> {
    pub url: &'a Url,
    pub headers: &'a [(&'static str, &'a HeaderText)],
    pub method: Method<'a>,
    /// A shorter limit to silences than the configured one.
    pub silence_max: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
pub enum Method<'a> {
    Get,
    Delete,
    /// With this body.
    Post(&'a [u8]),
}

/// An answer whose body is still to be read. Dropped before its end, the connection is closed.
pub struct Response {
    pub status: u16,
    headers: http::HeaderMap,
    body: ureq::BodyReader<'static>,
    call: wire::Call,
    host: String,
}

/// Who looks on while AI Core is silent.
pub trait Watch {
    /// The client's socket: when its other end hangs up, the call ends with [`Error::ClientGone`].
    fn socket(&self) -> Option<BorrowedFd<'_>>;
    /// In how long, if AI Core stays silent, to call [`Watch::silent`].
    fn patience(&self) -> Option<Duration>;
    /// AI Core has been silent for too long. An error ends the call.
    fn silent(&self) -> Result<(), Error>;
}

impl AiCore {
    /// Fails where the file with extra roots cannot be used.
    pub fn new(settings: &Settings) -> Result<AiCore, String> {
        let mut tls = tls_config(settings.extra_roots.as_deref())?;
        if let Some(identity) = &settings.identity {
            tls.client_auth_cert_resolver = identity.resolver();
        }
        let tls = Arc::new(tls);
        // A token host is asked once in hours.
        let count = if settings.identity.is_some() { 1 } else { AGENTS };
        let resolver = Arc::new(resolver::CachingResolver::default());
        let agents = |proxy: Option<ureq::Proxy>| -> Vec<ureq::Agent> {
            let pool = Arc::new(pool::IdlePool::default());
            (0..count)
                .map(|_| {
                    let connector = wire::Connector::new(tls.clone(), pool.clone());
                    let resolver = resolver::Shared(resolver.clone());
                    ureq::Agent::with_parts(config(settings, proxy.clone()), connector, resolver)
                })
                .collect()
        };
        let direct_agents = agents(None);
        let agents = match ureq::Proxy::try_from_env() {
            Some(proxy) => agents(Some(proxy)),
            None => direct_agents.clone(),
        };
        Ok(AiCore { agents, direct_agents })
    }

    /// Sends a request and waits for the answer's head. A connection that had been idle and turns out to be closed is
    /// replaced once, as long as not a byte of an answer came.
    pub fn send(
        &self,
        request: &Request<'_>,
        watch: Option<Rc<dyn Watch>>,
    ) -> Result<Response, Error> {
        let silence_max = request.silence_max;
        let call = wire::Call { watch, silence_max, ..wire::Call::default() };
        let began = Instant::now();
        let mut result = wire::during(&call, || self.run(request));
        let is_stale = |e| wire::was_stale() && is_disconnect(e) && began.elapsed() < STALE_MAX;
        if matches!(&result, Err(e) if is_stale(e)) {
            let repeat = wire::Call { is_repeat: true, ..call.clone() };
            result = wire::during(&repeat, || self.run(request));
        }
        let host = request.url.host();
        let (parts, body) = result.map_err(|e| failure(e, host, request.method))?.into_parts();
        Ok(Response {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: body.into_reader(),
            call,
            host: host.to_owned(),
        })
    }

    fn run(&self, request: &Request<'_>) -> Result<http::Response<ureq::Body>, ureq::Error> {
        let agent = self.agent(request.url);
        let head = head(request);
        match request.method {
            Method::Get => agent.run(head),
            Method::Delete => {
                let mut delete = head;
                *delete.method_mut() = http::Method::DELETE;
                agent.run(delete)
            }
            Method::Post(bytes) => {
                let mut post = head.map(|()| bytes);
                *post.method_mut() = http::Method::POST;
                agent.run(post)
            }
        }
    }

    /// Each thread keeps to one agent, so that its lock and its pool are rarely shared.
    fn agent(&self, url: &Url) -> &ureq::Agent {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static MINE: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed) % AGENTS);
        }
        let agents = if url.is_loopback() { &self.direct_agents } else { &self.agents };
        &agents[MINE.get() % agents.len()]
    }
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Reads what has come, waiting for something to come. 0 at the end of a whole body.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let body = &mut self.body;
        let read = wire::during(&self.call, || body.read(buffer));
        read.map_err(|e| match failure(ureq::Error::Io(e), &self.host, Method::Get) {
            Error::Unreachable { what } => Error::BadReply { what },
            other => other,
        })
    }

    /// The whole body, of at most `bytes_max`.
    pub fn read_all(&mut self, bytes_max: usize) -> Result<Vec<u8>, Error> {
        let length = self.header("content-length").and_then(|v| v.parse::<usize>().ok());
        // One byte more than expected, so that the end is seen without growing; what is claimed is not believed too far.
        let mut more = length.map_or(8 * 1024, |n| n.min(64 * 1024) + 1);
        let mut out = vec![];
        let mut filled = 0;
        loop {
            if filled == out.len() {
                out.resize(filled + more, 0);
                more = out.len().min(1024 * 1024);
            }
            match self.read(&mut out[filled..])? {
                0 => break,
                n => filled += n,
            }
            if filled > bytes_max {
                return Err(Error::BadReply {
                    what: format!(
                        "SAP AI Core's answer is larger than {bytes_max} bytes, the limit of this proxy \
                         (`limits.reply_bytes_max`)."
                    ),
                });
            }
        }
        out.truncate(filled);
        Ok(out)
    }

    /// Nothing more is wanted of a body that is over but for its end: gives the connection back, if that end comes at once.
    pub fn finish(mut self) {
        self.call.silence_max = Some(Duration::from_millis(50));
        let mut rest = [0; 1024];
        for _ in 0..4 {
            if !matches!(self.read(&mut rest), Ok(n) if n > 0) {
                break;
            }
        }
    }
}

impl Url {
    pub fn parse(text: &str) -> Result<Url, String> {
        let uri: http::Uri = text.parse().map_err(|e| format!("not a URL: {e}"))?;
        match (uri.scheme_str(), uri.host()) {
            (Some("http" | "https"), Some(host)) if !host.is_empty() => Ok(Url(uri)),
            _ => Err("not an absolute http or https URL".into()),
        }
    }

    fn host(&self) -> &str {
        self.0.host().unwrap_or("")
    }

    fn is_loopback(&self) -> bool {
        let host = self.host().trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    }
}

impl HeaderText {
    pub fn new(text: &str) -> Result<HeaderText, String> {
        http::HeaderValue::from_str(text)
            .map(HeaderText)
            .map_err(|_| "has characters that no HTTP header can have".into())
    }

    /// A value that no log may show.
    pub fn secret(text: &str) -> Result<HeaderText, String> {
        let mut value = HeaderText::new(text)?;
        value.0.set_sensitive(true);
        Ok(value)
    }
}

fn config(settings: &Settings, proxy: Option<ureq::Proxy>) -> ureq::config::Config {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .accept_encoding("")
        .user_agent(concat!("sap-ai-core-llm-proxy/", env!("CARGO_PKG_VERSION")))
        .proxy(proxy)
        .max_response_header_size(wire::INPUT_BYTES_MAX / 2)
        .max_idle_connections(0)
        .timeout_connect(Some(settings.connect_max))
        .timeout_per_read(Some(settings.idle_max))
        .timeout_per_write(Some(WRITE_MAX))
        .build()
}

/// The web's roots, and the company's own where a file is given: ureq's own setting would replace the one by the other.
fn tls_config(extra_roots: Option<&Path>) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = extra_roots {
        let shown = path.display();
        let certificates = CertificateDer::pem_file_iter(path)
            .and_then(|found| found.collect::<Result<Vec<_>, _>>())
            .map_err(|e| format!("{shown}: {e}"))?;
        if certificates.is_empty() {
            return Err(format!("{shown}: no certificate in it"));
        }
        for certificate in certificates {
            roots.add(certificate).map_err(|e| format!("{shown}: {e}"))?;
        }
    }
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn provider() -> rustls::crypto::CryptoProvider {
    rustls::crypto::ring::default_provider()
}

fn head(request: &Request<'_>) -> http::Request<()> {
    let mut head = http::Request::new(());
    *head.uri_mut() = request.url.0.clone();
    let headers = head.headers_mut();
    headers.reserve(request.headers.len() + 4);
    for (name, value) in request.headers {
        headers.insert(http::HeaderName::from_static(name), value.0.clone());
    }
    head
}

/// Whether the other end had closed the connection. A client that hung up or a silence that was too long is none.
fn is_disconnect(error: &ureq::Error) -> bool {
    use std::io::ErrorKind::*;
    let kinds = [BrokenPipe, ConnectionReset, ConnectionAborted, UnexpectedEof, NotConnected];
    matches!(error, ureq::Error::Io(e) if kinds.contains(&e.kind()))
}

/// What a failed call was, in words for the person at the client.
fn failure(error: ureq::Error, host: &str, method: Method<'_>) -> Error {
    use std::io::ErrorKind;
    let bytes = if let Method::Post(body) = method { body.len() } else { 0 };
    let error = match error {
        ureq::Error::Io(e) => match e.downcast::<ureq::Error>() {
            Ok(inner) => inner,
            Err(e) => match e.downcast::<Error>() {
                Ok(ours) => return ours,
                Err(e) => ureq::Error::Io(e),
            },
        },
        other => other,
    };
    match error {
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
            Error::Unreachable { what: format!("{host} does not accept a connection in time.") }
        }
        ureq::Error::Timeout(_) => {
            Error::Timeout { what: format!("{host} is silent for too long.") }
        }
        ureq::Error::HostNotFound => {
            Error::Unreachable { what: format!("{host} cannot be found: no such host name.") }
        }
        ureq::Error::Io(e)
            if matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
                && bytes > 256 * 1024 =>
        {
            let what = format!(
                "{host} closed the connection while a request of {bytes} bytes was being sent; it may be too large for it."
            );
            Error::Unreachable { what }
        }
        ureq::Error::Io(e) if e.kind() == ErrorKind::TimedOut => {
            Error::Timeout { what: format!("{host} is silent for too long.") }
        }
        ureq::Error::Io(e) if e.kind() == ErrorKind::InvalidData => match refusal(&e) {
            Some(alert) => Error::CertificateRefused { host: host.to_owned(), alert },
            None => Error::Unreachable { what: format!("{host}: no safe connection: {e}.") },
        },
        ureq::Error::Io(e) => {
            Error::Unreachable { what: format!("The connection to {host} failed: {e}.") }
        }
        ureq::Error::ConnectProxyFailed(why) => Error::Unreachable {
            what: format!("The HTTP proxy of the environment does not reach {host}: {why}."),
        },
        other => {
            Error::BadReply { what: format!("{host} does not speak HTTP as it should: {other}.") }
        }
    }
}

/// What the other end says of our certificate, or of there being none.
fn refusal(error: &std::io::Error) -> Option<String> {
    use rustls::AlertDescription::*;
    let alert = match error.get_ref()?.downcast_ref()? {
        rustls::Error::AlertReceived(alert) => alert,
        _ => return None,
    };
    let is_refusal = matches!(
        alert,
        AccessDenied
            | BadCertificate
            | CertificateExpired
            | CertificateRequired
            | CertificateRevoked
            | CertificateUnknown
            | NoCertificate
            | UnknownCA
            | UnsupportedCertificate
    );
    is_refusal.then(|| format!("{alert:?}"))
}
