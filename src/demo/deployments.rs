//! What is deployed, and the AI API that lists it (dossier 4.1).

use std::sync::Arc;

use serde_json::{Value, json};

use super::catalogue::Model;
use super::http::{Answer, Head};
use super::{INFERENCE, ai_api_error, pairs, value};

/// What is deployed. `context_tokens` is the model's limit, `answers_as` its dated name.
#[derive(Clone)]
pub(super) struct Deployment {
    pub id: &'static str,
    pub group: &'static str,
    pub status: &'static str,
    pub executable: &'static str,
    pub model: &'static str,
    pub answers_as: &'static str,
    pub context_tokens: usize,
    pub details: Details,
}

/// How the list spells the model.
#[derive(Clone, Copy)]
pub(super) enum Details {
    Both,
    Camel,
    Snake,
    Null,
    Missing,
    /// Present without a model, as of orchestration.
    Empty,
}

pub(super) const HOME_GROUP: &str = "default";

#[rustfmt::skip]
const DEPLOYMENTS: &[Deployment] = {
    use Details::*;
    const AZURE: &str = "azure-openai";
    const MISTRAL: &str = "aicore-mistralai";
    const OPEN: &str = "aicore-opensource";
    const NVIDIA: &str = "aicore-nvidia";
    const PERPLEXITY: &str = "perplexity-ai";
    const COHERE: &str = "aicore-cohere";
    const fn row(
        id: &'static str,
        model: &'static str,
        answers_as: &'static str,
        context_tokens: usize,
        details: Details,
    ) -> Deployment {
        Deployment {
            id, group: HOME_GROUP, status: "RUNNING", executable: AZURE,
            model, answers_as, context_tokens, details,
        }
    }
    const fn bedrock(
        id: &'static str,
        model: &'static str,
        answers_as: &'static str,
        context_tokens: usize,
    ) -> Deployment {
        Deployment { executable: "aws-bedrock", ..row(id, model, answers_as, context_tokens, Both) }
    }
    /// Answers by the name it was deployed with.
    const fn named(id: &'static str, model: &'static str, context_tokens: usize) -> Deployment {
        row(id, model, model, context_tokens, Both)
    }
    const fn vertex(
        id: &'static str,
        model: &'static str,
        context_tokens: usize,
        details: Details,
    ) -> Deployment {
        Deployment { details, ..at("gcp-vertexai", named(id, model, context_tokens)) }
    }
    const fn at(executable: &'static str, row: Deployment) -> Deployment {
        Deployment { executable, ..row }
    }
    &[
        Deployment { executable: "orchestration", ..row("d00000000000000a", "", "", 0, Empty) },
        row("d00000000000001a", "gpt-4o", "gpt-4o-2024-08-06", 128_000, Both),
        row("d00000000000001b", "gpt-4o-mini", "gpt-4o-mini-2024-07-18", 128_000, Camel),
        row("d00000000000001c", "gpt-4.1", "gpt-4.1-2025-04-14", 1_047_576, Snake),
        row("d00000000000002a", "gpt-5", "gpt-5-2025-08-07-dz-std", 272_000, Both),
        row("d00000000000002b", "gpt-5", "gpt-5-2025-08-07-dz-std", 272_000, Both),
        row("d00000000000002c", "gpt-5-mini", "gpt-5-mini-2025-08-07", 272_000, Null),
        row("d00000000000002d", "gpt-5.5", "gpt-5.5-dz-std", 272_000, Both),
        row("d00000000000002e", "o3", "o3-2025-04-16", 200_000, Camel),
        row("d00000000000002f", "o4-mini", "o4-mini-2025-04-16", 200_000, Both),
        row("d00000000000003d", "gpt-5.3-codex", "gpt-5.3-codex-2026-02-24", 400_000, Both),
        row("d00000000000003a", "text-embedding-3-small", "text-embedding-3-small", 8_192, Both),
        row("d00000000000003b", "text-embedding-3-large", "text-embedding-3-large", 8_192, Both),
        row("d00000000000003c", "text-embedding-ada-002", "ada", 8_192, Both),
        bedrock(
            "d00000000000004a", "anthropic--claude-4.5-sonnet",
            "claude-sonnet-4-5-20250929", 200_000,
        ),
        bedrock("d00000000000004b", "anthropic--claude-4.6-sonnet", "claude-sonnet-4-6", 1_000_000),
        bedrock("d00000000000004c", "anthropic--claude-4.8-opus", "claude-opus-4-8", 1_000_000),
        bedrock(
            "d00000000000004d", "anthropic--claude-4.5-haiku",
            "claude-haiku-4-5-20251001", 200_000,
        ),
        bedrock(
            "d00000000000004e", "anthropic--claude-3.5-sonnet",
            "claude-3-5-sonnet-20241022", 200_000,
        ),
        bedrock(
            "d00000000000004f", "anthropic--claude-4.5-sonnet",
            "claude-sonnet-4-5-20250929", 200_000,
        ),
        bedrock("d00000000000006a", "amazon--nova-pro", "nova-pro", 300_000),
        bedrock("d00000000000006b", "amazon--titan-embed-text", "titan-embed-text", 8_192),
        vertex("d00000000000008a", "gemini-2.5-pro", 1_048_576, Both),
        vertex("d00000000000008b", "gemini-2.5-flash", 1_048_576, Camel),
        vertex("d00000000000008c", "gemini-3.5-flash", 1_048_576, Snake),
        vertex("d00000000000008d", "gemini-embedding", 2_048, Both),
        at(MISTRAL, named("d00000000000009a", "mistralai--mistral-medium-instruct", 131_072)),
        at(OPEN, named("d00000000000009b", "meta--llama3.1-70b-instruct", 131_072)),
        at(OPEN, named("d00000000000009c", "deepseek-ai--deepseek-r1", 131_072)),
        at(OPEN, named("d00000000000009e", "qwen3-max", 262_144)),
        at(NVIDIA, named("d00000000000009d", "nvidia--llama-3.2-nv-embedqa-1b", 8_192)),
        at(PERPLEXITY, named("d0000000000000ba", "sonar-pro", 200_000)),
        at(COHERE, named("d0000000000000ca", "cohere--command-a-reasoning", 256_000)),
        at(COHERE, named("d0000000000000cb", "cohere-reranker-35", 4_096)),
        Deployment {
            status: "STOPPED",
            ..row("d00000000000005a", "gpt-4", "gpt-4-0613", 8_192, Both)
        },
        Deployment {
            status: "PENDING",
            ..row("d00000000000005b", "gpt-4.1", "gpt-4.1-2025-04-14", 8_192, Missing)
        },
        Deployment {
            status: "DEAD",
            ..row("d00000000000005c", "gpt-4o", "gpt-4o-2024-08-06", 8_192, Null)
        },
        Deployment {
            group: "team-b",
            ..row("d00000000000007a", "gpt-4o", "gpt-4o-2024-08-06", 128_000, Both)
        },
    ]
};

