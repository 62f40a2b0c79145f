//! Looks at a Redis server as a node would use it: who it is, how it is set up, what it refuses, whether a message goes
//! round. For people who look for what is wrong; a running node needs none of it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::{sync::Notify, time::timeout};

use super::{
    RedisConfig, StartError,
    backoff::random,
    driver::{Link, LinkError, Outbound, Reply, Timeouts},
    topology::Resolver,
};
use crate::wire::{Channels, Keys};

/// Round trips that are measured.
const ROUND_TRIPS: usize = 20;
/// How long the server may take to hand a message on.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(2);
/// Settings of the server that matter to nodes.
const SETTINGS: [&str; 4] =
    ["maxmemory-policy", "client-output-buffer-limit", "timeout", "notify-keyspace-events"];

/// What was found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inspection {
    /// The server that nodes would meet at.
    pub address: String,
    /// The fields of `INFO`; empty where it is refused.
    pub info: BTreeMap<String, String>,
    /// Those of the settings that the server tells.
    pub settings: BTreeMap<String, String>,
    /// The fields of `CLUSTER INFO`; empty where there is no cluster.
    pub cluster: BTreeMap<String, String>,
    /// The ACL user of the log-in.
    pub user: Option<String>,
    /// What a node needs and this user may not, with the server's words.
    pub refused: Vec<(String, String)>,
    /// Why keys can't be used, which nodes can do without.
    pub keys_refused: Option<String>,
    /// The median of some round trips, and the slowest.
    pub round_trip: Duration,
    /// See [`Self::round_trip`].
    pub slowest_round_trip: Duration,
    /// From a publish to its arrival; `None`: it did not arrive.
    pub message_round_trip: Option<Duration>,
    /// How far the server's clock is ahead of this host's.
    pub clock_ahead_ms: i64,
}

/// Why nothing was found.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The settings can never work.
    #[error("{0}")]
    Config(#[from] StartError),
    /// The server can't be reached, or does not answer.
    #[error("{0}")]
    Link(String),
}

impl From<LinkError> for InspectError {
    fn from(error: LinkError) -> Self {
        Self::Link(error.to_string())
    }
}

/// Connects as a node would, looks, and goes. Leaves nothing behind; what it publishes goes to a room of a random name.
///
/// # Errors
/// Where there is nothing to look at. What a server refuses is part of what is found.
pub async fn inspect(config: &RedisConfig) -> Result<Inspection, InspectError> {
    config.check()?;
    let resolver = Resolver::new(config)?;
    let endpoint = resolver.resolve().await?;
    let timeouts = Timeouts { connect: config.connect_timeout, response: Some(config.publish_timeout) };
    let arrived = Arc::new(Notify::new());
    let on_message = {
        let arrived = Arc::clone(&arrived);
        move |_: &[u8], _: &[u8]| arrived.notify_one()
    };
    let mut publisher = config.driver.connect(&endpoint, timeouts, |_, _| {}).await?;
    let mut subscriber = config.driver.connect(&endpoint, timeouts, on_message).await?;
    let mut found = Inspection { address: endpoint.address.to_string(), ..Inspection::default() };

    found.measure_round_trips(&mut publisher).await?;
    found.info = fields(publisher.query(["INFO"]).await?);
    for name in SETTINGS {
        if let Reply::Array(pair) = publisher.query(["CONFIG", "GET", name]).await?
            && let [_, Reply::Text(value)] = pair.as_slice()
        {
            found.settings.insert(name.to_owned(), String::from_utf8_lossy(value).into_owned());
        }
    }
    if found.info.get("cluster_enabled").is_some_and(|enabled| enabled == "1") {
        found.cluster = fields(publisher.query(["CLUSTER", "INFO"]).await?);
    }
    if let Reply::Text(user) = publisher.query(["ACL", "WHOAMI"]).await? {
        found.user = Some(String::from_utf8_lossy(&user).into_owned());
    }
    found.clock_ahead_ms = clock_ahead_ms(&mut publisher).await?;
    found.keys_refused = try_keys(config, &mut publisher).await?;
    found.try_channels(config, &mut publisher, &mut subscriber, &arrived).await;
    Ok(found)
}

