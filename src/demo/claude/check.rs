//! What Bedrock refuses of a Messages request, in its words as far as they are known: the fields
//! around the messages and the tools.

use serde_json::Value;

use super::super::bedrock::{Object, items, present, refusal};
use super::super::{Answer, Call, Deployment, Fault};
use super::{messages, tools};

pub(super) fn object(body: &[u8]) -> Result<Object, Answer> {
    serde_json::from_slice(body).map_err(|_| refusal("Malformed input request: not a JSON object."))
}

pub(super) fn request(request: &Object, call: &Call<'_>) -> Result<(), Answer> {
    let mut check = Check::new(call);
    check.fields(request)?;
    check.betas(request)?;
    check.max_tokens(request)?;
    check.sampling(request)?;
    check.thinking(request)?;
    check.output_config(request)?;
    tools::check(&mut check, request)?;
    check.system(request)?;
    messages::check(&mut check, request)?;
    check.cache_points()
}

/// Whether the model is to think before it speaks.
pub(in super::super) fn thinks(request: &Object) -> bool {
    let kind = request.get("thinking").and_then(|thinking| thinking.get("type"));
    kind.is_some_and(|kind| kind == "enabled" || kind == "adaptive")
}

/// What a model's name says about it.
#[derive(Clone, Copy)]
pub(in super::super) struct Model {
    /// (4, 5) of 4.5.
    pub version: (u32, u32),
    pub output_tokens_max: u64,
    pub is_opus: bool,
}

impl Model {
    pub fn of(deployment: &Deployment) -> Model {
        let name = deployment.model.rsplit("claude-").next().unwrap_or_default();
        let (number, kind) = name.split_once('-').unwrap_or((name, ""));
        let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
        let version = (major.parse().unwrap_or(0), minor.parse().unwrap_or(0));
        let is_opus = kind == "opus";
        let output_tokens_max = match version {
            (4, 6..) if is_opus => 128_000,
            (5.., _) => 128_000,
            (4, 0 | 1) if is_opus => 32_000,
            (3, 7) | (4.., _) => 64_000,
            (3, 5) => 8_192,
            _ => 4_096,
        };
        Model { version, output_tokens_max, is_opus }
    }

    fn thinks_only_adaptively(self) -> bool {
        self.is_opus && self.version >= (4, 7)
    }
}

/// A check under way.
pub(in super::super) struct Check<'a> {
    pub model: Model,
    answers_as: &'a str,
    fault: &'a Fault,
    /// The cache points seen so far: where, and whether they hold for an hour.
    points: Vec<(String, bool)>,
}

