//! The distribution protocol: pull, push, mount and list, with authentication, mirrors and the
//! patience that real registries need.
//!
//! Two halves. The *core* decides and does no IO: [`challenge`], [`scope`], [`realm`], [`origin`],
//! [`link`], [`retry`], [`content`] are functions over values, tested by tables. The *driver* around
//! it ([`Client`]) moves bytes: one exchange in `transport`, credentials and tokens in `auth`,
//! retries in `call`, and a file for each verb.
//!
//! Whatever comes from a registry is hostile until its digest was checked: sizes bound reads and
//! never allocations, types must agree, addresses that a registry names get no credentials that do
//! not belong to them. Nothing here prints, reads the environment, or keeps files: sinks, sources
//! and paths are handed in.

pub mod challenge;
pub mod client;
pub mod content;
pub mod credential;
pub mod download;
pub mod error;
pub mod link;
pub mod login;
pub mod options;
pub mod origin;
pub mod progress;
pub mod pull;
pub mod push;
pub mod realm;
pub mod retry;
pub mod scope;

mod auth;
mod call;
mod failure;
mod list;
mod tls;
mod transport;

pub use client::Client;
pub use credential::{
    Chain, Credential, CredentialError, CredentialStore, DockerConfig, FetchedToken, NoCredentials, TokenRequest,
};
pub use download::{Download, Head};
pub use error::{Error, ErrorCode};
pub use login::{login, logout, verify};
pub use options::{Hosts, Mirror, Options, Proxies, Timing, TrustedRealm};
pub use progress::Progress;
pub use pull::{Resolved, Sink};
pub use push::{Pushed, PushedManifest, Source};
