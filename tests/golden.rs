//! Case × golden file, for the diagonal: what reaches AI Core of a client's request, and what
//! reaches a client of AI Core's answer. `UPDATE=1` writes the golden files anew.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use sap_ai_core_llm_proxy::chat::{Brackets, Event, Stop, Usage, fold};
use sap_ai_core_llm_proxy::dialect::openai_chat::{PassStream, Quirks, pass_reply};
use sap_ai_core_llm_proxy::dialect::openai_responses::tools::{Origin, ToolKind};
use sap_ai_core_llm_proxy::dialect::openai_responses::{self, Responses, Tools, marks};
use sap_ai_core_llm_proxy::dialect::{
    ClientDialect, Dialect, Passing, ReplyHead, ReplyWriter, Target, anthropic,
};
use sap_ai_core_llm_proxy::envelope::Envelope;
use sap_ai_core_llm_proxy::error::Error;
use sap_ai_core_llm_proxy::families::{Passes, of_model};
use sap_ai_core_llm_proxy::sse::Frames;
use support::{KEY, Proxy, pass};

/// One of each rule: a plain model, reasoning ones of the g and the o kind, and the newest.
const MODELS: [&str; 4] = ["gpt-4o", "gpt-5", "gpt-5.5", "o3"];

/// A whole reply for the client, and its usage.
type Whole = fn(Vec<u8>) -> Result<(Vec<u8>, Option<Usage>), Error>;

/// Replies, and how they reach clients.
struct Replies {
    /// Where they are, and where what clients get is.
    folder: &'static str,
    golden: &'static str,
    dialect: Dialect,
    /// For a client that asks for the usage, or does not.
    stream: fn(bool) -> Box<dyn Passing>,
    whole: Whole,
}

impl Replies {
    const fn openai(
        folder: &'static str,
        stream: fn(bool) -> Box<dyn Passing>,
        whole: Whole,
    ) -> Replies {
        Replies { folder, golden: folder, dialect: Dialect::OpenAi, stream, whole }
    }

    fn golden(&self, case: &Path, extension: &str) -> PathBuf {
        let name = case.with_extension(extension);
        wire(self.golden).join(name.file_name().unwrap())
    }

    fn wishes(&self) -> &'static [(bool, &'static str)] {
        match self.dialect {
            Dialect::OpenAi => &[(false, "out"), (true, "usage.out")],
            Dialect::Anthropic | Dialect::Responses => &[(false, "out")],
        }
    }
}

const REPLIES: [Replies; 5] = [
    Replies::openai(
        "reply/openai_chat",
        |usage| passed(usage, Quirks::None),
        |body| pass_reply(body, NAME, Quirks::None),
    ),
    Replies::openai(
        "reply/vllm",
        |usage| passed(usage, Quirks::Vllm),
        |body| pass_reply(body, NAME, Quirks::Vllm),
    ),
    Replies::openai(
        "reply/perplexity",
        |usage| passed(usage, Quirks::Perplexity),
        |body| pass_reply(body, NAME, Quirks::Perplexity),
    ),
    Replies {
        folder: "upstream/claude",
        golden: "reply/messages",
        dialect: Dialect::Anthropic,
        stream: |_| Box::new(anthropic::PassStream::new(NAME)),
        whole: |body| anthropic::pass_reply(body, NAME),
    },
    Replies {
        folder: "reply/responses",
        golden: "reply/responses",
        dialect: Dialect::Responses,
        stream: |_| Box::new(openai_responses::PassStream::new(NAME, &tools(), MARK)),
        whole: |body| openai_responses::pass_reply(body, NAME, &tools(), MARK),
    },
];

/// What the client called the model.
const NAME: &str = "the-alias";

/// The deployment's, in ids.
const MARK: &str = "0a1b2c3d";

