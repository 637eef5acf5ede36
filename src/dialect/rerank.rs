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
        let with_document = |result: &Box<RawValue>| {
            let mut result = Envelope::parse(result.get().as_bytes().to_vec()).ok()?;
            let index = result.get::<usize>("index", "a number").ok()??;
            result.set("document", json!({"text": self.documents.get(index)?}).to_string());
            String::from_utf8(result.into_bytes()).ok()
        };
        let results: Option<Vec<String>> = results.iter().map(with_document).collect();
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
