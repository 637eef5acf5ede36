//! The subaccounts of a configuration: the flat one, those of `subAccounts`, and their service keys.

use std::path::Path;

use super::check::{self, Fields, Reader, entry, field};
use super::environment::Found;
use super::json::{self, Json};
use super::{Proof, ServiceKey, Subaccount};

const ALL: &str = "subAccounts";
const MODELS: &str = "deployment_models";
const KEY: &str = "service_key_json";
const KEYS: [&str; 5] = [KEY, MODELS, "resource_group", "discover", "weight"];

/// Those of `subAccounts`, and before them the flat one, where there is one. What the flat form says of groups and
/// discovery holds for the others, too, where they do not say it themselves.
pub fn read(reader: &mut Reader, top: &Fields<'_>, own: Option<&Path>) -> Option<Vec<Subaccount>> {
    let named = top.of(ALL);
    let is_flat = named.is_none() || [KEY, MODELS].iter().any(|key| top.of(key).is_some());
    let is_keyless = named.is_none() && top.of(KEY).is_none();
    let of_environment = reader.environment.clone();
    if let Some(found) = is_keyless.then(|| of_environment.service_key(reader)).flatten() {
        reader.notes.push(format!("the service key is from {}", found.source));
        return Some(vec![with_found_key(reader, found, top)?]);
    }
    let flat = is_flat.then(|| subaccount(reader, "default", "", top, top, own));
    let Some(json) = named else { return Some(vec![flat??]) };
    const WANTED: &str =
        "an object of names and a subaccount each, as in {\"eu\": {\"service_key_json\": …}}";
    let entries = reader.entries(ALL, json, WANTED)?;
    if entries.is_empty() {
        reader.problem(ALL, format!("empty: write {WANTED}"));
    }
    let mut all: Vec<_> = flat.into_iter().collect();
    for (name, json) in entries {
        let path = entry(ALL, name);
        if !reader.name(&path, name) {
            continue;
        }
        if is_flat && name == "default" {
            reader.problem(
                &path,
                "that is what the one outside of subAccounts is called: rename one",
            );
        }
        let Some(fields) = reader.fields(&path, json, &KEYS) else { continue };
        all.push(subaccount(reader, name, &path, &fields, top, own));
    }
    let all = all.into_iter().collect::<Option<Vec<_>>>()?;
    warn_of_twins(reader, &all);
    Some(all)
}

/// The flat one, with a service key of the environment.
fn with_found_key(reader: &mut Reader, found: Found, top: &Fields<'_>) -> Option<Subaccount> {
    let mut subaccount = without_key(reader, "default", "", top, top);
    if let (None, Some(group)) = (top.of("resource_group"), &found.resource_group) {
        let groups = resource_groups(reader, "AICORE_RESOURCE_GROUP", Some(group));
        subaccount = subaccount.map(|keyless| Keyless { resource_groups: groups, ..keyless });
    }
    Some(subaccount?.with(found.key?))
}

fn subaccount(
    reader: &mut Reader,
    name: &str,
    path: &str,
    fields: &Fields<'_>,
    top: &Fields<'_>,
    own: Option<&Path>,
) -> Option<Subaccount> {
    let at = field(path, KEY);
    let service_key = service_key(reader, &at, fields.of(KEY), own);
    Some(without_key(reader, name, path, fields, top)?.with(service_key?))
}

/// A subaccount but for its service key.
struct Keyless {
    name: String,
    path: String,
    resource_groups: Vec<String>,
    deployment_models: Vec<(String, Vec<String>)>,
    discovers: bool,
    weight: u32,
}

impl Keyless {
    fn with(self, service_key: ServiceKey) -> Subaccount {
        let Keyless { name, path, resource_groups, deployment_models, discovers, weight } = self;
        Subaccount {
            name,
            path,
            resource_groups,
            service_key,
            deployment_models,
            discovers,
            weight,
        }
    }
}

