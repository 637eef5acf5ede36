//! What a subaccount of a pool has besides: deployments that come and go, the catalogue, limits, and
//! what a long run needs.

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use sap_ai_core_llm_proxy::demo::{Certificate, Demo, Fault, Options, Place};
use serde_json::{Map, Value, json};

use super::{Client, Reply, demo, frames, headers, json_headers, token};

const GPT_4O: &str = "d00000000000001a";
const GPT_5: [&str; 2] = ["d00000000000002a", "d00000000000002b"];
const ORCHESTRATION: &str = "d00000000000000a";
const CATALOGUE: &str = "/v2/lm/scenarios/foundation-models/models";
const QUOTA: &str = "/v2/admin/quota/model";
const GROUPS: &str = "/v2/admin/resourceGroups";

#[test]
fn deployments_come_stop_and_go() {
    let demo = demo();
    let count = resources(&demo, "deployments").len();
    demo.deploy("dnew", "gpt-9");
    let new = listed(&demo, "dnew");
    assert_eq!(resources(&demo, "deployments").len(), count + 1);
    assert_eq!(
        (&new["status"], &new["scenarioId"]),
        (&json!("RUNNING"), &"foundation-models".into())
    );
    for spelling in ["backendDetails", "backend_details"] {
        assert_eq!(new["details"]["resources"][spelling]["model"]["name"], "gpt-9");
    }
    assert_eq!(new["deploymentUrl"], demo.deployment_url("dnew"));
    let target = format!("/v2/lm/configurations/{}", new["configurationId"].as_str().unwrap());
    assert_eq!(ask(&demo, &target).json()["parameterBindings"][0]["value"], "gpt-9");
    assert_eq!(demo.config_json()["deployment_models"]["gpt-9"], demo.deployment_url("dnew"));
    assert_eq!(chat(&demo, "dnew").status, 200);
    for status in ["STOPPING", "STOPPED", "PENDING", "DEAD", "UNKNOWN", "RUNNING"] {
        assert!(demo.set_status("dnew", status));
        assert_eq!(listed(&demo, "dnew")["status"], status);
        assert_eq!(demo.config_json()["deployment_models"]["gpt-9"].is_null(), status != "RUNNING");
        let expected = if status == "RUNNING" { 200 } else { 404 };
        assert_eq!(chat(&demo, "dnew").status, expected, "{status}");
    }
    assert!(demo.undeploy("dnew"));
    assert_eq!(resources(&demo, "deployments").len(), count);
    assert_eq!(chat(&demo, "dnew").status, 404);
    assert!(!demo.undeploy("dnew") && !demo.set_status("dnew", "RUNNING"));
    // What is there at the start changes as well, and what has an id already is replaced.
    demo.set_status(GPT_4O, "STOPPED");
    assert_eq!(chat(&demo, GPT_4O).status, 404);
    demo.deploy(GPT_4O, "gpt-4o");
    assert_eq!(resources(&demo, "deployments").len(), count);
    assert_eq!(chat(&demo, GPT_4O).json()["model"], "gpt-4o-2024-08-06");
}

#[test]
fn the_youngest_deployment_says_so() {
    let demo = demo();
    ["done", "dtwo", "dthree"].iter().for_each(|id| demo.deploy(id, "gpt-4o"));
    let created = |id: &str| listed(&demo, id)["createdAt"].as_str().unwrap().to_owned();
    assert!([GPT_4O, "done", "dtwo", "dthree"].map(created).is_sorted_by(|a, b| a < b));
}

