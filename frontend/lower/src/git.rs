//! Addresses of git repositories: `https://host/x.git#ref:directory`, `git@host:x.git`, with queries.
//!
//! Read by hand rather than with a URL library, because the address is handed to git as written and
//! because what counts as git must be exactly what BuildKit takes for it: anything else is a path or
//! a file to download.

/// A git repository, and what of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GitRef {
    /// The address without query and fragment.
    pub remote: String,
    /// Host, with port.
    pub host: String,
    /// Path at the host.
    pub path: String,
    /// Whether it is fetched by ssh.
    pub ssh: bool,
    /// Commit, branch or tag; empty for the default branch.
    pub reference: String,
    /// Directory inside the repository; empty for all.
    pub directory: String,
    /// The commit that must be found.
    pub checksum: Option<String>,
    /// Whether `.git` stays.
    pub keep_git_dir: Option<bool>,
    /// Whether submodules are fetched.
    pub submodules: Option<bool>,
    /// Where file times come from: `checkout` or `commit`.
    pub mtime: Option<String>,
    /// Whether the commit of `checksum` is fetched rather than the reference.
    pub fetch_by_commit: bool,
    /// Whether it could be a path as well (`github.com/a/b`): taken for git only as a build context.
    pub like_a_path: bool,
}

/// Reads the address of a git repository; none if it is something else.
///
/// # Errors
/// Says what is wrong with the query of an address that is git's.
pub fn parse(text: &str) -> Result<Option<GitRef>, String> {
    if text.starts_with("./") || text.starts_with("../") {
        return Ok(None);
    }
    let parts = if text.starts_with("github.com/") {
        Parts::url("https", text).map(|parts| Parts { like_a_path: true, ..parts })
    } else if let Some((scheme, rest)) = split_scheme(text) {
        let known = matches!(scheme.as_str(), "http" | "https" | "ssh" | "git");
        Some(rest).filter(|_| known).and_then(|rest| Parts::url(&scheme, rest))
    } else {
        Parts::scp(text)
    };
    let Some(parts) = parts else {
        return Ok(None);
    };
    if matches!(parts.scheme.as_str(), "http" | "https") && !parts.like_a_path && !parts.path.ends_with(".git") {
        return Ok(None);
    }
    parts.into_ref().map(Some)
}

struct Parts {
    scheme: String,
    remote: String,
    host: String,
    path: String,
    query: String,
    fragment: String,
    like_a_path: bool,
}

impl Parts {
    /// Reads what follows `scheme://`.
    fn url(scheme: &str, rest: &str) -> Option<Self> {
        if rest.bytes().any(|byte| byte.is_ascii_control() || byte == b' ') {
            return None;
        }
        let (before, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (address, query) = before.split_once('?').unwrap_or((before, ""));
        let (authority, path) = address.split_at(address.find('/').unwrap_or(address.len()));
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        if let Some((_, port)) = host.rsplit_once(':').filter(|_| !host.ends_with(']')) {
            port.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
        }
        let like_a_path = false;
        Some(Self {
            scheme: scheme.to_owned(),
            remote: format!("{scheme}://{address}"),
            host: host.to_owned(),
            path: percent_decode(path)?,
            query: query.to_owned(),
            fragment: percent_decode(fragment)?,
            like_a_path,
        })
    }

    /// Reads `user@host:path`.
    fn scp(text: &str) -> Option<Self> {
        let (user, rest) = text.split_once('@')?;
        let (host, rest) = rest.split_once(':')?;
        let word = |text: &str, more: &[u8]| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || more.contains(&byte);
            !text.is_empty() && text.bytes().all(allowed)
        };
        if !word(user, b"-_") || !word(host, b"-.") || text.contains('\n') {
            return None;
        }
        let (before, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (path, query) = before.split_once('?').unwrap_or((before, ""));
        Some(Self {
            scheme: "ssh".to_owned(),
            remote: format!("{user}@{host}:{path}"),
            host: host.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            fragment: fragment.to_owned(),
            like_a_path: false,
        })
    }

    fn into_ref(self) -> Result<GitRef, String> {
        let (reference, directory) = self.fragment.split_once(':').unwrap_or((&self.fragment, ""));
        let directory = crate::path::join("/", directory);
        let mut git = GitRef {
            remote: self.remote,
            host: self.host,
            path: self.path,
            ssh: self.scheme == "ssh",
            reference: reference.to_owned(),
            directory: directory.trim_start_matches('/').to_owned(),
            like_a_path: self.like_a_path,
            ..GitRef::default()
        };
        git.read_query(&self.query)?;
        Ok(git)
    }
}

impl GitRef {
    fn read_query(&mut self, query: &str) -> Result<(), String> {
        let mut seen: Vec<String> = Vec::new();
        let (mut tag, mut branch) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded =
                |text: &str| percent_decode(&text.replace('+', " ")).ok_or_else(|| format!("invalid query `{pair}`"));
            let (key, value) = (decoded(key)?, decoded(value)?);
            if seen.contains(&key) {
                return Err(format!("query {key:?} has multiple values"));
            }
            let flag = || match value.as_str() {
                "" => Ok(true),
                value => {
                    rbuild_dockerfile::literal::boolean(value).ok_or_else(|| format!("invalid {key} value: {value:?}"))
                }
            };
            match key.as_str() {
                "keep-git-dir" => self.keep_git_dir = Some(flag()?),
                "submodules" => self.submodules = Some(flag()?),
                "fetch-by-commit" => self.fetch_by_commit = flag()?,
                key if value.is_empty() => return Err(format!("query {key:?} has no value")),
                "ref" => set("ref", &mut self.reference, value)?,
                "subdir" => set("subdir", &mut self.directory, value)?,
                "tag" => tag = Some(value),
                "branch" => branch = Some(value),
                "checksum" | "commit" => self.checksum = Some(value),
                "mtime" if matches!(value.as_str(), "checkout" | "commit") => self.mtime = Some(value),
                "mtime" => return Err(format!("invalid mtime value: {value:?} (must be \"checkout\" or \"commit\")")),
                key => return Err(format!("unexpected query {key:?}")),
            }
            seen.push(key);
        }
        let full = |prefix: &str, name: String| if name.starts_with(prefix) { name } else { format!("{prefix}{name}") };
        match (tag, branch) {
            (Some(_), Some(_)) => Err("branch conflicts with tag".to_owned()),
            (Some(tag), None) => set("ref", &mut self.reference, full("refs/tags/", tag)),
            (None, Some(branch)) => set("ref", &mut self.reference, full("refs/heads/", branch)),
            (None, None) => Ok(()),
        }
    }
}

