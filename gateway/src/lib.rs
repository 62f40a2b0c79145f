//! Broadgate: a ready-made real-time gateway. See ARCHITECTURE.md for the map.

pub mod config;
pub mod engineio;
pub mod net;
pub mod runtime;
pub mod telemetry;