#[test]
fn a_family_is_told_by_the_name() {
    let demo = demo();
    let rows = [
        ("", "orchestration"),
        ("o9", "azure-openai"),
        ("anthropic--claude-9-opus", "aws-bedrock"),
        ("amazon--nova-micro", "aws-bedrock"),
        ("gemini-9", "gcp-vertexai"),
        ("mistralai--large", "aicore-mistralai"),
        ("qwen9", "aicore-opensource"),
        ("nvidia--embed", "aicore-nvidia"),
        ("sonar", "perplexity-ai"),
        ("cohere--command-b", "aicore-cohere"),
    ];
    for (n, (model, executable)) in rows.iter().enumerate() {
        let id = format!("d{n}a");
        demo.deploy(&id, model);
        assert_eq!(listed(&demo, &id)["executableId"], *executable, "{model}");
    }
}

#[test]
fn what_is_deployed_at_the_start_can_be_wished_for() {
    let wished = [("d1", "gpt-5"), ("d2", ""), ("é", "sonar")];
    let wished = wished.map(|(id, model)| (id.to_owned(), model.to_owned()));
    let options = Options { deployments: Some(wished.to_vec()), ..Options::default() };
    let demo = Demo::start(options).unwrap();
    let ids = resources(&demo, "deployments").into_iter().map(|d| d["id"].clone());
    assert_eq!(ids.collect::<Vec<_>>(), ["d1", "d2", "é"]);
    let models = demo.config_json()["deployment_models"].as_object().unwrap().clone();
    assert_eq!(models["gpt-5"], demo.deployment_url("d1"));
    assert_eq!(models["orchestration/gpt-4o"], demo.deployment_url("d2"));
    assert_eq!(chat(&demo, "d1").status, 200);
    assert_eq!(chat(&demo, GPT_4O).status, 404);
}

#[test]
fn nothing_is_left_once_all_is_undeployed() {
    let demo = demo();
    demo.undeploy_all();
    assert!(resources(&demo, "deployments").is_empty());
    assert_eq!(demo.config_json()["deployment_models"], json!({}));
    assert_eq!(chat(&demo, GPT_4O).status, 404);
}

// ── the catalogue ────────────────────────────────────────────────────────────────────────────────

#[test]
fn the_catalogue_has_the_recorded_shape() {
    let demo = demo();
    let catalogue = catalogue(&demo);
    let names: HashSet<_> = catalogue.iter().map(|entry| &entry["model"]).collect();
    assert_eq!(names.len(), catalogue.len(), "each once");
    let deployed = resources(&demo, "deployments").into_iter();
    let of =
        |d: Value| ask(&demo, &format!("/v2/lm/configurations/{}", text(&d["configurationId"])));
    for model in deployed.map(|d| of(d).json()["parameterBindings"][0]["value"].clone()) {
        assert!(model == "" || names.contains(&model), "{model}");
    }
    for entry in &catalogue {
        let keys = |value: &Value, wanted: &[&str]| {
            let keys: HashSet<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
            let wanted: HashSet<_> = wanted.iter().copied().collect();
            assert_eq!(keys, wanted, "{entry}");
        };
        keys(
            entry,
            &[
                "model",
                "executableId",
                "description",
                "displayName",
                "accessType",
                "provider",
                "allowedScenarios",
                "versions",
            ],
        );
        for version in entry["versions"].as_array().unwrap() {
            let mut wanted = vec![
                "name",
                "isLatest",
                "deprecated",
                "retirementDate",
                "inputTypes",
                "capabilities",
                "metadata",
                "cost",
                "suggestedReplacements",
                "streamingSupported",
                "orchestrationCapabilities",
            ];
            // Absent for some.
            wanted.extend(version["contextLength"].is_u64().then_some("contextLength"));
            keys(version, &wanted);
            let costs = ["inputCost", "outputCost"];
            for (cost, name) in version["cost"].as_array().unwrap().iter().zip(costs) {
                assert!(text(&cost[name]).parse::<f64>().is_ok(), "{entry}");
            }
        }
        let latest = entry["versions"].as_array().unwrap().iter();
        assert_eq!(latest.filter(|version| version["isLatest"] == true).count(), 1, "{entry}");
    }
    let absent = catalogue.iter().filter(|entry| entry["versions"][0]["contextLength"].is_null());
    assert!(absent.count() > 0);
    let only = |entry: &&Value| entry["allowedScenarios"].as_array().unwrap().len() == 1;
    assert!(
        catalogue
            .iter()
            .filter(only)
            .any(|e| e["allowedScenarios"][0]["scenarioId"] == "orchestration")
    );
    let headers = format!("Authorization: Bearer {}\r\n", token(&demo));
    assert_eq!(Client::new(&demo).send("GET", CATALOGUE, &headers, b"").status, 400);
}

