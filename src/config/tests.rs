use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// A right configuration with an inline service key, with the `edits` made to it: `(key, JSON)` replaces or adds a key.
fn config(edits: &[(&str, &str)]) -> String {
    let key = r#"{"clientid": "sb-1!b2|aicore!b3", "clientsecret": "s3cr3t$+=", "url": "https://s.authentication.example/",
        "serviceurls": {"AI_API_URL": "https://api.ai.example"}, "identityzoneid": "zone-1"}"#;
    let mut entries = vec![
        ("service_key_json", key),
        ("deployment_models", r#"{"gpt-4o": "https://h/v2/inference/deployments/d1"}"#),
        ("secret_authentication_tokens", r#"["a-key-of-decent-length"]"#),
    ];
    entries.retain(|(name, _)| !edits.iter().any(|(edited, _)| edited == name));
    entries.extend(edits);
    let entries: Vec<String> = entries.iter().map(|(k, v)| format!("\"{k}\": {v}")).collect();
    format!("{{{}}}", entries.join(",\n"))
}

fn loaded(text: &str) -> Loaded {
    from_json(text, Path::new("/none")).unwrap_or_else(|problems| panic!("{problems}"))
}

fn problems(text: &str) -> String {
    from_json(text, Path::new("/none")).map(|_| ()).unwrap_err().to_string()
}

fn warnings(text: &str) -> String {
    Problems(loaded(text).warnings).to_string()
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("proxy-config-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn the_original_shape_works_and_the_key_is_completed() {
    let folder = folder("original");
    let key = r#"{"credentials": {"clientid": "id", "clientsecret": "s", "url": "https://token.example/oauth/token/",
        "serviceurls": {"AI_API_URL": "HTTPS://api.example/v2/"}}}"#;
    fs::write(folder.join("demokey.json"), key).unwrap();
    fs::set_permissions(folder.join("demokey.json"), fs::Permissions::from_mode(0o640)).unwrap();
    let text = r#"{"service_key_json": "demokey.json",
        "deployment_models": {"o3": ["https://h/v2/inference/deployments/d2/"], "gpt-4o": "http://127.0.0.1:99/d1"},
        "secret_authentication_tokens": ["a-key-of-decent-length"], "resource_group": "group-1", "host": "127.0.0.1", "port": 3001}"#;
    fs::write(folder.join("config.json"), text).unwrap();
    let Loaded { config, warnings, .. } =
        load(Some(&folder.join("config.json")), &Environment::default()).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let subaccount = &config.subaccounts[0];
    assert_eq!(subaccount.resource_groups, ["group-1"]);
    assert_eq!(subaccount.service_key.token_url, "https://token.example/oauth/token");
    assert_eq!(subaccount.service_key.api_url, "https://api.example/v2");
    let models =
        [("o3", "https://h/v2/inference/deployments/d2"), ("gpt-4o", "http://127.0.0.1:99/d1")];
    let models = models.map(|(name, url)| (name.to_string(), vec![url.to_string()]));
    assert_eq!(subaccount.deployment_models, models);
    assert_eq!((config.host.as_deref(), config.port), (Some("127.0.0.1"), Some(3001)));
    assert_eq!(config.client_keys, [digest("a-key-of-decent-length")]);
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].why.contains("others can read it: chmod 600 "), "{}", warnings[0]);
}

#[test]
fn what_is_absent_has_its_default() {
    let config = loaded(&config(&[("port", "null")])).config;
    assert_eq!(config.subaccounts[0].resource_groups, ["default"]);
    assert_eq!(config.subaccounts[0].service_key.identity_zone_id.as_deref(), Some("zone-1"));
    assert_eq!(
        config.subaccounts[0].service_key.token_url,
        "https://s.authentication.example/oauth/token"
    );
    assert_eq!(config.subaccounts[0].service_key.api_url, "https://api.ai.example/v2");
    assert_eq!(config.api_version, "2025-04-01-preview");
    assert!(config.adds_cache_points);
    assert_eq!(config.cors_origins, ["*"]);
    assert_eq!((config.limits, config.port), (Limits::default(), None));
    assert_eq!(address(None, None, false), ("127.0.0.1".to_string(), 5000));
    assert_eq!(address(None, None, true).1, 8443);
}

