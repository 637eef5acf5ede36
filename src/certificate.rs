//! Where the server's certificate comes from, and what it is served with.
//!
//! The paths given; else `cert/cert.pem` and `cert/key.pem`; else `./cert.pem` and `./key.pem`. Where there are none, a local
//! CA (`cert/ca.pem`, `cert/ca-key.pem`) is made and issues a server certificate. A certificate file whose chain ends in that
//! CA is ours: it is made anew when it nears its end or lacks a name. Any other certificate is never touched.
//!
//! Whether ours still serves is asked of rustls' own verifier, as a client would, so no X.509 parser is needed.

use crate::auth::digest;
use crate::config::readable_by_others;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, RootCertStore, ServerConfig};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

#[derive(Clone, Debug, PartialEq)]
pub struct Files {
    pub cert: PathBuf,
    pub key: PathBuf,
    /// The local CA that issued it, where the certificate is ours.
    pub ca: Option<PathBuf>,
    /// Whether it was made just now.
    pub made: bool,
}

/// Finds the certificate, or makes one for `host` and the names of this machine. `cert` and `key` are what was asked for,
/// `folder` is what the default paths are relative to: the working directory, `""`.
pub fn locate_or_make(
    cert: Option<&Path>,
    key: Option<&Path>,
    folder: &Path,
    host: &str,
) -> Result<Files, String> {
    match (cert, key) {
        (Some(cert), Some(key)) => return Ok(found(cert.to_path_buf(), key.to_path_buf())),
        (None, None) => {}
        _ => {
            return Err(
                "a certificate and its private key go together: give both --cert and --key".into(),
            );
        }
    }
    let home = folder.join("cert");
    let own = Own::in_folder(&home);
    if own.cert.exists() || own.key.exists() {
        return if own.is_ours() {
            own.renewed(&names(host))
        } else {
            Ok(found(own.cert, own.key))
        };
    }
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    if cert.exists() || key.exists() {
        return Ok(found(cert, key));
    }
    fs::create_dir_all(&home).map_err(|e| format!("{} cannot be made: {e}", home.display()))?;
    own.issued(&names(host))
}

/// What the files give: TLS 1.2 and 1.3, HTTP/1.1.
pub fn server_config(files: &Files) -> Result<Arc<ServerConfig>, String> {
    if readable_by_others(&files.key) {
        let key = files.key.display();
        log::warn!("{key} is a private key and others can read it: chmod 600 {key}");
    }
    let chain = chain(&files.cert)?;
    let key = private_key(&files.key)?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|e| format!("TLS cannot be set up: {e}"))?;
    let mut config = builder
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| misfit(files, &e))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The server configuration of files that may change: replaced files are picked up with the next handshake, at most once a
/// second; while the new ones are bad the old ones keep serving.
pub struct Reloading {
    files: Files,
    state: Mutex<State>,
}

struct State {
    config: Arc<ServerConfig>,
    stamps: [Stamp; 2],
    checked: Instant,
}

/// Time and size; `None` without the file.
type Stamp = Option<(SystemTime, u64)>;

const CHECK_EVERY: Duration = Duration::from_secs(1);

impl Reloading {
    pub fn new(files: Files) -> Result<Reloading, String> {
        let stamps = stamps(&files);
        let config = server_config(&files)?;
        Ok(Reloading {
            files,
            state: Mutex::new(State { config, stamps, checked: Instant::now() }),
        })
    }

    pub fn current(&self) -> Arc<ServerConfig> {
        self.current_at(Instant::now())
    }

    fn current_at(&self, now: Instant) -> Arc<ServerConfig> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(state.checked) >= CHECK_EVERY {
            state.checked = now;
            self.reload(&mut state);
        }
        state.config.clone()
    }

    fn reload(&self, state: &mut State) {
        // Stamped before the files are read: a change in between is seen at the next check.
        let stamps = stamps(&self.files);
        if stamps == state.stamps {
            return;
        }
        state.stamps = stamps;
        match server_config(&self.files) {
            Ok(config) => {
                state.config = config;
                log::info!("{} has changed and is served now", self.files.cert.display());
            }
            Err(why) => log::warn!("the certificate has changed, the old one stays: {why}"),
        }
    }
}

