//! Where a repository is, and which commit a name means there: parsing only.

use std::fmt;

/// How a repository is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Http,
    Ssh,
    Git,
    /// A repository of this machine; only if the address itself says so.
    File,
}

/// An address that git may be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remote {
    pub(super) url: String,
    pub(super) transport: Transport,
    /// The host with its port; empty for files.
    pub(super) host: String,
    /// `user:password` of the address.
    user: Option<String>,
}

impl Remote {
    /// Reads an address; one without a protocol is reached by https.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.chars().any(|c| c.is_control() || c == ' ') || text.starts_with('-') {
            return Err(format!("`{}` is not the address of a git repository", text.escape_debug()));
        }
        let (scheme, rest, url) = match text.split_once("://") {
            Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest, text.to_owned()),
            None => match scp(text) {
                Some((user, host)) => {
                    let user = Some(user.to_owned());
                    return Self { url: text.to_owned(), transport: Transport::Ssh, host: host.to_owned(), user }
                        .checked();
                }
                None => ("https".to_owned(), text, format!("https://{text}")),
            },
        };
        let transport = match scheme.as_str() {
            "http" | "https" => Transport::Http,
            "ssh" => Transport::Ssh,
            "git" => Transport::Git,
            "file" => Transport::File,
            other => return Err(format!("git repositories are not fetched by `{other}`")),
        };
        let authority = rest.split('/').next().unwrap_or_default();
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user.to_owned()), host),
            None => (None, authority),
        };
        Self { url, transport, host: host.to_owned(), user }.checked()
    }

    fn checked(self) -> Result<Self, String> {
        let dash = |text: &str| text.starts_with('-');
        let named = self.transport == Transport::File || !self.host.is_empty();
        if !named || dash(&self.host) || self.user.as_deref().is_some_and(dash) {
            return Err(format!("`{self}` names no host"));
        }
        Ok(self)
    }

    /// Returns the name for git's settings of this host by http.
    pub(super) fn scope(&self) -> String {
        let scheme = if self.url.to_ascii_lowercase().starts_with("http://") { "http" } else { "https" };
        format!("{scheme}://{}/", self.host)
    }

    /// Returns the address without credentials.
    pub(super) fn public(&self) -> String {
        match &self.user {
            Some(user) if self.transport != Transport::Ssh => self.url.replacen(&format!("{user}@"), "", 1),
            _ => self.url.clone(),
        }
    }

    /// Removes the credentials of the address from a text.
    pub(super) fn redact(&self, text: &str) -> String {
        match self.user.as_deref().filter(|user| self.transport != Transport::Ssh && !user.is_empty()) {
            Some(user) => text.replace(&format!("{user}@"), ""),
            None => text.to_owned(),
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.public())
    }
}

/// Reads `user@host:path`; returns user and host.
fn scp(text: &str) -> Option<(&str, &str)> {
    let (user, rest) = text.split_once('@')?;
    let (host, _) = rest.split_once(':')?;
    (!user.contains(['/', ':']) && !host.contains('/')).then_some((user, host))
}

/// Whether a text is the full name of an object, by SHA-1 or SHA-256.
pub(super) fn is_object(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Whether a text may be handed to git as the name of a branch, tag or commit (git-check-ref-format).
pub(super) fn is_reference(text: &str) -> bool {
    let forbidden = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    !text.starts_with('-')
        && text != "@"
        && text.len() <= 1024
        && !text.contains(forbidden)
        && !text.contains("..")
        && !text.contains("@{")
        && !text.ends_with('.')
        && text.split('/').all(part)
}

/// What a name means at a remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct Target {
    /// The whole name (`refs/…`); none if a commit was asked for.
    pub(super) name: Option<String>,
    /// A commit, or an annotated tag.
    pub(super) object: String,
    /// The commit of an annotated tag.
    pub(super) commit: Option<String>,
}

