//! A configuration that changes while the proxy serves: what is valid takes effect, what is not changes nothing, and no
//! request is dropped.

#[path = "support/pool.rs"]
mod pools;
mod support;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use pools::{Pool, config_of, read};
use sap_ai_core_llm_proxy::config::{Config, Problem, Problems};
use sap_ai_core_llm_proxy::demo::Fault;
use sap_ai_core_llm_proxy::live::Pace;
use serde_json::{Value, json};
use support::{KEY, eventually, hi, stream};

const MODEL: &str = "gpt-4o";

/// A pool whose configuration is what `now` says.
struct Changing {
    pool: Pool,
    now: Arc<Mutex<Result<Config, String>>>,
    files: Vec<PathBuf>,
    /// How often it was read.
    reads: Arc<AtomicUsize>,
}

impl Changing {
    fn start(count: usize, files: &[PathBuf]) -> Changing {
        let pool = Pool::start(count);
        let with_files = Config { files: files.to_vec(), ..pool.config.clone() };
        let now: Arc<Mutex<Result<Config, String>>> = Arc::new(Mutex::new(Ok(with_files.clone())));
        let pace = Pace { files: Duration::from_millis(20), ..Pace::default() };
        let (to_read, reads) = (now.clone(), Arc::new(AtomicUsize::new(0)));
        let counter = reads.clone();
        let reading = move || {
            counter.fetch_add(1, Ordering::SeqCst);
            let problem = |why: &String| Problem { path: "port".into(), why: why.clone() };
            to_read.lock().unwrap().clone().map_err(|why| Problems(vec![problem(&why)]))
        };
        let looked = pool.live.keep(with_files, pace, Box::new(reading)).unwrap();
        looked.recv_timeout(Duration::from_secs(5)).unwrap();
        Changing { pool, now, files: files.to_vec(), reads }
    }

    /// The configuration with the subaccounts of these names.
    fn of(&self, names: &str, edit: impl FnOnce(&mut Value)) -> Config {
        let mut json = config_of(&self.pool.demos);
        let subaccounts = json["subAccounts"].as_object_mut().unwrap();
        subaccounts.retain(|name, _| names.contains(name.as_str()));
        edit(&mut json);
        Config { files: self.files.clone(), ..read(&json) }
    }

    fn set(&self, config: Result<Config, String>) {
        *self.now.lock().unwrap() = config;
    }

    fn reload(&self, config: Config) {
        self.set(Ok(config));
        self.pool.live.relay().bell.reload();
    }