impl Deployment {
    pub fn serves(&self, group: &str) -> bool {
        self.group == group && self.status == "RUNNING"
    }

    /// What the proxy's configuration calls it. Orchestration serves many models: its prefix says
    /// that they are asked for there.
    pub fn names(&self) -> &[&'static str] {
        if self.is_orchestration() { &ORCHESTRATED } else { std::slice::from_ref(&self.model) }
    }

    fn is_orchestration(&self) -> bool {
        self.executable == "orchestration"
    }

    fn scenario(&self) -> &'static str {
        if self.is_orchestration() { "orchestration" } else { "foundation-models" }
    }

    fn configuration_id(&self) -> String {
        format!("00000000-0000-4000-8000-0000000000{}", &self.id[self.id.len() - 2..])
    }

    /// Whether it serves OpenAI's Responses (dossier 5a).
    pub fn has_responses(&self) -> bool {
        self.model.starts_with("gpt-5")
    }

    /// Serves them and no chat completions.
    pub fn has_only_responses(&self) -> bool {
        self.model.starts_with("gpt-5.3-codex")
    }

    pub fn is_reasoning(&self) -> bool {
        ["o1", "o3", "o4", "gpt-5"].iter().any(|prefix| self.model.starts_with(prefix))
    }
}

/// What is deployed now.
pub(super) type Deployed = [Arc<Deployment>];