/// How to make clients trust the local CA, to print at the start. `base_url` is what clients are given, with its `/v1`.
pub fn trust_hints(ca: &Path, base_url: &str) -> String {
    let ca = std::path::absolute(ca).unwrap_or_else(|_| ca.to_path_buf());
    let ca = shell_quoted(&ca.display().to_string());
    format!(
        "Clients must trust this proxy's own CA, {ca}. On another machine, copy it there first (never ca-key.pem); on Windows run this as administrator.\n  \
         curl     curl --cacert {ca} {base_url}/models -H 'Authorization: Bearer KEY'\n  \
         Python   export SSL_CERT_FILE={ca} REQUESTS_CA_BUNDLE={ca}   # replaces the web's roots\n  \
         Node     export NODE_EXTRA_CA_CERTS={ca}\n  \
         Debian   sudo cp {ca} /usr/local/share/ca-certificates/sap-ai-core-llm-proxy.crt && sudo update-ca-certificates\n  \
         Fedora   sudo trust anchor {ca}\n  \
         macOS    sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {ca}\n  \
         Windows  certutil -addstore -f Root ca.pem"
    )
}

fn shell_quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@".contains(c);
    if text.chars().all(plain) { text.into() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn found(cert: PathBuf, key: PathBuf) -> Files {
    Files { cert, key, ca: None, made: false }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn stamps(files: &Files) -> [Stamp; 2] {
    [&files.cert, &files.key].map(|path| {
        let meta = fs::metadata(path).ok()?;
        Some((meta.modified().ok()?, meta.len()))
    })
}

/// What is wrong with a pair of files that each parse.
fn misfit(files: &Files, error: &rustls::Error) -> String {
    let (cert, key) = (files.cert.display(), files.key.display());
    match error {
        rustls::Error::InconsistentKeys(_) => format!("{key} does not belong to {cert}"),
        rustls::Error::InvalidCertificate(e) => {
            format!("{cert} holds no usable certificate: {e:?}")
        }
        other => format!("{key} and {cert} cannot be used: {other}"),
    }
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(path)?;
    let certs: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certs {
        Ok(certs) if !certs.is_empty() => Ok(certs),
        Ok(_) => Err(format!(
            "{} holds no certificate: it should have a PEM block `BEGIN CERTIFICATE`",
            path.display()
        )),
        Err(_) => Err(format!("{} is not proper PEM: it is cut off or altered", path.display())),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    use rustls::pki_types::pem::Error;
    let pem = read(path)?;
    let shown = path.display();
    if pem.windows(9).any(|part| part == b"ENCRYPTED") {
        return Err(format!(
            "{shown} is encrypted: decrypt it with `openssl pkey -in {shown} -out key.pem`"
        ));
    }
    PrivateKeyDer::from_pem_slice(&pem).map_err(|e| match e {
        Error::NoItemsFound => {
            format!("{shown} holds no private key: it should have a PEM block `BEGIN PRIVATE KEY`")
        }
        _ => format!("{shown} is not proper PEM: it is cut off or altered"),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|e| format!("{} cannot be read: {e}", path.display()))
}

/// The names a made certificate is for.
fn names(host: &str) -> Vec<String> {
    let machine = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(String::from).into();
    for name in [machine, host.to_lowercase()] {
        let any = matches!(name.as_str(), "0.0.0.0" | "::");
        if !any && !names.contains(&name) && ServerName::try_from(name.as_str()).is_ok() {
            names.push(name);
        }
    }
    names
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Before its end a certificate is made anew.
const RENEWAL: Duration = Duration::from_secs(30 * DAY.as_secs());
/// With the day before now 391 days: Apple's clients refuse more than 397.
const SERVER_LIFE: Duration = Duration::from_secs(390 * DAY.as_secs());
const CA_LIFE: Duration = Duration::from_secs(3652 * DAY.as_secs());

/// The files that we make.
struct Own {
    cert: PathBuf,
    key: PathBuf,
    ca: PathBuf,
    ca_key: PathBuf,
}

impl Own {
    fn in_folder(home: &Path) -> Own {
        let [cert, key, ca, ca_key] =
            ["cert.pem", "key.pem", "ca.pem", "ca-key.pem"].map(|name| home.join(name));
        Own { cert, key, ca, ca_key }
    }

    /// Our certificates carry the CA behind them; a certificate of any other origin does not.
    fn is_ours(&self) -> bool {
        let (Ok(served), Ok(ca)) = (chain(&self.cert), chain(&self.ca)) else { return false };
        self.key.exists()
            && self.ca_key.exists()
            && served.len() == 2
            && served.last() == ca.first()
    }

    fn renewed(self, names: &[String]) -> Result<Files, String> {
        match self.check(names, SystemTime::now() + RENEWAL) {
            Ok(()) => Ok(Files { cert: self.cert, key: self.key, ca: Some(self.ca), made: false }),
            Err(why) => {
                log::info!("making {} anew: {why}", self.cert.display());
                self.issued(names)
            }
        }
    }

    /// Makes the server certificate, and the CA where there is none.
    fn issued(self, names: &[String]) -> Result<Files, String> {
        let (ca_key, ca_pem) = self.authority()?;
        let issuer = Issuer::new(ca_params(&ca_key), ca_key);
        let key = KeyPair::generate().map_err(|e| format!("no private key can be made: {e}"))?;
        let leaf = leaf_params(names)
            .and_then(|params| params.signed_by(&key, &issuer))
            .map_err(|e| format!("no certificate can be made: {e}"))?;
        write(&self.key, &key.serialize_pem(), 0o600)?;
        write(&self.cert, &(leaf.pem() + &ca_pem), 0o644)?;
        self.check(names, SystemTime::now() + RENEWAL).map_err(|why| {
            let (ca, ca_key) = (self.ca.display(), self.ca_key.display());
            format!("{ca} and {ca_key} do not serve ({why}): remove both to have a new CA made")
        })?;
        Ok(Files { cert: self.cert, key: self.key, ca: Some(self.ca), made: true })
    }

    /// The CA's key and certificate. Its key makes the CA: with the key at hand the certificate can be made again.
    fn authority(&self) -> Result<(KeyPair, String), String> {
        let (ca, ca_key) = (self.ca.display(), self.ca_key.display());
        let key = if self.ca_key.exists() {
            let pem = String::from_utf8(read(&self.ca_key)?).unwrap_or_default();
            KeyPair::from_pem(&pem).map_err(|_| format!("{ca_key} holds no usable private key"))?
        } else if self.ca.exists() {
            return Err(format!(
                "{ca} is there without {ca_key}: restore the key, or remove {ca} to have a new CA made"
            ));
        } else {
            let key =
                KeyPair::generate().map_err(|e| format!("no private key can be made: {e}"))?;
            write(&self.ca_key, &key.serialize_pem(), 0o600)?;
            key
        };
        if self.ca.exists() && !self.ca_expires_before(SystemTime::now() + SERVER_LIFE) {
            let pem = String::from_utf8(read(&self.ca)?);
            return Ok((key, pem.map_err(|_| format!("{ca} is not PEM"))?));
        }
        let made = ca_params(&key).self_signed(&key);
        let pem = made.map_err(|e| format!("no CA can be made: {e}"))?.pem();
        write(&self.ca, &pem, 0o644)?;
        Ok((key, pem))
    }

    /// Whether a client that trusts our CA accepts the certificate `at` that time, for all `names`.
    fn check(&self, names: &[String], at: SystemTime) -> Result<(), String> {
        let (served, ca) = (chain(&self.cert)?, chain(&self.ca)?);
        for name in names {
            verify(&served[0], &ca[0], name, at).map_err(|e| match e {
                rustls::Error::InvalidCertificate(e) => format!("for {name}: {e:?}"),
                other => format!("for {name}: {other}"),
            })?;
        }
        Ok(())
    }

    /// A verifier never looks at the end of a root; asked about it as a server's certificate it does so first.
    fn ca_expires_before(&self, at: SystemTime) -> bool {
        use rustls::Error::InvalidCertificate;
        let Ok(ca) = chain(&self.ca) else { return false };
        let verdict = verify(&ca[0], &ca[0], "localhost", at);
        matches!(
            verdict,
            Err(InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. }
            ))
        )
    }
}

fn verify(
    cert: &CertificateDer<'_>,
    ca: &CertificateDer<'static>,
    name: &str,
    at: SystemTime,
) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone())?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|e| rustls::Error::General(e.to_string()))?;
    let name = ServerName::try_from(name).map_err(|e| rustls::Error::General(e.to_string()))?;
    let since_1970 = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let at = UnixTime::since_unix_epoch(since_1970);
    verifier.verify_server_cert(cert, &[], &name, &[], at).map(|_| ())
}

