//! Choosing paths of a tree: resolution of links within the root, wildcards, filtered walks.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::entry::{Kind, Node};
use crate::pattern::{Glob, Matcher, ParentMatch};
use crate::source::{FileTree, TreeError, check_length};

/// How many links one resolution may follow.
const MAX_LINKS: usize = 255;

/// Whether the last component of a path is followed if it is a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// Only the components before the last.
    Parents,
    /// All components.
    All,
}

/// Returns the path without links that `path` means inside `tree`.
///
/// Absolute link targets start at the tree's root, `..` stops there. Components that do not exist are kept as
/// they are, so the result can name something yet to be made.
pub fn resolve(tree: &dyn FileTree, path: &Path, follow: Follow) -> Result<PathBuf, TreeError> {
    let mut todo: VecDeque<OsString> = parts(path).collect();
    let mut done = PathBuf::new();
    let mut links = 0;
    // Below something that does not exist nothing can be a link.
    let mut missing: Option<usize> = None;
    while let Some(part) = todo.pop_front() {
        if part == ".." {
            done.pop();
            missing = missing.filter(|depth| *depth <= done.components().count());
            continue;
        }
        done.push(&part);
        if missing.is_some() || (todo.is_empty() && follow == Follow::Parents) {
            continue;
        }
        let Some(node) = tree.node(&done)? else {
            missing = Some(done.components().count());
            continue;
        };
        if let Kind::Symlink(target) = node.metadata.kind {
            links += 1;
            if links > MAX_LINKS {
                return Err(TreeError::TooManyLinks { path: path.to_owned() });
            }
            done.pop();
            if target.is_absolute() {
                done.clear();
            }
            for part in parts(&target).rev() {
                todo.push_front(part);
            }
        }
    }
    Ok(done)
}

fn parts(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

/// Returns `path` as one inside a root, by its letters: relative, without `.`, with `..` stopped at the root.
pub fn clamp(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in parts(path) {
        if part == ".." {
            clean.pop();
        } else {
            clean.push(part);
        }
    }
    clean
}

/// Returns whether `text` holds a wildcard of Go's `filepath.Match` that no backslash takes back.
pub fn has_wildcard(text: &str) -> bool {
    let mut escaped = false;
    text.chars().any(|ch| {
        let found = !escaped && matches!(ch, '*' | '?' | '[');
        escaped = !escaped && ch == '\\';
        found
    })
}

/// Returns the paths of `tree` that `pattern` matches segment by segment, in tree order.
///
/// Links are followed in what stands before the first wildcard, and nowhere else; the matches are what they
/// are. A pattern without wildcards gives its one path if that exists.
pub fn glob(tree: &dyn FileTree, pattern: &str) -> Result<Vec<PathBuf>, TreeError> {
    let pattern = clamp(Path::new(pattern));
    let text = |part: &OsStr| String::from_utf8_lossy(part.as_bytes()).into_owned();
    let segments: Vec<String> = pattern.components().map(|part| text(part.as_os_str())).collect();
    let plain = segments.iter().take_while(|segment| !has_wildcard(segment)).count();
    let base: PathBuf = segments[..plain].iter().collect();
    let follow = if plain == segments.len() { Follow::Parents } else { Follow::All };
    let base = resolve(tree, &base, follow)?;
    let Some(node) = tree.node(&base)? else { return Ok(Vec::new()) };
    let mut found = vec![node];
    for segment in &segments[plain..] {
        let glob = Glob::new(segment)?;
        let mut next = Vec::new();
        for directory in found.iter().filter(|node| node.metadata.kind.is_directory()) {
            let children = tree.children(&directory.path)?.into_iter();
            next.extend(children.filter(|child| child.path.file_name().is_some_and(|n| glob.matches(n.as_bytes()))));
        }
        found = next;
    }
    Ok(found.into_iter().map(|node| node.path).collect())
}

/// Which entries of a walk are kept; patterns are relative to where the walk starts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter<'a> {
    /// Only what these match, if given.
    pub include: Option<&'a Matcher>,
    /// Nothing of what these match.
    pub exclude: Option<&'a Matcher>,
}

/// Returns the node at `start` and all below it that `filter` keeps, parents before children, sorted.
///
/// A directory that is not kept itself appears if something in it does; `start` always appears.
pub fn walk(tree: &dyn FileTree, start: Node, filter: Filter<'_>) -> Result<Vec<Node>, TreeError> {
    let is_directory = start.metadata.kind.is_directory();
    let base = start.path.clone();
    let mut walk = Walk { tree, filter, base, kept: vec![start] };
    if is_directory {
        let directory = walk.base.clone();
        walk.directory(&directory, &ParentMatch::default(), &ParentMatch::default(), &mut Vec::new())?;
    }
    Ok(walk.kept)
}

struct Walk<'a> {
    tree: &'a dyn FileTree,
    filter: Filter<'a>,
    base: PathBuf,
    kept: Vec<Node>,
}

impl Walk<'_> {
    /// Walks one directory; `waiting` are its parents that have not been kept yet.
    fn directory(
        &mut self,
        path: &Path,
        included: &ParentMatch,
        excluded: &ParentMatch,
        waiting: &mut Vec<Node>,
    ) -> Result<(), TreeError> {
        for child in self.tree.children(path)? {
            let below = || child.path.strip_prefix(&self.base).unwrap_or(&child.path);
            let (keep, include) = match self.filter.include {
                Some(matcher) => matcher.matches_below(below(), included),
                None => (true, ParentMatch::default()),
            };
            let (drop, exclude) = match self.filter.exclude {
                Some(matcher) => matcher.matches_below(below(), excluded),
                None => (false, ParentMatch::default()),
            };
            let is_directory = child.metadata.kind.is_directory();
            if drop && (!is_directory || self.filter.exclude.is_some_and(|m| m.prunes(below()))) {
                continue;
            }
            if is_directory {
                let path = child.path.clone();
                let depth = waiting.len();
                waiting.push(child);
                if keep && !drop {
                    self.kept.append(waiting);
                }
                check_length(&path)?;
                self.directory(&path, &include, &exclude, waiting)?;
                waiting.truncate(depth);
            } else if keep && !drop {
                self.kept.append(waiting);
                self.kept.push(child);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
