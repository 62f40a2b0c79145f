//! Patterns for the names of rooms.

use serde::{Deserialize, Serialize};

/// A pattern for the names of rooms, as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pattern(Box<str>);

/// A text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(pub &'static str);

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// It is empty.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() { Err(PatternError("a pattern is empty")) } else { Ok(Self(text.into())) }
    }
}
