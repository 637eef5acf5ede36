//! Rerank, as clients of Cohere and Jina ask for it, of deployments that take texts only (dossier 5d).
//!
//! The reply goes on as it is: both vendors have the same results, and each client reads past the other's extras.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::envelope::{Envelope, quoted};
use crate::error::Error;
use crate::upstream_error;

/// The most documents of one request; Cohere's own limit.
const DOCUMENTS_MAX: usize = 10_000;

const KNOWN: &[&str] =
    &["model", "query", "documents", "top_n", "return_documents", "max_tokens_per_doc"];

/// A client's request.
#[derive(Debug)]
pub struct Asked {
    query: String,
    documents: Vec<String>,
    top_n: Option<u64>,
    max_tokens_per_doc: Option<u64>,
    returns_documents: bool,
    /// What the deployment cannot be told.
    pub dropped: Vec<Cow<'static, str>>,
}

impl Asked {
    pub fn decode(body: &Envelope) -> Result<Asked, Error> {
        Ok(Asked {
            query: query(body)?,
            documents: documents(body)?,
            top_n: count(body, "top_n")?,
            max_tokens_per_doc: count(body, "max_tokens_per_doc")?,
            returns_documents: body.get("return_documents", "true or false")?.unwrap_or(false),
            dropped: body.names_beyond(KNOWN).into_iter().map(Cow::Owned).collect(),
        })
    }

    /// The request for the deployed model of this name.
    pub fn encode(&self, model: &str) -> Vec<u8> {
        let mut body = Map::new();
        body.insert("model".into(), json!(model));
        body.insert("query".into(), json!(self.query));
        body.insert("documents".into(), json!(self.documents));
        let counts = [("top_n", self.top_n), ("max_tokens_per_doc", self.max_tokens_per_doc)];
        let given = counts.into_iter().filter_map(|(key, n)| Some((key.to_owned(), json!(n?))));
        body.extend(given);
        Value::Object(body).to_string().into_bytes()
    }

    /// The reply for the client, who knows the model by this name.
    pub fn reply(&self, body: Vec<u8>, model: &str) -> Result<Vec<u8>, Error> {
        let Some(results) = results(&body) else {
            return Err(upstream_error::from_event(&body).unwrap_or_else(bad_reply));
        };
        let results = self.checked(&results)?;
        let mut reply = Envelope::parse(body).map_err(|_| bad_reply())?;
        reply.set("model", quoted(model));
        if self.returns_documents {
            reply.set("results", results);
        }
        Ok(reply.into_bytes())
    }

    /// The results with their documents. An error where one of them is about no document that there is.
    fn checked(&self, results: &[Box<RawValue>]) -> Result<String, Error> {
        let with_document = |result: &RawValue| {
            let mut result = Envelope::parse(result.get().as_bytes().to_vec()).ok()?;
            let index = result.get::<usize>("index", "a number").ok()??;
            result.set("document", json!({"text": self.documents.get(index)?}).to_string());
            String::from_utf8(result.into_bytes()).ok()
        };
        let results: Option<Vec<String>> =
            results.iter().map(|result| with_document(result)).collect();
        Ok(format!("[{}]", results.ok_or_else(bad_reply)?.join(",")))
    }
}

fn query(body: &Envelope) -> Result<String, Error> {
    let query: Option<String> = body.get("query", "a string")?;
    let query =
        query.ok_or_else(|| Error::bad_request("query", "missing; a string is expected"))?;
    if query.is_empty() {
        return Err(Error::bad_request("query", "empty; there is nothing to look for"));
    }
    Ok(query)
}

fn documents(body: &Envelope) -> Result<Vec<String>, Error> {
    let expected = "a list of strings, or of objects with a `text`,";
    let documents: Option<Vec<Box<RawValue>>> = body.get("documents", expected)?;
    let Some(documents) = documents else {
        return Err(Error::bad_request("documents", format!("missing; {expected} is expected")));
    };
    if documents.is_empty() || documents.len() > DOCUMENTS_MAX {
        let why = format!("{} documents; 1 to {DOCUMENTS_MAX} are expected", documents.len());
        return Err(Error::bad_request("documents", why));
    }
    documents.iter().enumerate().map(|(index, json)| document(json.get(), index)).collect()
}

fn document(json: &str, index: usize) -> Result<String, Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Document {
        Text(String),
        Object { text: String },
    }
    match serde_json::from_str(json) {
        Ok(Document::Text(text) | Document::Object { text }) => Ok(text),
        Err(_) => {
            let why = "a string, or an object with a string `text`, is expected";
            Err(Error::bad_request(format!("documents[{index}]"), why))
        }
    }
}

fn count(body: &Envelope, key: &str) -> Result<Option<u64>, Error> {
    match body.get(key, "a whole number")? {
        Some(0) => Err(Error::bad_request(key, "at least 1 is expected")),
        count => Ok(count),
    }
}

