//! One request on its way: what the client sent, what it was answered, and what the log will say of it.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{Client, Head, Headers, Relay};
use crate::aicore::{Response, Watch};
use crate::dialect::{Dialect, Passed, Passing};
use crate::error::Error;
use crate::log::RequestLine;
use crate::models::{Deployment, Trial};
use crate::routes::dialect_of;
use crate::{encoding, local, sse};

/// The longest list of what was dropped.
const DROPPED_BYTES_MAX: usize = 1000;
/// The largest single event of a stream.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A request on its way: the client, what was sent to it, and what the log will say.
pub(super) struct Exchange {
    pub(super) client: Rc<dyn Client>,
    pub(super) dialect: Dialect,
    /// On every answer.
    headers: Headers,
    pub(super) line: RefCell<RequestLine>,
    began_at: Instant,
    /// How long a stream's client may hear nothing before it hears a keep-alive.
    keep_alive: Cell<Option<Duration>>,
    last_heard: Cell<Instant>,
    has_head: Cell<bool>,
    pub(super) has_content: Cell<bool>,
    /// The client has heard of the failure within its stream, which is over.
    has_told_failure: Cell<bool>,
    /// In how many seconds it is worth asking again, where that is known better than by the failure.
    retry_after: Cell<Option<u64>>,
    /// Of the deployment that is asked, where it had failed before.
    trial: Cell<Option<Trial>>,
}

impl Exchange {
    pub(super) fn new(client: Rc<dyn Client>, relay: &Relay) -> Exchange {
        let dialect = dialect_of(client.target(), client.header("anthropic-version").is_some());
        let id = local::request_id(client.header("x-request-id"));
        let mut headers: Headers = vec![("x-request-id", id.clone().into())];
        if dialect == Dialect::Anthropic {
            headers.push(("request-id", id.clone().into()));
        }
        if let Some(origin) = relay.allowed_origin(client.header("origin")) {
            headers.push(("access-control-allow-origin", origin));
            headers.push(("access-control-expose-headers", "*".into()));
        }
        // A cache must not give one origin what was said to another, be it silence.
        if !relay.cors_origins.is_empty() && !relay.allows_all_origins() {
            headers.push(("vary", "origin".into()));
        }
        let line = RequestLine { id, ..RequestLine::default() };
        Exchange {
            client,
            dialect,
            headers,
            line: RefCell::new(line),
            began_at: Instant::now(),
            keep_alive: Cell::new(None),
            last_heard: Cell::new(Instant::now()),
            has_head: Cell::new(false),
            has_content: Cell::new(false),
            has_told_failure: Cell::new(false),
            retry_after: Cell::new(None),
            trial: Cell::new(None),
        }
    }

    pub(super) fn read_body(&self, bytes_max: usize) -> Result<Vec<u8>, Error> {
        let Some(header) = self.client.header("content-encoding") else {
            return self.client.body(bytes_max);
        };
        let codings = encoding::codings(header)?;
        encoding::decoded(self.client.body(bytes_max)?, &codings, bytes_max)
    }

    /// From now on the client hears keep-alives.
    pub(super) fn will_stream(&self, relay: &Relay) {
        self.line.borrow_mut().is_stream = true;
        self.keep_alive.set(Some(Duration::from_millis(relay.limits.keep_alive_ms)));
    }

    pub(super) fn next_try(&self, deployment: &Deployment, began: Instant) {
        self.trial.replace(deployment.trial(began));
        let mut line = self.line.borrow_mut();
        line.tries += 1;
        line.deployment = deployment.place();
    }

    /// Should it fail, the client is told so.
    pub(super) fn come_back_in(&self, wait: Duration) {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.retry_after.set(Some(seconds.max(1)));
    }

    /// As the client's API names them.
    pub(super) fn note_dropped(&self, paths: Vec<String>) {
        let dropped = &mut self.line.borrow_mut().dropped;
        let named = |path: String| self.dialect.field(&path).into_owned();
        for path in paths.into_iter().map(named).map(Cow::Owned) {
            if !dropped.contains(&path) {
                dropped.push(path);
            }
        }
    }

    pub(super) fn answer_json(&self, status: u16, body: impl Into<Vec<u8>>) -> Result<(), Error> {
        self.answer(status, vec![("content-type", "application/json".into())], &body.into())
    }

    pub(super) fn answer_empty(&self, status: u16, headers: Headers) -> Result<(), Error> {
        self.answer(status, headers, b"")
    }

    fn answer(&self, status: u16, headers: Headers, body: &[u8]) -> Result<(), Error> {
        let head = self.head(status, headers);
        self.note_first_byte();
        self.client.answer(&head, body)
    }

    fn head(&self, status: u16, mut headers: Headers) -> Head {
        self.line.borrow_mut().status = status;
        headers.extend(self.headers.iter().cloned());
        let dropped = &self.line.borrow().dropped;
        if !dropped.is_empty() {
            headers.push(("x-proxy-dropped", listed(dropped).into()));
        }
        Head { status, headers }
    }

    /// Passes a stream on, frame by frame, as it comes.
    pub(super) fn pass_stream(
        &self,
        response: Response,
        stream: &mut dyn Passing,
    ) -> Result<(), Error> {
        let passed = self.pass_frames(response, stream);
        match &passed {
            Err(error) if *error != Error::ClientGone && self.has_content.get() => {
                let mut end = vec![];
                stream.failed(error, &mut end);
                if !end.is_empty() {
                    self.has_told_failure.set(true);
                    self.client.end(&end)?;
                }
            }
            _ => {}
        }
        passed
    }

