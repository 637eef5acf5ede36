//! What the AI API tells of a subaccount: pages, resource groups, statuses, look-ups of configurations, and an API that is
//! down or talks nonsense. And the lists of models, with what the catalogue says.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sap_ai_core_llm_proxy::aicore::{AiCore, Settings};
use sap_ai_core_llm_proxy::catalogue::{self, Catalogue};
use sap_ai_core_llm_proxy::config::{self, Config};
use sap_ai_core_llm_proxy::demo::{Demo, Fault, Place, Seen};
use sap_ai_core_llm_proxy::dialect::Dialect;
use sap_ai_core_llm_proxy::discovery::{Findings, discover, mismatches};
use sap_ai_core_llm_proxy::families::{self, Family};
use sap_ai_core_llm_proxy::local;
use sap_ai_core_llm_proxy::relay::Relay;
use sap_ai_core_llm_proxy::subaccount::Subaccount;
use serde_json::{Value, json};
use support::quick;

const LIST: &str = "/v2/lm/deployments";

/// A subaccount that is a demo of its own.
struct Account {
    demo: Demo,
    config: config::Subaccount,
    subaccount: Subaccount,
    aicore: Arc<AiCore>,
}

impl Account {
    fn of(groups: &[&str]) -> Account {
        let demo = Demo::start(quick()).unwrap();
        let mut config = read(&demo.config_json()).subaccounts.remove(0);
        config.resource_groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let second = Duration::from_secs(1);
        let settings = Settings { connect_max: second, idle_max: second, ..Settings::default() };
        let subaccount = Subaccount::new(&config, &settings).unwrap();
        Account { demo, config, subaccount, aicore: Arc::new(AiCore::new(&settings).unwrap()) }
    }

    fn discover(&self) -> Findings {
        discover(&self.aicore, &self.subaccount)
    }

    /// The next answers of the AI API, to whatever it is asked.
    fn push(&self, bodies: &[Value]) {
        for body in bodies {
            self.fault(200, Some(body.to_string()), 1);
        }
    }

    fn fault(&self, status: u16, body: Option<String>, times: usize) {
        self.demo.push(Fault { at: Place::Deployments, status, body, times, ..Fault::default() });
    }

    /// What was asked about deployments and configurations, and for which group.
    fn asked(&self) -> Vec<(String, String)> {
        let is_asked = |s: &Seen| {
            let what = s.target.strip_prefix("/v2/lm/").unwrap_or("");
            ["deployments", "configurations"].iter().any(|word| what.starts_with(word))
        };
        let seen = self.demo.seen().into_iter().filter(is_asked);
        let group = |s: &Seen| s.header("ai-resource-group").unwrap_or("").to_owned();
        seen.map(|s| (s.target.clone(), group(&s))).collect()
    }

    /// In the shape that is recorded (dossier 4.1), as short as it may be.
    fn listed(&self, id: &str, model: &str, created_at: &str) -> Value {
        json!({
            "id": id, "status": "RUNNING", "scenarioId": "foundation-models", "createdAt": created_at,
            "configurationId": format!("c-{id}"), "deploymentUrl": self.demo.deployment_url(id),
            "details": {"resources": {"backend_details": {"model": {"name": model}}}},
        })
    }
}

fn read(json: &Value) -> Config {
    config::from_json(&json.to_string(), Path::new("")).unwrap().config
}

fn page(count: usize, resources: &[Value]) -> Value {
    json!({"count": count, "resources": resources})
}

/// `model@group:id` of each deployment found.
fn short(findings: &Findings) -> Vec<String> {
    let found = findings.deployments.as_ref().unwrap().iter();
    let short = found.map(|f| {
        let model = if f.is_orchestration { "any" } else { &f.model };
        assert_eq!(f.is_orchestration, f.model.is_empty(), "{f:?}");
        format!("{model}@{}:{}", f.group, f.url.rsplit('/').next().unwrap())
    });
    short.collect()
}

