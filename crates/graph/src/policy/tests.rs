//! Policies as BuildKit has them.

use super::*;
use crate::pb;

const BUSYBOX: &str = "docker-image://docker.io/library/busybox:latest";
const ALPINE: &str = "docker-image://docker.io/library/alpine:latest";

fn rule(action: Action, match_type: MatchType, identifier: &str) -> Rule {
    let selector = Selector { identifier: identifier.to_owned(), match_type, constraints: Vec::new() };
    Rule { action, selector }
}

fn allow(identifier: &str) -> Rule {
    rule(Action::Allow, MatchType::Wildcard, identifier)
}

fn deny(identifier: &str) -> Rule {
    rule(Action::Deny, MatchType::Wildcard, identifier)
}

fn update(identifier: &str, attrs: &[(&str, &str)]) -> Action {
    let attrs = attrs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Action::Convert(Update { identifier: identifier.to_owned(), attrs })
}

fn convert(match_type: MatchType, from: &str, to: &str) -> Rule {
    rule(update(to, &[]), match_type, from)
}

fn attribute(action: Action, key: &str, value: &str, condition: Condition) -> Rule {
    let mut rule = rule(action, MatchType::Wildcard, "*");
    rule.selector.constraints = vec![Constraint { key: key.to_owned(), value: value.to_owned(), condition }];
    rule
}

/// Asks policies about a source with `key=value` attributes and expects the source as text, or the error.
fn check(policies: &[Vec<Rule>], source: &str, expect: &str) {
    let policies: Vec<_> = policies.iter().map(|rules| Policy { rules: rules.clone() }).collect();
    let (identifier, attrs) = source.split_once(' ').unwrap_or((source, ""));
    let attrs = attrs.split_terminator(' ').map(|attr| attr.split_once('=').unwrap());
    let attrs = attrs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let source = pb::SourceOp { identifier: identifier.to_owned(), attrs };
    let found = match Engine::new(&policies).and_then(|mut engine| engine.evaluate(&source)) {
        Ok(None) => "unchanged".to_owned(),
        Ok(Some(source)) => {
            let attrs = source.attrs.iter().map(|(key, value)| format!(" {key}={value}"));
            format!("{}{}", source.identifier, attrs.collect::<String>())
        }
        Err(error) => error.to_string(),
    };
    assert!(found == expect || (expect.starts_with('~') && found.contains(&expect[1..])), "{found}\nfor {expect}");
}

#[test]
fn rules_that_allow_and_deny() {
    check(&[], BUSYBOX, "unchanged");
    check(&[vec![deny("*")]], BUSYBOX, &format!("~source \"{BUSYBOX}\" denied by policy: source denied by policy"));
    check(&[vec![deny("docker-image://*busy*")]], ALPINE, "unchanged");
    check(&[vec![deny(BUSYBOX)]], BUSYBOX, "~denied by policy");
    check(&[vec![allow(BUSYBOX), deny(BUSYBOX)]], BUSYBOX, "~denied by policy");
    check(&[vec![allow(BUSYBOX), deny(BUSYBOX), allow(BUSYBOX)]], BUSYBOX, "unchanged");
    check(&[vec![allow(BUSYBOX)], vec![deny(BUSYBOX)]], BUSYBOX, "~denied by policy");
    check(&[vec![deny(BUSYBOX)], vec![allow(BUSYBOX)]], BUSYBOX, "~denied by policy");
    check(&[vec![rule(Action::Deny, MatchType::Exact, "docker-image://*")]], BUSYBOX, "unchanged");
    check(&[vec![rule(Action::Deny, MatchType::Regex, "busy|tiny")]], BUSYBOX, "~denied by policy");
    check(&[vec![rule(Action::Deny, MatchType::Regex, "^busy")]], BUSYBOX, "unchanged");
}