impl<'a> Check<'a> {
    pub fn new(call: &'a Call<'_>) -> Check<'a> {
        let (model, answers_as) = (Model::of(call.deployment), &call.deployment.answers_as);
        Check { model, answers_as, fault: call.fault, points: Vec::new() }
    }

    /// The object has no key but these.
    pub fn known(&self, object: &Object, keys: &[&str], path: &str) -> Result<(), Answer> {
        let paths = object.keys().map(|key| match path {
            "" => (key, key.clone()),
            path => (key, format!("{path}.{key}")),
        });
        for (key, path) in paths {
            let is_permitted = keys.contains(&key.as_str()) || self.fault.accept.contains(&path);
            if !is_permitted || self.fault.refuse.contains(&path) {
                return Err(extra(&path));
            }
        }
        Ok(())
    }

    /// A cache point, where the object has one; `path` is the object's.
    pub fn cache_control(&mut self, object: &Object, path: &str) -> Result<(), Answer> {
        let Some(control) = present(object, "cache_control") else { return Ok(()) };
        let path = format!("{path}.cache_control");
        let control = dictionary(control, &path)?;
        tagged(control, &["ephemeral"], &path)?;
        self.known(control, &["type", "ttl"], &format!("{path}.ephemeral"))?;
        let lasts_an_hour = match present(control, "ttl") {
            None => false,
            Some(ttl) if ttl == "5m" => false,
            Some(ttl) if ttl == "1h" => true,
            Some(_) => {
                return Err(refusal(&format!(
                    "{path}.ephemeral.ttl: Input should be '5m' or '1h'"
                )));
            }
        };
        self.points.push((path, lasts_an_hour));
        Ok(())
    }

    fn fields(&self, request: &Object) -> Result<(), Answer> {
        if request.contains_key("metadata") && !self.fault.accept.iter().any(|a| a == "metadata") {
            return Err(refusal("role 'system' is not supported on this model"));
        }
        self.known(request, KEYS, "")?;
        let has_config = request.contains_key("output_config");
        if has_config && self.model.version < (4, 6) {
            return Err(extra("output_config"));
        }
        let missing = ["anthropic_version", "max_tokens", "messages"]
            .into_iter()
            .find(|key| !request.contains_key(*key));
        if let Some(key) = missing {
            return Err(refusal(&format!("{key}: Field required")));
        }
        if request["anthropic_version"] != "bedrock-2023-05-31" {
            return Err(refusal("anthropic_version: Input should be 'bedrock-2023-05-31'"));
        }
        Ok(())
    }

    pub fn betas(&self, request: &Object) -> Result<(), Answer> {
        let Some(flags) = present(request, "anthropic_beta") else { return Ok(()) };
        let Some(flags) = flags.as_array() else {
            return Err(refusal("anthropic_beta: Input should be a valid list"));
        };
        let good = |flag: &Value| {
            let flag = flag.as_str().unwrap_or_default();
            ends_in_date(flag) && !BETAS_REFUSED.contains(&flag)
        };
        if flags.iter().all(good) && !self.fault.refuse_beta {
            return Ok(());
        }
        Err(refusal("invalid beta flag"))
    }

    fn max_tokens(&self, request: &Object) -> Result<(), Answer> {
        let Some(given) = request["max_tokens"].as_u64() else {
            return Err(refusal("max_tokens: Input should be a valid integer"));
        };
        if given == 0 {
            return Err(refusal("max_tokens: Input should be greater than or equal to 1"));
        }
        let (most, name) = (self.model.output_tokens_max, self.answers_as);
        if given > most {
            return Err(refusal(&format!(
                "max_tokens: {given} > {most}, which is the maximum allowed number of output \
                 tokens for {name}"
            )));
        }
        Ok(())
    }

    pub fn sampling(&self, request: &Object) -> Result<(), Answer> {
        for key in ["temperature", "top_p"] {
            let Some(given) = present(request, key) else { continue };
            let number = given.as_f64();
            let number =
                number.ok_or_else(|| refusal(&format!("{key}: Input should be a valid number")))?;
            if !(0.0..=1.0).contains(&number) {
                return Err(refusal(&format!("{key}: range: 0..1")));
            }
        }
        if present(request, "top_k").is_some_and(|given| !given.is_u64()) {
            return Err(refusal("top_k: Input should be greater than or equal to 0"));
        }
        let given = |key: &str| present(request, key).is_some();
        let sampled = ["temperature", "top_p", "top_k"].into_iter().find(|key| given(key));
        if let Some(key) = sampled.filter(|_| self.model.thinks_only_adaptively()) {
            return Err(refusal(&format!("`{key}` is deprecated for this model.")));
        }
        let chooses = self.model.version >= (4, 5) || self.model.version == (4, 1);
        if chooses && given("temperature") && given("top_p") {
            return Err(refusal(
                "`temperature` and `top_p` cannot both be specified for this model. \
                 Please use only one.",
            ));
        }
        self.stop_sequences(request)
    }

    fn stop_sequences(&self, request: &Object) -> Result<(), Answer> {
        let Some(given) = present(request, "stop_sequences") else { return Ok(()) };
        let Some(given) = given.as_array().filter(|all| all.iter().all(Value::is_string)) else {
            return Err(refusal("stop_sequences: Input should be a valid list"));
        };
        let is_blank = |stop: &Value| stop.as_str().is_some_and(|stop| stop.trim().is_empty());
        if given.iter().any(is_blank) {
            let why = "stop_sequences: each stop sequence must contain non-whitespace";
            return Err(refusal(why));
        }
        Ok(())
    }

    pub fn thinking(&self, request: &Object) -> Result<(), Answer> {
        let Some(thinking) = present(request, "thinking") else { return Ok(()) };
        if self.model.version < (3, 7) {
            return Err(extra("thinking"));
        }
        let thinking = dictionary(thinking, "thinking")?;
        let kind = tagged(thinking, &["adaptive", "disabled", "enabled"], "thinking")?;
        let keys: &[&str] = if kind == "enabled" { &["type", "budget_tokens"] } else { &["type"] };
        self.known(thinking, keys, &format!("thinking.{kind}"))?;
        match kind {
            "disabled" => return Ok(()),
            "adaptive" if self.model.version < (4, 6) => {
                return Err(refusal("adaptive thinking is not supported on this model"));
            }
            "enabled" if self.model.thinks_only_adaptively() => {
                return Err(refusal(
                    "\"thinking.type.enabled\" is not supported for this model. Use \
                     \"thinking.type.adaptive\" and \"output_config.effort\" to control thinking \
                     behavior.",
                ));
            }
            "enabled" => budget(thinking, request)?,
            _ => {}
        }
        beside_thinking(request)
    }

    fn output_config(&self, request: &Object) -> Result<(), Answer> {
        let Some(config) = present(request, "output_config") else { return Ok(()) };
        let config = dictionary(config, "output_config")?;
        self.known(config, &["effort"], "output_config")?;
        let is_known = |effort: &Value| {
            let is_newer = self.model.version >= (4, 7);
            EFFORTS.iter().any(|e| effort == e) || (is_newer && effort == "xhigh")
        };
        if present(config, "effort").is_some_and(|effort| !is_known(effort)) {
            return Err(refusal(
                "output_config.effort: Input should be 'low', 'medium', 'high' or 'max'",
            ));
        }
        Ok(())
    }

    fn system(&mut self, request: &Object) -> Result<(), Answer> {
        let blocks = match present(request, "system") {
            None | Some(Value::String(_)) => return Ok(()),
            Some(Value::Array(blocks)) => blocks,
            Some(_) => return Err(refusal("system: Input should be a valid list")),
        };
        for (n, block) in blocks.iter().enumerate() {
            let path = format!("system.{n}");
            let block = dictionary(block, &path)?;
            tagged(block, &["text"], &path)?;
            messages::text(self, block, &path, "system")?;
        }
        Ok(())
    }

    fn cache_points(&self) -> Result<(), Answer> {
        let count = self.points.len();
        if count > CACHE_POINTS_MAX {
            return Err(refusal(&format!(
                "A maximum of {CACHE_POINTS_MAX} blocks with cache_control may be provided. \
                 Found {count}."
            )));
        }
        let shorter = self.points.iter().position(|(_, lasts_an_hour)| !lasts_an_hour);
        let after = &self.points[shorter.unwrap_or(count)..];
        let late = after.iter().find(|(_, lasts_an_hour)| *lasts_an_hour);
        late.map_or(Ok(()), |(path, _)| {
            Err(refusal(&format!(
                "{path}.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' \
                 cache_control block. Note that blocks are processed in the following order: \
                 `tools`, `system`, `messages`."
            )))
        })
    }
}