#[test]
fn orchestration_answers_for_all_that_the_catalogue_allows_there() {
    let demo = demo();
    let mut allowed = 0;
    for entry in catalogue(&demo) {
        let scenarios = entry["allowedScenarios"].as_array().unwrap();
        let is_allowed = scenarios.iter().any(|s| s["scenarioId"] == "orchestration");
        let embeds = entry["versions"][0]["capabilities"] == json!(["embedding"]);
        let reply = orchestrated(&demo, text(&entry["model"]), embeds, false);
        assert_eq!(reply.status, if is_allowed { 200 } else { 400 }, "{entry}: {}", reply.text());
        allowed += usize::from(is_allowed);
    }
    assert!(allowed > 20);
    // Some of them have no deployment of their own.
    for model in ["gpt-4.1-nano", "deepseek-ai--deepseek-v4"] {
        assert_eq!(orchestrated(&demo, model, false, true).status, 200, "{model}");
        assert!(demo.config_json()["deployment_models"][model].is_null());
    }
}

#[test]
fn models_retire() {
    let demo = demo();
    let entry = |model: &str| catalogue(&demo).into_iter().find(|e| e["model"] == model).unwrap();
    let version = |model: &str| entry(model)["versions"][0].clone();
    let dates = |model: &str| {
        let version = version(model);
        (version["deprecated"].clone(), version["retirementDate"].clone())
    };
    assert_eq!(dates("gpt-5"), (json!(false), json!("")));
    let (is_deprecated, date) = dates("gpt-4o");
    assert!(is_deprecated == true && text(&date).ends_with("T00:00:00Z"));
    assert_eq!(entry("gpt-4o")["versions"][1]["isLatest"], false);
    for date in ["2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"] {
        for model in ["gpt-5", "gpt-4o"] {
            assert!(demo.retire(model, date));
            assert_eq!(dates(model), (json!(true), json!(date)), "{model}");
        }
    }
    assert_ne!(version("gpt-5")["suggestedReplacements"], json!([]));
    demo.retire("gpt-4o", "");
    assert_eq!(dates("gpt-4o"), (json!(false), json!("")));
    assert!(!demo.retire("gpt-99", "2027-01-01T00:00:00Z"));
}

// ── limits, and what only some service keys may read ─────────────────────────────────────────────

#[test]
fn administration_is_closed_until_it_is_opened() {
    let demo = demo();
    let bearer = |demo: &Demo| format!("Authorization: Bearer {}\r\n", token(demo));
    let read =
        |demo: &Demo, target: &str| Client::new(demo).send("GET", target, &bearer(demo), b"");
    for target in [QUOTA, GROUPS] {
        let reply = read(&demo, target);
        assert_eq!((reply.status, reply.text()), (403, "RBAC: access denied".to_owned()));
    }
    demo.limit("anthropic--claude-4.5-sonnet", 78);
    let descriptors = json!({
        "modelName": "anthropic--claude-4.5-sonnet", "modelVersion": "*", "providerName": "aws-bedrock",
    });
    let detail = json!({"unit": "requestPerMinute", "limit": 78, "descriptors": descriptors});
    let told = json!([{"resourceType": "model", "quotaDetails": [detail]}]);
    assert_eq!(read(&demo, QUOTA).json(), told);
    assert_eq!(Client::new(&demo).send("GET", QUOTA, "", b"").status, 403);
    assert_eq!(Client::new(&demo).send("POST", QUOTA, &bearer(&demo), b"").status, 405);
    assert_eq!(read(&demo, "/v2/admin/secrets").status, 404);
    let options = Options { admin: true, tenant: "t-1".to_owned(), ..Options::default() };
    let open = Demo::start(options).unwrap();
    assert_eq!(read(&open, QUOTA).json(), json!([{"resourceType": "model", "quotaDetails": []}]));
    let groups = read(&open, GROUPS).json();
    let ids = ["default", "team-b"].map(Value::from);
    assert_eq!(groups["count"], 2);
    for (group, id) in groups["resources"].as_array().unwrap().iter().zip(ids) {
        assert_eq!((&group["resourceGroupId"], &group["tenantId"]), (&id, &json!("t-1")));
    }
}

