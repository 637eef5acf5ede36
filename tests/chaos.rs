//! Chaos: four subaccounts that fail at random under 64 clients. Every request ends in a right answer or in an honest
//! error, and afterwards nothing is left of it: no thread, no descriptor, no memory.
//!
//! The faults and requests are drawn from a seed (`CHAOS_SEED`), the run is bounded (`CHAOS_SECONDS`, 60 unless set). The
//! proxy is the binary, in a process of its own, so that what it takes is its own. `--nocapture` shows the figures.

#![cfg(target_os = "linux")]

#[allow(dead_code)]
#[path = "attacks/harness.rs"]
mod harness;
#[path = "support/pool.rs"]
mod pools;
mod support;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Proxy, Setup};
use rustix::process::{Signal, kill_process};
use sap_ai_core_llm_proxy::demo::{Demo, Fault, Place};
use serde_json::{Value, json};
use support::{Client, KEY, Reply, quick};

const CLIENTS: u64 = 64;
const SUBACCOUNTS: usize = 4;

#[test]
fn nothing_but_right_answers_and_honest_errors() {
    let seed = number("CHAOS_SEED", 20261123);
    let seconds = number("CHAOS_SECONDS", 60).max(8);
    let demos: Vec<_> = (0..SUBACCOUNTS).map(|_| Demo::start(quick()).unwrap()).collect();
    let mut config = pools::config_of(&demos);
    config["limits"] = json!({"upstream_idle_ms_max": 3000});
    let mut proxy = Proxy::start(Setup {
        config: Some(config),
        args: vec!["--log-level", "off"],
        ..Setup::default()
    });
    // The first quarter warms up: what is there after it is what there may be after the rest.
    let mut tally = run(&proxy, &demos, seed, Duration::from_secs(seconds / 4));
    let warm = proxy.settled();
    let rest = run(&proxy, &demos, seed + 1, Duration::from_secs(seconds - seconds / 4));
    rest.into_iter().for_each(|(what, count)| *tally.entry(what).or_default() += count);
    proxy.alive();
    let done = proxy.settled();
    eprintln!("chaos, seed {seed}, {seconds} s, {CLIENTS} clients: {tally:#?}");
    eprintln!("after warming up {warm:?}, at the end {done:?}");

    let count = |start: &str| -> usize {
        tally.iter().filter(|(what, _)| what.starts_with(start)).map(|(_, count)| count).sum()
    };
    assert_eq!(count("lie"), 0, "{tally:#?}");
    assert!(count("right") > 1000 && count("right") > 4 * count("honest"), "{tally:#?}");
    assert!(done.threads <= warm.threads + 4, "threads: {warm:?}, {done:?}");
    // Connections to AI Core stay open, as many as were needed at once.
    assert!(done.fds <= warm.fds + CLIENTS as usize, "descriptors: {warm:?}, {done:?}");
    assert!(done.rss_kib <= warm.rss_kib + 24 * 1024, "memory: {warm:?}, {done:?}");
}

type Tally = BTreeMap<String, usize>;

/// Faults and requests for so long; then the faults are over, and all serve again.
fn run(proxy: &Proxy, demos: &[Demo], seed: u64, time: Duration) -> Tally {
    let tally = Mutex::new(Tally::new());
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| trouble(proxy, demos, seed, &is_over));
        for nth in 0..CLIENTS {
            let (tally, is_over) = (&tally, &is_over);
            scope.spawn(move || {
                let mut random = Random(seed ^ (nth + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
                let mut client = connect(proxy);
                while !is_over.load(Ordering::SeqCst) {
                    let asked = Asked::draw(&mut random);
                    let reply =
                        client.send("POST", asked.path, KEY, asked.body.to_string().as_bytes());
                    *tally.lock().unwrap().entry(asked.verdict(&reply)).or_default() += 1;
                    if !reply.is_whole || reply.header("connection") == "close" {
                        client = connect(proxy);
                    }
                }
            });
        }
        thread::sleep(time);
        is_over.store(true, Ordering::SeqCst);
    });
    demos.iter().for_each(Demo::forget_faults);
    let healed = Instant::now();
    let mut client = connect(proxy);
    let mut random = Random(seed);
    let mut in_a_row = 0;
    // What rests has up to a minute to do so, but nothing does that others can serve for.
    while in_a_row < 50 {
        assert!(healed.elapsed() < Duration::from_secs(20), "it does not recover");
        let asked = Asked::draw(&mut random);
        let reply = client.send("POST", asked.path, KEY, asked.body.to_string().as_bytes());
        let is_right = asked.verdict(&reply).starts_with("right");
        in_a_row = if is_right { in_a_row + 1 } else { 0 };
    }
    tally.into_inner().unwrap()
}

fn connect(proxy: &Proxy) -> Client {
    Client::to(([127, 0, 0, 1], proxy.port).into())
}

