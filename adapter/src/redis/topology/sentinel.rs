//! Sentinels: they watch a master with its replicas, and say which one is the master now.

use super::{
    super::{
        driver::{LinkError, Reply},
        endpoint::{Address, Endpoint},
    },
    discovery::Discovery,
    servers::Access,
};

/// Finds the master by its name.
pub(super) struct Sentinels {
    sentinels: Vec<Endpoint>,
    master: String,
    access: Access,
    pub(super) discovery: Discovery,
}

impl Sentinels {
    pub(super) fn new(
        sentinels: Vec<Endpoint>,
        master: String,
        access: Access,
        discovery: Discovery,
    ) -> Self {
        Self { sentinels, master, access, discovery }
    }

    pub(super) fn name(&self) -> &str {
        &self.master
    }

    pub(super) async fn find_master(&self) -> Result<Endpoint, LinkError> {
        let question = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", &self.master];
        let read = |reply: Reply, _: &Endpoint| read_master(&reply, &self.master);
        Ok(self.access.to(self.discovery.ask(&self.sentinels, question, read).await?))
    }
}

/// Reads the answer to `SENTINEL GET-MASTER-ADDR-BY-NAME`.
fn read_master(reply: &Reply, name: &str) -> Result<Address, LinkError> {
    let failed = |reason: String| Err(LinkError::Failed(reason));
    let (host, port) = match reply {
        Reply::Array(items) => match items.as_slice() {
            [Reply::Text(host), Reply::Text(port)] => (host, port),
            _ => return failed("the master's address is in another form".to_owned()),
        },
        Reply::Nil => return failed(format!("it knows no master named {name:?}")),
        Reply::Error(error) => return failed(error.clone()),
        _ => return failed("the master's address is in another form".to_owned()),
    };
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    match (text(host), text(port).and_then(|port| port.parse().ok())) {
        (Some(host), Some(port)) => Ok(Address::Tcp { host, port }),
        _ => failed("the master's address is no host and port".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Reply {
        Reply::Text(text.as_bytes().to_vec())
    }

    #[test]
    fn the_address_is_a_host_and_a_port() {
        let reply = Reply::Array(vec![text("10.0.0.1"), text("6379")]);
        let expected = Address::Tcp { host: "10.0.0.1".to_owned(), port: 6379 };
        assert_eq!(read_master(&reply, "m").expect("it is one"), expected);
    }

    #[test]
    fn what_is_no_address_is_told() {
        for (reply, expected) in [
            (Reply::Nil, "it knows no master named \"m\""),
            (Reply::Error("NOAUTH".to_owned()), "NOAUTH"),
            (Reply::Int(1), "the master's address is in another form"),
            (Reply::Array(vec![text("10.0.0.1")]), "the master's address is in another form"),
            (Reply::Array(vec![text("h"), text("70000")]), "the master's address is no host and port"),
            (
                Reply::Array(vec![Reply::Text(vec![0xff]), text("1")]),
                "the master's address is no host and port",
            ),
        ] {
            assert_eq!(read_master(&reply, "m").expect_err("it is none").to_string(), expected);
        }
    }
}