/// What there is at the start.
pub(super) fn at_start() -> Vec<Arc<Deployment>> {
    DEPLOYMENTS.iter().cloned().map(Arc::new).collect()
}

/// A deployment of a model of the table, empty for orchestration, that runs under another id.
pub(super) fn another(id: &'static str, model: &str) -> Option<Arc<Deployment>> {
    let row = DEPLOYMENTS.iter().find(|d| d.model == model && d.status == "RUNNING")?;
    Some(Arc::new(Deployment { id, group: HOME_GROUP, ..row.clone() }))
}

/// The models of the table, each once.
pub(super) fn models() -> Vec<Model> {
    let mut models: Vec<Model> = Vec::new();
    for d in DEPLOYMENTS.iter().filter(|d| !d.is_orchestration()) {
        if models.iter().all(|model| model.name != d.model) {
            let Deployment { model: name, executable, answers_as, context_tokens, .. } = d.clone();
            models.push(Model { name, executable, answers_as, context_tokens });
        }
    }
    models
}

/// `GET /v2/lm/…` of a group; `base` is where this demo listens.
pub(super) fn answer(base: &str, head: &Head, group: &str, deployed: &Deployed) -> Answer {
    resource(base, head, group, deployed).unwrap_or_else(|refusal| refusal)
}

pub(super) fn url(base: &str, id: &str) -> String {
    format!("{base}{INFERENCE}{id}")
}

fn resource(base: &str, head: &Head, group: &str, deployed: &Deployed) -> Result<Answer, Answer> {
    let path = head.path().strip_prefix("/v2/lm/").unwrap_or_default();
    let missing = || ai_api_error(404, "01020404", "No such resource", head.path());
    match path.split_once('/').unwrap_or((path, "")) {
        ("deployments", "") => list(base, head, group, deployed),
        ("deployments", "$count") => {
            let count = matching(head, group, deployed)?.len();
            Ok(Answer::text(200, &count.to_string()))
        }
        ("deployments", id) => {
            let one = deployed.iter().find(|d| d.id == id && d.group == group);
            one.map(|d| Answer::json(200, &described(base, d))).ok_or_else(missing)
        }
        ("configurations", id) => {
            let mut there = deployed.iter().filter(|d| d.group == group);
            let one = there.find(|d| d.configuration_id() == id);
            one.map(|d| Answer::json(200, &configuration(d))).ok_or_else(missing)
        }
        _ => Err(missing()),
    }
}

fn list(base: &str, head: &Head, group: &str, deployed: &Deployed) -> Result<Answer, Answer> {
    let all = matching(head, group, deployed)?;
    let query = pairs(head.query());
    let number = |name: &str, usual: usize| match value(&query, name) {
        None => Ok(usual),
        Some(text) => text.parse().map_err(|_| {
            ai_api_error(400, "01010002", &format!("{name} is not a number"), head.path())
        }),
    };
    let (skip, top) = (number("$skip", 0)?, number("$top", 10_000)?);
    let page = all.iter().skip(skip).take(top).map(|d| described(base, d)).collect::<Vec<_>>();
    Ok(Answer::json(200, &json!({"count": all.len(), "resources": page})))
}

