//! What a deployment serves, as the AI API tells it (dossier 4.1).
//!
//! A configuration gives deployments names of its own. Where such a name says nothing of the model, the deployment is
//! looked up once, on the first request for it. What is discovered comes from the list of all deployments.
//!
//! Any field may be missing or null, and what is of an unexpected kind is as good as missing.

use serde_json::Value;

/// What the AI API says of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deployed {
    /// The model of this name.
    Model(String),
    /// Any model, by its name in each request.
    Orchestration,
    /// It is written in the configuration of this id.
    Configuration(String),
    Unknown,
}

/// A page of the list of deployments.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct List {
    /// How many there are on all pages; `usize::MAX` where that is not told.
    pub count: usize,
    /// As many as the page has, whatever is told of them.
    pub deployments: Vec<Listed>,
}

/// A deployment as it is listed. A text that is not told is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// The last part of its URL where nothing else is told.
    pub id: String,
    /// Kept when it is stopped (dossier 9, trap 37); empty while it is pending.
    pub url: String,
    /// `RUNNING`, `STOPPED`, …
    pub status: String,
    pub model: Option<String>,
    pub is_orchestration: bool,
    /// Where the model is written, if it is not here: the id of a configuration, fit for a URL.
    pub configuration: Option<String>,
    /// RFC 3339.
    pub created_at: String,
    /// In which of the subaccount's resource groups: set by who asked.
    pub group: usize,
}

/// Reads a page of deployments; `None` where it is none.
pub fn list(body: &[u8]) -> Option<List> {
    let json: Value = serde_json::from_slice(body).ok()?;
    let count = number(&json["count"]).and_then(|n| usize::try_from(n).ok());
    let deployments = match json["resources"].as_array() {
        Some(resources) => resources.iter().map(listed).collect(),
        None if count == Some(0) => vec![],
        None => return None,
    };
    Some(List { count: count.unwrap_or(usize::MAX), deployments })
}

/// Left open: a tenant's own scenario, which may serve anything under any name. It is not ours, unless it names a model.
fn listed(json: &Value) -> Listed {
    let text = |key: &str| json[key].as_str().unwrap_or("").to_owned();
    let url = text("deploymentUrl").trim_end_matches('/').to_owned();
    let id = match text("id") {
        id if id.is_empty() => url.rsplit('/').next().unwrap_or("").to_owned(),
        id => id,
    };
    let is_ours = ["", "foundation-models"].contains(&text("scenarioId").as_str());
    let (model, is_orchestration, configuration) = match deployed(json) {
        Deployed::Model(name) => (Some(name), false, None),
        Deployed::Orchestration => (None, true, None),
        Deployed::Configuration(id) if is_ours => (None, false, Some(id)),
        Deployed::Configuration(_) | Deployed::Unknown => (None, false, None),
    };
    Listed {
        id,
        url,
        status: text("status"),
        model,
        is_orchestration,
        configuration,
        created_at: text("createdAt"),
        group: 0,
    }
}

impl Listed {
    pub fn is_running(&self) -> bool {
        self.status == "RUNNING"
    }
}

/// Reads a deployment.
pub fn of_deployment(body: &[u8]) -> Deployed {
    deployed(&serde_json::from_slice(body).unwrap_or_default())
}

/// Its model stands under either of two spellings, or nowhere. Never is it the configuration's name, which is free text
/// (dossier 9, trap 38).
fn deployed(json: &Value) -> Deployed {
    let text =
        |pointer: &str| json.pointer(pointer).and_then(Value::as_str).filter(|s| !s.is_empty());
    let name = text("/details/resources/backend_details/model/name")
        .or_else(|| text("/details/resources/backendDetails/model/name"));
    if let Some(name) = name {
        return Deployed::Model(name.to_owned());
    }
    if text("/scenarioId") == Some("orchestration") {
        return Deployed::Orchestration;
    }
    match text("/configurationId") {
        // It becomes a part of a URL.
        Some(id) if id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') => {
            Deployed::Configuration(id.to_owned())
        }
        _ => Deployed::Unknown,
    }
}

/// Reads a configuration.
pub fn of_configuration(body: &[u8]) -> Deployed {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let bindings = json["parameterBindings"].as_array().into_iter().flatten();
    let mut names =
        bindings.filter(|b| b["key"] == "modelName").filter_map(|b| b["value"].as_str());
    match names.find(|name| !name.is_empty()) {
        Some(name) => Deployed::Model(name.to_owned()),
        None => Deployed::Unknown,
    }
}