    #[inline(never)]
    fn pass_frames(&self, mut response: Response, stream: &mut dyn Passing) -> Result<(), Error> {
        let mut frames = sse::Frames::default();
        let mut out = vec![];
        loop {
            let count = frames.read(|room| response.read(room))?;
            out.clear();
            let mut passed = Passed::Nothing;
            while let Some(frame) = frames.next_frame() {
                passed = stream.frame(&frame, &mut out);
                if matches!(passed, Passed::Done | Passed::Failed(_)) {
                    break;
                }
            }
            if count == 0 && !matches!(passed, Passed::Done | Passed::Failed(_)) {
                passed = stream.finish(&mut out);
            }
            if matches!(passed, Passed::Done | Passed::Failed(_)) {
                self.line.borrow_mut().usage = stream.usage();
            }
            match passed {
                Passed::Done => {
                    self.end_stream(&out)?;
                    response.finish();
                    return Ok(());
                }
                Passed::Failed(error) => {
                    self.send_parts(&out)?;
                    return Err(error);
                }
                Passed::Nothing | Passed::Content => self.send_parts(&out)?,
            }
            // AI Core may say things that are nothing to the client, for minutes.
            if self.patience() == Some(Duration::ZERO) {
                self.silent()?;
            }
            if frames.pending() > FRAME_BYTES_MAX {
                return Err(Error::BadReply {
                    what: "SAP AI Core sent an event without end.".into(),
                });
            }
        }
    }

    fn send_parts(&self, parts: &[u8]) -> Result<(), Error> {
        if parts.is_empty() {
            return Ok(());
        }
        self.begin_stream();
        self.note_content();
        self.last_heard.set(Instant::now());
        self.client.part(parts)
    }

    pub(super) fn end_stream(&self, parts: &[u8]) -> Result<(), Error> {
        self.begin_stream();
        self.note_content();
        self.client.end(parts)
    }

    /// The status is committed here: with the first frame that means something, or the first keep-alive.
    fn begin_stream(&self) {
        if self.has_head.replace(true) {
            return;
        }
        let headers = vec![
            ("content-type", "text/event-stream".into()),
            ("cache-control", "no-cache".into()),
            // nginx in front of us would hold the stream back.
            ("x-accel-buffering", "no".into()),
        ];
        let head = self.head(200, headers);
        self.client.begin(&head);
    }

    /// A keep-alive is none.
    fn note_content(&self) {
        if !self.has_content.replace(true) {
            self.note_first_byte();
            // It may take minutes to its end.
            if let Some(trial) = self.trial.take() {
                trial.succeeded();
            }
        }
    }

    /// An error answer, or, after the head, an error frame and an end that is none.
    pub(super) fn fail(&self, error: &Error) {
        self.line.borrow_mut().failed(error);
        if *error == Error::ClientGone {
            self.line.borrow_mut().status = error.status();
            return self.client.abort();
        }
        if self.has_told_failure.get() {
            return;
        }
        let id = self.line.borrow().id.clone();
        if self.has_head.get() {
            let frame = self.dialect.error_frame(error, &id);
            if self.dialect.ends_what_failed() {
                // Whether the client still gets it changes nothing.
                let _ = self.client.end(&frame);
                return;
            }
            let _ = self.client.part(&frame);
            return self.client.abort();
        }
        let body = self.dialect.error_body(error, &id);
        let mut headers: Headers = vec![("content-type", "application/json".into())];
        let known = self.retry_after.get().map(|seconds| seconds.to_string());
        let wait = known.or_else(|| error.retry_after().map(str::to_owned));
        headers.extend(wait.map(|wait| ("retry-after", wait.into())));
        headers.extend(error.allow().map(|v| ("allow", v.into())));
        if *error == Error::NoWebSocket {
            headers.push(("upgrade", "HTTP/1.1".into()));
        }
        if *error == Error::Unauthorized {
            headers.push(("www-authenticate", "Bearer".into()));
        }
        // Whether the client still gets it changes nothing.
        let _ = self.answer(error.status(), headers, body.as_bytes());
    }

    fn note_first_byte(&self) {
        self.line.borrow_mut().first_byte = Some(self.began_at.elapsed());
    }

    pub(super) fn log(&self) {
        if !RequestLine::is_wanted() {
            return;
        }
        let mut line = self.line.borrow_mut();
        line.client = self.client.address().to_string();
        line.method = self.client.method().to_owned();
        let path = self.client.target().split('?').next().unwrap_or("");
        line.path = path.chars().take(200).collect();
        line.total = self.began_at.elapsed();
        line.write();
    }
}

impl Watch for Exchange {
    fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.client.socket()
    }

    fn patience(&self) -> Option<Duration> {
        Some(self.keep_alive.get()?.saturating_sub(self.last_heard.get().elapsed()))
    }

    fn silent(&self) -> Result<(), Error> {
        self.begin_stream();
        self.last_heard.set(Instant::now());
        self.client.part(self.dialect.keep_alive())
    }
}

/// Names for a header, which proxies before us refuse where it is long.
fn listed(names: &[Cow<'static, str>]) -> String {
    let mut list = String::new();
    for name in names {
        if list.len() + name.len() > DROPPED_BYTES_MAX {
            list.push_str(", ...");
            break;
        }
        if !list.is_empty() {
            list.push_str(", ");
        }
        list.push_str(name);
    }
    list
}
