//! Paths inside images: always with slashes, never looked up.

/// Returns the shortest equal path: no empty, `.` or inner `..` parts, `.` for nothing.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.join("/")) {
        (true, joined) => format!("/{joined}"),
        (false, joined) if joined.is_empty() => ".".to_owned(),
        (false, joined) => joined,
    }
}

/// Joins two paths and cleans the result; empty ones are left out.
pub(crate) fn join(first: &str, second: &str) -> String {
    match (first.is_empty(), second.is_empty()) {
        (true, true) => String::new(),
        (true, false) => clean(second),
        (false, true) => clean(first),
        (false, false) => clean(&format!("{first}/{second}")),
    }
}

/// Returns the last part of a path: `.` for an empty one, `/` for the root.
pub(crate) fn base(path: &str) -> &str {
    if path.is_empty() {
        return ".";
    }
    let path = path.trim_end_matches('/');
    path.rsplit('/').next().filter(|last| !last.is_empty()).unwrap_or("/")
}

/// Returns whether a path begins at the root.
pub(crate) fn is_absolute(path: &str) -> bool {
    path.starts_with('/')
}

/// Makes `path` absolute below `parent`. What says "a directory" at the end (`/` or `/.`) is kept if
/// `keep_slash`.
pub(crate) fn absolute(parent: &str, path: &str, keep_slash: bool) -> String {
    let parent = if is_absolute(parent) { parent.to_owned() } else { join("/", parent) };
    let mut out = match path {
        "" => parent,
        path if is_absolute(path) => path.to_owned(),
        path => join(&parent, path),
    };
    if keep_slash {
        restore_slash(path, &mut out);
    }
    out
}

/// Makes `path` absolute below `parent` and cleans it, with the same ending.
pub(crate) fn in_op(parent: &str, path: &str, keep_slash: bool) -> String {
    let mut out = clean(path);
    if !is_absolute(&out) {
        out = join("/", &format!("{parent}/{out}"));
    }
    if keep_slash {
        restore_slash(path, &mut out);
    }
    out
}

fn restore_slash(original: &str, out: &mut String) {
    if original.ends_with('/') && !out.ends_with('/') {
        out.push('/');
    } else if original.ends_with("/.") {
        if out != "/" {
            out.push('/');
        }
        out.push('.');
    }
}

/// Returns the absolute form of a destination of `COPY` below the working directory `directory`.
pub(crate) fn destination(directory: &str, path: &str) -> String {
    match path {
        path if is_absolute(path) => absolute("/", path, true),
        "" | "." => absolute(directory, "./", true),
        path => absolute(directory, path, true),
    }
}

/// Returns whether a path is a pattern.
pub(crate) fn has_wildcards(path: &str) -> bool {
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'*' | b'?' | b'[' => return true,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning_joining_and_naming() {
        for (path, expect) in [
            ("", "."),
            ("/", "/"),
            ("a/../b//c/.", "b/c"),
            ("../a", "../a"),
            ("/../a", "/a"),
            ("a/..", "."),
            ("./", "."),
        ] {
            assert_eq!(clean(path), expect, "{path}");
        }
        assert_eq!(join("/", ""), "/");
        assert_eq!(join("/a", "../../b"), "/b");
        for (path, expect) in [("", "."), ("/", "/"), ("a/b/", "b"), ("//", "/"), ("x", "x")] {
            assert_eq!(base(path), expect, "{path}");
        }
    }

    /// C002: what says "a directory" is kept.
    // items: C002
    #[test]
    fn destinations() {
        let dest = |path| in_op("/w", &destination("/w", path), true);
        for (path, expect) in [
            ("", "/w/"),
            (".", "/w/"),
            ("./", "/w/"),
            ("f", "/w/f"),
            ("d/", "/w/d/"),
            ("d/.", "/w/d/."),
            ("/", "/"),
            ("/.", "/."),
            ("/a/../b/", "/b/"),
            ("../x", "/x"),
        ] {
            assert_eq!(dest(path), expect, "{path}");
        }
    }

    #[test]
    fn wildcards() {
        for (path, expect) in [("a*", true), ("a?", true), ("[a]", true), ("a\\*", false), ("a", false), ("\\", false)]
        {
            assert_eq!(has_wildcards(path), expect, "{path}");
        }
    }
}
