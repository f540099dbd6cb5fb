//! Token scopes: what a token may do to which repository.

use std::collections::{BTreeMap, BTreeSet};

/// A set of scopes, aggregated: each resource once, with all its actions.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scopes(BTreeMap<String, BTreeSet<String>>);

impl Scopes {
    /// Returns the scope to read a repository.
    pub fn pull(repository: &str) -> Self {
        Self::default().with(&format!("repository:{repository}"), &["pull"])
    }

    /// Returns the scope to read and write a repository.
    pub fn push(repository: &str) -> Self {
        Self::default().with(&format!("repository:{repository}"), &["pull", "push"])
    }

    /// Returns the scope to delete from a repository.
    pub fn delete(repository: &str) -> Self {
        Self::default().with(&format!("repository:{repository}"), &["delete", "pull"])
    }

    /// Reads the scope parameter of a challenge; parts without three fields are left out.
    pub fn parse(text: &str) -> Self {
        let mut scopes = Self::default();
        for part in text.split_ascii_whitespace() {
            // A repository name may hold a colon (`host:port/name`), the kind and the actions not.
            let Some((resource, actions)) = part.rsplit_once(':') else { continue };
            if resource.contains(':') {
                scopes = scopes.with(resource, &actions.split(',').collect::<Vec<_>>());
            }
        }
        scopes
    }

    fn with(mut self, resource: &str, actions: &[&str]) -> Self {
        let actions = actions.iter().filter(|action| !action.is_empty()).map(|action| (*action).to_owned());
        self.0.entry(resource.to_owned()).or_default().extend(actions);
        self
    }

    /// Returns these scopes and the others.
    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        for (resource, actions) in &other.0 {
            self.0.entry(resource.clone()).or_default().extend(actions.iter().cloned());
        }
        self
    }

    /// Whether whoever holds these scopes holds the others too.
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(resource, actions)| self.0.get(resource).is_some_and(|own| own.is_superset(actions)))
    }

    /// Returns the scopes as the token server reads them, one text a resource.
    pub fn texts(&self) -> Vec<String> {
        let join = |actions: &BTreeSet<String>| actions.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        self.0.iter().map(|(resource, actions)| format!("{resource}:{}", join(actions))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: &[&str]) {
        assert_eq!(Scopes::parse(text).texts(), want, "{text}");
    }

    #[test]
    fn aggregates_by_resource() {
        check("", &[]);
        check("repository:a/b:pull", &["repository:a/b:pull"]);
        check("repository:a/b:push,pull repository:a/b:pull", &["repository:a/b:pull,push"]);
        check("repository:host:5000/a:pull registry:catalog:*", &["registry:catalog:*", "repository:host:5000/a:pull"]);
        check("nonsense a:b", &[]);
    }

    #[test]
    fn covers_only_what_it_holds() {
        let both = Scopes::push("a").union(&Scopes::pull("b"));
        assert_eq!(both.texts(), ["repository:a:pull,push", "repository:b:pull"]);
        assert!(both.covers(&Scopes::pull("a")) && both.covers(&Scopes::pull("b")) && both.covers(&Scopes::default()));
        assert!(!both.covers(&Scopes::push("b")) && !Scopes::pull("a").covers(&both));
    }
}
