//! `ask`: one question to the running proxy, the answer printed as it comes, and what it took.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::aicore::{AiCore, HeaderText, Method, Request, Response, Settings, Url};
use crate::envelope::quoted;
use crate::sse;

const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A question and where to ask it.
#[derive(Debug)]
pub struct Question {
    /// As clients use it: `http://127.0.0.1:5000/v1`.
    pub base_url: String,
    pub key: Option<String>,
    /// The CA that the proxy made, where it serves HTTPS.
    pub ca: Option<PathBuf>,
    /// `None`: the first model of the proxy's list.
    pub model: Option<String>,
    pub is_stream: bool,
    pub text: String,
}

/// Asks, and writes the answer to `out`. An error is a sentence for the person at the terminal.
pub fn ask(question: &Question, out: &mut impl Write) -> Result<(), String> {
    let settings = Settings {
        connect_max: Duration::from_secs(10),
        idle_max: Duration::from_secs(600),
        extra_roots: question.ca.clone(),
        identity: None,
    };
    let proxy = Proxy { http: AiCore::new(&settings)?, question };
    let model = match &question.model {
        Some(model) => model.clone(),
        None => proxy.first_model()?,
    };
    let body = format!(
        r#"{{"model":{},"messages":[{{"role":"user","content":{}}}],"stream":{}{}}}"#,
        quoted(&model),
        quoted(&question.text),
        question.is_stream,
        if question.is_stream { r#","stream_options":{"include_usage":true}"# } else { "" }
    );
    let mut response = proxy.send("/chat/completions", Method::Post(body.as_bytes()))?;
    let usage = match question.is_stream {
        true => print_stream(&mut response, out)?,
        false => print_whole(&mut response, out)?,
    };
    let count = |name: &str| usage.get(name).and_then(Value::as_u64).unwrap_or(0);
    let (input, output) = (count("prompt_tokens"), count("completion_tokens"));
    let line = format!("\n\n{model}: {input} tokens in, {output} out\n");
    out.write_all(line.as_bytes()).and_then(|()| out.flush()).map_err(|e| e.to_string())
}

struct Proxy<'a> {
    http: AiCore,
    question: &'a Question,
}

impl Proxy<'_> {
    fn first_model(&self) -> Result<String, String> {
        let body = self
            .send("/models", Method::Get)?
            .read_all(ANSWER_BYTES_MAX)
            .map_err(|e| e.to_string())?;
        let list: Value =
            serde_json::from_slice(&body).map_err(|e| format!("its list of models: {e}"))?;
        let name = list.pointer("/data/0/id").and_then(Value::as_str);
        name.map(str::to_owned).ok_or_else(|| "the proxy has no model".into())
    }

    fn send(&self, path: &str, method: Method<'_>) -> Result<Response, String> {
        let at = &self.question.base_url;
        let url = Url::parse(&format!("{at}{path}"))?;
        let key = self.question.key.as_deref().unwrap_or("none");
        let authorization = HeaderText::secret(&format!("Bearer {key}"))
            .map_err(|e| format!("the client key {e}"))?;
        let json = HeaderText::new("application/json")?;
        let headers = [("authorization", &authorization), ("content-type", &json)];
        let request = Request { url: &url, headers: &headers, method, silence_max: None };
        let hint = "Is the proxy running, with the same configuration?";
        let mut response = self.http.send(&request, None).map_err(|e| format!("{e} {hint}"))?;
        if response.status == 200 {
            return Ok(response);
        }
        let body = response.read_all(ANSWER_BYTES_MAX).unwrap_or_default();
        let error: Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = String::from_utf8_lossy(&body);
        let message =
            error.pointer("/error/message").and_then(Value::as_str).unwrap_or(text.trim());
        Err(format!("{} {message}", response.status))
    }
}

fn print_whole(response: &mut Response, out: &mut impl Write) -> Result<Value, String> {
    let body = response.read_all(ANSWER_BYTES_MAX).map_err(|e| e.to_string())?;
    let reply: Value = serde_json::from_slice(&body).map_err(|e| e.to_string())?;
    let text = reply.pointer("/choices/0/message/content").and_then(Value::as_str).unwrap_or("");
    out.write_all(text.as_bytes()).map_err(|e| e.to_string())?;
    Ok(reply.get("usage").cloned().unwrap_or_default())
}

fn print_stream(response: &mut Response, out: &mut impl Write) -> Result<Value, String> {
    let mut frames = sse::Frames::default();
    let mut usage = Value::Null;
    loop {
        if frames.read(|room| response.read(room)).map_err(|e| e.to_string())? == 0 {
            return Err("the answer broke off".into());
        }
        while let Some(frame) = frames.next_frame() {
            if &*frame.data == b"[DONE]" {
                return Ok(usage);
            }
            let Ok(event) = serde_json::from_slice::<Value>(&frame.data) else { continue };
            if let Some(message) = event.pointer("/error/message").and_then(Value::as_str) {
                return Err(message.to_owned());
            }
            if let Some(found) = event.get("usage").filter(|u| !u.is_null()) {
                usage = found.clone();
            }
            let text = event.pointer("/choices/0/delta/content").and_then(Value::as_str);
            let text = text.unwrap_or("").as_bytes();
            out.write_all(text).and_then(|()| out.flush()).map_err(|e| e.to_string())?;
        }
    }
}
