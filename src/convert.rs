//! A conversation with a model whose deployments speak another grammar than the client.
//!
//! What is decided for its request ([`Conversion::prepare`]) is undone in its reply, whole or streamed.

use std::sync::Arc;
use std::time::Instant;

use crate::chat::fit::Undo;
use crate::chat::{Brackets, Event, Request, Seal, Usage, fold};
use crate::dialect::openai_responses::marks::{marked, marked_content};
use crate::dialect::{
    Passed, Passing, ReplyHead, ReplyWriter, StreamDecoder, StreamEncoder, Target, UpstreamDialect,
};
use crate::error::Error;
use crate::families::Grammar;
use crate::sse::Frame;
use crate::stored::{Stored, Turn};
use crate::vault::{Recorder, Vault};

/// How the replies to one request are converted.
#[derive(Debug)]
pub struct Conversion {
    dialect: &'static dyn UpstreamDialect,
    undo: Undo,
    client: ForClient,
    vault: Arc<Vault>,
}

/// How the client wants its reply.
#[derive(Debug)]
pub struct ForClient {
    pub writer: Box<dyn ReplyWriter>,
    pub head: ReplyHead,
    /// Where the reply is kept, if it is.
    pub keeping: Option<Keeping>,
}

/// Where a reply is kept, and with what.
#[derive(Debug)]
pub struct Keeping {
    pub stored: Arc<Stored>,
    pub id: String,
    /// See [`Turn`].
    pub input: Vec<u8>,
    pub previous: Option<String>,
}

impl Keeping {
    fn keep(&self, response: Vec<u8>) {
        let turn = Turn { input: self.input.clone(), response, previous: self.previous.clone() };
        self.stored.keep(self.id.clone(), turn, Instant::now());
    }
}

impl Conversion {
    /// The request in the grammar of the model's deployments: the body for AI Core.
    pub fn prepare(
        grammar: &Grammar,
        request: &mut Request,
        target: &Target<'_>,
        adds_cache_points: bool,
        client: ForClient,
        vault: Arc<Vault>,
    ) -> Result<(Vec<u8>, Conversion), Error> {
        let (body, undo) = grammar.body(request, target, adds_cache_points)?;
        Ok((body, Conversion { dialect: grammar.dialect, undo, client, vault }))
    }

    /// A whole reply for the client, of the deployment with this mark.
    pub fn whole(&self, body: &[u8], mark: &str) -> Result<(Vec<u8>, Option<Usage>), Error> {
        let mut brackets = Brackets::new(&self.seed());
        self.dialect.decode(body, &mut brackets);
        brackets.end();
        let mut undo = self.undo.clone();
        let mut told = vec![];
        brackets.drain().for_each(|event| undo.event(event, &mut told));
        let mut recorder = Recorder::default();
        told.iter_mut().for_each(|event| own(event, mark));
        told.iter().for_each(|event| recorder.event(event, &self.vault));
        let reply = fold(told)?;
        let body = self.client.writer.whole(&reply, &self.client.head);
        if let Some(keeping) = &self.client.keeping {
            keeping.keep(body.clone());
        }
        Ok((body, reply.usage))
    }

    /// A stream for the client, of the deployment with this mark.
    pub fn stream<'a>(&'a self, mark: &'a str) -> ConvertedStream<'a> {
        ConvertedStream {
            decoder: self.dialect.stream_decoder(),
            brackets: Brackets::new(&self.seed()),
            undo: self.undo.clone(),
            encoder: self.client.writer.stream(&self.client.head),
            recorder: Recorder::default(),
            vault: &self.vault,
            keeping: self.client.keeping.as_ref(),
            mark,
            told: vec![],
            usage: None,
        }
    }

    /// The body that asks for a whole reply where a stream is refused.
    pub fn unstreamed(&self, body: &[u8], refusal: &Error) -> Option<Vec<u8>> {
        self.dialect.unstreamed(body, refusal)
    }

    /// A whole reply as the client's stream, all at once.
    pub fn whole_as_stream(
        &self,
        body: &[u8],
        mark: &str,
    ) -> Result<(Vec<u8>, Option<Usage>), Error> {
        let mut stream = self.stream(mark);
        let mut out = vec![];
        self.dialect.decode(body, &mut stream.brackets);
        stream.brackets.end();
        match stream.write(&mut out) {
            Passed::Failed(error) => Err(error),
            _ => Ok((out, stream.usage)),
        }
    }

    /// For ids of calls: letters and digits of the reply's id.
    fn seed(&self) -> String {
        self.client.head.id.chars().filter(char::is_ascii_alphanumeric).take(32).collect()
    }
}

/// What can only be read by the deployment that made it has its mark.
fn own(event: &mut Event, mark: &str) {
    if let Event::Seal(Seal::OpenAi { id, encrypted }) = event {
        (*id, *encrypted) = (marked(id, mark), marked_content(encrypted, mark));
    }
}

/// A stream that is converted on its way.
pub struct ConvertedStream<'a> {
    decoder: Box<dyn StreamDecoder>,
    brackets: Brackets,
    undo: Undo,
    encoder: Box<dyn StreamEncoder>,
    recorder: Recorder,
    vault: &'a Vault,
    keeping: Option<&'a Keeping>,
    mark: &'a str,
    told: Vec<Event>,
    usage: Option<Usage>,
}

impl ConvertedStream<'_> {
    /// Writes what has been read.
    fn write(&mut self, out: &mut Vec<u8>) -> Passed {
        let before = out.len();
        for event in self.brackets.drain() {
            self.undo.event(event, &mut self.told);
        }
        let mut end = None;
        for mut event in self.told.drain(..) {
            own(&mut event, self.mark);
            if let Event::Failed(error) = event {
                end = Some(Passed::Failed(error));
                continue;
            }
            self.recorder.event(&event, self.vault);
            self.encoder.event(&event, out);
            match event {
                Event::Usage(usage) => self.usage = Some(usage),
                Event::Stop(_) => {
                    end = Some(Passed::Done);
                    if let Some((keeping, whole)) = self.keeping.zip(self.encoder.kept()) {
                        keeping.keep(whole);
                    }
                }
                _ => {}
            }
        }
        let usual = if out.len() > before { Passed::Content } else { Passed::Nothing };
        end.unwrap_or(usual)
    }
}

impl Passing for ConvertedStream<'_> {
    fn frame(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> Passed {
        self.decoder.frame(frame, &mut self.brackets);
        self.write(out)
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Passed {
        self.decoder.finish(&mut self.brackets);
        self.brackets.end();
        self.write(out)
    }

    fn usage(&self) -> Option<Usage> {
        self.usage
    }

    fn failed(&mut self, error: &Error, out: &mut Vec<u8>) {
        self.encoder.failed(error, out);
    }
}
