//! Service keys with a certificate (X.509): mutual TLS with the token host, and none with AI Core. Both are TLS servers of
//! this file; the token host takes nobody without a certificate of its CA, the API host takes everybody and notes who showed
//! one.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::thread;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use sap_ai_core_llm_proxy::config::{self, Config, Proof};
use sap_ai_core_llm_proxy::credentials::Credentials;
use sap_ai_core_llm_proxy::live::Live;
use sap_ai_core_llm_proxy::relay::Relay;
use sap_ai_core_llm_proxy::server::Server;
use serde_json::json;
use support::{Client, Reply, hi};

const ID: &str = "sb-1!b2|aicore!b3";
const FORM: &str = "grant_type=client_credentials&client_id=sb-1%21b2%7Caicore%21b3";
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
/// A name that no resolver knows: only a proxy can reach it.
const HOST: &str = "sap.test";
const DAY: Duration = Duration::from_secs(24 * 3600);

#[test]
fn the_token_host_sees_the_certificate_and_ai_core_the_access_token() {
    for version in VERSIONS {
        let world = World::start(version);
        let proxy = serve(&world.config(&world.clients.issue(300 * DAY)));
        let mut client = Client::to(proxy.address());
        for _ in 0..2 {
            assert_eq!(client.chat(&hi("gpt-4o")).said(), "over TLS");
        }
        world.check_traffic(1, 2);
    }
}

#[test]
fn a_certificate_of_another_ca_is_refused_and_that_is_said() {
    for version in VERSIONS {
        let world = World::start(version);
        let stranger = Authority::new("stranger").issue(300 * DAY);
        let reply = chat(&world.config(&stranger));
        assert_refused(&reply, "it refuses the certificate of the service key (");
        assert_eq!(world.token_host.connections(), 1, "no other try makes it better");
        world.check_traffic(0, 0);
    }
}

#[test]
fn a_certificate_of_another_client_is_refused_and_that_is_said() {
    let world = World::start(&TLS13);
    let mut config = world.config(&world.clients.issue(300 * DAY));
    config.subaccounts[0].service_key.client_id = "sb-other".into();
    let expected = "it refuses the certificate of the service key (401: Bad credentials)";
    assert_refused(&chat(&config), expected);
    world.check_traffic(1, 0);
}

#[test]
fn an_expired_certificate_is_warned_of_and_its_end_is_in_the_error() {
    let messages = messages();
    let world = World::start(&TLS13);
    let mut config = world.config(&world.clients.issue_until(date_time_ymd(2026, 1, 2).into()));
    config.subaccounts[0].path = r#"subAccounts["over"]"#.into();
    let expected = "it refuses the certificate of the service key, which expired on 2026-01-02, (";
    assert_refused(&chat(&config), expected);
    let about = about(messages, r#"subAccounts["over"]"#);
    let expected =
        r#"subAccounts["over"].service_key_json.certificate: it expired on 2026-01-02, "#;
    assert!(about.len() == 1 && about[0].starts_with(expected), "{about:?}");
}

#[test]
fn a_certificate_that_expires_soon_is_warned_of_once_and_serves() {
    let messages = messages();
    let world = World::start(&TLS13);
    for (name, life, expected) in [("soon", 10 * DAY, 1), ("late", 40 * DAY, 0)] {
        let mut config = world.config(&world.clients.issue(life));
        config.subaccounts[0].path = format!("subAccounts[{name:?}]");
        assert_eq!(chat(&config).said(), "over TLS");
        let about = about(messages, &format!("subAccounts[{name:?}]"));
        assert_eq!(about.len(), expected, "{about:?}");
        let is_said = |text: &String| text.contains("it expires on ") && text.contains(" days)");
        assert!(about.iter().all(is_said), "{about:?}");
    }
}

#[test]
fn when_it_expires_can_be_asked() {
    let world = World::start(&TLS13);
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_893_456_000);
    let config = world.config(&world.clients.issue_until(at));
    let mut key = config.subaccounts[0].service_key.clone();
    let settings = Default::default();
    assert_eq!(Credentials::new(&key, "k", &settings).unwrap().expires(), Some(at));
    key.proof = Proof::Secret("secret".into());
    assert_eq!(Credentials::new(&key, "k", &settings).unwrap().expires(), None);
}

