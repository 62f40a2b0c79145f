//! Who may join and publish where: the `[[rooms]]` of the configuration. The first match wins; no match means no.

use crate::{
    auth::{Grant, Pattern},
    config::{Access, RoomRule},
};

/// The rules of all namespaces.
#[derive(Debug, Clone)]
pub struct Policy {
    rules: Vec<RoomRule>,
}

/// What stands in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// No rule speaks of the room.
    NoRule,
    /// The rule lets no client.
    Nobody,
    /// The rule asks for a token, and the client has none.
    NoToken,
    /// The client's token does not name the room.
    NotNamed,
}

impl Policy {
    /// Takes the rules in the order of the configuration.
    pub fn new(rules: Vec<RoomRule>) -> Self {
        Self { rules }
    }

    /// May a client with this grant join this room?
    ///
    /// # Errors
    /// It may not.
    pub fn may_join(&self, namespace: &str, room: &str, grant: Option<&Grant>) -> Result<(), Denied> {
        let rule = self.first(namespace, room, grant)?;
        decide(rule.join, grant, |grant| names_for_join(grant, room))
    }

    /// May a client with this grant publish to this room?
    ///
    /// # Errors
    /// It may not.
    pub fn may_publish(&self, namespace: &str, room: &str, grant: Option<&Grant>) -> Result<(), Denied> {
        let rule = self.first(namespace, room, grant)?;
        decide(rule.publish, grant, |grant| is_named(&grant.publish, grant, room))
    }

    fn first(&self, namespace: &str, room: &str, grant: Option<&Grant>) -> Result<&RoomRule, Denied> {
        let user = grant.map(|grant| &*grant.user);
        let mut rules = self.rules.iter();
        let rule = rules.find(|rule| rule.namespace == namespace && rule.room.is_match(room, user));
        rule.ok_or(Denied::NoRule)
    }
}

/// Does the token itself say that its client may join the room: by a pattern, or as one that it puts the client into?
pub(super) fn names_for_join(grant: &Grant, room: &str) -> bool {
    grant.rooms.iter().any(|name| **name == *room) || is_named(&grant.join, grant, room)
}

fn is_named(patterns: &[Pattern], grant: &Grant, room: &str) -> bool {
    patterns.iter().any(|pattern| pattern.is_match(room, Some(&grant.user)))
}

fn decide(
    access: Access,
    grant: Option<&Grant>,
    is_named: impl FnOnce(&Grant) -> bool,
) -> Result<(), Denied> {
    match (access, grant) {
        (Access::Anyone, _) | (Access::Authenticated, Some(_)) => Ok(()),
        (Access::Nobody, _) => Err(Denied::Nobody),
        (Access::Authenticated | Access::Token, None) => Err(Denied::NoToken),
        (Access::Token, Some(grant)) if is_named(grant) => Ok(()),
        (Access::Token, Some(_)) => Err(Denied::NotNamed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(namespace: &str, pattern: &str, join: Access, publish: Access) -> RoomRule {
        let room = Pattern::parse(pattern).unwrap();
        RoomRule { namespace: namespace.to_owned(), room, join, publish }
    }

    fn patterns(texts: &[&str]) -> Box<[Pattern]> {
        texts.iter().map(|text| Pattern::parse(text).unwrap()).collect()
    }

    fn grant(user: &str, rooms: &[&str], join: &[&str], publish: &[&str]) -> Grant {
        Grant {
            user: user.into(),
            token_id: None,
            issued_at_s: None,
            expires_at_s: None,
            rooms: rooms.iter().map(|&room| room.into()).collect(),
            join: patterns(join),
            publish: patterns(publish),
        }
    }

    #[test]
    fn the_first_match_wins_and_no_match_means_no() {
        use Access::{Anyone, Nobody};
        let policy = Policy::new(vec![
            rule("/", "news.secret*", Nobody, Nobody),
            rule("/", "news*", Anyone, Nobody),
            rule("/chat", "*", Anyone, Anyone),
        ]);
        let (yes, no, unknown) = (Ok(()), Err(Denied::Nobody), Err(Denied::NoRule));
        for (namespace, room, join, publish) in [
            ("/", "news", yes, no),
            ("/", "news/eu", yes, no),
            ("/", "news.secret.1", no, no),
            ("/", "other", unknown, unknown),
            ("/chat", "other", yes, yes),
            ("/none", "news", unknown, unknown),
        ] {
            assert_eq!(policy.may_join(namespace, room, None), join, "{namespace} {room}");
            assert_eq!(policy.may_publish(namespace, room, None), publish, "{namespace} {room}");
        }
    }

    #[test]
    fn what_each_access_asks_of_whom() {
        use Access::{Anyone, Authenticated, Nobody, Token};
        let stranger = grant("eve", &[], &[], &[]);
        let joiner = grant("ada", &[], &["r*"], &[]);
        let publisher = grant("ada", &[], &[], &["r*"]);
        let placed = grant("ada", &["room"], &[], &[]);
        let (yes, nobody, no_token, not_named) =
            (Ok(()), Err(Denied::Nobody), Err(Denied::NoToken), Err(Denied::NotNamed));
        for (access, client, join, publish) in [
            (Anyone, None, yes, yes),
            (Anyone, Some(&stranger), yes, yes),
            (Authenticated, None, no_token, no_token),
            (Authenticated, Some(&stranger), yes, yes),
            (Token, None, no_token, no_token),
            (Token, Some(&stranger), not_named, not_named),
            (Token, Some(&joiner), yes, not_named),
            (Token, Some(&publisher), not_named, yes),
            (Token, Some(&placed), yes, not_named),
            (Nobody, None, nobody, nobody),
            (Nobody, Some(&joiner), nobody, nobody),
            (Nobody, Some(&publisher), nobody, nobody),
        ] {
            let policy = Policy::new(vec![rule("/", "room", access, access)]);
            assert_eq!(policy.may_join("/", "room", client), join, "{access:?} {client:?}");
            assert_eq!(policy.may_publish("/", "room", client), publish, "{access:?} {client:?}");
        }
    }

    #[test]
    fn a_rule_for_the_users_own_rooms_is_none_for_others() {
        use Access::{Authenticated, Nobody, Token};
        let policy = Policy::new(vec![
            rule("/", "inbox-{sub}", Authenticated, Nobody),
            rule("/", "inbox-*", Token, Nobody),
        ]);
        let (ada, boss) =
            (grant("ada", &[], &[], &[]), grant("boss", &[], &["inbox-{sub}", "inbox-a*"], &[]));
        for (client, room, expected) in [
            (Some(&ada), "inbox-ada", Ok(())),
            (Some(&ada), "inbox-bob", Err(Denied::NotNamed)),
            (Some(&boss), "inbox-boss", Ok(())),
            (Some(&boss), "inbox-ada", Ok(())),
            (Some(&boss), "inbox-bob", Err(Denied::NotNamed)),
            (None, "inbox-ada", Err(Denied::NoToken)),
        ] {
            assert_eq!(policy.may_join("/", room, client), expected, "{client:?} {room}");
        }
    }
}
