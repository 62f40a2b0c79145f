//! The abuses by name.

use clap::ValueEnum;

use super::{Shared, flood, hold};

/// What an abuser does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Abuse {
    /// Members of a busy room that never read
    SlowReaders,
    /// WebSocket frames of noise
    WebsocketGarbage,
    /// Packets that no Socket.IO client sends
    SocketioGarbage,
    /// Frames that say they are compressed
    CompressedFrames,
    /// Request heads at one byte a second
    SlowHeads,
    /// WebSocket messages at one byte a second
    SlowFrames,
    /// Handshakes that nobody goes on with
    AbandonedHandshakes,
    /// One address that opens all the connections it can
    ConnectionFlood,
    /// Acks that nobody asked for, without end
    AckFlood,
    /// WebSocket pings without end
    PingFlood,
    /// Joins of ever new rooms
    JoinFlood,
    /// Publishes without end to a room where nobody may
    PublishFlood,
    /// CONNECTs with tokens that nobody has signed
    TokenFlood,
}

impl Abuse {
    /// As on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The samples of the node's metrics of which at least one has to grow.
    pub(crate) const fn expected(self) -> &'static [&'static str] {
        match self {
            Self::SlowReaders => &["broadgate_connections_closed_total{reason=\"slow_consumer\"}"],
            Self::WebsocketGarbage | Self::CompressedFrames => {
                &["broadgate_protocol_errors_total{layer=\"websocket\"}"]
            }
            Self::SocketioGarbage => &["broadgate_protocol_errors_total{layer=\"socketio\"}"],
            // The server hangs up without a word: nothing was asked yet.
            Self::SlowHeads => &[],
            Self::SlowFrames => &[
                "broadgate_connections_closed_total{reason=\"ping_timeout\"}",
                "broadgate_connections_closed_total{reason=\"connect_timeout\"}",
            ],
            Self::AbandonedHandshakes => &[
                "broadgate_connections_closed_total{reason=\"connect_timeout\"}",
                "broadgate_handshake_rejected_total{reason=\"pending\"}",
                "broadgate_handshake_rejected_total{reason=\"address_rate\"}",
            ],
            Self::ConnectionFlood => {
                &["broadgate_limit_reached_total{limit=\"max_connections_per_address\"}"]
            }
            Self::AckFlood | Self::PingFlood | Self::PublishFlood => {
                &["broadgate_connections_closed_total{reason=\"rate_limited\"}"]
            }
            Self::JoinFlood => &[
                "broadgate_connections_closed_total{reason=\"rate_limited\"}",
                "broadgate_joins_total{result=\"limit_reached\"}",
            ],
            Self::TokenFlood => &["broadgate_connects_total{result=\"token_invalid\"}"],
        }
    }

    pub(super) const fn threads(self) -> u8 {
        match self {
            Self::SlowReaders | Self::SlowHeads | Self::SlowFrames | Self::ConnectionFlood => 1,
            _ => 4,
        }
    }

    pub(super) fn run(self, shared: &Shared, number: u8) {
        match self {
            Self::SlowReaders => hold::slow_readers(shared),
            Self::SlowHeads => hold::slow_heads(shared),
            Self::SlowFrames => hold::slow_frames(shared),
            Self::ConnectionFlood => hold::connections(shared),
            Self::WebsocketGarbage => flood::websocket_garbage(shared, number),
            Self::SocketioGarbage => flood::socketio_garbage(shared, number),
            Self::CompressedFrames => flood::compressed_frames(shared, number),
            Self::AbandonedHandshakes => flood::abandoned_handshakes(shared, number),
            Self::AckFlood => flood::packets(shared, number, |_| "43999[1]".to_owned()),
            Self::PingFlood => flood::pings(shared, number),
            Self::JoinFlood => {
                flood::packets(shared, number, |turn| {
                    format!("42{turn}[\"join\",\"flood-{number}-{turn}\"]")
                });
            }
            Self::PublishFlood => flood::packets(shared, number, |turn| {
                format!("42{turn}[\"publish\",\"forbidden\",\"m\",\"{}\"]", "x".repeat(200))
            }),
            Self::TokenFlood => flood::tokens(shared, number),
        }
    }
}