#[test]
fn what_runs_in_all_groups_is_found() {
    let account = Account::of(&["default", "team-b"]);
    let findings = account.discover();
    assert_eq!(findings.problems, [""; 0]);
    let found = short(&findings);
    for expected in [
        "any@0:d00000000000000a",
        // Its details are null: from its configuration.
        "gpt-5-mini@0:d00000000000002c",
        // One spelling, the other, both.
        "gpt-4o-mini@0:d00000000000001b",
        "gpt-4.1@0:d00000000000001c",
        "gpt-4o@0:d00000000000001a",
        "gpt-4o@1:d00000000000007a",
        "gpt-5@0:d00000000000002a",
        "gpt-5@0:d00000000000002b",
    ] {
        assert!(found.contains(&expected.to_owned()), "{expected}: {found:#?}");
    }
    // Stopped, pending, dead.
    for id in ["d00000000000005a", "d00000000000005b", "d00000000000005c"] {
        assert!(!found.iter().any(|f| f.ends_with(id)), "{id}");
        let all = findings.all.as_ref().unwrap();
        assert_eq!(all.iter().filter(|l| l.id == id && !l.is_running()).count(), 1, "{id}");
    }
    let urls = findings.deployments.as_ref().unwrap().iter().map(|f| f.url.as_str());
    let configured: usize = account.config.deployment_models.iter().map(|(_, u)| u.len()).sum();
    // The configuration asks for three models by orchestration; the other group's is not in it.
    assert_eq!(urls.clone().count(), configured - 2 + 1);
    for (name, own) in &account.config.deployment_models {
        assert!(own.iter().all(|url| urls.clone().any(|u| u == url)), "{name}");
    }
    let models: Vec<_> =
        findings.deployments.as_ref().unwrap().iter().map(|f| f.model.as_str()).collect();
    assert!(models.is_sorted(), "{models:?}");
}

#[test]
fn a_configuration_is_looked_up_once() {
    let account = Account::of(&["default"]);
    let look_ups = || {
        let asked = account.asked().into_iter();
        asked.filter(|(path, _)| path.contains("/configurations/")).collect::<Vec<_>>()
    };
    let first = account.discover();
    let id = "00000000-0000-4000-8000-00000000002c";
    assert_eq!(look_ups(), [(format!("/v2/lm/configurations/{id}"), "default".into())]);
    assert_eq!(account.discover(), first);
    assert_eq!(look_ups().len(), 1);
}

#[test]
fn many_configurations_are_looked_up_in_parts() {
    let account = Account::of(&["default"]);
    let named = json!({"parameterBindings": [{"key": "modelName", "value": "gpt-5"}]}).to_string();
    let unnamed = (0..250).map(|n| {
        let mut one = account.listed(&format!("d{n}"), "", "");
        one["details"] = json!({});
        one
    });
    let list = page(250, &unnamed.collect::<Vec<_>>());
    for (look_ups, found) in [(200, 200), (50, 250)] {
        account.push(std::slice::from_ref(&list));
        account.fault(200, Some(named.clone()), look_ups);
        let findings = account.discover();
        assert_eq!((short(&findings).len(), &findings.problems), (found, &vec![]));
    }
}

#[test]
fn a_configuration_that_cannot_be_read_costs_its_deployment_only() {
    let unnamed = |account: &Account| {
        let mut unnamed = account.listed("d2", "", "");
        unnamed["details"] = Value::Null;
        page(2, &[account.listed("d1", "gpt-5", ""), unnamed])
    };
    let table = [
        (503, "upstream connect error", Some("upstream connect error"), false),
        (403, "RBAC: access denied", Some("may not see its configuration"), false),
        (404, "{}", Some("may not see its configuration"), false),
        (200, "{}", None, true),
        (
            200,
            r#"{"parameterBindings": [{"key": "modelName", "value": "o\n3"}]}"#,
            Some("name"),
            true,
        ),
    ];
    for (status, body, problem, is_known) in table {
        let account = Account::of(&["default"]);
        account.push(&[unnamed(&account)]);
        account.fault(status, Some(body.into()), 1);
        let findings = account.discover();
        assert_eq!(short(&findings), ["gpt-5@0:d1"], "{status} {body}");
        let problems = &findings.problems;
        assert_eq!(problems.len(), usize::from(problem.is_some()), "{problems:?}");
        for (text, problem) in problems.iter().zip(problem) {
            assert!(
                text.starts_with("subaccount \"default\": ") && text.contains("\"d2\""),
                "{text}"
            );
            assert!(text.contains(problem), "{text}");
        }
        // What could not be asked is asked again.
        account.push(&[unnamed(&account)]);
        let before = account.asked().len();
        account.push(&[json!({"parameterBindings": [{"key": "modelName", "value": "o3"}]})]);
        let findings = account.discover();
        let again = account.asked().len() - before;
        let found = short(&findings);
        assert_eq!(found.contains(&"o3@0:d2".to_owned()), !is_known, "{found:?}");
        assert_eq!(again, if is_known { 1 } else { 2 }, "{status} {body}");
    }
}

