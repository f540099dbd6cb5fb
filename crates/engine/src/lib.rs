//! Containers as things one can run: in the foreground, in the same sandbox as the steps of a build.
//!
//! [`spec`] turns an image's configuration and a request into a sandbox's specification, a pure
//! function; [`Engine::run`] finds the image, makes the root, and looks after the process until it ends.

mod attach;
mod error;
mod request;
mod run;
pub mod spec;

pub use error::EngineError;
pub use request::{Network, Pull, RunRequest, Security, Ulimit, Volume};
pub use run::{Engine, Parts};
