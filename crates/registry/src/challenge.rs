//! `WWW-Authenticate`: what a server asks for (RFC 9110 section 11.6.1).

/// One challenge of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// User name and password with every request.
    Basic,
    /// A token from a token server (distribution specification, "Token Authentication").
    Bearer(Bearer),
    /// A scheme we do not speak.
    Other(String),
}

/// The parameters of a bearer challenge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bearer {
    /// The token server's address.
    pub realm: String,
    /// The service the token is for.
    pub service: Option<String>,
    /// The scopes the request would have needed.
    pub scope: Option<String>,
    /// Why the token sent was not enough.
    pub error: Option<String>,
}

/// Reads one header; what does not follow the grammar ends the reading.
pub fn parse(header: &str) -> Vec<Challenge> {
    let mut cursor = Cursor { rest: header };
    let mut found = Vec::new();
    while let Some(scheme) = cursor.scheme() {
        let parameters = cursor.parameters();
        found.push(challenge(&scheme, parameters));
    }
    found
}

fn challenge(scheme: &str, parameters: Vec<(String, String)>) -> Challenge {
    if scheme.eq_ignore_ascii_case("basic") {
        return Challenge::Basic;
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Challenge::Other(scheme.to_owned());
    }
    let mut bearer = Bearer::default();
    for (name, value) in parameters {
        match name.to_ascii_lowercase().as_str() {
            "realm" => bearer.realm = value,
            "service" => bearer.service = Some(value),
            "scope" => bearer.scope = Some(value),
            "error" => bearer.error = Some(value),
            _ => {}
        }
    }
    Challenge::Bearer(bearer)
}

struct Cursor<'a> {
    rest: &'a str,
}

impl Cursor<'_> {
    fn skip(&mut self, separators: &[char]) {
        self.rest = self.rest.trim_start_matches(separators);
    }

    fn token(&mut self) -> Option<String> {
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let end = self.rest.find(|c| !is_token(c)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!token.is_empty()).then(|| token.to_owned())
    }

    fn scheme(&mut self) -> Option<String> {
        self.skip(&[' ', '\t', ',']);
        self.token()
    }

    /// Reads `name=value` pairs up to the next scheme, which is a token without `=`.
    fn parameters(&mut self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        loop {
            let before = self.rest;
            self.skip(&[' ', '\t', ',']);
            let Some(name) = self.token() else { break };
            self.skip(&[' ', '\t']);
            let Some(after) = self.rest.strip_prefix('=') else {
                self.rest = before;
                break;
            };
            self.rest = after;
            self.skip(&[' ', '\t', '=']);
            let Some(value) = self.value() else { break };
            found.push((name, value));
        }
        found
    }

    fn value(&mut self) -> Option<String> {
        let Some(quoted) = self.rest.strip_prefix('"') else {
            return Some(self.token().unwrap_or_default());
        };
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &quoted[at + 1..];
                    return Some(value);
                }
                '\\' => value.push(chars.next()?.1),
                _ => value.push(c),
            }
        }
        self.rest = "";
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Challenge::Bearer(Bearer { realm: realm.into(), service: owned(service), scope: owned(scope), error: None })
    }

    fn check(header: &str, want: &[Challenge]) {
        assert_eq!(parse(header), want, "{header}");
    }

    #[test]
    fn reads_what_registries_send() {
        check("", &[]);
        check("Basic realm=\"x\"", &[Challenge::Basic]);
        check("basic", &[Challenge::Basic]);
        check(
            "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"repository:a/b:pull,push\"",
            &[bearer("https://auth.docker.io/token", Some("registry.docker.io"), Some("repository:a/b:pull,push"))],
        );
        check("Bearer realm = \"r\" , service=plain", &[bearer("r", Some("plain"), None)]);
        check("Bearer realm=\"a\\\"b\"", &[bearer("a\"b", None, None)]);
        check(
            "Negotiate, Basic realm=\"x, y=z\", Bearer realm=\"r\"",
            &[Challenge::Other("Negotiate".into()), Challenge::Basic, bearer("r", None, None)],
        );
        check("Bearer realm=\"never closed", &[bearer("", None, None)]);
        check("\u{1b}[31m", &[]);
    }
}
