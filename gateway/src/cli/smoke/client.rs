//! Socket.IO as its clients speak it (wire.md 2): one namespace, one room, one event.

use std::{collections::VecDeque, time::Instant};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use tokio::time::timeout_at;

use super::{Transport, link::Link, refusal, target::Target};

/// A refusal that the cluster said in words, unlike a connection that ends.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Of Broadgate's codes, or the status of an HTTP answer.
    pub(super) code: String,
    pub(super) text: String,
}

/// A client of one namespace, with one deadline for all that it does.
pub(super) struct Client<'t> {
    link: Link<'t>,
    /// Before the payload of each packet: nothing for `/`, else `/name,`.
    namespace: String,
    deadline: Instant,
    /// Received and not yet looked at.
    packets: VecDeque<String>,
}

impl<'t> Client<'t> {
    /// Opens a session.
    pub(super) async fn open(
        target: &'t Target,
        transport: Transport,
        namespace: &str,
        deadline: Instant,
    ) -> anyhow::Result<Self> {
        let opened = timeout_at(deadline.into(), Link::open(target, transport)).await;
        let link = opened.context("no answer in time")??;
        let namespace = if namespace == "/" { String::new() } else { format!("{namespace},") };
        let mut client = Self { link, namespace, deadline, packets: VecDeque::new() };
        let open = client.expect("the session", |packet| Some(packet.strip_prefix('0')?.to_owned())).await?;
        let open: Value = serde_json::from_str(&open).context("the open packet is not JSON")?;
        client.link.set_sid(open["sid"].as_str().context("the open packet has no sid")?);
        Ok(client)
    }

    /// Connects to the namespace; the socket's id.
    pub(super) async fn connect(&mut self, token: Option<&str>) -> anyhow::Result<Result<String, Refusal>> {
        let token = token.map_or_else(String::new, |token| json!({ "token": token }).to_string());
        self.send(format!("40{}{token}", self.namespace)).await?;
        let (yes, no) = (format!("40{}", self.namespace), format!("44{}", self.namespace));
        let answer = |packet: &str| {
            let connected = packet.strip_prefix(&yes).map(|payload| (true, payload));
            let (connected, payload) =
                connected.or_else(|| packet.strip_prefix(&no).map(|payload| (false, payload)))?;
            Some((connected, serde_json::from_str::<Value>(payload).ok()?))
        };
        let (connected, payload) = self.expect("CONNECT", answer).await?;
        if !connected {
            return Ok(Err(refusal("CONNECT", &payload)));
        }
        Ok(Ok(payload["sid"].as_str().context("the socket has no id")?.to_owned()))
    }

    /// Joins a room, and waits until what is published to it arrives here.
    pub(super) async fn join(&mut self, room: &str) -> anyhow::Result<Result<(), Refusal>> {
        self.send(format!("42{}0{}", self.namespace, json!(["join", room]))).await?;
        let start = format!("43{}0", self.namespace);
        let ack = |packet: &str| serde_json::from_str(packet.strip_prefix(&start)?).ok();
        let ack: Value = self.expect("the join", ack).await?;
        Ok(if ack[0]["ok"] == json!(true) { Ok(()) } else { Err(refusal("the join", &ack[0])) })
    }

    /// Waits for this event with this argument.
    pub(super) async fn event(&mut self, name: &str, argument: &str) -> anyhow::Result<()> {
        let expected = format!("42{}{}", self.namespace, json!([name, argument]));
        self.expect("the message", |packet| (packet == expected).then_some(())).await
    }

    /// Ends the session. All that was to be seen has been seen, so nothing of this is a failure.
    pub(super) async fn close(self) {
        let _ = timeout_at(self.deadline.into(), self.link.close()).await;
    }

    async fn send(&mut self, packet: String) -> anyhow::Result<()> {
        timeout_at(self.deadline.into(), self.link.send(packet)).await.context("no answer in time")?
    }

    /// Waits for a packet, answers pings meanwhile and passes by what else comes.
    async fn expect<T>(&mut self, what: &str, find: impl Fn(&str) -> Option<T>) -> anyhow::Result<T> {
        loop {
            let Some(packet) = self.packets.pop_front() else {
                let received = timeout_at(self.deadline.into(), self.link.receive()).await;
                let received = received.with_context(|| format!("{what} did not come in time"))?;
                self.packets.extend(received.with_context(|| format!("waiting for {what}"))?);
                continue;
            };
            ensure!(packet != "1", "the session was closed before {what} came");
            if packet == "2" {
                self.send("3".to_owned()).await?;
            } else if let Some(found) = find(&packet) {
                return Ok(found);
            } else if packet.starts_with("41") {
                bail!("the socket was disconnected before {what} came");
            }
        }
    }
}
