//! Everything that can go wrong with one request, as one flat list.
//!
//! Knows no dialect: an [`Error`] has a status, a [`Kind`] and a sentence; the client's dialect chooses the JSON around it
//! (`dialect/*.rs`). Sentences are written for the person at the client: what is wrong, where, and what would be right.

use std::fmt;

/// Why a request failed. Each variant says when it happens.
#[derive(Debug, Clone, PartialEq)]
pub enum Error {
    /// The request cannot be understood. `path` is the JSON path (`messages[0].content`), `body` or a header's name.
    BadRequest { path: String, why: String },
    /// The request is understood but asks for something that cannot be carried to this model.
    Refused { path: String, what: String },
    /// No client key, or one that is not ours. Never says which.
    Unauthorized,
    /// No deployment has this name. `known` are the names there are.
    UnknownModel { name: String, known: Vec<String> },
    /// No response with this id is kept, or no item. `path` is where the request names it, or empty for the URL.
    NoSuchResponse { path: &'static str, id: String, why: &'static str },
    /// The path belongs to no API of ours.
    NoSuchRoute { path: String },
    /// The path exists, the method does not. `allow` is the value of the Allow header.
    WrongMethod { allow: &'static str },
    /// The client wants a WebSocket.
    NoWebSocket,
    /// The body is larger than our limit.
    TooLarge { bytes_max: usize },
    /// The body is compressed in a way we do not read.
    UnsupportedEncoding { encoding: String },
    /// The client did not send its body in time.
    SlowBody,
    /// Our own limit is reached.
    Busy { what: &'static str },
    /// AI Core answered with an error; all fields as it said them.
    Upstream {
        status: u16,
        code: Option<String>,
        message: String,
        param: Option<String>,
        retry_after: Option<String>,
    },
    /// AI Core or its token host cannot be reached, or refuses our credentials.
    Unreachable { what: String },
    /// The other end of a TLS connection refuses our certificate, or wants one where we show none. `alert` is TLS's word.
    CertificateRefused { host: String, alert: String },
    /// AI Core did not answer in time.
    Timeout { what: String },
    /// AI Core's answer makes no sense or broke off.
    BadReply { what: String },
    /// The client hung up. Never rendered; ends the relay quietly.
    ClientGone,
    /// A fault of ours.
    Internal,
}

/// The classes of failure that the vendors' SDKs tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    InvalidRequest,
    Authentication,
    Permission,
    NotFound,
    TooLarge,
    RateLimit,
    Overloaded,
    Timeout,
    Server,
}

impl Error {
    pub fn bad_request(path: impl Into<String>, why: impl Into<String>) -> Error {
        Error::BadRequest { path: path.into(), why: why.into() }
    }

    /// The HTTP status the client sees.
    pub fn status(&self) -> u16 {
        match self {
            Error::BadRequest { .. } | Error::Refused { .. } => 400,
            Error::Unauthorized => 401,
            Error::UnknownModel { .. }
            | Error::NoSuchResponse { .. }
            | Error::NoSuchRoute { .. } => 404,
            Error::WrongMethod { .. } => 405,
            Error::SlowBody => 408,
            Error::TooLarge { .. } => 413,
            Error::UnsupportedEncoding { .. } => 415,
            // The one status on which Codex goes on without.
            Error::NoWebSocket => 426,
            Error::ClientGone => 499,
            Error::Internal => 500,
            Error::Unreachable { .. }
            | Error::CertificateRefused { .. }
            | Error::BadReply { .. } => 502,
            Error::Busy { .. } => 503,
            Error::Timeout { .. } => 504,
            // AI Core's 401 and 403 are about our credentials: a client would think its own key is wrong.
            Error::Upstream { status: 401 | 403, .. } => 502,
            Error::Upstream { status, .. } if (400..600).contains(status) => *status,
            Error::Upstream { .. } => 502,
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            Error::Busy { .. } => Kind::Overloaded,
            _ => kind_of_status(self.status()),
        }
    }

