//! config.json → [`Config`]. Every problem is named with its JSON path and what would be right, all of a file at once.
//!
//! ```json
//! { "service_key_json": "demokey.json",
//!   "deployment_models": { "gpt-4o": "https://…/v2/inference/deployments/d1", "o3": ["https://…", "https://…"] },
//!   "secret_authentication_tokens": ["…", "sha256:<hex>"], "resource_group": "default", "host": "127.0.0.1", "port": 3001 }
//! ```
//!
//! several of that kind under `subAccounts`, by names of their own, and what `config.json.example` shows beside. Rules that hold everywhere: `null` is the same as absent; keys that begin
//! with `_` or `$` are comments; unknown keys warn; a relative path is relative to the file's own folder; no problem or
//! warning ever quotes a secret, nor a value that may be one (so no URLs either).
//!
//! The service key is SAP's file (dossier 1.1), bare or wrapped in `credentials`; its URLs are completed as SAP's own SDKs do
//! (dossier 1.3 and 2).

mod check;
mod environment;
mod json;
mod subaccounts;

use crate::aicore::Allowed;
use crate::auth::digest;
pub use crate::log::Format as LogFormat;
use crate::models::Names;
use check::{Reader, entry};
use json::Json;
use log::LevelFilter;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use check::{field, nearest, readable_by_others};
pub use environment::Environment;

#[derive(Clone)]
pub struct Config {
    /// Where to listen; [`address`] knows the defaults.
    pub host: Option<String>,
    pub port: Option<u16>,
    /// SHA-256 digests of the client keys.
    pub client_keys: Vec<[u8; 32]>,
    /// The first client key that is written in the open: what `ask` presents.
    pub plain_key: Option<String>,
    /// At least one, each with a name of its own; the flat form is one named `default`.
    pub subaccounts: Vec<Subaccount>,
    /// In which order they are asked.
    pub balance: Balance,
    /// Whether orchestration deployments that were discovered serve the models that have no deployment of their own.
    pub orchestrates: bool,
    /// What all this was read from: a change of any of them is a reason to read it again.
    pub files: Vec<PathBuf>,
    /// Name or `*` pattern → model, in file order.
    pub aliases: Vec<(String, String)>,
    /// Name or `*` pattern → family, in file order.
    pub families: Vec<(String, String)>,
    /// What Azure deployments are asked with. Left open by the dossier (5a): the newest that a probe used.
    pub api_version: String,
    /// Whether cache points are added to requests for models that need them to cache, where a client sets none.
    pub adds_cache_points: bool,
    pub tls: Tls,
    /// Origins whose browsers may call; `*` is any, an empty list none.
    pub cors_origins: Vec<String>,
    /// PEM roots for AI Core's side (a company's own CA), beside the web's.
    pub upstream_ca: Option<PathBuf>,
    pub limits: Limits,
    pub log: Log,
}

/// The order of subaccounts that could all serve a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// By turns, as their weights say.
    #[default]
    RoundRobin,
    /// As they are written: the next only where one cannot.
    Fallback,
}

#[derive(Clone, Debug)]
pub struct Subaccount {
    pub name: String,
    /// Where it stands in the configuration: `subAccounts["name"]`, empty for the flat form.
    pub path: String,
    /// At least one. What `deployment_models` names is in the first, what is discovered in any.
    pub resource_groups: Vec<String>,
    pub service_key: ServiceKey,
    /// Model → base URLs of its deployments, without a trailing slash; in file order.
    pub deployment_models: Vec<(String, Vec<String>)>,
    /// Whether AI Core is asked what is deployed.
    pub discovers: bool,
    /// How many of the turns are its, at least 1.
    pub weight: u32,
}

/// What a service key proves its identity with.
#[derive(Clone, PartialEq, Eq)]
pub enum Proof {
    /// The client secret.
    Secret(String),
    /// A client certificate (x509), with what leads to its root, and its private key: PEM.
    Certificate { chain: String, key: String },
}

