//! The catalogue of models (dossier 4.3) and the quota (4.5), in the shapes of SAP's documentation and SDKs.

use serde_json::{Value, json};

use super::{deployments, orchestration};

/// `GET /v2/lm/scenarios/foundation-models/models`.
pub(super) fn answer(retirements: &[(String, String)]) -> Value {
    let mut models = deployments::models();
    let is_deployed = |name: &&str| models.iter().any(|model| model.name == *name);
    let beside: Vec<_> = orchestration::models().filter(|name| !is_deployed(name)).collect();
    models.extend(beside.into_iter().map(|name| Model {
        name,
        executable: "aws-bedrock",
        answers_as: name,
        context_tokens: 200_000,
    }));
    let resources: Vec<_> = models.iter().map(|model| model.described(retirements)).collect();
    json!({"count": resources.len(), "resources": resources})
}

/// `GET /v2/admin/quota/model`.
pub(super) fn quota(limits: &[(String, u32)]) -> Value {
    let details = limits.iter().map(|(model, limit)| {
        let descriptors =
            json!({"modelName": model, "modelVersion": "*", "providerName": "azure-openai"});
        json!({"unit": "requestPerMinute", "limit": limit, "descriptors": descriptors})
    });
    json!([{"resourceType": "model", "quotaDetails": details.collect::<Vec<_>>()}])
}

/// `GET /v2/admin/resourceGroups`.
pub(super) fn resource_groups() -> Value {
    let groups = ["default", "team-b"].map(|group| {
        json!({
            "resourceGroupId": group,
            "tenantId": "99999999-8888-4777-8666-555555555555",
            "zoneId": "",
            "createdAt": "2025-01-01T00:00:00Z",
            "status": "PROVISIONED",
            "statusMessage": "All onboarding steps are completed.",
        })
    });
    json!({"count": groups.len(), "resources": groups})
}

pub(super) struct Model {
    pub name: &'static str,
    pub executable: &'static str,
    pub answers_as: &'static str,
    pub context_tokens: usize,
}

impl Model {
    fn described(&self, retirements: &[(String, String)]) -> Value {
        let is = |starts: &[&str]| starts.iter().any(|start| self.name.starts_with(start));
        let retires = retirements.iter().find(|(model, _)| model == self.name);
        let retires = retires.map(|(_, date)| date.as_str());
        let mut scenarios =
            vec![json!({"scenarioId": "foundation-models", "executableId": self.executable})];
        if orchestration::models().any(|name| name == self.name) {
            scenarios.push(json!({"scenarioId": "orchestration", "executableId": "orchestration"}));
        }
        let inputs: &[&str] = match () {
            _ if self.is_embedding() => &["text"],
            _ if is(&["gemini-"]) => &["text", "image", "audio", "video"],
            _ if is(&["gpt-", "o3", "o4", "anthropic--", "amazon--nova"]) => &["text", "image"],
            _ => &["text"],
        };
        let mut capabilities = match () {
            _ if self.is_embedding() => vec!["embedding"],
            _ if self.name.contains("rerank") => vec!["rerank"],
            _ => vec!["text-generation"],
        };
        if inputs.contains(&"image") {
            capabilities.push("image-recognition");
        }
        if is(&["gpt-5", "o3", "o4", "gemini-", "anthropic--claude-4"]) && !self.is_embedding() {
            capabilities.push("reasoning");
        }
        let version = json!({
            "name": self.answers_as,
            "isLatest": true,
            "deprecated": retires.is_some(),
            "retirementDate": retires.unwrap_or(""),
            "contextLength": self.context_tokens,
            "inputTypes": inputs,
            "capabilities": capabilities,
            "metadata": [{"elo": "n/a"}],
            "cost": [{"inputCost": "0.00141"}, {"outputCost": "0.00902"}],
            "suggestedReplacements": if retires.is_some() { vec!["gpt-5"] } else { vec![] },
            "streamingSupported": !self.is_embedding(),
            "orchestrationCapabilities": [],
        });
        json!({
            "model": self.name,
            "executableId": self.executable,
            "description": "A model of the demo",
            "displayName": self.name,
            "accessType": "Remote",
            "provider": "demo",
            "allowedScenarios": scenarios,
            "versions": [version],
        })
    }

    fn is_embedding(&self) -> bool {
        ["text-embedding", "amazon--titan", "gemini-embedding", "nvidia--"]
            .iter()
            .any(|start| self.name.starts_with(start))
    }
}
