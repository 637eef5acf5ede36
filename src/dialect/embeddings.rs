//! Embeddings for OpenAI's clients, of models whose deployments are asked for them otherwise (dossier 5b.9, 5c, 5d, 6).
//!
//! A deployment is always asked for lists of numbers. They go on as they are written, or as base64, as the client asks;
//! counts of tokens are those of AI Core, added up. Where a deployment takes one text at a time, there is a call for each.

use std::borrow::Cow;
use std::fmt::Debug;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::chat::Usage;
use crate::envelope::{Envelope, quoted};
use crate::error::Error;
use crate::{media, upstream_error};

/// The most texts of one request; OpenAI's own limit.
const TEXTS_MAX: usize = 2048;

/// How deployments are asked for embeddings.
#[derive(Debug)]
pub struct Shape {
    /// How many texts one call may have.
    texts_max: usize,
    /// Keys of a request that it can carry, beside [`KNOWN`].
    takes: &'static [&'static str],
    /// The body of a call for these texts, of the deployed model of this name.
    encode: fn(&Asked, &[String], &str) -> Value,
    decode: for<'a> fn(&'a [u8]) -> serde_json::Result<Answer<'a>>,
}

/// Titan by `/invoke`.
pub const TITAN: Shape =
    Shape { texts_max: 1, takes: &["normalize"], encode: titan, decode: titan_answer };

/// Gemini by `:predict`. One text a call is the older model's limit, and the newer one's too.
pub const GEMINI: Shape =
    Shape { texts_max: 1, takes: TASKS, encode: gemini, decode: gemini_answer };

/// NVIDIA's models, which have to be told what a text is for.
pub const NVIDIA: Shape = Shape {
    texts_max: TEXTS_MAX,
    takes: &[TASKS[0], TASKS[1], TASKS[2], "truncate"],
    encode: nvidia,
    decode: list_answer,
};

/// Any vendor's models by `/v2/embeddings`.
pub const ORCHESTRATION: Shape = Shape {
    texts_max: TEXTS_MAX,
    takes: &[TASKS[0], TASKS[1], TASKS[2], "normalize"],
    encode: orchestration,
    decode: orchestration_answer,
};

/// OpenAI's own keys.
const KNOWN: &[&str] = &["model", "input", "dimensions", "encoding_format", "user"];
/// What clients call the purpose of a text: NVIDIA's and Cohere's clients, Jina's, Google's.
const TASKS: &[&str] = &["input_type", "task", "task_type"];

/// A client's request.
#[derive(Debug)]
pub struct Asked {
    shape: &'static Shape,
    texts: Vec<String>,
    /// The texts came in a list.
    is_list: bool,
    dimensions: Option<u64>,
    /// Vectors are wanted as base64.
    is_packed: bool,
    task: Option<String>,
    truncate: Option<String>,
    normalize: Option<bool>,
    /// What the deployment cannot be told.
    pub dropped: Vec<Cow<'static, str>>,
}

impl Asked {
    /// Reads a request for deployments of this shape.
    pub fn decode(body: &Envelope, shape: &'static Shape) -> Result<Asked, Error> {
        let raw = body.raw("input").unwrap_or(b"null");
        let texts = texts(raw)?;
        let dimensions = body.get("dimensions", "a whole number")?;
        if dimensions == Some(0) {
            return Err(Error::bad_request("dimensions", "at least 1 is expected"));
        }
        let known: Vec<&str> = KNOWN.iter().chain(shape.takes).copied().collect();
        Ok(Asked {
            shape,
            texts,
            is_list: raw.first() == Some(&b'['),
            dimensions,
            is_packed: is_packed(body)?,
            task: task(body)?,
            truncate: body.get("truncate", "NONE, START or END")?,
            normalize: body.get("normalize", "true or false")?,
            dropped: body.names_beyond(&known).into_iter().map(Cow::Owned).collect(),
        })
    }

