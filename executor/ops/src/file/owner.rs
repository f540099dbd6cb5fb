//! Who owns what a file action makes: ids, or names looked up in the user database of a tree.

use std::io::Read;
use std::path::Path;

use rbuild_graph::pb;
use rbuild_tree::select::{Follow, resolve};
use rbuild_tree::{FileTree, TreeError};

/// The most bytes of a user database that are read.
const DATABASE_LIMIT: u64 = 10 << 20;

/// Resolves an owner; `tree` returns the tree whose databases the named user or group is looked up in.
///
/// A name that the database lacks means 0, as BuildKit has it. A user without group gets, by name,
/// the group of its entry, and by id the id itself.
pub(crate) fn resolve_owner<'a>(
    owner: Option<&pb::ChownOpt>,
    tree: &dyn Fn(i64) -> Option<&'a dyn FileTree>,
) -> Result<Option<(u32, u32)>, OwnerError> {
    let Some(owner) = owner else { return Ok(None) };
    let (mut uid, mut gid) = (0, 0);
    match owner.user.as_ref().and_then(|user| user.user.as_ref()) {
        Some(pb::User::ById(id)) => (uid, gid) = (*id, *id),
        Some(pb::User::ByName(named)) => {
            let tree = tree(named.input).ok_or_else(|| OwnerError::NoDatabase(named.name.clone()))?;
            if let Some(found) = find(tree, "etc/passwd", &named.name)? {
                (uid, gid) = (found.id, found.group.unwrap_or(0));
            }
        }
        None => {}
    }
    match owner.group.as_ref().and_then(|group| group.user.as_ref()) {
        Some(pb::User::ById(id)) => gid = *id,
        Some(pb::User::ByName(named)) => {
            let tree = tree(named.input).ok_or_else(|| OwnerError::NoDatabase(named.name.clone()))?;
            gid = find(tree, "etc/group", &named.name)?.map_or(0, |found| found.id);
        }
        None => {}
    }
    Ok(Some((uid, gid)))
}

/// Why an owner could not be found.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// A name, but no tree to look it up in (`COPY --link --chown=name`).
    #[error(
        "invalid user index: -1: `{0}` is a name, and there is no user database below a linked layer; use numeric ids"
    )]
    NoDatabase(String),
    /// The database is too large to be one.
    #[error("`/{file}` is larger than {DATABASE_LIMIT} bytes")]
    TooLarge {
        /// The file.
        file: &'static str,
    },
    /// A pipe, device or directory in the place of the database: nobody becomes 0 for that.
    #[error("`/{file}` is not a regular file")]
    NotFile {
        /// The file.
        file: &'static str,
    },
    /// The database could not be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

struct Account {
    id: u32,
    group: Option<u32>,
}

/// Finds `name` in a colon-separated database; only a regular file counts.
fn find(tree: &dyn FileTree, file: &'static str, name: &str) -> Result<Option<Account>, OwnerError> {
    let path = resolve(tree, Path::new(file), Follow::All)?;
    let Some(node) = tree.node(&path)? else { return Ok(None) };
    if !node.metadata.kind.is_file() {
        return Err(OwnerError::NotFile { file });
    }
    if node.metadata.size > DATABASE_LIMIT {
        return Err(OwnerError::TooLarge { file });
    }
    let mut bytes = Vec::new();
    tree.open(&node)?.take(DATABASE_LIMIT).read_to_end(&mut bytes).map_err(TreeError::io("reading", &path))?;
    Ok(bytes.split(|byte| *byte == b'\n').find_map(|line| account(line, name)))
}

fn account(line: &[u8], name: &str) -> Option<Account> {
    let mut fields = line.split(|byte| *byte == b':');
    if fields.next()? != name.as_bytes() {
        return None;
    }
    let mut number = || std::str::from_utf8(fields.next()?).ok()?.trim().parse().ok();
    let _password: Option<u32> = number();
    Some(Account { id: number()?, group: number() })
}

#[cfg(test)]
mod tests {
    use super::*;

    // items: C012
    #[test]
    fn accounts() {
        let found = account(b"app:x:1000:1001:App:/:/bin/sh", "app").unwrap();
        assert_eq!((found.id, found.group), (1000, Some(1001)));
        let group = account(b"wheel:x:10:root,app", "wheel").unwrap();
        assert_eq!(group.id, 10);
        assert!(account(b"app2:x:1:1", "app").is_none());
        assert!(account(b"app:x:4294967296:1", "app").is_none());
        assert!(account(b"app", "app").is_none());
    }
}
