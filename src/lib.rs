//! Placeholder for the map.
pub mod certificate;
pub mod cli;
pub mod config;
pub mod error;