#[test]
fn pages_are_read_to_the_end() {
    let account = Account::of(&["default"]);
    let one = |n: usize| account.listed(&format!("d{n}"), &format!("gpt-{n}"), "");
    let found = |range: std::ops::Range<usize>| -> Vec<String> {
        range.map(|n| format!("gpt-{n}@0:d{n}")).collect()
    };
    let table = [
        // (pages, what is asked for: `$skip`, what is found)
        (vec![page(3, &[one(0), one(1)]), page(3, &[one(2)])], vec![0, 2], found(0..3)),
        (vec![page(2, &[one(0), one(1)])], vec![0], found(0..2)),
        (vec![page(0, &[])], vec![0], vec![]),
        // More is promised than there is.
        (vec![page(9, &[one(0)]), page(9, &[])], vec![0, 1], found(0..1)),
        // They overlap.
        (vec![page(4, &[one(0), one(1)]), page(4, &[one(1), one(2)])], vec![0, 2], found(0..3)),
        // `$skip` has no effect.
        (vec![page(9, &[one(0)]), page(9, &[one(0)])], vec![0, 1], found(0..1)),
        // Not told how many there are.
        (vec![json!({"resources": [one(0)]}), json!({"resources": []})], vec![0, 1], found(0..1)),
    ];
    for (pages, skips, expected) in table {
        let before = account.asked().len();
        account.push(&pages);
        let findings = account.discover();
        assert_eq!(short(&findings), expected, "{pages:?}");
        let asked = account.asked().split_off(before).into_iter().map(|(path, _)| path);
        let asked: Vec<_> = asked.filter(|path| path.starts_with(LIST)).collect();
        let paths = skips.iter().map(|skip| format!("{LIST}?$top=500&$skip={skip}"));
        assert_eq!(asked, paths.collect::<Vec<_>>());
    }
}

#[test]
fn the_newest_of_a_model_comes_first_and_each_counts_once() {
    let account = Account::of(&["default", "team-b"]);
    let (old, new) = ("2026-05-01T08:00:00Z", "2026-06-01T08:00:00Z");
    let one = |id: &str, created| account.listed(id, "gpt-5", created);
    let other = account.listed("d0", "gpt-4o", old);
    account.push(&[
        page(3, &[one("d1", old), one("d2", new), other.clone()]),
        page(3, &[other, one("d3", new), one("d4", "2026-07-01T08:00:00Z")]),
    ]);
    let findings = account.discover();
    let expected = ["gpt-4o@0:d0", "gpt-5@1:d4", "gpt-5@0:d2", "gpt-5@1:d3", "gpt-5@0:d1"];
    assert_eq!(short(&findings), expected);
}

#[test]
fn what_is_not_ours_or_cannot_be_asked_is_left_out() {
    let account = Account::of(&["default"]);
    let home = account.demo.deployment_url("");
    let edited = |id: &str, key: &str, value: Value| {
        let mut one = account.listed(id, "gpt-5", "");
        one[key] = value;
        one
    };
    let port = home.strip_prefix("http://127.0.0.1:").and_then(|rest| rest.split('/').next());
    let port = port.unwrap();
    let own = json!({
        "id": "own", "status": "RUNNING", "scenarioId": "our-own", "configurationId": "c-own",
        "deploymentUrl": format!("{home}own"),
    });
    let list = [
        own,
        edited("pending", "deploymentUrl", json!("")),
        edited("nowhere", "deploymentUrl", Value::Null),
        edited("stopped", "status", json!("STOPPED")),
        edited("unknown", "status", json!("A_NEW_WORD")),
        edited("slash", "deploymentUrl", json!(format!("{home}slash/"))),
        edited("foreign", "deploymentUrl", json!("https://evil.example/v2/x")),
        edited("port", "deploymentUrl", json!("http://127.0.0.1:1/v2/port")),
        edited("scheme", "deploymentUrl", json!(home.replace("http:", "https:"))),
        edited("user", "deploymentUrl", json!(format!("http://a:secret@127.0.0.1:{port}/v2/user"))),
        edited("query", "deploymentUrl", json!(format!("{home}query?x=1"))),
        edited("file", "deploymentUrl", json!("file:///etc/passwd")),
        edited("none", "deploymentUrl", json!("no URL")),
    ];
    account.push(&[page(list.len(), &list)]);
    let findings = account.discover();
    assert_eq!(short(&findings), ["gpt-5@0:slash"]);
    let problems = findings.problems.join("\n");
    for id in ["foreign", "port", "scheme", "user", "query", "file", "none"] {
        let lines = problems.lines().filter(|line| line.contains(&format!("{id:?}")));
        assert_eq!(lines.count(), 1, "{id}: {problems}");
    }
    assert_eq!(findings.problems.len(), 7, "{problems}");
    assert!(!problems.contains("secret"), "{problems}");
    assert!(account.asked().iter().all(|(path, _)| !path.contains("configurations")));
}

