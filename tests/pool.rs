//! Several subaccounts as one pool: how requests are spread, what happens when some of them fail, where conversations stay.

#[path = "support/pool.rs"]
mod pools;
mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pools::{Pool, inferences, quick_pace};
use sap_ai_core_llm_proxy::demo::{Demo, Fault, Place};
use sap_ai_core_llm_proxy::live::Pace;
use serde_json::{Value, json};
use support::{KEY, eventually, hi, stream};

const MODEL: &str = "gpt-4o";
const CLAUDE: &str = "anthropic--claude-4.6-sonnet";
const GEMINI: &str = "gemini-2.5-flash";

// ── how requests are spread ──────────────────────────────────────────────────────────────────────

#[test]
fn requests_are_spread_evenly_over_subaccounts_first() {
    // gpt-5 has two deployments in each: what is counted is the subaccount.
    let pool = Pool::configured(3, |json| {
        let first = json["subAccounts"]["b"]["deployment_models"]["gpt-5"][0].take();
        json["subAccounts"]["b"]["deployment_models"]["gpt-5"] = first;
    });
    for turn in 0..60 {
        let body = if turn % 2 == 0 { hi("gpt-5") } else { stream("gpt-5") };
        assert_eq!(pool.chat(&body).status, 200);
    }
    assert_eq!(pool.counts(), [20, 20, 20]);
    let deployments = |demo| {
        let mut targets: Vec<_> = inferences(demo).into_iter().map(|seen| seen.target).collect();
        targets.sort();
        targets.chunk_by(|a, b| a == b).map(<[_]>::len).collect::<Vec<_>>()
    };
    assert_eq!(deployments(&pool.demos[0]), [10, 10], "then over its deployments");
    assert_eq!(deployments(&pool.demos[1]), [20]);
}

#[test]
fn weights_decide_who_gets_how_much() {
    let pool = Pool::configured(3, |json| {
        json["subAccounts"]["a"]["weight"] = json!(4);
        json["subAccounts"]["b"]["weight"] = json!(2);
    });
    for _ in 0..70 {
        assert_eq!(pool.chat(&hi(MODEL)).status, 200);
    }
    assert_eq!(pool.counts(), [40, 20, 10]);
}

#[test]
fn in_fallback_order_the_next_serves_what_the_first_cannot() {
    let pool = Pool::configured(3, |json| json["balance"] = json!("fallback"));
    for _ in 0..10 {
        assert_eq!(pool.chat(&hi(MODEL)).status, 200);
    }
    assert_eq!(pool.counts(), [10, 0, 0]);
    pool.demos[0].push(Fault::status(429).with_header("retry-after", "60"));
    for _ in 0..10 {
        assert_eq!(pool.chat(&stream(MODEL)).status, 200);
    }
    assert_eq!(pool.counts(), [11, 10, 0]);
}

/// The models of a subaccount that others do not have are served by it alone.
#[test]
fn the_pool_is_the_union_of_its_subaccounts() {
    let pool = Pool::configured(2, |json| {
        for (name, model) in [("a", MODEL), ("b", CLAUDE)] {
            let models = &mut json["subAccounts"][name]["deployment_models"];
            *models = json!({model: models[model].take(), GEMINI: models[GEMINI].take()});
        }
    });
    let list = pool.client().send("GET", "/v1/models", KEY, b"").json();
    let names: Vec<_> = list["data"].as_array().unwrap().iter().map(|m| &m["id"]).collect();
    assert_eq!(names, [GEMINI, MODEL, CLAUDE]);
    for (model, counts) in [(MODEL, [1, 0]), (CLAUDE, [0, 1]), (GEMINI, [1, 1])] {
        let before = pool.counts();
        assert_eq!(pool.chat(&hi(model)).status, 200);
        if model == GEMINI {
            assert_eq!(pool.chat(&hi(model)).status, 200);
        }
        assert_eq!(pool.since(&before), counts, "{model}");
    }
}

