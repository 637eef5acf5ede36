//! Embeddings and rerank of every family, through the real server, in front of the strict demo.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sap_ai_core_llm_proxy::demo::Fault;
use serde_json::{Value, json};
use support::{KEY, Proxy, Reply, eventually};

const TITAN: &str = "amazon--titan-embed-text";
const GEMINI: &str = "gemini-embedding";
const NVIDIA: &str = "nvidia--llama-3.2-nv-embedqa-1b";
const ORCHESTRATED: &str = "orchestration/text-embedding-3-small";
/// With how many numbers a vector has, and how many texts a call takes.
const MODELS: [(&str, usize, usize); 5] = [
    ("text-embedding-3-small", 1536, 99),
    (TITAN, 1024, 1),
    (GEMINI, 3072, 1),
    (NVIDIA, 2048, 99),
    (ORCHESTRATED, 1536, 99),
];
const RERANKER: &str = "cohere-reranker-35";

/// With embeddings by orchestration, and a second deployment of Titan.
fn proxy() -> Proxy {
    Proxy::configured(|json| {
        let models = &mut json["deployment_models"];
        let at = |id: &str, models: &Value| {
            let known = models["gpt-4o"].as_str().unwrap().rsplit_once('/').unwrap().0.to_owned();
            json!(format!("{known}/{id}"))
        };
        models[ORCHESTRATED] = at("d00000000000000a", models);
        // The same one twice: what counts is that the proxy takes them for two.
        models[TITAN] = json!([at("d00000000000006b", models), at("d00000000000006b", models)]);
    })
}

fn post(proxy: &Proxy, path: &str, body: &Value) -> Reply {
    proxy.client().send("POST", path, KEY, body.to_string().as_bytes())
}

fn embed(proxy: &Proxy, body: Value) -> Reply {
    post(proxy, "/v1/embeddings", &body)
}

/// The vectors of a good reply, whatever their form.
#[track_caller]
fn vectors(reply: &Reply) -> Vec<Vec<f32>> {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let json = reply.json();
    assert_eq!(json["object"], "list");
    let data = json["data"].as_array().unwrap();
    let vector = |(index, item): (usize, &Value)| {
        assert_eq!((&item["object"], &item["index"]), (&json!("embedding"), &json!(index)));
        match &item["embedding"] {
            Value::String(text) => {
                let bytes = STANDARD.decode(text).unwrap();
                bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
            }
            list => serde_json::from_value(list.clone()).unwrap(),
        }
    };
    data.iter().enumerate().map(vector).collect()
}

#[track_caller]
fn refused(reply: &Reply, status: u16, param: &str, why: &str) {
    assert_eq!(reply.status, status, "{}", reply.text());
    let error = &reply.json()["error"];
    assert_eq!(error["param"], json!(param), "{error}");
    assert!(error["message"].as_str().unwrap().contains(why), "{error}");
}

#[test]
fn every_family_embeds_one_text_and_many() {
    let proxy = proxy();
    for (model, length, texts_a_call) in MODELS {
        let one = embed(&proxy, json!({"model": model, "input": "one"}));
        let texts = ["one", "two, which is longer", "one"];
        let before = proxy.inferences().len();
        let many = embed(&proxy, json!({"model": model, "input": texts}));
        assert_eq!(proxy.inferences().len() - before, 3usize.div_ceil(texts_a_call), "{model}");
        let (first, all) = (vectors(&one), vectors(&many));
        assert_eq!(first[0].len(), length, "{model}");
        assert_eq!((all.len(), &all[0], &all[2]), (3, &first[0], &first[0]), "{model}");
        assert_ne!(all[0], all[1]);
        assert_eq!((&one.json()["model"], &many.json()["model"]), (&json!(model), &json!(model)));
        let count = |reply: &Reply| {
            let usage = reply.json()["usage"].clone();
            assert_eq!(usage["prompt_tokens"], usage["total_tokens"]);
            usage["prompt_tokens"].as_u64().unwrap()
        };
        let two = embed(&proxy, json!({"model": model, "input": texts[1]}));
        assert_eq!(count(&many), 2 * count(&one) + count(&two), "{model}");
        assert!(count(&one) > 0);
    }
}