fn described(base: &str, deployment: &Deployment) -> Value {
    let d = deployment;
    let configuration = d.configuration_id();
    let running = d.status == "RUNNING";
    let url = if d.status == "PENDING" { String::new() } else { url(base, d.id) };
    let target = if d.status == "STOPPED" { "STOPPED" } else { "RUNNING" };
    let name =
        if d.is_orchestration() { "defaultOrchestrationConfig" } else { "a name of no meaning" };
    let mut entry = json!({
        "id": d.id,
        "createdAt": "2026-05-01T08:00:00Z",
        "modifiedAt": "2026-05-01T08:05:00Z",
        "submissionTime": "2026-05-01T08:00:30Z",
        "startTime": "2026-05-01T08:01:10Z",
        "status": d.status,
        "targetStatus": target,
        "scenarioId": d.scenario(),
        "configurationId": configuration,
        "configurationName": name,
        "deploymentUrl": url,
    });
    if running {
        entry["latestRunningConfigurationId"] = json!(configuration);
        entry["lastOperation"] = json!("CREATE");
    } else {
        entry["completionTime"] = json!("2026-05-02T10:00:00Z");
    }
    if d.status == "DEAD" {
        entry["statusMessage"] = json!("Deployment failed (demo)");
    }
    // Recorded lists name the executable of some and not of others.
    if d.id.ends_with('a') {
        entry["executableId"] = json!(d.executable);
    }
    if let Some(details) = details(d) {
        entry["details"] = details;
    }
    entry
}

/// The deployments of a group that the query's filters leave.
fn matching<'a>(
    head: &Head,
    group: &str,
    deployed: &'a Deployed,
) -> Result<Vec<&'a Arc<Deployment>>, Answer> {
    let query = pairs(head.query());
    let refused = |why: String| ai_api_error(400, "01010002", &why, head.path());
    if let Some((name, _)) = query.iter().find(|(name, _)| !LIST_PARAMETERS.contains(&&**name)) {
        return Err(refused(format!("Unknown query parameter {name}")));
    }
    let status = value(&query, "status");
    if status.as_deref().is_some_and(|status| !STATUSES.contains(&status)) {
        return Err(refused("status is none of the known ones".to_owned()));
    }
    let scenario = value(&query, "scenarioId");
    let executables = value(&query, "executableIds");
    let configuration = value(&query, "configurationId");
    let fits = |d: &&Arc<Deployment>| {
        d.group == group
            && status.as_ref().is_none_or(|s| s == d.status)
            && scenario.as_ref().is_none_or(|s| s == d.scenario())
            && executables.as_ref().is_none_or(|list| list.split(',').any(|e| e == d.executable))
            && configuration.as_ref().is_none_or(|c| *c == d.configuration_id())
    };
    Ok(deployed.iter().filter(fits).collect())
}

fn details(deployment: &Deployment) -> Option<Value> {
    let model = json!({"model": {"name": deployment.model, "version": "latest"}});
    let resources = match deployment.details {
        Details::Missing => return None,
        Details::Null => return Some(Value::Null),
        Details::Both => json!({"backendDetails": model, "backend_details": model}),
        Details::Camel => json!({ "backendDetails": model }),
        Details::Snake => json!({ "backend_details": model }),
        Details::Empty => json!({"backendDetails": {}, "backend_details": {}}),
    };
    let scaling = json!({"backendDetails": {}, "backend_details": {}});
    Some(json!({"resources": resources, "scaling": scaling}))
}

fn configuration(deployment: &Deployment) -> Value {
    json!({
        "id": deployment.configuration_id(),
        "createdAt": "2026-05-01T07:59:00Z",
        "name": "a name of no meaning",
        "executableId": deployment.executable,
        "scenarioId": deployment.scenario(),
        "parameterBindings": [
            {"key": "modelName", "value": deployment.model},
            {"key": "modelVersion", "value": "latest"},
        ],
        "inputArtifactBindings": [],
    })
}

const ORCHESTRATED: [&str; 3] = [
    "orchestration/gpt-4o",
    "orchestration/anthropic--claude-4.5-sonnet",
    "orchestration/gemini-2.5-flash",
];
const LIST_PARAMETERS: [&str; 7] =
    ["status", "scenarioId", "executableIds", "configurationId", "$top", "$skip", "$select"];
const STATUSES: [&str; 7] =
    ["PENDING", "RUNNING", "COMPLETED", "DEAD", "STOPPING", "STOPPED", "UNKNOWN"];
