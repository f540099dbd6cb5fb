//! Whom we trust: built-in roots, the system's bundle, and per host the certificates of `certs.d`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::{Error, Options};

/// Largest certificate file that is read.
const MOST_BYTES: u64 = 16 << 20;

/// The certificates that belong to one host, beside those everyone trusts.
#[derive(Debug, Default)]
pub(crate) struct HostFiles {
    authorities: Vec<PathBuf>,
    client: Option<(PathBuf, PathBuf)>,
}

impl HostFiles {
    /// Looks for a folder of this `host[:port]` in each directory, and for what is said of the host by itself.
    pub(crate) fn find(options: &Options, host: &str) -> Result<Self, Error> {
        let mut found = Self::default();
        for directory in &options.certificate_directories {
            found.add_folder(&directory.join(host))?;
        }
        if let Some(own) = options.host_certificates.get(host) {
            for folder in &own.directories {
                found.add_folder(folder)?;
            }
            found.authorities.extend(own.authorities.iter().cloned());
            found.client = own.client.clone().or(found.client);
        }
        Ok(found)
    }

    fn add_folder(&mut self, folder: &Path) -> Result<(), Error> {
        let mut names = match list(folder) {
            Ok(names) => names,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(());
            }
            Err(error) => return Err(unusable(folder, error)),
        };
        names.sort();
        names.into_iter().try_for_each(|path| self.add(path))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.authorities.is_empty() && self.client.is_none()
    }

    fn add(&mut self, path: PathBuf) -> Result<(), Error> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => self.authorities.push(path),
            Some("cert") => {
                let key = path.with_extension("key");
                if !key.is_file() {
                    return Err(unusable(&path, format!("its key `{}` is missing", key.display())));
                }
                if let Some((first, _)) = self.client.replace((path.clone(), key)) {
                    return Err(unusable(&path, format!("there is another client certificate, `{}`", first.display())));
                }
            }
            Some("key") if !path.with_extension("cert").is_file() => {
                return Err(unusable(&path, "its certificate (`.cert`) is missing"));
            }
            _ => {}
        }
        Ok(())
    }
}

/// Returns the settings for connections to one host.
pub(crate) fn config(bundles: &[PathBuf], files: &HostFiles, insecure: bool) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Setting { what: "TLS".to_owned(), reason: error.to_string() })?;
    let builder = if insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else {
        let own = own_certificates(files)?;
        let roots = Arc::new(roots(bundles, &own)?);
        let webpki = WebPkiServerVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(|error| Error::Setting { what: "TLS".to_owned(), reason: error.to_string() })?;
        let own = own.into_iter().map(|(_, certificate)| certificate).collect();
        builder.dangerous().with_custom_certificate_verifier(Arc::new(KnownCertificate { webpki, own }))
    };
    let mut config = match &files.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate)?;
            let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| unusable(key, error))?;
            builder.with_client_auth_cert(chain, private).map_err(|error| unusable(certificate, error))?
        }
    };
    // Several connections move several blobs faster than streams that share one.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Reads the certificates that belong to one host.
fn own_certificates(files: &HostFiles) -> Result<Vec<(PathBuf, CertificateDer<'static>)>, Error> {
    let mut own = Vec::new();
    for path in &files.authorities {
        own.extend(certificates(path)?.into_iter().map(|certificate| (path.clone(), certificate)));
    }
    Ok(own)
}

fn roots(bundles: &[PathBuf], own: &[(PathBuf, CertificateDer<'static>)]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for bundle in bundles.iter().filter(|bundle| bundle.is_file()) {
        // Old bundles hold certificates that nobody can use any more; those are left out.
        roots.add_parsable_certificates(certificates(bundle)?);
    }
    for (path, certificate) in own {
        roots.add(certificate.clone()).map_err(|error| unusable(path, error))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = read(path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let all = all.map_err(|error| unusable(path, error))?;
    if all.is_empty() { Err(unusable(path, "it holds no certificate in PEM form")) } else { Ok(all) }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let metadata = fs::metadata(path).map_err(|error| unusable(path, error))?;
    if !metadata.is_file() || metadata.len() > MOST_BYTES {
        return Err(unusable(path, "not a regular file of at most 16 MiB"));
    }
    fs::read(path).map_err(|error| unusable(path, error))
}

fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}

fn unusable(path: &Path, reason: impl ToString) -> Error {
    Error::Setting { what: format!("certificate file `{}`", path.display()), reason: reason.to_string() }
}

/// Takes what an authority we trust has signed, and a certificate that stands in `certs.d` by itself: `openssl req
/// -x509` makes one that may sign others, too, and those are refused as a server's own by webpki.
#[derive(Debug)]
struct KnownCertificate {
    webpki: Arc<WebPkiServerVerifier>,
    own: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for KnownCertificate {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.webpki.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // Its time of validity was looked at before its purpose, which has no error of its own.
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(_)))
                if self.own.iter().any(|own| own.as_ref() == certificate.as_ref()) =>
            {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// Takes whatever certificate a server shows; only for hosts that the user called insecure.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
