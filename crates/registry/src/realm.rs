//! Which token server may see a registry's credentials.
//!
//! A registry names its token server freely, so a hijacked or malicious answer could name any.
//! Credentials go to the registry's own origin, to a host of the same site, or to a pairing that
//! is known or was configured; everyone else is asked anonymously.

use url::{Host, Url};

use crate::options::TrustedRealm;
use crate::origin::{host_port, is_private, same_origin, shown};

/// How a token server is to be treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Realm {
    /// It may see the registry's credentials.
    Trusted(Url),
    /// It may be asked, without credentials.
    Anonymous(Url),
}

/// Pairings on different sites: the registry, its token server.
const KNOWN: [(&str, &str); 3] = [
    ("dhi.io", "auth.docker.io"),
    ("registry.hub.docker.com", "auth.docker.io"),
    ("registry.docker.com", "auth.docker.io"),
];

/// Domains below which strangers live side by side: their children are different sites.
const SHARED: [&str; 20] = [
    "amazonaws.com",
    "amazonaws.com.cn",
    "appspot.com",
    "azurecr.io",
    "azurewebsites.net",
    "cloudfront.net",
    "fly.dev",
    "github.io",
    "gitlab.io",
    "herokuapp.com",
    "jfrog.io",
    "netlify.app",
    "ngrok.app",
    "ngrok.io",
    "ngrok-free.app",
    "on.aws",
    "onrender.com",
    "pages.dev",
    "run.app",
    "vercel.app",
];

/// Second-level labels below which a country's registry sells names.
const SECOND_LEVEL: [&str; 12] = ["ac", "co", "com", "edu", "go", "gob", "gov", "gv", "ne", "net", "or", "org"];

/// Decides on the token server `realm` that `registry` named; an error is the rule it breaks.
pub fn judge(registry: &Url, realm: &str, trusted: &[TrustedRealm]) -> Result<Realm, (String, &'static str)> {
    let unreadable = || (realm.chars().take(200).flat_map(char::escape_default).collect(), "not an address");
    let realm = registry.join(realm).map_err(|_| unreadable())?;
    let refuse = |why| Err((shown(&realm), why));
    if !matches!(realm.scheme(), "http" | "https") || realm.host().is_none() {
        return refuse("a token server must be http or https");
    }
    if !realm.username().is_empty() || realm.password().is_some() {
        return refuse("a token server's address must not hold a user");
    }
    if realm.scheme() == "http" && registry.scheme() == "https" {
        return refuse("a token server over plain http is refused");
    }
    let configured = TrustedRealm { registry: host_port(registry), realm: host_port(&realm) };
    if trusted.contains(&configured) {
        return Ok(Realm::Trusted(realm));
    }
    if is_private(&realm) && !is_private(registry) {
        return refuse("a token server at a private address is refused");
    }
    if same_origin(registry, &realm) || same_site(registry, &realm) {
        return Ok(Realm::Trusted(realm));
    }
    Ok(Realm::Anonymous(realm))
}

/// Whether two named hosts belong to one owner as far as names tell, as browsers see it: ports do not count, schemes
/// do. Over plain http, where names prove little, it must be one host. Addresses have no owner that could be told.
fn same_site(registry: &Url, realm: &Url) -> bool {
    let (Some(Host::Domain(one)), Some(Host::Domain(other))) = (registry.host(), realm.host()) else {
        return false;
    };
    if registry.scheme() != realm.scheme() || realm.scheme() != "https" {
        return registry.scheme() == realm.scheme() && one == other;
    }
    one == other || KNOWN.contains(&(one, other)) || site(one).is_some_and(|own| site(other) == Some(own))
}

/// Returns the part of a name that one owner holds; none if the name is not below such a part.
fn site(host: &str) -> Option<&str> {
    let mut ends: Vec<usize> = host.rmatch_indices('.').map(|(at, _)| at + 1).collect();
    ends.push(0);
    let label = |n: usize| Some(&host[*ends.get(n)?..]);
    let top = label(0)?;
    let second = label(1)?;
    let name = second.split('.').next()?;
    let national = top.len() == 2 && (SECOND_LEVEL.contains(&name) || name.len() <= 2);
    if SHARED.iter().any(|shared| host.strip_suffix(shared).is_some_and(|rest| rest.ends_with('.'))) {
        return Some(host);
    }
    label(if national { 2 } else { 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(registry: &str, realm: &str, want: &str) {
        let trusted = [TrustedRealm { registry: "reg.lan:5000".into(), realm: "auth.lan:5001".into() }];
        let got = match judge(&Url::parse(registry).unwrap(), realm, &trusted) {
            Ok(Realm::Trusted(_)) => "trusted",
            Ok(Realm::Anonymous(_)) => "anonymous",
            Err(_) => "refused",
        };
        assert_eq!(got, want, "{registry} {realm}");
    }

    #[test]
    fn credentials_stay_on_their_site() {
        check("https://registry-1.docker.io", "https://auth.docker.io/token", "trusted");
        check("https://registry.hub.docker.com", "https://auth.docker.io/token", "trusted");
        check("https://registry.gitlab.com", "https://gitlab.com/jwt/auth", "trusted");
        check("https://registry.example.co.uk", "https://auth.example.co.uk/t", "trusted");
        check("https://ghcr.io", "https://ghcr.io/token", "trusted");
        check("https://reg.example:8443", "https://reg.example:8443/t", "trusted");
        check("https://reg.example:8443", "/token", "trusted");
        check("https://gitlab.example.com:5050", "https://gitlab.example.com/jwt/auth", "trusted");
        check("https://reg.example:8443", "https://reg.example/t", "trusted");
        check("https://registry:5000", "https://registry/t", "trusted");
        check("http://reg.example:5000", "http://reg.example:5001/t", "trusted");
        check("http://localhost:5000", "http://localhost:5001/t", "trusted");
        check("http://127.0.0.1:5000", "http://127.0.0.1:5000/token", "trusted");
        check("https://reg.lan:5000", "https://auth.lan:5001/t", "trusted");
    }

    #[test]
    fn strangers_are_asked_anonymously() {
        check("https://ghcr.io", "https://evil.io/token", "anonymous");
        check("https://docker.io", "https://docker.io.evil.com/token", "anonymous");
        check("https://evildocker.io", "https://auth.docker.io/token", "anonymous");
        check("https://example.co.uk", "https://evil.co.uk/t", "anonymous");
        check("https://a.azurecr.io", "https://b.azurecr.io/t", "anonymous");
        check("https://1.dkr.ecr.eu.amazonaws.com", "https://evil.eu.amazonaws.com/t", "anonymous");
        check("http://127.0.0.1:5000", "http://127.0.0.1:6000/token", "anonymous");
        check("http://reg.example:5000", "http://auth.example:5001/t", "anonymous");
        check("http://reg.example:5000", "https://reg.example/t", "anonymous");
        check("https://com", "https://evil.com/t", "anonymous");
    }

    #[test]
    fn bad_realms_are_refused() {
        check("https://ghcr.io", "http://ghcr.io/token", "refused");
        check("https://ghcr.io", "file:///etc/passwd", "refused");
        check("https://ghcr.io", "https://user:pw@ghcr.io/token", "refused");
        check("https://ghcr.io", "https://169.254.169.254/latest", "refused");
        check("https://ghcr.io", "https://localhost/token", "refused");
        check("https://ghcr.io", "https://[::ffff:10.0.0.1]/token", "refused");
        check("https://ghcr.io", "https://[bad", "refused");
    }
}