    /// A word for programs, where the failure has one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Error::Refused { .. } => Some("unsupported_parameter"),
            Error::Unauthorized => Some("invalid_api_key"),
            Error::UnknownModel { .. } => Some("model_not_found"),
            Error::NoSuchResponse { path: "previous_response_id", .. } => {
                Some("previous_response_not_found")
            }
            Error::Upstream { code, .. } => code.as_deref(),
            _ => None,
        }
    }

    /// The JSON path the error is about.
    pub fn param(&self) -> Option<&str> {
        match self {
            Error::BadRequest { path, .. } | Error::Refused { path, .. } => Some(path),
            Error::UnknownModel { .. } => Some("model"),
            Error::NoSuchResponse { path, .. } => Some(path).filter(|p| !p.is_empty()).copied(),
            Error::Upstream { param, .. } => param.as_deref(),
            _ => None,
        }
    }

    /// The value of the Retry-After header.
    pub fn retry_after(&self) -> Option<&str> {
        match self {
            Error::Upstream { retry_after, .. } => retry_after.as_deref(),
            Error::Busy { .. } => Some("1"),
            _ => None,
        }
    }

    /// The value of the Allow header.
    pub fn allow(&self) -> Option<&'static str> {
        match self {
            Error::WrongMethod { allow } => Some(allow),
            _ => None,
        }
    }

    /// Whether another deployment may do better: this one refused or could not be reached. One that began to answer, or
    /// was silent for as long as a model may think, is not repeated elsewhere: the work may have been done, and paid for.
    pub fn is_deployments_own(&self) -> bool {
        match self {
            Error::Upstream { status, .. } => {
                matches!(status, 401 | 403 | 404 | 408 | 424 | 429 | 500..)
            }
            Error::Unreachable { .. } | Error::CertificateRefused { .. } => true,
            _ => false,
        }
    }
}

/// The class of failure behind an HTTP status.
pub fn kind_of_status(status: u16) -> Kind {
    match status {
        401 => Kind::Authentication,
        403 => Kind::Permission,
        404 | 405 => Kind::NotFound,
        408 | 504 => Kind::Timeout,
        413 => Kind::TooLarge,
        // AWS's, of a model that failed.
        424 => Kind::Server,
        429 => Kind::RateLimit,
        503 | 529 => Kind::Overloaded,
        400..=499 => Kind::InvalidRequest,
        _ => Kind::Server,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::BadRequest { path, why } => write!(f, "{path}: {why}"),
            Error::Refused { path, what } => write!(f, "{path}: {what}"),
            Error::Unauthorized => f.write_str(
                "Incorrect or missing API key. Send one of the keys of this proxy as `Authorization: Bearer KEY` or `x-api-key: KEY`.",
            ),
            Error::UnknownModel { name, known } if known.is_empty() => {
                write!(f, "The model `{name}` does not exist: no model is configured on this proxy.")
            }
            Error::UnknownModel { name, known } => {
                write!(f, "The model `{name}` does not exist. There are: {}.", known.join(", "))
            }
            Error::NoSuchResponse { path: "input", id, why } => {
                write!(f, "Item with id '{id}' not found: {why}")
            }
            Error::NoSuchResponse { id, why, .. } => write!(f, "Response with id '{id}' not found: {why}"),
            Error::NoSuchRoute { path } => write!(
                f,
                "There is nothing at {path}. Here are POST /v1/chat/completions, POST /v1/responses, POST /v1/messages, POST /v1/embeddings, \
                 POST /v1/rerank and GET /v1/models; the base URL for OpenAI clients ends in /v1, that for \
                 Anthropic clients does not."
            ),
            Error::WrongMethod { allow } => write!(f, "This path takes {allow}."),
            Error::NoWebSocket => f.write_str(
                "There are no WebSockets here; send the request as a POST. Codex does so at once with \
                 `supports_websockets = false` in the provider's part of its config.toml.",
            ),
            Error::TooLarge { bytes_max } => write!(
                f,
                "The request body, with what it goes on from, is larger than {bytes_max} bytes, the limit of this proxy (`limits.body_bytes_max`)."
            ),
            Error::UnsupportedEncoding { encoding } => {
                write!(f, "Request bodies with Content-Encoding {encoding} are not read here; send it as gzip, deflate or zstd, or uncompressed.")
            }
            Error::SlowBody => f.write_str("The request body did not arrive in time."),
            Error::Busy { what } => write!(f, "The proxy is busy: {what}. Try again in a moment."),
            Error::Upstream { status: 401 | 403, message, .. } => write!(
                f,
                "SAP AI Core refuses this proxy's credentials: {message}. The proxy's owner should check the service key and the resource group."
            ),
            Error::Upstream { message, .. } => f.write_str(message),
            Error::CertificateRefused { host, alert } => {
                write!(f, "{host} refuses the client certificate, or wants one ({alert}).")
            }
            Error::Unreachable { what } | Error::Timeout { what } | Error::BadReply { what } => f.write_str(what),
            Error::ClientGone => f.write_str("The client has gone."),
            Error::Internal => f.write_str("The proxy failed to handle this request. Its log says more."),
        }
    }
}

impl std::error::Error for Error {}
