//! What the proxy answers at its own door, with the real server: paths, methods, keys, lists, CORS,
//! bodies, and the framing of HTTP.

mod support;

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sap_ai_core_llm_proxy::catalogue::Catalogue;
use sap_ai_core_llm_proxy::config::{self, hash_key};
use sap_ai_core_llm_proxy::demo::{Demo, Fault, Place};
use sap_ai_core_llm_proxy::dialect::Dialect;
use sap_ai_core_llm_proxy::local;
use sap_ai_core_llm_proxy::relay::Relay;
use serde_json::{Value, json};
use support::{KEY, Proxy, Reply, hi, quick, stream};

const CHAT: &str = "/v1/chat/completions";

// ── paths and methods ────────────────────────────────────────────────────────────────────────────

#[test]
fn every_spelling_of_a_path_is_found() {
    let proxy = Proxy::start();
    let chats = [
        "/v1/chat/completions",
        "/chat/completions",
        "/v1/chat/completions/",
        "/v1/chat/completions?api-version=x&y",
        "/chat/completions/?x",
        "/openai/v1/chat/completions",
        "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
        "/openai/deployments/gpt-4o/chat/completions/",
        "/openai/deployments/gpt%2D4o/chat/completions",
    ];
    for path in chats {
        let reply = proxy.client().send("POST", path, KEY, hi("gpt-4o").to_string().as_bytes());
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        assert!(proxy.last().target.contains("/chat/completions?api-version="));
    }
    let body = json!({"model": "text-embedding-3-small", "input": "hi"}).to_string();
    let embeddings = [
        "/v1/embeddings",
        "/embeddings",
        "/embeddings/?x=y",
        "/openai/deployments/text-embedding-3-small/embeddings?api-version=2024-10-21",
    ];
    for path in embeddings {
        let reply = proxy.client().send("POST", path, KEY, body.as_bytes());
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        assert!(proxy.last().target.contains("/embeddings?api-version="));
    }
    for path in [
        "/v1/models",
        "/models",
        "/v1/models/",
        "/models?x",
        "/v1/models/gpt-4o",
        "/models/gpt-4o/",
    ] {
        assert_eq!(proxy.client().send("GET", path, KEY, b"").status, 200, "{path}");
    }
}

#[test]
fn the_model_of_an_azure_path_counts_and_the_body_stays() {
    let proxy = Proxy::start();
    let body = br#"{"messages":[{"role":"user","content":"hi"}], "model":"whatever"}"#;
    let path = "/openai/deployments/gpt-4.1/chat/completions?api-version=1";
    let reply = proxy.client().send("POST", path, KEY, body);
    assert_eq!((reply.status, &reply.json()["model"]), (200, &json!("gpt-4.1")));
    let seen = proxy.last();
    assert!(seen.target.contains("d00000000000001c"), "{}", seen.target);
    assert_eq!(seen.body, body);
    let reply = proxy.client().send("POST", "/openai/deployments/nope/chat/completions", KEY, body);
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (404, &json!("model_not_found")));
}

#[test]
fn the_api_version_is_the_configured_one() {
    let proxy = Proxy::configured(|json| json["api_version"] = json!("2024-10-21"));
    assert_eq!(proxy.chat(&hi("gpt-4o")).status, 200);
    assert!(proxy.last().target.ends_with("/chat/completions?api-version=2024-10-21"));
}

#[test]
fn what_is_not_there_says_so_in_the_nearest_dialect() {
    let proxy = Proxy::start();
    let table = [
        ("POST", "/", 404, "", false),
        ("GET", "/v1/nothing", 404, "", false),
        ("POST", "/v2/chat/completions", 404, "", false),
        ("POST", "/v1/messages/batches", 404, "", true),
        ("GET", "/anthropic/v1/nothing", 404, "", true),
        ("GET", CHAT, 405, "POST, OPTIONS", false),
        ("HEAD", CHAT, 405, "POST, OPTIONS", false),
        ("PUT", "/embeddings", 405, "POST, OPTIONS", false),
        ("DELETE", "/v1/models/gpt-4o", 405, "GET, HEAD, OPTIONS", false),
        ("POST", "/health", 405, "GET, HEAD, OPTIONS", false),
        ("POST", "/anthropic/v1/models", 405, "GET, HEAD, OPTIONS", true),
    ];
    for (method, path, status, allow, is_anthropic) in table {
        let reply = proxy.client().send(method, path, KEY, b"");
        assert_eq!((reply.status, reply.header("allow")), (status, allow), "{method} {path}");
        assert!(!reply.header("x-request-id").is_empty());
        match (method, is_anthropic) {
            ("HEAD", _) => assert!(reply.body.is_empty()),
            (_, true) => is_anthropic_error(&reply),
            (_, false) => is_openai_error(&reply),
        }
    }
    let reply = proxy.client().send("GET", "/v1/nothing?key=secret", "", b"");
    assert!(reply.text().contains("/v1/nothing") && !reply.text().contains("secret"));
}

