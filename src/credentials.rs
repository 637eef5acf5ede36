//! A service key, exchanged for access tokens.
//!
//! One fetch at a time: of fifty first requests one asks the token host, the others wait for it. A token is renewed in the
//! background before it expires, while it still serves.
//!
//! Left open by the dossier (2): the margin (60 s to 60 min in other clients): 300 s, or half of the token's life where that
//! is shorter. The request's style: id and secret in the form body, which SAP's own documentation shows. The life of a token
//! that does not say: an hour.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::aicore::{AiCore, HeaderText, Method, Request, Url};
use crate::config::{Proof, ServiceKey};
use crate::error::Error;
use crate::upstream_error;

/// How long before its expiry a token is renewed, at most.
const MARGIN: Duration = Duration::from_secs(300);
/// Where the answer does not say how long a token lives.
const LIFE_DEFAULT: Duration = Duration::from_secs(3600);
/// How long a failure is the answer to everybody, before the token host is asked again.
const FAILURE_AGE_MAX: Duration = Duration::from_secs(1);
/// What an answer may say at most.
const LIFE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Tokens that are given up because AI Core refused them: so many in so long. Where it refuses every token (a wrong
/// resource group), each request would fetch another, until the token host throttles us for the models that work, too.
const DISCARDS_MAX: u32 = 10;
const DISCARDS_PERIOD: Duration = Duration::from_secs(60);
/// Fetches of one token that meet a passing fault.
const TRIES: u32 = 3;
/// The longest silence of the token host, which is no model that thinks.
const SILENCE_MAX: Duration = Duration::from_secs(15);
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// The access tokens of one service key.
pub struct Credentials {
    url: Url,
    body: String,
    state: Mutex<State>,
    fetched: Condvar,
}

/// An access token, ready to be sent.
pub struct AccessToken {
    /// `Bearer …`
    pub authorization: HeaderText,
    renew_at: Instant,
    expires_at: Instant,
}

#[derive(Default)]
struct State {
    token: Option<Arc<AccessToken>>,
    is_fetching: bool,
    failure: Option<(Error, Instant)>,
    discards: u32,
    discards_since: Option<Instant>,
}

impl Credentials {
    /// Fails where the key's token URL is none.
    pub fn new(key: &ServiceKey) -> Result<Credentials, String> {
        let Proof::Secret(secret) = &key.proof else {
            return Err("a service key with a certificate is not supported yet".into());
        };
        let body = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}",
            form_encoded(&key.client_id),
            form_encoded(secret)
        );
        let url = Url::parse(&key.token_url).map_err(|e| format!("{}: {e}", key.token_url))?;
        Ok(Credentials { url, body, state: Mutex::default(), fetched: Condvar::new() })
    }

    /// A token that is valid now. Waits for the token host only where there is none.
    pub fn access_token(self: &Arc<Self>, aicore: &Arc<AiCore>) -> Result<Arc<AccessToken>, Error> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            if let Some(token) = state.token.clone().filter(|t| now < t.expires_at) {
                if now >= token.renew_at && !state.is_fetching && !state.failed_lately(now) {
                    state.is_fetching = true;
                    drop(state);
                    self.renew_in_background(aicore);
                }
                return Ok(token);
            }
            if let Some((error, _)) =
                state.failure.as_ref().filter(|(_, at)| now - *at < FAILURE_AGE_MAX)
            {
                return Err(error.clone());
            }
            if !state.is_fetching {
                state.is_fetching = true;
                drop(state);
                return self.fetch_and_publish(aicore);
            }
            state = self.fetched.wait(state).unwrap_or_else(|e| e.into_inner());
        }
    }

    /// AI Core refused this token: it is not given out again. False where too many were refused lately: another would
    /// fare no better.
    pub fn discard(&self, refused: &Arc<AccessToken>) -> bool {
        let mut state = self.lock();
        if !state.token.as_ref().is_some_and(|token| Arc::ptr_eq(token, refused)) {
            // It has been replaced meanwhile.
            return true;
        }
        let now = Instant::now();
        if state.discards_since.is_none_or(|since| now - since >= DISCARDS_PERIOD) {
            state.discards_since = Some(now);
            state.discards = 0;
        }
        state.discards += 1;
        if state.discards > DISCARDS_MAX {
            return false;
        }
        state.token = None;
        true
    }

    fn renew_in_background(self: &Arc<Self>, aicore: &Arc<AiCore>) {
        let (this, aicore) = (self.clone(), aicore.clone());
        let renew = move || {
            // A failure is logged and kept; the old token serves on.
            let _ = this.fetch_and_publish(&aicore);
        };
        if std::thread::Builder::new().name("renewal".into()).spawn(renew).is_err() {
            // No thread to be had: the next request tries again.
            self.lock().is_fetching = false;
            self.fetched.notify_all();
        }
    }

    /// The caller has set `is_fetching`.
    fn fetch_and_publish(&self, aicore: &AiCore) -> Result<Arc<AccessToken>, Error> {
        /// Whatever happens in between, those who wait are woken.
        struct Fetching<'a>(&'a Credentials);
        impl Drop for Fetching<'_> {
            fn drop(&mut self) {
                self.0.lock().is_fetching = false;
                self.0.fetched.notify_all();
            }
        }
        let _fetching = Fetching(self);
        let result = self.fetch(aicore);
        let mut state = self.lock();
        match &result {
            Ok(token) => {
                state.token = Some(token.clone());
                state.failure = None;
            }
            Err(error) => {
                log::warn!("{:?}", error.to_string());
                state.failure = Some((error.clone(), Instant::now()));
            }
        }
        result
    }

    /// A wrong key is final; connection faults and the 5xx of a host that is restarting are tried again.
    fn fetch(&self, aicore: &AiCore) -> Result<Arc<AccessToken>, Error> {
        let mut wait = Duration::from_millis(200);
        for _ in 1..TRIES {
            match self.fetch_once(aicore) {
                Err(Error::Unreachable { .. } | Error::Upstream { status: 500..=599, .. }) => {}
                result => return result.map_err(explained),
            }
            std::thread::sleep(wait);
            wait *= 2;
        }
        self.fetch_once(aicore).map_err(explained)
    }

    fn fetch_once(&self, aicore: &AiCore) -> Result<Arc<AccessToken>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            access_token: String,
            expires_in: Option<u64>,
        }
        let header = |text| HeaderText::new(text).map_err(|_| Error::Internal);
        let content_type = header("application/x-www-form-urlencoded")?;
        let accept = header("application/json")?;
        let asked_at = Instant::now();
        let request = Request {
            url: &self.url,
            headers: &[("content-type", &content_type), ("accept", &accept)],
            method: Method::Post(self.body.as_bytes()),
            silence_max: Some(SILENCE_MAX),
        };
        let mut response = aicore.send(&request, None)?;
        let retry_after = response.header("retry-after").map(str::to_owned);
        let body = response.read_all(ANSWER_BYTES_MAX)?;
        if response.status != 200 {
            return Err(upstream_error::from_response(response.status, &body, retry_after));
        }
        let no_token = || Error::BadReply { what: "its answer holds no access token".into() };
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| no_token())?;
        let authorization = HeaderText::secret(&format!("Bearer {}", answer.access_token))
            .map_err(|_| no_token())?;
        let life = answer.expires_in.map_or(LIFE_DEFAULT, Duration::from_secs).min(LIFE_MAX);
        let margin = MARGIN.min(life / 2);
        log::info!("New access token, valid for {} s", life.as_secs());
        Ok(Arc::new(AccessToken {
            authorization,
            renew_at: asked_at + (life - margin),
            expires_at: asked_at + life,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl State {
    fn failed_lately(&self, now: Instant) -> bool {
        self.failure.as_ref().is_some_and(|(_, at)| now - *at < 10 * FAILURE_AGE_MAX)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

/// A failed fetch, in words for the client; the status is never one that clients take for their own key's.
fn explained(error: Error) -> Error {
    let why = match error {
        Error::Upstream { status: status @ (400 | 401 | 403), message, .. } => {
            format!("it refuses the service key ({status}: {message})")
        }
        Error::Upstream { status, message, .. } => format!("it answers {status}: {message}"),
        other => other.to_string(),
    };
    Error::Unreachable { what: format!("No access token from SAP's token host: {why}") }
}

/// `application/x-www-form-urlencoded`: client ids hold `!` and `|`, secrets `$`, `+`, `=`, `/` (dossier 1.1).
fn form_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(byte as char);
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn secrets_survive_the_form() {
        let text = "sb-1!b2|aicore!b3 $+=/";
        assert_eq!(super::form_encoded(text), "sb-1%21b2%7Caicore%21b3%20%24%2B%3D%2F");
    }
}