fn set(name: &str, place: &mut String, value: String) -> Result<(), String> {
    if !place.is_empty() && *place != value {
        return Err(format!("{name} conflicts: {place:?} vs {value:?}"));
    }
    *place = value;
    Ok(())
}

/// Splits `scheme://rest`; the scheme in lower case.
fn split_scheme(text: &str) -> Option<(String, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let word = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    word.then(|| (scheme.to_ascii_lowercase(), rest))
}

/// Returns the name of the file behind an http address, if the address has one.
pub(crate) fn file_name(address: &str) -> String {
    let parts = split_scheme(address).and_then(|(scheme, rest)| Parts::url(&scheme, rest));
    let path = parts.map(|parts| parts.path).unwrap_or_default();
    match crate::path::base(&path) {
        "." | "/" => "__unnamed__".to_owned(),
        name => name.to_owned(),
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
            let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        let shown = match parse(text) {
            Err(error) => format!("error: {error}"),
            Ok(None) => "-".to_owned(),
            Ok(Some(git)) => format!("{} {} {}", git.remote, git.reference, git.directory).trim_end().to_owned(),
        };
        assert_eq!(shown, expect, "{text}");
    }

    /// D007
    // items: D007
    #[test]
    fn what_is_git() {
        for other in [
            "https://example.com/",
            "https://example.com/foo",
            "https://example.com/foo.git/",
            "https://example.com/foo.git.bar",
            "http://github.com/docker/docker.git:#branch",
            "custom.xyz/moby/buildkit.git",
            "./.git",
            ".git",
            "../x.git",
            "dir/file",
            "ftp://example.com/foo.git",
        ] {
            check(other, "-");
        }
        check("https://example.com/foo.git", "https://example.com/foo.git");
        check("https://example.com/foo.git#release/1.2", "https://example.com/foo.git release/1.2");
        check("https://github.com/foo/bar.git#baz/qux:quux/quuz", "https://github.com/foo/bar.git baz/qux quux/quuz");
        check("https://github.com/docker/docker.git#:myfolder", "https://github.com/docker/docker.git  myfolder");
        check("https://github.com/a/b.git#v1:../../etc", "https://github.com/a/b.git v1 etc");
        check("git://example.com/foo", "git://example.com/foo");
        check("ssh://git@example.com:22/foo", "ssh://git@example.com:22/foo");
        check("git@github.com:moby/buildkit.git", "git@github.com:moby/buildkit.git");
        assert!(parse("github.com/moby/buildkit#master").unwrap().unwrap().like_a_path);
    }

    /// D008
    // items: D008
    #[test]
    fn queries() {
        let base = "https://github.com/moby/buildkit.git";
        check(&format!("{base}?ref=v1.0.0&subdir=/subdir"), &format!("{base} v1.0.0 /subdir"));
        check(&format!("{base}?subdir=/subdir#v1.0.0"), &format!("{base} v1.0.0 /subdir"));
        check(&format!("{base}?tag=v1.0.0"), &format!("{base} refs/tags/v1.0.0"));
        check(&format!("{base}?branch=v1.0"), &format!("{base} refs/heads/v1.0"));
        check(&format!("{base}?ref=v1.0.0#v1.2.3"), "error: ref conflicts: \"v1.2.3\" vs \"v1.0.0\"");
        check(&format!("{base}?tag=v1.0.0&branch=v1.0"), "error: branch conflicts with tag");
        check(&format!("{base}?invalid=123"), "error: unexpected query \"invalid\"");
        check(
            &format!("{base}?mtime=invalid"),
            "error: invalid mtime value: \"invalid\" (must be \"checkout\" or \"commit\")",
        );
        check(&format!("{base}?ref="), "error: query \"ref\" has no value");
        check(&format!("{base}?ref=a&ref=a"), "error: query \"ref\" has multiple values");
        let git =
            parse(&format!("{base}?fetch-by-commit&checksum=deadbeef&submodules=false&keep-git-dir")).unwrap().unwrap();
        assert!(git.fetch_by_commit && git.checksum.as_deref() == Some("deadbeef"));
        assert_eq!((git.submodules, git.keep_git_dir), (Some(false), Some(true)));
    }

    /// D003
    // items: D003
    #[test]
    fn names_of_files() {
        assert_eq!(file_name("https://x/a/b%20c.tar?q#f"), "b c.tar");
        assert_eq!(file_name("https://x/"), "__unnamed__");
        assert_eq!(file_name("https://x"), "__unnamed__");
    }
}
