//! Placeholder for the map.
pub mod cli;
pub mod config;
pub mod error;
