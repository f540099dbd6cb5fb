//! Typed instructions to build graph and image configuration.
//!
//! ```text
//! Dockerfile ─globals▶ arguments ─stages▶ Plan ─bases (asks the Bridge)▶ images ─dispatch▶ ops + config ─finish▶ Lowered
//! ```
//!
//! Each arrow is a pass, value in and value out. The only questions to the world go through the
//! [`Bridge`]. The ops are those that BuildKit's own frontend makes of the same file, so that both can
//! share caches and tools; [`Lowered::definition`] is a graph in BuildKit's protocol.
//!
//! This crate does not read files, does not know what a solver is, and does not print.

mod bridge;
mod error;
pub mod git;
mod lowered;
mod path;
mod request;
mod text;

pub use bridge::{Bridge, BridgeError, ResolveMode, ResolvedImage, ResolvedLayout};
pub use error::LowerError;
pub use lowered::{BaseImage, Lowered, Outline, OutlineArg, OutlineMount, Scan, UsedImage};
pub use request::{Entitlement, MainContext, NoCache, Request};

use rbuild_dockerfile::Dockerfile;

/// Makes a build graph and an image configuration of `dockerfile`, which was read without an error
/// from `source`.
///
/// # Errors
/// Returns what is wrong with the Dockerfile, the request or the images it asks for, with the place.
pub async fn lower(_dockerfile: &Dockerfile, _source: &str, _request: &Request, _bridge: &dyn Bridge) -> Result<Lowered, LowerError> {
    unreachable!("being written")
}
