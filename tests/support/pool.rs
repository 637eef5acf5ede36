//! A proxy in front of several simulated subaccounts.

// Each test file uses its own part of this.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sap_ai_core_llm_proxy::config::{self, Config};
use sap_ai_core_llm_proxy::demo::{Demo, Options, Seen};
use sap_ai_core_llm_proxy::live::{Live, Pace};
use sap_ai_core_llm_proxy::relay::Relay;
use sap_ai_core_llm_proxy::server::Server;
use serde_json::{Value, json};

use super::support::{Client, Reply, quick};

pub struct Pool {
    /// The subaccounts `a`, `b`, …
    pub demos: Vec<Demo>,
    pub config: Config,
    pub live: Arc<Live>,
    pub server: Server,
    pub address: SocketAddr,
}

impl Pool {
    /// So many subaccounts, alike.
    pub fn start(count: usize) -> Pool {
        Pool::configured(count, |_| {})
    }

    /// With the configuration file edited.
    pub fn configured(count: usize, edit: impl FnOnce(&mut Value)) -> Pool {
        Pool::with(quick(), count, edit)
    }

    pub fn with(options: Options, count: usize, edit: impl FnOnce(&mut Value)) -> Pool {
        let demos: Vec<_> = (0..count).map(|_| Demo::start(options.clone()).unwrap()).collect();
        let mut json = config_of(&demos);
        edit(&mut json);
        let config = read(&json);
        let live = Live::new(Relay::new(&config).unwrap());
        let server = Server::start(live.clone(), &config.limits, "127.0.0.1", 0, None).unwrap();
        Pool { demos, config, live, address: server.address(), server }
    }

    /// What is deployed is looked after from now on, and was once when this returns.
    pub fn keep(&self) {
        self.keep_at(quick_pace());
    }

    pub fn keep_at(&self, pace: Pace) {
        let config = self.config.clone();
        let read = Box::new(move || Ok(config.clone()));
        let looked = self.live.keep(self.config.clone(), pace, read).unwrap();
        looked.recv_timeout(Duration::from_secs(10)).unwrap();
    }

    pub fn client(&self) -> Client {
        Client::to(self.address)
    }

    /// A chat request on a connection of its own.
    pub fn chat(&self, body: &Value) -> Reply {
        self.client().chat(body)
    }

    /// How many inference requests each subaccount got.
    pub fn counts(&self) -> Vec<usize> {
        self.demos.iter().map(Demo::count).collect()
    }

    /// How many since `before`.
    pub fn since(&self, before: &[usize]) -> Vec<usize> {
        self.counts().into_iter().zip(before).map(|(now, before)| now - before).collect()
    }
}

pub fn quick_pace() -> Pace {
    let often = Duration::from_millis(20);
    Pace { files: often, discovery: often, soon: often }
}

/// The inference requests that reached it.
pub fn inferences(demo: &Demo) -> Vec<Seen> {
    let seen = demo.seen().into_iter();
    seen.filter(|seen| seen.target.starts_with("/v2/inference/")).collect()
}

/// `subAccounts` as the Python script has them, one for each demo.
pub fn config_of(demos: &[Demo]) -> Value {
    let subaccounts = demos.iter().zip('a'..).map(|(demo, name)| {
        let mut flat = demo.config_json();
        let subaccount = json!({
            "resource_group": "default",
            "service_key_json": flat["service_key_json"].take(),
            "deployment_models": flat["deployment_models"].take(),
        });
        (name.to_string(), subaccount)
    });
    let subaccounts: serde_json::Map<_, _> = subaccounts.collect();
    json!({"subAccounts": subaccounts, "secret_authentication_tokens": ["sk-demo"]})
}

pub fn read(json: &Value) -> Config {
    let loaded = config::from_json(&json.to_string(), Path::new(""));
    loaded.unwrap_or_else(|e| panic!("{e}")).config
}