#[test]
fn a_limit_is_a_models_and_any_minutes() {
    let demo = demo();
    demo.limit("gpt-5", 3);
    let statuses =
        [GPT_5[0], GPT_5[1], GPT_5[0], GPT_5[1], GPT_4O].map(|id| chat(&demo, id).status);
    assert_eq!(statuses, [200, 200, 200, 429, 200]);
    assert_eq!(chat(&demo, GPT_5[0]).json()["error"]["code"], "429");
    assert_eq!(orchestrated(&demo, "gpt-5", false, true).status, 429);
    assert_eq!(orchestrated(&demo, "gpt-4o", false, true).status, 200);
    // What is refused uses up no fault.
    demo.push(Fault { deployment: GPT_5[0].to_owned(), ..Fault::status(500) });
    assert_eq!(chat(&demo, GPT_5[0]).status, 429);
    demo.limit("gpt-5", 4);
    assert_eq!([(); 2].map(|()| chat(&demo, GPT_5[0]).status), [500, 429]);
    demo.limit("text-embedding-3-small", 0);
    assert_eq!(orchestrated(&demo, "text-embedding-3-small", true, false).status, 429);
}

#[test]
fn a_minute_slides() {
    let minute = Duration::from_millis(1000);
    let demo = Demo::start(Options { minute_ms: 1000, ..Options::default() }).unwrap();
    demo.limit("gpt-4o", 2);
    let first = Instant::now();
    assert_eq!(chat(&demo, GPT_4O).status, 200);
    thread::sleep(minute / 2);
    let second = Instant::now();
    assert_eq!(chat(&demo, GPT_4O).status, 200);
    let mut refused = 0;
    while chat(&demo, GPT_4O).status == 429 {
        refused += 1;
        assert!(first.elapsed() < 20 * minute);
    }
    assert!(refused > 0 || second.elapsed() >= minute, "the third is over the limit");
    assert!(first.elapsed() >= minute, "the first still counts");
    // Of the two that count now one is younger than half a minute.
    let is_young = second.elapsed() < minute;
    let next = chat(&demo, GPT_4O).status;
    assert!(next == 429 || !is_young || second.elapsed() >= minute, "{next}");
}

/// The body of each family's 429 (dossier 7.1).
#[test]
fn each_family_words_its_limit() {
    let demo = demo();
    for (model, words, _) in FAMILIES {
        demo.limit(model, 0);
        let reply = stream(&demo, model);
        assert_eq!(reply.status, 429, "{model}");
        assert!(reply.text().contains(words), "{model}: {}", reply.text());
        assert!(reply.json().is_object(), "{model}");
    }
}

/// A status of 200, and a first event that takes it back.
#[test]
fn each_family_has_a_stream_that_is_throttled() {
    let demo = demo();
    for (model, _, words) in FAMILIES {
        demo.push(Fault::throttled());
        let reply = stream(&demo, model);
        assert_eq!((reply.status, reply.complete), (200, true), "{model}");
        assert!(reply.text().contains(words), "{model}: {}", reply.text());
        assert!(!reply.text().contains("You said"), "{model}: {}", reply.text());
        let next = stream(&demo, model).text();
        assert!(!next.contains(words), "{model}: {next}");
    }
}

