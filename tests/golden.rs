//! Case × golden file, for the diagonal: what reaches AI Core of a client's request, and what
//! reaches a client of AI Core's answer. `UPDATE=1` writes the golden files anew.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use sap_ai_core_llm_proxy::chat::Usage;
use sap_ai_core_llm_proxy::dialect::openai_chat::{PassStream, Quirks, pass_reply};
use sap_ai_core_llm_proxy::dialect::{Dialect, Passing};
use sap_ai_core_llm_proxy::error::Error;
use support::{KEY, Proxy, pass};

/// One of each rule: a plain model, reasoning ones of the g and the o kind, and the newest.
const MODELS: [&str; 4] = ["gpt-4o", "gpt-5", "gpt-5.5", "o3"];

/// The folders of replies, and whose they are.
const REPLIES: [(&str, Quirks); 3] = [
    ("reply/openai_chat", Quirks::None),
    ("reply/vllm", Quirks::Vllm),
    ("reply/perplexity", Quirks::Perplexity),
];

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

#[test]
fn streams() {
    for (folder, quirks) in REPLIES {
        for (case, bytes) in cases(folder, "sse") {
            for (wants_usage, extension) in [(false, "out"), (true, "usage.out")] {
                let mut stream = PassStream::new("the-alias", wants_usage, quirks);
                let passed = pass([&*bytes], &mut stream);
                let out = stream_shown(passed, stream.usage());
                check(&case.with_extension(extension), &out);
                // Cut anywhere, it is the same.
                let mut stream = PassStream::new("the-alias", wants_usage, quirks);
                let passed = pass(bytes.chunks(1), &mut stream);
                assert_eq!(stream_shown(passed, stream.usage()), out, "{case:?}");
            }
        }
    }
}

#[test]
fn what_is_complete_stays_complete_wherever_the_rest_is_cut() {
    for (folder, quirks) in REPLIES {
        for (case, bytes) in cases(folder, "sse") {
            if !is_complete(&bytes, quirks) {
                continue;
            }
            let mut was_complete = false;
            for at in 0..bytes.len() {
                let is_complete = is_complete(&bytes[..at], quirks);
                assert!(!was_complete || is_complete, "{case:?} until {at}");
                was_complete = is_complete;
            }
        }
    }
}

fn is_complete(bytes: &[u8], quirks: Quirks) -> bool {
    pass([bytes], &mut PassStream::new("the-alias", true, quirks)).1.is_none()
}

fn stream_shown((mut out, error): (Vec<u8>, Option<Error>), usage: Option<Usage>) -> Vec<u8> {
    let mut status = 200;
    if let Some(error) = error {
        let body = error_body(&error);
        // As the relay has it: a real status where nothing was sent, a frame otherwise.
        if out.is_empty() {
            status = error.status();
            out = body.into_bytes();
        } else {
            out.extend_from_slice(format!("data: {body}\n\n").as_bytes());
        }
    }
    shown(status, &out, usage)
}

#[test]
fn replies() {
    for (folder, quirks) in REPLIES {
        for (case, bytes) in cases(folder, "json") {
            // Of a whole reply and a stream of one name, this is the whole.
            let extension = if quirks == Quirks::None { "out" } else { "json.out" };
            let out = match pass_reply(bytes, "the-alias", quirks) {
                Ok((body, usage)) => shown(200, &body, usage),
                Err(error) => shown(error.status(), error_body(&error).as_bytes(), None),
            };
            check(&case.with_extension(extension), &out);
        }
    }
}

fn shown(status: u16, body: &[u8], usage: Option<Usage>) -> Vec<u8> {
    let usage = usage.map_or("none".to_owned(), |u| format!("{u:?}"));
    [format!("{status}\n").as_bytes(), body, format!("\nusage: {usage}\n").as_bytes()].concat()
}

fn error_body(error: &Error) -> String {
    Dialect::OpenAi.error_body(error, "")
}

/// The inputs in a folder of `tests/wire`.
fn cases(folder: &str, extension: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire").join(folder);
    let paths = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        paths.filter(|p| p.extension().is_some_and(|e| e == extension)).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no case in {}", folder.display());
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
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
