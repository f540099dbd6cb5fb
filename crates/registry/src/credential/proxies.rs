//! The proxies of docker's `config.json`, which docker's client hands to builds and containers.
//!
//! ```text
//! { "proxies": { "default":                     { "httpProxy": "…", "noProxy": "…" },
//!                "unix:///var/run/docker.sock": { "httpProxy": "…" } } }     for this engine, instead of the default
//! ```

use super::{CredentialError, DockerConfig};

/// Names in the file, and names of the variables.
const PROXIES: [(&str, &str); 5] = [
    ("httpProxy", "HTTP_PROXY"),
    ("httpsProxy", "HTTPS_PROXY"),
    ("ftpProxy", "FTP_PROXY"),
    ("noProxy", "NO_PROXY"),
    ("allProxy", "ALL_PROXY"),
];

impl DockerConfig {
    /// Returns the proxies for the engine behind `host`, else the default ones, each under the name of its variable in
    /// upper case.
    ///
    /// # Errors
    /// Fails if the file cannot be read or understood.
    pub fn proxies(&self, host: &str) -> Result<Vec<(&'static str, String)>, CredentialError> {
        let config = self.read()?;
        let Some(hosts) = self.section(&config, "proxies")? else { return Ok(Vec::new()) };
        let name = if hosts.contains_key(host) { host } else { "default" };
        let Some(proxies) = self.section(hosts, name)? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for (key, variable) in PROXIES {
            found.extend(self.text(proxies, key)?.map(|value| (variable, value.to_owned())));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_of_an_engine_go_before_the_default_ones() {
        let dir = tempfile::tempdir().unwrap();
        let proxies = |text: &str, host: &str| {
            let path = dir.path().join("config.json");
            std::fs::write(&path, text).unwrap();
            DockerConfig::new(path, "").proxies(host).map_err(|error| error.to_string())
        };
        let text = r#"{"auths":{}, "proxies":{
            "default":{"httpProxy":"h","httpsProxy":"s","noProxy":"n","ftpProxy":"","allProxy":null,"else":1},
            "tcp://other":{"allProxy":"a"}}}"#;
        let default = [("HTTP_PROXY", "h"), ("HTTPS_PROXY", "s"), ("NO_PROXY", "n")];
        assert_eq!(proxies(text, "unix:///x").unwrap(), default.map(|(name, value)| (name, value.to_owned())));
        assert_eq!(proxies(text, "tcp://other").unwrap(), [("ALL_PROXY", "a".to_owned())]);
        for none in ["", "{}", r#"{"proxies":null}"#, r#"{"proxies":{"tcp://other":{"httpProxy":"x"}}}"#] {
            assert_eq!(proxies(none, "x").unwrap(), [], "{none}");
        }
        for broken in
            ["{", r#"{"proxies":1}"#, r#"{"proxies":{"default":[]}}"#, r#"{"proxies":{"default":{"httpProxy":1}}}"#]
        {
            assert!(proxies(broken, "x").is_err(), "{broken}");
        }
        assert_eq!(DockerConfig::new(dir.path().join("missing"), "").proxies("x").unwrap(), []);
    }
}