// ── failures ─────────────────────────────────────────────────────────────────────────────────────

/// One request of each API, and how its good answer is told.
fn requests() -> Vec<(&'static str, Value)> {
    let chat = "/v1/chat/completions";
    let messages = |model: &str, is_stream: bool| {
        let said = json!([{"role": "user", "content": "hi"}]);
        json!({"model": model, "max_tokens": 99, "messages": said, "stream": is_stream})
    };
    let responses =
        |model: &str, is_stream: bool| json!({"model": model, "input": "hi", "stream": is_stream});
    let mut all = vec![
        ("/v1/embeddings", json!({"model": "text-embedding-3-small", "input": "hi"})),
        (
            "/v1/rerank",
            json!({"model": "cohere-reranker-35", "query": "q", "documents": ["a", "b"]}),
        ),
    ];
    for model in [MODEL, "gpt-5", CLAUDE, GEMINI, "sonar-pro"] {
        all.extend([(chat, hi(model)), (chat, stream(model))]);
        for is_stream in [false, true] {
            all.push(("/v1/messages", messages(model, is_stream)));
            all.push(("/v1/responses", responses(model, is_stream)));
        }
    }
    all
}

#[test]
fn each_failure_of_one_is_made_good_by_the_other_for_every_api() {
    let faults = [
        Fault::status(408),
        Fault::status(429),
        Fault::status(429).with_header("retry-after", "30"),
        Fault::status(500),
        Fault::status(502),
        Fault::answer(
            503,
            "upstream connect error or disconnect/reset before headers. reset reason: connection failure",
        ),
        Fault::status(504),
        Fault::status(529),
        Fault::status(404),
        Fault::status(403),
        Fault { no_answer: true, ..Fault::default() },
        Fault { error_after: Some(0), ..Fault::default() },
    ];
    for fault in faults {
        let is_in_stream = fault.error_after.is_some();
        // A pool for each: what has failed rests.
        let pool = Pool::start(2);
        pool.demos[0].push(Fault { times: usize::MAX, ..fault.clone() });
        for (path, body) in requests() {
            if is_in_stream && body["stream"] != true {
                continue;
            }
            let reply = pool.client().send("POST", path, KEY, body.to_string().as_bytes());
            let what = format!("{path} {} {fault:?}", body["model"]);
            assert_eq!(reply.status, 200, "{what}: {}", reply.text());
            assert!(reply.is_whole, "{what}");
            assert!(!reply.text().contains("\"error\":{"), "{what}: {}", reply.text());
        }
        let counts = pool.counts();
        assert!(counts[0] > 0 && counts[1] >= counts[0], "{fault:?}: {counts:?}");
    }
}

/// A subaccount whose host is gone.
#[test]
fn a_subaccount_that_cannot_be_reached_is_passed_over() {
    let mut pool = Pool::start(2);
    assert_eq!([pool.chat(&hi(MODEL)).status, pool.chat(&hi(MODEL)).status], [200, 200]);
    drop(pool.demos.remove(0));
    for _ in 0..10 {
        assert_eq!(pool.chat(&hi(MODEL)).status, 200);
        assert_eq!(pool.chat(&stream(CLAUDE)).status, 200);
    }
    assert_eq!(pool.client().send("GET", "/ready", "", b"").status, 200, "one is enough");
}

