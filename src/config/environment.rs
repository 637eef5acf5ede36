//! A service key from where SAP's own tools look for one (dossier 1.3): `AICORE_SERVICE_KEY`, the `AICORE_…` variables, a
//! profile of `~/.aicore`, `VCAP_SERVICES`. The first that holds any part of a key is used whole. And client keys from
//! `PROXY_KEYS`. So on a platform that has no files to write, none is needed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::check::Reader;
use super::json::{self, Json};
use super::subaccounts::{ending_in, service_key_fields};
use super::{Proof, ServiceKey};

pub const KEYS: &str = "PROXY_KEYS";
const WHOLE: &str = "AICORE_SERVICE_KEY";
const BOUND: &str = "VCAP_SERVICES";
const GROUP: &str = "AICORE_RESOURCE_GROUP";
const FILE: &str = "AICORE_CONFIG";
const PROFILE: &str = "AICORE_PROFILE";
const FOLDER: &str = "AICORE_HOME";
const HOME: &str = "HOME";

const ID: &str = "AICORE_CLIENT_ID";
const SECRET: &str = "AICORE_CLIENT_SECRET";
const AUTH_URL: &str = "AICORE_AUTH_URL";
const BASE_URL: &str = "AICORE_BASE_URL";
const CERT_URL: &str = "AICORE_CERT_URL";
const CERT: &str = "AICORE_CERT_STR";
const KEY: &str = "AICORE_KEY_STR";
const CERT_FILE: &str = "AICORE_CERT_FILE_PATH";
const KEY_FILE: &str = "AICORE_KEY_FILE_PATH";
/// A key in parts.
const PARTS: [&str; 9] = [ID, SECRET, AUTH_URL, BASE_URL, CERT_URL, CERT, KEY, CERT_FILE, KEY_FILE];

/// The environment's variables, as far as they concern us.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

/// A service key, and where it is from.
pub struct Found {
    /// `None`: it is wrong, which was noted.
    pub key: Option<ServiceKey>,
    pub resource_group: Option<Json>,
    /// The variable or the file.
    pub source: String,
}

impl Environment {
    /// This process's own.
    pub fn of_process() -> Environment {
        let names =
            PARTS.into_iter().chain([KEYS, WHOLE, BOUND, GROUP, FILE, PROFILE, FOLDER, HOME]);
        Environment::of(names.filter_map(|name| Some((name, std::env::var(name).ok()?))))
    }

