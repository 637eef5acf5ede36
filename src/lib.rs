//! Placeholder for the map.
pub mod error;
