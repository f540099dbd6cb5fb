//! being written
pub(crate) fn object_string(_text: &str, _member: &str) -> Option<String> {
    unreachable!("being written")
}
