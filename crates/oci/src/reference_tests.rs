use super::*;

const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Checks the full and the familiar form, and that both read back as the same reference.
fn check(text: &str, full: &str, familiar: &str) {
    let reference = Reference::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(reference.to_string(), full, "{text}");
    assert_eq!(reference.familiar(), familiar, "{text}");
    assert_eq!(Reference::parse(full).unwrap(), reference, "{text}");
    assert_eq!(Reference::parse(familiar).unwrap(), reference, "{text}");
}

fn refuse(text: &str, reason: &str) {
    let error = Reference::parse(text).expect_err(text).to_string();
    assert!(error.contains(reason), "{text}: {error}");
}

#[test]
fn normalises_as_docker_does() {
    check("alpine", "docker.io/library/alpine:latest", "alpine:latest");
    check("alpine:3.20", "docker.io/library/alpine:3.20", "alpine:3.20");
    check("library/alpine", "docker.io/library/alpine:latest", "alpine:latest");
    check("docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest");
    check("docker.io/library/alpine", "docker.io/library/alpine:latest", "alpine:latest");
    check("index.docker.io/alpine:1", "docker.io/library/alpine:1", "alpine:1");
    check("index.docker.io/a/b", "docker.io/a/b:latest", "a/b:latest");
    check("user/app", "docker.io/user/app:latest", "user/app:latest");
    check("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest");
    check("a/b/c:x", "docker.io/a/b/c:x", "a/b/c:x");
    check("localhost/app", "localhost/app:latest", "localhost/app:latest");
    check("localhost:5000/app:v1", "localhost:5000/app:v1", "localhost:5000/app:v1");
    check("localhost", "docker.io/library/localhost:latest", "localhost:latest");
    check("docker.io/localhost/x", "docker.io/localhost/x:latest", "docker.io/localhost/x:latest");
    check("ghcr.io/o/r", "ghcr.io/o/r:latest", "ghcr.io/o/r:latest");
    check("127.0.0.1:5000/a", "127.0.0.1:5000/a:latest", "127.0.0.1:5000/a:latest");
    check("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest");
    check("[fe80::1]/a", "[fe80::1]/a:latest", "[fe80::1]/a:latest");
    check("HOST/a", "HOST/a:latest", "HOST/a:latest");
    check("host:1/a", "host:1/a:latest", "host:1/a:latest");
    check("registry.k8s.io/a/b:V1.2_x-y", "registry.k8s.io/a/b:V1.2_x-y", "registry.k8s.io/a/b:V1.2_x-y");
    check("a.b_c__d-e---f", "docker.io/library/a.b_c__d-e---f:latest", "a.b_c__d-e---f:latest");
    check(&format!("alpine@{D}"), &format!("docker.io/library/alpine@{D}"), &format!("alpine@{D}"));
    check(&format!("alpine:3@{D}"), &format!("docker.io/library/alpine:3@{D}"), &format!("alpine:3@{D}"));
    check(&format!("h.io/a@{D}"), &format!("h.io/a@{D}"), &format!("h.io/a@{D}"));
}

#[test]
fn names_the_malformed_part() {
    refuse("", "empty");
    refuse(&"a".repeat(64), "not a name");
    refuse("Alpine", "did you mean `alpine`?");
    refuse("ghcr.io/Org/App:V1", "did you mean `ghcr.io/org/app:V1`?");
    refuse("https://ghcr.io/a/b", "did you mean `ghcr.io/a/b`?");
    refuse("a:", "`` is not a tag");
    refuse("a:.x", "`.x` is not a tag");
    refuse("a:-x", "`-x` is not a tag");
    refuse("a:b:c", "`b:c` is not a tag");
    refuse(&format!("a:{}", "t".repeat(129)), "is not a tag");
    refuse(&format!("a/{}", "b".repeat(254)), "longer than 255");
    for bad in ["/a", "a//b", "a/", "-a", "a-", "a..b", "a___b", "_a", "a b", "a\n", "é", "a/../b", ".", "..", "a._b"]
    {
        refuse(bad, "invalid reference");
    }
    for bad in ["-h.io/a", "h..io/a", "h.io:/a", "h.io:x/a", "[::1/a", "[]:1/a", "[::1]x/a", "h_x.io/a"] {
        refuse(bad, "is not a registry");
    }
    for bad in ["a@", "a@sha256:00", "a@md5:d41d8cd98f00b204e9800998ecf8427e", &format!("a@{D}@{D}")] {
        let error = Reference::parse(bad).unwrap_err();
        assert!(matches!(error, ReferenceError::Digest { .. }), "{bad}");
    }
}

#[test]
fn changes_tag_and_digest() {
    let reference = Reference::parse("a:1").unwrap();
    assert_eq!(reference.with_tag("2").unwrap().familiar(), "a:2");
    assert!(reference.with_tag("/").is_err());
    assert_eq!(reference.with_digest(D.parse().unwrap()).familiar(), format!("a:1@{D}"));
    assert_eq!(Reference::parse_untagged("a").unwrap().familiar(), "a");
}
