//! What it means that a step was done anew: which names give way to which.

use std::collections::{BTreeMap, BTreeSet};

use crate::key::{Key, Link, Via};

/// Returns the names that give way to targets of `links`, each with the target.
///
/// A former name is one that *every* input leads to, as in any look-up. A name that shares but one
/// input (another image with the same file copied onto it) is another step's.
pub(super) fn former_names<E>(
    links: &[Link],
    mut follow: impl FnMut(&Key, &Via) -> Result<Vec<Key>, E>,
) -> Result<Vec<(Key, Key)>, E> {
    let mut reached: BTreeMap<Key, BTreeMap<u32, BTreeSet<Key>>> = BTreeMap::new();
    for link in links {
        let inputs = reached.entry(link.target).or_default();
        inputs.entry(link.via.input).or_default().extend(follow(&link.source, &link.via)?);
    }
    let former = |(new, inputs): (Key, BTreeMap<u32, BTreeSet<Key>>)| {
        let common = inputs.into_values().reduce(|common, targets| &common & &targets).unwrap_or_default();
        common.into_iter().filter(move |old| *old != new).map(move |old| (old, new))
    };
    Ok(reached.into_iter().flat_map(former).collect())
}