/// How the model knows tools that are no functions.
fn tools() -> Tools {
    let origin = |name: &str, namespace: Option<&str>| Origin {
        name: name.into(),
        namespace: namespace.map(str::to_owned),
        kind: if namespace.is_none() { ToolKind::Custom } else { ToolKind::Function },
    };
    let mut tools = Tools::new(vec![
        ("apply_patch".into(), origin("apply_patch", None)),
        ("agents__spawn".into(), origin("spawn", Some("agents"))),
    ]);
    tools.tell("tools", r#"[{"type":"custom","name":"apply_patch"}]"#);
    tools
}

fn passed(wants_usage: bool, quirks: Quirks) -> Box<dyn Passing> {
    Box::new(PassStream::new(NAME, wants_usage, quirks))
}

#[test]
fn requests() {
    let proxy = Proxy::start();
    for (case, body) in cases("request/openai_chat", "json") {
        for model in MODELS {
            let path = format!("/openai/deployments/{model}/chat/completions");
            let reply = proxy.client().send("POST", &path, KEY, &body);
            assert_eq!(reply.status, 200, "{case:?} {model}: {}", reply.text());
            let mut out = proxy.last().body;
            let dropped = reply.header("x-proxy-dropped");
            if !dropped.is_empty() {
                out.extend_from_slice(format!("\ndropped: {dropped}\n").as_bytes());
            }
            check(&case.with_extension(format!("{model}.out")), &out);
        }
    }
}

/// What a deployment gets of a client's request for a response, and how its tools are called there.
#[test]
fn requests_of_responses() {
    let service = of_model("gpt-5").service.as_ref().unwrap();
    let Passes::Responses { edit } = service.responses.unwrap().grammar.passes else { panic!() };
    for (case, body) in cases("request/responses", "json") {
        let mut body = Envelope::parse(body).unwrap();
        let (mut dropped, tools) = edit(&mut body, "gpt-5").unwrap();
        let body = body.to_bytes();
        let (body, foreign) = marks::body_for(&body, MARK);
        dropped.extend(foreign);
        let told =
            tools.told().map(|(key, json)| format!("{key}: {}", String::from_utf8_lossy(json)));
        let told = told.collect::<Vec<_>>().join("\n");
        let rest = format!("\ndropped: {}\n{told}\n", dropped.join(", "));
        check(&case.with_extension("out"), &[&*body, rest.as_bytes()].concat());
    }
}

/// One of each grammar that has thoughts of its own, and one without.
const OTHERS: [&str; 3] = ["anthropic--claude-4.5-sonnet", "gemini-2.5-pro", "amazon--nova-pro"];

/// What a model of another family gets of it. What came before, and what is referred to, is kept.
#[test]
fn requests_of_responses_for_other_models() {
    let item = |_: &str| {
        let said = r#"{"type":"message","role":"assistant","content":[{"type":"output_text","text":"Kept."}]}"#;
        Ok(Some(said.to_owned()))
    };
    for (case, body) in cases("request/responses", "json") {
        let body = Envelope::parse(body).unwrap();
        let goes_on = body.has("previous_response_id");
        let history: &[u8] = match goes_on {
            true => br#"[{"role":"user","content":"Hi"},{"type":"message","role":"assistant","content":"Hello"}]"#,
            false => b"",
        };
        let asked = Responses { history, item: &item }.decode(&body).unwrap();
        for model in OTHERS {
            let grammar = of_model(model).service.as_ref().unwrap().grammar.as_ref().unwrap();
            let mut request = asked.request.clone();
            let target = Target { model, is_stream: asked.is_stream };
            let (mut out, _) = grammar.body(&mut request, &target, true).unwrap();
            let dropped = request.dropped.join(", ");
            out.extend_from_slice(format!("\ndropped: {dropped}\n").as_bytes());
            check(&case.with_extension(format!("{model}.out")), &out);
        }
    }
}

#[test]
fn streams() {
    for replies in &REPLIES {
        for (case, bytes) in cases(replies.folder, "sse") {
            for (wants_usage, extension) in replies.wishes() {
                let shown = |chunks: &mut dyn Iterator<Item = &[u8]>| {
                    let mut stream = (replies.stream)(*wants_usage);
                    let passed = pass(chunks, &mut *stream);
                    stream_shown(replies.dialect, passed, &mut *stream)
                };
                let out = shown(&mut [&*bytes].into_iter());
                // Of a whole reply and a stream of one name, this is the stream.
                let is_openai = replies.dialect == Dialect::OpenAi;
                let extension = if is_openai { extension } else { "sse.out" };
                check(&replies.golden(&case, extension), &out);
                // Cut anywhere, it is the same.
                assert_eq!(shown(&mut bytes.chunks(1)), out, "{case:?}");
            }
        }
    }
}

#[test]
fn what_is_complete_stays_complete_wherever_the_rest_is_cut() {
    for replies in &REPLIES {
        for (case, bytes) in cases(replies.folder, "sse") {
            let is_complete =
                |bytes: &[u8]| pass([bytes], &mut *(replies.stream)(true)).1.is_none();
            if !is_complete(&bytes) {
                continue;
            }
            let mut was_complete = false;
            for at in 0..bytes.len() {
                let is_complete = is_complete(&bytes[..at]);
                assert!(!was_complete || is_complete, "{case:?} until {at}");
                was_complete = is_complete;
            }
        }
    }
}

fn stream_shown(
    dialect: Dialect,
    (mut out, error): (Vec<u8>, Option<Error>),
    stream: &mut dyn Passing,
) -> Vec<u8> {
    let mut status = 200;
    if let Some(error) = error {
        // As the relay has it: a real status where nothing was sent, a frame otherwise.
        if out.is_empty() {
            status = error.status();
            out = dialect.error_body(&error, "req_1").into_bytes();
        } else {
            let before = out.len();
            stream.failed(&error, &mut out);
            if out.len() == before {
                out.extend_from_slice(&dialect.error_frame(&error, "req_1"));
            }
        }
    }
    shown(status, &out, stream.usage())
}

#[test]
fn replies() {
    for replies in &REPLIES {
        for (case, bytes) in cases(replies.folder, "json") {
            // Of a whole reply and a stream of one name, this is the whole.
            let extension = if replies.folder == "reply/openai_chat" { "out" } else { "json.out" };
            let out = match (replies.whole)(bytes) {
                Ok((body, usage)) => shown(200, &body, usage),
                Err(error) => {
                    let body = replies.dialect.error_body(&error, "req_1");
                    shown(error.status(), body.as_bytes(), None)
                }
            };
            check(&replies.golden(&case, extension), &out);
        }
    }
}

fn shown(status: u16, body: &[u8], usage: Option<Usage>) -> Vec<u8> {
    let usage = usage.map_or("none".to_owned(), |u| format!("{u:?}"));
    [format!("{status}\n").as_bytes(), body, format!("\nusage: {usage}\n").as_bytes()].concat()
}

/// What is read of AI Core's responses, for clients of other APIs: of those that pass, too.
#[test]
fn responses_that_are_converted() {
    let service = of_model("gpt-5").service.as_ref().unwrap();
    let dialect = service.responses.unwrap().grammar.dialect;
    let told = |mut out: Brackets| {
        out.end();
        let events = out.drain().map(|event| format!("{event:?}\n"));
        events.collect::<String>()
    };
    let streamed = |chunks: &mut dyn Iterator<Item = &[u8]>| {
        let (mut frames, mut out) = (Frames::default(), Brackets::new("s"));
        let mut decoder = dialect.stream_decoder();
        for chunk in chunks {
            frames.push(chunk);
            while let Some(frame) = frames.next_frame() {
                decoder.frame(&frame, &mut out);
            }
        }
        frames.finish();
        while let Some(frame) = frames.next_frame() {
            decoder.frame(&frame, &mut out);
        }
        decoder.finish(&mut out);
        told(out)
    };
    let folder = wire("upstream/responses");
    let golden =
        |case: &Path, extension| folder.join(case.with_extension(extension).file_name().unwrap());
    for of in ["upstream/responses", "reply/responses"] {
        for (case, bytes) in cases(of, "sse") {
            let events = streamed(&mut [&*bytes].into_iter());
            check(&golden(&case, "sse.events"), events.as_bytes());
            assert_eq!(streamed(&mut bytes.chunks(1)), events, "{case:?}");
        }
        for (case, bytes) in cases(of, "json") {
            let mut out = Brackets::new("s");
            dialect.decode(&bytes, &mut out);
            let events = told(out);
            check(&golden(&case, "json.events"), events.as_bytes());
        }
    }
}

/// Replies of other vendors' models, as they reach clients of the Responses API: file, request, what the model says.
type Told = (&'static str, &'static str, fn(&mut Brackets));

const TOLD: [Told; 6] = [
    ("text", "{}", |b| {
        b.reasoning("not wanted");
        b.text("Hello");
        b.text(" \"there\".\n");
        b.usage(Usage { input: 12, cached: 5, cache_written: 1, output: 70, reasoning: 64 });
        b.stop(Stop::End);
    }),
    ("calls", REQUEST, |b| {
        b.reasoning("First ");
        b.reasoning("this.");
        b.text("On it.");
        b.call(1, Some("call_1"), Some("shell"));
        b.arguments(1, "{\"cmd\":");
        b.arguments(1, "\"ls\"}");
        b.call(2, Some("call_2"), Some("multi__spawn"));
        b.close_call(2);
        b.call(3, Some("call_3"), Some("apply_patch"));
        b.arguments(3, "{\"input\": \"*** Begin\\");
        b.arguments(3, "nPatch \\ud83d");
        b.arguments(3, "\\ude00\"}");
        b.call(4, Some("call_4"), Some("apply_patch"));
        b.arguments(4, "{\"patch\":\"otherwise\"}");
        b.usage(Usage { input: 1, cached: 0, cache_written: 0, output: 2, reasoning: 0 });
        b.stop(Stop::ToolCalls);
    }),
    ("length", REQUEST, |b| {
        b.text("Now:");
        b.call(1, Some("call_1"), Some("apply_patch"));
        b.arguments(1, "{\"input\":\"half a pa");
        b.stop(Stop::Length);
    }),
    ("refusal", "{}", |b| {
        b.text("I would rather");
        b.stop(Stop::Refusal);
    }),
    ("empty", "{}", |b| b.stop(Stop::End)),
    ("failed", REQUEST, |b| {
        b.text("All of it.");
        b.call(1, Some("call_1"), Some("shell"));
        b.arguments(1, "{\"cmd\":");
        b.fail(Error::Upstream {
            status: 429,
            code: None,
            message: "Too many requests, try again in 3 s.".into(),
            param: None,
            retry_after: None,
        });
    }),
];

const REQUEST: &str = r#"{"model":"m","input":"hi","stream":true,"instructions":"Be brief.","reasoning":{"effort":"low","summary":"auto"},"text":{"verbosity":"low"},"temperature":1.10,"store":false,
"tools":[{"type":"custom",
"name":"apply_patch"}],"metadata":{"a":"b"},"prompt_cache_key":"k","max_output_tokens":null}"#;

