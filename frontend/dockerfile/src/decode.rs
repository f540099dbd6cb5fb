//! being written
use crate::Diagnostic;
/// Decodes the bytes of a Dockerfile.
pub fn decode(_bytes: &[u8]) -> Result<std::borrow::Cow<'_, str>, Diagnostic> {
    unreachable!("being written")
}