fn without_key(
    reader: &mut Reader,
    name: &str,
    path: &str,
    fields: &Fields<'_>,
    top: &Fields<'_>,
) -> Option<Keyless> {
    let at = |key: &str| field(path, key);
    let group = fields.of("resource_group").or(top.of("resource_group"));
    let resource_groups = resource_groups(reader, &at("resource_group"), group);
    let discover = fields.of("discover").or(top.of("discover"));
    let discover = reader.yes_or_no(&at("discover"), discover);
    let models = deployment_models(reader, &at(MODELS), fields.of(MODELS));
    if discover == Some(false) && models.as_ref().is_some_and(Vec::is_empty) {
        let why = format!(
            "without models, and `discover` is false: write {WANTED_MODELS}, or let it discover"
        );
        reader.problem(at(MODELS), why);
    }
    let weight = reader.whole_number(&at("weight"), fields.of("weight"), 1, 1000);
    let deployment_models = models?;
    Some(Keyless {
        name: name.to_string(),
        path: path.to_string(),
        resource_groups,
        discovers: discover == Some(true) || deployment_models.is_empty(),
        deployment_models,
        weight: weight.unwrap_or(1) as u32,
    })
}

/// One or several, each once.
fn resource_groups(reader: &mut Reader, path: &str, json: Option<&Json>) -> Vec<String> {
    let items = match json {
        None => return vec!["default".to_string()],
        Some(text @ Json::Text(_)) => vec![(path.to_string(), text)],
        Some(list) => reader.list(path, list, "a resource group or a list of them"),
    };
    if matches!(json, Some(Json::List(list)) if list.is_empty()) {
        reader.problem(path, "an empty list: write at least one resource group");
    }
    let mut groups = Vec::new();
    for (path, item) in items {
        let Some(group) = reader.header_text(&path, Some(item)) else { continue };
        if groups.contains(&group) {
            reader.warn(path, "the same resource group as one before");
        } else {
            groups.push(group);
        }
    }
    groups
}

/// AI Core counts what both ask together.
fn warn_of_twins(reader: &mut Reader, all: &[Subaccount]) {
    for (nth, one) in all.iter().enumerate() {
        let is_twin = |other: &&Subaccount| {
            let (a, b) = (&one.service_key, &other.service_key);
            a.client_id == b.client_id
                && a.token_url == b.token_url
                && one.resource_groups == other.resource_groups
        };
        if let Some(twin) = all[..nth].iter().find(is_twin) {
            let why = format!(
                "the same service key and resource group as `{}`: they share its limits",
                twin.name
            );
            reader.warn(one.path.as_str(), why);
        }
    }
}

const WANTED_MODELS: &str =
    "an object of model names and deployment URLs, as in {\"gpt-4o\": \"https://…\"}";

/// None, where AI Core is to be asked what there is.
fn deployment_models(
    reader: &mut Reader,
    at: &str,
    json: Option<&Json>,
) -> Option<Vec<(String, Vec<String>)>> {
    let Some(json) = json else { return Some(Vec::new()) };
    let entries = reader.entries(at, json, WANTED_MODELS)?;
    let mut models = Vec::new();
    for (name, value) in entries {
        let path = entry(at, name);
        if reader.name(&path, name) {
            models.push((name.clone(), deployment_urls(reader, &path, value)));
        }
    }
    Some(models)
}

fn deployment_urls(reader: &mut Reader, path: &str, json: &Json) -> Vec<String> {
    let items = match json {
        Json::Text(_) => vec![(path.to_string(), json)],
        _ => reader.list(path, json, "a deployment URL or a list of them"),
    };
    if matches!(json, Json::List(list) if list.is_empty()) {
        reader.problem(path, "an empty list: write at least one deployment URL");
    }
    let urls = items.into_iter().filter_map(|(path, item)| {
        let url = reader.url(&path, item)?;
        match check::sub_path(&url) {
            Some(tail) => {
                let why =
                    format!("cut `{tail}` from its end: the proxy appends what a request needs");
                reader.problem(path, why);
                None
            }
            None => Some(url),
        }
    });
    urls.collect()
}