/// A model of each family; words of its 429; words of its throttled stream.
const FAMILIES: [(&str, &str, &str); 9] = [
    ("gpt-4o", "Rate limit is exceeded", r#"{"error":{"code":"429","message":"#),
    ("gpt-5.3-codex", "Rate limit is exceeded", r#""code":"too_many_requests""#),
    (
        "anthropic--claude-4.5-sonnet",
        "Too many tokens, please wait",
        r#""message":"ThrottlingException: "#,
    ),
    ("amazon--nova-pro", "Too many tokens, please wait", "throttlingException"),
    ("gemini-2.5-flash", "RESOURCE_EXHAUSTED", r#""status":"RESOURCE_EXHAUSTED""#),
    ("qwen3-max", "RateLimitError", "RateLimitError"),
    ("sonar-pro", "rate_limit_exceeded", "rate_limit_exceeded"),
    ("cohere--command-a-reasoning", "per minute request limit", "per minute request limit"),
    ("orchestration/gpt-4o", "429 - LLM Module", r#"{"error": {"code": 429, "#),
];

#[test]
fn a_throttled_stream_of_responses_begins_as_recorded() {
    let demo = demo();
    demo.push(Fault::throttled());
    let events = frames(&stream(&demo, "gpt-5.3-codex").text());
    let kinds: Vec<_> = events.iter().map(|event| text(&event["type"])).collect();
    assert_eq!(kinds, ["response.created", "response.failed", "error"]);
    assert!(events.iter().enumerate().all(|(n, event)| event["sequence_number"] == n));
}

#[test]
fn the_catalogue_and_administration_have_faults_of_their_own() {
    let demo = demo();
    demo.limit("gpt-4o", 1000);
    let places = [
        (Place::Deployments, "/v2/lm/deployments"),
        (Place::Catalogue, CATALOGUE),
        (Place::Admin, QUOTA),
    ];
    for (at, _) in places {
        demo.push(Fault { at, ..Fault::status(503) });
    }
    for status in [503, 200] {
        for (at, target) in places.iter().rev() {
            assert_eq!(ask(&demo, target).status, status, "{at:?}");
        }
    }
}

// ── credentials ──────────────────────────────────────────────────────────────────────────────────

#[test]
fn tenants_have_service_keys_and_access_tokens_of_their_own() {
    let [a, b] = ["t-a", "t-b"].map(|tenant| {
        Demo::start(Options { tenant: tenant.to_owned(), ..Options::default() }).unwrap()
    });
    let keys = [&a, &b, &demo()].map(Demo::service_key);
    for field in ["identityzoneid", "identityzone", "clientid", "clientsecret", "appname", "url"] {
        let all: HashSet<_> = keys.iter().map(|key| text(&key[field])).collect();
        assert_eq!(all.len(), 3, "{field}");
    }
    assert_eq!(keys[0]["identityzoneid"], "t-a");
    assert_eq!(a.config_json()["service_key_json"], keys[0]);
    // Also of subaccounts that are alike.
    let alike = [demo(), demo()];
    for [here, there] in [[&a, &b], [&alike[0], &alike[1]]] {
        let (foreign, _) = (headers(here), headers(there));
        let reply = Client::new(there).send("GET", "/v2/lm/deployments", &foreign, b"");
        assert_eq!((reply.status, reply.text()), (401, "Jwt verification fails".to_owned()));
    }
}

#[test]
fn a_certificate_takes_the_place_of_the_secret() {
    let certificate = Certificate {
        chain: "-----BEGIN CERTIFICATE-----".to_owned(),
        key: "-----BEGIN PRIVATE KEY-----".to_owned(),
        url: "https://cert.test".to_owned(),
    };
    let options = Options { certificate: Some(certificate), ..Options::default() };
    let demo = Demo::start(options).unwrap();
    let key = demo.service_key();
    let expected = [
        ("certificate", "-----BEGIN CERTIFICATE-----"),
        ("key", "-----BEGIN PRIVATE KEY-----"),
        ("certurl", "https://cert.test"),
        ("credential-type", "x509"),
    ];
    for (field, expected) in expected {
        assert_eq!(key[field], expected);
    }
    assert!(key["clientsecret"].is_null());
    let id = text(&key["clientid"]).replace('!', "%21").replace('|', "%7C");
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let ask = |demo: &Demo, more: &str| {
        let body = format!("grant_type=client_credentials&client_id={id}{more}");
        Client::new(demo).send("POST", "/oauth/token", form, body.as_bytes()).status
    };
    assert_eq!([ask(&demo, ""), ask(&demo, "x"), ask(&demo, "&client_secret=x")], [200, 401, 401]);
    assert_eq!(ask(&super::demo(), ""), 401, "where there is a secret");
}

// ── long runs ────────────────────────────────────────────────────────────────────────────────────

#[test]
fn what_arrived_is_counted_and_can_be_forgotten() {
    let demo = demo();
    assert_eq!(demo.count(), 0);
    chat(&demo, GPT_4O);
    chat(&demo, "dnone");
    demo.push(Fault { early: true, ..Fault::status(413) });
    chat(&demo, GPT_4O);
    resources(&demo, "deployments");
    assert_eq!(demo.count(), 3, "inference only");
    // What is under way when all is forgotten is not noted at another's place.
    demo.push(Fault { silence: Some((1, 60_000)), ..Fault::default() });
    let mut client = Client::new(&demo);
    let (head, body) = (json_headers(&demo), hi(true).to_string());
    let target = chat_target(GPT_4O);
    let (host, length) = (client.host.clone(), body.len());
    client.write(&format!(
        "POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n{head}\r\n{body}"
    ));
    eventually(|| demo.count() == 4 && demo.seen().last().is_some_and(|s| s.status == 200));
    demo.forget();
    assert_eq!((demo.count(), demo.seen().len()), (0, 0));
    chat(&demo, GPT_4O);
    drop(client);
    eventually(|| demo.hung_up() == 1);
    let seen = demo.seen();
    let inferences: Vec<_> = seen.iter().filter(|s| s.target.contains("/inference/")).collect();
    assert_eq!((demo.count(), inferences.len()), (1, 1));
    assert!(!inferences[0].hung_up && inferences[0].status == 200);
}

#[test]
fn open_connections_are_counted() {
    let demo = demo();
    assert_eq!(demo.connections(), 0);
    let mut clients: Vec<_> = (0..3).map(|_| Client::new(&demo)).collect();
    for client in &mut clients {
        assert_eq!(client.send("GET", "/nowhere", "", b"").status, 404);
    }
    assert_eq!(demo.connections(), 3);
    drop(clients);
    eventually(|| demo.connections() == 0);
}

/// A run of tens of thousands of requests leaves no more behind than one of a thousand.
#[test]
fn the_journal_is_bounded_and_the_count_is_not() {
    let demo = demo();
    let (target, headers, body) = (chat_target(GPT_4O), json_headers(&demo), hi(false).to_string());
    demo.forget();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = Client::new(&demo);
                for _ in 0..500 {
                    let reply = client.send("POST", &target, &headers, body.as_bytes());
                    assert_eq!(reply.status, 200);
                }
            });
        }
    });
    assert_eq!((demo.count(), demo.seen().len()), (2000, 1000));
    assert!(demo.seen().iter().all(|seen| seen.status == 200));
}