#[test]
fn a_subaccount_without_an_access_token_is_passed_over() {
    let pool = Pool::start(2);
    let refused = Fault { at: Place::Token, times: usize::MAX, ..Fault::status(401) };
    pool.demos[0].push(refused);
    for _ in 0..6 {
        let reply = pool.chat(&hi(MODEL));
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    assert_eq!(pool.counts(), [0, 6]);
}

/// Also where it is not AI Core that says so.
#[test]
fn where_nobody_is_there_the_client_is_told_when_to_come_back() {
    let mut pool = Pool::start(2);
    pool.demos.clear();
    for body in [hi(MODEL), stream(MODEL)] {
        let reply = pool.chat(&body);
        assert_eq!((reply.status, reply.header("retry-after")), (502, "1"), "{}", reply.text());
    }
}

/// Where all fail, the client hears the last failure, and when to come back.
#[test]
fn where_all_fail_the_soonest_to_recover_is_told() {
    let pool = Pool::start(3);
    for (demo, seconds) in pool.demos.iter().zip(["70", "40", "55"]) {
        let limited = Fault::status(429).with_header("retry-after", seconds);
        demo.push(Fault { times: usize::MAX, ..limited });
    }
    let reply = pool.chat(&hi(MODEL));
    assert_eq!((reply.status, reply.header("retry-after")), (429, "40"));
    assert_eq!(pool.counts(), [1, 1, 1]);
    let reply = pool.chat(&stream(MODEL));
    let wait: u64 = reply.header("retry-after").parse().unwrap();
    assert!(reply.status == 429 && (30..=40).contains(&wait), "{} {wait}", reply.status);
    assert_eq!(reply.json()["error"]["code"], "429");
    assert_eq!(pool.counts(), [1, 1, 1], "nobody was asked again");
    // The quota of a model is of no concern to another.
    pool.demos.iter().for_each(Demo::forget_faults);
    assert_eq!(pool.chat(&hi(CLAUDE)).status, 200);
}

#[test]
fn at_most_so_many_are_tried() {
    for (tries, expected) in [(1, 1), (2, 2), (3, 3), (9, 4)] {
        let pool = Pool::configured(4, |json| json["limits"] = json!({"tries": tries}));
        for demo in &pool.demos {
            demo.push(Fault { times: usize::MAX, ..Fault::status(500) });
        }
        let reply = pool.chat(&hi(MODEL));
        assert_eq!(reply.status, 500);
        assert_eq!(pool.counts().iter().sum::<usize>(), expected, "{tries}");
    }
}

/// The work may have been done, and the client has a part of it.
#[test]
fn what_began_to_be_answered_is_asked_nowhere_else() {
    let pool = Pool::start(2);
    let broken = [
        Fault { cut_after: Some(3), ..Fault::default() },
        Fault { error_after: Some(3), ..Fault::default() },
    ];
    for (nth, fault) in broken.into_iter().enumerate() {
        for demo in &pool.demos {
            demo.push(fault.clone());
        }
        let before = pool.counts();
        let reply = pool.chat(&stream(MODEL));
        assert_eq!(reply.dones(), 0, "{nth}");
        assert!(reply.text().contains("\"error\""), "{nth}: {}", reply.text());
        assert_eq!(pool.since(&before).iter().sum::<usize>(), 1, "{nth}");
        pool.demos.iter().for_each(Demo::forget_faults);
    }
}

/// Every other answer of one is a failure: no client hears of it.
#[test]
fn one_that_flaps_is_nobodys_trouble() {
    let pool = Pool::start(2);
    for turn in 0..60 {
        if turn % 2 == 0 {
            let fault = Fault::status(if turn % 4 == 0 { 503 } else { 500 });
            pool.demos[0].push(fault);
        }
        let body = if turn % 3 == 0 { stream(MODEL) } else { hi(MODEL) };
        let reply = pool.chat(&body);
        assert_eq!(reply.status, 200, "{turn}: {}", reply.text());
    }
}

#[test]
fn one_that_was_told_to_wait_rests_and_comes_back() {
    let pool = Pool::start(2);
    pool.demos[0].push(Fault::status(429).with_header("retry-after", "2"));
    let began = Instant::now();
    for _ in 0..2 {
        assert_eq!(pool.chat(&hi(MODEL)).status, 200);
    }
    let mut before = pool.counts();
    assert_eq!(before[0], 1);
    while began.elapsed() < Duration::from_millis(1500) {
        std::thread::sleep(Duration::from_millis(10));
        assert_eq!(pool.chat(&hi(MODEL)).status, 200);
    }
    assert_eq!(pool.counts()[0], 1, "it is not asked while it rests");
    assert!(pool.counts()[1] > before[1]);
    eventually("it serves again", || {
        assert_eq!(pool.chat(&hi(MODEL)).status, 200);
        pool.counts()[0] > 1
    });
    assert!(began.elapsed() >= Duration::from_secs(2));
    before = pool.counts();
    for _ in 0..10 {
        assert_eq!(pool.chat(&hi(MODEL)).status, 200);
    }
    assert_eq!(pool.since(&before), [5, 5], "as before");
}

/// One request finds out whether it is well again, and the others keep away until that is known.
#[test]
fn one_request_at_a_time_finds_out_whether_it_serves_again() {
    let pool = Pool::start(2);
    pool.demos[0].push(Fault::status(429).with_header("retry-after", "1"));
    while pool.counts()[0] == 0 {
        assert_eq!(pool.chat(&hi(MODEL)).status, 200);
    }
    std::thread::sleep(Duration::from_millis(1100));
    pool.demos[0].push(Fault { delay_ms: 1500, ..Fault::default() });
    let before = pool.counts();
    let slow = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..12).map(|_| scope.spawn(|| pool.chat(&hi(MODEL)).status)).collect();
        asked.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(slow, [200; 12]);
    assert_eq!(pool.since(&before)[0], 1);
}

