//! Where the binary has its settings from, and that it reads them again.

use std::fs;
use std::io::Write;
use std::time::{Duration, SystemTime};

use rustix::process::{Signal, kill_process};
use sap_ai_core_llm_proxy::catalogue::Day;
use serde_json::{Value, json};

use super::commands::core;
use super::harness::*;

/// The names in the proxy's list of models.
fn models(proxy: &Proxy) -> Vec<String> {
    let mut client = proxy.connect();
    assert!(client.send(get("/v1/models", "")));
    let list: Value = serde_json::from_slice(&client.answer().unwrap().body).unwrap();
    let models = list["data"].as_array().unwrap().iter();
    models.map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

fn answers(proxy: &Proxy) -> u16 {
    let mut client = proxy.connect();
    assert!(client.send(chat("hi", false, "")));
    client.answer().unwrap().status
}

/// As a container or a Cloud Foundry app has it: no file at all.
#[test]
fn the_environment_alone_is_enough() {
    let core = core();
    let soon = Day::of(SystemTime::now() + Duration::from_secs(10 * 86_400));
    core.retire("gpt-4o", &format!("{soon}T00:00:00Z"));
    let key = core.service_key();
    let text = |name: &str| key[name].as_str().unwrap().to_owned();
    let keys = ("PROXY_KEYS", KEY.to_owned());
    let vcap = json!({"aicore": [{"label": "aicore", "credentials": key}]});
    for environment in [
        vec![("AICORE_SERVICE_KEY", key.to_string()), keys.clone()],
        vec![("VCAP_SERVICES", vcap.to_string()), keys.clone()],
        vec![
            ("AICORE_CLIENT_ID", text("clientid")),
            ("AICORE_CLIENT_SECRET", text("clientsecret")),
            ("AICORE_AUTH_URL", text("url")),
            ("AICORE_BASE_URL", format!("{}/v2", core.url())),
            ("AICORE_RESOURCE_GROUP", "default".to_owned()),
            keys,
        ],
    ] {
        let args = vec!["--log-level", "info"];
        let proxy = Proxy::start(Setup { args, environment, ..Setup::default() });
        assert!(proxy.out().contains("gpt-4o → openai d00000000000001a"), "{}", proxy.out());
        assert!(proxy.log().contains("the service key is from "), "{}", proxy.log());
        let warning = format!("model gpt-4o retires on {soon}, in 10 days; SAP suggests ");
        assert!(proxy.log().contains(&warning), "{}", proxy.log());
        assert!(models(&proxy).contains(&"anthropic--claude-4.8-opus".to_owned()));
        assert_eq!(answers(&proxy), 200);
    }
}

/// SIGHUP, and a file that was written: what is bad changes nothing and is told.
#[test]
fn a_changed_configuration_takes_effect_while_it_runs() {
    let core = core();
    let mut config = core.config_json();
    let all = config["deployment_models"].take();
    let with = |name: &str| {
        let mut config = config.clone();
        config["deployment_models"] = json!({name: all[name].clone()});
        config
    };
    let args = vec!["--log-level", "info"];
    let proxy = Proxy::start(Setup { config: Some(with("gpt-4o")), args, ..Setup::default() });
    let file = proxy.folder().path().join("config.json");
    assert!(!proxy.log().contains("deployment_models"), "{}", proxy.log());
    assert_eq!((models(&proxy), answers(&proxy)), (vec!["gpt-4o".to_owned()], 200));
    // A changed file is found by itself, at the latest with the signal.
    fs::write(&file, with("gpt-5").to_string()).unwrap();
    kill_process(proxy.pid(), Signal::HUP).unwrap();
    until(PATIENCE, "the other model", || models(&proxy) == ["gpt-5"]);
    fs::OpenOptions::new().append(true).open(&file).unwrap().write_all(b"}").unwrap();
    until(PATIENCE, "it is refused", || proxy.log().contains("is refused, the old one serves on"));
    assert_eq!(models(&proxy), ["gpt-5"]);
    let mut elsewhere = with("gpt-4o");
    elsewhere["port"] = json!(1);
    fs::write(&file, elsewhere.to_string()).unwrap();
    until(PATIENCE, "it is read by itself", || models(&proxy) == ["gpt-4o"]);
    let fixed = "port was changed, which takes effect with the next start";
    assert!(proxy.log().contains(fixed), "{}", proxy.log());
    assert_eq!(answers(&proxy), 200);
    // What is not deployed as it is written is told, then as at the start.
    let mut gone = with("gpt-4o");
    gone["deployment_models"]["o3"] = core.deployment_url("dgone").into();
    fs::write(&file, gone.to_string()).unwrap();
    let warning = "deployment_models[\"o3\"]: there is no deployment of this id";
    until(PATIENCE, "it is told", || proxy.log().contains(warning));
}
