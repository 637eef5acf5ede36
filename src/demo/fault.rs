//! What the demo can be told to do wrong: [`Fault`], and the marker a request carries to ask for
//! one itself.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::http::Answer;
use super::story::ToolCall;

/// Where a fault applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Place {
    /// `POST …/v2/inference/…`, after the access token, the resource group and the path were found
    /// good.
    #[default]
    Inference,
    /// `POST /oauth/token`, before the credentials are looked at.
    Token,
    /// `GET /v2/lm/…` but for the catalogue, after the access token and the resource group were
    /// found good.
    Deployments,
    /// `GET /v2/lm/scenarios/foundation-models/models`, after the same.
    Catalogue,
    /// `GET /v2/admin/…`, after the access token was found good.
    Admin,
}

/// One behaviour out of the ordinary. The default is none at all; fields combine.
///
/// "Frame n" counts SSE messages from 0: the prompt filter, the role, the contents, the finish, the
/// usage if asked for, `[DONE]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    pub at: Place,
    /// Only for this deployment id; empty for any.
    pub deployment: String,
    /// How many requests it is for; `usize::MAX` for all.
    pub times: usize,

    // ── instead of the answer
    /// Answer with this status; 0 for the ordinary answer.
    pub status: u16,
    /// Additional headers (`retry-after`); `connection: close` also closes.
    pub headers: Vec<(String, String)>,
    /// The body that goes with `status`, or the error frame of `error_after`; `None` for what AI
    /// Core says there.
    pub body: Option<String>,
    /// Answer before the body is read, then close, as gateways do with 413. Not available to a
    /// marker.
    pub early: bool,
    /// Close without a byte.
    pub no_answer: bool,

    // ── time
    /// Wait before the first byte.
    pub delay_ms: u64,
    /// Between frames, instead of [`Options::pace_ms`](super::Options::pace_ms).
    pub pause_ms: Option<u64>,
    /// (n, ms): a longer silence before frame n.
    pub silence: Option<(usize, u64)>,

    // ── what is refused, though it is usually not, and the other way round
    /// These top-level fields are not permitted to this request, by families that say so.
    pub refuse: Vec<String>,
    /// Any beta flag is an invalid one.
    pub refuse_beta: bool,
    /// These fields, by their path, are permitted.
    pub accept: Vec<String>,

    // ── what a stream holds, and how it ends
    /// The text is this many words, one content frame each.
    pub frames: Option<usize>,
    /// Call these tools, if the request offers them.
    pub tools: Vec<String>,
    /// What an agent is to do, turn by turn: this answer makes the first turn's calls, if the
    /// request offers their tools. A marker's turns that were had since it was said are left out.
    pub turns: Vec<Vec<ToolCall>>,
    /// A redacted thinking block comes before the thinking block.
    pub redacted: bool,
    /// Why the answer ended, in the family's own word.
    pub stop_reason: Option<String>,
    /// The pieces of parallel tool calls take turns.
    pub interleave: bool,
    /// How the stream of Converse is written: `json`, `pyrepr`, `noprefix`, `single_newline`.
    pub converse: String,
    /// What Gemini does: `array` for a stream, `blocked` for the prompt.
    pub gemini: String,
    /// Cohere's chat is under `/v2/chat` only.
    pub cohere_v2: bool,
    /// The model behind orchestration has no streams.
    pub no_stream: bool,
    /// After n frames an error frame, then a clean end without `[DONE]`.
    pub error_after: Option<usize>,
    /// After n frames the connection is closed, without the last chunk; a plain answer is cut in
    /// the middle.
    pub cut_after: Option<usize>,
    /// After n bytes of the body the connection is closed, unless it is shorter.
    pub bytes: Option<usize>,
    /// After n frames a clean end.
    pub end_after: Option<usize>,
    /// The last n frames are left out: 1 for no `[DONE]`.
    pub drop_last: usize,

    // ── how it is written
    /// Sizes of the pieces frames are written in, over and over: `[1]` for single bytes; empty for
    /// whole frames.
    pub pieces: Vec<usize>,
    pub crlf: bool,
    /// Empty lines after each frame besides the one it needs.
    pub blank_lines: usize,
    /// A comment line before each frame.
    pub comments: bool,
    /// `data:` without the space.
    pub no_space: bool,
    /// Padding in the response head.
    pub head_bytes: usize,
    /// Close after the answer without having said so: the next request on this connection finds it
    /// dead.
    pub close: bool,
}