/// A stream may take minutes: that it has begun is enough.
#[test]
fn one_that_begins_to_answer_serves_again() {
    let pool = Pool::start(2);
    pool.demos[0].push(Fault::status(429).with_header("retry-after", "1"));
    while pool.counts()[0] == 0 {
        assert_eq!(pool.chat(&hi(MODEL)).status, 200);
    }
    std::thread::sleep(Duration::from_millis(1100));
    let slow = Fault { pause_ms: Some(500), frames: Some(30), ..Fault::default() };
    pool.demos[0].push(slow);
    let mut clients = vec![];
    while pool.counts()[0] == 1 {
        let mut client = pool.client();
        client.begin_chat(&stream(MODEL));
        assert_eq!(client.head().status, 200);
        assert!(client.chunk().is_some_and(|chunk| !chunk.is_empty()));
        clients.push(client);
    }
    let before = pool.counts();
    for _ in 0..6 {
        assert_eq!(pool.chat(&hi(MODEL)).status, 200);
    }
    assert_eq!(pool.since(&before), [3, 3]);
}

// ── where conversations stay ─────────────────────────────────────────────────────────────────────

/// Who answered each of the requests that came since.
fn who(pool: &Pool, before: &[usize]) -> usize {
    let since = pool.since(before);
    assert_eq!(since.iter().sum::<usize>(), 1, "{since:?}");
    since.iter().position(|count| *count == 1).unwrap()
}