fn ask(demo: &Demo, target: &str) -> Reply {
    Client::new(demo).send("GET", target, &headers(demo), b"")
}

/// Of `/v2/lm/{what}`, which counts them as well.
fn resources(demo: &Demo, what: &str) -> Vec<Value> {
    let list = ask(demo, &format!("/v2/lm/{what}")).json();
    let resources = list["resources"].as_array().unwrap().clone();
    assert_eq!(list["count"], resources.len());
    resources
}

/// A deployment, in the list and by itself.
fn listed(demo: &Demo, id: &str) -> Value {
    let all = resources(demo, "deployments");
    let one = all.into_iter().find(|d| d["id"] == id).unwrap();
    assert_eq!(ask(demo, &format!("/v2/lm/deployments/{id}")).json(), one);
    one
}

fn catalogue(demo: &Demo) -> Vec<Value> {
    resources(demo, CATALOGUE.strip_prefix("/v2/lm/").unwrap())
}

/// `hi` to an OpenAI model's deployment.
fn chat(demo: &Demo, id: &str) -> Reply {
    post(demo, &chat_target(id), &hi(false))
}

fn chat_target(id: &str) -> String {
    format!("/v2/inference/deployments/{id}/chat/completions?api-version=2024-10-21")
}

fn hi(streams: bool) -> Value {
    json!({"messages": [{"role": "user", "content": "hi"}], "stream": streams})
}

