//! TLS as libpq means it: what each `sslmode` verifies, and against which roots.
//!
//! Cryptography is `ring`'s. No process-wide provider is installed or needed.

use crate::codes;
use crate::error::{Error, Result};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// libpq's `sslmode`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TlsMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl TlsMode {
    pub(super) const NAMES: &[&str] = &["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
    const ALL: [TlsMode; 6] =
        [Self::Disable, Self::Allow, Self::Prefer, Self::Require, Self::VerifyCa, Self::VerifyFull];

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Allow => "allow",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// What a URL says about TLS.
#[derive(Clone, Default, Debug)]
pub(super) struct TlsOptions {
    pub(super) mode: Option<TlsMode>,
    /// A file, or `system`.
    pub(super) root: Option<String>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

/// How a connection is tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Attempt {
    Plain,
    /// TLS where the server offers it.
    Offered,
    Encrypted,
}

const SYSTEM: &str = "system";
/// Where distributions keep their roots, as OpenSSL's builds know them.
const SYSTEM_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

impl TlsOptions {
    /// Refuses what cannot be meant.
    pub(super) fn check(&self) -> Result<()> {
        if self.root.as_deref() == Some(SYSTEM) && self.mode.is_some_and(|mode| mode != TlsMode::VerifyFull) {
            return Err(Error::config(codes::OF0706, "'sslrootcert=system' needs 'sslmode=verify-full'")
                .note("anybody can get a certificate that a public root has signed, for a host of their own")
                .help("write sslmode=verify-full&sslrootcert=system"));
        }
        if self.certificate.is_some() != self.key.is_some() {
            return Err(Error::config(codes::OF0706, "'sslcert' and 'sslkey' belong together").help("give both"));
        }
        Ok(())
    }

    /// The mode: as written, else `verify-full` for the system's roots, else `prefer` as libpq does.
    fn mode(&self) -> TlsMode {
        let default = if self.root.as_deref() == Some(SYSTEM) { TlsMode::VerifyFull } else { TlsMode::Prefer };
        self.mode.unwrap_or(default)
    }

    /// The connections to try, in order. The second is tried only where the first failed for want of (or because of) TLS.
    pub(super) fn attempts(&self, local: bool) -> &'static [Attempt] {
        match self.mode() {
            _ if local => &[Attempt::Plain],
            TlsMode::Disable => &[Attempt::Plain],
            TlsMode::Allow => &[Attempt::Plain, Attempt::Encrypted],
            TlsMode::Prefer => &[Attempt::Offered, Attempt::Plain],
            TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => &[Attempt::Encrypted],
        }
    }

    /// The client's side of a handshake. Reads the files that the options name.
    pub(super) fn client(&self) -> Result<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| tls("TLS cannot be set up", error))?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(provider)?);
        match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, error))?;
                builder
                    .with_client_auth_cert(certificates(certificate)?, key)
                    .map_err(|error| tls("'sslcert' and 'sslkey' cannot be used", error))
            }
            _ => Ok(builder.with_no_client_auth()),
        }
    }

    /// `require` verifies nothing unless a root is given, as with libpq.
    fn verifier(&self, provider: Arc<CryptoProvider>) -> Result<Arc<Verifier>> {
        let depth = match self.mode() {
            TlsMode::VerifyFull => Depth::Host,
            TlsMode::VerifyCa => Depth::Chain,
            TlsMode::Require if self.root.is_some() => Depth::Chain,
            _ => return Ok(Arc::new(Verifier { depth: Depth::Nothing, roots: Vec::new(), inner: None, provider })),
        };
        let (store, roots) = self.roots()?;
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone())
            .build()
            .map_err(|error| tls("no root certificate can be used", error))?;
        Ok(Arc::new(Verifier { depth, roots, inner: Some(inner), provider }))
    }

    fn roots(&self) -> Result<(RootCertStore, Vec<CertificateDer<'static>>)> {
        let mut store = RootCertStore::empty();
        let mut own = Vec::new();
        match self.root.as_deref() {
            Some(SYSTEM) => {
                store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
                if let Some(bundle) = system_bundle() {
                    store.add_parsable_certificates(certificates(&bundle)?);
                }
            }
            Some(file) => own = certificates(Path::new(file))?,
            None => match default_root() {
                Some(file) => own = certificates(&file)?,
                None => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            },
        }
        store.add_parsable_certificates(own.iter().cloned());
        Ok((store, own))
    }
}

