//! Names of the Redis channels (wire.md 3.1), and of those between Broadgate's own nodes.

use crate::{is_node_name, nodes::REVOCATIONS};

/// The channels of all namespaces under one prefix (Node calls it `key`; default `socket.io`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channels {
    prefix: Box<str>,
}

/// What a channel's name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelName<'c> {
    /// With its slash.
    pub namespace: &'c str,
    /// `None` for the channel of the whole namespace. Delivery follows the message's rooms, not this (wire.md 3.1).
    pub room: Option<&'c str>,
}

/// What a channel of requests and answers is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestChannel<'c> {
    /// Requests to all nodes of a namespace.
    Requests(&'c str),
    /// Answers in a namespace; to all, or to one node.
    Responses(&'c str),
}

/// What a channel of Broadgate's own nodes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeChannel<'c> {
    /// What all nodes tell each other of themselves.
    Notices,
    /// Tokens that count no more; backends publish there, too.
    Revocations,
    /// Messages to the node of this name.
    To(&'c str),
}

impl Channels {
    /// Channels that start with `prefix` and `#`.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into() }
    }

    /// Broadcasts to everyone, and to any number of rooms but one: `socket.io#/#`.
    #[must_use]
    pub fn everyone(&self, namespace: &str) -> String {
        self.join(&[namespace, "#"])
    }

    /// Broadcasts to exactly one room: `socket.io#/#news#`.
    #[must_use]
    pub fn room(&self, namespace: &str, room: &str) -> String {
        self.join(&[namespace, "#", room, "#"])
    }

    /// Where a broadcast to `rooms` is published.
    #[must_use]
    pub fn publish(&self, namespace: &str, rooms: &[Box<str>]) -> String {
        match rooms {
            [room] => self.room(namespace, room),
            _ => self.everyone(namespace),
        }
    }

    /// The pattern of all room channels whose room starts with `room_prefix`. Glob characters are escaped.
    #[must_use]
    pub fn rooms_starting_with(&self, namespace: &str, room_prefix: &str) -> String {
        let mut pattern = escape_glob(&self.join(&[namespace, "#", room_prefix]));
        pattern.push('*');
        pattern
    }

    /// Takes a channel's name apart; `None` if it is not one of a broadcast under this prefix.
    #[must_use]
    pub fn parse<'c>(&self, channel: &'c str) -> Option<ChannelName<'c>> {
        let rest = channel.strip_prefix(&*self.prefix)?.strip_prefix('#')?;
        let (namespace, room) = rest.split_once('#')?;
        let room = match room {
            "" => None,
            // The Python emitter of wire.md 4 leaves the last `#` out; Node reads a shorter room then, we refuse.
            room => Some(room.strip_suffix('#')?),
        };
        Some(ChannelName { namespace, room })
    }

    /// Requests to all nodes: `socket.io-request#/#`.
    #[must_use]
    pub fn requests(&self, namespace: &str) -> String {
        format!("{}-request#{namespace}#", self.prefix)
    }

    /// Answers, to all nodes: `socket.io-response#/#`.
    #[must_use]
    pub fn responses(&self, namespace: &str) -> String {
        format!("{}-response#{namespace}#", self.prefix)
    }

    /// Answers to one node alone: `socket.io-response#/#<uid>#`.
    #[must_use]
    pub fn responses_to(&self, namespace: &str, uid: &str) -> String {
        format!("{}-response#{namespace}#{uid}#", self.prefix)
    }

    /// Takes the name of a channel of requests or answers apart; `None` if it is not one under this prefix.
    #[must_use]
    pub fn parse_request<'c>(&self, channel: &'c str) -> Option<RequestChannel<'c>> {
        let rest = channel.strip_prefix(&*self.prefix)?;
        if let Some(rest) = rest.strip_prefix("-request#") {
            return rest.strip_suffix('#').map(RequestChannel::Requests);
        }
        let (namespace, _) = rest.strip_prefix("-response#")?.split_once('#')?;
        Some(RequestChannel::Responses(namespace))
    }

    /// Messages to one node: `socket.io-broadgate#aB3-_#`. No pattern of a Node.js adapter (`socket.io#/#*`) matches it,
    /// and none counts its subscribers.
    #[must_use]
    pub fn node(&self, name: &str) -> String {
        format!("{}-broadgate#{name}#", self.prefix)
    }

    /// What all Broadgate nodes tell each other of themselves: `socket.io-broadgate#`.
    #[must_use]
    pub fn nodes(&self) -> String {
        format!("{}-broadgate#", self.prefix)
    }

    /// Tokens that count no more: `socket.io-broadgate#revocations#`.
    #[must_use]
    pub fn revocations(&self) -> String {
        format!("{}-broadgate#{REVOCATIONS}#", self.prefix)
    }

    /// Takes the name of a channel of Broadgate's own nodes apart; `None` if it is not one under this prefix.
    #[must_use]
    pub fn parse_node<'c>(&self, channel: &'c str) -> Option<NodeChannel<'c>> {
        let rest = channel.strip_prefix(&*self.prefix)?.strip_prefix("-broadgate#")?;
        if rest.is_empty() {
            return Some(NodeChannel::Notices);
        }
        match rest.strip_suffix('#')? {
            REVOCATIONS => Some(NodeChannel::Revocations),
            name => is_node_name(name).then_some(NodeChannel::To(name)),
        }
    }

    fn join(&self, parts: &[&str]) -> String {
        let bytes = self.prefix.len() + 1 + parts.iter().map(|part| part.len()).sum::<usize>();
        let mut name = String::with_capacity(bytes);
        name.push_str(&self.prefix);
        name.push('#');
        parts.iter().for_each(|part| name.push_str(part));
        name
    }
}

