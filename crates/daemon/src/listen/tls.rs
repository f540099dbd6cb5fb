//! The certificates of a port.

use std::fs;
use std::path::{Path, PathBuf};

use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

use crate::DaemonError;

/// Largest file of certificates that is read.
const MOST_BYTES: u64 = 1 << 20;

/// Files in PEM form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The daemon's certificate, with those between it and its authority.
    pub certificate: PathBuf,
    /// The certificate's key.
    pub key: PathBuf,
    /// Who vouches for clients.
    pub authority: Option<PathBuf>,
}

pub(super) struct Loaded {
    pub(super) settings: ServerTlsConfig,
    /// Whether clients have to show a certificate.
    pub(super) mutual: bool,
}

impl TlsFiles {
    pub(super) fn load(&self) -> Result<Loaded, DaemonError> {
        let identity = Identity::from_pem(read(&self.certificate)?, read(&self.key)?);
        let mut settings = ServerTlsConfig::new().identity(identity);
        if let Some(authority) = &self.authority {
            settings = settings.client_ca_root(Certificate::from_pem(read(authority)?));
        }
        // The files are looked into here; what is wrong shall be told at the start.
        if let Err(error) = Server::builder().tls_config(settings.clone()) {
            let path = self.certificate.clone();
            return Err(DaemonError::Tls { path, reason: causes(&error) });
        }
        Ok(Loaded { settings, mutual: self.authority.is_some() })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, DaemonError> {
    let unusable = |reason: String| DaemonError::Tls { path: path.to_owned(), reason };
    let metadata = fs::metadata(path).map_err(|error| unusable(error.to_string()))?;
    if !metadata.is_file() || metadata.len() > MOST_BYTES {
        return Err(unusable("not a regular file of at most 1 MiB".to_owned()));
    }
    let bytes = fs::read(path).map_err(|error| unusable(error.to_string()))?;
    match bytes.windows(11).any(|part| part == b"-----BEGIN ") {
        true => Ok(bytes),
        false => Err(unusable("not in PEM form".to_owned())),
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), causes)
}
