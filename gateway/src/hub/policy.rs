//! Who may join and publish where: the `[[rooms]]` of the configuration. The first match wins; no match means no.

use crate::config::{Access, RoomRule};

/// The rules of all namespaces.
#[derive(Debug, Clone)]
pub struct Policy {
    rules: Vec<RoomRule>,
}

impl Policy {
    /// Takes the rules in the order of the configuration.
    pub fn new(rules: Vec<RoomRule>) -> Self {
        Self { rules }
    }

    /// May a client join this room?
    pub fn may_join(&self, namespace: &str, room: &str) -> bool {
        self.first(namespace, room).is_some_and(|rule| rule.join == Access::Anyone)
    }

    /// May a client publish to this room?
    pub fn may_publish(&self, namespace: &str, room: &str) -> bool {
        self.first(namespace, room).is_some_and(|rule| rule.publish == Access::Anyone)
    }

    fn first(&self, namespace: &str, room: &str) -> Option<&RoomRule> {
        self.rules.iter().find(|rule| rule.namespace == namespace && rule.room.is_match(room))
    }
}

#[cfg(test)]
mod tests {
    use globset::GlobBuilder;

    use super::*;

    fn rule(namespace: &str, glob: &str, join: Access, publish: Access) -> RoomRule {
        let room = GlobBuilder::new(glob).literal_separator(false).build().unwrap().compile_matcher();
        RoomRule { namespace: namespace.to_owned(), room, join, publish }
    }

    #[test]
    fn the_first_match_wins_and_no_match_means_no() {
        use Access::{Anyone, Nobody};
        let policy = Policy::new(vec![
            rule("/", "news.secret*", Nobody, Nobody),
            rule("/", "news*", Anyone, Nobody),
            rule("/chat", "*", Anyone, Anyone),
        ]);
        for (namespace, room, join, publish) in [
            ("/", "news", true, false),
            ("/", "news/eu", true, false),
            ("/", "news.secret.1", false, false),
            ("/", "other", false, false),
            ("/chat", "other", true, true),
            ("/none", "news", false, false),
        ] {
            assert_eq!(policy.may_join(namespace, room), join, "{namespace} {room}");
            assert_eq!(policy.may_publish(namespace, room), publish, "{namespace} {room}");
        }
    }
}