fn budget(thinking: &Object, request: &Object) -> Result<(), Answer> {
    let Some(budget) = thinking.get("budget_tokens") else {
        return Err(refusal("thinking.enabled.budget_tokens: Field required"));
    };
    let Some(budget) = budget.as_u64().filter(|budget| *budget >= 1024) else {
        return Err(refusal(
            "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
        ));
    };
    let most = request.get("max_tokens").and_then(Value::as_u64);
    if most.is_some_and(|most| most <= budget) {
        return Err(refusal("`max_tokens` must be greater than `thinking.budget_tokens`."));
    }
    Ok(())
}

/// What may not stand beside thinking.
fn beside_thinking(request: &Object) -> Result<(), Answer> {
    let number = |key: &str| present(request, key).and_then(Value::as_f64);
    let why = if number("temperature").is_some_and(|n| n != 1.0) {
        "`temperature` may only be set to 1 when thinking is enabled."
    } else if present(request, "top_k").is_some() {
        "`top_k` must be unset when thinking is enabled."
    } else if number("top_p").is_some_and(|n| n < 0.95) {
        "`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled."
    } else if request.get("tool_choice").is_some_and(forces) {
        "Thinking may not be enabled when tool_choice forces tool use."
    } else {
        return Ok(());
    };
    Err(refusal(why))
}

