//! Devices of steps: the Container Device Interface (CDI), in which vendors say what a container needs
//! besides a node in `/dev`.
//!
//! ```text
//! /etc/cdi/*.{json,yaml} ─scan▶ Registry ─grant (graph)▶ qualified names ─edits (step)▶ SandboxSpec
//! ```
//!
//! See the specification, <https://github.com/cncf-tags/container-device-interface>.

mod edit;
mod grant;
mod registry;
mod spec;

pub use grant::{DeviceGrants, GrantError};
pub(crate) use registry::Registry;
pub use registry::{DescribedDevice, described_devices};

/// Why a device cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// Nothing describes it.
    #[error("required device \"{name}\" is not registered{}", hint(.broken))]
    Unknown {
        /// As the step names it.
        name: String,
        /// Files that could not be read, and why.
        broken: Vec<String>,
    },
    /// The build may not use it.
    #[error("device {0} is requested by the build but not allowed: grant it with --allow device={0}")]
    Forbidden(String),
    /// Its description asks for something that steps cannot have.
    #[error("device {name} asks for {what}, which is not supported")]
    Unsupported {
        /// The qualified name.
        name: String,
        /// What it asks for.
        what: String,
    },
}

fn hint(broken: &[String]) -> String {
    if broken.is_empty() {
        String::new()
    } else {
        format!(" (descriptions that cannot be read: {})", broken.join("; "))
    }
}
