//! What is deployed, and the AI API that lists it (dossier 4.1).

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::http::{Answer, Head};
use super::{INFERENCE, ai_api_error, lock, pairs, value};

/// What is deployed at the moment. A request keeps what it found, whatever becomes of that.
pub(super) struct Deployments(Mutex<State>);

struct State {
    rows: Vec<Arc<Deployment>>,
    /// How many were added since the start.
    added: usize,
}

/// One deployment. `context_tokens` is the model's limit, `answers_as` its dated name.
#[derive(Clone)]
pub(super) struct Deployment {
    pub id: String,
    pub group: &'static str,
    pub status: String,
    pub executable: &'static str,
    /// Empty for orchestration, which serves many.
    pub model: String,
    pub answers_as: String,
    pub context_tokens: usize,
    pub details: Details,
    created_at: String,
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

/// What there is at the start, if nothing else is wished for: id, model, the name it answers with
/// if it is another, its context in tokens, and how the list spells it.
type Usual = (&'static str, &'static str, &'static str, usize, Details);

#[rustfmt::skip]
const USUAL: &[Usual] = {
    use Details::*;
    &[
        ("d00000000000000a", "", "", 0, Empty),
        ("d00000000000001a", "gpt-4o", "gpt-4o-2024-08-06", 128_000, Both),
        ("d00000000000001b", "gpt-4o-mini", "gpt-4o-mini-2024-07-18", 128_000, Camel),
        ("d00000000000001c", "gpt-4.1", "gpt-4.1-2025-04-14", 1_047_576, Snake),
        ("d00000000000002a", "gpt-5", "gpt-5-2025-08-07-dz-std", 272_000, Both),
        ("d00000000000002b", "gpt-5", "gpt-5-2025-08-07-dz-std", 272_000, Both),
        ("d00000000000002c", "gpt-5-mini", "gpt-5-mini-2025-08-07", 272_000, Null),
        ("d00000000000002d", "gpt-5.5", "gpt-5.5-dz-std", 272_000, Both),
        ("d00000000000002e", "o3", "o3-2025-04-16", 200_000, Camel),
        ("d00000000000002f", "o4-mini", "o4-mini-2025-04-16", 200_000, Both),
        ("d00000000000003d", "gpt-5.3-codex", "gpt-5.3-codex-2026-02-24", 400_000, Both),
        ("d00000000000003a", "text-embedding-3-small", "", 8_192, Both),
        ("d00000000000003b", "text-embedding-3-large", "", 8_192, Both),
        ("d00000000000003c", "text-embedding-ada-002", "ada", 8_192, Both),
        ("d00000000000004a", "anthropic--claude-4.5-sonnet", "claude-sonnet-4-5-20250929", 200_000, Both),
        ("d00000000000004b", "anthropic--claude-4.6-sonnet", "claude-sonnet-4-6", 1_000_000, Both),
        ("d00000000000004c", "anthropic--claude-4.8-opus", "claude-opus-4-8", 1_000_000, Both),
        ("d00000000000004d", "anthropic--claude-4.5-haiku", "claude-haiku-4-5-20251001", 200_000, Both),
        ("d00000000000004e", "anthropic--claude-3.5-sonnet", "claude-3-5-sonnet-20241022", 200_000, Both),
        ("d00000000000004f", "anthropic--claude-4.5-sonnet", "claude-sonnet-4-5-20250929", 200_000, Both),
        ("d00000000000006a", "amazon--nova-pro", "nova-pro", 300_000, Both),
        ("d00000000000006b", "amazon--titan-embed-text", "titan-embed-text", 8_192, Both),
        ("d00000000000008a", "gemini-2.5-pro", "", 1_048_576, Both),
        ("d00000000000008b", "gemini-2.5-flash", "", 1_048_576, Camel),
        ("d00000000000008c", "gemini-3.5-flash", "", 1_048_576, Snake),
        ("d00000000000008d", "gemini-embedding", "", 2_048, Both),
        ("d00000000000009a", "mistralai--mistral-medium-instruct", "", 131_072, Both),
        ("d00000000000009b", "meta--llama3.1-70b-instruct", "", 131_072, Both),
        ("d00000000000009c", "deepseek-ai--deepseek-r1", "", 131_072, Both),
        ("d00000000000009e", "qwen3-max", "", 262_144, Both),
        ("d00000000000009d", "nvidia--llama-3.2-nv-embedqa-1b", "", 8_192, Both),
        ("d0000000000000ba", "sonar-pro", "", 200_000, Both),
        ("d0000000000000ca", "cohere--command-a-reasoning", "", 256_000, Both),
        ("d0000000000000cb", "cohere-reranker-35", "", 4_096, Both),
        ("d00000000000005a", "gpt-4", "gpt-4-0613", 8_192, Both),
        ("d00000000000005b", "gpt-4.1", "gpt-4.1-2025-04-14", 8_192, Missing),
        ("d00000000000005c", "gpt-4o", "gpt-4o-2024-08-06", 8_192, Null),
        ("d00000000000007a", "gpt-4o", "gpt-4o-2024-08-06", 128_000, Both),
    ]
};
/// What does not run in the home group: id, group, status.
const UNUSUAL: [(&str, &str, &str); 4] = [
    ("d00000000000005a", HOME_GROUP, "STOPPED"),
    ("d00000000000005b", HOME_GROUP, "PENDING"),
    ("d00000000000005c", HOME_GROUP, "DEAD"),
    ("d00000000000007a", "team-b", RUNNING),
];

impl Deployments {
    /// These, by id and model; otherwise the usual ones.
    pub fn new(wished: Option<&[(String, String)]>) -> Deployments {
        let rows = match wished {
            None => USUAL.iter().map(usual).map(Arc::new).collect(),
            Some(_) => Vec::new(),
        };
        let deployments = Deployments(Mutex::new(State { rows, added: 0 }));
        for (id, model) in wished.unwrap_or_default() {
            deployments.add(id, model);
        }
        deployments
    }

    pub fn all(&self) -> Vec<Arc<Deployment>> {
        lock(&self.0).rows.clone()
    }

    /// The one of this id, if it serves this group.
    pub fn serving(&self, id: &str, group: &str) -> Option<Arc<Deployment>> {
        let state = lock(&self.0);
        state.rows.iter().find(|d| d.id == id && d.serves(group)).cloned()
    }

    /// Runs from now on, instead of what had this id.
    pub fn add(&self, id: &str, model: &str) {
        let state = &mut *lock(&self.0);
        let added = Arc::new(Deployment::new(id, model, state.added));
        state.added += 1;
        match state.rows.iter_mut().find(|d| d.id == id) {
            Some(row) => *row = added,
            None => state.rows.push(added),
        }
    }

    /// `false` if there is none of this id.
    pub fn set_status(&self, id: &str, status: &str) -> bool {
        let mut state = lock(&self.0);
        let row = state.rows.iter_mut().find(|d| d.id == id);
        row.map(|row| Arc::make_mut(row).status = status.to_owned()).is_some()
    }

    pub fn clear(&self) {
        lock(&self.0).rows.clear();
    }

    /// `false` if there is none of this id.
    pub fn remove(&self, id: &str) -> bool {
        let mut state = lock(&self.0);
        let before = state.rows.len();
        state.rows.retain(|d| d.id != id);
        state.rows.len() < before
    }
}

fn usual(row: &Usual) -> Deployment {
    let (id, model, answers_as, context_tokens, details) = *row;
    let unusual = UNUSUAL.iter().find(|(unusual, ..)| *unusual == id);
    let (_, group, status) = unusual.copied().unwrap_or((id, HOME_GROUP, RUNNING));
    Deployment {
        id: id.to_owned(),
        group,
        status: status.to_owned(),
        executable: executable(model),
        model: model.to_owned(),
        answers_as: if answers_as.is_empty() { model } else { answers_as }.to_owned(),
        context_tokens,
        details,
        created_at: "2026-05-01T08:00:00Z".to_owned(),
    }
}

/// By the model's name (dossier 4.4), empty for orchestration.
pub(super) fn executable(model: &str) -> &'static str {
    let known = EXECUTABLES.iter().find(|(start, _)| model.starts_with(start));
    match known {
        _ if model.is_empty() => ORCHESTRATION,
        Some((_, executable)) => executable,
        None => "azure-openai",
    }
}

impl Deployment {
    /// One that runs in the home group, a second younger than the one added before. What a usual
    /// deployment of the model answers, it answers.
    fn new(id: &str, model: &str, added: usize) -> Deployment {
        let known = USUAL.iter().find(|(_, known, ..)| *known == model);
        let (_, _, answers_as, context_tokens, _) =
            known.copied().unwrap_or(("", "", "", 128_000, Details::Both));
        let (days, hours) = (1 + added / 86_400 % 28, added / 3600 % 24);
        let (minutes, seconds) = (added / 60 % 60, added % 60);
        Deployment {
            id: id.to_owned(),
            group: HOME_GROUP,
            status: RUNNING.to_owned(),
            executable: executable(model),
            model: model.to_owned(),
            answers_as: if answers_as.is_empty() { model } else { answers_as }.to_owned(),
            context_tokens,
            details: if model.is_empty() { Details::Empty } else { Details::Both },
            created_at: format!("2026-06-{days:02}T{hours:02}:{minutes:02}:{seconds:02}Z"),
        }
    }