impl Default for Fault {
    fn default() -> Fault {
        Fault {
            at: Place::default(),
            deployment: String::new(),
            times: 1,
            status: 0,
            headers: Vec::new(),
            body: None,
            early: false,
            no_answer: false,
            delay_ms: 0,
            pause_ms: None,
            silence: None,
            refuse: Vec::new(),
            refuse_beta: false,
            accept: Vec::new(),
            frames: None,
            tools: Vec::new(),
            turns: Vec::new(),
            redacted: false,
            stop_reason: None,
            interleave: false,
            converse: String::new(),
            gemini: String::new(),
            cohere_v2: false,
            no_stream: false,
            error_after: None,
            cut_after: None,
            bytes: None,
            end_after: None,
            drop_last: 0,
            pieces: Vec::new(),
            crlf: false,
            blank_lines: 0,
            comments: false,
            no_space: false,
            head_bytes: 0,
            close: false,
        }
    }
}

impl Fault {
    /// One inference request is answered with this status, in the body AI Core has for it.
    pub fn status(status: u16) -> Fault {
        Fault { status, ..Fault::default() }
    }

    /// The same with this body (`{}`, plain text).
    pub fn answer(status: u16, body: &str) -> Fault {
        Fault { status, body: Some(body.to_owned()), ..Fault::default() }
    }

    /// One inference request is answered with a stream, of status 200, that tells of a rate limit
    /// and of nothing else, as its family does. Only a request for a stream is.
    pub fn throttled() -> Fault {
        Fault { error_after: Some(0), ..Fault::default() }
    }

