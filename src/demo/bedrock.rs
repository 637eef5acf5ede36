//! AWS Bedrock deployments: which path serves which model, how errors look, and what the grammars
//! share (dossier 5b).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::story::{Choice, End, Prompt, Story, ToolCall, tokens, words};
use super::{Answer, Call, ai_api_error, claude, converse, titan};

pub(super) type Object = Map<String, Value>;

pub(super) fn serve(call: &Call<'_>) -> Result<Answer, Answer> {
    if call.accept.contains("vnd.amazon.eventstream") {
        return Err(refusal("demo: the proxy never asks for binary event streams"));
    }
    let is = |start: &str| call.deployment.model.starts_with(start);
    let (is_claude, is_titan) = (is("anthropic--"), is("amazon--titan"));
    match call.suffix {
        "invoke" if is_claude => claude::serve(call, false),
        "invoke-with-response-stream" if is_claude => claude::serve(call, true),
        "invoke" if is_titan => titan::serve(call),
        "converse" if !is_titan => converse::serve(call, false),
        "converse-stream" if !is_titan => converse::serve(call, true),
        _ => Err(ai_api_error(404, "01020404", "No such path in this deployment", call.suffix)),
    }
}

pub(super) fn refusal(message: &str) -> Answer {
    Answer::json(400, &json!({ "message": message }))
}

pub(super) fn too_long() -> Answer {
    Answer::json(413, &json!({ "message": "Input is too long for requested model." }))
}

pub(super) fn error_body(status: u16) -> Option<String> {
    let message = match status {
        401 | 403 | 503 | 504 => return None,
        408 => "Model timed out.".to_owned(),
        413 => "Input is too long for requested model.".to_owned(),
        429 => "Too many tokens, please wait before trying again.".to_owned(),
        _ => format!("Status {status}, as asked for (demo)."),
    };
    Some(json!({ "message": message }).to_string())
}

pub(super) fn error_frame(call: &Call<'_>) -> String {
    match call.suffix {
        "converse-stream" => converse::error_frame(call),
        _ => claude::error_frame(call),
    }
}

/// What the model says, block by block, in no grammar yet.
pub(super) struct Reply {
    pub blocks: Vec<Block>,
    pub end: End,
    pub output_tokens: usize,
}

pub(super) enum Block {
    /// The encrypted thoughts.
    Redacted(String),
    Thinking {
        pieces: Vec<String>,
        signature: String,
    },
    Text(Vec<String>),
    ToolUse {
        id: String,
        call: ToolCall,
    },
}

impl Reply {
    /// `id_start` is what ids of calls begin with.
    pub fn new(call: &Call<'_>, mut prompt: Prompt, thinks: bool, id_start: &str) -> Reply {
        let mut blocks = Vec::new();
        let mut thought_tokens = 0;
        if thinks {
            if call.fault.redacted {
                blocks.push(Block::Redacted(redacted(call.number)));
            }
            let thought = thought(&Story::new(&prompt, call.fault));
            thought_tokens = tokens(thought.len()).min(prompt.most_tokens / 2);
            blocks
                .push(Block::Thinking { pieces: words(&thought), signature: signature(&thought) });
        }
        prompt.most_tokens -= thought_tokens;
        let story = Story::new(&prompt, call.fault);
        let output_tokens = (story.tokens() + thought_tokens).max(1);
        match story.end {
            End::Calls if matches!(prompt.choice, Choice::Auto) => {
                blocks.push(Block::Text(words("Let me check.")));
            }
            End::Calls => {}
            _ => blocks.push(Block::Text(story.pieces)),
        }
        let calls = story.calls.into_iter().enumerate();
        blocks.extend(calls.map(|(n, tool)| {
            let id = format!("{id_start}Demo{:018}{n:02}", call.number);
            Block::ToolUse { id, call: tool }
        }));
        Reply { blocks, end: story.end, output_tokens }
    }

    pub fn stop_reason<'a>(&self, call: &'a Call<'_>) -> &'a str {
        call.fault.stop_reason.as_deref().unwrap_or(match self.end {
            End::Said => "end_turn",
            End::Calls => "tool_use",
            End::Stopped(_) => "stop_sequence",
            End::Full => "max_tokens",
        })
    }
}

fn thought(story: &Story) -> String {
    let names = story.calls.iter().map(|call| call.name.as_str()).collect::<Vec<_>>();
    match names.is_empty() {
        true => "Let's see: no \"tool\" is needed; I repeat what I read.".to_owned(),
        false => format!("Let's see: I should call {}.", names.join(" and ")),
    }
}

/// What proves that a thought is the model's own.
pub(super) fn signature(thought: &str) -> String {
    STANDARD.encode(crate::auth::digest(thought))
}

fn redacted(number: u64) -> String {
    STANDARD.encode(format!("{REDACTED}{number}"))
}

pub(super) fn is_redacted(data: &str) -> bool {
    STANDARD.decode(data).is_ok_and(|data| data.starts_with(REDACTED.as_bytes()))
}

/// What the bytes of an image say they are.
pub(super) fn image_kind(bytes: &[u8]) -> Option<&'static str> {
    let webp = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP");
    let magics: [(&[u8], _); 3] =
        [(b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF8", "gif")];
    let found = magics.into_iter().find(|(magic, _)| bytes.starts_with(magic));
    found.map(|(_, kind)| kind).or(webp.then_some("webp"))
}

/// The value of a key that is there and not null.
pub(super) fn present<'a>(object: &'a Object, key: &str) -> Option<&'a Value> {
    object.get(key).filter(|value| !value.is_null())
}

/// The items of a list; of anything else none.
pub(super) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn is_name(text: &str, bytes_max: usize) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=bytes_max).contains(&text.len()) && text.bytes().all(fits)
}

const REDACTED: &str = "redacted by the demo ";
