//! `[server]`, what of it is about TLS and about balancers in front of the node.

use std::path::PathBuf;

use super::{checks, reader::Section};
use crate::net::Cidr;

/// What comes between clients and the node.
#[derive(Debug, Clone, Default)]
pub struct EdgeSettings {
    /// The certificate of the public listener. With its key, or neither of them: then it does not speak TLS.
    pub tls_cert_file: Option<PathBuf>,
    /// The certificate's key.
    pub tls_key_file: Option<PathBuf>,
    /// Does a PROXY header come before everything else?
    pub proxy_protocol: bool,
    /// Whose PROXY headers and `X-Forwarded-For` are believed.
    pub trusted_proxies: Vec<Cidr>,
}

pub(super) fn edge(section: &mut Section<'_>) -> EdgeSettings {
    let tls_cert_file = section.optional_path(
        "tls_cert_file",
        "Certificate (PEM) of the public listener, followed by those that lead up to an authority; with it the listener \
         speaks TLS. Both files are looked at every two seconds, and new ones are used for new connections.",
    );
    section.example("\"/etc/broadgate/tls.crt\"");
    let tls_key_file = section.optional_path("tls_key_file", "The private key (PEM) of that certificate.");
    section.example("\"/etc/broadgate/tls.key\"");
    let trusted_proxies = section.texts(
        "trusted_proxies",
        "Networks of the balancers in front of the node, such as [\"10.0.0.0/8\"]. From them alone X-Forwarded-For is \
         believed: a client's address is the last one in it that is none of theirs.",
        Vec::new(),
        checks::cidr,
    );
    let proxy_protocol = section.optional_switch(
        "proxy_protocol",
        "Whether each connection begins with a PROXY header, version 1 or 2. Connections from others than \
         trusted_proxies are closed then.",
    );
    section.example("true");
    EdgeSettings {
        tls_cert_file,
        tls_key_file,
        proxy_protocol: proxy_protocol.unwrap_or(false),
        // One that is malformed was reported.
        trusted_proxies: trusted_proxies.iter().filter_map(|network| network.parse().ok()).collect(),
    }
}