    /// With this header too.
    pub fn with_header(mut self, name: &str, value: &str) -> Fault {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn body_text(&self) -> String {
        self.body.clone().unwrap_or_else(|| usual_body(self.status))
    }

    /// The answer instead, if there is to be one; `by_family` is the body a family has for a
    /// status.
    pub(super) fn answer_instead(&self, by_family: fn(u16) -> Option<String>) -> Option<Answer> {
        let body = || self.body.clone().or_else(|| by_family(self.status));
        let body = || body().unwrap_or_else(|| usual_body(self.status));
        (self.status != 0).then(|| Answer::guess(self.status, body()))
    }
}

/// What stands at a status in the dossier's section 7.1.
fn usual_body(status: u16) -> String {
    let text = match status {
        401 => "Jwt is expired",
        403 => "RBAC: access denied",
        413 => "Payload Too Large",
        503 => {
            "upstream connect error or disconnect/reset before headers. \
             reset reason: connection termination"
        }
        504 => "upstream request timeout",
        _ => {
            let message = match status {
                429 => "Rate limit is exceeded. Try again in 12 seconds (demo).".to_owned(),
                _ => format!("Status {status}, as asked for (demo)."),
            };
            let error = json!({"code": status.to_string(), "message": message});
            return json!({ "error": error }).to_string();
        }
    };
    text.to_owned()
}

/// A fault asked for by the request itself, and how it is counted.
#[derive(Debug, PartialEq)]
pub(super) struct Marker {
    pub fault: Fault,
    /// Requests with the same key share one count; without `key=` the marker's own text is the key.
    pub key: String,
}

const OPEN: &str = "[[demo ";
const CLOSE: &str = "]]";

/// The last marker of a body; `Err` says what is wrong with it. Of its turns those to come.
pub(super) fn find_marker(body: &str) -> Result<Option<Marker>, String> {
    let Some(inside) = body.rsplit_once(OPEN).map(|(_, rest)| rest) else { return Ok(None) };
    let Some((inside, _)) = inside.split_once(CLOSE) else {
        return Err(format!("a demo marker that opens with {OPEN:?} needs a closing {CLOSE:?}"));
    };
    let mut marker = Marker {
        fault: Fault { times: usize::MAX, ..Fault::default() },
        key: inside.trim().to_owned(),
    };
    for word in inside.split_whitespace() {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        set(&mut marker, name, value)
            .ok_or_else(|| format!("the demo marker does not know {word:?}"))?;
    }
    let turns = &mut marker.fault.turns;
    if !turns.is_empty() {
        turns.drain(..turns_had(body).min(turns.len()));
    }
    Ok(Some(marker))
}

/// The model's turns since the last marker, whatever the grammar.
fn turns_had(body: &str) -> usize {
    let mut turns = Turns::default();
    turns.count(&serde_json::from_str(body).unwrap_or_default());
    turns.had
}

#[derive(Default)]
struct Turns {
    had: usize,
    /// The last was one of several items, more may follow: Responses have a turn's thoughts, texts
    /// and calls side by side.
    open: bool,
}

impl Turns {
    fn count(&mut self, value: &Value) {
        match value {
            Value::String(text) if text.contains(OPEN) => *self = Turns::default(),
            Value::Array(values) => values.iter().for_each(|value| self.count(value)),
            Value::Object(object) => {
                object.values().for_each(|value| self.count(value));
                let word = |key: &str| object.get(key).and_then(Value::as_str);
                match (word("role"), word("type")) {
                    (Some("assistant"), Some("message"))
                    | (None, Some("reasoning" | "function_call" | "item_reference")) => {
                        self.had += usize::from(!self.open);
                        self.open = true;
                    }
                    (Some("assistant" | "model"), _) => self.had += 1,
                    (Some(_), _) | (_, Some("function_call_output")) => self.open = false,
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

/// The text without its markers, for answers that repeat it.
pub(super) fn without_markers(text: &str) -> String {
    let mut rest = text;
    let mut kept = String::new();
    while let Some((before, after)) = rest.split_once(OPEN) {
        kept.push_str(before);
        rest = after.split_once(CLOSE).map_or("", |(_, rest)| rest);
    }
    kept.push_str(rest);
    kept.trim().to_owned()
}

/// `None` if there is no such name, or no such value.
fn set(marker: &mut Marker, name: &str, value: &str) -> Option<()> {
    let fault = &mut marker.fault;
    let flag = value.is_empty();
    match name {
        "status" => fault.status = value.parse().ok().filter(|s| (200..600).contains(s))?,
        "retry_after" => fault.headers.push(("retry-after".into(), value.to_owned())),
        "body" => fault.body = Some(value.to_owned()),
        "delay_ms" => fault.delay_ms = value.parse().ok()?,
        "pause_ms" => fault.pause_ms = Some(value.parse().ok()?),
        "silence" => {
            let (frame, ms) = value.split_once(':')?;
            fault.silence = Some((frame.parse().ok()?, ms.parse().ok()?));
        }
        "refuse" => fault.refuse.extend(value.split(',').map(str::to_owned)),
        "accept" => fault.accept.extend(value.split(',').map(str::to_owned)),
        "gemini" if value == "crlf" => fault.crlf = true,
        "gemini" => {
            let known = ["array", "blocked"].contains(&value);
            fault.gemini = known.then(|| value.to_owned())?;
        }
        "cohere" if value == "v2" => fault.cohere_v2 = true,
        "no_stream" if flag => fault.no_stream = true,
        "stop_reason" | "finish_reason" if !flag => fault.stop_reason = Some(value.to_owned()),
        "converse" => {
            let known = ["json", "pyrepr", "noprefix", "single_newline"].contains(&value);
            fault.converse = known.then(|| value.to_owned())?;
        }
        "bytes" => fault.bytes = Some(value.parse().ok()?),
        "frames" => fault.frames = Some(value.parse().ok().filter(|n| *n <= FRAMES_MAX)?),
        "call" => fault.turns.push(value.split(',').map(scripted_call).collect::<Option<_>>()?),
        "tool" => fault.tools.extend(value.split(',').map(str::to_owned)),
        "error_after" => fault.error_after = Some(value.parse().ok()?),
        "cut_after" => fault.cut_after = Some(value.parse().ok()?),
        "end_after" => fault.end_after = Some(value.parse().ok()?),
        "drop_last" => fault.drop_last = value.parse().ok()?,
        "pieces" => {
            let sizes = value.split(',').map(|n| n.parse().ok().filter(|n| *n > 0));
            fault.pieces = sizes.collect::<Option<_>>()?;
        }
        "blank_lines" => fault.blank_lines = value.parse().ok().filter(|n| *n <= 100)?,
        "head_bytes" => fault.head_bytes = value.parse().ok().filter(|n| *n <= HEAD_BYTES_MAX)?,
        "no_answer" if flag => fault.no_answer = true,
        "refuse_beta" if flag => fault.refuse_beta = true,
        "redacted" if flag => fault.redacted = true,
        "interleave" if flag => fault.interleave = true,
        "crlf" if flag => fault.crlf = true,
        "comments" if flag => fault.comments = true,
        "no_space" if flag => fault.no_space = true,
        "close" if flag => fault.close = true,
        "times" => fault.times = value.parse().ok()?,
        "key" => marker.key = value.to_owned(),
        _ => return None,
    }
    Some(())
}

/// `NAME:ARGUMENTS`, the arguments a JSON object in base64url.
fn scripted_call(word: &str) -> Option<ToolCall> {
    let (name, arguments) = word.split_once(':')?;
    let arguments = String::from_utf8(URL_SAFE_NO_PAD.decode(arguments).ok()?).ok()?;
    serde_json::from_str::<Map<String, Value>>(&arguments).ok()?;
    Some(ToolCall { name: name.to_owned(), arguments })
}

const FRAMES_MAX: usize = 100_000;
const HEAD_BYTES_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_read() {
        let body = r#"{"a":"hi [[demo status=429 retry_after=1 times=2 key=abc crlf]] there"}"#;
        let marker = find_marker(body).unwrap().unwrap();
        assert_eq!(marker.key, "abc");
        assert_eq!((marker.fault.status, marker.fault.times), (429, 2));
        assert_eq!(marker.fault.headers, [("retry-after".to_owned(), "1".to_owned())]);
        assert!(marker.fault.crlf);
        assert_eq!(find_marker("no marker [[demonstration]]"), Ok(None));
        for wrong in
            ["[[demo statsu=429]]", "[[demo status=x]]", "[[demo status=429", "[[demo crlf=1]]"]
        {
            assert!(find_marker(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_script_goes_on_where_it_is() {
        // {"a":1}, {}, {"b":"x"}
        let script = "[[demo call=One:eyJhIjoxfQ,Two:e30 call=Three:eyJiIjoieCJ9]]";
        let call = |name: &str, arguments: &str| ToolCall {
            name: name.to_owned(),
            arguments: arguments.to_owned(),
        };
        let first = vec![call("One", r#"{"a":1}"#), call("Two", "{}")];
        let second = vec![call("Three", r#"{"b":"x"}"#)];
        let before = json!({"role": "assistant", "content": "How can I help?"});
        let asked = json!({"role": "user", "content": [{"text": format!("Do it {script}")}]});
        let results = json!({"role": "user", "content": "done"});
        for model in ["assistant", "model"] {
            let turn = json!({"role": model, "content": "calls"});
            let mut messages = vec![before.clone(), asked.clone()];
            for turns in [vec![first.clone(), second.clone()], vec![second.clone()], vec![], vec![]]
            {
                let body = json!({"contents": messages, "tools": [{"role": "none"}]}).to_string();
                assert_eq!(find_marker(&body).unwrap().unwrap().fault.turns, turns);
                messages.extend([turn.clone(), results.clone()]);
            }
        }
        let items = [
            json!({"type": "message", "role": "user", "content": format!("Do it {script}")}),
            json!({"type": "reasoning", "summary": []}),
            json!({"type": "message", "role": "assistant", "content": "I call"}),
            json!({"type": "function_call", "name": "One"}),
            json!({"type": "function_call", "name": "Two"}),
            json!({"type": "function_call_output", "output": "x"}),
            json!({"type": "function_call_output", "output": "y"}),
            json!({"type": "function_call", "name": "Three"}),
            json!({"type": "function_call_output", "output": "z"}),
        ];
        for (had, turns) in [(1, vec![first, second.clone()]), (7, vec![second]), (9, vec![])] {
            let body = json!({ "input": items[..had] }).to_string();
            assert_eq!(find_marker(&body).unwrap().unwrap().fault.turns, turns);
        }
        for wrong in ["call=One", "call=One:e30,", "call=One:W10", "call=One:?"] {
            assert!(find_marker(&format!("[[demo {wrong}]]")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_last_marker_counts_and_none_is_repeated() {
        let text = "one [[demo frames=1]] two [[demo frames=2]]";
        assert_eq!(find_marker(text).unwrap().unwrap().fault.frames, Some(2));
        assert_eq!(without_markers(text), "one  two");
    }
}