    fn models(&self) -> Vec<String> {
        let list = self.pool.client().send("GET", "/v1/models", KEY, b"").json();
        let models = list["data"].as_array().unwrap().iter();
        models.map(|model| model["id"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn subaccounts_come_and_go_and_change() {
    let changing = Changing::start(3, &[]);
    let pool = &changing.pool;
    let served = || {
        let before = pool.counts();
        (0..12).for_each(|_| assert_eq!(pool.chat(&hi(MODEL)).status, 200));
        pool.since(&before)
    };
    assert_eq!(served(), [4, 4, 4]);
    let fetched = pool.demos[0].token_fetches();
    for (names, weight, expected) in
        [("ab", 1, [6, 6, 0]), ("a", 1, [12, 0, 0]), ("abc", 2, [6, 3, 3]), ("bc", 1, [0, 6, 6])]
    {
        changing.reload(changing.of(names, |json| {
            if names.contains('a') {
                json["subAccounts"]["a"]["weight"] = json!(weight);
            }
        }));
        let count = names.len();
        eventually("it takes effect", || pool.live.relay().subaccounts().len() == count);
        assert_eq!(served(), expected, "{names}");
    }
    assert_eq!(pool.demos[0].token_fetches(), fetched, "the access token of `a` served on");
    changing.reload(changing.of("b", |json| {
        let models = &mut json["subAccounts"]["b"]["deployment_models"];
        *models = json!({"mine": models[MODEL].take()});
    }));
    eventually("its models change", || changing.models() == ["mine"]);
    assert_eq!(pool.chat(&hi(MODEL)).status, 404);
    assert_eq!(pool.chat(&hi("mine")).status, 200);
}

#[test]
fn what_cannot_be_read_or_served_changes_nothing() {
    let changing = Changing::start(2, &[]);
    let before = changing.models();
    let refused = |nth| eventually("it is read", || changing.reads.load(Ordering::SeqCst) == nth);
    changing.set(Err("no number".into()));
    changing.pool.live.relay().bell.reload();
    refused(1);
    let unknown =
        Config { families: vec![("*".into(), "none".into())], ..changing.of("a", |_| {}) };
    changing.reload(unknown);
    refused(2);
    let two = changing.pool.live.relay().subaccounts().len();
    assert_eq!((two, changing.models()), (2, before));
    assert_eq!(changing.pool.chat(&hi(MODEL)).status, 200);
    changing.reload(changing.of("b", |_| {}));
    eventually("a good one", || changing.pool.live.relay().subaccounts().len() == 1);
}

#[test]
fn a_changed_file_is_read_again() {
    let folder = std::env::temp_dir().join(format!("reload-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("key.json");
    std::fs::write(&file, "one").unwrap();
    let changing = Changing::start(2, std::slice::from_ref(&file));
    changing.set(Ok(changing.of("b", |_| {})));
    thread::sleep(Duration::from_millis(200));
    assert_eq!(changing.pool.live.relay().subaccounts().len(), 2, "nothing has changed yet");
    write(&file, "another one");
    eventually("it is read", || changing.pool.live.relay().subaccounts().len() == 1);
    std::fs::remove_dir_all(&folder).unwrap();
}

fn write(file: &Path, text: &str) {
    std::fs::write(file, text).unwrap();
}

/// Client keys that are taken back are refused from then on; requests that were let in go on.
#[test]
fn what_is_in_flight_is_served_to_its_end() {
    let changing = Changing::start(2, &[]);
    let slow = Fault { pause_ms: Some(60), frames: Some(20), ..Fault::default() };
    changing.pool.demos.iter().for_each(|demo| demo.push(slow.clone()));
    let mut client = changing.pool.client();
    client.begin_chat(&stream(MODEL));
    let head = client.head();
    assert_eq!(head.status, 200);
    let place = changing.pool.counts().iter().position(|count| *count == 1).unwrap();
    // Its subaccount is taken out, and its key.
    let other = if place == 0 { "b" } else { "a" };
    let mut config = changing.of(other, |_| {});
    config.client_keys = vec![[7; 32]];
    changing.reload(config);
    eventually("it takes effect", || changing.pool.chat(&hi(MODEL)).status == 401);
    let mut text = String::new();
    while let Some(chunk) = client.chunk().filter(|chunk| !chunk.is_empty()) {
        text += &String::from_utf8(chunk).unwrap();
    }
    assert!(text.contains("word20") && text.ends_with("data: [DONE]\n\n"), "{text}");
}

#[test]
fn two_thousand_requests_do_not_notice_reloads() {
    const REQUESTS: usize = 2000;
    let changing = Changing::start(3, &[]);
    let (left, is_over) = (AtomicUsize::new(REQUESTS), AtomicBool::new(false));
    let variants: Vec<_> =
        ["abc", "ab", "c", "bc", "a"].map(|names| changing.of(names, |_| {})).into();
    let mut reloads = 0;
    thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = changing.pool.client();
                    loop {
                        let left = left
                            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
                        let Ok(nth) = left else { return };
                        let body = if nth % 2 == 0 { hi(MODEL) } else { stream(MODEL) };
                        let reply = client.chat(&body);
                        assert_eq!(reply.status, 200, "{}", reply.text());
                        assert!(
                            reply.is_whole && reply.said().contains("You said"),
                            "{}",
                            reply.text()
                        );
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            clients.into_iter().for_each(|client| client.join().unwrap());
            is_over.store(true, Ordering::SeqCst);
        });
        while !is_over.load(Ordering::SeqCst) {
            let config = variants[reloads % variants.len()].clone();
            let count = config.subaccounts.len();
            changing.reload(config);
            eventually("it takes effect", || {
                changing.pool.live.relay().subaccounts().len() == count
            });
            reloads += 1;
        }
    });
    assert!(reloads >= 10, "{reloads}");
    assert!(changing.pool.demos.iter().all(|demo| demo.token_fetches() > 0));
}
