//! What is logged: one line a request, and nothing that is a secret at any level.
//!
//! Never in a log: keys, service keys, access tokens, headers, prompts, replies. An upstream's error is logged by status,
//! code and parameter, since its sentence may quote the prompt; the client sees the sentence.

use std::fmt::Write as _;
use std::time::Duration;

use log::LevelFilter;
use serde_json::json;

use crate::chat::Usage;
use crate::error::Error;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

/// Crates that print wire bytes, bearer tokens and prompts included, at low levels.
const QUIET: &[&str] = &["ureq", "ureq_proto", "rustls", "tiny_http"];

/// Starts logging to standard error. Only the first call of a process counts.
pub fn start(level: LevelFilter, format: Format) {
    let _ = match format {
        Format::Text => {
            let logger = simple_logger::SimpleLogger::new().with_level(level);
            QUIET
                .iter()
                .fold(logger, |l, name| l.with_module_level(name, level.min(LevelFilter::Warn)))
                .init()
        }
        Format::Json => {
            IS_JSON.store(true, std::sync::atomic::Ordering::Relaxed);
            log::set_max_level(level);
            log::set_boxed_logger(Box::new(JsonLogger { level }))
        }
    };
}

/// The target of request lines: a JSON line holds their fields, not a sentence.
const REQUEST: &str = "request";

/// How many names of what was dropped a line has.
const DROPPED_MAX: usize = 20;

/// One request, as the log tells it.
#[derive(Debug, Default)]
pub struct RequestLine {
    pub id: String,
    pub client: String,
    pub method: String,
    pub path: String,
    pub status: u16,
    /// The name the client used.
    pub model: String,
    pub deployment: String,
    pub is_stream: bool,
    pub tries: u32,
    pub upstream_id: Option<String>,
    pub usage: Option<Usage>,
    pub first_byte: Option<Duration>,
    pub total: Duration,
    pub dropped: Vec<std::borrow::Cow<'static, str>>,
    pub error: Option<String>,
}

/// Why something failed, without what may quote a prompt.
pub fn cause(error: &Error) -> String {
    match error {
        Error::Upstream { status, code, param, .. } => {
            let mut text = format!("upstream {status}");
            for part in [code, param].into_iter().flatten() {
                let _ = write!(text, " {part}");
            }
            text
        }
        Error::BadRequest { path, .. } | Error::Refused { path, .. } => {
            format!("bad request: {path}")
        }
        Error::Unauthorized => "unauthorized".into(),
        Error::UnknownModel { .. } => "unknown model".into(),
        Error::NoSuchRoute { .. } => "no such route".into(),
        Error::ClientGone => "client gone".into(),
        other => other.to_string(),
    }
}

impl RequestLine {
    /// Whether a line would be written at all.
    pub fn is_wanted() -> bool {
        log::log_enabled!(target: REQUEST, log::Level::Info)
    }

    /// Notes why the request failed.
    pub fn failed(&mut self, error: &Error) {
        self.error = Some(cause(error));
    }

    pub fn write(&self) {
        if Self::is_wanted() {
            let is_json = IS_JSON.load(std::sync::atomic::Ordering::Relaxed);
            let line = if is_json { self.json() } else { self.text() };
            log::info!(target: REQUEST, "{line}");
        }
    }

    fn text(&self) -> String {
        let mut line = format!(
            "{} {} {} {} {}",
            self.id,
            self.client,
            self.method,
            shown(&self.path),
            self.status
        );
        let mut add = |name: &str, value: String| {
            let _ = write!(line, " {name}={value}");
        };
        if !self.model.is_empty() {
            add("model", shown(&self.model));
        }
        if !self.deployment.is_empty() {
            add("deployment", self.deployment.clone());
        }
        if self.is_stream {
            add("stream", "true".into());
        }
        if self.tries > 1 {
            add("tries", self.tries.to_string());
        }
        if let Some(usage) = self.usage {
            add("in", usage.input.to_string());
            add("cached", usage.cached.to_string());
            add("out", usage.output.to_string());
            add("reasoning", usage.reasoning.to_string());
        }
        if let Some(first) = self.first_byte {
            add("first_ms", first.as_millis().to_string());
        }
        add("ms", self.total.as_millis().to_string());
        if let Some(id) = &self.upstream_id {
            add("upstream_id", shown(id));
        }
        if !self.dropped.is_empty() {
            add("dropped", shown(&self.names_dropped()));
        }
        if let Some(error) = &self.error {
            add("error", format!("{error:?}"));
        }
        line
    }

    fn names_dropped(&self) -> String {
        let mut names = self.dropped[..self.dropped.len().min(DROPPED_MAX)].join(",");
        if self.dropped.len() > DROPPED_MAX {
            names.push_str(",…");
        }
        names
    }

    fn json(&self) -> String {
        let usage = self.usage.map(|u| {
            json!({"input": u.input, "cached": u.cached, "output": u.output, "reasoning": u.reasoning})
        });
        json!({
            "id": self.id,
            "client": self.client,
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "model": self.model,
            "deployment": self.deployment,
            "stream": self.is_stream,
            "tries": self.tries,
            "upstream_id": self.upstream_id,
            "usage": usage,
            "first_ms": self.first_byte.map(|d| d.as_millis() as u64),
            "ms": self.total.as_millis() as u64,
            "dropped": self.dropped,
            "error": self.error,
        })
        .to_string()
    }
}

/// Text of a client's, so that it can neither forge a line nor hide in one.
fn shown(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_graphic() && c != '"' && c != '=';
    if text.chars().all(is_plain) { text.to_owned() } else { format!("{text:?}") }
}

static IS_JSON: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Each record as a JSON object of one line: `time`, `level`, `target`, and `message` or `request`.
struct JsonLogger {
    level: LevelFilter,
}

impl log::Log for JsonLogger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        let crate_name = metadata.target().split("::").next().unwrap_or("");
        let level = if QUIET.contains(&crate_name) {
            self.level.min(LevelFilter::Warn)
        } else {
            self.level
        };
        metadata.level() <= level
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let time = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0.0, |d| (d.as_millis() as f64) / 1000.0);
        let message = record.args().to_string();
        let (key, value) = if record.target() == REQUEST {
            ("request", serde_json::from_str(&message).unwrap_or(json!(message)))
        } else {
            ("message", json!(message))
        };
        let line = json!({
            "time": time,
            "level": record.level().as_str(),
            "target": record.target(),
            key: value,
        });
        eprintln!("{line}");
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dropped_can_neither_fill_nor_forge_a_line() {
        let text = |dropped: &[&str]| {
            let dropped = dropped.iter().map(|name| name.to_string().into()).collect();
            RequestLine { dropped, ..RequestLine::default() }.text()
        };
        assert!(text(&["a", "b[].c"]).ends_with(" dropped=a,b[].c"));
        assert!(text(&["a\nb"]).ends_with(r#" dropped="a\nb""#));
        assert!(text(&["a"; 21]).ends_with(&format!(" dropped=\"{},…\"", ["a"; 20].join(","))));
    }
}
