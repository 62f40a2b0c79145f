//! The receiver of spans (OTLP over HTTP with protobuf), as whoever asks it sees it: one request at a time, within the
//! time that the settings give.

use std::{path::PathBuf, time::Duration};

use broadgate_adapter::redis::TlsSettings;
use bytes::Bytes;
use http::{
    StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use http_body_util::Full;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use url::Url;

use super::headers::RequestHeaders;
use crate::{
    config::TracesSettings,
    net::{OutboundError, OutboundTls, request_to, send},
};

const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Why spans were not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiverError {
    #[error("no answer in time")]
    TimedOut,
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    #[error("the receiver answered {}", .0.as_u16())]
    Status(StatusCode),
}

/// See the module.
pub(crate) struct Receiver {
    url: Url,
    timeout: Duration,
    ca_file: Option<PathBuf>,
    pub(super) headers: RequestHeaders,
    /// Made for the first request, and again after a failure.
    tls: Option<OutboundTls>,
}

impl Receiver {
    /// `None` where the settings name none.
    pub(crate) fn new(settings: &TracesSettings) -> Option<Self> {
        Some(Self {
            url: settings.endpoint.clone()?,
            timeout: settings.timeout,
            ca_file: settings.ca_file.clone(),
            headers: RequestHeaders::new(settings),
            tls: None,
        })
    }

    /// Sends spans, or none to see whether it would take some.
    ///
    /// # Errors
    /// It has not said that it took them.
    pub(crate) async fn post(
        &mut self,
        request: &ExportTraceServiceRequest,
    ) -> Result<ExportTraceServiceResponse, ReceiverError> {
        let answer = tokio::time::timeout(self.timeout, self.exchange(request)).await;
        let answer = answer.unwrap_or(Err(ReceiverError::TimedOut));
        if answer.is_err() {
            self.tls = None;
        }
        answer
    }

    async fn exchange(
        &mut self,
        request: &ExportTraceServiceRequest,
    ) -> Result<ExportTraceServiceResponse, ReceiverError> {
        if self.tls.is_none() {
            let settings = TlsSettings { ca_file: self.ca_file.clone(), ..TlsSettings::default() };
            self.tls = OutboundTls::of(&self.url, settings).await?;
        }
        let body = Bytes::from(request.encode_to_vec());
        let head = request_to(&self.url).method("POST").header(CONTENT_TYPE, "application/x-protobuf");
        // A request without spans is 0 bytes long, for which hyper leaves the length out, and some answer 411.
        let head = head.header(CONTENT_LENGTH, body.len());
        let request = self.headers.add_to(head).body(Full::new(body));
        let request = request.expect("the settings and their files hold headers and URLs that HTTP can have");
        let response = send(&self.url, self.tls.clone(), request, MAX_ANSWER_BYTES).await?;
        if !response.status().is_success() {
            return Err(ReceiverError::Status(response.status()));
        }
        Ok(ExportTraceServiceResponse::decode(response.into_body()).unwrap_or_default())
    }
}