#[test]
fn an_api_that_is_down_changes_nothing() {
    let table = [
        (500, "{}", "500"),
        (503, r#"{"error": {"code": "1", "message": "one\nof two"}}"#, "one of two"),
        (200, "<html>", "no list of deployments"),
        (200, r#"{"error": {"code": "01010076", "message": "no"}}"#, "no list of deployments"),
    ];
    for (status, body, why) in table {
        let account = Account::of(&["default", "team-b"]);
        account.fault(status, Some(body.into()), 1);
        let findings = account.discover();
        let problems = findings.problems.clone();
        assert_eq!(findings, Findings { problems, ..Findings::default() }, "{status} {body}");
        assert_eq!(findings.problems.len(), 1, "{:?}", findings.problems);
        assert!(findings.problems[0].contains(why), "{:?}", findings.problems);
        assert_eq!(account.asked().len(), 1, "it is left in peace");
        assert!(account.discover().deployments.is_some(), "it is up again");
    }
    // Half of it down is no half of a list.
    let account = Account::of(&["default", "team-b"]);
    account.push(&[page(0, &[])]);
    account.fault(500, None, 1);
    assert_eq!(account.discover().deployments, None);
    // No access token either.
    let account = Account::of(&["default"]);
    let refused = Fault { at: Place::Token, status: 401, times: usize::MAX, ..Fault::default() };
    account.demo.push(refused);
    let findings = account.discover();
    assert!(findings.deployments.is_none() && findings.problems.len() == 1, "{findings:?}");
    assert!(account.asked().is_empty());
}

#[test]
fn a_group_that_may_not_be_asked_has_nothing() {
    for (status, why) in [(403, "may not list them"), (404, "there is no such resource group")] {
        let account = Account::of(&["default", "team-b"]);
        // A 403 renews no access token.
        account.fault(status, None, 1);
        let findings = account.discover();
        assert_eq!(short(&findings), ["gpt-4o@1:d00000000000007a"]);
        assert_eq!(findings.all, None);
        assert_eq!(findings.problems.len(), 1, "{:?}", findings.problems);
        let problem = &findings.problems[0];
        assert!(problem.contains("\"default\"") && problem.contains(why), "{problem}");
        // None may.
        account.fault(status, None, 2);
        let findings = account.discover();
        assert_eq!((findings.deployments, findings.all), (None, None));
        assert_eq!(findings.problems.len(), 2, "{:?}", findings.problems);
    }
}

#[test]
fn an_expired_access_token_is_renewed() {
    let account = Account::of(&["default"]);
    account.discover();
    account.demo.revoke_tokens();
    assert!(account.discover().deployments.is_some());
}

#[test]
fn configured_urls_are_checked() {
    let mut account = Account::of(&["default", "team-b"]);
    let findings = account.discover();
    let url = |id: &str| account.demo.deployment_url(&format!("d000000000000{id}"));
    let told = |name: &str| -> Option<&'static Family> {
        families::by_name("claude").filter(|_| name == "ours").or_else(|| families::told(name))
    };
    assert_eq!(mismatches(&account.config, &findings, told), [""; 0]);
    let models = [
        ("gpt-4o", vec![url("01a"), url("05c"), url("07a")]),
        ("gpt-4", vec![url("05a")]),
        // Another model, of the same family.
        ("gpt-5", vec![format!("{}/", url("01a"))]),
        ("gpt-4.1", vec![url("04a"), url("05b"), url("0ff")]),
        ("gemini-2.5-pro", vec![url("00a")]),
        ("orchestration/gemini-2.5-pro", vec![url("00a"), url("08a")]),
        ("a name of no meaning", vec![url("08a")]),
        ("ours", vec![url("04a"), url("02c")]),
    ];
    account.config.path = "subAccounts[\"a b\"]".into();
    account.config.deployment_models =
        models.iter().map(|(name, urls)| ((*name).to_owned(), urls.clone())).collect();
    let warnings = mismatches(&account.config, &findings, told);
    let expected = [
        (r#"["gpt-4o"][1]"#, "DEAD"),
        (r#"["gpt-4o"][2]"#, "resource group \"team-b\""),
        (r#"["gpt-4"]"#, "STOPPED"),
        (r#"["gpt-4.1"][0]"#, "of the family claude"),
        (r#"["gpt-4.1"][1]"#, "PENDING"),
        (
            r#"["gpt-4.1"][2]"#,
            r#"no deployment of this id in the resource group "default" and "team-b""#,
        ),
        (r#"["gemini-2.5-pro"]"#, "of the family orchestration"),
        (r#"["orchestration/gemini-2.5-pro"][1]"#, "of the family gemini"),
        (r#"["ours"][1]"#, "of the family openai"),
    ];
    for (warning, (path, why)) in warnings.iter().zip(expected) {
        let path = format!("subAccounts[\"a b\"].deployment_models{path}: ");
        assert!(warning.starts_with(&path) && warning.contains(why), "{path}{why}: {warning}");
        assert!(!warning.contains("127.0.0.1"), "{warning}");
    }
    assert_eq!(warnings.len(), expected.len(), "{warnings:#?}");
    assert_eq!(mismatches(&account.config, &Findings::default(), told), [""; 0]);
}

/// The catalogue in the shape that is recorded (dossier 4.3), shortened.
#[test]
fn lists_show_what_the_catalogue_says() {
    let catalogue = catalogue::parse(
        json!({"count": 2, "resources": [
            {"model": "gpt-4o", "displayName": "GPT-4o", "provider": "OpenAI", "versions": [{
                "isLatest": true, "deprecated": true, "retirementDate": "2026-10-14T00:00:00Z",
                "contextLength": 128000, "inputTypes": ["text", "image"],
                "capabilities": ["text-generation"], "suggestedReplacements": ["gpt-5"]}]},
            {"model": "anthropic--claude-4.5-sonnet", "displayName": "Claude 4.5 Sonnet", "versions": [{
                "deprecated": false, "retirementDate": "", "contextLength": 200000}]},
        ]})
        .to_string()
        .as_bytes(),
    );
    let demo = Demo::start(quick()).unwrap();
    let mut json = demo.config_json();
    json["aliases"] = json!({"fast": "gpt-4o"});
    let relay = Relay::new(&read(&json)).unwrap();
    let one = |name: &str, dialect| -> Value {
        let one = local::model(&relay.models, &catalogue, name, dialect).unwrap();
        let one: Value = serde_json::from_str(&one).unwrap();
        let list = local::models(&relay.models, &catalogue, dialect, "/v1/models?limit=1000");
        let list: Value = serde_json::from_str(&list.unwrap()).unwrap();
        assert!(list["data"].as_array().unwrap().contains(&one), "{one}: {list:#}");
        one
    };
    let known = json!({
        "provider": "OpenAI", "context_length": 128000, "input_modalities": ["text", "image"],
        "deprecated": true, "retirement_date": "2026-10-14", "suggested_replacements": ["gpt-5"],
    });
    let with = |mut own: Value| {
        let fields = known.as_object().unwrap().clone();
        own.as_object_mut().unwrap().extend(fields);
        own
    };
    // An alias is what it leads to, and so is a model by way of orchestration.
    for (name, owner) in [("gpt-4o", "openai"), ("fast", "openai"), ("orchestration/gpt-4o", "sap")]
    {
        let expected = with(json!({
            "id": name, "object": "model", "created": 0, "owned_by": owner, "display_name": "GPT-4o",
            "capabilities": ["text-generation"], "shutdown_date": "2026-10-14",
        }));
        assert_eq!(one(name, Dialect::OpenAi), expected);
    }
    let expected = with(json!({
        "type": "model", "id": "fast", "display_name": "fast (gpt-4o)",
        "created_at": "1970-01-01T00:00:00Z", "capability_names": ["text-generation"],
        "lifecycle": "deprecated", "retires_at": "2026-10-14T00:00:00Z",
    }));
    assert_eq!(one("fast", Dialect::Anthropic), expected);
    let expected = json!({
        "type": "model", "id": "claude-sonnet-4-5", "display_name": "Claude Sonnet 4.5",
        "created_at": "1970-01-01T00:00:00Z", "context_length": 200000, "deprecated": false,
        "lifecycle": "active",
    });
    assert_eq!(one("claude-sonnet-4-5", Dialect::Anthropic), expected);
    let expected = json!({"id": "o3", "object": "model", "created": 0, "owned_by": "openai"});
    assert_eq!(one("o3", Dialect::OpenAi), expected);
    let bare = local::model(&relay.models, &Catalogue::default(), "gpt-4o", Dialect::OpenAi);
    assert_eq!(
        bare.unwrap(),
        r#"{"created":0,"id":"gpt-4o","object":"model","owned_by":"openai"}"#
    );
}