#[test]
fn a_conversation_stays_for_twenty_turns_and_moves_where_it_has_to() {
    let pool = Pool::start(4);
    for (path, model) in [
        ("/v1/chat/completions", MODEL),
        ("/v1/chat/completions", GEMINI),
        ("/v1/messages", CLAUDE),
        ("/v1/messages", MODEL),
        ("/v1/responses", CLAUDE),
    ] {
        let mut places = vec![];
        for nth in 0..3 {
            let key = if path == "/v1/responses" { "input" } else { "messages" };
            let mut said =
                vec![json!({"role": "user", "content": format!("{path} {model} {nth}")})];
            let mut home = None;
            for turn in 0..20 {
                let mut body = json!({"model": model, key: said, "stream": turn % 2 == 0});
                if path == "/v1/messages" {
                    body["max_tokens"] = json!(99);
                }
                let before = pool.counts();
                let reply = pool.client().send("POST", path, KEY, body.to_string().as_bytes());
                assert_eq!(reply.status, 200, "{}", reply.text());
                let place = who(&pool, &before);
                assert_eq!(*home.get_or_insert(place), place, "{path} {model} turn {turn}");
                // Others in between do not disturb it.
                assert_eq!(pool.chat(&hi(model)).status, 200);
                said.push(json!({"role": "assistant", "content": "so"}));
                said.push(json!({"role": "user", "content": format!("go on {turn}")}));
            }
            places.push(home.unwrap());
            // Where it is fails: it moves, and stays there, too.
            let place = home.unwrap();
            pool.demos[place].push(Fault::status(429).with_header("retry-after", "1"));
            let mut moved = None;
            for turn in 0..3 {
                let mut body = json!({"model": model, key: said});
                if path == "/v1/messages" {
                    body["max_tokens"] = json!(99);
                }
                let before = pool.counts();
                let reply = pool.client().send("POST", path, KEY, body.to_string().as_bytes());
                assert_eq!(reply.status, 200, "{}", reply.text());
                let since = pool.since(&before);
                let served = (0..4).find(|at| since[*at] == 1 && *at != place).unwrap();
                assert_eq!(
                    *moved.get_or_insert(served),
                    served,
                    "{path} {model} moved turn {turn}"
                );
            }
            eventually("it has rested", || {
                let before = pool.counts();
                assert_eq!(pool.chat(&hi(model)).status, 200);
                pool.since(&before)[place] == 1
            });
        }
        places.sort_unstable();
        places.dedup();
        assert!(places.len() > 1, "{path} {model}: all conversations are in one place");
    }
}

#[test]
fn what_its_client_gave_a_name_stays_from_its_first_turn_on() {
    let pool = Pool::start(3);
    for key in ["x", "y", "z"] {
        let mut home = None;
        for turn in 0..6 {
            let mut body = if turn % 2 == 0 { hi(MODEL) } else { stream(MODEL) };
            body["prompt_cache_key"] = json!(key);
            body["messages"][0]["content"] = json!(format!("{turn}"));
            let before = pool.counts();
            assert_eq!(pool.chat(&body).status, 200);
            let place = who(&pool, &before);
            assert_eq!(*home.get_or_insert(place), place, "{key} {turn}");
        }
    }
    assert_eq!(pool.counts(), [6, 6, 6], "each took a turn");
}

#[test]
fn a_response_goes_on_where_it_is() {
    let pool = Pool::start(3);
    // Kept by AI Core, and kept here.
    for model in ["gpt-5", CLAUDE, GEMINI] {
        let ask = |previous: &Value, input: String| {
            let body = json!({"model": model, "input": input, "previous_response_id": previous});
            let body = body.to_string();
            pool.client().send("POST", "/v1/responses", KEY, body.as_bytes()).json()
        };
        let mut home = None;
        let mut previous = Value::Null;
        for turn in 0..5 {
            let before = pool.counts();
            let response = ask(&previous, format!("{model} turn {turn}"));
            assert_eq!(response["status"], "completed", "{response}");
            previous = response["id"].clone();
            let place = who(&pool, &before);
            assert_eq!(*home.get_or_insert(place), place, "{model} {turn}");
            let before = pool.counts();
            let other = ask(&Value::Null, "another".into());
            assert_eq!(
                (who(&pool, &before), &other["status"]),
                (who(&pool, &before), &json!("completed"))
            );
        }
    }
}

/// Any of the subaccounts can tell what a name of one's own stands for.
#[test]
fn a_name_of_ones_own_is_looked_up_where_it_can_be() {
    let mut pool = Pool::configured(2, |json| {
        for subaccount in json["subAccounts"].as_object_mut().unwrap().values_mut() {
            let models = &mut subaccount["deployment_models"];
            *models = json!({"mine": models[CLAUDE].take()});
        }
    });
    drop(pool.demos.remove(0));
    let reply = pool.chat(&hi("mine"));
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(inferences(&pool.demos[0])[0].target.ends_with("/invoke"));
}

