//! The Dockerfile frontend as clients ask for it: attributes and inputs in, results by platform out.
//!
//! ```text
//! attributes ─read▶ Attributes ─find▶ Place ─read▶ Dockerfile ─lower, for each platform▶ graphs ─▶ Answered
//!                                (asks the Host for files)      (asks for images)          metadata, attestations
//! ```
//!
//! It answers what BuildKit calls `dockerfile.v0`, and `gateway.v0` with an image that [`rbuild_lower::is_built_in`]
//! recognises. The [`Host`] evaluates graphs and knows images; nothing of the results is evaluated here. Which session
//! a request belongs to, what it may do, where cache and results go is the daemon's matter.

mod answered;
mod attributes;
mod bridge;
mod build;
mod caps;
mod convert;
mod dockerfile;
mod error;
mod host;
mod ignore;
mod inputs;
mod local;
mod place;
mod question;
mod results;
mod scan;
mod syntax;

pub use answered::{Answered, Asked, Attestation, Refs};
pub use build::build;
pub use error::{Asker, BuiltinError, Forward, SourcePlace};
pub use host::{Files, Host, HostError, Warning};
pub use scan::{SPDX, scans};
