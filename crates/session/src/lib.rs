//! The client's side of a build over the wire: tunnel, files, secrets, agents, credentials.
//!
//! ```text
//!   client ──── Control.Session (bytes both ways) ───▶ daemon
//!      ▲                                                 │
//!      └── FileSync FileSend Auth Secrets SSH … ◀────────┘   calls of the daemon, inside the bytes
//! ```
//!
//! [`Session`] is one such tunnel, [`Sessions`] all that are open, [`Group`] those of a build. [`RemoteClient`] makes
//! a group what operations know as the client's side; [`SessionCredentials`] makes it what registries are asked with.
//! What comes from a client is hostile: paths, sizes, counts and digests are checked before they are believed.
//!
//! [`client`] is the other end: what a client serves. It is for programs that build with a daemon, and for tests.
//! This room does not know what is built.

pub mod client;

mod auth;
mod call;
mod content;
mod error;
mod exporter;
mod file_send;
mod file_sync;
mod fsutil;
mod headers;
mod health;
mod pipe;
mod read;
mod remote;
mod secret;
mod session;
mod ssh;
mod table;
#[cfg(test)]
mod tests;
mod upload;

pub use auth::SessionCredentials;
pub use content::{ClientContent, ContentWriter};
pub use error::SessionError;
pub use file_send::{FileWriter, Sent};
pub use fsutil::TransferError;
pub use remote::{Partners, RemoteClient};
pub use session::{Exposed, Session, header};
pub use ssh::ClientAgent;
pub use table::{Attached, Group, LOOKUP, Sessions};
