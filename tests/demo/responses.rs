//! The simulated Responses: what is refused, what comes back, what is kept and by whom.

use super::*;

#[test]
fn a_response_is_written_as_recorded() {
    let demo = demo();
    let body = json!({"model": "gpt-5", "input": "hi"});
    let reply = create(&demo, "gpt-5", &body);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let (text, sample) = (reply.text(), sample("azure_responses.json"));
    assert_eq!(keys(&text), keys(&sample));
    let mut streamed = body;
    streamed["stream"] = json!(true);
    let reply = create(&demo, "gpt-5", &streamed);
    assert_eq!(reply.header("content-type"), "text/event-stream");
    let text = reply.text();
    assert!(!text.contains("[DONE]") && !text.contains("event:"), "{text}");
    let recorded = self::sample("azure_responses_stream.sse");
    let kinds = |text: &str| {
        let mut kinds = events(text).iter().map(|e| e["type"].to_string()).collect::<Vec<_>>();
        kinds.dedup();
        kinds
    };
    assert_eq!(kinds(&text), kinds(&recorded));
    let lines =
        |text: &str| text.lines().filter(|line| !line.is_empty()).map(keys).collect::<Vec<_>>();
    let (mut written, mut wanted) = (lines(&text), lines(&recorded));
    written.dedup();
    wanted.dedup();
    assert_eq!(written, wanted);
    for (n, event) in events(&text).iter().enumerate() {
        assert_eq!(event["sequence_number"], n, "{event}");
    }
}

fn path(demo: &Demo, model: &str, rest: &str) -> String {
    let url = &demo.config_json()["deployment_models"][model];
    let url = url.as_str().or_else(|| url[0].as_str()).unwrap().to_owned();
    format!("{}/responses{rest}", url.strip_prefix(&demo.url()).unwrap())
}

fn create(demo: &Demo, model: &str, body: &Value) -> Reply {
    let path = path(demo, model, "");
    Client::new(demo).send("POST", &path, &json_headers(demo), body.to_string().as_bytes())
}

fn events(stream: &str) -> Vec<Value> {
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

/// The keys of a JSON text, in their order.
fn keys(json: &str) -> Vec<String> {
    let strings = json.split('"').collect::<Vec<_>>();
    let keys = strings.windows(2).filter(|pair| pair[1].trim_start().starts_with(':'));
    keys.map(|pair| pair[0].to_owned()).collect()
}

fn sample(name: &str) -> String {
    let path = format!("{}/tests/wire/aicore/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}
