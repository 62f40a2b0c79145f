//! Tokens: which are accepted, why others are not, and how keys are fetched.
#![allow(clippy::unwrap_used)]

mod configuration;
mod jwks;
mod provider;
mod random;
mod signer;
mod tokens;