#[test]
fn head_is_get_without_its_body() {
    let proxy = Proxy::start();
    let mut client = proxy.client();
    for path in ["/health", "/ready", "/v1/models", "/v1/models/gpt-4o", "/v1/models/nope"] {
        let get = client.send("GET", path, KEY, b"");
        let head = client.send("HEAD", path, KEY, b"");
        assert_eq!(head.status, get.status, "{path}");
        assert_eq!(head.header("content-length"), get.body.len().to_string(), "{path}");
        assert_eq!(head.header("content-type"), "application/json");
    }
}

#[test]
fn health_and_readiness_need_no_key() {
    let proxy = Proxy::start();
    let health = proxy.client().send("GET", "/health", "", b"");
    assert_eq!((health.status, &health.json()["status"]), (200, &json!("ok")));
    assert_eq!(proxy.demo.token_fetches(), 0, "alive does not depend on SAP");
    assert_eq!(proxy.client().send("GET", "/ready", "", b"").status, 200);
    assert_eq!(proxy.demo.token_fetches(), 1);
    let proxy = Proxy::start();
    proxy.demo.push(Fault { at: Place::Token, times: 9, ..Fault::answer(401, "detail") });
    let ready = proxy.client().send("GET", "/ready", "", b"");
    assert_eq!((ready.status, &ready.json()["status"]), (503, &json!("not ready")));
    assert!(!ready.text().contains("detail"), "whoever has no key learns no detail");
    assert_eq!(proxy.client().send("GET", "/health", "", b"").status, 200);
}