#[derive(Clone, PartialEq, Eq)]
pub struct ServiceKey {
    pub client_id: String,
    pub proof: Proof,
    /// Ends in `/oauth/token`.
    pub token_url: String,
    /// Ends in `/v2`.
    pub api_url: String,
    pub identity_zone_id: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub struct Tls {
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// A request's body.
    pub body_bytes_max: usize,
    /// A complete (not streamed) reply.
    pub reply_bytes_max: usize,
    pub connections_max: usize,
    /// A connection between two requests.
    pub client_idle_ms_max: u64,
    /// A head or body that stops arriving.
    pub client_stall_ms_max: u64,
    /// A client that stops reading.
    pub client_write_ms_max: u64,
    pub upstream_connect_ms_max: u64,
    /// AI Core silent within an answer.
    pub upstream_idle_ms_max: u64,
    /// What requests in flight get at the stop.
    pub stop_ms_max: u64,
    /// Between two comments in a silent stream.
    pub keep_alive_ms: u64,
    /// Deployments tried for one request.
    pub tries: u32,
    /// Signatures of models' thoughts that clients cannot carry: how many calls, bytes and how long they are kept.
    pub vault_entries_max: usize,
    pub vault_bytes_max: usize,
    pub vault_age_ms_max: u64,
    /// Responses of models whose vendors keep none: how many, how large and how long after their last use they are kept.
    pub responses_entries_max: usize,
    pub responses_bytes_max: usize,
    pub responses_age_ms_max: u64,
    /// Whether images that a client names by URL are fetched for models that take them only within the request.
    pub fetch_images: bool,
    /// Hosts they may come from though they are not of the public internet.
    pub fetch_images_from: Vec<Allowed>,
    /// One image or PDF that is fetched, and the whole time for it.
    pub image_bytes_max: usize,
    pub image_ms_max: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Log {
    pub level: Option<LevelFilter>,
    pub format: Option<LogFormat>,
}

#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<Problem>,
    /// Worth telling, though nothing is wrong.
    pub notes: Vec<String>,
}

/// What is wrong, and where: `deployment_models["gpt-4o"][1]: …`.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    pub path: String,
    pub why: String,
}

/// All that is wrong with a file; shown one a line.
#[derive(Debug)]
pub struct Problems(pub Vec<Problem>);

/// When a file was written and how long it is: by that it is told whether it was changed.
pub type Stamp = (SystemTime, u64);

/// `None` without the file.
pub fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

/// Reads the file at `path`; where none is named `config.json`, or, if there is none, what the environment says.
pub fn load(path: Option<&Path>, environment: &Environment) -> Result<Loaded, Problems> {
    let default = Path::new(DEFAULT_FILE);
    if path.is_none() && !default.exists() && environment.is_enough() {
        return read("{}", "the environment", Path::new(""), None, environment);
    }
    let path = path.unwrap_or(default);
    let file = path.display().to_string();
    let text = std::fs::read(path).map_err(|e| unreadable(&file, &e))?;
    let text = String::from_utf8(text).map_err(|_| one(&file, "not UTF-8: save it as UTF-8"))?;
    read(&text, &file, path.parent().unwrap_or(Path::new("")), Some(path), environment)
}

/// Reads `text` as if it were the file `config.json` in `folder`, and there were no environment.
pub fn from_json(text: &str, folder: &Path) -> Result<Loaded, Problems> {
    read(text, DEFAULT_FILE, folder, None, &Environment::default())
}

/// What forbids serving these client keys on `host`: none at all, or `--no-auth` where others can reach it.
pub fn client_keys_problem(config: &Config, no_auth: bool, host: &str) -> Option<Problem> {
    let (path, why) = match (no_auth, config.client_keys.is_empty()) {
        (true, _) if !is_loopback(host) => (
            "--no-auth",
            format!(
                "{host} can be reached by others: only with --host 127.0.0.1, or give client keys"
            ),
        ),
        (false, true) => (
            TOKENS,
            "no client key: write at least one, such as the output of `openssl rand -hex 24`, \
             or set PROXY_KEYS, or start with --no-auth to serve anyone on this machine"
                .to_string(),
        ),
        _ => return None,
    };
    Some(Problem { path: path.to_string(), why })
}

/// Where to listen: what is given, else 127.0.0.1 and port 5000, with HTTPS 8443.
pub fn address(host: Option<&str>, port: Option<u16>, https: bool) -> (String, u16) {
    let default_port = if https { 8443 } else { 5000 };
    (host.unwrap_or("127.0.0.1").to_string(), port.unwrap_or(default_port))
}

/// A host to listen on: an IP address (IPv6 with or without brackets) or a name.
pub fn host(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let is_name = !bare.is_empty()
        && bare.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if is_name || bare.parse::<IpAddr>().is_ok() {
        return Ok(bare.to_string());
    }
    Err("not a host: write an IP address or a name, such as 127.0.0.1, without scheme and port"
        .into())
}

pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_matches(['[', ']']);
    bare.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// A client key in the form that may stand in a configuration instead of it: `sha256:<hex>`.
pub fn hash_key(key: &str) -> Result<String, String> {
    check::client_key(key)?;
    Ok(digest(key).iter().fold("sha256:".to_string(), |hex, byte| hex + &format!("{byte:02x}")))
}

pub fn log_level(text: &str) -> Result<LevelFilter, String> {
    text.parse()
        .map_err(|_| "not a level: write off, error, warn, info, debug or trace".to_string())
}

pub fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("not a format: write text or json".to_string()),
    }
}

fn balance(text: &str) -> Result<Balance, String> {
    match text {
        "round_robin" => Ok(Balance::RoundRobin),
        "fallback" => Ok(Balance::Fallback),
        _ => Err("not an order: write round_robin or fallback".to_string()),
    }
}

fn orchestration(text: &str) -> Result<bool, String> {
    match text {
        "fallback" => Ok(true),
        "off" => Ok(false),
        _ => Err("not a use of orchestration: write fallback or off".to_string()),
    }
}

fn cache(text: &str) -> Result<bool, String> {
    match text {
        "auto" => Ok(true),
        "off" => Ok(false),
        _ => Err("not a way to cache: write auto or off".to_string()),
    }
}

fn read(
    text: &str,
    file: &str,
    folder: &Path,
    own: Option<&Path>,
    environment: &Environment,
) -> Result<Loaded, Problems> {
    let mut json = json::parse(text).map_err(|why| one(file, &why))?;
    let mut reader = Reader::new(folder, environment);
    reader.merge_repeated("", &mut json);
    let config = whole(&mut reader, &json, own);
    match config {
        Some(config) if reader.problems.is_empty() => {
            Ok(Loaded { config, warnings: reader.warnings, notes: reader.notes })
        }
        _ => Err(Problems(reader.problems)),
    }
}

fn unreadable(file: &str, error: &std::io::Error) -> Problems {
    if error.kind() == std::io::ErrorKind::NotFound {
        return one(
            file,
            "not found: copy config.json.example to config.json and fill it in, \
             name another file with --config PATH, set AICORE_SERVICE_KEY and PROXY_KEYS instead, \
             or try the proxy out with --demo",
        );
    }
    one(file, &format!("cannot be read ({error}): check its permissions, or use --config PATH"))
}

fn one(path: &str, why: &str) -> Problems {
    Problems(vec![Problem { path: path.to_string(), why: why.to_string() }])
}

const TOKENS: &str = "secret_authentication_tokens";

const KEYS: [&str; 20] = [
    "service_key_json",
    "deployment_models",
    TOKENS,
    "resource_group",
    "discover",
    "weight",
    "balance",
    "orchestration",
    "host",
    "port",
    "aliases",
    "families",
    "api_version",
    "cache",
    "tls",
    "cors_origins",
    "upstream_ca",
    "limits",
    "log",
    "subAccounts",
];

/// `None` only where problems were noted: all is read before the first missing part ends it.
fn whole(reader: &mut Reader, json: &Json, own: Option<&Path>) -> Option<Config> {
    let top = reader.fields("", json, &KEYS)?;
    let subaccounts = subaccounts::read(reader, &top, own);
    let aliases = reader.names("aliases", top.of("aliases"), "model");
    warn_of_lost_aliases(reader, &aliases, subaccounts.as_deref().unwrap_or(&[]));
    let host = reader.parsed("host", top.of("host"), host);
    let port = reader.whole_number("port", top.of("port"), 0, 65535).map(|n| n as u16);
    let mut keys = ClientKeys::default();
    keys.read(reader, TOKENS, top.of(TOKENS));
    let of_environment = reader.environment.client_keys();
    keys.read(reader, environment::KEYS, of_environment.as_ref());
    let config = Config {
        host,
        port,
        client_keys: keys.digests,
        plain_key: keys.plain,
        subaccounts: Vec::new(),
        balance: reader.parsed("balance", top.of("balance"), balance).unwrap_or_default(),
        orchestrates: reader
            .parsed("orchestration", top.of("orchestration"), orchestration)
            .unwrap_or(true),
        files: Vec::new(),
        aliases,
        families: reader.names("families", top.of("families"), "family"),
        api_version: reader
            .parsed("api_version", top.of("api_version"), check::version)
            .unwrap_or_else(|| "2025-04-01-preview".to_string()),
        adds_cache_points: reader.parsed("cache", top.of("cache"), cache).unwrap_or(true),
        tls: tls(reader, top.of("tls")),
        cors_origins: cors_origins(reader, top.of("cors_origins")),
        upstream_ca: reader.existing_file("upstream_ca", top.of("upstream_ca")),
        limits: limits(reader, top.of("limits")),
        log: log_settings(reader, top.of("log")),
    };
    let mut files: Vec<_> = own.map(Path::to_path_buf).into_iter().collect();
    files.append(&mut reader.files);
    Some(Config { subaccounts: subaccounts?, files, ..config })
}

