//! What the commands print, and how they fail: one line, the right exit code, never a panic.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use sap_ai_core_llm_proxy::certificate::locate_or_make;
use sap_ai_core_llm_proxy::demo::{Demo, Fault, Options};
use serde_json::{Value, json};

use super::harness::*;

/// A simulated AI Core in the test's own process.
pub fn core() -> Demo {
    Demo::start(Options { pace_ms: 2, ..Options::default() }).unwrap()
}

/// Fails as told: a single line that has all of `words`.
fn fails(folder: &Folder, args: &[&str], code: i32, words: &[&str]) {
    let (found, out, log) = run(folder, args, "");
    assert_eq!(found, code, "{args:?}: {log}");
    assert_eq!(out, "", "{args:?}");
    // Warnings of the log may come before it.
    let lines: Vec<&str> = log.lines().filter(|line| !line.contains(" WARN ")).collect();
    assert_eq!(lines.len(), 1, "{args:?}: {log}");
    assert!(lines[0].starts_with("sap-ai-core-llm-proxy: "), "{args:?}: {log}");
    for word in words {
        assert!(log.contains(word), "{args:?}: no {word:?} in {log}");
    }
}

#[test]
fn failures_are_one_line_with_the_right_exit_code() {
    let folder = Folder::new();
    fails(&folder, &["--prot", "80"], 2, &["--prot", "--port?"]);
    fails(&folder, &["--frobnicate"], 2, &["--frobnicate"]);
    fails(&folder, &["sevre"], 2, &["sevre", "serve?"]);
    fails(&folder, &["--port", "x"], 2, &["--port"]);
    fails(&folder, &["ask"], 2, &["TEXT"]);
    fails(&folder, &[], 2, &["config.json", "not found", "--demo"]);
    fails(&folder, &["--config", "other.json"], 2, &["other.json", "not found"]);
    fails(&folder, &["ask", "hello"], 2, &["config.json", "not found"]);
    fails(&folder, &["--config", "."], 2, &["cannot be read"]);
    folder.write("broken.json", "{\"port\": 80,}");
    fails(&folder, &["--config", "broken.json"], 2, &["broken.json", "line 1"]);

    let good = nowhere(json!({}));
    let mut keyless = good.clone();
    keyless["secret_authentication_tokens"] = json!([]);
    folder.write("keyless.json", &keyless.to_string());
    let keyless = ["--config", "keyless.json", "--port", "0"];
    fails(&folder, &keyless, 2, &["secret_authentication_tokens", "--no-auth"]);
    let open = [&keyless[..], &["--no-auth", "--host", "0.0.0.0"]].concat();
    fails(&folder, &open, 2, &["--no-auth", "0.0.0.0"]);
    let mut wrong = good.clone();
    wrong["service_key_json"] = json!("missing-key.json");
    folder.write("wrong.json", &wrong.to_string());
    let args = ["--config", "wrong.json"];
    fails(&folder, &args, 2, &["service_key_json", "missing-key.json", "cannot be read"]);

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    fails(&folder, &["--demo", "--port", &port], 1, &[&port, "another program"]);
    let elsewhere = ["--demo", "--port", "0", "--host", "192.0.2.1"];
    fails(&folder, &elsewhere, 1, &["192.0.2.1", "no such address"]);
    fails(&folder, &["ask", "--api-key", "k", "--port", &closed_port(), "hi"], 1, &["running"]);
}

/// A port on which nobody listens.
fn closed_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

#[test]
fn bad_certificates_are_named() {
    let [folder, other] = [Folder::new(), Folder::new()];
    for folder in [&folder, &other] {
        locate_or_make(None, None, folder.path(), "localhost").unwrap();
    }
    fs::copy(other.path().join("cert/key.pem"), folder.path().join("other-key.pem")).unwrap();
    folder.write("empty.pem", "");
    folder.write("cut.pem", "-----BEGIN PRIVATE KEY-----\nMIG");
    let rows = [
        ("other-key.pem", "other-key.pem does not belong to cert/cert.pem"),
        ("missing.pem", "missing.pem cannot be read"),
        ("cert", "cert cannot be read"),
        ("empty.pem", "empty.pem holds no private key"),
        ("cut.pem", "cut.pem is not proper PEM"),
        ("cert/cert.pem", "cert/cert.pem holds no private key"),
    ];
    let https = ["--demo", "--port", "0", "--https"];
    for (key, why) in rows {
        let args = [&https[..], &["--cert", "cert/cert.pem", "--key", key]].concat();
        fails(&folder, &args, 2, &[why]);
    }
    let args = [&https[..], &["--cert", "cert/cert.pem"]].concat();
    fails(&folder, &args, 2, &["--cert", "--key"]);
}