#[test]
fn models_are_listed_in_the_shape_that_is_asked_for() {
    let proxy = Proxy::configured(|json| {
        json["aliases"] = json!({"fast": "gpt-4o-mini", "gpt-4-*": "gpt-4o"});
    });
    let get = |path: &str, headers: &str| {
        proxy.client().send("GET", path, &format!("{KEY}{headers}"), b"").json()
    };
    let list = get("/v1/models", "");
    assert_eq!(list["object"], "list");
    let ids = |list: &Value| {
        let data = list["data"].as_array().unwrap().iter();
        data.map(|m| m["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let names = ids(&list);
    for name in ["gpt-4o", "gpt-5", "o3", "text-embedding-3-small", "fast"] {
        assert_eq!(names.iter().filter(|n| *n == name).count(), 1, "{name}: {names:?}");
    }
    assert!(!names.iter().any(|n| n.contains('*')), "patterns are no models");
    let one = json!({"id": "gpt-4o", "object": "model", "created": 0, "owned_by": "openai"});
    assert_eq!(get("/v1/models/gpt-4o", ""), one);
    assert!(list["data"].as_array().unwrap().contains(&one));
    let version = "anthropic-version: 2023-06-01\r\n";
    let all = get("/v1/models?limit=1000", version);
    assert_eq!(all, get("/anthropic/v1/models?limit=1000", ""));
    let ids = ids(&all);
    for id in ["claude-sonnet-4-5", "gpt-5", "anthropic--gpt-5", "text-embedding-3-small", "fast"] {
        assert_eq!(ids.iter().filter(|i| *i == id).count(), 1, "{id}: {ids:?}");
    }
    assert!(!ids.contains(&"anthropic--text-embedding-3-small".to_owned()), "it does not chat");
    for entry in all["data"].as_array().unwrap() {
        assert_eq!(entry["type"], "model");
        let one = get(&format!("/v1/models/{}", entry["id"].as_str().unwrap()), version);
        assert_eq!(one["id"], entry["id"]);
    }
    let sonnet = get("/v1/models/claude-sonnet-4-5-20250929", version);
    assert_eq!(sonnet["display_name"], "Claude Sonnet 4.5");
    let page = get("/v1/models?limit=2&after_id=claude-sonnet-4-5", version);
    assert_eq!(page["has_more"], true);
    let bad = proxy.client().send("GET", "/v1/models?limit=x", &format!("{KEY}{version}"), b"");
    assert_eq!((bad.status, &bad.json()["type"]), (400, &json!("error")));
    assert_eq!(get("/v1/models/fast", version)["type"], "model");
    let unknown = proxy.client().send("GET", "/v1/models/nope", KEY, b"");
    assert_eq!(
        (unknown.status, &unknown.json()["error"]["code"]),
        (404, &json!("model_not_found"))
    );
}

#[test]
fn a_model_is_found_by_any_of_its_names() {
    let mut json = Demo::start(quick()).unwrap().config_json();
    json["aliases"] = json!({
        "opus": "claude-opus-4-8", "haiku": "gpt-5-mini", "claude-sonnet-3*": "gpt-4o",
        "mine": "claude-sonnet-4-5[1m]", "claude-haiku-4-5-20251001": "gpt-4o-mini",
    });
    let loaded = config::from_json(&json.to_string(), Path::new("")).unwrap();
    assert!(!loaded.warnings.iter().any(|w| w.path.starts_with("aliases")));
    let models = Relay::new(&loaded.config).unwrap().models;
    let table = [
        ("claude-sonnet-4-5", "anthropic--claude-4.5-sonnet"),
        ("claude-sonnet-4-5-20250929[1m]", "anthropic--claude-4.5-sonnet"),
        ("4.5-sonnet[1M]", "anthropic--claude-4.5-sonnet"),
        ("mine", "anthropic--claude-4.5-sonnet"),
        ("opus", "anthropic--claude-4.8-opus"),
        // Not deployed, but their role has an alias.
        ("claude-opus-4-1-20250805", "anthropic--claude-4.8-opus"),
        ("claude-haiku-3-5", "gpt-5-mini"),
        // Deployed, but for this very name there is an alias.
        ("claude-haiku-4-5-20251001", "gpt-4o-mini"),
        ("claude-haiku-4-5", "anthropic--claude-4.5-haiku"),
        ("claude-sonnet-3-7", "gpt-4o"),
        ("anthropic--gpt-5[1m]", "gpt-5"),
        ("claude-sonnet-4", ""),
        ("claude-sonnet-4-5-turbo", ""),
        ("sonnet", ""),
        ("[1m]", ""),
    ];
    for (name, expected) in table {
        let found = models.find(name).map_or("", |(model, _)| &model.name);
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn a_pattern_takes_no_model_that_is_there() {
    let mut json = Demo::start(quick()).unwrap().config_json();
    json["aliases"] = json!({
        "claude-*": "gpt-5", "claude-opus-4-1": "gpt-4o", "claude-sonnet-4-*": "gpt-5-mini",
    });
    let models = Relay::new(&config::from_json(&json.to_string(), Path::new("")).unwrap().config)
        .map(|relay| relay.models);
    let models = models.unwrap();
    let table = [
        ("claude-sonnet-4-5", "anthropic--claude-4.5-sonnet", false),
        ("claude-sonnet-4-5[1m]", "anthropic--claude-4.5-sonnet", true),
        ("claude-sonnet-4-5-20250929[1M]", "anthropic--claude-4.5-sonnet", true),
        // An alias in another spelling is nearer than a pattern.
        ("claude-opus-4-1-20250805", "gpt-4o", false),
        ("claude-opus-3", "gpt-5", false),
        ("claude-opus-3[1m]", "gpt-5", true),
        // A pattern is no spelling of a name.
        ("anthropic--claude-4-sonnet", "", false),
    ];
    for (name, expected, is_long) in table {
        let found = models.find(name).map_or(("", false), |(model, long)| (&model.name, long));
        assert_eq!(found, (expected, is_long), "{name}");
    }
}

#[test]
fn what_is_listed_for_anthropic_is_what_is_served() {
    let demo = Demo::start(quick()).unwrap();
    let mut json = demo.config_json();
    let urls = &json["deployment_models"];
    let (sonnet, gpt) = (urls["anthropic--claude-4.5-sonnet"].clone(), urls["gpt-5"].clone());
    json["deployment_models"] = json!({
        "anthropic--claude-4.5-haiku": sonnet, "anthropic--claude-4.5-sonnet": sonnet,
        "claude-4.5-sonnet": sonnet, "gpt-5": gpt, "orchestration/text-embedding-3-small": gpt,
    });
    json["aliases"] = json!({"claude-haiku-4-5": "gpt-5", "opus": "claude-sonnet-4-5[1m]"});
    let models = Relay::new(&config::from_json(&json.to_string(), Path::new("")).unwrap().config)
        .map(|relay| relay.models);
    let models = models.unwrap();
    let list =
        local::models(&models, &Catalogue::default(), Dialect::Anthropic, "/v1/models").unwrap();
    let list: Value = serde_json::from_str(&list).unwrap();
    let expected = [
        ("anthropic--claude-4.5-haiku", "Claude Haiku 4.5", "anthropic--claude-4.5-haiku"),
        ("claude-sonnet-4-5", "Claude Sonnet 4.5", "anthropic--claude-4.5-sonnet"),
        ("claude-4.5-sonnet", "Claude Sonnet 4.5", "claude-4.5-sonnet"),
        ("gpt-5", "gpt-5", "gpt-5"),
        ("anthropic--gpt-5", "gpt-5 (SAP AI Core)", "gpt-5"),
        (
            "orchestration/text-embedding-3-small",
            "orchestration/text-embedding-3-small",
            "orchestration/text-embedding-3-small",
        ),
        ("claude-haiku-4-5", "claude-haiku-4-5 (gpt-5)", "gpt-5"),
        ("opus", "opus (Claude Sonnet 4.5)", "anthropic--claude-4.5-sonnet"),
        ("anthropic--opus", "opus (Claude Sonnet 4.5)", "anthropic--claude-4.5-sonnet"),
    ];
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap().to_owned();
    let listed: Vec<_> = list["data"].as_array().unwrap().iter().collect();
    let seen: Vec<_> = listed.iter().map(|e| (text(e, "id"), text(e, "display_name"))).collect();
    let ids: Vec<_> = expected.map(|(id, shown, _)| (id.to_owned(), shown.to_owned())).into();
    assert_eq!(seen, ids);
    for (entry, (id, _, model)) in listed.iter().zip(expected) {
        assert_eq!(models.find(id).unwrap().0.name, model, "{id}");
        let one = local::model(&models, &Catalogue::default(), id, Dialect::Anthropic).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&one).unwrap(), **entry, "{id}");
    }
}

// ── keys ─────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_key_is_taken_in_every_form_and_from_every_header() {
    let hashed = hash_key("another-key-of-ours").unwrap();
    let proxy = Proxy::configured(|json| {
        json["secret_authentication_tokens"] = json!(["sk-demo", hashed]);
    });
    let good = [
        "Authorization: Bearer sk-demo",
        "authorization: BEARER   sk-demo",
        "Authorization: sk-demo",
        "x-api-key: sk-demo",
        "API-Key: sk-demo",
        "Authorization: Bearer another-key-of-ours",
        "Authorization: Bearer wrong\r\nx-api-key: sk-demo",
    ];
    for header in good {
        let reply = proxy.client().send("GET", "/v1/models", &format!("{header}\r\n"), b"");
        assert_eq!(reply.status, 200, "{header}");
    }
}

#[test]
fn a_wrong_key_gets_a_401_that_tells_nothing() {
    // Each at a door of its own: guessing is slowed.
    let hashed = hash_key("sk-demo").unwrap();
    let bad = [
        String::new(),
        "Authorization: Bearer\r\n".into(),
        "Authorization: Bearer sk-dem\r\n".into(),
        "Authorization: Bearer sk-demo2\r\n".into(),
        "Authorization: Bearer SK-DEMO\r\n".into(),
        "Authorization: Basic sk-demo\r\n".into(),
        format!("Authorization: Bearer {hashed}\r\n"),
        "x-key: sk-demo\r\n".into(),
    ];
    let mut answers = vec![];
    for (n, headers) in bad.iter().enumerate() {
        let proxy = Proxy::start();
        let body = hi("gpt-4o").to_string();
        let reply = match n % 2 {
            0 => proxy.client().send("POST", CHAT, headers, body.as_bytes()),
            _ => proxy.client().send("GET", "/v1/models", headers, b""),
        };
        assert_eq!(reply.status, 401, "{headers}");
        assert_eq!(reply.header("www-authenticate"), "Bearer");
        is_openai_error(&reply);
        assert_eq!(reply.json()["error"]["code"], "invalid_api_key");
        assert!(proxy.demo.seen().is_empty());
        answers.push(reply.text());
        let reply = proxy.client().send("GET", "/anthropic/v1/models", headers, b"");
        assert_eq!((reply.status, reply.header("www-authenticate")), (401, "Bearer"));
        is_anthropic_error(&reply);
        assert_eq!(reply.json()["error"]["type"], "authentication_error");
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

#[test]
fn who_guesses_is_slowed_and_who_knows_is_not() {
    let proxy = Proxy::start();
    let guess = || {
        let began = std::time::Instant::now();
        assert_eq!(proxy.client().send("GET", "/v1/models", "x-api-key: no\r\n", b"").status, 401);
        began.elapsed()
    };
    let first: Vec<_> = (0..5).map(|_| guess()).collect();
    let later: Vec<_> = (0..3).map(|_| guess()).collect();
    assert!(later.iter().max() > first.iter().max(), "{first:?} {later:?}");
    assert!(later[2].as_millis() >= 150, "{later:?}");
    let began = std::time::Instant::now();
    assert_eq!(proxy.client().send("GET", "/v1/models", KEY, b"").status, 200);
    assert!(began.elapsed() < later[2]);
}

// ── ids and origins ──────────────────────────────────────────────────────────────────────────────

#[test]
fn every_answer_has_a_request_id() {
    let proxy = Proxy::start();
    let mut made = vec![];
    for (path, headers) in [("/health", ""), ("/v1/models", KEY), ("/v1/models", ""), ("/x", "")] {
        made.push(proxy.client().send("GET", path, headers, b"").header("x-request-id").to_owned());
        let given = format!("{headers}X-Request-ID: Mine-1/2\r\n");
        let reply = proxy.client().send("GET", path, &given, b"");
        assert_eq!(reply.header("x-request-id"), "Mine-1/2");
        let given = format!("{headers}x-request-id: {}\r\n", "x".repeat(129));
        made.push(proxy.client().send("GET", path, &given, b"").header("x-request-id").to_owned());
    }
    made.push(proxy.chat(&stream("gpt-4o")).header("x-request-id").to_owned());
    assert!(made.iter().all(|id| id.starts_with("req_")), "{made:?}");
    let count = made.len();
    made.sort();
    made.dedup();
    assert_eq!(made.len(), count, "each its own");
    let reply = proxy.client().send("GET", "/anthropic/v1/models", "x-request-id: mine\r\n", b"");
    assert_eq!(reply.header("request-id"), "mine");
    assert_eq!(reply.json()["request_id"], "mine");
}

#[test]
fn browsers_are_answered_before_they_ask() {
    let proxy = Proxy::start();
    let asked = "Origin: https://chat.example\r\nAccess-Control-Request-Method: POST\r\n\
                 Access-Control-Request-Headers: authorization, x-stainless-lang\r\n";
    for path in [CHAT, "/v1/models", "/anywhere"] {
        let reply = proxy.client().send("OPTIONS", path, asked, b"");
        assert_eq!((reply.status, reply.body.len()), (204, 0));
        assert_eq!(reply.header("content-length"), "");
        assert_eq!(reply.header("access-control-allow-origin"), "*");
        assert_eq!(reply.header("access-control-allow-methods"), "GET, POST, DELETE, OPTIONS");
        assert_eq!(reply.header("access-control-allow-headers"), "authorization, x-stainless-lang");
        assert!(reply.header("access-control-max-age").parse::<u32>().unwrap() > 0);
    }
    let plain = proxy.client().send("OPTIONS", CHAT, "", b"");
    assert!(plain.header("access-control-allow-headers").contains("authorization"));
    let answers = [
        proxy.chat(&hi("gpt-4o")),
        proxy.chat(&stream("gpt-4o")),
        proxy.chat(&hi("nope")),
        proxy.client().send("GET", "/v1/models", "", b""),
        proxy.client().send("GET", "/nothing", "", b""),
    ];
    for reply in answers {
        assert_eq!(reply.header("access-control-allow-origin"), "*", "{}", reply.status);
        assert_eq!(reply.header("access-control-expose-headers"), "*");
    }
}

#[test]
fn only_origins_of_the_list_are_let_in() {
    let one = json!(["https://chat.example"]);
    let two = json!(["https://chat.example", "http://localhost:3000"]);
    for (origins, origin, allowed) in [
        (&one, "https://chat.example", "https://chat.example"),
        (&one, "https://chat.example.evil", ""),
        (&one, "http://chat.example", ""),
        (&one, "", ""),
        (&two, "http://localhost:3000", "http://localhost:3000"),
        (&two, "null", ""),
        (&json!([]), "https://chat.example", ""),
    ] {
        let proxy = Proxy::configured(|json| json["cors_origins"] = origins.clone());
        let header =
            if origin.is_empty() { String::new() } else { format!("Origin: {origin}\r\n") };
        for (method, path) in [("OPTIONS", CHAT), ("GET", "/v1/models")] {
            let reply = proxy.client().send(method, path, &format!("{KEY}{header}"), b"");
            assert_eq!(reply.header("access-control-allow-origin"), allowed, "{origins} {origin}");
            let varies = !origins.as_array().unwrap().is_empty();
            assert_eq!(
                reply.header("vary"),
                if varies { "origin" } else { "" },
                "{origins} {origin}"
            );
        }
    }
}

// ── bodies ───────────────────────────────────────────────────────────────────────────────────────

#[test]
fn bodies_that_cannot_be_used_say_why() {
    let proxy = Proxy::configured(|json| {
        json["deployment_models"]["amazon--titan-embed-text"] =
            json!("http://127.0.0.1:9/v2/inference/deployments/d2");
        json["families"] = json!({"our-*": "titan"});
        json["deployment_models"]["our-own"] =
            json!("http://127.0.0.1:9/v2/inference/deployments/d3");
    });
    let table = [
        ("", 400, "body", "empty"),
        ("  ", 400, "body", "empty"),
        ("[]", 400, "body", "byte 0"),
        ("{\"model\":\"gpt-4o\",}", 400, "body", "byte 18"),
        ("{\"model\":\"gpt-4o\" \"x\":1}", 400, "body", "byte 18"),
        ("{\"model\":\"gpt-4o\"", 400, "body", "byte 17"),
        ("{\"a\":1,\"a\":2}", 400, "a", "twice"),
        ("{}", 400, "model", "/v1/models"),
        ("{\"model\":null}", 400, "model", "missing"),
        ("{\"model\":7}", 400, "model", "string"),
        (
            "{\"model\":\"gpt-4o\",\"stream\":\"yes\",\"messages\":[]}",
            400,
            "stream",
            "true or false",
        ),
        ("{\"model\":\"GPT-4o\"}", 404, "model", "gpt-4o-mini"),
        ("{\"model\":\"gpt-4\"}", 404, "model", "`gpt-4`"),
        ("{\"model\":\"\"}", 404, "model", "There are: "),
        ("{\"model\":\"amazon--titan-embed-text\"}", 400, "model", "titan family"),
        ("{\"model\":\"text-embedding-3-small\"}", 400, "model", "no chat requests"),
        ("{\"model\":\"our-own\"}", 400, "model", "no chat requests"),
    ];
    for (body, status, param, why) in table {
        let reply = proxy.client().send("POST", CHAT, KEY, body.as_bytes());
        assert_eq!(reply.status, status, "{body}: {}", reply.text());
        is_openai_error(&reply);
        let error = &reply.json()["error"];
        assert_eq!(error["param"], param, "{body}");
        assert_eq!(error["code"] == "model_not_found", status == 404, "{body}");
        assert!(error["message"].as_str().unwrap().contains(why), "{body}: {error}");
    }
    assert!(proxy.inferences().is_empty());
}

#[test]
fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let proxy = Proxy::limited(|limits| limits.body_bytes_max = 1000);
    let fits = format!("{{\"model\":\"gpt-4o\",\"user\":\"{}\"}}", "x".repeat(1000 - 28));
    assert_eq!(fits.len(), 1000);
    assert_eq!(proxy.client().send("POST", CHAT, KEY, fits.as_bytes()).status, 400, "Azure's word");
    let mut client = proxy.client();
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\n{KEY}");
    client.write(format!("{head}content-length: 1001\r\n\r\n").as_bytes());
    let declared = client.reply(false);
    let mut client = proxy.client();
    let piece = format!("{:x}\r\n{}\r\n", 600, "x".repeat(600));
    client.write(format!("{head}transfer-encoding: chunked\r\n\r\n{piece}{piece}").as_bytes());
    let chunked = client.reply(false);
    for reply in [declared, chunked] {
        assert_eq!((reply.status, reply.header("connection")), (413, "close"));
        is_openai_error(&reply);
        assert!(reply.text().contains("1000 bytes"));
    }
    assert_eq!(proxy.inferences().len(), 1);
}

#[test]
fn embeddings_keep_their_format_dimensions_and_usage() {
    let proxy = Proxy::start();
    let ask = |body: &Value| {
        proxy.client().send("POST", "/v1/embeddings", KEY, body.to_string().as_bytes())
    };
    let plain =
        ask(&json!({"model": "text-embedding-3-small", "input": ["one", "two"], "dimensions": 6}));
    let floats = |v: &Value| {
        v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect::<Vec<_>>()
    };
    let json = plain.json();
    assert_eq!((plain.status, json["data"].as_array().unwrap().len()), (200, 2));
    let vector = floats(&json["data"][1]["embedding"]);
    assert_eq!(vector.len(), 6);
    assert_eq!(json["usage"], json!({"prompt_tokens": 2, "total_tokens": 2}));
    let packed = ask(&json!({
        "model": "text-embedding-3-small",
        "input": ["one", "two"],
        "dimensions": 6,
        "encoding_format": "base64",
    }));
    let bytes = STANDARD.decode(packed.json()["data"][1]["embedding"].as_str().unwrap()).unwrap();
    let unpacked = bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
    assert_eq!(unpacked.collect::<Vec<_>>(), vector);
    let refused = ask(&json!({"model": "text-embedding-ada-002", "input": "x", "dimensions": 6}));
    assert_eq!(refused.status, 400);
    is_openai_error(&refused);
}

// ── HTTP ─────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn one_connection_serves_many_requests() {
    let proxy = Proxy::start();
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.chat(&stream("gpt-4o")).dones(), 1);
        assert_eq!(client.chat(&hi("nope")).status, 404);
        assert_eq!(client.send("GET", "/v1/models", KEY, b"").status, 200);
        assert_eq!(client.send("OPTIONS", "/v1/models", "", b"").status, 204);
        assert_eq!(client.send("HEAD", "/health", "", b"").status, 200);
    }
    let reply = client.send("GET", "/health", "connection: close\r\n", b"");
    assert_eq!((reply.status, reply.header("connection")), (200, "close"));
    assert!(client.is_closed());
}

