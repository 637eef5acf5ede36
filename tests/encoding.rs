//! Compressed request bodies with the real server in front of the simulated AI Core, which never sees one.

mod support;

use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde_json::json;
use support::{Client, KEY, Proxy, Reply};

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(vec![], Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn zstd(body: &[u8]) -> Vec<u8> {
    compress_to_vec(body, CompressionLevel::Fastest)
}

type Coder = fn(&[u8]) -> Vec<u8>;
const CODERS: [(&str, Coder); 3] = [("gzip", gzip), ("deflate", zlib), ("zstd", zstd)];

fn post(client: &mut Client, path: &str, coding: &str, body: &[u8]) -> Reply {
    client.send("POST", path, &format!("{KEY}content-encoding: {coding}\r\n"), body)
}

#[test]
fn every_route_reads_them_and_ai_core_gets_the_same() {
    let proxy = Proxy::start();
    let messages = json!([{"role": "user", "content": "hi"}]);
    for (path, body) in [
        ("/v1/chat/completions", json!({"model": "gpt-4o", "messages": messages})),
        ("/v1/messages", json!({"model": "gpt-4o", "max_tokens": 50, "messages": messages})),
        ("/v1/messages/count_tokens", json!({"model": "gpt-4o", "messages": messages})),
        ("/v1/responses", json!({"model": "gpt-5", "input": "hi"})),
        ("/v1/embeddings", json!({"model": "text-embedding-3-small", "input": "hi"})),
        ("/v1/rerank", json!({"model": "cohere-reranker-35", "query": "q", "documents": ["d"]})),
    ] {
        let body = body.to_string().into_bytes();
        let mut client = proxy.client();
        assert_eq!(client.send("POST", path, KEY, &body).status, 200, "{path}");
        let plain = proxy.inferences().pop().map(|seen| seen.body);
        for (name, coder) in CODERS {
            let reply = post(&mut client, path, name, &coder(&body));
            assert_eq!(reply.status, 200, "{path} {name}: {}", reply.text());
            let last = proxy.inferences().pop();
            assert_eq!(last.as_ref().map(|seen| &seen.body), plain.as_ref(), "{path} {name}");
            let has_header = last.is_some_and(|seen| seen.header("content-encoding").is_some());
            assert!(!has_header, "{path} {name}");
        }
    }
}

#[test]
fn what_cannot_be_read_is_refused_and_the_connection_goes_on() {
    let proxy = Proxy::limited(|limits| limits.body_bytes_max = 100_000);
    let body =
        json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}).to_string();
    let body = body.as_bytes();
    let bomb = vec![b' '; 100 << 20];
    let mut client = proxy.client();
    for (name, coder) in CODERS {
        let whole = coder(body);
        for (what, bytes, status) in [
            ("cut off", &whole[..whole.len() - 3], 400),
            ("not compressed", body, 400),
            ("too large, once unpacked", &coder(&bomb)[..], 413),
        ] {
            let is_kept = bytes.len() <= 100_000;
            let reply = post(&mut client, "/v1/chat/completions", name, bytes);
            assert_eq!(reply.status, status, "{name}, {what}: {}", reply.text());
            let message = reply.json()["error"]["message"].as_str().unwrap().to_owned();
            let word = if status == 413 { "100000" } else { "Content-Encoding" };
            assert!(message.contains(word), "{message}");
            if !is_kept {
                client = proxy.client();
            }
        }
        let reply = post(&mut client, "/v1/chat/completions", name, &whole);
        assert_eq!(reply.status, 200, "{name}: {}", reply.text());
    }
    let reply = post(&mut client, "/v1/chat/completions", "br", body);
    assert_eq!(reply.status, 415);
    let message = reply.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("br") && message.contains("zstd"), "{message}");
}