    /// The bodies of the calls to make, one after the other.
    pub fn bodies(&self, model: &str) -> impl Iterator<Item = Vec<u8>> {
        let calls = self.texts.chunks(self.shape.texts_max);
        calls.map(move |texts| (self.shape.encode)(self, texts, model).to_string().into_bytes())
    }

    /// The reply, with nothing in it yet.
    pub fn reply(&self) -> Reply<'_> {
        Reply { asked: self, count: 0, data: vec![], prompt_tokens: 0, total_tokens: 0 }
    }

    fn purpose(&self) -> Option<Purpose> {
        let task = self.task.as_deref()?.to_ascii_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| task.contains(word));
        match () {
            () if says(&["query", "question"]) => Some(Purpose::Query),
            () if says(&["passage", "document"]) => Some(Purpose::Passage),
            () => None,
        }
    }
}

/// What a text is for, where a client says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To search with.
    Query,
    /// To be found.
    Passage,
}

/// The texts of `input`.
fn texts(raw: &[u8]) -> Result<Vec<String>, Error> {
    let expected = || Error::bad_request("input", "a string or a list of strings is expected");
    match raw.first() {
        Some(b'"') => {
            let text: String = serde_json::from_slice(raw).map_err(|_| expected())?;
            Ok(vec![not_empty(text, || "input".into())?])
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_slice(raw).map_err(|_| expected())?;
            if items.is_empty() || items.len() > TEXTS_MAX {
                let why = format!("{} texts; 1 to {TEXTS_MAX} are expected", items.len());
                return Err(Error::bad_request("input", why));
            }
            items.into_iter().enumerate().map(|(index, item)| text(item.get(), index)).collect()
        }
        _ => Err(expected()),
    }
}

/// The text at this place of the list.
fn text(json: &str, index: usize) -> Result<String, Error> {
    if json.starts_with(|c: char| c == '[' || c == '-' || c.is_ascii_digit()) {
        return Err(Error::Refused {
            path: "input".into(),
            what: "token ids are understood by OpenAI's models only; send the texts themselves \
                   (LangChain: check_embedding_ctx_length=False)"
                .into(),
        });
    }
    let path = || format!("input[{index}]");
    let text = serde_json::from_str(json)
        .map_err(|_| Error::bad_request(path(), "a string is expected"))?;
    not_empty(text, path)
}

fn not_empty(text: String, path: impl Fn() -> String) -> Result<String, Error> {
    if text.is_empty() {
        return Err(Error::bad_request(path(), "empty; there is nothing to embed"));
    }
    Ok(text)
}

fn is_packed(body: &Envelope) -> Result<bool, Error> {
    let expected = "float or base64";
    match body.get::<String>("encoding_format", expected)?.as_deref() {
        None | Some("float") => Ok(false),
        Some("base64") => Ok(true),
        Some(_) => Err(Error::bad_request("encoding_format", format!("{expected} is expected"))),
    }
}

fn task(body: &Envelope) -> Result<Option<String>, Error> {
    for key in TASKS {
        if let Some(task) = body.get(key, "a string such as query or passage")? {
            return Ok(Some(task));
        }
    }
    Ok(None)
}

/// A reply, filled call by call.
#[derive(Debug)]
pub struct Reply<'a> {
    asked: &'a Asked,
    /// How many vectors are in it.
    count: usize,
    data: Vec<u8>,
    prompt_tokens: u64,
    total_tokens: u64,
}