#[test]
fn rules_that_convert() {
    let wildcard = |from: &str, to: &str| convert(MatchType::Wildcard, from, to);
    check(&[vec![wildcard(BUSYBOX, ALPINE)]], BUSYBOX, ALPINE);
    check(&[vec![wildcard(BUSYBOX, ALPINE), deny(ALPINE)]], BUSYBOX, "~alpine:latest\" denied");
    check(&[vec![wildcard(BUSYBOX, ALPINE), deny(BUSYBOX)]], BUSYBOX, ALPINE);
    check(&[vec![deny(BUSYBOX), wildcard(BUSYBOX, ALPINE)]], BUSYBOX, ALPINE);
    check(&[vec![wildcard(BUSYBOX, BUSYBOX)]], BUSYBOX, "unchanged");
    check(&[vec![wildcard(BUSYBOX, ALPINE), wildcard(ALPINE, BUSYBOX)]], BUSYBOX, "~too many operations");
    check(&[vec![wildcard("*", "${1}x")]], "http://a", "~too many operations");
    check(
        &[vec![wildcard("docker-image://golang:*", "docker-image://golang:${1}-alpine"), allow("*")]],
        ALPINE,
        "unchanged",
    );
    check(
        &[vec![wildcard("docker-image://*/golang:1.19", "docker-image://$1/go:1")]],
        "docker-image://a/b/golang:1.19",
        "docker-image://a/b/go:1",
    );
    let regex = |from: &str, to: &str| convert(MatchType::Regex, from, to);
    check(
        &[vec![regex("^docker-image://docker.io/library/golang:(.*)$", "docker-image://g:$1-x")]],
        "docker-image://docker.io/library/golang:1.19",
        "docker-image://g:1.19-x",
    );
    check(&[vec![regex("busy(?P<rest>box)", "alpine${rest}")]], "http://busybox", "http://alpinebox");
    check(&[vec![convert(MatchType::Exact, "a://b", "c://$1")]], "a://b", "c://$1");
    let checksum = update("", &[("http.checksum", "sha256:1")]);
    check(
        &[vec![rule(checksum.clone(), MatchType::Exact, "https://a/b")]],
        "https://a/b http.perm=1",
        "https://a/b http.checksum=sha256:1 http.perm=1",
    );
    check(&[vec![rule(checksum, MatchType::Exact, "https://a/b")]], "https://a/b http.checksum=sha256:1", "unchanged");
}

#[test]
fn attributes_are_compared() {
    use Condition::{Equal, Matches, NotEqual};
    let deny = |key: &str, value: &str, condition| vec![attribute(Action::Deny, key, value, condition)];
    check(&[deny("a", "1", Equal)], "x://y a=1", "~denied");
    check(&[deny("a", "1", Equal)], "x://y a=2", "unchanged");
    check(&[deny("a", "1", NotEqual)], "x://y", "~denied");
    check(&[deny("a", "", Equal)], "x://y", "~denied");
    check(&[deny("a", "^[0-9]+$", Matches)], "x://y a=22", "~denied");
    check(&[deny("a", "^[0-9]+$", Matches)], "x://y a=2x", "unchanged");
    check(&[deny("a", "(", Matches)], "x://y", "~invalid regex \"(\"");
}

#[test]
fn x90_hostile_policies_are_refused() {
    check(&[vec![deny("**")]], BUSYBOX, "~invalid wildcard: \"**\"");
    check(&[vec![rule(Action::Deny, MatchType::Regex, "(a{1000}){1000}")]], BUSYBOX, "~bytes of memory");
    check(&[vec![rule(Action::Deny, MatchType::Regex, &"(".repeat(1000))]], BUSYBOX, "~invalid regex");
    check(&[vec![deny(&"a".repeat(9000))]], BUSYBOX, "~takes more than 8192 bytes");
    check(&[vec![convert(MatchType::Wildcard, "*", &"$1".repeat(1000))]], BUSYBOX, "~takes more than 8192 bytes");
    check(&[vec![deny("x"); 20_001]], BUSYBOX, "source policies have more than 20000 rules");
    check(&[vec![rule(Action::Deny, MatchType::Regex, "x"); 257]], BUSYBOX, "~more than 256 regular expressions");
}

#[test]
fn asking_ends() {
    let policy = Policy { rules: vec![deny("x"); 20_000] };
    let mut engine = Engine::new(&[policy]).unwrap();
    let source = pb::SourceOp { identifier: BUSYBOX.to_owned(), ..Default::default() };
    let ended = (0..10_000).find_map(|_| engine.evaluate(&source).err());
    assert!(matches!(ended, Some(PolicyError::Steps(_))));
}
