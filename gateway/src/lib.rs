//! Broadgate: a ready-made real-time gateway. See ARCHITECTURE.md for the map.

pub mod app;
pub mod auth;
mod cluster;
pub mod config;
mod demo;
pub mod doctor;
pub mod engineio;
pub mod hub;
pub mod limits;
pub mod net;
mod node;
mod ops;
mod public_listener;
mod publish_course;
pub mod runtime;
pub mod telemetry;