impl Reply<'_> {
    /// Adds what the next call was answered with.
    pub fn add(&mut self, body: &[u8]) -> Result<(), Error> {
        let bad = || {
            upstream_error::from_event(body).unwrap_or_else(|| Error::BadReply {
                what: "SAP AI Core's answer does not hold the embeddings that were asked for."
                    .into(),
            })
        };
        let answer = (self.asked.shape.decode)(body).map_err(|_| bad())?;
        let missing = self.asked.texts.len() - self.count;
        if answer.vectors.len() != missing.min(self.asked.shape.texts_max) {
            return Err(bad());
        }
        for vector in answer.vectors {
            self.push(vector).map_err(|_| bad())?;
        }
        self.prompt_tokens += answer.prompt_tokens;
        self.total_tokens += answer.total_tokens;
        Ok(())
    }

    fn push(&mut self, vector: &RawValue) -> serde_json::Result<()> {
        let numbers: Vec<f32> = serde_json::from_str(vector.get())?;
        let comma = if self.count == 0 { "" } else { "," };
        let head = format!(r#"{comma}{{"object":"embedding","index":{},"embedding":"#, self.count);
        self.data.extend_from_slice(head.as_bytes());
        if self.asked.is_packed {
            let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
            self.data.extend_from_slice(quoted(&media::base64(&bytes)).as_bytes());
        } else {
            let digits = vector.get().bytes().filter(|b| !b.is_ascii_whitespace());
            self.data.extend(digits);
        }
        self.data.push(b'}');
        self.count += 1;
        Ok(())
    }

    /// How large it is.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// The error of the call that comes next. Where calls have one text each, it says which text it is about.
    pub fn failed(&self, mut error: Error) -> Error {
        if let Error::Upstream { status: 400 | 422, param: param @ None, .. } = &mut error
            && self.asked.is_list
            && self.asked.shape.texts_max == 1
        {
            *param = Some(format!("input[{}]", self.count));
        }
        error
    }

    /// The body for the client, who knows the model by this name; and what it cost.
    pub fn finish(self, model: &str) -> (Vec<u8>, Usage) {
        let usage = json!({"prompt_tokens": self.prompt_tokens, "total_tokens": self.total_tokens});
        let end = format!(r#"],"model":{},"usage":{usage}}}"#, quoted(model));
        let body = [br#"{"object":"list","data":["#, &self.data[..], end.as_bytes()].concat();
        (body, Usage { input: self.prompt_tokens, ..Usage::default() })
    }
}

/// The answer to one call.
#[derive(Debug)]
struct Answer<'a> {
    /// In the order of the texts.
    vectors: Vec<&'a RawValue>,
    prompt_tokens: u64,
    total_tokens: u64,
}

/// Those of the fields that have a value.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let given = fields.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(given.map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>())
}

fn titan(asked: &Asked, texts: &[String], _: &str) -> Value {
    object([
        ("inputText", json!(texts.first())),
        ("dimensions", json!(asked.dimensions)),
        ("normalize", json!(asked.normalize)),
    ])
}

fn titan_answer(body: &[u8]) -> serde_json::Result<Answer<'_>> {
    #[derive(Deserialize)]
    struct Titan<'a> {
        #[serde(borrow)]
        embedding: &'a RawValue,
        #[serde(default, rename = "inputTextTokenCount")]
        tokens: u64,
    }
    let Titan { embedding, tokens } = serde_json::from_slice(body)?;
    Ok(Answer { vectors: vec![embedding], prompt_tokens: tokens, total_tokens: tokens })
}

fn gemini(asked: &Asked, texts: &[String], _: &str) -> Value {
    let task = asked.task.as_deref().map(gemini_task);
    let instance = |text: &String| object([("content", json!(text)), ("task_type", json!(task))]);
    let parameters = asked.dimensions.map(|n| json!({"outputDimensionality": n}));
    object([("instances", texts.iter().map(instance).collect()), ("parameters", json!(parameters))])
}

/// Google's word for a purpose: its own as they are, those of others by what they mean.
fn gemini_task(task: &str) -> String {
    match task {
        "query" | "search_query" | "retrieval.query" => "RETRIEVAL_QUERY".into(),
        "passage" | "document" | "search_document" | "retrieval.passage" => {
            "RETRIEVAL_DOCUMENT".into()
        }
        "text-matching" | "similarity" => "SEMANTIC_SIMILARITY".into(),
        own => own.to_ascii_uppercase(),
    }
}