/// The digests, and the first key that is written in the open.
#[derive(Default)]
struct ClientKeys {
    digests: Vec<[u8; 32]>,
    plain: Option<String>,
}

impl ClientKeys {
    fn read(&mut self, reader: &mut Reader, at: &str, json: Option<&Json>) {
        let Some(json) = json else { return };
        for (path, item) in reader.list(at, json, "a list of keys, as in [\"…\"]") {
            let Some(key) = reader.secret(&path, item) else { continue };
            match self.digest(key) {
                Err(why) => reader.problem(path, why),
                Ok(digest) => {
                    if key.len() < 16 {
                        reader.warn(&path, "shorter than 16 characters: easy to guess");
                    }
                    if self.digests.contains(&digest) {
                        reader.warn(path, "the same key as one before");
                    } else {
                        self.digests.push(digest);
                    }
                }
            }
        }
    }

    fn digest(&mut self, key: &str) -> Result<[u8; 32], String> {
        if let Some(hex) = key.strip_prefix("sha256:") {
            return check::hex_digest(hex);
        }
        check::client_key(key)?;
        self.plain.get_or_insert_with(|| key.to_string());
        Ok(digest(key))
    }
}

/// An alias that leads nowhere answers 404 for ever. It may lead to another alias, or to any spelling of a name.
fn warn_of_lost_aliases(
    reader: &mut Reader,
    aliases: &[(String, String)],
    subaccounts: &[Subaccount],
) {
    if subaccounts.iter().any(|subaccount| subaccount.discovers) {
        // What there is shows later.
        return;
    }
    let models = subaccounts.iter().flat_map(|subaccount| &subaccount.deployment_models);
    let models = models.map(|(name, _)| name.as_str()).collect();
    let names = Names { models, aliases };
    for (alias, target) in aliases {
        if names.find(target).is_none() {
            let near = check::did_you_mean(target, names.models.iter().copied());
            let why = format!("`{target}` is not among the deployment_models{near}");
            reader.warn(entry("aliases", alias), why);
        }
    }
}

fn tls(reader: &mut Reader, json: Option<&Json>) -> Tls {
    let Some(json) = json else { return Tls::default() };
    let Some(fields) = reader.fields("tls", json, &["cert", "key"]) else { return Tls::default() };
    let tls = Tls {
        cert: reader.path("tls.cert", fields.of("cert")),
        key: reader.path("tls.key", fields.of("key")),
    };
    if fields.of("cert").is_some() != fields.of("key").is_some() {
        reader.problem("tls", "cert and key go together: write both or none");
    }
    tls
}

fn cors_origins(reader: &mut Reader, json: Option<&Json>) -> Vec<String> {
    let Some(json) = json else { return vec!["*".to_string()] };
    let items =
        reader.list("cors_origins", json, "a list of origins, as in [\"https://chat.example\"]");
    let origins = items.into_iter();
    origins.filter_map(|(path, item)| reader.parsed(&path, Some(item), check::origin)).collect()
}

/// The file that is read where none is named.
pub const DEFAULT_FILE: &str = "config.json";