#[test]
fn responses_of_other_models() {
    let head = ReplyHead { id: "0123456789abcdef".into(), created: 1764500000, model: NAME.into() };
    let tools = Tools::new(vec![
        ("apply_patch".into(), origin("apply_patch", None)),
        (
            "multi__spawn".into(),
            Origin { kind: ToolKind::Function, ..origin("spawn", Some("multi_")) },
        ),
    ]);
    for (case, body, tell) in TOLD {
        let body = Envelope::parse(body.into()).unwrap();
        let writer = openai_responses::Writer::new(&body, tools.clone()).unwrap();
        let mut brackets = Brackets::new("s");
        tell(&mut brackets);
        brackets.end();
        let told: Vec<_> = brackets.drain().collect();
        let mut stream = writer.stream(&head);
        let mut out = vec![];
        for event in &told {
            match event {
                Event::Failed(error) => stream.failed(error, &mut out),
                event => stream.event(event, &mut out),
            }
        }
        let folder = wire("reply/responses");
        check(&folder.join(format!("{case}.told.sse.out")), &out);
        match fold(told) {
            Ok(reply) => {
                let whole = writer.whole(&reply, &head);
                check(&folder.join(format!("{case}.told.json.out")), &whole);
                assert_eq!(stream.kept(), Some(whole), "{case}");
            }
            Err(_) => assert_eq!((case, stream.kept()), ("failed", None)),
        }
    }
    let failure = openai_responses::failure(&Error::Internal, "req_0123456789abcdef");
    check(&wire("reply/responses").join("failure.told.sse.out"), &failure);
}

fn origin(name: &str, namespace: Option<&str>) -> Origin {
    let namespace = namespace.map(str::to_owned);
    Origin { name: name.to_owned(), namespace, kind: ToolKind::Custom }
}

/// The inputs in a folder of `tests/wire`.
fn cases(folder: &str, extension: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = wire(folder);
    let paths = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        paths.filter(|p| p.extension().is_some_and(|e| e == extension)).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no case in {}", folder.display());
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn wire(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire").join(folder)
}

fn check(golden: &Path, found: &[u8]) {
    if std::env::var_os("UPDATE").is_some() {
        return fs::write(golden, found).unwrap();
    }
    let expected = fs::read(golden).unwrap_or_else(|e| panic!("{}: {e}", golden.display()));
    if expected != found {
        let (expected, found) =
            (String::from_utf8_lossy(&expected), String::from_utf8_lossy(found));
        panic!("{}\nexpected:\n{expected}\nfound:\n{found}", golden.display());
    }
}
