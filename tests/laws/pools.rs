//! Law 6 for what pools rest on: whatever the AI API answers, and however conversations begin, nothing panics.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use sap_ai_core_llm_proxy::affinity::Affinity;
use sap_ai_core_llm_proxy::catalogue::{self, Day};
use sap_ai_core_llm_proxy::{deployed, quota};
use serde_json::{Value, json};

use crate::check;
use crate::corpus::odd_value;

/// The AI API's answers, in the shapes that SAP documents (dossier 4.1, 4.3, 4.5).
fn answers() -> Vec<Value> {
    let model = json!({"model": {"name": "gpt-5", "version": "latest"}});
    vec![
        json!({"count": 1, "resources": [{
            "id": "d1", "status": "RUNNING", "scenarioId": "foundation-models", "configurationId": "c1",
            "createdAt": "2026-05-01T08:00:00Z", "deploymentUrl": "https://h/v2/inference/deployments/d1",
            "details": {"resources": {"backendDetails": model, "backend_details": model}, "scaling": {}},
        }]}),
        json!({"count": 1, "resources": [{
            "model": "gpt-5", "executableId": "azure-openai", "displayName": "GPT-5", "provider": "OpenAI",
            "allowedScenarios": [{"scenarioId": "orchestration", "executableId": "orchestration"}],
            "versions": [{"name": "1", "isLatest": true, "deprecated": true, "retirementDate": "2026-10-14T00:00:00Z",
                "contextLength": 400000, "inputTypes": ["text"], "capabilities": ["reasoning"],
                "suggestedReplacements": ["gpt-6"], "streamingSupported": true}],
        }]}),
        json!([{"resourceType": "model", "quotaDetails": [{"unit": "requestPerMinute", "limit": 78,
            "descriptors": {"modelName": "gpt-5", "modelVersion": "*"}}]}]),
        json!({"parameterBindings": [{"key": "modelName", "value": "gpt-5"}]}),
        json!([{"role": "system", "content": "s"}, {"role": "user", "content": [
            {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]}, {"role": "assistant"}]),
    ]
}

/// Puts `odd` in the place of something in it.
fn changed(value: &mut Value, at: usize, odd: &Value) {
    let places = |value: &Value| match value {
        Value::Array(items) => items.len(),
        Value::Object(fields) => fields.len(),
        _ => 0,
    };
    let count = places(value);
    if count == 0 {
        *value = odd.clone();
        return;
    }
    let (here, rest) = (at % (count + 1), at / (count + 1));
    let inner = match value {
        Value::Array(items) => items.get_mut(here),
        Value::Object(fields) => fields.values_mut().nth(here),
        _ => None,
    };
    match inner {
        Some(inner) => changed(inner, rest, odd),
        None => *value = odd.clone(),
    }
}

#[test]
fn whatever_the_ai_api_says_nothing_panics() {
    let changes = vec((0_usize..100_000, odd_value()), 0..3);
    let cut = prop_oneof![3 => Just(None), 1 => any::<Index>().prop_map(Some)];
    let inputs = (select(answers()), changes, cut, vec(any::<u8>(), 0..40));
    check(3000, &inputs, |(mut answer, changes, cut, wild)| {
        changes.iter().for_each(|(at, odd)| changed(&mut answer, *at, odd));
        let mut bytes = answer.to_string().into_bytes();
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
            bytes.extend(wild);
        }
        if let Some(list) = deployed::list(&bytes) {
            prop_assert!(list.deployments.len() <= bytes.len());
        }
        let _ = (deployed::of_deployment(&bytes), deployed::of_configuration(&bytes));
        let _ = quota::limits(&bytes);
        let catalogue = catalogue::parse(&bytes);
        let names = catalogue.entries.iter().map(|entry| entry.name.as_str());
        let today = Day::parse("2026-11-23").ok_or_else(|| TestCaseError::fail("no day"))?;
        let warnings = catalogue::retiring(&catalogue, names, today);
        prop_assert!(warnings.iter().all(|warning| warning.starts_with("model ")));
        let affinity = Affinity::default();
        let (key, again) = (affinity.begun("m", &bytes, false), affinity.begun("m", &bytes, false));
        prop_assert_eq!(key, again);
        Ok(())
    });
}
