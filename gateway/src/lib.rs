//! Gateway.

pub mod config;