#[test]
fn every_problem_of_a_configuration_is_named_at_once() {
    let folder = Folder::new();
    folder
        .write("config.json", r#"{"port": "x", "deployment_models": [], "limits": {"tries": 0}}"#);
    let (code, out, log) = run(&folder, &[], "");
    assert_eq!((code, &*out), (2, ""));
    for path in ["port: ", "deployment_models: ", "limits.tries: ", "service_key_json: "] {
        assert!(log.contains(path), "{path}: {log}");
    }
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn a_hashed_key_admits_the_key() {
    let folder = Folder::new();
    let key = "a-key-of-decent-length";
    let (code, hash, log) = run(&folder, &["hash-key", key], "");
    assert_eq!((code, &*log), (0, ""));
    let hex = hash.trim_end().strip_prefix("sha256:").unwrap();
    assert!(hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()), "{hash}");
    assert_eq!(run(&folder, &["hash-key"], &format!("{key}\n")), (0, hash.clone(), String::new()));
    fails(&folder, &["hash-key", ""], 2, &["key"]);

    let mut config = nowhere(json!({}));
    config["secret_authentication_tokens"] = json!([KEY, hash.trim_end()]);
    let proxy = Proxy::start(Setup { config: Some(config), ..Setup::default() });
    for (presented, status) in [(key, 200), (hash.trim_end(), 401), (hex, 401), ("", 401)] {
        let mut client = proxy.connect();
        client.send(get("/v1/models", "").replace(KEY, presented));
        assert_eq!(client.answer().unwrap().status, status, "{presented}");
    }
}

#[test]
fn ask_prints_the_answer_and_the_usage() {
    let core = core();
    let mut config = core.config_json();
    config["deployment_models"].as_object_mut().unwrap().retain(|name, _| name == "gpt-4o");
    for args in [vec![], vec!["--https"]] {
        let config = Some(config.clone());
        let proxy = Proxy::start(Setup { config, args: args.clone(), ..Setup::default() });
        let port = proxy.port.to_string();
        let ask = |key: &str, more: &[&str]| {
            let ask = ["ask", "--port", &port, "--api-key", key];
            run(proxy.folder(), &[&ask[..], &args, more, &["What is this?"]].concat(), "")
        };
        for more in [&[][..], &["--no-stream"], &["--model", "gpt-4o"]] {
            let (code, out, log) = ask(KEY, more);
            assert_eq!((code, &*log), (0, ""), "{more:?}");
            let (answer, usage) = out.trim_end().rsplit_once("\n\n").unwrap();
            assert!(answer.contains("What is this?"), "{out}");
            assert!(usage.contains(" tokens in, ") && !usage.contains(" 0 out"), "{out}");
        }
        let (code, out, log) = ask("sk-guess", &["--model", "gpt-4o"]);
        assert_eq!((code, &*out), (1, ""));
        assert!(
            log.starts_with("sap-ai-core-llm-proxy: 401 ") && log.lines().count() == 1,
            "{log}"
        );
        let (code, _, log) = ask(KEY, &["--model", "none-such"]);
        assert_eq!(code, 1);
        assert!(log.contains("404") && log.contains("none-such"), "{log}");
    }
}

#[test]
fn the_printed_curl_line_works_when_pasted() {
    for args in [vec![], vec!["--https"]] {
        let proxy = Proxy::start(Setup { args, ..Setup::default() });
        let out = proxy.out();
        let start = out.find("  curl -N").unwrap_or_else(|| panic!("no curl line in {out}"));
        let end = out[start..].find("\n\n").map_or(out.len(), |n| start + n);
        let mut shell = Command::new("sh");
        shell.args(["-c", &out[start..end]]).current_dir(proxy.folder().path());
        let (code, answer, log) = run_command(shell.env("NO_PROXY", "*"), "");
        assert_eq!(code, 0, "{log}");
        let frames: Vec<&str> = answer.split("\n\n").filter(|f| !f.is_empty()).collect();
        assert!(frames.len() > 3 && frames.iter().all(|f| f.starts_with("data: ")), "{answer}");
        assert_eq!(frames.last(), Some(&"data: [DONE]"));
    }
}

/// Requests of all kinds, with secrets that are known, at the most talkative level.
#[test]
fn no_secret_and_no_prompt_is_logged() {
    for format in ["text", "json"] {
        let core = core();
        core.push(Fault::answer(400, r#"{"error":{"message":"no: canary-of-upstream"}}"#));
        let mut config = core.config_json();
        config["secret_authentication_tokens"] = json!([KEY, "canary-client-key-0001"]);
        let args = vec!["--log-level", "trace", "--log-format", format, "--https"];
        let proxy = Proxy::start(Setup { config: Some(config.clone()), args, ..Setup::default() });
        let keyed = |request: String| request.replace(KEY, "canary-client-key-0001");
        let by = |name: &str, key: &str| {
            let bare =
                get("/v1/models", "").replace(&format!("Authorization: Bearer {KEY}\r\n"), "");
            bare.replace("Host: x\r\n", &format!("Host: x\r\n{name}: {key}\r\n"))
        };
        let broken = "{\"model\":\"gpt-4o\",\"messages\":\"canary-broken\" oops}";
        let requests = [
            (keyed(chat("canary-prompt-0", true, "")), 400),
            (keyed(chat("canary-prompt-1", true, "")), 200),
            (keyed(chat("canary-prompt-2", false, "Cookie: canary-cookie\r\n")), 200),
            (chat("canary-prompt-3", false, "").replace(KEY, "canary-wrong-key"), 401),
            (by("X-Api-Key", "canary-client-key-0001"), 200),
            (by("Api-Key", "canary-wrong-key"), 401),
            (by("Authorization", "Basic canary-basic"), 401),
            (keyed(get("/v1/models?key=canary-query", "")), 200),
            (keyed(post(&format!("Content-Length: {}\r\n", broken.len()))) + broken, 400),
            (keyed(get("/v1/models", "Content-Length: canary-length\r\n")), 400),
        ];
        for (request, status) in &requests {
            let mut client = proxy.connect();
            client.send(request);
            let answer = client.answer().unwrap();
            assert_eq!(answer.status, *status, "{request} {answer:?}");
        }
        let mut secrets = vec!["canary".to_owned()];
        for seen in core.seen() {
            let authorization = seen.header("authorization").unwrap_or_default();
            secrets.extend(authorization.split(' ').nth(1).map(str::to_owned));
        }
        assert!(secrets.len() > 1, "no access token was seen");
        secrets.push(config["service_key_json"]["clientsecret"].as_str().unwrap().to_owned());
        secrets.push(config["service_key_json"]["clientid"].as_str().unwrap().to_owned());
        secrets.push("You said".to_owned());
        until(PATIENCE, "all is logged", || proxy.log().matches("/v1/models").count() >= 4);
        let log = proxy.log() + &proxy.out().replace("Authorization: Bearer KEY", "");
        for secret in &secrets {
            assert!(!log.contains(secret.as_str()), "{secret:?} in {log}");
        }
        assert!(log.contains("gpt-4o") && log.contains("401"), "{log}");
    }
}

#[test]
fn json_logs_are_json_line_by_line() {
    let args = vec!["--log-level", "trace", "--log-format", "json"];
    let proxy = Proxy::start(Setup { args, ..Setup::default() });
    let mut client = proxy.connect();
    let ugly = "/v1/models/%22%0a\"quoted\"\\?x";
    for request in [
        chat("hello", true, "X-Request-Id: \"},{\"\r\n"),
        get(ugly, ""),
        get("/v1/models", "").replace(KEY, "wrong"),
    ] {
        client.send(request);
        client.answer().unwrap();
    }
    let requests = |log: &str| {
        let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
        let requests = lines.filter(|line| line["request"].is_object());
        requests.map(|line| line["request"].clone()).collect::<Vec<_>>()
    };
    until(PATIENCE, "all is logged", || proxy.log().matches("\"request\":{").count() >= 4);
    drop(client);
    let requests = requests(&proxy.log());
    let statuses: Vec<_> = requests.iter().map(|r| r["status"].as_u64().unwrap()).collect();
    // The first one is the honest client of the start.
    assert_eq!(statuses, [200, 200, 404, 401]);
    assert_eq!(requests[1]["stream"], true);
    assert!(requests[1]["usage"]["output"].as_u64() > Some(0), "{}", requests[1]);
    assert_eq!(requests[2]["path"], ugly.trim_end_matches("?x"));
}
