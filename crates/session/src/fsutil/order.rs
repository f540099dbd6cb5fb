//! Which paths are taken: each once, in order, below a directory that was named before.

use std::cmp::Ordering;

use super::TransferError;

/// The longest path and the longest name, as in the kernel.
const LONGEST_PATH: usize = 4095;
const LONGEST_NAME: usize = 255;

/// Accepts the paths of a tree one by one.
#[derive(Debug, Default)]
pub(super) struct Order {
    last: Vec<u8>,
    /// The directories that lie above whatever comes next, outermost first.
    above: Vec<Vec<u8>>,
}

/// What a path means for those that came before it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// In how many directories it lies.
    pub(super) depth: usize,
}

/// Compares paths by their components.
pub(super) fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let key = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    a.iter().map(key).cmp(b.iter().map(key))
}

impl Order {
    /// Accepts the next path.
    pub(super) fn accept(&mut self, path: &[u8], is_directory: bool) -> Result<Place, TransferError> {
        let refuse = |reason| Err(TransferError::Path { path: path.escape_ascii().to_string(), reason });
        if path.is_empty() || path.len() > LONGEST_PATH || path.contains(&0) {
            return refuse("is empty, longer than 4095 bytes, or holds a NUL byte");
        }
        for name in path.split(|byte| *byte == b'/') {
            match name {
                b"" => return refuse("is absolute or has an empty component"),
                b"." | b".." => return refuse("has a component `.` or `..`"),
                name if name.len() > LONGEST_NAME => return refuse("has a name longer than 255 bytes"),
                _ => {}
            }
        }
        if !self.last.is_empty() && compare(&self.last, path) != Ordering::Less {
            return refuse("comes out of order or twice");
        }
        let parent = path.iter().rposition(|byte| *byte == b'/').map_or(&path[..0], |slash| &path[..slash]);
        while self.above.last().is_some_and(|above| above != parent) {
            self.above.pop();
        }
        if self.above.is_empty() && !parent.is_empty() {
            return refuse("does not lie in a directory that was named before");
        }
        let depth = self.above.len();
        self.last = path.to_vec();
        if is_directory {
            self.above.push(path.to_vec());
        }
        Ok(Place { depth })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths with a slash at the end are directories.
    fn check(paths: &[&str]) -> Result<usize, String> {
        let mut order = Order::default();
        let mut depth = 0;
        for path in paths {
            let name = path.strip_suffix('/').unwrap_or(path);
            depth = order.accept(name.as_bytes(), name != *path).map_err(|error| error.to_string())?.depth;
        }
        Ok(depth)
    }

    #[test]
    fn paths_come_in_order_below_known_directories() {
        assert_eq!(check(&["a/", "a/b", "a-b", "c"]), Ok(0));
        assert_eq!(check(&["a/", "a/b/", "a/b/c"]), Ok(2));
        let long = "x".repeat(256);
        let refused: [&[&str]; 17] = [
            &[""],
            &["/"],
            &["/a"],
            &["a//b"],
            &["a/", "a/../b"],
            &[".."],
            &["../a"],
            &["."],
            &["a/", "a/."],
            &["a\0b"],
            &["b", "a"],
            &["a", "a"],
            &["a-b", "a/"],
            &["a/b"],
            &["a", "a/b"],
            &["a/", "b/", "a/c"],
            &[&long],
        ];
        for paths in refused {
            assert!(check(paths).is_err(), "{paths:?}");
        }
    }
}
