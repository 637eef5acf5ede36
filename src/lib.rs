//! One synchronous binary that gives any OpenAI client the models a company has deployed on SAP AI Core.
//!
//! ```text
//! client bytes ─ gate ─ server ─ relay ────────────────────────────────────────── upstream
//!                TLS    tiny_http  route → auth → read → find the model → adapt → POST
//!                limits pool       ◄ frames ◄ pass on (a tap reads usage) ◄ sse ◄ bytes ◄──┘
//! ```
//!
//! Read [`relay`] next: it tells the way of a request from the first byte to the last.
//!
//! # Floors
//!
//! A module knows its own floor and those below, never one above (`tests/tidy.rs` checks this page against the code).
//!
//! | floor | modules |
//! |---|---|
//! | 4 · sockets towards clients, commands | [`cli`] [`certificate`] [`gate`] [`server`] [`ask`] |
//! | 3 · the story | [`relay`] [`local`] |
//! | 2 · who, where, what | [`routes`] [`families`] [`auth`] [`models`] [`config`] [`credentials`] [`aicore`] [`demo`] |
//! | 1 · wire grammars, pure | [`dialect`] [`upstream_error`] |
//! | 0 · words everyone uses | [`chat`] [`envelope`] [`sse`] [`error`] [`log`] |
//!
//! # Invariants
//!
//! - Same dialect on both sides: the client's bytes go on verbatim. Only top-level keys are edited, by the family's `adapt`.
//! - The status is committed with the first frame that means something; until then another deployment may be tried.
//! - After an error frame nothing that looks like a clean end follows: no `[DONE]`, no last chunk.
//! - tiny_http never sees a socket of the network; nothing is written towards it but policed heads.
//! - No key, secret, access token, header or prompt is in any log at any level.
//! - A limit on everything, named with its unit. No lock is held over I/O, but the one that orders heads towards tiny_http.
//! - Each external crate has one home: swapping it touches one module. [`demo`] is a program of its own and has its own.
//!
//! # What was decided otherwise than the first design
//!
//! - Bodies are read by the relay after tiny_http has parsed the head, not before: so authentication comes first, and the
//!   whole story is in one file.
//! - `upstream_error` is a file of its own: reading ten shapes of error belongs to no dialect.
//! - The demo parses requests itself: it has to cut connections mid-frame and answer before a body is read.

#![forbid(unsafe_code)]

#[cfg(not(unix))]
compile_error!("Unix only: Linux, macOS. On Windows run it in WSL or a container.");

pub mod relay;

pub mod local;
pub mod routes;

pub mod aicore;
pub mod auth;
pub mod config;
pub mod credentials;
pub mod families;
pub mod models;

pub mod dialect;
pub mod upstream_error;

pub mod chat;
pub mod envelope;
pub mod error;
pub mod log;
pub mod sse;

pub mod ask;
pub mod certificate;
pub mod cli;
pub mod gate;
pub mod server;

pub mod demo;
