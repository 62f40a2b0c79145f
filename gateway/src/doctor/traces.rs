//! The receiver of traces: whether it takes a request without spans, by the way and with the headers of the exporter.

use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use url::{Position, Url};

use super::Finding;
use crate::{
    config::TracesSettings,
    net::OutboundError,
    telemetry::{TracesReceiver, TracesReceiverError},
};

const AREA: &str = "traces";

/// Asks the receiver, where there is one.
pub(super) async fn finding(settings: &TracesSettings) -> Option<Finding> {
    let mut receiver = TracesReceiver::new(settings)?;
    let begun = Instant::now();
    let taken = receiver.post(&ExportTraceServiceRequest::default()).await;
    let url = settings.endpoint.as_ref()?;
    Some(what_follows(url, taken.map(|_| begun.elapsed())))
}

/// Why this matters: nobody notices that spans are lost until they are wanted. Clients are served all the same, so it is
/// no fault.
fn what_follows(url: &Url, taken: Result<Duration, TracesReceiverError>) -> Finding {
    // The path may hold a key.
    let origin = &url[..Position::AfterPort];
    match taken {
        Ok(time) => {
            Finding::good(AREA, format!("{origin} takes spans, within {:.1} ms", time.as_secs_f64() * 1e3))
        }
        Err(error) => {
            let what = format!("{origin} takes no spans, so all of them are lost: {error}");
            Finding::advice(AREA, what, remedy(url, &error))
        }
    }
}

fn remedy(url: &Url, error: &TracesReceiverError) -> &'static str {
    let status = match error {
        TracesReceiverError::TimedOut => {
            return "is there something between that drops packets? where the receiver is slow, raise traces.timeout_ms";
        }
        TracesReceiverError::Outbound(OutboundError::Connect(_) | OutboundError::Tls(_))
            if url.scheme() == "https" =>
        {
            return "check traces.endpoint; traces.ca_file must hold the authority of the receiver's certificate, which must \
                    be for that host";
        }
        TracesReceiverError::Outbound(OutboundError::Connect(_) | OutboundError::Tls(_)) => {
            return "check host and port of traces.endpoint (OTLP over HTTP is mostly on 4318), and the way there";
        }
        TracesReceiverError::Outbound(OutboundError::Http(_) | OutboundError::TooLarge(_)) => {
            return "traces.endpoint must be a receiver of OTLP over HTTP, mostly on port 4318; 4317 is mostly gRPC, which nodes \
                    do not speak, and one with TLS wants https://";
        }
        TracesReceiverError::Status(status) => status.as_u16(),
    };
    match status {
        300..=399 => "set traces.endpoint to where the receiver leads: nodes follow no redirects",
        401 | 403 => {
            "put the header that the receiver wants into traces.headers_file; nodes read it again by themselves"
        }
        404 | 405 => "give traces.endpoint the receiver's path; without one it is /v1/traces",
        400 | 415 => "the receiver must take OTLP over HTTP as protobuf (application/x-protobuf)",
        429 | 500..=599 => "the receiver is overloaded, or what is behind it is broken: look at its own log",
        _ => "traces.endpoint must be a receiver of OTLP over HTTP; the log of the receiver may say more",
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use http::StatusCode;

    use super::{super::Severity, *};

    #[test]
    fn each_trouble_is_named_with_what_to_do() {
        let status = |code| TracesReceiverError::Status(StatusCode::from_u16(code).expect("a status"));
        let refused =
            || TracesReceiverError::Outbound(OutboundError::Connect(io::ErrorKind::ConnectionRefused.into()));
        for (scheme, error, expected) in [
            ("http", TracesReceiverError::TimedOut, "traces.timeout_ms"),
            ("http", refused(), "4318"),
            ("https", refused(), "traces.ca_file"),
            ("http", TracesReceiverError::Outbound(OutboundError::TooLarge(9)), "gRPC"),
            ("http", status(308), "redirects"),
            ("http", status(401), "traces.headers_file"),
            ("http", status(404), "/v1/traces"),
            ("http", status(415), "protobuf"),
            ("http", status(503), "overloaded"),
            ("http", status(418), "log of the receiver"),
        ] {
            let url = Url::parse(&format!("{scheme}://otlp.example.com:9/key-of-the-team")).expect("a URL");
            let what = error.to_string();
            let found = what_follows(&url, Err(error));
            assert_eq!(found.severity, Severity::Advice, "clients are served");
            let said = found.to_string();
            for part in [expected, &what, "otlp.example.com:9"] {
                assert!(said.contains(part), "{part}: {said}");
            }
            assert!(!said.contains("key-of-the-team"), "{said}");
        }
    }

    #[test]
    fn one_that_takes_spans_is_as_it_should_be() {
        let url = Url::parse("http://127.0.0.1:4318/v1/traces").expect("a URL");
        let found = what_follows(&url, Ok(Duration::from_micros(1500)));
        assert_eq!((found.severity, found.remedy), (Severity::Good, None));
        assert_eq!(found.what, "http://127.0.0.1:4318 takes spans, within 1.5 ms");
    }
}