fn results(body: &[u8]) -> Option<Vec<Box<RawValue>>> {
    #[derive(Deserialize)]
    struct Reply {
        results: Vec<Box<RawValue>>,
    }
    serde_json::from_slice::<Reply>(body).ok().map(|reply| reply.results)
}

fn bad_reply() -> Error {
    Error::BadReply { what: "SAP AI Core's answer does not rank the documents.".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(body: &str) -> Result<Asked, Error> {
        Asked::decode(&Envelope::parse(body.into()).unwrap())
    }

    #[test]
    fn documents_of_all_forms_become_texts() {
        let table: &[(&str, &str, &[&str])] = &[
            (
                r#"{"model":"x","query":"q","documents":["a",{"text":"b","title":"t"}]}"#,
                r#"{"documents":["a","b"],"model":"m","query":"q"}"#,
                &[],
            ),
            (
                r#"{"query":"q","documents":["a"],"top_n":3,"max_tokens_per_doc":9,
                    "return_documents":true,"max_chunks_per_doc":2,"rank_fields":null}"#,
                r#"{"documents":["a"],"max_tokens_per_doc":9,"model":"m","query":"q","top_n":3}"#,
                &["max_chunks_per_doc"],
            ),
        ];
        for (body, expected, dropped) in table {
            let asked = asked(body).unwrap();
            assert_eq!(String::from_utf8(asked.encode("m")).unwrap(), *expected);
            assert_eq!(asked.dropped, *dropped);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let many = json!({"query": "q", "documents": vec![""; DOCUMENTS_MAX + 1]}).to_string();
        let table = [
            (r#"{"documents":["a"]}"#, "query: missing; a string is expected"),
            (r#"{"query":"","documents":["a"]}"#, "query: empty"),
            (r#"{"query":["q"],"documents":["a"]}"#, "query: a string is expected"),
            (r#"{"query":"q"}"#, "documents: missing; a list"),
            (r#"{"query":"q","documents":"a"}"#, "documents: a list of strings, or"),
            (r#"{"query":"q","documents":[]}"#, "documents: 0 documents; 1 to 10000"),
            (&many, "documents: 10001 documents; 1 to 10000"),
            (r#"{"query":"q","documents":["a",7]}"#, "documents[1]: a string, or"),
            (r#"{"query":"q","documents":[{"title":"a"}]}"#, "documents[0]: a string, or"),
            (r#"{"query":"q","documents":["a"],"top_n":0}"#, "top_n: at least 1 is expected"),
            (r#"{"query":"q","documents":["a"],"top_n":-1}"#, "top_n: a whole number"),
            (
                r#"{"query":"q","documents":["a"],"return_documents":1}"#,
                "return_documents: true or false",
            ),
        ];
        for (body, expected) in table {
            let error = asked(body).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{body}: {error}");
            assert_eq!(error.status(), 400);
        }
    }

    #[test]
    fn results_stay_as_written_with_documents_where_asked_for() {
        let answer = r#"{"id": "x", "results": [{"index": 1, "relevance_score": 0.980},
            {"index": 0, "relevance_score": 1e-3}], "meta": {"billed_units": {}}}"#;
        let plain = asked(r#"{"query":"q","documents":["a","b"]}"#).unwrap();
        let reply = plain.reply(answer.into(), "the-alias").unwrap();
        let expected = r#"{"id":"x","results":[{"index": 1, "relevance_score": 0.980},
            {"index": 0, "relevance_score": 1e-3}],"meta":{"billed_units": {}},"model":"the-alias"}"#;
        assert_eq!(String::from_utf8(reply).unwrap(), expected);
        let returning = r#"{"query":"q","documents":["a",{"text":"b"}],"return_documents":true}"#;
        let reply = asked(returning).unwrap().reply(answer.into(), "the-alias").unwrap();
        let expected = r#"{"id":"x","results":[{"index":1,"relevance_score":0.980,"document":{"text":"b"}},{"index":0,"relevance_score":1e-3,"document":{"text":"a"}}],"meta":{"billed_units": {}},"model":"the-alias"}"#;
        assert_eq!(String::from_utf8(reply).unwrap(), expected);
    }

    #[test]
    fn answers_that_rank_something_else_are_no_answers() {
        let asked = asked(r#"{"query":"q","documents":["a"]}"#).unwrap();
        for answer in ["", "[]", "{}", r#"{"results":[{"index":1}]}"#, r#"{"results":[7]}"#] {
            let error = asked.reply(answer.into(), "m").unwrap_err();
            assert!(matches!(error, Error::BadReply { .. }), "{answer}: {error:?}");
        }
        let said = r#"{"error":{"code":429,"message":"slow down"}}"#;
        assert_eq!(asked.reply(said.into(), "m").unwrap_err().status(), 429);
    }
}