fn gemini_answer(body: &[u8]) -> serde_json::Result<Answer<'_>> {
    #[derive(Deserialize)]
    struct Gemini<'a> {
        #[serde(borrow)]
        predictions: Vec<Prediction<'a>>,
    }
    #[derive(Deserialize)]
    struct Prediction<'a> {
        #[serde(borrow)]
        embeddings: Vector<'a>,
    }
    #[derive(Deserialize)]
    struct Vector<'a> {
        #[serde(borrow)]
        values: &'a RawValue,
        #[serde(default)]
        statistics: Statistics,
    }
    // Protocol buffers may write a count as `4.0`.
    #[derive(Deserialize, Default)]
    struct Statistics {
        #[serde(default)]
        token_count: f64,
    }
    let Gemini { predictions } = serde_json::from_slice(body)?;
    let counts = predictions.iter().map(|p| p.embeddings.statistics.token_count as u64);
    let tokens = counts.sum();
    let vectors = predictions.iter().map(|p| p.embeddings.values).collect();
    Ok(Answer { vectors, prompt_tokens: tokens, total_tokens: tokens })
}

/// Left open: OpenAI's clients cannot say what a text is for, and NVIDIA's models have to be told. `query` then, for all:
/// what is compared with one another has to be embedded alike, and whether it came alone or in a list says nothing.
fn nvidia(asked: &Asked, texts: &[String], model: &str) -> Value {
    let kind = match asked.purpose() {
        Some(Purpose::Passage) => "passage",
        Some(Purpose::Query) | None => "query",
    };
    object([
        ("input", json!(texts)),
        ("model", json!(model)),
        ("input_type", json!(kind)),
        ("encoding_format", json!("float")),
        ("dimensions", json!(asked.dimensions)),
        ("truncate", json!(asked.truncate)),
    ])
}

/// OpenAI's list; its items may come in any order.
#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    data: Vec<Item<'a>>,
    #[serde(default)]
    usage: Counts,
}

#[derive(Deserialize)]
struct Item<'a> {
    index: usize,
    #[serde(borrow)]
    embedding: &'a RawValue,
}

#[derive(Deserialize, Default)]
struct Counts {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    total_tokens: u64,
}

fn list_answer(body: &[u8]) -> serde_json::Result<Answer<'_>> {
    let list: List<'_> = serde_json::from_slice(body)?;
    Ok(list.into())
}

impl<'a> From<List<'a>> for Answer<'a> {
    fn from(mut list: List<'a>) -> Answer<'a> {
        list.data.sort_by_key(|item| item.index);
        let is_whole = list.data.iter().enumerate().all(|(n, item)| n == item.index);
        // Without one of them nobody can say which vector is whose.
        let vectors = list.data.iter().filter(|_| is_whole).map(|item| item.embedding).collect();
        let Counts { prompt_tokens, total_tokens } = list.usage;
        Answer { vectors, prompt_tokens, total_tokens: total_tokens.max(prompt_tokens) }
    }
}

/// Models that have to be told what a text is for are NVIDIA's; of what is assumed, see [`nvidia`].
fn orchestration(asked: &Asked, texts: &[String], model: &str) -> Value {
    let kind = match asked.purpose() {
        Some(Purpose::Query) => Some("query"),
        Some(Purpose::Passage) => Some("document"),
        None => model.starts_with("nvidia--").then_some("query"),
    };
    let has_params = asked.dimensions.is_some() || asked.normalize.is_some();
    let params = has_params.then(|| {
        object([("dimensions", json!(asked.dimensions)), ("normalize", json!(asked.normalize))])
    });
    let model =
        object([("name", json!(model)), ("version", json!("latest")), ("params", json!(params))]);
    json!({
        "config": {"modules": {"embeddings": {"model": model}}},
        "input": object([("text", json!(texts)), ("type", json!(kind))]),
    })
}

