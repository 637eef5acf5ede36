//! How many requests a minute a tenant has of a model, and what `/v2/admin/…` tells of it
//! (dossier 4.5, 7.2).

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::deployments::{Deployment, Deployments, HOME_GROUP, executable};
use super::{Answer, Head};
use super::{ai_api_error, lock};

/// The models that have a limit.
#[derive(Default)]
pub(super) struct Limits(Mutex<Vec<Limit>>);

/// Over all deployments and resource groups.
struct Limit {
    model: String,
    per_minute: u32,
    /// Those of the last minute.
    granted: VecDeque<Instant>,
}

impl Limits {
    pub fn set(&self, model: &str, per_minute: u32) {
        let mut limits = lock(&self.0);
        match limits.iter_mut().find(|limit| limit.model == model) {
            Some(limit) => limit.per_minute = per_minute,
            None => {
                let model = model.to_owned();
                limits.push(Limit { model, per_minute, granted: VecDeque::new() });
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        lock(&self.0).is_empty()
    }

    /// Whether one more request of a model is within its limit, in which case it counts.
    pub fn grants(&self, deployment: &Deployment, body: &[u8], minute: Duration) -> bool {
        if self.is_empty() {
            return true;
        }
        let orchestrated = deployment.model.is_empty().then(|| orchestrated(body));
        let model = orchestrated.as_deref().unwrap_or(&deployment.model);
        let mut limits = lock(&self.0);
        let Some(limit) = limits.iter_mut().find(|limit| limit.model == model) else { return true };
        let now = Instant::now();
        let is_over = |granted: &Instant| now.duration_since(*granted) >= minute;
        while limit.granted.front().is_some_and(is_over) {
            limit.granted.pop_front();
        }
        let grants = limit.granted.len() < limit.per_minute as usize;
        if grants {
            limit.granted.push_back(now);
        }
        grants
    }

    fn quota(&self) -> Value {
        let limits = lock(&self.0);
        let details = limits.iter().map(|limit| {
            let descriptors = json!({
                "modelName": limit.model,
                "modelVersion": "*",
                "providerName": executable(&limit.model),
            });
            json!({"unit": "requestPerMinute", "limit": limit.per_minute, "descriptors": descriptors})
        });
        json!([{"resourceType": "model", "quotaDetails": details.collect::<Vec<_>>()}])
    }
}

/// The model that orchestration is asked for first. Left open: whether the real one counts its
/// requests with those of the model's own deployments; here it does.
fn orchestrated(body: &[u8]) -> String {
    let request = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let modules = &request["config"]["modules"];
    let first = modules.get(0).unwrap_or(modules);
    let models = ["prompt_templating", "embeddings"].map(|module| &first[module]["model"]["name"]);
    models.into_iter().find_map(Value::as_str).unwrap_or_default().to_owned()
}

/// `GET /v2/admin/…` of a service key that may read it.
pub(super) fn answer(
    limits: &Limits,
    deployments: &Deployments,
    tenant: &str,
    head: &Head,
) -> Answer {
    match head.path() {
        "/v2/admin/quota/model" => Answer::json(200, &limits.quota()),
        "/v2/admin/resourceGroups" => Answer::json(200, &resource_groups(deployments, tenant)),
        path => ai_api_error(404, "01020404", "No such resource", path),
    }
}

fn resource_groups(deployments: &Deployments, tenant: &str) -> Value {
    let mut groups = vec![HOME_GROUP];
    groups.extend(deployments.all().iter().map(|deployment| deployment.group));
    groups.sort_unstable();
    groups.dedup();
    let groups = groups.into_iter().map(|group| {
        json!({
            "resourceGroupId": group,
            "tenantId": tenant,
            "zoneId": "",
            "createdAt": "2025-01-01T00:00:00Z",
            "status": "PROVISIONED",
            "statusMessage": "All onboarding steps are completed.",
        })
    });
    let groups = groups.collect::<Vec<_>>();
    json!({"count": groups.len(), "resources": groups})
}
