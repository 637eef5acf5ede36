//! Placeholder for the map.
pub mod config;
pub mod error;