#[test]
fn requests_may_come_one_behind_the_other() {
    let proxy = Proxy::start();
    let mut client = proxy.client();
    client.begin_chat(&stream("gpt-4o"));
    client.begin("GET", "/v1/models/gpt-5", KEY, b"");
    client.begin_chat(&hi("gpt-4.1"));
    client.begin("GET", "/health", "", b"");
    assert_eq!(client.reply(false).dones(), 1);
    assert_eq!(client.reply(false).json()["id"], "gpt-5");
    assert_eq!(client.reply(false).json()["model"], "gpt-4.1");
    assert_eq!(client.reply(false).json()["status"], "ok");
}

#[test]
fn bodies_may_come_in_chunks() {
    let proxy = Proxy::start();
    let body = hi("gpt-4o").to_string();
    let (first, rest) = body.split_at(7);
    let head =
        format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\n{KEY}Transfer-Encoding: chunked\r\n\r\n");
    let mut client = proxy.client();
    for _ in 0..2 {
        client.write(format!("{head}7;a=b\r\n{first}\r\n").as_bytes());
        client.write(format!("{:X}\r\n{rest}\r\n0\r\nTrailer: x\r\n\r\n", rest.len()).as_bytes());
        let reply = client.reply(false);
        assert_eq!(reply.status, 200, "{}", reply.text());
        let seen = proxy.last();
        assert_eq!(seen.body, body.as_bytes());
        assert_eq!(seen.header("content-length"), Some(&*body.len().to_string()));
    }
    client.write(format!("{head}zz\r\n").as_bytes());
    let reply = client.reply(false);
    assert_eq!((reply.status, reply.header("connection")), (400, "close"));
    is_openai_error(&reply);
}

