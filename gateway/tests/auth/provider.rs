//! A provider of keys: a small HTTP server that answers as the test wants it to.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{PrivateKeyDer, pem::PemObject},
    },
};

use crate::signer::file;

/// How a request is answered.
#[derive(Clone)]
pub(crate) enum Answer {
    /// 200 with this body.
    Body(String),
    /// These bytes, whatever they are.
    Raw(String),
    /// Not at all.
    Silence,
    /// The head, and then a body that never ends.
    Endless,
}

#[derive(Default)]
struct State {
    answer: Option<Answer>,
    requests: Vec<String>,
}

/// Ends with the test.
pub(crate) struct Provider {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Provider {
    pub(crate) async fn start(answer: Answer) -> Self {
        Self::serve(answer, None).await
    }

    /// Over TLS, with a certificate of an authority whose own is in the file.
    pub(crate) async fn start_tls(name: &str, answer: Answer) -> (Self, PathBuf) {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
            )
            .unwrap();
        let provider = Self::serve(answer, Some(TlsAcceptor::from(Arc::new(config)))).await;
        (provider, file(&format!("{name}.crt"), &authority.pem()))
    }

    async fn serve(answer: Answer, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = match tls {
            None => format!("http://127.0.0.1:{port}/keys?tenant=1"),
            Some(_) => format!("https://localhost:{port}/keys"),
        };
        let state = Arc::new(Mutex::new(State { answer: Some(answer), requests: Vec::new() }));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, tls) = (Arc::clone(&shared), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => answer_one(stream, &state).await,
                        Some(tls) => {
                            // A client that does not trust us goes away.
                            if let Ok(stream) = tls.accept(stream).await {
                                answer_one(stream, &state).await;
                            }
                        }
                    }
                });
            }
        });
        Self { url, state, task }
    }

    /// From the next request on.
    pub(crate) fn answers(&self, answer: Answer) {
        self.state.lock().unwrap().answer = Some(answer);
    }

    /// The heads of all requests.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer_one(mut stream: impl AsyncRead + AsyncWrite + Unpin, state: &Mutex<State>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let answer = {
        let mut state = state.lock().unwrap();
        state.requests.push(String::from_utf8(head).unwrap());
        state.answer.clone().unwrap()
    };
    let text = match answer {
        Answer::Body(body) => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        Answer::Raw(text) => text,
        Answer::Silence => return tokio::time::sleep(Duration::from_secs(60)).await,
        Answer::Endless => "HTTP/1.1 200 OK\r\n\r\n{\"keys\":[".to_owned(),
    };
    let endless = text.ends_with('[');
    // The client may have gone.
    let mut written = stream.write_all(text.as_bytes()).await;
    while endless && written.is_ok() {
        written = stream.write_all(&[b' '; 8192]).await;
    }
    let _gone = stream.shutdown().await;
}