/// A whole number; some of SAP's are strings (dossier 4.3).
pub fn number(json: &Value) -> Option<u64> {
    match json {
        // A float that is none: `78.0`.
        Value::Number(n) => {
            n.as_u64().or_else(|| n.as_f64().filter(|f| *f >= 0.0).map(|f| f as u64))
        }
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_and_none() {
        let model = |spelling: &str| {
            format!(
                r#"{{"details":{{"resources":{{"{spelling}":{{"model":{{"name":"gpt-4o"}}}}}}}}}}"#
            )
        };
        let found = || Deployed::Model("gpt-4o".into());
        let table = [
            (model("backend_details"), found()),
            (model("backendDetails"), found()),
            (
                r#"{"scenarioId":"orchestration","details":{"resources":{}}}"#.into(),
                Deployed::Orchestration,
            ),
            (
                r#"{"details":null,"configurationId":"a-1"}"#.into(),
                Deployed::Configuration("a-1".into()),
            ),
            (r#"{"configurationId":"../x"}"#.into(), Deployed::Unknown),
            ("no JSON".into(), Deployed::Unknown),
        ];
        for (body, expected) in table {
            assert_eq!(of_deployment(body.as_bytes()), expected, "{body}");
        }
        let configuration = br#"{"parameterBindings":[{"key":"modelVersion","value":"latest"},{"key":"modelName","value":"gpt-4o"}]}"#;
        assert_eq!(of_configuration(configuration), found());
        assert_eq!(of_configuration(b"{}"), Deployed::Unknown);
    }

    /// In the shape that is recorded (dossier 4.1), shortened.
    #[test]
    fn a_page_of_the_list() {
        let body = br#"{"count": 12, "resources": [
            {"id": "d1", "createdAt": "2026-05-01T08:00:00Z", "status": "RUNNING", "scenarioId": "foundation-models",
             "configurationId": "c-1", "configurationName": "gpt-4o",
             "details": {"scaling": {"backend_details": {}}, "resources": {"backendDetails": {"model": {"name": "gpt-5", "version": "latest"}}}},
             "deploymentUrl": "https://ai/v2/inference/deployments/d1/"},
            {"id": "d2", "status": "RUNNING", "scenarioId": "orchestration", "configurationId": "c-2",
             "details": {"resources": {"backendDetails": {}, "backend_details": {}}}, "deploymentUrl": "https://ai/d2"},
            {"id": "d3", "status": "PENDING", "scenarioId": "foundation-models", "configurationId": "c-3", "deploymentUrl": ""},
            {"id": "d4", "status": "DEAD", "scenarioId": null, "details": null, "configurationId": "c-4"},
            {"id": "d5", "status": "RUNNING", "scenarioId": "our-own", "configurationId": "c-5", "deploymentUrl": "https://ai/d5"},
            {"id": "d6", "status": "RUNNING", "scenarioId": "our-own",
             "details": {"resources": {"backend_details": {"model": {"name": "gpt-5"}}}}},
            {"id": "d7", "status": "SOMETHING_NEW", "configurationId": "../x"},
            {"id": null, "status": 7, "deploymentUrl": "https://ai/d8"}, {}, null, 7, "d9"
        ]}"#;
        let list = list(body).unwrap();
        assert_eq!((list.count, list.deployments.len()), (12, 12));
        let short: Vec<_> = list.deployments.iter().map(short).collect();
        let expected = [
            "d1 RUNNING https://ai/v2/inference/deployments/d1 gpt-5",
            "d2 RUNNING https://ai/d2 any",
            "d3 PENDING  in c-3",
            "d4 DEAD  in c-4",
            "d5 RUNNING https://ai/d5 nothing",
            "d6 RUNNING  gpt-5",
            "d7 SOMETHING_NEW  nothing",
            "d8  https://ai/d8 nothing",
            "   nothing",
            "   nothing",
            "   nothing",
            "   nothing",
        ];
        assert_eq!(short, expected);
        assert_eq!(list.deployments[0].created_at, "2026-05-01T08:00:00Z");
        let running = list.deployments.iter().filter(|l| l.is_running()).count();
        assert_eq!(running, 4);
    }

    fn short(listed: &Listed) -> String {
        let Listed { id, status, url, .. } = listed;
        let what = match (&listed.model, listed.is_orchestration, &listed.configuration) {
            (Some(model), false, None) => model.clone(),
            (None, true, None) => "any".into(),
            (None, false, Some(id)) => format!("in {id}"),
            (None, false, None) => "nothing".into(),
            other => format!("{other:?}"),
        };
        format!("{id} {status} {url} {what}")
    }

    #[test]
    fn pages_that_are_empty_or_none() {
        let table = [
            (r#"{"count": 0, "resources": []}"#, Some((0, 0))),
            (r#"{"count": 0, "resources": null}"#, Some((0, 0))),
            (r#"{"count": "3", "resources": [{}]}"#, Some((3, 1))),
            (r#"{"count": -1, "resources": [{}]}"#, Some((usize::MAX, 1))),
            (r#"{"resources": [{}]}"#, Some((usize::MAX, 1))),
            (r#"{"error": {"code": "01010076", "message": "no"}}"#, None),
            (r#"{"count": 3}"#, None),
            ("[]", None),
            ("upstream request timeout", None),
        ];
        for (body, expected) in table {
            let list = list(body.as_bytes());
            assert_eq!(list.map(|l| (l.count, l.deployments.len())), expected, "{body}");
        }
    }
}