/// Faults at random, until it is over.
fn trouble(proxy: &Proxy, demos: &[Demo], seed: u64, is_over: &AtomicBool) {
    let mut random = Random(seed);
    let mut count = 0;
    while !is_over.load(Ordering::SeqCst) {
        let demo = &demos[random.below(demos.len())];
        match random.below(100) {
            0 => demo.revoke_tokens(),
            1 => kill_process(proxy.pid(), Signal::HUP).unwrap(),
            // One that is down for a while.
            2 => demo.push(Fault { times: 150, ..Fault::status(503) }),
            3 => demo.push(Fault { at: Place::Token, times: 3, ..Fault::status(500) }),
            _ => demo.push(fault(&mut random)),
        }
        count += 1;
        if count % 500 == 0 {
            // What nobody has run into is not kept for ever.
            demos.iter().for_each(Demo::forget_faults);
        }
        thread::sleep(Duration::from_millis(5 + random.below(20) as u64));
    }
}

fn fault(random: &mut Random) -> Fault {
    let statuses = [408, 424, 429, 500, 502, 503, 504, 529];
    let usual = Fault { times: 1 + random.below(3), ..Fault::default() };
    let after = Some(random.below(6));
    match random.below(12) {
        0..=3 => Fault { status: statuses[random.below(statuses.len())], ..usual },
        4 => Fault { status: 429, ..usual }.with_header("retry-after", "1"),
        5 => Fault { no_answer: true, ..usual },
        6 => Fault { cut_after: after, ..usual },
        7 => Fault { error_after: after, ..usual },
        8 => Fault { end_after: after, ..usual },
        9 => Fault { delay_ms: random.below(300) as u64, ..usual },
        10 => Fault { pieces: vec![1 + random.below(40)], close: true, ..usual },
        _ => Fault { bytes: Some(random.below(900)), ..usual },
    }
}

/// One request, and the word that its right answer holds.
struct Asked {
    path: &'static str,
    body: Value,
    word: String,
    is_stream: bool,
}

impl Asked {
    fn draw(random: &mut Random) -> Asked {
        let word = format!("w{:016x}", random.next());
        let said = json!([{"role": "user", "content": format!("say {word} again")}]);
        let is_stream = random.below(2) == 0;
        let chats =
            ["gpt-4o", "gpt-5", "anthropic--claude-4.6-sonnet", "gemini-2.5-flash", "sonar-pro"];
        let model = chats[random.below(chats.len())];
        let (path, body) = match random.below(8) {
            0..=3 => (
                "/v1/chat/completions",
                json!({"model": model, "messages": said, "stream": is_stream}),
            ),
            4 | 5 => (
                "/v1/messages",
                json!({"model": model, "messages": said, "max_tokens": 999, "stream": is_stream}),
            ),
            6 => (
                "/v1/responses",
                json!({"model": model, "input": format!("say {word} again"), "stream": is_stream, "store": false}),
            ),
            _ => ("/v1/embeddings", json!({"model": "text-embedding-3-small", "input": word})),
        };
        let is_stream = is_stream && path != "/v1/embeddings";
        Asked { path, body, word, is_stream }
    }

    /// `right`, `honest` or a `lie`, and what it was.
    fn verdict(&self, reply: &Reply) -> String {
        let (path, text) = (self.path, String::from_utf8_lossy(&reply.body).into_owned());
        let lie = |why: &str| format!("lie: {why}: {path} {} {text}", reply.status);
        if reply.status != 200 {
            let error: Value = serde_json::from_str(&text).unwrap_or_default();
            let is_told = error
                .pointer("/error/message")
                .is_some_and(|m| m.as_str().is_some_and(|m| !m.is_empty()));
            let is_ours =
                matches!(reply.status, 404 | 408 | 424 | 429 | 500 | 502 | 503 | 504 | 529);
            let wait = reply.header("retry-after");
            return match is_told && is_ours && (wait.is_empty() || wait.parse::<u32>().is_ok()) {
                true => format!("honest: {}", reply.status),
                false => lie("no honest error"),
            };
        }
        let (has_end, has_failed) = match path {
            _ if !self.is_stream => (reply.is_whole, false),
            "/v1/messages" => (text.contains("event: message_stop"), text.contains("event: error")),
            "/v1/responses" => (
                text.contains("event: response.completed"),
                text.contains("event: response.failed"),
            ),
            _ => (reply.dones() == 1, text.contains("data: {\"error\"")),
        };
        match (has_end, has_failed) {
            (true, false) if !self.is_right(&text) => lie("wrong answer"),
            (true, false) if !reply.is_whole => lie("an end that is none"),
            (true, false) => "right".to_owned(),
            (false, true) => "honest: in the stream".to_owned(),
            (true, true) => lie("a failure and a good end"),
            (false, false) => lie("no end"),
        }
    }

    fn is_right(&self, text: &str) -> bool {
        if self.path == "/v1/embeddings" {
            let reply: Value = serde_json::from_str(text).unwrap_or_default();
            return reply["data"][0]["embedding"]
                .as_array()
                .is_some_and(|vector| vector.len() == 1536);
        }
        if !self.is_stream {
            return text.contains(&self.word);
        }
        let frames = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let frames = frames.filter_map(|data| serde_json::from_str::<Value>(data).ok());
        let pieces = frames.filter_map(|frame| {
            let places = ["/choices/0/delta/content", "/delta/text", "/delta"];
            places.iter().find_map(|place| Some(frame.pointer(place)?.as_str()?.to_owned()))
        });
        pieces.collect::<String>().contains(&self.word)
    }
}

/// Numbers from a seed (xorshift, Marsaglia 2003).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}