// ── quotas ───────────────────────────────────────────────────────────────────────────────────────

/// AI Core tells how many requests a minute it takes: who has used them up is not asked, and no client hears of a limit.
#[test]
fn the_quota_steers_away_before_the_limit_is_met() {
    let pool = Pool::start(3);
    for (demo, per_minute) in pool.demos.iter().zip([5, 10, 40]) {
        demo.limit(MODEL, per_minute);
    }
    pool.keep();
    for turn in 0..55 {
        let reply = pool.chat(&hi(MODEL));
        assert_eq!(reply.status, 200, "{turn}: {}", reply.text());
    }
    assert_eq!(pool.counts(), [5, 10, 40]);
    // Now all are full: the first that is asked says so.
    assert_eq!(pool.chat(&hi(MODEL)).status, 429);
    assert_eq!(pool.chat(&hi(CLAUDE)).status, 200, "the quota is the model's");
}

// ── discovery ────────────────────────────────────────────────────────────────────────────────────

/// A pool that asks what is deployed.
fn discovering(count: usize, edit: impl FnOnce(&mut Value)) -> Pool {
    Pool::configured(count, |json| {
        for subaccount in json["subAccounts"].as_object_mut().unwrap().values_mut() {
            subaccount.as_object_mut().unwrap().remove("deployment_models");
        }
        edit(json);
    })
}

