//! The edge: one JWK set from its place, in bounded time and space.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    time::Duration,
};

use broadgate_adapter::redis::TlsSettings;
use bytes::Bytes;
use http::{StatusCode, header};
use http_body_util::Full;
use tokio::time::timeout;
use url::Url;

use super::keys::JwksError;
use crate::{
    config::JwksPlace,
    net::{OutboundError, OutboundTls, request_to, send},
};

/// From the look-up of the name to the last byte.
pub(super) const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Sixty-four RSA keys with their certificates.
const MAX_JWKS_BYTES: usize = 512 * 1024;

/// Why keys were not fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no answer within {} s", FETCH_TIMEOUT.as_secs())]
    TimedOut,
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    #[error("the answer has the status {}", .0.as_u16())]
    Status(StatusCode),
    #[error("the answer is a redirect, which is not followed; give the URL that it leads to")]
    Redirect,
    #[error("the file has more than {MAX_JWKS_BYTES} bytes")]
    FileTooLarge,
    #[error("cannot read the file: {0}")]
    File(io::Error),
    #[error("{0}")]
    Jwks(#[from] JwksError),
}

/// The results that metrics know, the success first.
pub(super) const RESULTS: [&str; 5] = ["ok", "timeout", "unreachable", "refused", "unusable"];

impl FetchError {
    /// Its place in [`RESULTS`].
    pub(super) fn result(&self) -> usize {
        match self {
            Self::TimedOut => 1,
            Self::Outbound(OutboundError::TooLarge(_)) | Self::FileTooLarge | Self::Jwks(_) => 4,
            Self::Outbound(_) | Self::File(_) => 2,
            Self::Status(_) | Self::Redirect => 3,
        }
    }
}

/// The bytes of a JWK set.
pub(super) async fn fetch(place: &JwksPlace) -> Result<Vec<u8>, FetchError> {
    let read = async {
        match place {
            JwksPlace::Url { url, ca_file } => {
                let tls = TlsSettings { ca_file: ca_file.clone(), ..TlsSettings::default() };
                get(url, tls).await
            }
            JwksPlace::File(path) => read_file(path).await,
        }
    };
    timeout(FETCH_TIMEOUT, read).await.unwrap_or(Err(FetchError::TimedOut))
}

async fn read_file(path: &Path) -> Result<Vec<u8>, FetchError> {
    let path = path.to_owned();
    let read = move || {
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_JWKS_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = tokio::task::spawn_blocking(read).await.map_err(|error| FetchError::File(error.into()))?;
    let bytes = bytes.map_err(FetchError::File)?;
    if bytes.len() > MAX_JWKS_BYTES { Err(FetchError::FileTooLarge) } else { Ok(bytes) }
}

async fn get(url: &Url, tls: TlsSettings) -> Result<Vec<u8>, FetchError> {
    let tls = OutboundTls::of(url, tls).await?;
    let request = request_to(url).header(header::ACCEPT, "application/json").body(Full::<Bytes>::default());
    let request = request.expect("what a URL holds can be in a request");
    let response = send(url, tls, request, MAX_JWKS_BYTES).await?;
    if response.status().is_redirection() {
        return Err(FetchError::Redirect);
    }
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status()));
    }
    Ok(response.into_body().into())
}
