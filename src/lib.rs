//! Placeholder for the map.
pub mod demo;
pub mod error;
