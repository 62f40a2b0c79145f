//! What a publish comes to where the other nodes can't be reached (`adapter.redis.when_down`). One rule for clients and
//! for the ops API.

use broadgate_adapter::PublishError;

use crate::config::WhenDown;

/// What is to be done with a message, as far as that is known before anybody here gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Course {
    /// To the members here; the other nodes have it, or will.
    Everywhere,
    /// To the members here alone, and the publisher is told so.
    HereOnly,
    /// To nobody.
    Nowhere(PublishError),
}

impl Course {
    /// `at_once` is what the engine said at once, where it did.
    pub(crate) fn of(at_once: Option<&Result<(), PublishError>>, when_down: WhenDown) -> Self {
        match (at_once, when_down) {
            (None | Some(Ok(())), _) => Self::Everywhere,
            // What can never be published has no members here, either: nodes would differ in what they deliver.
            (Some(Err(error)), _) if matches!(error, PublishError::Invalid(_)) => {
                Self::Nowhere(error.clone())
            }
            (Some(Err(_)), WhenDown::Local) => Self::HereOnly,
            (Some(Err(error)), WhenDown::Fail) => Self::Nowhere(error.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_at_once_decides_before_anybody_has_the_message() {
        let invalid = || PublishError::Invalid("too deep".into());
        for (at_once, fail, local) in [
            (None, Course::Everywhere, Course::Everywhere),
            (Some(Ok(())), Course::Everywhere, Course::Everywhere),
            (Some(Err(PublishError::LinkDown)), Course::Nowhere(PublishError::LinkDown), Course::HereOnly),
            (Some(Err(PublishError::QueueFull)), Course::Nowhere(PublishError::QueueFull), Course::HereOnly),
            (Some(Err(invalid())), Course::Nowhere(invalid()), Course::Nowhere(invalid())),
        ] {
            assert_eq!(Course::of(at_once.as_ref(), WhenDown::Fail), fail, "{at_once:?}");
            assert_eq!(Course::of(at_once.as_ref(), WhenDown::Local), local, "{at_once:?}");
        }
    }
}
