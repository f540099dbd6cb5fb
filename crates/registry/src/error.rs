//! What can go wrong between us and a registry, and the registry's own error codes.

use std::fmt;
use std::io;

use rbuild_oci::Digest;

use crate::credential::CredentialError;

/// Why a request to a registry came to nothing.
///
/// No message holds credentials, queries of pre-signed addresses or control bytes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry said no.
    #[error("{action}: {}{host} answered {}{}", kind(*.status), phrase(*.status), describe(.codes))]
    Refused {
        /// What was attempted.
        action: String,
        /// Who answered.
        host: String,
        /// The HTTP status.
        status: u16,
        /// The registry's own words.
        codes: Vec<ErrorCode>,
    },
    /// The registry wants credentials that we do not have, or not these.
    #[error("{action}: {host} denied access ({}){}{}", phrase(*.status), describe(.codes), note(.hint))]
    Denied {
        /// What was attempted.
        action: String,
        /// Who answered.
        host: String,
        /// The HTTP status.
        status: u16,
        /// The registry's own words.
        codes: Vec<ErrorCode>,
        /// What may help; may be empty.
        hint: String,
    },
    /// The server could not be reached, or the connection broke too often.
    #[error("{action}: {}{reason}", asked(.host, .reason))]
    Unreachable {
        /// What was attempted.
        action: String,
        /// Who was asked.
        host: String,
        /// Why, on one line.
        reason: String,
    },
    /// The server's certificate is not trusted, or none of ours is.
    #[error("{action}: {host}: {reason}")]
    Certificate {
        /// What was attempted.
        action: String,
        /// Who was asked.
        host: String,
        /// Why, on one line.
        reason: String,
    },
    /// The registry itself could not be asked, and no mirror of it helped.
    #[error("{registry}{}", told(.mirrors))]
    Nowhere {
        /// What became of the registry.
        registry: Box<Error>,
        /// What became of its mirrors, in the order in which they were asked.
        mirrors: Vec<Error>,
    },
    /// Nothing moved for too long.
    #[error("{action}: {host}: nothing came for {seconds} s")]
    Stalled {
        /// What was attempted.
        action: String,
        /// Who was asked.
        host: String,
        /// How long we waited.
        seconds: u64,
    },
    /// The registry asks for a longer wait than we grant.
    #[error("{action}: {host} asks to wait {seconds} s before trying again")]
    RetryLater {
        /// What was attempted.
        action: String,
        /// Who answered.
        host: String,
        /// The wait asked for.
        seconds: u64,
    },
    /// The content is not what its name says.
    #[error("{action}: digest mismatch: want {want} ({want_size} bytes), got {got} ({got_size} bytes)")]
    Mismatch {
        /// What was attempted.
        action: String,
        /// The digest asked for.
        want: Digest,
        /// The size asked for.
        want_size: u64,
        /// The digest of what came.
        got: Digest,
        /// The size of what came, as far as it was read.
        got_size: u64,
    },
    /// The answer breaks the protocol, or a limit.
    #[error("{action}: {host}: {reason}")]
    Protocol {
        /// What was attempted.
        action: String,
        /// Who answered.
        host: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The registry sends us to a place we do not follow.
    #[error("{action}: {host} points to {target}: {reason}")]
    Unsafe {
        /// What was attempted.
        action: String,
        /// Who answered.
        host: String,
        /// Where to, without query.
        target: String,
        /// The rule that forbids it.
        reason: String,
    },
    /// Credentials could not be looked up.
    #[error("credentials for {host}")]
    Credentials {
        /// For whom.
        host: String,
        /// Why.
        #[source]
        source: CredentialError,
    },
    /// The caller's sink or source failed.
    #[error("{action}")]
    Local {
        /// What was attempted.
        action: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A setting cannot be used.
    #[error("{what}: {reason}")]
    Setting {
        /// Which setting.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// Whether the registry said that what was asked for is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Returns the HTTP status by which the server said no, if it did.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } | Self::Denied { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether nobody answered who could be believed.
    pub(crate) fn is_silence(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Certificate { .. } | Self::Stalled { .. })
    }

    /// Whether the registry denied access.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Denied { .. })
    }
}

/// One entry of a registry's error answer (distribution specification, "Error Codes").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorCode {
    /// Such as `MANIFEST_UNKNOWN`.
    pub code: String,
    /// A sentence, possibly empty.
    pub message: String,
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code.is_empty(), self.message.is_empty()) {
            (false, false) => write!(f, "{}: {}", self.code, self.message),
            _ => write!(f, "{}{}", self.code, self.message),
        }
    }
}

/// Says what a status means that everybody asks about.
fn kind(status: u16) -> &'static str {
    if status == 404 { "not found: " } else { "" }
}

/// Says what became of mirrors.
fn told(mirrors: &[Error]) -> String {
    mirrors.iter().map(|error| format!("; from its mirror: {error}")).collect()
}

/// Returns a status with what it is called.
fn phrase(status: u16) -> String {
    let name = reqwest::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    name.map_or_else(|| status.to_string(), |name| format!("{status} {name}"))
}

/// Names the server, unless the reason does.
fn asked(host: &str, reason: &str) -> String {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if reason.starts_with("dial tcp") && reason.contains(name) { String::new() } else { format!("{host}: ") }
}

fn describe(codes: &[ErrorCode]) -> String {
    codes.iter().map(|code| format!(": {code}")).collect()
}

fn note(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!(" ({hint})") }
}