fn service_key(
    reader: &mut Reader,
    at: &str,
    json: Option<&Json>,
    own: Option<&Path>,
) -> Option<ServiceKey> {
    const WANTED: &str = "the path of SAP's service key file, or its content as an object";
    match json {
        None => {
            let beside = if at == KEY { ", or set AICORE_SERVICE_KEY" } else { "" };
            reader.problem(at, format!("missing: write {WANTED}{beside}"));
            None
        }
        Some(Json::Text(text)) if text.trim_start().starts_with('{') => {
            reader.problem(at, "an object within quotes: write it without them");
            None
        }
        Some(json @ Json::Text(_)) => {
            let path = reader.path(at, Some(json))?;
            service_key_file(reader, at, &path)
        }
        Some(json @ Json::Object(_)) => {
            if let Some(own) = own {
                reader.warn_if_readable(&own.display().to_string(), own, "holds a service key");
            }
            service_key_fields(reader, at, json)
        }
        Some(other) => {
            reader.wrong_kind(at, other, WANTED);
            None
        }
    }
}

fn service_key_file(reader: &mut Reader, at: &str, path: &Path) -> Option<ServiceKey> {
    let file = path.display().to_string();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let why = format!("{file} cannot be read ({error}): save SAP's service key there");
            reader.problem(at, why);
            return None;
        }
    };
    reader.files.push(path.to_path_buf());
    reader.warn_if_readable(&file, path, "is a service key");
    match json::parse(&text) {
        Ok(mut json) => {
            reader.merge_repeated(&format!("{file}: "), &mut json);
            service_key_fields(reader, &format!("{file}: "), &json)
        }
        Err(why) => {
            reader.problem(file, why);
            None
        }
    }
}

/// `at` is where the key stands: a JSON path, or `FILE: `.
pub fn service_key_fields(reader: &mut Reader, at: &str, json: &Json) -> Option<ServiceKey> {
    let mut at = at.to_string();
    let mut key = reader.any_fields(&at, json, "the object that SAP calls a service key")?;
    if let (None, Some(inner)) = (key.of("clientid"), key.of("credentials")) {
        at = field(&at, "credentials");
        key = reader.any_fields(&at, inner, "the object that SAP calls a service key")?;
    }
    let urls_at = field(&at, "serviceurls");
    let api_url = match key.of("serviceurls") {
        Some(urls) => {
            let urls = reader.any_fields(&urls_at, urls, "an object with AI_API_URL")?;
            reader.required_url(&field(&urls_at, "AI_API_URL"), urls.of("AI_API_URL"))
        }
        None => reader.required_url(&field(&urls_at, "AI_API_URL"), None),
    };
    let client_id = reader.required_secret(&field(&at, "clientid"), key.of("clientid"));
    let (proof, token_url) = proof(reader, &at, &key);
    let zone = reader.header_text(&field(&at, "identityzoneid"), key.of("identityzoneid"));
    Some(ServiceKey {
        client_id: client_id?,
        proof: proof?,
        token_url: ending_in(token_url?, "/oauth/token"),
        api_url: ending_in(api_url?, "/v2"),
        identity_zone_id: zone,
    })
}

/// What the key proves its identity with, and the token host that takes it: one that asks for certificates is another.
fn proof(reader: &mut Reader, at: &str, key: &Fields<'_>) -> (Option<Proof>, Option<String>) {
    let at = |name: &str| field(at, name);
    let of_certificate =
        ["certurl", "certificate", "key"].iter().any(|name| key.of(name).is_some());
    let is_x509 = matches!(key.of("credential-type"), Some(Json::Text(kind)) if kind == "x509");
    // Where a key has both, the secret works wherever the certificate does, and does not expire.
    if is_x509 || of_certificate && key.of("clientsecret").is_none() {
        let url = reader.required_url(&at("certurl"), key.of("certurl"));
        let chain = reader.required_pem(&at("certificate"), key.of("certificate"));
        let private = reader.required_pem(&at("key"), key.of("key"));
        let proof = chain.zip(private).map(|(chain, key)| Proof::Certificate { chain, key });
        return (proof, url);
    }
    let url = reader.required_url(&at("url"), key.of("url"));
    let secret = reader.required_secret(&at("clientsecret"), key.of("clientsecret"));
    (secret.map(Proof::Secret), url)
}

pub fn ending_in(url: String, tail: &str) -> String {
    if url.ends_with(tail) { url } else { url + tail }
}