#[test]
fn base64_is_the_same_vector() {
    let proxy = proxy();
    for (model, ..) in MODELS {
        let ask = |format: &str| {
            let input = ["one", "two"];
            embed(&proxy, json!({"model": model, "input": input, "encoding_format": format}))
        };
        let (packed, plain) = (ask("base64"), ask("float"));
        assert!(packed.json()["data"][0]["embedding"].is_string(), "{model}");
        assert!(plain.json()["data"][0]["embedding"].is_array(), "{model}");
        assert_eq!(vectors(&packed), vectors(&plain), "{model}");
    }
}

#[test]
fn dimensions_are_honoured_or_refused() {
    let proxy = proxy();
    for (model, ..) in MODELS {
        let reply = embed(&proxy, json!({"model": model, "input": ["x"], "dimensions": 256}));
        assert_eq!(vectors(&reply)[0].len(), 256, "{model}");
        let zero = embed(&proxy, json!({"model": model, "input": "x", "dimensions": 0}));
        assert_eq!(zero.status, 400);
    }
    let odd = embed(&proxy, json!({"model": TITAN, "input": ["x"], "dimensions": 300}));
    refused(&odd, 400, "input[0]", "dimensions");
}

#[test]
fn deployments_are_asked_as_they_want_it() {
    let proxy = proxy();
    let last = |body: Value| {
        let reply = embed(&proxy, body);
        assert_eq!(reply.status, 200, "{}", reply.text());
        let seen = proxy.last();
        let path = seen.target.rsplit("deployments/").next().unwrap().split_once('/').unwrap();
        let json: Value = serde_json::from_slice(&seen.body).unwrap();
        (path.1.to_owned(), json, reply.header("x-proxy-dropped").to_owned())
    };
    let (path, body, dropped) = last(json!({"model": TITAN, "input": "x", "task": "query"}));
    assert_eq!((path.as_str(), body), ("invoke", json!({"inputText": "x"})));
    assert_eq!(dropped, "task");
    let (path, body, dropped) =
        last(json!({"model": GEMINI, "input": "x", "task": "query", "user": "u", "best": true}));
    assert_eq!(path, "models/gemini-embedding:predict");
    assert_eq!(body["instances"], json!([{"content": "x", "task_type": "RETRIEVAL_QUERY"}]));
    assert_eq!(dropped, "best");
    for (task, expected) in [(Value::Null, "query"), (json!("search_document"), "passage")] {
        let (path, body, _) = last(json!({"model": NVIDIA, "input": "x", "input_type": task}));
        assert_eq!((path.as_str(), &body["input_type"]), ("embeddings", &json!(expected)));
        assert_eq!((&body["model"], &body["encoding_format"]), (&json!(NVIDIA), &json!("float")));
    }
    let (path, body, _) = last(json!({"model": ORCHESTRATED, "input": ["x"], "dimensions": 8}));
    let model = json!({
        "name": "text-embedding-3-small", "version": "latest", "params": {"dimensions": 8},
    });
    let config = json!({"modules": {"embeddings": {"model": model}}});
    assert_eq!(path, "v2/embeddings");
    assert_eq!(body, json!({"config": config, "input": {"text": ["x"]}}));
}

#[test]
fn what_cannot_be_embedded_is_refused_with_its_place() {
    let proxy = proxy();
    let before = proxy.inferences().len();
    for (model, ..) in &MODELS[1..] {
        let ask = |input: Value| embed(&proxy, json!({"model": model, "input": input}));
        refused(&ask(json!("")), 400, "input", "empty");
        refused(&ask(json!([])), 400, "input", "1 to 2048");
        refused(&ask(json!(vec!["x"; 2049])), 400, "input", "2049 texts");
        refused(&ask(json!(["a", "b", "c", ""])), 400, "input[3]", "empty");
        refused(&ask(json!(["a", {"text": "b"}])), 400, "input[1]", "a string");
        refused(&ask(json!([[1, 2], [3]])), 400, "input", "token ids");
        refused(&ask(json!(7)), 400, "input", "a string or a list");
        let odd = json!({"model": model, "input": "x", "encoding_format": "int8"});
        refused(&embed(&proxy, odd), 400, "encoding_format", "base64");
    }
    for (model, family) in
        [("anthropic--claude-4.5-sonnet", "claude family"), (RERANKER, "cohere-rerank family")]
    {
        let reply = embed(&proxy, json!({"model": model, "input": "x"}));
        refused(&reply, 400, "model", family);
        assert!(reply.text().contains("no embeddings"));
    }
    for (model, ..) in &MODELS[1..4] {
        let reply = proxy.chat(&support::hi(model));
        refused(&reply, 400, "model", "no chat requests");
    }
    assert_eq!(embed(&proxy, json!({"model": "nope", "input": "x"})).status, 404);
    assert_eq!(proxy.inferences().len(), before);
}