impl Inspection {
    async fn measure_round_trips(&mut self, link: &mut Link) -> Result<(), LinkError> {
        let mut taken = Vec::with_capacity(ROUND_TRIPS);
        for _ in 0..ROUND_TRIPS {
            let begun = Instant::now();
            link.ping().await?;
            taken.push(begun.elapsed());
        }
        taken.sort_unstable();
        self.round_trip = taken[ROUND_TRIPS / 2];
        self.slowest_round_trip = taken[ROUND_TRIPS - 1];
        Ok(())
    }

    /// Subscribes and publishes as nodes do.
    async fn try_channels(
        &mut self,
        config: &RedisConfig,
        publisher: &mut Link,
        subscriber: &mut Link,
        arrived: &Notify,
    ) {
        let channels = Channels::new(&config.prefix);
        let namespace = config.namespaces.first().map_or("/", String::as_str);
        // Node.js servers ignore rooms that they do not have before they look at the message.
        let room = format!("broadgate-doctor-{}", random());
        let channel = channels.room(namespace, &room);
        let pattern = channels.rooms_starting_with(namespace, &room);
        let to_node = channels.node(&config.uid);
        if let Err(error) = subscriber.subscribe_patterns(vec![pattern.clone()]).await {
            self.refused.push((format!("PSUBSCRIBE {pattern}"), error.to_string()));
        }
        for wanted in [channel.clone(), to_node] {
            if let Err(error) = subscriber.subscribe(vec![wanted.clone()]).await {
                self.refused.push((format!("SUBSCRIBE {wanted}"), error.to_string()));
            }
        }
        let begun = Instant::now();
        let message = Outbound::new(channel.clone(), Vec::new());
        let refused = match publisher.publish(std::iter::once(&message)).await {
            Err(error) => Some(error.to_string()),
            Ok(outcomes) => outcomes.into_iter().find_map(Result::err),
        };
        match refused {
            Some(error) => self.refused.push((format!("PUBLISH {channel}"), error)),
            None if timeout(MESSAGE_TIMEOUT, arrived.notified()).await.is_ok() => {
                self.message_round_trip = Some(begun.elapsed());
            }
            None => {}
        }
        match publisher.count_subscriptions(&channel).await {
            Ok(_) => {}
            Err(error) => self.refused.push(("PUBSUB NUMSUB".to_owned(), error.to_string())),
        }
    }
}

/// Reads the keys that nodes have; what may be read may nearly always be written.
async fn try_keys(config: &RedisConfig, link: &mut Link) -> Result<Option<String>, LinkError> {
    let keys = Keys::new(&config.prefix);
    let (revocations, lifted) = (keys.revocations(), keys.lifted_revocations());
    let user = keys.user("broadgate-doctor");
    for reply in [
        link.query(["ZSCAN", revocations.as_str(), "0", "COUNT", "1"]).await?,
        link.query(["ZSCAN", lifted.as_str(), "0", "COUNT", "1"]).await?,
        link.query(["HGETALL", user.as_str()]).await?,
    ] {
        if let Reply::Error(error) = reply {
            return Ok(Some(error));
        }
    }
    Ok(None)
}

/// Lines such as `name:value`; none where the command was refused.
fn fields(reply: Reply) -> BTreeMap<String, String> {
    let Reply::Text(text) = reply else { return BTreeMap::new() };
    let text = String::from_utf8_lossy(&text);
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

async fn clock_ahead_ms(link: &mut Link) -> Result<i64, LinkError> {
    let asked = SystemTime::now();
    let Reply::Array(time) = link.query(["TIME"]).await? else { return Ok(0) };
    let answered = SystemTime::now();
    let number = |place: usize| match time.get(place) {
        Some(Reply::Text(digits)) => String::from_utf8_lossy(digits).parse().unwrap_or(0),
        Some(Reply::Int(number)) => *number,
        _ => 0,
    };
    let theirs_ms = number(0) * 1000 + number(1) / 1000;
    let middle = asked + answered.duration_since(asked).unwrap_or_default() / 2;
    let ours_ms = middle.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    Ok(theirs_ms - i64::try_from(ours_ms).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_and_headings_are_not() {
        let text = b"# Server\r\nredis_version:7.2.4\r\nexecutable:/usr/bin/redis:server\r\n\r\n".to_vec();
        let fields = fields(Reply::Text(text));
        assert_eq!(fields["redis_version"], "7.2.4");
        assert_eq!(fields["executable"], "/usr/bin/redis:server");
        assert_eq!(fields.len(), 2);
        assert!(super::fields(Reply::Error("NOPERM".to_owned())).is_empty());
    }
}