/// Name, least, most, and where it goes.
type LimitRow = (&'static str, u64, u64, fn(&mut Limits, u64));

const LIMITS: [LimitRow; 19] = [
    ("body_bytes_max", 1024, 1 << 30, |l, n| l.body_bytes_max = n as usize),
    ("reply_bytes_max", 1024, 1 << 30, |l, n| l.reply_bytes_max = n as usize),
    ("connections_max", 1, 1_000_000, |l, n| l.connections_max = n as usize),
    ("client_idle_ms_max", 100, 3_600_000, |l, n| l.client_idle_ms_max = n),
    ("client_stall_ms_max", 100, 3_600_000, |l, n| l.client_stall_ms_max = n),
    ("client_write_ms_max", 100, 3_600_000, |l, n| l.client_write_ms_max = n),
    ("upstream_connect_ms_max", 100, 600_000, |l, n| l.upstream_connect_ms_max = n),
    ("upstream_idle_ms_max", 100, 3_600_000, |l, n| l.upstream_idle_ms_max = n),
    ("stop_ms_max", 100, 3_600_000, |l, n| l.stop_ms_max = n),
    ("keep_alive_ms", 100, 600_000, |l, n| l.keep_alive_ms = n),
    ("tries", 1, 100, |l, n| l.tries = n as u32),
    ("vault_entries_max", 0, 10_000_000, |l, n| l.vault_entries_max = n as usize),
    ("vault_bytes_max", 0, 1 << 34, |l, n| l.vault_bytes_max = n as usize),
    ("vault_age_ms_max", 0, 7 * 86_400_000, |l, n| l.vault_age_ms_max = n),
    ("responses_entries_max", 0, 10_000_000, |l, n| l.responses_entries_max = n as usize),
    ("responses_bytes_max", 0, 1 << 34, |l, n| l.responses_bytes_max = n as usize),
    ("responses_age_ms_max", 0, 30 * 86_400_000, |l, n| l.responses_age_ms_max = n),
    ("image_bytes_max", 1024, 1 << 28, |l, n| l.image_bytes_max = n as usize),
    ("image_ms_max", 100, 600_000, |l, n| l.image_ms_max = n),
];

const FETCH: &str = "fetch_images";
const FETCH_FROM: &str = "fetch_images_from";

fn limits(reader: &mut Reader, json: Option<&Json>) -> Limits {
    let mut limits = Limits::default();
    let Some(json) = json else { return limits };
    let names: Vec<&str> = LIMITS.iter().map(|row| row.0).chain([FETCH, FETCH_FROM]).collect();
    let Some(fields) = reader.fields("limits", json, &names) else { return limits };
    for (name, least, most, set) in LIMITS {
        if let Some(n) = reader.whole_number(&field("limits", name), fields.of(name), least, most) {
            set(&mut limits, n);
        }
    }
    if let Some(value) = reader.yes_or_no(&field("limits", FETCH), fields.of(FETCH)) {
        limits.fetch_images = value;
    }
    limits.fetch_images_from = hosts(reader, &field("limits", FETCH_FROM), fields.of(FETCH_FROM));
    limits
}

fn hosts(reader: &mut Reader, path: &str, json: Option<&Json>) -> Vec<Allowed> {
    let Some(json) = json else { return Vec::new() };
    let items = reader.list(path, json, "a list of hosts, as in [\"images.example:8080\"]");
    let hosts = items.into_iter();
    hosts.filter_map(|(path, item)| reader.parsed(&path, Some(item), Allowed::parse)).collect()
}

fn log_settings(reader: &mut Reader, json: Option<&Json>) -> Log {
    let Some(json) = json else { return Log::default() };
    let Some(fields) = reader.fields("log", json, &["level", "format"]) else {
        return Log::default();
    };
    Log {
        level: reader.parsed("log.level", fields.of("level"), log_level),
        format: reader.parsed("log.format", fields.of("format"), log_format),
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body_bytes_max: 32 << 20,
            reply_bytes_max: 64 << 20,
            connections_max: 4096,
            client_idle_ms_max: 75_000,
            client_stall_ms_max: 20_000,
            client_write_ms_max: 30_000,
            upstream_connect_ms_max: 10_000,
            upstream_idle_ms_max: 600_000,
            stop_ms_max: 30_000,
            keep_alive_ms: 15_000,
            tries: 3,
            vault_entries_max: 20_000,
            vault_bytes_max: 64 << 20,
            vault_age_ms_max: 24 * 3_600_000,
            responses_entries_max: 10_000,
            responses_bytes_max: 32 << 20,
            responses_age_ms_max: 24 * 3_600_000,
            fetch_images: true,
            fetch_images_from: Vec::new(),
            // In base64 it is just under the 20 MB that Bedrock takes as a request for Claude, and Gemini with files in it.
            image_bytes_max: 14 << 20,
            image_ms_max: 15_000,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.why)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if nth == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Without the client keys: the digest of a weak key is as good as the key.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("subaccounts", &self.subaccounts)
            .field("aliases", &self.aliases)
            .field("families", &self.families)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceKey")
            .field("token_url", &self.token_url)
            .field("api_url", &self.api_url)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
