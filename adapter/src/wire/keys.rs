//! Names of the few keys that Broadgate nodes keep in Redis. All of them are in the slot of the channels' prefix, so in a
//! cluster they are at the server that the nodes meet at.

/// The keys under one prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    start: Box<str>,
}

impl Keys {
    /// Keys in the slot of `prefix`: its hash tag is theirs (Redis Cluster specification, "Hash tags").
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        let has_brace = prefix.contains(['{', '}']);
        // With a brace it either has a tag of its own, or one that no other key can have.
        let start = if has_brace { prefix.into() } else { format!("{{{prefix}}}").into() };
        Self { start }
    }

    /// The sorted set of revocations, by their end: `{socket.io}-broadgate#revocations`.
    #[must_use]
    pub fn revocations(&self) -> String {
        format!("{}-broadgate#revocations", self.start)
    }

    /// The sorted set of revocations that were lifted before their end, the same: `{socket.io}-broadgate#revocations#lifted`.
    #[must_use]
    pub fn lifted_revocations(&self) -> String {
        format!("{}#lifted", self.revocations())
    }

    /// The hash of a user's connections, by node: `{socket.io}-broadgate#user#alice`.
    #[must_use]
    pub fn user(&self, user: &str) -> String {
        format!("{}-broadgate#user#{user}", self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_take_the_prefix_as_their_hash_tag() {
        for (prefix, expected) in
            [("socket.io", "{socket.io}-broadgate#user#alice"), ("app{eu}", "app{eu}-broadgate#user#alice")]
        {
            assert_eq!(Keys::new(prefix).user("alice"), expected);
        }
        assert_eq!(Keys::new("socket.io").revocations(), "{socket.io}-broadgate#revocations");
        let lifted = Keys::new("app{eu}").lifted_revocations();
        assert_eq!(lifted, "app{eu}-broadgate#revocations#lifted");
    }
}