#[test]
fn an_error_of_any_call_is_the_requests() {
    let proxy = proxy();
    let texts = ["fine", "not fine [[demo status=429 retry_after=7]]", "never asked for"];
    let before = proxy.inferences().len();
    let reply = embed(&proxy, json!({"model": GEMINI, "input": texts}));
    assert_eq!((reply.status, reply.header("retry-after")), (429, "7"));
    assert_eq!(proxy.inferences().len() - before, 2);
    let long = "word ".repeat(10_000);
    let reply = embed(&proxy, json!({"model": TITAN, "input": ["fine", long]}));
    refused(&reply, 400, "input[1]", "Too many input tokens");
    proxy.demo.push(Fault::answer(200, r#"{"embedding": "none"}"#));
    assert_eq!(embed(&proxy, json!({"model": TITAN, "input": "x"})).status, 502);
}

#[test]
fn nothing_more_is_asked_for_a_client_that_has_gone() {
    let proxy = proxy();
    let texts = ["one", "two [[demo delay_ms=600]]", "three"];
    let body = json!({"model": GEMINI, "input": texts}).to_string();
    let mut client = proxy.client();
    client.begin("POST", "/v1/embeddings", KEY, body.as_bytes());
    eventually("the second call", || proxy.inferences().len() == 2);
    client.hang_up();
    eventually("the end", || proxy.demo.hung_up() == 1);
    assert_eq!(proxy.inferences().len(), 2);
}

#[test]
fn another_deployment_begins_anew() {
    let proxy = proxy();
    let texts = ["one", "two [[demo status=503 times=1]]"];
    let reply = embed(&proxy, json!({"model": TITAN, "input": texts}));
    assert_eq!(vectors(&reply).len(), 2);
    let asked: Vec<Value> =
        proxy.inferences().iter().map(|s| serde_json::from_slice(&s.body).unwrap()).collect();
    let texts: Vec<&str> = asked.iter().map(|b| &b["inputText"].as_str().unwrap()[..3]).collect();
    assert_eq!(texts, ["one", "two", "one", "two"]);
}

/// Answers embeddings of Gemini under Google's name only; gives the paths it was asked for.
fn google() -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (tell, told) = channel();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = BufReader::new(socket.unwrap());
            let (mut path, mut length) = (String::new(), 0);
            socket.read_line(&mut path).unwrap();
            for line in socket.by_ref().lines().map(|l| l.unwrap()).take_while(|l| !l.is_empty()) {
                let line = line.to_ascii_lowercase();
                length =
                    line.strip_prefix("content-length: ").map_or(length, |n| n.parse().unwrap());
            }
            socket.read_exact(&mut vec![0; length]).unwrap();
            let (status, body) = match path.contains("/models/gemini-embedding-001:predict ") {
                true => (200, r#"{"predictions":[{"embeddings":{"values":[0.50]}}]}"#),
                false => (404, r#"{"error":{"code":404,"message":"not found"}}"#),
            };
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
            );
            // Told before it is answered: who reads what was told has the answer already.
            tell.send(path).unwrap();
            socket.get_mut().write_all(format!("{head}{body}").as_bytes()).unwrap();
        }
    });
    (address, told)
}

#[test]
fn gemini_is_found_by_googles_name_too() {
    let (address, told) = google();
    let proxy = Proxy::configured(|json| {
        let url = format!("http://{address}/v2/inference/deployments/d1");
        json["deployment_models"][GEMINI] = json!(url);
    });
    for _ in 0..2 {
        let reply = embed(&proxy, json!({"model": GEMINI, "input": "x"}));
        assert_eq!(vectors(&reply), [[0.5]]);
        assert!(reply.text().contains("[0.50]"));
    }
    let names: Vec<String> =
        told.try_iter().map(|p| p.rsplit('/').nth(1).unwrap().into()).collect();
    let other = "gemini-embedding-001:predict HTTP";
    assert_eq!(names, ["gemini-embedding:predict HTTP", other, other]);
}

