//! A service key, exchanged for access tokens.
//!
//! One fetch at a time: of fifty first requests one asks the token host, the others wait for it. A token is renewed in the
//! background before it expires, while it still serves.
//!
//! A service key with a certificate (X.509) goes to its own token host over mutual TLS, and only `grant_type` and `client_id`
//! are posted. What AI Core is asked with the access token is asked without the certificate: inferred (dossier 1.2).
//!
//! Left open by the dossier (2): the margin (60 s to 60 min in other clients): 300 s, or half of the token's life where that
//! is shorter. The request's style: id and secret in the form body, which SAP's own documentation shows. The life of a token
//! that does not say: an hour.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use serde::Deserialize;

use crate::aicore::{AiCore, HeaderText, Identity, Method, Request, Settings, Url};
use crate::config::{self, Proof, ServiceKey};
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
/// How long before its end a certificate is warned of, and how often. SAP's own last 7 days where no other life was asked for.
const EXPIRY_NOTICE: Duration = Duration::from_secs(30 * DAY_SECONDS);
const EXPIRY_REMINDER: Duration = Duration::from_secs(DAY_SECONDS);
const DAY_SECONDS: u64 = 24 * 3600;

/// The access tokens of one service key.
pub struct Credentials {
    /// For the log: `subaccount "name": `, nothing where there is but one.
    whose: String,
    url: Url,
    body: String,
    certificate: Option<Certificate>,
    state: Mutex<State>,
    fetched: Condvar,
}

/// What the token host is shown instead of a secret.
struct Certificate {
    /// Has the identity, so nothing but the token host is asked by it.
    aicore: AiCore,
    /// The JSON path of the field, for the log.
    path: String,
    expires: Option<SystemTime>,
    warned: Mutex<Option<Instant>>,
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
    /// Fails where the key's token URL is none, or its certificate or private key is not to be used. `path` is the JSON path
    /// of the service key; `settings` those of every call, to which a certificate is added here.
    pub fn new(key: &ServiceKey, path: &str, settings: &Settings) -> Result<Credentials, String> {
        let url = Url::parse(&key.token_url).map_err(|e| format!("{}: {e}", key.token_url))?;
        let mut body = "grant_type=client_credentials&client_id=".to_owned();
        body.push_str(&form_encoded(&key.client_id));
        let certificate = match &key.proof {
            Proof::Secret(secret) => {
                body.push_str("&client_secret=");
                body.push_str(&form_encoded(secret));
                None
            }
            Proof::Certificate { chain, key } => {
                let identity = Identity::parse(chain, key).map_err(|e| format!("{path}.{e}"))?;
                Some(Certificate::new(identity, path, settings)?)
            }
        };
        let (state, fetched) = (Mutex::default(), Condvar::new());
        Ok(Credentials { whose: String::new(), url, body, certificate, state, fetched })
    }

    /// As the log is to call them.
    pub fn of(self, subaccount: &str) -> Credentials {
        let whose = match subaccount {
            "default" => String::new(),
            name => format!("subaccount {name:?}: "),
        };
        Credentials { whose, ..self }
    }

