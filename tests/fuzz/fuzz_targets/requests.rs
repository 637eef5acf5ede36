//! Any bytes as a client's request: what can be read of it is JSON for every family, or refused; and what passes to Claude
//! or as a request for a response is still an object.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sap_ai_core_llm_proxy::dialect::anthropic::Messages;
use sap_ai_core_llm_proxy::dialect::openai_chat::ChatCompletions;
use sap_ai_core_llm_proxy::dialect::openai_responses::{Responses, marks};
use sap_ai_core_llm_proxy::dialect::{self, ClientDialect, Target};
use sap_ai_core_llm_proxy::envelope::Envelope;
use sap_ai_core_llm_proxy::error::Error;
use sap_ai_core_llm_proxy::families::{Passes, TABLE, of_model};
use sap_ai_core_llm_proxy::families::claude::pass::{Asked, each_url, pass};
use serde_json::{Map, Value};

/// Models whose rules differ.
const MODELS: &[&str] = &[
    "anthropic--claude-3-haiku",
    "anthropic--claude-4.5-sonnet",
    "anthropic--claude-4.8-opus",
    "gemini-2.5-pro",
    "gemini-3-flash",
    "amazon--nova-pro",
    "cohere--command-a-reasoning",
    "gpt-4o",
    "gpt-5.5",
    "mistralai--mistral-large-instruct",
];

fuzz_target!(|data: &[u8]| {
    let Some((which, bytes)) = data.split_first() else { return };
    let model = MODELS[usize::from(*which) % MODELS.len()];
    let Ok(envelope) = Envelope::parse(bytes.to_vec()) else { return };
    let kept = || r#"{"role":"assistant","content":"a"}"#.to_owned();
    let item = |id: &str| Ok((id == "msg_1").then(kept));
    let responses = Responses { history: br#"[{"role":"user","content":"a"}]"#, item: &item };
    let clients: [&dyn ClientDialect; 3] = [&ChatCompletions, &Messages, &responses];
    for asked in clients.map(|client| client.decode(&envelope)) {
        written(asked, model);
    }
    passed_on(bytes);
    passed(envelope, model);
});

/// To AI Core's own `/responses`.
fn passed_on(bytes: &[u8]) {
    let service = of_model("gpt-5").service.as_ref();
    let Some(Passes::Responses { edit }) = service.and_then(|s| Some(s.responses?.grammar.passes))
    else {
        return;
    };
    let Ok(mut body) = Envelope::parse(bytes.to_vec()) else { return };
    let _ = marks::owner(bytes);
    if edit(&mut body, "gpt-5").is_ok() {
        let body = body.into_bytes();
        let (body, _) = marks::body_for(&body, "0a1b2c3d");
        drop(Envelope::parse(body.into_owned()).unwrap());
    }
}

fn passed(mut body: Envelope, model: &str) {
    let named = |_: &str, path: &str| Err(Error::bad_request(path, "not fetched"));
    let asked = Asked { model, betas: Some("a-2025-01-01"), is_long_context: true };
    match each_url(&mut body, named).and_then(|()| pass(&mut body, &asked)) {
        Ok(_) => drop(Envelope::parse(body.into_bytes()).unwrap()),
        Err(error) => assert_eq!(error.status(), 400, "{error}"),
    }
}

fn written(asked: Result<dialect::Asked, Error>, model: &str) {
    let asked = match asked {
        Ok(asked) => asked,
        // What an item refers to may not be kept.
        Err(error) => return assert!(matches!(error.status(), 400 | 404), "{error}"),
    };
    for service in TABLE.iter().filter_map(|family| family.service.as_ref()) {
        let Some(grammar) = &service.grammar else { continue };
        let mut request = asked.request.clone();
        let target = Target { model, is_stream: asked.is_stream };
        match grammar.body(&mut request, &target, true) {
            Ok((body, _)) => drop(serde_json::from_slice::<Map<String, Value>>(&body).unwrap()),
            Err(error) => assert_eq!(error.status(), 400, "{error}"),
        }
    }
}