fn models(pool: &Pool) -> Vec<String> {
    let list = pool.client().send("GET", "/v1/models", KEY, b"").json();
    let models = list["data"].as_array().unwrap().iter();
    models.map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_is_deployed_is_found_and_what_is_stopped_goes() {
    let pool = discovering(2, |json| json["orchestration"] = json!("off"));
    pool.demos.iter().for_each(Demo::undeploy_all);
    pool.demos[0].deploy("d1", MODEL);
    pool.demos[1].deploy("d2", CLAUDE);
    pool.keep();
    assert_eq!(models(&pool), [MODEL, CLAUDE]);
    for model in [MODEL, CLAUDE, "claude-sonnet-4-6"] {
        assert_eq!(pool.chat(&hi(model)).status, 200);
    }
    pool.demos[0].deploy("d3", GEMINI);
    pool.demos[1].deploy("d4", MODEL);
    eventually("new ones appear", || models(&pool) == [GEMINI, MODEL, CLAUDE]);
    let before = pool.counts();
    (0..6).for_each(|_| assert_eq!(pool.chat(&hi(MODEL)).status, 200));
    assert_eq!(pool.since(&before), [3, 3], "in both");
    pool.demos[1].set_status("d2", "STOPPED");
    eventually("a stopped one goes", || models(&pool) == [GEMINI, MODEL]);
    assert_eq!(pool.chat(&hi(CLAUDE)).status, 404);
    // While the AI API is down, what was known serves on.
    for demo in &pool.demos {
        demo.push(Fault { at: Place::Deployments, times: usize::MAX, ..Fault::status(503) });
    }
    let asked = |demo: &Demo| {
        demo.seen().iter().filter(|seen| seen.target.starts_with("/v2/lm/deployments")).count()
    };
    let before = asked(&pool.demos[1]);
    eventually("it is asked again", || asked(&pool.demos[1]) > before + 3);
    assert_eq!(models(&pool), [GEMINI, MODEL]);
    assert_eq!(pool.chat(&stream(MODEL)).status, 200);
}

#[test]
fn a_deployment_that_is_gone_is_looked_for_at_once() {
    let pool = discovering(1, |json| json["orchestration"] = json!("off"));
    pool.demos.iter().for_each(Demo::undeploy_all);
    pool.demos[0].deploy("d1", MODEL);
    // Only a request that finds nothing there brings this about before five minutes are over.
    let pace = Pace { discovery: Duration::from_secs(300), soon: Duration::ZERO, ..quick_pace() };
    pool.keep_at(pace);
    pool.demos[0].undeploy("d1");
    pool.demos[0].deploy("d2", MODEL);
    assert_eq!(pool.chat(&hi(MODEL)).status, 404);
    eventually("the other is found", || pool.chat(&hi(MODEL)).status == 200);
}

#[test]
fn orchestration_serves_what_has_no_deployment_of_its_own() {
    const OPUS: &str = "anthropic--claude-4.6-opus";
    for (use_of_it, expected) in [("fallback", 200), ("off", 404)] {
        let pool = discovering(2, |json| {
            json["orchestration"] = json!(use_of_it);
            json["aliases"] = json!({GEMINI: MODEL});
        });
        pool.demos.iter().for_each(Demo::undeploy_all);
        pool.demos[0].deploy("d1", MODEL);
        pool.demos[1].deploy("d2", "");
        pool.keep();
        let reply = pool.chat(&hi(OPUS));
        assert_eq!(reply.status, expected, "{}", reply.text());
        assert_eq!(pool.chat(&stream(OPUS)).status, expected);
        let before = pool.counts();
        (0..4).for_each(|_| assert_eq!(pool.chat(&hi(MODEL)).status, 200));
        assert_eq!(pool.since(&before), [4, 0], "its own deployment comes first");
        let before = pool.counts();
        assert_eq!(pool.chat(&hi(GEMINI)).status, 200);
        assert_eq!(pool.since(&before), [1, 0], "and what somebody wrote");
        if use_of_it == "fallback" {
            assert!(models(&pool).contains(&OPUS.to_owned()));
            let body = json!({"model": "text-embedding-3-small", "input": "hi"}).to_string();
            let reply = pool.client().send("POST", "/v1/embeddings", KEY, body.as_bytes());
            assert_eq!(reply.status, 200, "{}", reply.text());
        }
    }
}

#[test]
fn what_is_deployed_changes_while_requests_are_served() {
    let pool = discovering(2, |json| json["orchestration"] = json!("off"));
    pool.demos.iter().for_each(Demo::undeploy_all);
    pool.demos[0].deploy("dhome", MODEL);
    pool.keep();
    let is_over = AtomicBool::new(false);
    let served = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for nth in 0..3 {
            let (pool, is_over, served) = (&pool, &is_over, &served);
            scope.spawn(move || {
                let mut client = pool.client();
                while !is_over.load(Ordering::SeqCst) {
                    let body = if nth % 2 == 0 { hi(MODEL) } else { stream(MODEL) };
                    let reply = client.chat(&body);
                    assert_eq!(reply.status, 200, "{}", reply.text());
                    served.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for turn in 0..10 {
            let (demo, id) = if turn % 2 == 0 { (1, "dcomes") } else { (0, "dgoes") };
            pool.demos[demo].deploy(id, MODEL);
            let count = || pool.live.relay().models.find(MODEL).unwrap().0.deployments.len();
            eventually("it is found", || count() == 2);
            pool.demos[demo].undeploy(id);
            eventually("it is gone", || count() == 1);
        }
        is_over.store(true, Ordering::SeqCst);
    });
    assert!(served.load(Ordering::SeqCst) > 100);
    assert!(pool.counts()[1] > 0);
}

#[test]
fn lists_of_models_say_what_the_catalogue_says() {
    let pool = discovering(1, |json| json["aliases"] = json!({"mine": MODEL}));
    pool.demos[0].retire(MODEL, "2027-03-01T00:00:00Z");
    pool.keep();
    for name in [MODEL, "mine"] {
        let target = format!("/v1/models/{name}");
        let model = pool.client().send("GET", &target, KEY, b"").json();
        assert_eq!((&model["id"], &model["context_length"]), (&json!(name), &json!(128_000)));
        assert_eq!(
            (&model["deprecated"], &model["retirement_date"]),
            (&json!(true), &json!("2027-03-01"))
        );
        assert!(model["capabilities"].as_array().unwrap().contains(&json!("text-generation")));
    }
}
