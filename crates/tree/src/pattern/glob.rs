//! Go's `filepath.Match`.
use super::PatternError;

/// Returns whether `pattern` matches the whole of `name`, as Go's `filepath.Match`.
pub fn glob_match(pattern: &str, name: &[u8]) -> Result<bool, PatternError> {
    let _ = (pattern, name);
    unimplemented!()
}
