//! Placeholder for the map.
pub mod auth;
pub mod certificate;
pub mod chat;
pub mod cli;
pub mod config;
pub mod dialect;
pub mod envelope;
pub mod error;
pub mod families;
pub mod routes;
pub mod sse;
pub mod upstream_error;
