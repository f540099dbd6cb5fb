use super::*;
use crate::Digest;

fn check(text: &str, want: &str) {
    assert_eq!(Platform::parse(text).unwrap_or_else(|e| panic!("{text}: {e}")).to_string(), want, "{text}");
}

#[test]
fn parses_and_normalises() {
    check("linux/amd64", "linux/amd64");
    check("linux/x86_64", "linux/amd64");
    check("Linux/X86-64", "linux/amd64");
    check("linux/amd64/v1", "linux/amd64");
    check("linux/amd64/v3", "linux/amd64/v3");
    check("linux/i386", "linux/386");
    check("linux/aarch64", "linux/arm64");
    check("linux/arm64/v8", "linux/arm64");
    check("linux/arm64/8", "linux/arm64");
    check("linux/arm64/v9", "linux/arm64/v9");
    check("linux/arm", "linux/arm/v7");
    check("linux/arm/6", "linux/arm/v6");
    check("linux/arm/v5", "linux/arm/v5");
    check("linux/armhf", "linux/arm/v7");
    check("linux/armel", "linux/arm/v6");
    check("macos/arm64", "darwin/arm64");
    check("linux/riscv64", "linux/riscv64");
    check("other/strange", "other/strange");
    check("arm64", "linux/arm64");
    check("s390x", "linux/s390x");
    let host = Platform::host();
    check("linux", &host.to_string());
    let windows = Platform::parse("windows(10.0.17763)/amd64").unwrap();
    assert_eq!(windows.os_version.as_deref(), Some("10.0.17763"));
    assert_eq!(windows.to_string(), "windows/amd64");
}

#[test]
fn refuses_malformed_platforms() {
    for bad in
        ["", "/", "linux/", "/amd64", "linux/amd64/v1/x", "*", "linux/*", "nonsense", "lin ux/amd64", "a(b", "amd64(1)"]
    {
        assert!(Platform::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn runs_older_variants() {
    let runs = |host: &str, image: &str| Platform::parse(host).unwrap().matches(&Platform::parse(image).unwrap());
    assert!(runs("linux/amd64", "linux/386"));
    assert!(runs("linux/amd64/v3", "linux/amd64"));
    assert!(runs("linux/amd64/v3", "linux/amd64/v2"));
    assert!(!runs("linux/amd64", "linux/amd64/v2"));
    assert!(runs("linux/arm64", "linux/arm/v7"));
    assert!(runs("linux/arm64", "linux/arm64/v8"));
    assert!(runs("linux/arm64/v9.2", "linux/arm64/v8.7"));
    assert!(!runs("linux/arm64/v9.2", "linux/arm64/v8.8"));
    assert!(runs("linux/arm/v7", "linux/arm/v5"));
    assert!(!runs("linux/arm/v6", "linux/arm/v7"));
    assert!(!runs("linux/386", "linux/amd64"));
    assert!(!runs("linux/amd64", "windows/amd64"));
    assert!(!runs("linux/amd64", "linux/arm64"));
}

fn index(entries: &[(&str, Option<&str>, bool)]) -> Index {
    let manifests = entries.iter().map(|(name, platform, attestation)| {
        let mut entry = Descriptor::new(crate::media_type::OCI_MANIFEST, Digest::of(name.as_bytes()), 1);
        entry.platform = platform.map(|p| p.parse().unwrap());
        if *attestation {
            entry.annotations.insert(REFERENCE_TYPE.to_owned(), "attestation-manifest".to_owned());
        }
        entry
    });
    Index { schema_version: 2, media_type: None, manifests: manifests.collect(), annotations: Default::default() }
}

#[test]
fn selects_the_best_image_and_never_an_attestation() {
    let choose = |host: &str, entries: &[(&str, Option<&str>, bool)]| {
        let index = index(entries);
        let best = Platform::parse(host).unwrap().best(&index).map(|entry| entry.digest);
        entries.iter().find(|(name, ..)| best == Some(Digest::of(name.as_bytes()))).map(|(name, ..)| name.to_string())
    };
    let all = [
        ("att", Some("unknown/unknown"), true),
        ("v5", Some("linux/arm/v5"), false),
        ("v7", Some("linux/arm/v7"), false),
        ("32", Some("linux/386"), false),
        ("64", Some("linux/amd64"), false),
    ];
    assert_eq!(choose("linux/amd64", &all).as_deref(), Some("64"));
    assert_eq!(choose("linux/amd64/v2", &all).as_deref(), Some("64"));
    assert_eq!(choose("linux/amd64", &all[..4]).as_deref(), Some("32"));
    assert_eq!(choose("linux/arm/v7", &all).as_deref(), Some("v7"));
    assert_eq!(choose("linux/arm64", &all).as_deref(), Some("v7"));
    assert_eq!(choose("linux/arm/v6", &all).as_deref(), Some("v5"));
    assert_eq!(choose("linux/s390x", &all), None);
    assert_eq!(choose("linux/amd64", &[("att", None, true), ("plain", None, false)]).as_deref(), Some("plain"));
    assert_eq!(choose("linux/amd64", &[("att", Some("linux/amd64"), true)]), None);
    assert_eq!(choose("linux/amd64", &[("att", Some("unknown/unknown"), false)]), None);
}