#[test]
fn a_client_of_http_1_0_gets_a_stream_without_chunks() {
    let proxy = Proxy::start();
    let body = stream("gpt-4o").to_string();
    let mut client = proxy.client();
    client.write(
        format!("POST {CHAT} HTTP/1.0\r\n{KEY}content-length: {}\r\n\r\n{body}", body.len())
            .as_bytes(),
    );
    let reply = client.reply(false);
    assert_eq!((reply.status, reply.header("connection")), (200, "close"));
    assert_eq!(reply.header("transfer-encoding"), "");
    assert!(reply.text().starts_with("data: {") && reply.text().ends_with("data: [DONE]\n\n"));
    let body = hi("gpt-4o").to_string();
    let mut client = proxy.client();
    let head = format!(
        "POST {CHAT} HTTP/1.0\r\nConnection: keep-alive\r\n{KEY}content-length: {}\r\n\r\n",
        body.len()
    );
    for _ in 0..2 {
        client.write(format!("{head}{body}").as_bytes());
        let reply = client.reply(false);
        assert_eq!((reply.status, reply.header("connection")), (200, "keep-alive"));
    }
}

#[test]
fn continue_is_said_to_those_who_may() {
    let proxy = Proxy::limited(|limits| limits.body_bytes_max = 1000);
    let body = hi("gpt-4o").to_string();
    let head = |key: &str, length: usize| {
        format!(
            "POST {CHAT} HTTP/1.1\r\nhost: x\r\n{key}Expect: 100-continue\r\n\
             content-length: {length}\r\n\r\n"
        )
    };
    let mut client = proxy.client();
    client.write(head(KEY, body.len()).as_bytes());
    assert_eq!(client.head().status, 100);
    client.write(body.as_bytes());
    assert_eq!(client.reply(false).status, 200);
    for (key, length, status) in [("x-api-key: no\r\n", body.len(), 401), (KEY, 1001, 413)] {
        let mut client = proxy.client();
        client.write(head(key, length).as_bytes());
        let reply = client.reply(false);
        assert_eq!((reply.status, reply.header("connection")), (status, "close"));
        assert!(client.is_closed());
    }
    // Who does not wait is answered all the same.
    let mut client = proxy.client();
    client.write(format!("{}{body}", head(KEY, body.len())).as_bytes());
    let mut reply = client.reply(false);
    if reply.status == 100 {
        reply = client.reply(false);
    }
    assert_eq!(reply.status, 200);
}

