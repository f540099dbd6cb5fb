//! What somebody may have meant.

/// Returns the known word nearest to `given`, if one is near.
pub(crate) fn nearest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    if given.len() > 64 {
        return None;
    }
    let near = known.iter().map(|word| (strsim::levenshtein(given, word), *word)).min()?;
    (near.0 <= 1 + given.len() / 4).then_some(near.1)
}
