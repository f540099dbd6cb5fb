//! Paths that are wanted together with all that links on the way to them lead to.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rbuild_sys::dir::FileType;
use rbuild_sys::root::{Last, Root};
use rbuild_tree::pattern::glob_match;
use rbuild_tree::select::{clamp, has_wildcard};

/// The most paths that are found on the way; more are a maze of links.
const MOST_PATHS: usize = 100_000;

/// Returns the paths, links and targets alike, as patterns; none if the root itself is wanted.
pub(super) fn follow(root: &Root, paths: &[String]) -> io::Result<Option<Vec<String>>> {
    let mut follow = Follow { root, found: BTreeSet::new() };
    let mut todo: Vec<PathBuf> = paths.iter().map(|path| clamp(Path::new(path))).collect();
    let mut steps = 0;
    while let Some(path) = todo.pop() {
        steps += 1;
        if steps > MOST_PATHS {
            return Err(io::Error::other("more than 100,000 links lead to what is wanted"));
        }
        follow.add(&path, &mut todo)?;
    }
    let found = follow.found.into_iter().map(|path| path.to_string_lossy().into_owned()).collect::<Vec<_>>();
    Ok(if found.iter().any(String::is_empty) { None } else { Some(found) })
}

struct Follow<'a> {
    root: &'a Root,
    found: BTreeSet<PathBuf>,
}

impl Follow<'_> {
    /// Goes along a path up to its end or to the first link, whose targets are still to be gone.
    fn add(&mut self, path: &Path, todo: &mut Vec<PathBuf>) -> io::Result<()> {
        let mut current = PathBuf::new();
        let mut rest = path.components();
        while let Some(component) = rest.next() {
            current.push(component);
            let targets = self.targets(&current)?;
            if targets.is_empty() {
                continue;
            }
            let rest = rest.as_path();
            if self.found.insert(current) || !rest.as_os_str().is_empty() {
                todo.extend(targets.iter().map(|target| clamp(&target.join(rest))));
            }
            return Ok(());
        }
        self.found.insert(current);
        Ok(())
    }

    /// Returns where the links lead that a path names, which may have a wildcard at its end.
    fn targets(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let (parent, name) = (path.parent().unwrap_or(Path::new("")), path.file_name().unwrap_or_default());
        let Some(pattern) = name.to_str().filter(|name| has_wildcard(name)) else {
            return Ok(self.target(parent, name)?.into_iter().collect());
        };
        let Ok(dir) = self.root.open_dir(parent) else { return Ok(Vec::new()) };
        let mut targets = Vec::new();
        for (name, kind) in dir.names()? {
            if kind == FileType::Symlink && glob_match(pattern, name.as_bytes()).unwrap_or(false) {
                targets.extend(self.target(parent, &name)?);
            }
        }
        Ok(targets)
    }

    fn target(&self, parent: &Path, name: &OsStr) -> io::Result<Option<PathBuf>> {
        let path = parent.join(name);
        match self.root.stat(&path, Last::Keep) {
            Ok(stat) if stat.kind == FileType::Symlink => {}
            _ => return Ok(None),
        }
        let target = self.root.read_link(&path)?;
        Ok(Some(if target.is_absolute() { target } else { parent.join(target) }))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_inside_the_root() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir_all(path("real/deep")).unwrap();
        symlink("real", path("link")).unwrap();
        symlink("/real/deep", path("absolute")).unwrap();
        symlink("../../../real", path("real/up")).unwrap();
        symlink("loop", path("loop")).unwrap();
        symlink("..", path("real/root")).unwrap();
        let root = Root::open(directory.path()).unwrap();
        let table: [(&[&str], Option<&[&str]>); 9] = [
            (&["a/b"], Some(&["a/b"])),
            (&["link/deep/x"], Some(&["link", "real/deep/x"])),
            (&["absolute"], Some(&["absolute", "real/deep"])),
            (&["real/up/deep"], Some(&["real/deep", "real/up"])),
            (&["loop"], Some(&["loop"])),
            (&["l*k/y"], Some(&["l*k", "real/y"])),
            (&["real/root"], None),
            (&["."], None),
            (&["../x"], Some(&["x"])),
        ];
        for (paths, expect) in table {
            let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
            let found = follow(&root, &paths).unwrap();
            let expect = expect.map(|list| list.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>());
            assert_eq!(found, expect, "{paths:?}");
        }
    }
}