#[test]
fn what_is_wrong_with_the_pair_is_said_at_the_start() {
    let world = World::start(&TLS13);
    let (one, other) = (world.clients.issue(DAY), world.clients.issue(DAY));
    let no_key = Pair { key: "secret".into(), ..one.clone() };
    let no_chain = Pair { chain: "secret".into(), ..one.clone() };
    let cases = [
        (Pair { key: other.key, ..one }, "key: it does not belong to the certificate beside it"),
        (no_key, "key: holds no private key: "),
        (no_chain, "certificate: holds no certificate: "),
    ];
    for (pair, expected) in cases {
        for (path, prefix) in [("", ""), (r#"subAccounts["a"]"#, r#"subAccounts["a"]."#)] {
            let mut config = world.config(&pair);
            config.subaccounts[0].path = path.into();
            let faults = Relay::new(&config).err().expect("refused").join("\n");
            assert!(
                faults.starts_with(&format!("{prefix}service_key_json.{expected}")),
                "{faults}"
            );
            assert!(!faults.contains("secret") && !faults.contains('\n'), "{faults}");
        }
    }
}

#[test]
fn a_secret_where_a_certificate_is_wanted_is_told_so() {
    for version in VERSIONS {
        let world = World::start(version);
        let mut config = world.config(&world.clients.issue(DAY));
        config.subaccounts[0].service_key.proof = Proof::Secret("s3cr3t".into());
        assert_refused(&chat(&config), "it wants a certificate (CertificateRequired)");
        world.check_traffic(0, 0);
    }
}

/// In a process of its own, whose environment names the proxy.
#[test]
fn a_proxy_of_the_environment_leads_to_both_hosts() {
    const NAME: &str = "a_proxy_of_the_environment_leads_to_both_hosts";
    if std::env::var_os("X509_WITHIN").is_some() {
        let world = World::at(HOST, &TLS13);
        assert_eq!(chat(&world.config(&world.clients.issue(DAY))).said(), "over TLS");
        world.check_traffic(1, 1);
        return;
    }
    let tunnels = Arc::new(AtomicUsize::new(0));
    let proxy = start_tunnels(tunnels.clone());
    let within = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME])
        .env("X509_WITHIN", "1")
        .env("HTTPS_PROXY", format!("http://{proxy}"))
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .unwrap();
    assert!(within.status.success(), "{}", String::from_utf8_lossy(&within.stdout));
    assert_eq!(tunnels.load(Ordering::SeqCst), 2, "one to each host");
}

fn chat(config: &Config) -> Reply {
    Client::to(serve(config).address()).chat(&hi("gpt-4o"))
}

fn serve(config: &Config) -> Server {
    let relay = Relay::new(config).unwrap_or_else(|e| panic!("{e:?}"));
    Server::start(Live::new(relay), &config.limits, "127.0.0.1", 0, None).unwrap()
}

fn assert_refused(reply: &Reply, expected: &str) {
    assert_eq!(reply.status, 502);
    let text = String::from_utf8_lossy(&reply.body);
    assert!(text.contains(&format!("No access token from SAP's token host: {expected}")), "{text}");
    assert!(!text.contains("BEGIN") && !text.contains("s3cr3t"), "{text}");
}

/// A token host that knows its clients, AI Core, and a configuration for both.
struct World {
    host: &'static str,
    clients: Authority,
    token_host: Host,
    api: Host,
    folder: Folder,
}

impl World {
    fn start(version: &'static SupportedProtocolVersion) -> World {
        World::at("localhost", version)
    }

    fn at(host: &'static str, version: &'static SupportedProtocolVersion) -> World {
        let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
        let verifier = || {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(clients.pem.as_bytes()).unwrap()).unwrap();
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        };
        let wants = verifier().build().unwrap();
        let asks = verifier().allow_unauthenticated().build().unwrap();
        let token_host = Host::start(&servers, version, wants, access_token);
        let api = Host::start(&servers, version, asks, completion);
        let folder = Folder::make();
        std::fs::write(folder.0.join("ca.pem"), &servers.pem).unwrap();
        World { host, clients, token_host, api, folder }
    }

    fn config(&self, pair: &Pair) -> Config {
        let at = |host: &Host| format!("https://{}:{}", self.host, host.address.port());
        let text = json!({
            "service_key_json": {
                "clientid": ID, "clientsecret": "s3cr3t", "url": at(&self.token_host),
                "serviceurls": {"AI_API_URL": at(&self.api)},
            },
            "deployment_models": {"gpt-4o": format!("{}/v2/inference/deployments/d1", at(&self.api))},
            "secret_authentication_tokens": ["sk-demo"],
            "upstream_ca": self.folder.0.join("ca.pem"),
        });
        let loaded = config::from_json(&text.to_string(), Path::new(""));
        let mut config = loaded.unwrap_or_else(|e| panic!("{e}")).config;
        let (chain, key) = (pair.chain.clone(), pair.key.clone());
        config.subaccounts[0].service_key.proof = Proof::Certificate { chain, key };
        config
    }

    /// So many requests of each kind came, each as it should be.
    #[track_caller]
    fn check_traffic(&self, tokens: usize, chats: usize) {
        let seen = self.token_host.seen.lock().unwrap();
        assert_eq!(seen.len(), tokens);
        for request in &*seen {
            assert!(request.has_certificate);
            assert!(request.head.starts_with("POST /oauth/token HTTP/1.1\r\n"), "{}", request.head);
            assert!(
                !request.head.to_lowercase().contains("\r\nauthorization:"),
                "{}",
                request.head
            );
        }
        let seen = self.api.seen.lock().unwrap();
        assert_eq!(seen.len(), chats);
        for request in &*seen {
            assert!(!request.has_certificate, "AI Core is not shown the certificate");
            assert!(request.head.contains("authorization: Bearer t0k3n\r\n"), "{}", request.head);
        }
    }
}