    pub fn serves(&self, group: &str) -> bool {
        self.group == group && self.status == RUNNING
    }

    /// What the proxy's configuration calls it. Orchestration serves many models: its prefix says
    /// that they are asked for there.
    pub fn names(&self) -> Vec<&str> {
        if self.is_orchestration() { ORCHESTRATED.to_vec() } else { vec![&self.model] }
    }

    fn is_orchestration(&self) -> bool {
        self.executable == ORCHESTRATION
    }

    fn scenario(&self) -> &'static str {
        if self.is_orchestration() { ORCHESTRATION } else { "foundation-models" }
    }

    fn configuration_id(&self) -> String {
        let from = self.id.char_indices().rev().nth(11).map_or(0, |(at, _)| at);
        format!("00000000-0000-4000-8000-{:0>12}", &self.id[from..])
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

/// `GET /v2/lm/…` of a group; `base` is where this demo listens.
pub(super) fn answer(all: &[Arc<Deployment>], base: &str, head: &Head, group: &str) -> Answer {
    resource(all, base, head, group).unwrap_or_else(|refusal| refusal)
}

pub(super) fn url(base: &str, id: &str) -> String {
    format!("{base}{INFERENCE}{id}")
}

fn resource(
    all: &[Arc<Deployment>],
    base: &str,
    head: &Head,
    group: &str,
) -> Result<Answer, Answer> {
    let path = head.path().strip_prefix("/v2/lm/").unwrap_or_default();
    let missing = || ai_api_error(404, "01020404", "No such resource", head.path());
    match path.split_once('/').unwrap_or((path, "")) {
        ("deployments", "") => list(all, base, head, group),
        ("deployments", "$count") => {
            let count = matching(all, head, group)?.len();
            Ok(Answer::text(200, &count.to_string()))
        }
        ("deployments", id) => {
            let one = all.iter().find(|d| d.id == id && d.group == group);
            one.map(|d| Answer::json(200, &described(base, d))).ok_or_else(missing)
        }
        ("configurations", id) => {
            let mut there = all.iter().filter(|d| d.group == group);
            let one = there.find(|d| d.configuration_id() == id);
            one.map(|d| Answer::json(200, &configuration(d))).ok_or_else(missing)
        }
        _ => Err(missing()),
    }
}

fn list(all: &[Arc<Deployment>], base: &str, head: &Head, group: &str) -> Result<Answer, Answer> {
    let all = matching(all, head, group)?;
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
    let running = d.status == RUNNING;
    let url = if d.status == "PENDING" { String::new() } else { url(base, &d.id) };
    let target = if d.status == "STOPPED" { "STOPPED" } else { "RUNNING" };
    let name =
        if d.is_orchestration() { "defaultOrchestrationConfig" } else { "a name of no meaning" };
    let mut entry = json!({
        "id": d.id,
        "createdAt": d.created_at,
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
    all: &'a [Arc<Deployment>],
    head: &Head,
    group: &str,
) -> Result<Vec<&'a Deployment>, Answer> {
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
            && status.as_ref().is_none_or(|s| *s == d.status)
            && scenario.as_ref().is_none_or(|s| s == d.scenario())
            && executables.as_ref().is_none_or(|list| list.split(',').any(|e| e == d.executable))
            && configuration.as_ref().is_none_or(|c| *c == d.configuration_id())
    };
    Ok(all.iter().filter(fits).map(AsRef::as_ref).collect())
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

pub(super) const HOME_GROUP: &str = "default";
pub(super) const ORCHESTRATION: &str = "orchestration";
const RUNNING: &str = "RUNNING";
/// How names of models begin, and what serves them.
const EXECUTABLES: &[(&str, &str)] = &[
    ("anthropic--", "aws-bedrock"),
    ("amazon--", "aws-bedrock"),
    ("gemini-", "gcp-vertexai"),
    ("mistralai--", "aicore-mistralai"),
    ("meta--", "aicore-opensource"),
    ("deepseek-ai--", "aicore-opensource"),
    ("qwen", "aicore-opensource"),
    ("nvidia--", "aicore-nvidia"),
    ("sonar", "perplexity-ai"),
    ("cohere", "aicore-cohere"),
];
const ORCHESTRATED: [&str; 3] = [
    "orchestration/gpt-4o",
    "orchestration/anthropic--claude-4.5-sonnet",
    "orchestration/gemini-2.5-flash",
];
const LIST_PARAMETERS: [&str; 7] =
    ["status", "scenarioId", "executableIds", "configurationId", "$top", "$skip", "$select"];
const STATUSES: [&str; 7] =
    ["PENDING", "RUNNING", "COMPLETED", "DEAD", "STOPPING", "STOPPED", "UNKNOWN"];