fn orchestration_answer(body: &[u8]) -> serde_json::Result<Answer<'_>> {
    #[derive(Deserialize)]
    struct Wrapped<'a> {
        #[serde(borrow)]
        final_result: List<'a>,
    }
    let wrapped: Wrapped<'_> = serde_json::from_slice(body)?;
    Ok(wrapped.final_result.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(body: &str, shape: &'static Shape) -> Result<Asked, Error> {
        Asked::decode(&Envelope::parse(body.into()).unwrap(), shape)
    }

    #[test]
    fn each_shape_is_asked_in_its_own_way() {
        let one = r#"{"model":"m","input":"a","user":"u","encoding_format":"base64"}"#;
        let more = r#"{"input":["a","b"],"dimensions":256,"input_type":"search_document",
            "normalize":false,"truncate":"END","user":null,"best":1}"#;
        let table: &[(&'static Shape, &str, &[&str], &[&str])] = &[
            (&TITAN, one, &[r#"{"inputText":"a"}"#], &[]),
            (
                &TITAN,
                more,
                &[
                    r#"{"dimensions":256,"inputText":"a","normalize":false}"#,
                    r#"{"dimensions":256,"inputText":"b","normalize":false}"#,
                ],
                &["input_type", "truncate", "best"],
            ),
            (&GEMINI, one, &[r#"{"instances":[{"content":"a"}]}"#], &[]),
            (
                &GEMINI,
                more,
                &[
                    r#"{"instances":[{"content":"a","task_type":"RETRIEVAL_DOCUMENT"}],"parameters":{"outputDimensionality":256}}"#,
                    r#"{"instances":[{"content":"b","task_type":"RETRIEVAL_DOCUMENT"}],"parameters":{"outputDimensionality":256}}"#,
                ],
                &["normalize", "truncate", "best"],
            ),
            (
                &NVIDIA,
                one,
                &[r#"{"encoding_format":"float","input":["a"],"input_type":"query","model":"m"}"#],
                &[],
            ),
            (
                &NVIDIA,
                more,
                &[
                    r#"{"dimensions":256,"encoding_format":"float","input":["a","b"],"input_type":"passage","model":"m","truncate":"END"}"#,
                ],
                &["normalize", "best"],
            ),
            (
                &ORCHESTRATION,
                one,
                &[
                    r#"{"config":{"modules":{"embeddings":{"model":{"name":"m","version":"latest"}}}},"input":{"text":["a"]}}"#,
                ],
                &[],
            ),
            (
                &ORCHESTRATION,
                more,
                &[
                    r#"{"config":{"modules":{"embeddings":{"model":{"name":"m","params":{"dimensions":256,"normalize":false},"version":"latest"}}}},"input":{"text":["a","b"],"type":"document"}}"#,
                ],
                &["truncate", "best"],
            ),
        ];
        for (shape, body, bodies, dropped) in table {
            let asked = asked(body, shape).unwrap();
            let found: Vec<String> =
                asked.bodies("m").map(|b| String::from_utf8(b).unwrap()).collect();
            assert_eq!(found, *bodies);
            assert_eq!(asked.dropped, *dropped, "{body}");
        }
    }

    #[test]
    fn a_purpose_is_understood_in_all_spellings() {
        let table = [
            ("query", Some(Purpose::Query), "RETRIEVAL_QUERY"),
            ("search_query", Some(Purpose::Query), "RETRIEVAL_QUERY"),
            ("retrieval.passage", Some(Purpose::Passage), "RETRIEVAL_DOCUMENT"),
            ("passage", Some(Purpose::Passage), "RETRIEVAL_DOCUMENT"),
            ("RETRIEVAL_DOCUMENT", Some(Purpose::Passage), "RETRIEVAL_DOCUMENT"),
            ("CODE_RETRIEVAL_QUERY", Some(Purpose::Query), "CODE_RETRIEVAL_QUERY"),
            ("QUESTION_ANSWERING", Some(Purpose::Query), "QUESTION_ANSWERING"),
            ("classification", None, "CLASSIFICATION"),
            ("text-matching", None, "SEMANTIC_SIMILARITY"),
        ];
        for (task, purpose, of_gemini) in table {
            for key in TASKS {
                let body = json!({"input": "a", *key: task}).to_string();
                let asked = asked(&body, &GEMINI).unwrap();
                assert_eq!(asked.purpose(), purpose, "{task}");
                assert_eq!(gemini_task(asked.task.as_deref().unwrap()), of_gemini);
            }
        }
        let nvidia = asked(r#"{"input":"a"}"#, &ORCHESTRATION).unwrap();
        let body = String::from_utf8(nvidia.bodies("nvidia--x").next().unwrap()).unwrap();
        assert!(body.ends_with(r#""input":{"text":["a"],"type":"query"}}"#), "{body}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let many = json!({"input": vec!["a"; TEXTS_MAX + 1]}).to_string();
        let table = [
            ("{}", "input: a string or a list of strings is expected"),
            (r#"{"input":null}"#, "input: a string or a list of strings is expected"),
            (r#"{"input":{"text":"a"}}"#, "input: a string or a list of strings is expected"),
            (r#"{"input":""}"#, "input: empty; there is nothing to embed"),
            (r#"{"input":[]}"#, "input: 0 texts; 1 to 2048 are expected"),
            (&many, "input: 2049 texts; 1 to 2048 are expected"),
            (r#"{"input":["a","b","c",""]}"#, "input[3]: empty; there is nothing to embed"),
            (r#"{"input":["a",null]}"#, "input[1]: a string is expected"),
            (r#"{"input":["a",{"text":"b"}]}"#, "input[1]: a string is expected"),
            (r#"{"input":["a","\ud800"]}"#, "input[1]: a string is expected"),
            (r#"{"input":[1,2]}"#, "input: token ids are understood by OpenAI's models only"),
            (r#"{"input":[[1,2],[3]]}"#, "input: token ids are understood by OpenAI's models"),
            (r#"{"input":"a","dimensions":0}"#, "dimensions: at least 1 is expected"),
            (r#"{"input":"a","dimensions":"x"}"#, "dimensions: a whole number is expected"),
            (r#"{"input":"a","encoding_format":"int8"}"#, "encoding_format: float or base64 is"),
            (r#"{"input":"a","task":7}"#, "task: a string such as query or passage is expected"),
        ];
        for (body, expected) in table {
            let error = asked(body, &TITAN).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{body}: {error}");
            assert_eq!(error.status(), 400);
        }
    }

    fn replied(body: &str, shape: &'static Shape, answers: &[&str]) -> Result<String, Error> {
        let asked = asked(body, shape).unwrap();
        let mut reply = asked.reply();
        for answer in answers {
            reply.add(answer.as_bytes())?;
        }
        let (body, usage) = reply.finish("the-alias");
        let value: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value["usage"]["prompt_tokens"], json!(usage.input));
        Ok(String::from_utf8(body).unwrap())
    }

    /// As sampled, but for the digits.
    const LIST: &str = r#"{"object": "list", "data": [
        {"object": "embedding", "embedding": [-0.125, 1e-3], "index": 1},
        {"object": "embedding", "embedding": [0.0125, -0.50], "index": 0}
        ], "model": "m", "usage": {"prompt_tokens": 5, "total_tokens": 6}}"#;

    #[test]
    fn numbers_stay_as_written_and_counts_are_added_up() {
        let two = r#"{"input":["a","b"]}"#;
        let titan = [
            r#"{"embedding": [0.0125, -0.50], "inputTextTokenCount": 3}"#,
            r#"{"embedding": [-0.125,1e-3], "inputTextTokenCount": 2, "embeddingsByType": {}}"#,
        ];
        let gemini = [
            r#"{"predictions":[{"embeddings":{"values":[0.0125,
                -0.50],"statistics":{"token_count":4.0,"truncated":false}}}],"metadata":{}}"#,
            r#"{"predictions":[{"embeddings":{"values":[-0.125,1e-3],"statistics":{"token_count":1}}}]}"#,
        ];
        let wrapped = format!(r#"{{"request_id":"x","final_result":{LIST}}}"#);
        let table: &[(&'static Shape, &[&str], u64)] = &[
            (&TITAN, &titan, 5),
            (&GEMINI, &gemini, 5),
            (&NVIDIA, &[LIST], 6),
            (&ORCHESTRATION, &[&wrapped], 6),
        ];
        for (shape, answers, total) in table {
            let expected = format!(
                r#"{{"object":"list","data":[{{"object":"embedding","index":0,"embedding":[0.0125,-0.50]}},{{"object":"embedding","index":1,"embedding":[-0.125,1e-3]}}],"model":"the-alias","usage":{{"prompt_tokens":5,"total_tokens":{total}}}}}"#
            );
            assert_eq!(replied(two, shape, answers).unwrap(), expected);
        }
    }

    #[test]
    fn base64_holds_the_same_numbers() {
        let ask = r#"{"input":["a"],"encoding_format":"base64"}"#;
        let reply = replied(ask, &TITAN, &[r#"{"embedding":[0.0125,-0.5,0.25]}"#]).unwrap();
        // The first is of the dossier's sample.
        assert!(reply.contains(r#""embedding":"zcxMPAAAAL8AAIA+""#), "{reply}");
        assert!(reply.ends_with(r#""usage":{"prompt_tokens":0,"total_tokens":0}}"#), "{reply}");
    }

    #[test]
    fn answers_that_lack_something_are_no_answers() {
        let table: &[(&'static Shape, &str)] = &[
            (&TITAN, ""),
            (&TITAN, "{}"),
            (&TITAN, r#"{"embedding":"AAAA"}"#),
            (&TITAN, r#"{"embedding":[0.5,null]}"#),
            (&GEMINI, r#"{"predictions":[]}"#),
            (&NVIDIA, r#"{"data":[{"index":0,"embedding":[1]}]}"#),
            (&NVIDIA, r#"{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}"#),
            (&NVIDIA, r#"{"data":[{"index":1,"embedding":[1]},{"index":2,"embedding":[1]}]}"#),
            (&ORCHESTRATION, LIST),
        ];
        for (shape, answer) in table {
            let error = replied(r#"{"input":["a","b"]}"#, shape, &[answer]).unwrap_err();
            assert!(matches!(error, Error::BadReply { .. }), "{answer}: {error:?}");
        }
        let said = r#"{"error":{"code":429,"message":"slow down"}}"#;
        let error = replied(r#"{"input":"a"}"#, &GEMINI, &[said]).unwrap_err();
        assert_eq!((error.status(), error.to_string().as_str()), (429, "slow down"));
    }

    #[test]
    fn a_refusal_says_which_text_it_is_about() {
        let refusal = |status| Error::Upstream {
            status,
            code: None,
            message: "too long".into(),
            param: None,
            retry_after: None,
        };
        let list = asked(r#"{"input":["a","b"]}"#, &TITAN).unwrap();
        let mut reply = list.reply();
        assert_eq!(reply.failed(refusal(400)).param(), Some("input[0]"));
        reply.add(br#"{"embedding":[1]}"#).unwrap();
        assert_eq!(reply.failed(refusal(400)).param(), Some("input[1]"));
        assert_eq!(reply.failed(refusal(429)).param(), None);
        let one = asked(r#"{"input":"a"}"#, &TITAN).unwrap();
        assert_eq!(one.reply().failed(refusal(400)).param(), None);
        let at_once = asked(r#"{"input":["a","b"]}"#, &NVIDIA).unwrap();
        assert_eq!(at_once.reply().failed(refusal(400)).param(), None);
    }
}