/// Redis matches patterns as globs; a backslash makes the next character stand for itself.
fn escape_glob(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 1);
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\' | '^') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name<'c>(namespace: &'c str, room: Option<&'c str>) -> Option<ChannelName<'c>> {
        Some(ChannelName { namespace, room })
    }

    #[test]
    fn names_follow_the_classic_adapter() {
        let channels = Channels::new("socket.io");
        assert_eq!(channels.everyone("/"), "socket.io#/#");
        assert_eq!(channels.everyone("/custom"), "socket.io#/custom#");
        assert_eq!(channels.room("/", "news"), "socket.io#/#news#");
        assert_eq!(channels.rooms_starting_with("/", "aB3"), "socket.io#/#aB3*");
    }

    #[test]
    fn only_a_single_room_has_its_own_channel() {
        let channels = Channels::new("socket.io");
        assert_eq!(channels.publish("/", &[]), "socket.io#/#");
        assert_eq!(channels.publish("/", &["a".into()]), "socket.io#/#a#");
        assert_eq!(channels.publish("/", &["a".into(), "b".into()]), "socket.io#/#");
    }

    #[test]
    fn glob_characters_in_a_pattern_stand_for_themselves() {
        let channels = Channels::new("a*b");
        assert_eq!(channels.rooms_starting_with("/x?[y]", "p\\"), r"a\*b#/x\?\[y\]#p\\*");
    }

    #[test]
    fn the_channels_of_our_own_nodes_are_nobody_elses() {
        let channels = Channels::new("socket.io");
        assert_eq!(channels.node("aB3-_"), "socket.io-broadgate#aB3-_#");
        assert_eq!(channels.nodes(), "socket.io-broadgate#");
        assert_eq!(channels.revocations(), "socket.io-broadgate#revocations#");
        for (channel, expected) in [
            ("socket.io-broadgate#aB3-_#", Some(NodeChannel::To("aB3-_"))),
            ("socket.io-broadgate#", Some(NodeChannel::Notices)),
            ("socket.io-broadgate#revocations#", Some(NodeChannel::Revocations)),
            ("socket.io-broadgate#aB3-_", None),
            ("socket.io-broadgate#a#b#", None),
            ("socket.io-broadgate##", None),
            ("socket.io#/#aB3-_#", None),
            ("socket.io-request#/#", None),
            ("other-broadgate#aB3-_#", None),
        ] {
            assert_eq!(channels.parse_node(channel), expected, "{channel}");
            if expected.is_some() {
                assert_eq!((channels.parse(channel), channels.parse_request(channel)), (None, None));
            }
        }
    }

    #[test]
    fn names_are_taken_apart() {
        let channels = Channels::new("socket.io");
        for (channel, expected) in [
            ("socket.io#/#", name("/", None)),
            ("socket.io#/custom#", name("/custom", None)),
            ("socket.io#/#news#", name("/", Some("news"))),
            ("socket.io#/#a#b#", name("/", Some("a#b"))),
            ("socket.io#/##", name("/", Some(""))),
            ("socket.io#/#news", None),
            ("socket.io#/", None),
            ("socket.io", None),
            ("socket.io-request#/#", None),
            ("other#/#", None),
        ] {
            assert_eq!(channels.parse(channel), expected, "{channel}");
        }
    }
}