/// libpq's default file, where there is one; otherwise the public roots are used.
fn default_root() -> Option<PathBuf> {
    let file = PathBuf::from(std::env::var_os("HOME")?).join(".postgresql/root.crt");
    file.is_file().then_some(file)
}

fn system_bundle() -> Option<PathBuf> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    named.into_iter().chain(SYSTEM_BUNDLES.iter().map(PathBuf::from)).find(|file| file.is_file())
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found =
        CertificateDer::pem_file_iter(file).and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>());
    let found = found.map_err(|error| unreadable(file, error))?;
    if found.is_empty() {
        return Err(Error::config(codes::OF0705, format!("'{}' holds no certificate", file.display()))
            .help("give a PEM file with BEGIN CERTIFICATE"));
    }
    Ok(found)
}

fn unreadable(file: &Path, error: rustls_pki_types::pem::Error) -> Error {
    Error::config(codes::OF0705, format!("'{}' cannot be read: {error}", file.display())).help("give a PEM file")
}

fn tls(what: &str, error: impl std::fmt::Display) -> Error {
    Error::config(codes::OF0705, format!("{what}: {error}"))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Depth {
    Nothing,
    Chain,
    Host,
}

/// Verifies as deep as the mode says.
#[derive(Debug)]
struct Verifier {
    depth: Depth,
    roots: Vec<CertificateDer<'static>>,
    inner: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(inner) = &self.inner else { return Ok(ServerCertVerified::assertion()) };
        // A server's own certificate given as the root: trusted by itself, and still only for its own name.
        if self.roots.iter().any(|root| root.as_ref() == end_entity.as_ref()) {
            if self.depth == Depth::Host {
                rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
            }
            return Ok(ServerCertVerified::assertion());
        }
        match inner.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.depth == Depth::Chain => Ok(ServerCertVerified::assertion()),
            answer => answer,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match &self.inner {
            Some(inner) => inner.verify_tls12_signature(message, certificate, signature),
            None => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match &self.inner {
            Some(inner) => inner.verify_tls13_signature(message, certificate, signature),
            None => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_tries_the_connections_that_libpq_tries() {
        let tried = |mode| TlsOptions { mode, ..TlsOptions::default() }.attempts(false);
        assert_eq!(tried(None), [Attempt::Offered, Attempt::Plain]);
        assert_eq!(tried(Some(TlsMode::Disable)), [Attempt::Plain]);
        assert_eq!(tried(Some(TlsMode::Allow)), [Attempt::Plain, Attempt::Encrypted]);
        for mode in [TlsMode::Require, TlsMode::VerifyCa, TlsMode::VerifyFull] {
            assert_eq!(tried(Some(mode)), [Attempt::Encrypted]);
        }
    }

    #[test]
    fn every_name_is_read_back() {
        for name in TlsMode::NAMES {
            assert_eq!(TlsMode::parse(name).map(TlsMode::name), Some(*name));
        }
    }

    #[test]
    fn public_roots_vouch_for_hosts_only() {
        let mut options = TlsOptions { root: Some("system".to_owned()), ..TlsOptions::default() };
        assert!(options.check().is_ok());
        assert_eq!(options.attempts(false), [Attempt::Encrypted]);
        options.mode = Some(TlsMode::Require);
        assert!(options.check().is_err());
    }

    #[test]
    fn a_client_needs_no_process_wide_provider() {
        for mode in [TlsMode::Prefer, TlsMode::Require] {
            TlsOptions { mode: Some(mode), ..TlsOptions::default() }.client().expect("ring is built in");
        }
    }
}