    /// When the service key's certificate expires, where it has one that says so.
    pub fn expires(&self) -> Option<SystemTime> {
        self.certificate.as_ref()?.expires
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
                log::warn!("{}{:?}", self.whose, error.to_string());
                state.failure = Some((error.clone(), Instant::now()));
            }
        }
        result
    }

    /// A wrong key or certificate is final; connection faults and the 5xx of a host that is restarting are tried again.
    fn fetch(&self, aicore: &AiCore) -> Result<Arc<AccessToken>, Error> {
        let aicore = match &self.certificate {
            Some(certificate) => {
                certificate.remind();
                &certificate.aicore
            }
            None => aicore,
        };
        let mut wait = Duration::from_millis(200);
        for _ in 1..TRIES {
            match self.fetch_once(aicore) {
                Err(Error::Unreachable { .. } | Error::Upstream { status: 500..=599, .. }) => {}
                result => return result.map_err(|e| self.explained(e)),
            }
            std::thread::sleep(wait);
            wait *= 2;
        }
        self.fetch_once(aicore).map_err(|e| self.explained(e))
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
        log::info!("{}New access token, valid for {} s", self.whose, life.as_secs());
        Ok(Arc::new(AccessToken {
            authorization,
            renew_at: asked_at + (life - margin),
            expires_at: asked_at + life,
        }))
    }

    /// A failed fetch, in words for the client; the status is never one that clients take for their own key's.
    fn explained(&self, error: Error) -> Error {
        let what = match &self.certificate {
            Some(certificate) => certificate.named(),
            None => "service key".into(),
        };
        let why = match error {
            Error::Upstream { status: status @ (400 | 401 | 403), message, .. } => {
                format!("it refuses the {what} ({status}: {message})")
            }
            Error::Upstream { status, message, .. } => format!("it answers {status}: {message}"),
            Error::CertificateRefused { alert, .. } if self.certificate.is_some() => {
                format!("it refuses the {what} ({alert})")
            }
            Error::CertificateRefused { alert, .. } => format!(
                "it wants a certificate ({alert}), and the service key has a client secret instead: \
                 its token host is `url`, not `certurl`"
            ),
            // A host that only hangs up may do so for this.
            other => match self.certificate.as_ref().and_then(Certificate::expired) {
                Some(date) => format!("{other} The service key's certificate expired on {date}."),
                None => other.to_string(),
            },
        };
        Error::Unreachable { what: format!("No access token from SAP's token host: {why}") }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Certificate {
    fn new(identity: Identity, path: &str, settings: &Settings) -> Result<Certificate, String> {
        let path = config::field(path, "certificate");
        let expires = identity.expires();
        let settings = Settings { identity: Some(identity), ..settings.clone() };
        let aicore = AiCore::new(&settings).map_err(|e| format!("upstream_ca: {e}"))?;
        let certificate = Certificate { aicore, path, expires, warned: Mutex::default() };
        certificate.remind();
        Ok(certificate)
    }

    fn remind(&self) {
        if let Some(warning) = self.reminder(Instant::now(), SystemTime::now()) {
            log::warn!("{warning}");
        }
    }

    /// A warning of its end, at most once a day. Access tokens are fetched at least as often where anything is asked for.
    fn reminder(&self, now: Instant, today: SystemTime) -> Option<String> {
        let mut warned = self.warned.lock().unwrap_or_else(|e| e.into_inner());
        if warned.is_some_and(|at| now - at < EXPIRY_REMINDER) {
            return None;
        }
        let warning = self.warning(today)?;
        *warned = Some(now);
        Some(warning)
    }

    fn warning(&self, today: SystemTime) -> Option<String> {
        let expires = self.expires?;
        let (path, date) = (&self.path, date(expires));
        match expires.duration_since(today).unwrap_or_default() {
            Duration::ZERO => Some(format!(
                "{path}: it expired on {date}, so SAP's token host refuses it: make a new service key"
            )),
            left if left < EXPIRY_NOTICE => Some(format!(
                "{path}: it expires on {date} ({}): make a new service key before",
                match left.as_secs() / DAY_SECONDS {
                    0 => "in less than a day".into(),
                    1 => "in 1 day".into(),
                    days => format!("in {days} days"),
                }
            )),
            _ => None,
        }
    }

    /// What it is called in an error.
    fn named(&self) -> String {
        let name = "certificate of the service key";
        self.expired().map_or(name.into(), |date| format!("{name}, which expired on {date},"))
    }

    /// When it expired, if it has.
    fn expired(&self) -> Option<String> {
        self.expires.filter(|end| *end <= SystemTime::now()).map(date)
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

/// `2026-10-14`, of UTC.
fn date(time: SystemTime) -> String {
    let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // Years begin in March, so that the day that some lack is their last; 146,097 days are 400 years.
    let days = since_1970.as_secs() / DAY_SECONDS + 719_468;
    let (cycle, days) = (days / 146_097, days % 146_097);
    let year = (days - days / 1_460 + days / 36_524 - days / 146_096) / 365;
    let days = days - (year * 365 + year / 4 - year / 100);
    let month = (days * 5 + 2) / 153;
    let day = days - (month * 153 + 2) / 5 + 1;
    let (year, month) = match month {
        0..10 => (year, month + 3),
        _ => (year + 1, month - 9),
    };
    format!("{:04}-{month:02}-{day:02}", cycle * 400 + year)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(DAY_SECONDS);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn certificate(expires: Option<SystemTime>) -> Certificate {
        let settings = Settings::default();
        let aicore = AiCore::new(&settings).unwrap();
        let path = "service_key_json.certificate".to_owned();
        Certificate { aicore, path, expires, warned: Mutex::default() }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let cases = [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_709_164_800, "2024-02-29"),
            (1_791_936_000, "2026-10-14"),
            (1_798_761_599, "2026-12-31"),
            (1_798_761_600, "2027-01-01"),
            (4_107_542_399, "2100-02-28"),
            (4_107_542_400, "2100-03-01"),
            (253_402_300_799, "9999-12-31"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(date(at(seconds)), expected, "{seconds}");
        }
    }

    #[test]
    fn an_end_that_is_near_is_warned_of() {
        // 2026-10-14.
        let end = at(1_791_936_000);
        let second = Duration::from_secs(1);
        let cases = [
            (30 * DAY, None),
            (30 * DAY - second, Some("(in 29 days): make a new service key before")),
            (2 * DAY, Some("it expires on 2026-10-14 (in 2 days)")),
            (2 * DAY - second, Some("(in 1 day)")),
            (second, Some("it expires on 2026-10-14 (in less than a day)")),
            (Duration::ZERO, Some("it expired on 2026-10-14, so SAP's token host refuses it")),
        ];
        for (left, expected) in cases {
            let warning = certificate(Some(end)).warning(end - left);
            match (&warning, expected) {
                (Some(warning), Some(part)) => {
                    assert!(warning.starts_with("service_key_json.certificate: "), "{warning}");
                    assert!(warning.contains(part), "{warning}");
                }
                _ => assert_eq!(warning.as_deref(), expected, "{left:?}"),
            }
        }
        let late = certificate(Some(end)).warning(end + 400 * DAY).unwrap();
        assert!(late.contains("it expired on 2026-10-14"), "{late}");
        assert_eq!(certificate(None).warning(end), None);
    }

    #[test]
    fn reminders_are_daily() {
        let (start, end) = (Instant::now(), at(1_791_936_000));
        let certificate = certificate(Some(end));
        let hour = DAY / 24;
        let mut hours = vec![];
        for i in 0..24 * 40 {
            if certificate.reminder(start + i * hour, end - 32 * DAY + i * hour).is_some() {
                hours.push(i);
            }
        }
        let expected: Vec<u32> = (0..38).map(|day| 49 + day * 24).collect();
        assert_eq!(hours, expected, "from the first hour of less than 30 days, beyond the end");
    }

    #[test]
    fn secrets_survive_the_form() {
        let text = "sb-1!b2|aicore!b3 $+=/";
        assert_eq!(form_encoded(text), "sb-1%21b2%7Caicore%21b3%20%24%2B%3D%2F");
    }
}