fn leaf_params(names: &[String]) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    lasting(&mut params, SERVER_LIFE);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "sap-ai-core-llm-proxy");
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Named after its key, so that the CAs of two machines differ and the name can be told from the key alone.
fn ca_params(key: &KeyPair) -> CertificateParams {
    let digest = digest(key.public_key_raw());
    let id: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let mut params = CertificateParams::default();
    lasting(&mut params, CA_LIFE);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("sap-ai-core-llm-proxy CA {id}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params
}

/// From yesterday, for clocks that are behind.
fn lasting(params: &mut CertificateParams, life: Duration) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = date_time_ymd(1970, 1, 1) + now;
    params.not_before = now - DAY;
    params.not_after = now + life;
}

/// Whole or not at all: a server that starts meanwhile never sees half a file.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), String> {
    let draft = path.with_extension("pem.new");
    let _ = fs::remove_file(&draft);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&draft)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&draft, path))
        .map_err(|e| format!("{} cannot be written: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{ClientConfig, ClientConnection, ServerConnection};

    /// A folder of its own, removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("proxy-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }

        fn files(&self, host: &str) -> Result<Files, String> {
            locate_or_make(None, None, &self.0, host)
        }

        fn text(&self, name: &str) -> String {
            fs::read_to_string(self.0.join(name)).unwrap()
        }

        fn put(&self, name: &str, text: &str) {
            fs::write(self.0.join(name), text).unwrap();
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// A handshake in memory: the certificate the client was served, and the protocol agreed on.
    fn handshake(
        server: &Arc<ServerConfig>,
        ca: &Path,
        name: &str,
    ) -> Result<(CertificateDer<'static>, String), rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(chain(ca).unwrap().remove(0))?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let name = ServerName::try_from(name.to_string()).unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name)?;
        let mut server = ServerConnection::new(server.clone())?;
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets()?;
            wire.clear();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut wire.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        let served = client.peer_certificates().unwrap()[0].clone().into_owned();
        Ok((served, String::from_utf8_lossy(client.alpn_protocol().unwrap()).into_owned()))
    }

    #[test]
    fn a_made_certificate_serves_all_names_to_clients_that_trust_the_ca() {
        let folder = Folder::new("made");
        let files = folder.files("proxy.example").unwrap();
        let ca = files.ca.clone().unwrap();
        assert!(files.made);
        let config = server_config(&files).unwrap();
        for name in ["localhost", "127.0.0.1", "::1", "proxy.example"] {
            assert_eq!(handshake(&config, &ca, name).unwrap().1, "http/1.1", "{name}");
        }
        assert!(handshake(&config, &ca, "other.example").is_err());
        assert!(!readable_by_others(&files.key));
        assert!(!readable_by_others(&folder.0.join("cert/ca-key.pem")));
    }

    #[test]
    fn ours_is_kept_while_it_serves_and_made_anew_by_the_same_ca_when_not() {
        let folder = Folder::new("renewed");
        let first = folder.files("127.0.0.1").unwrap();
        let (cert, ca) = (folder.text("cert/cert.pem"), folder.text("cert/ca.pem"));
        assert!(first.made);
        assert!(!folder.files("0.0.0.0").unwrap().made);
        assert_eq!(folder.text("cert/cert.pem"), cert);
        let again = folder.files("10.1.2.3").unwrap();
        assert!(again.made);
        assert_ne!(folder.text("cert/cert.pem"), cert);
        assert_eq!(folder.text("cert/ca.pem"), ca);
        handshake(&server_config(&again).unwrap(), &again.ca.clone().unwrap(), "10.1.2.3").unwrap();
        let own = Own::in_folder(&folder.0.join("cert"));
        let names = [String::from("10.1.2.3")];
        assert!(own.check(&names, SystemTime::now() + 389 * DAY).is_ok());
        let late = own.check(&names, SystemTime::now() + 391 * DAY).unwrap_err();
        assert!(late.contains("Expired"), "{late}");
        assert!(!own.ca_expires_before(SystemTime::now() + 3650 * DAY));
        assert!(own.ca_expires_before(SystemTime::now() + 3653 * DAY));
    }

    #[test]
    fn a_certificate_of_other_origin_is_never_touched() {
        let (folder, other) = (Folder::new("foreign"), Folder::new("elsewhere"));
        other.files("127.0.0.1").unwrap();
        folder.put("cert.pem", &other.text("cert/cert.pem"));
        folder.put("key.pem", &other.text("cert/key.pem"));
        let files = folder.files("new.example").unwrap();
        assert_eq!(files, found(folder.0.join("cert.pem"), folder.0.join("key.pem")));
        assert!(!folder.0.join("cert").exists());
        fs::remove_file(other.0.join("cert/ca-key.pem")).unwrap();
        assert_eq!(other.files("new.example").unwrap().ca, None);
        fs::remove_file(other.0.join("cert/cert.pem")).unwrap();
        fs::remove_file(other.0.join("cert/key.pem")).unwrap();
        let why = other.files("new.example").unwrap_err();
        assert!(why.contains("ca.pem is there without"), "{why}");
    }

    #[test]
    fn what_is_wrong_with_the_files_is_said() {
        let folder = Folder::new("wrong");
        folder.files("127.0.0.1").unwrap();
        let (cert, key) = (folder.text("cert/cert.pem"), folder.text("cert/key.pem"));
        let other_key = folder.text("cert/ca-key.pem");
        let encrypted = key.replace("PRIVATE", "ENCRYPTED PRIVATE");
        let cases = [
            (cert.as_str(), other_key.as_str(), "k.pem does not belong to "),
            (&key, &key, "c.pem holds no certificate"),
            (&cert, &cert, "k.pem holds no private key"),
            (&cert, &encrypted, "k.pem is encrypted"),
            (&cert, &key[..60], "k.pem is not proper PEM"),
            ("", &key, "c.pem holds no certificate"),
        ];
        let files = found(folder.0.join("c.pem"), folder.0.join("k.pem"));
        assert!(server_config(&files).unwrap_err().contains("c.pem cannot be read"));
        for (cert, key, expected) in cases {
            folder.put("c.pem", cert);
            folder.put("k.pem", key);
            let why = server_config(&files).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
        assert!(locate_or_make(Some(&files.cert), None, &folder.0, "::").is_err());
    }

    #[test]
    fn changed_files_are_served_and_bad_ones_are_not() {
        let folder = Folder::new("reload");
        let files = folder.files("127.0.0.1").unwrap();
        let ca = files.ca.clone().unwrap();
        let reloading = Reloading::new(files.clone()).unwrap();
        let start = Instant::now();
        let served =
            |at: u32| handshake(&reloading.current_at(start + at * CHECK_EVERY), &ca, "localhost");
        let first = served(1).unwrap().0;
        folder.put("cert/key.pem", "not a key");
        assert_eq!(served(2).unwrap().0, first);
        folder.put("cert/key.pem", &folder.text("cert/ca-key.pem"));
        assert_eq!(served(3).unwrap().0, first);
        Own::in_folder(&folder.0.join("cert")).issued(&names("::")).unwrap();
        assert_eq!(served(3).unwrap().0, first, "not looked at twice within a second");
        assert_ne!(served(4).unwrap().0, first);
    }

    #[test]
    fn hints_quote_paths_for_the_shell() {
        let hints = trust_hints(Path::new("/srv/my proxy/ca.pem"), "https://localhost:8443/v1");
        assert!(
            hints.contains("curl --cacert '/srv/my proxy/ca.pem' https://localhost:8443/v1/models")
        );
    }
}
