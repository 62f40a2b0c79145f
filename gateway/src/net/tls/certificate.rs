//! The certificate and its key: read, checked against each other, and when it expires.

use std::{
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    io::Read,
    path::{Path, PathBuf},
};

use tokio_rustls::rustls::{
    self,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Where they are.
#[derive(Debug, Clone)]
pub struct CertificateFiles {
    /// The certificate in PEM, followed by what leads up to an authority (`server.tls_cert_file`).
    pub certificate_file: PathBuf,
    /// Its private key in PEM (`server.tls_key_file`).
    pub key_file: PathBuf,
}

/// Why they can't be used. Names keys and files, never what is in them.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CertificateError {
    /// The certificate's file.
    #[error("server.tls_cert_file: {}: {reason}", file.display())]
    Certificate {
        /// Which.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// The key's file.
    #[error("server.tls_key_file: {}: {reason}", file.display())]
    Key {
        /// Which.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// Certificate and key don't fit each other, or are of a kind that is not supported.
    #[error("server.tls_cert_file with server.tls_key_file: {} with {}: {reason}", certificate_file.display(), key_file.display())]
    Pair {
        /// The certificate.
        certificate_file: PathBuf,
        /// The key.
        key_file: PathBuf,
        /// Why.
        reason: String,
    },
    /// There is no random source for the keys of tickets.
    #[error("no tickets can be made: {0}")]
    NoTickets(rustls::Error),
}

/// What is in the files.
pub(super) struct Content {
    certificates: Vec<u8>,
    key: Vec<u8>,
}

/// A certificate that can be shown.
pub(super) struct Identity {
    pub(super) key: CertifiedKey,
    /// Seconds since 1970.
    pub(super) expires_at_s: i64,
}

impl CertificateFiles {
    pub(super) fn read(&self) -> Result<Content, CertificateError> {
        let certificates = read(&self.certificate_file).map_err(|reason| self.bad_certificate(reason))?;
        let key = read(&self.key_file).map_err(|reason| self.bad_key(reason))?;
        Ok(Content { certificates, key })
    }

    fn bad_certificate(&self, reason: impl Into<String>) -> CertificateError {
        CertificateError::Certificate { file: self.certificate_file.clone(), reason: reason.into() }
    }

    fn bad_key(&self, reason: impl Into<String>) -> CertificateError {
        CertificateError::Key { file: self.key_file.clone(), reason: reason.into() }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("it is larger than {MAX_FILE_BYTES} bytes"));
    }
    Ok(bytes)
}

impl Content {
    /// The same for the same content; no more than that is asked of it.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.certificates, &self.key).hash(&mut hasher);
        hasher.finish()
    }

    pub(super) fn parse(&self, files: &CertificateFiles) -> Result<Identity, CertificateError> {
        let certificates = CertificateDer::pem_slice_iter(&self.certificates)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| files.bad_certificate("it is no valid PEM"))?;
        let Some(first) = certificates.first() else {
            return Err(files.bad_certificate("there is no certificate in it"));
        };
        let expires_at_s =
            not_after(first).ok_or_else(|| files.bad_certificate("the first one is no certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| files.bad_key("there is no private key in it, as PEM and without a password"))?;
        let pair = CertifiedKey::from_der(certificates, key, &aws_lc_rs::default_provider());
        let key = pair.map_err(|error| CertificateError::Pair {
            certificate_file: files.certificate_file.clone(),
            key_file: files.key_file.clone(),
            reason: error.to_string(),
        })?;
        Ok(Identity { key, expires_at_s })
    }
}

/// When a certificate expires, in seconds since 1970: `validity.notAfter` (RFC 5280 section 4.1). The few bytes on the
/// way there are read here, since rustls keeps them to itself and a crate for all of X.509 is large.
fn not_after(certificate: &[u8]) -> Option<i64> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    let (tag, certificate, _) = element(certificate)?;
    let (inner_tag, mut fields, _) = element(certificate)?;
    if tag != SEQUENCE || inner_tag != SEQUENCE {
        return None;
    }
    if *fields.first()? == VERSION {
        fields = element(fields)?.2;
    }
    // The serial number, the signature's algorithm, the issuer.
    for _ in 0..3 {
        fields = element(fields)?.2;
    }
    let (tag, validity, _) = element(fields)?;
    let (_, _, rest) = element(validity).filter(|_| tag == SEQUENCE)?;
    let (tag, time, _) = element(rest)?;
    time_s(tag, time)
}

