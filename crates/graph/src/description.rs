//! Keys of the free texts in a vertex's metadata.

/// The name a vertex is shown by.
pub const CUSTOM_NAME: &str = "llb.customname";
/// The instruction a vertex was made from.
pub const DOCKERFILE_COMMAND: &str = "com.docker.dockerfile.v1.command";