/// A stream of any family, of the configured deployment of this model.
fn stream(demo: &Demo, model: &str) -> Reply {
    let url = demo.config_json()["deployment_models"][model].clone();
    let url = url.as_str().or_else(|| url[0].as_str()).unwrap().to_owned();
    let id = url.rsplit('/').next().unwrap().to_owned();
    let content = json!([{"role": "user", "content": [{"text": "hi"}]}]);
    let mut chat: Map<String, Value> = hi(true).as_object().unwrap().clone();
    chat.insert("model".to_owned(), json!(model));
    let (path, body) = match model {
        "gpt-4o" => return post(demo, &chat_target(&id), &hi(true)),
        "orchestration/gpt-4o" => return orchestrated(demo, "gpt-4o", false, true),
        "gpt-5.3-codex" => ("responses", json!({"model": model, "input": "hi", "stream": true})),
        "anthropic--claude-4.5-sonnet" => (
            "invoke-with-response-stream",
            json!({
                "anthropic_version": "bedrock-2023-05-31", "max_tokens": 99,
                "messages": [{"role": "user", "content": "hi"}],
            }),
        ),
        "amazon--nova-pro" => ("converse-stream", json!({ "messages": content })),
        "gemini-2.5-flash" => (
            "models/gemini-2.5-flash:streamGenerateContent?alt=sse",
            json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
        ),
        model if model.starts_with("cohere") => ("chat", Value::Object(chat)),
        _ => ("chat/completions", Value::Object(chat)),
    };
    post(demo, &format!("/v2/inference/deployments/{id}/{path}"), &body)
}

fn orchestrated(demo: &Demo, model: &str, embeds: bool, streams: bool) -> Reply {
    let model = json!({"name": model});
    let (path, body) = if embeds {
        let modules = json!({"embeddings": {"model": model}});
        let input = json!({"text": "hi", "type": "query"});
        ("v2/embeddings", json!({"config": {"modules": modules}, "input": input}))
    } else {
        let template = json!([{"role": "user", "content": "hi"}]);
        let module = json!({"prompt": {"template": template}, "model": model});
        let stream = json!({"enabled": streams});
        let config = json!({"modules": {"prompt_templating": module}, "stream": stream});
        ("v2/completion", json!({ "config": config }))
    };
    post(demo, &format!("/v2/inference/deployments/{ORCHESTRATION}/{path}"), &body)
}

fn post(demo: &Demo, target: &str, body: &Value) -> Reply {
    let body = body.to_string();
    Client::new(demo).send("POST", target, &json_headers(demo), body.as_bytes())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[track_caller]
fn eventually(mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(5));
    }
}