/// An element of DER: its tag, what is in it, and what follows.
fn element(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, length], rest) = input.split_first_chunk::<2>()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(length - 0x80))?;
            (bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280 section 4.1.2.5).
fn time_s(tag: u8, time: &[u8]) -> Option<i64> {
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;
    let digits = std::str::from_utf8(time).ok()?.strip_suffix('Z')?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest): (i64, _) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let year: i64 = digits[..2].parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &digits[2..])
        }
        (GENERALIZED_TIME, 14) => (digits[..4].parse().ok()?, &digits[4..]),
        _ => return None,
    };
    let part = |index: usize| rest[index..index + 2].parse::<i64>().ok();
    let (month, day) = (part(0)?, part(2)?);
    let seconds = part(4)? * 3600 + part(6)? * 60 + part(8)?;
    Some(days_since_1970(year, month, day) * 86_400 + seconds)
}

/// Days of the Gregorian calendar, counted from the March of each year so that a leap day is the last one.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_certificates_have_them() {
        for (tag, text, expected) in [
            (0x17, "700101000000Z", Some(0)),
            (0x17, "260930235959Z", Some(1_790_812_799)),
            (0x17, "491231235959Z", Some(2_524_607_999)),
            (0x17, "500101000000Z", Some(-631_152_000)),
            (0x18, "20500101000000Z", Some(2_524_608_000)),
            (0x18, "20240229120000Z", Some(1_709_208_000)),
            (0x18, "99991231235959Z", Some(253_402_300_799)),
            (0x17, "20500101000000Z", None),
            (0x18, "700101000000Z", None),
            (0x17, "700101000000", None),
            (0x17, "70010100000xZ", None),
            (0x17, "+00101000000Z", None),
            (0x04, "700101000000Z", None),
            (0x17, "", None),
        ] {
            assert_eq!(time_s(tag, text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn a_certificate_says_when_it_expires() {
        let mut parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(2031, 5, 17);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let der = certificate.der();
        assert_eq!(not_after(der), Some(1_936_742_400));
        for cut in 0..100 {
            assert_eq!(not_after(&der[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_the_key_and_the_file() {
        let files = CertificateFiles { certificate_file: "c.pem".into(), key_file: "k.pem".into() };
        let make = || {
            let key = rcgen::KeyPair::generate().unwrap();
            let parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
            (parameters.self_signed(&key).unwrap().pem(), key.serialize_pem())
        };
        let ((certificate, key), (_, another_key)) = (make(), make());
        let fault = |certificates: &str, key: &str| {
            let content = Content { certificates: certificates.into(), key: key.into() };
            content.parse(&files).err().map(|error| error.to_string())
        };
        assert_eq!(fault(&certificate, &key), None);
        for (certificate, key, expected) in [
            ("", &*key, "server.tls_cert_file: c.pem: there is no certificate in it"),
            ("-----BEGIN CERTIFICATE-----\nx", &key, "server.tls_cert_file: c.pem: it is no valid PEM"),
            (&key, &key, "server.tls_cert_file: c.pem: there is no certificate in it"),
            (
                &certificate,
                "",
                "server.tls_key_file: k.pem: there is no private key in it, as PEM and without a password",
            ),
            (
                &certificate,
                &another_key,
                "server.tls_cert_file with server.tls_key_file: c.pem with k.pem: keys may not be consistent: KeyMismatch",
            ),
        ] {
            assert_eq!(fault(certificate, key).as_deref(), Some(expected));
        }
        let missing = files.read().err().unwrap().to_string();
        assert!(missing.starts_with("server.tls_cert_file: c.pem: No such file"), "{missing}");
    }
}