fn forces(choice: &Value) -> bool {
    choice["type"] == "any" || choice["type"] == "tool"
}

/// `…-2025-05-14` or `…-20250219`.
fn ends_in_date(flag: &str) -> bool {
    let dashed = flag.len() > 11 && flag.as_bytes()[flag.len() - 11] == b'-';
    let digits = flag.bytes().rev().filter(|b| *b != b'-').take_while(u8::is_ascii_digit).count();
    digits >= 8 && (dashed || flag.as_bytes().iter().rev().nth(8) == Some(&b'-'))
}

pub(super) fn extra(path: &str) -> Answer {
    refusal(&format!("{path}: Extra inputs are not permitted"))
}

pub(super) fn dictionary<'a>(value: &'a Value, path: &str) -> Result<&'a Object, Answer> {
    let why = || refusal(&format!("{path}: Input should be a valid dictionary"));
    value.as_object().ok_or_else(why)
}

pub(super) fn string<'a>(object: &'a Object, key: &str, path: &str) -> Result<&'a str, Answer> {
    match object.get(key) {
        None => Err(refusal(&format!("{path}.{key}: Field required"))),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(refusal(&format!("{path}.{key}: Input should be a valid string"))),
    }
}

/// The object's `type`, which is one of these.
pub(super) fn tagged<'a>(object: &'a Object, tags: &[&str], path: &str) -> Result<&'a str, Answer> {
    let kind = string(object, "type", path)?;
    if tags.contains(&kind) {
        return Ok(kind);
    }
    let tags = tags.iter().map(|tag| format!("'{tag}'")).collect::<Vec<_>>().join(", ");
    Err(refusal(&format!(
        "{path}: Input tag '{kind}' found using 'type' does not match any of the expected tags: \
         {tags}"
    )))
}

/// Whether the request has the beta flag that begins so.
pub(super) fn has_beta(request: &Object, start: &str) -> bool {
    let flags = present(request, "anthropic_beta").map_or(&[] as &[Value], items);
    flags.iter().filter_map(Value::as_str).any(|flag| flag.starts_with(start))
}

#[rustfmt::skip]
const KEYS: &[&str] = &[
    "anthropic_version", "anthropic_beta", "max_tokens", "messages", "system", "stop_sequences",
    "temperature", "top_p", "top_k", "tools", "tool_choice", "thinking", "output_config",
];
const EFFORTS: [&str; 4] = ["low", "medium", "high", "max"];
const CACHE_POINTS_MAX: usize = 4;
/// What Anthropic knows and Bedrock does not (dossier 5b.2).
const BETAS_REFUSED: &[&str] = &[
    "advanced-tool-use-2025-11-20",
    "prompt-caching-2024-07-31",
    "prompt-caching-scope-2026-01-05",
    "extended-cache-ttl-2025-04-11",
    "redact-thinking-2026-02-12",
    "mcp-servers-2025-12-04",
    "skills-2025-10-02",
    "files-api-2025-04-14",
    "message-batches-2024-09-24",
    "managed-agents-2026-04-01",
    "code-execution-2025-05-22",
    "fast-mode-2026-02-01",
    "output-300k-2026-03-24",
    "user-profiles-2026-03-24",
    "advisor-tool-2026-03-01",
    "cache-diagnosis-2026-04-07",
    "thinking-token-count-2026-05-13",
    "server-side-fallback-2026-06-01",
    "fallback-credit-2026-06-01",
];
