//! How much is thought, in the words that the model takes (dossier 5b.6).

use super::{Lost, kind, output_max, tools};
use crate::chat::Effort;
use crate::envelope::{Envelope, header_safe};
use crate::families::claude::{ANSWER_MIN, BUDGET_MIN, Version, budget_of, effort_of};

const KEY: &str = "thinking";
const CONFIG: &str = "output_config";

/// Whether the calls of a loop that goes on come with the thoughts that led to them. With a budget, they have to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Thought {
    /// No loop goes on.
    #[default]
    Idle,
    /// The last turn begins with it.
    Last,
    /// Only an earlier one does.
    Earlier,
    Missing,
}

pub(super) fn settle(body: &mut Envelope, version: Version, thought: Thought, lost: &mut Lost) {
    let effort = effort(body);
    let mut is_effort_met = false;
    match wanted(body) {
        None if tools::is_forced(body) && version.thinks_unasked() => switch_off(body),
        None | Some(Wanted::Other) => {}
        Some(Wanted::Off) if !version.thinks() => {
            body.remove(KEY);
        }
        Some(Wanted::Off) if version.always_thinks() => {
            adapt(body, Effort::Low, true);
            lost.add(KEY);
        }
        Some(Wanted::Off) => keep(body, &["type"], lost),
        Some(_) if tools::is_forced(body) && version.thinks_unasked() => {
            switch_off(body);
            lost.add(KEY);
        }
        Some(_) if tools::is_forced(body) || !version.thinks() => leave_out(body, lost),
        Some(Wanted::Adaptive) if version.adapts() => keep(body, &["type"], lost),
        Some(Wanted::Adaptive) => {
            let budget = budget_of(effort.unwrap_or(Effort::Medium));
            let has_thought = matches!(thought, Thought::Idle | Thought::Last);
            match fitting(budget, output_max(body)).filter(|_| has_thought) {
                Some(budget) => {
                    set_budget(body, budget);
                    is_effort_met = true;
                }
                None => leave_out(body, lost),
            }
        }
        Some(Wanted::Budget(budget)) => {
            let is_missing = thought == Thought::Missing;
            if version.only_adapts() || (is_missing && version.adapts()) {
                adapt(body, effort_of(budget.unwrap_or_default()), false);
            } else if is_missing {
                leave_out(body, lost);
            } else {
                settle_budget(body, budget, lost);
            }
        }
    }
    settle_config(body, version, is_effort_met, lost);
}

/// What the client says of thinking.
enum Wanted {
    Off,
    Adaptive,
    Budget(Option<u64>),
    /// What nobody knows; refused in AI Core's own words.
    Other,
}

fn wanted(body: &Envelope) -> Option<Wanted> {
    let Ok(thinking) = Envelope::parse(body.raw(KEY)?.to_vec()) else { return Some(Wanted::Other) };
    Some(match kind(&thinking).as_str() {
        "disabled" => Wanted::Off,
        "adaptive" => Wanted::Adaptive,
        "enabled" => Wanted::Budget(thinking.get("budget_tokens", "a number").ok().flatten()),
        _ => Wanted::Other,
    })
}

/// Whether the model is told to think.
pub(super) fn is_on(body: &Envelope) -> bool {
    matches!(wanted(body), Some(Wanted::Adaptive | Wanted::Budget(_)))
}

fn effort(body: &Envelope) -> Option<Effort> {
    let config = Envelope::parse(body.raw(CONFIG)?.to_vec()).ok()?;
    match config.raw("effort")? {
        br#""low""# => Some(Effort::Low),
        br#""medium""# => Some(Effort::Medium),
        br#""high""# => Some(Effort::High),
        br#""xhigh""# => Some(Effort::Highest),
        br#""max""# => Some(Effort::Max),
        _ => None,
    }
}

fn leave_out(body: &mut Envelope, lost: &mut Lost) {
    body.remove(KEY);
    lost.add(KEY);
}

fn switch_off(body: &mut Envelope) {
    body.set(KEY, r#"{"type":"disabled"}"#);
}

/// Thinking as the model sees fit, with so much effort if none is told, or in any case.
fn adapt(body: &mut Envelope, effort: Effort, is_certain: bool) {
    body.set(KEY, r#"{"type":"adaptive"}"#);
    let effort = match effort {
        Effort::Minimal | Effort::Low => r#""low""#,
        Effort::Medium => r#""medium""#,
        _ => r#""high""#,
    };
    if !body.has(CONFIG) {
        body.set(CONFIG, "{}");
    }
    body.edit_in(CONFIG, |config| {
        if is_certain || config.raw("effort").is_none_or(|own| own == b"null") {
            config.set("effort", effort);
        }
    });
}

/// Takes all else out of `thinking`.
fn keep(body: &mut Envelope, keys: &[&str], lost: &mut Lost) {
    body.edit_in(KEY, |thinking| {
        thinking.retain(|key, value| {
            let is_kept = keys.contains(&key);
            if !is_kept && value != b"null" && key != "context_management" {
                lost.add(format!("{KEY}.{}", header_safe(key)));
            }
            is_kept
        });
    });
}

/// The client's own budget, cut where it does not fit.
fn settle_budget(body: &mut Envelope, budget: Option<u64>, lost: &mut Lost) {
    keep(body, &["type", "budget_tokens"], lost);
    // Without one it is refused in AI Core's own words.
    let Some(budget) = budget else { return };
    match fitting(budget, output_max(body)) {
        Some(fitting) if fitting == budget => {}
        Some(fitting) => {
            body.edit_in(KEY, |thinking| thinking.set("budget_tokens", fitting.to_string()));
            lost.add("thinking.budget_tokens");
        }
        None => leave_out(body, lost),
    }
}

fn set_budget(body: &mut Envelope, budget: u64) {
    body.set(KEY, format!(r#"{{"type":"enabled","budget_tokens":{budget}}}"#));
}

/// A budget below the output's limit, which leaves room for an answer; `None` where there is no room for both.
fn fitting(budget: u64, output_max: Option<u64>) -> Option<u64> {
    let budget = budget.max(BUDGET_MIN);
    let Some(max) = output_max.filter(|max| budget >= *max) else { return Some(budget) };
    let cut = max.saturating_sub(ANSWER_MIN).max(BUDGET_MIN);
    (cut < max).then_some(cut)
}

/// The effort, where it was not said by a budget.
fn settle_config(body: &mut Envelope, version: Version, is_effort_met: bool, lost: &mut Lost) {
    if !version.adapts() {
        let config = body.raw(CONFIG).and_then(|raw| Envelope::parse(raw.to_vec()).ok());
        let is_missed =
            config.is_some_and(|config| config.keys().any(|key| !is_effort_met || key != "effort"));
        body.remove(CONFIG);
        if is_missed {
            lost.add(CONFIG);
        }
    } else if !version.only_adapts() {
        body.edit_in(CONFIG, |config| {
            if config.raw("effort") == Some(br#""xhigh""#) {
                config.set("effort", r#""high""#);
            }
        });
    }
}