#[test]
fn what_did_not_help_is_not_remembered() {
    let proxy = proxy();
    proxy.demo.push(Fault::answer(404, r#"{"error":{"code":404,"message":"not now"}}"#));
    assert_eq!(embed(&proxy, json!({"model": GEMINI, "input": "x"})).status, 404);
    assert_eq!(embed(&proxy, json!({"model": GEMINI, "input": "x"})).status, 200);
    assert_eq!(proxy.inferences().len(), 3);
}

#[test]
fn a_large_reply_has_a_limit() {
    let proxy = Proxy::limited(|limits| limits.reply_bytes_max = 50_000);
    assert_eq!(embed(&proxy, json!({"model": TITAN, "input": "x"})).status, 200);
    let reply = embed(&proxy, json!({"model": TITAN, "input": vec!["x"; 20]}));
    assert_eq!(reply.status, 502);
    assert!(reply.text().contains("reply_bytes_max"));
}

// ── rerank ───────────────────────────────────────────────────────────────────────────────────────

const DOCUMENTS: [&str; 3] =
    ["Berlin is a city.", "Walldorf is where SAP is at home.", "Bread is eaten."];

fn question() -> Value {
    json!({"model": RERANKER, "query": "Where is SAP at home?", "documents": DOCUMENTS})
}

#[test]
fn documents_are_ranked_under_every_path() {
    let proxy = proxy();
    let mut first = None;
    for path in ["/v1/rerank", "/rerank", "/v2/rerank", "/openai/v1/rerank", "/v1/v2/rerank/"] {
        let reply = post(&proxy, path, &question());
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        let json = reply.json();
        assert_eq!(json["model"], RERANKER);
        assert_eq!(json["meta"]["billed_units"]["search_units"], 1);
        let results = json["results"].as_array().unwrap();
        assert_eq!((results.len(), &results[0]["index"]), (3, &json!(1)));
        assert!(results.iter().all(|r| r.get("document").is_none()));
        assert_eq!(first.get_or_insert(results.clone()), results);
    }
    let seen = proxy.last();
    assert!(seen.target.ends_with("/rerank"), "{}", seen.target);
    let body: Value = serde_json::from_slice(&seen.body).unwrap();
    assert_eq!(body, question());
}

#[test]
fn documents_come_back_where_asked_for() {
    let proxy = proxy();
    let mut ask = question();
    ask["documents"] = json!([DOCUMENTS[0], {"text": DOCUMENTS[1]}, {"text": DOCUMENTS[2]}]);
    ask["top_n"] = json!(2);
    ask["return_documents"] = json!(true);
    ask["max_chunks_per_doc"] = json!(10);
    let reply = post(&proxy, "/v1/rerank", &ask);
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("x-proxy-dropped"), "max_chunks_per_doc");
    let results = reply.json()["results"].as_array().unwrap().clone();
    assert_eq!(results.len(), 2);
    for result in results {
        let index = result["index"].as_u64().unwrap() as usize;
        assert_eq!(result["document"], json!({"text": DOCUMENTS[index]}));
        assert!(result["relevance_score"].is_f64());
    }
}

#[test]
fn what_cannot_be_ranked_is_refused_with_its_place() {
    let proxy = proxy();
    let table = [
        ("query", json!(""), "query", "empty"),
        ("query", Value::Null, "query", "missing"),
        ("documents", json!([]), "documents", "0 documents"),
        ("documents", json!("x"), "documents", "a list"),
        ("documents", json!(["x", {"title": "y"}]), "documents[1]", "text"),
        ("top_n", json!(0), "top_n", "at least 1"),
        ("model", json!("gpt-4o"), "model", "openai family, which ranks no documents"),
        ("model", json!(TITAN), "model", "titan family, which ranks no documents"),
    ];
    for (key, value, param, why) in table {
        let mut ask = question();
        ask[key] = value;
        refused(&post(&proxy, "/v1/rerank", &ask), 400, param, why);
    }
    refused(&proxy.chat(&support::hi(RERANKER)), 400, "model", "no chat requests");
    let mut ask = question();
    ask["model"] = json!("no-reranker");
    assert_eq!(post(&proxy, "/v1/rerank", &ask).status, 404);
    assert!(proxy.inferences().is_empty());
    let mut ask = question();
    ask["query"] = json!("Where? [[demo status=429]]");
    assert_eq!(post(&proxy, "/v1/rerank", &ask).status, 429);
}