/// Finds `reference` in what `ls-remote` printed, in the order that git prefers: as written, as a branch, as a
/// tag. An empty reference is the default branch.
pub(super) fn find(listed: &str, reference: &str) -> Option<Target> {
    let lines = || listed.lines().filter_map(|line| line.split_once('\t'));
    let object =
        |name: &str| lines().find(|(object, at)| *at == name && is_object(object)).map(|(object, _)| object.to_owned());
    if reference.is_empty() {
        let branch = lines().find_map(|(to, at)| to.strip_prefix("ref: ").filter(|_| at == "HEAD"));
        let name = branch.filter(|branch| is_reference(branch)).map(str::to_owned);
        return Some(Target { name, object: object("HEAD")?, commit: None });
    }
    let with = |prefix: &str| format!("{prefix}{}", reference.strip_prefix(prefix).unwrap_or(reference));
    for name in [with("refs/"), with("refs/heads/"), with("refs/tags/")] {
        if let Some(found) = object(&name) {
            let commit = object(&format!("{name}^{{}}")).filter(|_| name.starts_with("refs/tags/"));
            return Some(Target { name: Some(name), object: found, commit });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        let shown = match Remote::parse(text) {
            Ok(remote) => format!("{:?} {} {}", remote.transport, remote.host, remote.public()),
            Err(error) => error,
        };
        assert_eq!(shown, expect, "{text}");
    }

    #[test]
    fn remotes() {
        check("https://u:p@example.com:8/a.git", "Http example.com:8 https://example.com:8/a.git");
        check("github.com/a/b", "Http github.com https://github.com/a/b");
        check("git@github.com:a/b.git", "Ssh github.com git@github.com:a/b.git");
        check("ssh://git@example.com/a", "Ssh example.com ssh://git@example.com/a");
        check("git://127.0.0.1:9/a", "Git 127.0.0.1:9 git://127.0.0.1:9/a");
        check("file:///srv/a.git", "File  file:///srv/a.git");
    }

    /// X50
    #[test]
    fn hostile_remotes() {
        check("ext::sh -c id", "`ext::sh -c id` is not the address of a git repository");
        check("--upload-pack=id", "`--upload-pack=id` is not the address of a git repository");
        check("ext://x/y", "git repositories are not fetched by `ext`");
        check("ssh://-oProxyCommand=id/x", "`ssh://-oProxyCommand=id/x` names no host");
        check("git@-oProxyCommand=id:x", "`git@-oProxyCommand=id:x` names no host");
        check("https:///x", "`https:///x` names no host");
        for reference in
            ["-x", "--upload-pack=id", "a..b", "a b", "a:b", "a^{}", "refs/*", "x.lock", "a//b", "@{-1}", ""]
        {
            assert!(!is_reference(reference), "{reference}");
        }
        for reference in ["main", "refs/pull/1/head", "v1.0", "feature/a-b_c", "HEAD"] {
            assert!(is_reference(reference), "{reference}");
        }
    }

    #[test]
    fn references_are_found_in_git_s_order() {
        let (a, b, c) = ("a".repeat(40), "b".repeat(40), "c".repeat(40));
        let listed = format!(
            "ref: refs/heads/main\tHEAD\n{a}\tHEAD\n{a}\trefs/heads/both\n{b}\trefs/tags/both\n{b}\trefs/tags/v1\n{c}\trefs/tags/v1^{{}}\n"
        );
        let found = |reference: &str| {
            find(&listed, reference).map(|target| {
                let commit = target.commit.map_or(String::new(), |commit| commit[..1].to_owned());
                format!("{} {}{commit}", target.name.unwrap_or_default(), &target.object[..1])
            })
        };
        assert_eq!(found("").as_deref(), Some("refs/heads/main a"));
        assert_eq!(found("both").as_deref(), Some("refs/heads/both a"));
        assert_eq!(found("refs/tags/both").as_deref(), Some("refs/tags/both b"));
        assert_eq!(found("tags/v1").as_deref(), Some("refs/tags/v1 bc"));
        assert_eq!(found("v1").as_deref(), Some("refs/tags/v1 bc"));
        assert_eq!(found("none"), None);
        let hostile = format!("ref: --upload-pack=id\tHEAD\n{a}\tHEAD\n");
        assert_eq!(find(&hostile, ""), Some(Target { name: None, object: a, commit: None }));
    }
}
