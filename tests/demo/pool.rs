//! What a subaccount of a pool has besides: deployments that come and go, the catalogue, limits, and
//! what a long run needs.

use sap_ai_core_llm_proxy::demo::{Demo, Options};
use serde_json::{Value, json};

use super::{Client, Reply, demo, headers, json_headers};

const GPT_4O: &str = "d00000000000001a";

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

/// `hi` to an OpenAI model's deployment.
fn chat(demo: &Demo, id: &str) -> Reply {
    let target = format!("/v2/inference/deployments/{id}/chat/completions?api-version=2024-10-21");
    let body = json!({"messages": [{"role": "user", "content": "hi"}]}).to_string();
    Client::new(demo).send("POST", &target, &json_headers(demo), body.as_bytes())
}