#[test]
fn optional_parts_are_read_in_file_order() {
    let config = loaded(&config(&[
        ("aliases", r#"{"z*": "gpt-4o", "a": "gpt-4o"}"#),
        ("families", r#"{"mine-*": "anthropic"}"#),
        ("limits", r#"{"tries": 5, "body_bytes_max": 2048}"#),
        ("log", r#"{"level": "warn", "format": "json"}"#),
        ("tls", r#"{"cert": "c.pem", "key": "/etc/k.pem"}"#),
        ("cors_origins", r#"["https://chat.example"]"#),
        ("_comment", "[1]"),
    ]));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let config = config.config;
    assert_eq!(config.aliases[0].0, "z*");
    assert_eq!(config.families, [("mine-*".to_string(), "anthropic".to_string())]);
    assert_eq!(config.limits, Limits { tries: 5, body_bytes_max: 2048, ..Limits::default() });
    assert_eq!(
        (config.log.level, config.log.format),
        (Some(LevelFilter::Warn), Some(LogFormat::Json))
    );
    assert_eq!(config.tls.cert.unwrap(), Path::new("/none/c.pem"));
    assert_eq!(config.tls.key.unwrap(), Path::new("/etc/k.pem"));
}

#[test]
fn images_are_fetched_under_limits_of_their_own() {
    let limits = r#"{"fetch_images": false, "fetch_images_from": ["Images.corp", "10.1.2.3:8080"],
        "image_bytes_max": 1024, "image_ms_max": 100}"#;
    let expected = Limits {
        fetch_images: false,
        fetch_images_from: ["images.corp", "10.1.2.3:8080"]
            .map(|h| Allowed::parse(h).unwrap())
            .into(),
        image_bytes_max: 1024,
        image_ms_max: 100,
        ..Limits::default()
    };
    assert_eq!(loaded(&config(&[("limits", limits)])).config.limits, expected);
    // With what else the largest of them is a request that Bedrock still takes.
    assert!(Limits::default().image_bytes_max.div_ceil(3) * 4 < 19_600_000);
}

#[test]
fn hashed_keys_are_the_keys() {
    let hashed = hash_key("a-key-of-decent-length").unwrap();
    let text = config(&[("secret_authentication_tokens", &format!("[\"{hashed}\"]"))]);
    assert_eq!(loaded(&text).config.client_keys, [digest("a-key-of-decent-length")]);
    assert!(hash_key("").is_err() && hash_key("a b").is_err());
}

#[test]
fn problems_are_named_with_their_path() {
    const TOKENS: &str = "secret_authentication_tokens";
    const MODELS: &str = "deployment_models";
    let cases = [
        ("port", "70000", "port: out of range: write a whole number from 0 to 65535"),
        (
            "port",
            "\"80\"",
            "port: found a string: write a whole number from 0 to 65535, without quotes",
        ),
        ("port", "80.5", "port: out of range: write a whole number from 0 to 65535"),
        (
            "host",
            "\"http://x:1\"",
            "host: not a host: write an IP address or a name, such as 127.0.0.1, without scheme and port",
        ),
        ("host", "true", "host: found true or false: write a string"),
        (
            "resource_group",
            "\"a b\"",
            "resource_group: only letters, digits and signs of ASCII can be sent in a header",
        ),
        (
            TOKENS,
            "\"k\"",
            "secret_authentication_tokens: found a string: write a list of keys, as in [\"…\"]",
        ),
        (
            TOKENS,
            "[\"<hidden_key_1>\"]",
            "secret_authentication_tokens[0]: still a placeholder: write a string of your own",
        ),
        (
            TOKENS,
            "[\"YOUR_KEY\"]",
            "secret_authentication_tokens[0]: still a placeholder: write a string of your own",
        ),
        (TOKENS, "[\" \"]", "secret_authentication_tokens[0]: empty: write a string of your own"),
        (
            TOKENS,
            "[\"good-enough-for-this\", 7]",
            "secret_authentication_tokens[1]: found a number: write a string of your own",
        ),
        (
            TOKENS,
            "[\"Bearer hunter2\"]",
            "secret_authentication_tokens[0]: a key is sent in a header: write letters, digits and signs of ASCII, no white space",
        ),
        (
            TOKENS,
            "[\"sha256:12\"]",
            "secret_authentication_tokens[0]: after sha256: come 64 hex digits, as `hash-key` prints them",
        ),
        (
            MODELS,
            "[]",
            "deployment_models: found a list: write an object of model names and deployment URLs, as in {\"gpt-4o\": \"https://…\"}",
        ),
        (
            MODELS,
            r#"{"": "https://h/d"}"#,
            "deployment_models[\"\"]: an empty name: write the model's",
        ),
        (
            MODELS,
            r#"{"m": []}"#,
            "deployment_models[\"m\"]: an empty list: write at least one deployment URL",
        ),
        (
            MODELS,
            r#"{"m": 1}"#,
            "deployment_models[\"m\"]: found a number: write a deployment URL or a list of them",
        ),
        (
            MODELS,
            r#"{"gpt-4o": ["https://h/d", "h/d"]}"#,
            "deployment_models[\"gpt-4o\"][1]: not an absolute URL: write it from https:// on",
        ),
        (
            MODELS,
            r#"{"m": "ftp://h/d"}"#,
            "deployment_models[\"m\"]: neither http nor https: write a URL that begins with https://",
        ),
        (
            MODELS,
            r#"{"m": "https://h/{id}"}"#,
            "deployment_models[\"m\"]: a sign that no URL has (a placeholder, a space?): write the URL as SAP shows it",
        ),
        (
            MODELS,
            r#"{"m": "https://your-host/d"}"#,
            "deployment_models[\"m\"]: still a placeholder: write a URL, as in https://…",
        ),
        (
            MODELS,
            r#"{"m": "https://u:p@h/d"}"#,
            "deployment_models[\"m\"]: a user name or password before the host: remove it",
        ),
        (
            MODELS,
            r#"{"m": "https:///d"}"#,
            "deployment_models[\"m\"]: no host, or a port that is none: write https://HOST/…",
        ),
        (
            MODELS,
            r#"{"m": "https://h:x/d"}"#,
            "deployment_models[\"m\"]: no host, or a port that is none: write https://HOST/…",
        ),
        (
            MODELS,
            r#"{"m": "https://h/d/chat/completions"}"#,
            "deployment_models[\"m\"]: cut `/chat/completions` from its end: the proxy appends what a request needs",
        ),
        (
            MODELS,
            r#"{"m": "https://h/v2/inference/deployments/d1/invoke"}"#,
            "deployment_models[\"m\"]: cut `/invoke` from its end: the proxy appends what a request needs",
        ),
        (
            MODELS,
            r#"{"m": "https://h/d?api-version=1"}"#,
            "deployment_models[\"m\"]: cut everything from `?` on",
        ),
        ("aliases", r#"{"a": 1}"#, "aliases[\"a\"]: found a number: write the name of a model"),
        (
            "families",
            "[]",
            "families: found a list: write an object of names and a family each, as in {\"gpt-*\": \"…\"}",
        ),
        (
            "api_version",
            "\"2024&x\"",
            "api_version: not an API version: write one such as 2025-04-01-preview",
        ),
        (
            "cors_origins",
            r#"["https://a/b"]"#,
            "cors_origins[0]: not an origin: write *, or scheme and host, as in https://chat.example, without a path",
        ),
        ("tls", r#"{"cert": "c"}"#, "tls: cert and key go together: write both or none"),
        (
            "limits",
            r#"{"tries": 0}"#,
            "limits.tries: out of range: write a whole number from 1 to 100",
        ),
        (
            "limits",
            r#"{"keep_alive_ms": -1}"#,
            "limits.keep_alive_ms: out of range: write a whole number from 100 to 600000",
        ),
        (
            "limits",
            r#"{"fetch_images": "false"}"#,
            "limits.fetch_images: found a string: write true or false, without quotes",
        ),
        (
            "limits",
            r#"{"fetch_images": 0}"#,
            "limits.fetch_images: found a number: write true or false",
        ),
        (
            "limits",
            r#"{"fetch_images_from": "h"}"#,
            "limits.fetch_images_from: found a string: write a list of hosts, as in [\"images.example:8080\"]",
        ),
        (
            "limits",
            r#"{"fetch_images_from": ["h", "https://h"]}"#,
            "limits.fetch_images_from[1]: a port that is none: write HOST or HOST:PORT, as in images.example:8080",
        ),
        (
            "limits",
            r#"{"fetch_images_from": ["*.example"]}"#,
            "limits.fetch_images_from[0]: neither a host name nor an address: write HOST or HOST:PORT, as in images.example:8080",
        ),
        (
            "limits",
            r#"{"image_bytes_max": 0}"#,
            "limits.image_bytes_max: out of range: write a whole number from 1024 to 268435456",
        ),
        (
            "limits",
            r#"{"image_ms_max": 1}"#,
            "limits.image_ms_max: out of range: write a whole number from 100 to 600000",
        ),
        (
            "log",
            r#"{"level": "loud"}"#,
            "log.level: not a level: write off, error, warn, info, debug or trace",
        ),
        (
            "subAccounts",
            "{}",
            "subAccounts: empty: write an object of names and a subaccount each, as in {\"eu\": {\"service_key_json\": …}}",
        ),
        (
            "upstream_ca",
            "\"ca.pem\"",
            "upstream_ca: /none/ca.pem cannot be read (No such file or directory (os error 2))",
        ),
        (
            "service_key_json",
            "\"k.json\"",
            "service_key_json: /none/k.json cannot be read (No such file or directory (os error 2)): save SAP's service key there",
        ),
        (
            "service_key_json",
            "\"{}\"",
            "service_key_json: an object within quotes: write it without them",
        ),
        (
            "service_key_json",
            "[]",
            "service_key_json: found a list: write the path of SAP's service key file, or its content as an object",
        ),
        (
            "service_key_json",
            r#"{"clientid": "i", "certificate": "c", "certurl": "https://t", "serviceurls": {"AI_API_URL": "https://a"}}"#,
            "service_key_json.certificate: not a PEM text: write it as in SAP's service key, from -----BEGIN to -----END\n\
             service_key_json.key: missing: write the PEM text in SAP's service key",
        ),
        ("weight", "0", "weight: out of range: write a whole number from 1 to 1000"),
        ("discover", "\"yes\"", "discover: found a string: write true or false, without quotes"),
        ("balance", "\"random\"", "balance: not an order: write round_robin or fallback"),
        ("orchestration", "true", "orchestration: found true or false: write a string"),
        (
            "orchestration",
            "\"on\"",
            "orchestration: not a use of orchestration: write fallback or off",
        ),
        (
            "resource_group",
            "[]",
            "resource_group: an empty list: write at least one resource group",
        ),
        (
            "resource_group",
            r#"["a", "b c"]"#,
            "resource_group[1]: only letters, digits and signs of ASCII can be sent in a header",
        ),
    ];
    for (key, json, expected) in cases {
        assert_eq!(problems(&config(&[(key, json)])), expected, "{key}: {json}");
    }
}

#[test]
fn all_problems_are_told_at_once_and_no_secret_among_them() {
    let text = r#"{"service_key_json": {"credentials": {"clientsecret": " s3cr3t ", "url": "https://x:s3cr3t@h", "serviceurls": {}}},
        "deployment_models": {"m": "s3cr3t"}, "secret_authentication_tokens": ["s3cr3t key", "sha256:s3cr3t"], "port": -1}"#;
    let expected = "\
service_key_json.credentials.serviceurls.AI_API_URL: missing: write the URL in SAP's service key
service_key_json.credentials.clientid: missing: write the string in SAP's service key
service_key_json.credentials.url: a user name or password before the host: remove it
service_key_json.credentials.clientsecret: white space around it: remove it
deployment_models[\"m\"]: not an absolute URL: write it from https:// on
port: out of range: write a whole number from 0 to 65535
secret_authentication_tokens[0]: a key is sent in a header: write letters, digits and signs of ASCII, no white space
secret_authentication_tokens[1]: after sha256: come 64 hex digits, as `hash-key` prints them";
    assert_eq!(problems(text), expected);
    assert!(!format!("{:?}", loaded(&config(&[])).config).contains("s3cr3t"));
}

#[test]
fn doubtful_things_warn() {
    let twice = config(&[]).replacen('{', "{\"deployment_models\": {}, ", 1);
    let cases = [
        (twice, "deployment_models: written twice: only the last one counts"),
        (
            config(&[("secret_authentication_tokens", "[\"short\"]")]),
            "secret_authentication_tokens[0]: shorter than 16 characters: easy to guess",
        ),
        (
            config(&[("resourceGroup", "1")]),
            "resourceGroup: unknown key, ignored. Did you mean `resource_group`?",
        ),
        (config(&[("frobnicate", "1")]), "frobnicate: unknown key, ignored"),
        (config(&[("limits", r#"{"try": 1}"#)]), "limits.try: unknown key, ignored"),
        (
            config(&[("aliases", r#"{"a": "gpt-40"}"#)]),
            "aliases[\"a\"]: `gpt-40` is not among the deployment_models. Did you mean `gpt-4o`?",
        ),
        (config(&[("aliases", r#"{"a": "b", "b": "gpt-4o[1m]", "c": "anthropic--a"}"#)]), ""),
        (config(&[("aliases", r#"{"small": "claude-haiku-4-5", "haiku": "gpt-4o"}"#)]), ""),
        (
            config(&[("aliases", r#"{"claude-*": "claude-opus-9"}"#)]),
            "aliases[\"claude-*\"]: `claude-opus-9` is not among the deployment_models",
        ),
        (
            config(&[("deployment_models", r#"{"m": "http://h/d"}"#)]),
            "deployment_models[\"m\"]: plain http: keys and prompts travel unencrypted. Write https",
        ),
        (config(&[("deployment_models", r#"{"m": "http://[::1]:80/d"}"#)]), ""),
    ];
    for (text, expected) in cases {
        assert_eq!(warnings(&text), expected);
    }
}

#[test]
fn files_that_are_no_json_say_where() {
    let cases = [
        ("{\n  \"port\": 1,\n}", "config.json: not JSON at line 3, column 1: trailing comma"),
        (
            "{\n  // note\n}",
            "config.json: not JSON at line 2, column 3: key must be a string. JSON has no comments: use a key that begins with `_`",
        ),
        (
            "{'port': 1}",
            "config.json: not JSON at line 1, column 2: key must be a string. JSON strings take double quotes",
        ),
        ("", "config.json: not JSON at line 1, column 0: EOF while parsing a value"),
        ("[]", "config.json: found a list: write an object, as in {\"key\": …}"),
    ];
    for (text, expected) in cases {
        assert_eq!(problems(text), expected);
    }
    assert!(problems(&"[".repeat(10_000)).contains("recursion limit"));
    let missing = load(Some(Path::new("/none/config.json")), &Environment::default())
        .unwrap_err()
        .to_string();
    assert!(
        missing.starts_with("/none/config.json: not found: copy config.json.example"),
        "{missing}"
    );
    assert!(loaded(&format!("\u{feff}{}", config(&[]))).warnings.is_empty());
}

#[test]
fn no_client_keys_need_no_auth_and_loopback() {
    let keyless = loaded(&config(&[("secret_authentication_tokens", "[]")])).config;
    let keyed = loaded(&config(&[])).config;
    let path = |config, no_auth, host| client_keys_problem(config, no_auth, host).map(|p| p.path);
    assert_eq!(path(&keyed, false, "0.0.0.0"), None);
    assert_eq!(path(&keyless, false, "127.0.0.1").as_deref(), Some("secret_authentication_tokens"));
    assert_eq!(path(&keyless, true, "127.0.0.1"), None);
    assert_eq!(path(&keyless, true, "localhost"), None);
    assert_eq!(path(&keyless, true, "0.0.0.0").as_deref(), Some("--no-auth"));
}

#[test]
fn the_example_is_refused_until_filled_in_and_shows_the_defaults() {
    let example = include_str!("../../config.json.example");
    let refused = problems(example);
    assert_eq!(refused.lines().count(), 8, "{refused}");
    assert!(refused.lines().all(|line| line.contains("placeholder")), "{refused}");
    let key = r#"{"clientid": "i", "clientsecret": "s", "url": "https://t", "serviceurls": {"AI_API_URL": "https://a"}}"#;
    let filled = example
        .replace("\"<path_of_the_service_key_file>\"", key)
        .replace("<hidden_id", "d")
        .replace("<hidden_key_", "a-key-of-decent-length-")
        .replace('>', "");
    let Loaded { config, warnings, .. } = loaded(&filled);
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.api_version, "2025-04-01-preview");
    assert!(config.adds_cache_points);
}

#[test]
fn cache_is_auto_or_off() {
    assert!(loaded(&config(&[])).config.adds_cache_points);
    assert!(!loaded(&config(&[("cache", "\"off\"")])).config.adds_cache_points);
    let refused = problems(&config(&[("cache", "true")]));
    assert!(refused.starts_with("cache: "), "{refused}");
    let refused = problems(&config(&[("cache", "\"on\"")]));
    assert!(refused.contains("auto or off"), "{refused}");
}

/// A subaccount of the name `n`, its service key's id `id`.
fn subaccount(id: &str, more: &str) -> String {
    let key = format!(
        r#"{{"clientid": "{id}", "clientsecret": "s", "url": "https://{id}.example", "serviceurls": {{"AI_API_URL": "https://a"}}}}"#
    );
    format!(r#"{{"service_key_json": {key}{more}}}"#)
}

fn subaccounts(entries: &[(&str, String)], more: &str) -> String {
    let entries: Vec<_> = entries.iter().map(|(name, json)| format!("{name:?}: {json}")).collect();
    format!(
        r#"{{"subAccounts": {{{}}}, "secret_authentication_tokens": ["a-key-of-decent-length"]{more}}}"#,
        entries.join(", ")
    )
}

#[test]
fn several_subaccounts_are_read_as_the_original_has_them() {
    let folder = folder("several");
    for (file, id) in [("a.json", "a"), ("b.json", "b")] {
        let key = subaccount(id, "").replace(r#"{"service_key_json": "#, "");
        fs::write(folder.join(file), &key[..key.len() - 1]).unwrap();
        fs::set_permissions(folder.join(file), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let text = r#"{"subAccounts": {
            "z": {"resource_group": "default", "service_key_json": "a.json",
                "deployment_models": {"gpt-4o": ["https://h/v2/inference/deployments/d1", "https://h/v2/inference/deployments/d2"]}},
            "a": {"resource_group": ["team-1", "team-2"], "service_key_json": "b.json", "weight": 3, "discover": true,
                "deployment_models": {"o3": ["https://h/v2/inference/deployments/d3"]}},
            "n": {"service_key_json": "b.json"}},
        "secret_authentication_tokens": ["a-key-of-decent-length"], "port": 3001, "host": "127.0.0.1",
        "balance": "fallback", "orchestration": "off"}"#;
    fs::write(folder.join("config.json"), text).unwrap();
    let Loaded { config, warnings, .. } =
        load(Some(&folder.join("config.json")), &Environment::default()).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    let shown = config.subaccounts.iter().map(|s| {
        let groups = s.resource_groups.join(" ");
        let models =
            s.deployment_models.iter().map(|(name, urls)| format!("{name}:{}", urls.len()));
        let models = models.collect::<Vec<_>>().join(" ");
        format!(
            "{} {} [{groups}] [{models}] {} {}",
            s.name, s.service_key.client_id, s.discovers, s.weight
        )
    });
    let expected = [
        "z a [default] [gpt-4o:2] false 1",
        "a b [team-1 team-2] [o3:1] true 3",
        "n b [default] [] true 1",
    ];
    assert_eq!(shown.collect::<Vec<_>>(), expected);
    assert_eq!(config.subaccounts[1].path, "subAccounts[\"a\"]");
    assert_eq!((config.balance, config.orchestrates), (Balance::Fallback, false));
    let files = ["config.json", "a.json", "b.json", "b.json"].map(|file| folder.join(file));
    assert_eq!(config.files, files);
}

#[test]
fn the_flat_form_and_several_go_together() {
    let flat = config(&[("subAccounts", &format!("{{\"b\": {}}}", subaccount("b", "")))]);
    let both = loaded(&flat).config.subaccounts;
    assert_eq!(both.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["default", "b"]);
    assert_eq!((both[0].discovers, both[1].discovers), (false, true));
    // What is said for all holds for those that do not say it.
    let entries =
        [("a", subaccount("a", "")), ("b", subaccount("b", r#", "resource_group": "own""#))];
    let all = loaded(&subaccounts(&entries, r#", "resource_group": "team""#)).config.subaccounts;
    assert_eq!(
        (&all[0].resource_groups[0], &all[1].resource_groups[0]),
        (&"team".into(), &"own".into())
    );
    // Without models it is asked what there is; an alias may lead to what is found.
    let discovering =
        loaded(&config(&[("deployment_models", "null"), ("aliases", r#"{"a": "what is found"}"#)]));
    assert!(discovering.config.subaccounts[0].discovers && discovering.warnings.is_empty());
}

#[test]
fn what_is_wrong_with_one_of_several_is_named_with_its_path() {
    let one =
        |more: &str| subaccounts(&[("a", subaccount("a", "")), ("b c", subaccount("b", more))], "");
    for (text, expected) in [
        (
            subaccounts(&[("a", "{}".into())], ""),
            "subAccounts[\"a\"].service_key_json: missing: write the path of SAP's service key file, or its content as an object",
        ),
        (
            one(r#", "deployment_models": {"m": ["x"]}"#),
            "subAccounts[\"b c\"].deployment_models[\"m\"][0]: not an absolute URL: write it from https:// on",
        ),
        (
            one(r#", "discover": false"#),
            "subAccounts[\"b c\"].deployment_models: without models, and `discover` is false: write an object of model names and deployment URLs, as in {\"gpt-4o\": \"https://…\"}, or let it discover",
        ),
        (
            one(r#", "resource_group": 5"#),
            "subAccounts[\"b c\"].resource_group: found a number: write a resource group or a list of them",
        ),
        (
            config(&[("subAccounts", &format!("{{\"default\": {}}}", subaccount("b", "")))]),
            "subAccounts[\"default\"]: that is what the one outside of subAccounts is called: rename one",
        ),
    ] {
        assert_eq!(problems(&text), expected);
    }
    for (text, expected) in [
        (
            one(r#", "wieght": 1"#),
            "subAccounts[\"b c\"].wieght: unknown key, ignored. Did you mean `weight`?",
        ),
        (
            subaccounts(&[("a", subaccount("a", "")), ("b", subaccount("a", ""))], ""),
            "subAccounts[\"b\"]: the same service key and resource group as `a`: they share its limits",
        ),
        (
            one(r#", "resource_group": ["x", "x"]"#),
            "subAccounts[\"b c\"].resource_group[1]: the same resource group as one before",
        ),
    ] {
        assert_eq!(warnings(&text), expected);
    }
}

#[test]
fn a_service_key_proves_itself_by_a_secret_or_by_a_certificate() {
    let pem = |what: &str| format!("-----BEGIN {what}-----\\nAAAA\\n-----END {what}-----\\n");
    let key = |more: &str| {
        format!(
            r#"{{"clientid": "i", "url": "https://t", "serviceurls": {{"AI_API_URL": "https://a"}},
                "certurl": "https://cert", "certificate": "{}", "key": "{}"{more}}}"#,
            pem("CERTIFICATE"),
            pem("PRIVATE KEY").replace('\\', "\\\\"),
        )
    };
    for (more, is_x509) in [
        ("", true),
        (r#", "credential-type": "x509""#, true),
        (r#", "clientsecret": "s", "credential-type": "x509""#, true),
        (r#", "clientsecret": "s""#, false),
        (r#", "clientsecret": "s", "credential-type": "binding-secret""#, false),
    ] {
        let loaded = loaded(&config(&[("service_key_json", &key(more))]));
        let key = &loaded.config.subaccounts[0].service_key;
        let host = if is_x509 { "https://cert" } else { "https://t" };
        assert_eq!(key.token_url, format!("{host}/oauth/token"), "{more}");
        let Proof::Certificate { chain, key } = &key.proof else {
            assert!(!is_x509, "{more}");
            continue;
        };
        assert_eq!(chain, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert_eq!(key, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    }
}

// ── the environment ──────────────────────────────────────────────────────────────────────────────

const PARTS: [(&str, &str); 4] = [
    ("AICORE_CLIENT_ID", "sb-1!b2|aicore!b3"),
    ("AICORE_CLIENT_SECRET", "s3cr3t$+="),
    ("AICORE_AUTH_URL", "https://token.example/oauth/token"),
    ("AICORE_BASE_URL", "https://api.example/v2/"),
];

fn whole(id: &str) -> String {
    format!(
        r#"{{"clientid": "{id}", "clientsecret": "s3cr3t", "url": "https://t", "serviceurls": {{"AI_API_URL": "https://a"}}}}"#
    )
}

fn bound(label: &str, id: &str) -> String {
    format!(
        r#"{{"xsuaa": [{{}}], "{label}": [{{"label": "{label}", "credentials": {}}}]}}"#,
        whole(id)
    )
}

/// A file with nothing of a service key in it, and this environment.
fn of(pairs: &[(&'static str, &str)], text: &str) -> Result<Loaded, Problems> {
    let environment = Environment::of(pairs.iter().copied());
    read(text, "config.json", Path::new("/none"), None, &environment)
}

#[test]
fn the_first_that_holds_a_part_of_a_service_key_is_used_whole() {
    let folder = folder("profiles");
    let profile = |name: &str, id: &str| {
        let text = format!(
            r#"{{"AICORE_CLIENT_ID": "{id}", "AICORE_CLIENT_SECRET": "s", "AICORE_AUTH_URL": "https://t",
                "AICORE_BASE_URL": "https://a", "AICORE_RESOURCE_GROUP": "of-{id}"}}"#
        );
        fs::create_dir_all(folder.join(".aicore")).unwrap();
        fs::write(folder.join(".aicore").join(name), text).unwrap();
    };
    profile("config.json", "usual");
    profile("config_team.json", "team");
    let home = folder.display().to_string();
    let (own, file) = (format!("{home}/.aicore"), format!("{home}/.aicore/config_team.json"));
    let (key, vcap) = (whole("whole"), bound("aicore", "bound"));
    let all = [("AICORE_SERVICE_KEY", key.as_str()), ("VCAP_SERVICES", &vcap), ("HOME", &home)];
    let with_parts = [&all[..], &PARTS].concat();
    let group = ("AICORE_RESOURCE_GROUP", "own");
    for (pairs, id, group) in [
        (with_parts.clone(), "whole", "default"),
        (with_parts[1..].to_vec(), PARTS[0].1, "default"),
        ([&PARTS[..], &[group]].concat(), PARTS[0].1, "own"),
        (all[1..].to_vec(), "usual", "of-usual"),
        ([&all[1..], &[group]].concat(), "usual", "own"),
        ([&all[1..], &[("AICORE_PROFILE", "team")]].concat(), "team", "of-team"),
        ([&all[1..], &[("AICORE_PROFILE", "default")]].concat(), "usual", "of-usual"),
        (vec![("AICORE_HOME", &*own)], "usual", "of-usual"),
        (vec![("AICORE_CONFIG", &*file)], "team", "of-team"),
        (vec![("VCAP_SERVICES", &*vcap), ("HOME", "/none")], "bound", "default"),
    ] {
        let Loaded { config, notes, .. } =
            of(&pairs, "{}").unwrap_or_else(|e| panic!("{pairs:?}: {e}"));
        let subaccount = &config.subaccounts[0];
        assert_eq!(
            (&*subaccount.service_key.client_id, &*subaccount.resource_groups[0]),
            (id, group),
            "{pairs:?}"
        );
        assert!(subaccount.discovers && config.subaccounts.len() == 1);
        assert!(notes[0].starts_with("the service key is from "), "{notes:?}");
        assert!(!notes[0].contains("s3cr3t"));
    }
    fs::remove_dir_all(&folder).unwrap();
    let key = of(&PARTS, "{}").unwrap().config.subaccounts.remove(0).service_key;
    assert_eq!(key.token_url, "https://token.example/oauth/token");
    assert_eq!(key.api_url, "https://api.example/v2");
    assert!(matches!(key.proof, Proof::Secret(secret) if secret == "s3cr3t$+="));
    // What the file says comes first.
    let file = config(&[("resource_group", "\"of-the-file\"")]);
    let loaded = of(&[&PARTS[..], &[group]].concat(), &file).unwrap();
    assert_eq!(loaded.config.subaccounts[0].resource_groups, ["of-the-file"]);
    assert_eq!(
        loaded.config.subaccounts[0].service_key.token_url,
        "https://s.authentication.example/oauth/token"
    );
    let keyless = config(&[("service_key_json", "null"), ("resource_group", "\"of-the-file\"")]);
    let loaded = of(&[&PARTS[..], &[group]].concat(), &keyless).unwrap();
    let subaccount = &loaded.config.subaccounts[0];
    assert_eq!((&*subaccount.resource_groups[0], subaccount.discovers), ("of-the-file", false));
    assert_eq!(subaccount.service_key.token_url, "https://token.example/oauth/token");
}

#[test]
fn certificates_of_the_environment_are_texts_or_files() {
    let folder = folder("pem");
    let pem = |what: &str| format!("-----BEGIN {what}-----\nAAAA\n-----END {what}-----\n");
    let (chain, key) = (pem("CERTIFICATE"), pem("PRIVATE KEY"));
    let (chain_file, key_file) = (folder.join("c.pem"), folder.join("k.pem"));
    fs::write(&chain_file, &chain).unwrap();
    fs::write(&key_file, &key).unwrap();
    let (escaped, chain_path) = (chain.replace('\n', "\\n"), chain_file.display().to_string());
    let key_path = key_file.display().to_string();
    let always = [PARTS[0], PARTS[3], ("AICORE_CERT_URL", "https://cert.example")];
    for proof in [
        [("AICORE_CERT_STR", &*escaped), ("AICORE_KEY_STR", &*key)],
        [("AICORE_CERT_FILE_PATH", &*chain_path), ("AICORE_KEY_FILE_PATH", &*key_path)],
    ] {
        let loaded = of(&[&always[..], &proof].concat(), "{}").unwrap_or_else(|e| panic!("{e}"));
        let found = &loaded.config.subaccounts[0].service_key;
        assert_eq!(found.token_url, "https://cert.example/oauth/token");
        assert!(found.proof == Proof::Certificate { chain: chain.clone(), key: key.clone() });
    }
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn what_is_wrong_with_the_environment_is_named_by_its_variable() {
    let vcap = bound("aicore", "<your-id>");
    let secret_and_file = [&PARTS[..], &[("AICORE_CERT_FILE_PATH", "/none/c.pem")]].concat();
    for (pairs, expected) in [
        (
            vec![("AICORE_CLIENT_ID", "id")],
            "AICORE_BASE_URL: missing: write the URL in SAP's service key\n\
             AICORE_CLIENT_SECRET: missing: write the string in SAP's service key\n\
             AICORE_AUTH_URL: missing: write the URL in SAP's service key",
        ),
        (
            vec![("AICORE_SERVICE_KEY", "key.json")],
            "AICORE_SERVICE_KEY: not JSON at line 1, column 1: expected value",
        ),
        (
            vec![("AICORE_SERVICE_KEY", "{}"), PARTS[0]],
            "AICORE_SERVICE_KEY: serviceurls.AI_API_URL: missing: write the URL in SAP's service key\n\
             AICORE_SERVICE_KEY: clientid: missing: write the string in SAP's service key\n\
             AICORE_SERVICE_KEY: url: missing: write the URL in SAP's service key\n\
             AICORE_SERVICE_KEY: clientsecret: missing: write the string in SAP's service key",
        ),
        (
            secret_and_file,
            "AICORE_CLIENT_SECRET: there is also AICORE_CERT_FILE_PATH: give one of them",
        ),
        (
            vec![PARTS[0], PARTS[3], ("AICORE_CERT_URL", "x"), ("AICORE_CERT_STR", "y")],
            "AICORE_CERT_STR: not a PEM text: write it as in SAP's service key, from -----BEGIN to -----END\n\
             AICORE_KEY_STR: missing: write the PEM text in SAP's service key\n\
             AICORE_CERT_URL: not an absolute URL: write it from https:// on",
        ),
        (
            [&PARTS[..], &[("AICORE_KEY_STR", "y")]].concat(),
            "AICORE_CLIENT_SECRET: there is also AICORE_KEY_STR: give one of them",
        ),
        (
            vec![PARTS[0], PARTS[3], ("AICORE_CERT_URL", "https://t"), ("AICORE_KEY_STR", "y")],
            "AICORE_CERT_STR: missing: write the PEM text in SAP's service key\n\
             AICORE_KEY_STR: not a PEM text: write it as in SAP's service key, from -----BEGIN to -----END",
        ),
        (
            vec![("AICORE_CONFIG", "/none/c.json")],
            "AICORE_CONFIG: /none/c.json cannot be read (No such file or directory (os error 2))",
        ),
        (
            vec![("AICORE_PROFILE", "p"), ("AICORE_HOME", "/none")],
            "AICORE_PROFILE: /none/config_p.json cannot be read (No such file or directory (os error 2))",
        ),
        (
            vec![("VCAP_SERVICES", &*vcap)],
            "VCAP_SERVICES: aicore[0].credentials.clientid: still a placeholder: write the string in SAP's service key",
        ),
        (
            [&PARTS[..], &[("AICORE_RESOURCE_GROUP", "a b")]].concat(),
            "AICORE_RESOURCE_GROUP: only letters, digits and signs of ASCII can be sent in a header",
        ),
        (
            [&PARTS[..], &[("PROXY_KEYS", "sha256:1, k")]].concat(),
            "PROXY_KEYS[0]: after sha256: come 64 hex digits, as `hash-key` prints them",
        ),
        // Nothing of a service key is in any of these.
        (
            vec![
                ("VCAP_SERVICES", r#"{"xsuaa": [{}]}"#),
                ("HOME", "/none"),
                ("AICORE_CLIENT_ID", " "),
            ],
            "service_key_json: missing: write the path of SAP's service key file, or its content as an object, or set AICORE_SERVICE_KEY",
        ),
    ] {
        assert_eq!(of(&pairs, "{}").map(|_| ()).unwrap_err().to_string(), expected, "{pairs:?}");
    }
}

#[test]
fn client_keys_of_the_environment_are_added() {
    let keys = "key-number-one-of-two,\n  key-number-two-of-two ";
    let all = [&PARTS[..], &[("PROXY_KEYS", keys)]].concat();
    let loaded = of(&all, "{}").unwrap();
    assert_eq!(
        loaded.config.client_keys,
        ["key-number-one-of-two", "key-number-two-of-two"].map(digest)
    );
    assert_eq!(loaded.config.plain_key.as_deref(), Some("key-number-one-of-two"));
    let beside = of(&all, &config(&[])).unwrap().config;
    assert_eq!(
        (beside.client_keys.len(), beside.plain_key.as_deref()),
        (3, Some("a-key-of-decent-length"))
    );
}

#[test]
fn no_file_is_needed_where_the_environment_says_enough() {
    let enough =
        |pairs: &[(&'static str, &str)]| Environment::of(pairs.iter().copied()).is_enough();
    assert!(enough(&PARTS[..1]) && enough(&[("AICORE_PROFILE", "x")]));
    assert!(!enough(&[]) && !enough(&[("HOME", "/none"), ("PROXY_KEYS", "k")]));
    assert!(!enough(&[("AICORE_RESOURCE_GROUP", "g"), ("AICORE_CLIENT_ID", "")]));
}