fn access_token(request: &Request) -> String {
    match request.body.as_slice() == FORM.as_bytes() {
        true => whole("200 OK", r#"{"access_token":"t0k3n","expires_in":43199}"#),
        false => whole(
            "401 Unauthorized",
            r#"{"error":"unauthorized","error_description":"Bad credentials"}"#,
        ),
    }
}

fn completion(_: &Request) -> String {
    let message = json!({"role": "assistant", "content": "over TLS"});
    let choices = json!([{"index": 0, "message": message, "finish_reason": "stop"}]);
    whole("200 OK", &json!({"model": "gpt-4o-2024", "choices": choices}).to_string())
}

fn whole(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A TLS server.
struct Host {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<Request>>>,
}

struct Request {
    head: String,
    body: Vec<u8>,
    has_certificate: bool,
}

impl Host {
    fn start(
        authority: &Authority,
        version: &'static SupportedProtocolVersion,
        clients: Arc<dyn ClientCertVerifier>,
        answer: fn(&Request) -> String,
    ) -> Host {
        let pair = authority.issue(DAY);
        let chain = vec![CertificateDer::from_pem_slice(pair.chain.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let tls = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key)
            .unwrap();
        let tls = Arc::new(tls);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::default()));
        let host = Host { address, connections: connections.clone(), seen: Arc::clone(&seen) };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                connections.fetch_add(1, Ordering::SeqCst);
                // What waits to be sent is lost when a connection is cut: TLS's last word.
                stream.set_nodelay(true).unwrap();
                let connection = rustls::ServerConnection::new(tls.clone()).unwrap();
                let mut stream = rustls::StreamOwned::new(connection, stream);
                let seen = Arc::clone(&seen);
                thread::spawn(move || {
                    while let Some(request) = request(&mut stream) {
                        let reply = answer(&request);
                        seen.lock().unwrap().push(request);
                        let written = stream.write_all(reply.as_bytes());
                        if written.and_then(|()| stream.flush()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        host
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn request(
    stream: &mut rustls::StreamOwned<rustls::ServerConnection, TcpStream>,
) -> Option<Request> {
    let mut bytes = vec![];
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).ok()?;
    let length =
        head.lines().find_map(|l| l.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    let has_certificate = stream.conn.peer_certificates().is_some();
    Some(Request { head, body, has_certificate })
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A CA.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its private key: PEM.
#[derive(Clone)]
struct Pair {
    chain: String,
    key: String,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    fn issue(&self, life: Duration) -> Pair {
        self.issue_until(SystemTime::now() + life)
    }

    fn issue_until(&self, end: SystemTime) -> Pair {
        let key = KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), HOST.to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = end.into();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { chain, key: key.serialize_pem() }
    }
}

/// An HTTP proxy that makes tunnels: to a port of this machine, whatever the host is.
fn start_tunnels(opened: Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            opened.fetch_add(1, Ordering::SeqCst);
            thread::spawn(move || tunnel(client));
        }
    });
    address
}

fn tunnel(mut client: TcpStream) -> Option<()> {
    let mut head = vec![];
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let port = head.strip_prefix(&format!("CONNECT {HOST}:"))?.split(' ').next()?;
    let server = TcpStream::connect(("127.0.0.1", port.parse().ok()?)).ok()?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").ok()?;
    let (from_client, to_server) = (client.try_clone().ok()?, server.try_clone().ok()?);
    thread::spawn(move || pump(from_client, to_server));
    pump(server, client);
    Some(())
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(std::net::Shutdown::Write);
}

/// What is logged in this process from now on.
fn messages() -> &'static Mutex<Vec<String>> {
    struct Kept;
    static MESSAGES: Mutex<Vec<String>> = Mutex::new(vec![]);
    static START: Once = Once::new();
    impl log::Log for Kept {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &log::Record<'_>) {
            if record.level() == log::Level::Warn {
                MESSAGES.lock().unwrap().push(record.args().to_string());
            }
        }

        fn flush(&self) {}
    }
    START.call_once(|| {
        log::set_logger(&Kept).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
    });
    &MESSAGES
}

fn about(messages: &Mutex<Vec<String>>, path: &str) -> Vec<String> {
    let messages = messages.lock().unwrap();
    messages.iter().filter(|text| text.starts_with(path)).cloned().collect()
}

struct Folder(PathBuf);

impl Folder {
    fn make() -> Folder {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("x509-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