#[test]
fn a_body_that_nobody_read_is_not_the_next_request() {
    let proxy = Proxy::start();
    let smuggled = "GET /health HTTP/1.1\r\nhost: x\r\n\r\n";
    for (path, headers, status) in
        [(CHAT, "", 401), ("/nothing", KEY, 404), ("/health", "", 405), ("/v1/models", KEY, 405)]
    {
        // All of it is there: it is passed over.
        let mut client = proxy.client();
        assert_eq!(client.send("POST", path, headers, smuggled.as_bytes()).status, status);
        assert_eq!(client.send("GET", "/v1/models/o3", KEY, b"").json()["id"], "o3");
        // It is still to come: the connection ends.
        let mut client = proxy.client();
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: x\r\n{headers}content-length: 99999\r\n\r\n");
        client.write(head.as_bytes());
        let reply = client.reply(false);
        assert_eq!((reply.status, reply.header("connection")), (status, "close"));
        client.write(smuggled.as_bytes());
        assert!(client.is_closed());
        // Its length is not known.
        let mut client = proxy.client();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\n{headers}transfer-encoding: chunked\r\n\r\n"
        );
        client.write(format!("{head}0\r\n\r\n{smuggled}").as_bytes());
        let reply = client.reply(false);
        assert_eq!((reply.status, reply.header("connection")), (status, "close"));
        assert!(client.is_closed());
    }
}