    pub fn of<V: Into<String>>(pairs: impl IntoIterator<Item = (&'static str, V)>) -> Environment {
        let pairs = pairs.into_iter().map(|(name, value)| (name.to_owned(), value.into()));
        Environment(pairs.filter(|(_, value)| !value.trim().is_empty()).collect())
    }

    /// Whether it says anything of how to serve, so that a file need not.
    pub fn is_enough(&self) -> bool {
        let mut names = PARTS.iter().chain(&[WHOLE, BOUND, FILE, PROFILE]);
        names.any(|name| self.get(name).is_some())
            || self.profile().is_some_and(|file| file.exists())
    }

    /// The client keys: a list of texts.
    pub fn client_keys(&self) -> Option<Json> {
        let keys = self.get(KEYS)?.split(|c: char| c == ',' || c.is_whitespace());
        let keys = keys.filter(|key| !key.is_empty()).map(|key| Json::Text(key.to_owned()));
        Some(Json::List(keys.collect()))
    }

    /// The first service key there is.
    pub fn service_key(&self, reader: &mut Reader) -> Option<Found> {
        let group = || self.json(GROUP);
        if let Some(text) = self.get(WHOLE) {
            let key = parsed(reader, WHOLE, text)
                .and_then(|json| service_key_fields(reader, &format!("{WHOLE}: "), &json));
            return Some(Found { key, resource_group: group(), source: WHOLE.to_owned() });
        }
        if self.has_parts() {
            let key = self.of_parts(reader, "");
            let source = "the AICORE_… variables".to_owned();
            return Some(Found { key, resource_group: group(), source });
        }
        if let Some(found) = self.of_profile(reader) {
            return Some(Found { resource_group: group().or(found.resource_group), ..found });
        }
        let key = bound(reader, self.get(BOUND)?)?;
        Some(Found { key, resource_group: group(), source: BOUND.to_owned() })
    }

    /// A file with the same variables in it.
    fn of_profile(&self, reader: &mut Reader) -> Option<Found> {
        let file = self.profile()?;
        let is_wanted = self.get(FILE).or(self.get(PROFILE)).is_some();
        if !is_wanted && !file.exists() {
            return None;
        }
        let source = file.display().to_string();
        let named = [FILE, PROFILE].into_iter().find(|name| self.get(name).is_some());
        let json = read_file(reader, named.unwrap_or(&source), &file)
            .and_then(|text| parsed(reader, &source, &text));
        let wrong = Found { key: None, resource_group: None, source: source.clone() };
        let Some(json) = json else { return Some(wrong) };
        let Json::Object(entries) = json else {
            reader.problem(
                source,
                format!("found {}: write an object of AICORE_… keys", json.kind()),
            );
            return Some(wrong);
        };
        let texts = entries.into_iter().filter_map(|(name, value)| match value {
            Json::Text(text) if !text.trim().is_empty() => Some((name, text)),
            _ => None,
        });
        let inner = Environment(texts.collect());
        if !inner.has_parts() && !is_wanted {
            return None;
        }
        let key = inner.of_parts(reader, &format!("{source}: "));
        Some(Found { key, resource_group: inner.json(GROUP), source })
    }

    /// A key in parts; `at` is put before their names.
    fn of_parts(&self, reader: &mut Reader, at: &str) -> Option<ServiceKey> {
        let named = |name: &str| format!("{at}{name}");
        let api_url = reader.required_url(&named(BASE_URL), self.json(BASE_URL).as_ref());
        let client_id = reader.required_secret(&named(ID), self.json(ID).as_ref());
        let kinds = [(SECRET, SECRET), (CERT, KEY), (CERT_FILE, KEY_FILE)];
        let given = kinds.map(|(a, b)| self.get(a).or(self.get(b)).is_some());
        let (proof, token_url) = match given {
            [_, false, false] => {
                let secret = reader.required_secret(&named(SECRET), self.json(SECRET).as_ref());
                let url = reader.required_url(&named(AUTH_URL), self.json(AUTH_URL).as_ref());
                (secret.map(Proof::Secret), url)
            }
            [false, true, false] => {
                let chain = reader.required_pem(&named(CERT), self.json(CERT).as_ref());
                let key = reader.required_pem(&named(KEY), self.json(KEY).as_ref());
                (certificate(chain, key), self.cert_url(reader, at))
            }
            [false, false, true] => {
                let chain = self.pem_file(reader, at, CERT_FILE);
                let key = self.pem_file(reader, at, KEY_FILE);
                (certificate(chain, key), self.cert_url(reader, at))
            }
            _ => {
                let there = |(a, b)| if self.get(a).is_some() { a } else { b };
                let names = kinds.into_iter().zip(given).filter(|(_, is)| *is);
                let names: Vec<_> = names.map(|(names, _)| there(names)).collect();
                let why = format!("there is also {}: give one of them", names[1..].join(" and "));
                reader.problem(named(names[0]), why);
                return None;
            }
        };
        Some(ServiceKey {
            client_id: client_id?,
            proof: proof?,
            token_url: ending_in(token_url?, "/oauth/token"),
            api_url: ending_in(api_url?, "/v2"),
            identity_zone_id: None,
        })
    }

    fn cert_url(&self, reader: &mut Reader, at: &str) -> Option<String> {
        reader.required_url(&format!("{at}{CERT_URL}"), self.json(CERT_URL).as_ref())
    }

    fn pem_file(&self, reader: &mut Reader, at: &str, name: &str) -> Option<String> {
        let named = format!("{at}{name}");
        let Some(file) = self.get(name) else {
            reader.problem(named, "missing: write the path of a PEM file");
            return None;
        };
        let text = read_file(reader, &named, Path::new(file))?;
        reader.required_pem(&named, Some(&Json::Text(text)))
    }

    fn has_parts(&self) -> bool {
        PARTS.iter().any(|name| self.get(name).is_some())
    }

    /// The file of the profile, be it there or not.
    fn profile(&self) -> Option<PathBuf> {
        if let Some(file) = self.get(FILE) {
            return Some(file.into());
        }
        let folder = match self.get(FOLDER) {
            Some(folder) => PathBuf::from(folder),
            None => Path::new(self.get(HOME)?).join(".aicore"),
        };
        Some(folder.join(match self.get(PROFILE) {
            Some(profile) if profile != "default" => format!("config_{profile}.json"),
            _ => "config.json".to_owned(),
        }))
    }

    fn json(&self, name: &str) -> Option<Json> {
        self.get(name).map(|text| Json::Text(text.to_owned()))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// The key of the service that is bound to the app: `None` where none is.
fn bound(reader: &mut Reader, text: &str) -> Option<Option<ServiceKey>> {
    let Some(json) = parsed(reader, BOUND, text) else { return Some(None) };
    let Json::Object(services) = json else { return None };
    for (label, instances) in &services {
        let Json::List(instances) = instances else { continue };
        for (nth, instance) in instances.iter().enumerate() {
            let Json::Object(fields) = instance else { continue };
            let of = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, json)| json);
            let is_labelled = matches!(of("label"), Some(Json::Text(label)) if label == "aicore");
            if label == "aicore" || is_labelled {
                let at = format!("{BOUND}: {label}[{nth}].credentials");
                let Some(credentials) = of("credentials") else {
                    reader.problem(at, "missing: bind the service to the app again");
                    return Some(None);
                };
                return Some(service_key_fields(reader, &at, credentials));
            }
        }
    }
    None
}

fn certificate(chain: Option<String>, key: Option<String>) -> Option<Proof> {
    chain.zip(key).map(|(chain, key)| Proof::Certificate { chain, key })
}

fn parsed(reader: &mut Reader, at: &str, text: &str) -> Option<Json> {
    json::parse(text).map_err(|why| reader.problem(at, why)).ok()
}

fn read_file(reader: &mut Reader, at: &str, file: &Path) -> Option<String> {
    reader.files.push(file.to_path_buf());
    reader.warn_if_readable(at, file, "holds credentials");
    std::fs::read_to_string(file)
        .map_err(|error| {
            reader.problem(at, format!("{} cannot be read ({error})", file.display()));
        })
        .ok()
}