#[test]
fn what_is_no_request_is_told_why_and_closed() {
    let proxy = Proxy::start();
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(101));
    let table = [
        ("\u{16}\u{3}\u{1}\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3, 3\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: x\r\nexpect: tea\r\n\r\n", 417),
        (&many, 431),
        ("GET / HTTP/2.0\r\nhost: x\r\n\r\n", 505),
    ];
    for (text, status) in table {
        let mut client = proxy.client();
        client.write(text.as_bytes());
        let reply = client.reply(false);
        assert_eq!((reply.status, reply.header("connection")), (status, "close"), "{text:?}");
        is_openai_error(&reply);
        assert!(reply.header("x-request-id").starts_with("req_"), "{text:?}");
        assert!(client.is_closed());
    }
}

#[test]
fn without_client_keys_everybody_is_let_in() {
    let proxy = Proxy::configured(|json| json["secret_authentication_tokens"] = json!([]));
    assert_eq!(proxy.client().send("GET", "/v1/models", "", b"").status, 200);
    let wrong = "authorization: Bearer any\r\n";
    let body = hi("gpt-4o").to_string();
    assert_eq!(proxy.client().send("POST", CHAT, wrong, body.as_bytes()).status, 200);
}

#[test]
fn long_answers_come_whole() {
    let proxy = Proxy::start();
    let text = "word ".repeat(60_000).trim_end().to_owned();
    let mut body = hi("gpt-4.1");
    body["messages"][0]["content"] = json!(text);
    let whole = proxy.chat(&body);
    assert!(whole.is_whole && whole.said().contains(&text));
    body["stream"] = json!(true);
    let streamed = proxy.chat(&body);
    assert!(streamed.is_whole && streamed.said() == whole.said());
}

fn is_openai_error(reply: &Reply) {
    assert_eq!(reply.header("content-type"), "application/json");
    let json = reply.json();
    let error = json["error"].as_object().unwrap_or_else(|| panic!("{json}"));
    let keys: Vec<_> = error.keys().map(String::as_str).collect();
    assert_eq!(keys, ["code", "message", "param", "type"], "{json}");
    assert!(error["message"].is_string() && error["type"].is_string(), "{json}");
}

fn is_anthropic_error(reply: &Reply) {
    assert_eq!(reply.header("content-type"), "application/json");
    let json = reply.json();
    assert_eq!(json["type"], "error", "{json}");
    assert!(json["error"]["type"].is_string() && json["error"]["message"].is_string(), "{json}");
    assert_eq!(json["request_id"], reply.header("request-id"), "{json}");
}
