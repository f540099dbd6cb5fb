use rbuild_oci::Digest;
use serde_json::json;

use super::super::{AttestOptions, GitSource, HttpSource, ImageSource, Secret};
use super::*;

const COMMIT: &str = "0123456789012345678901234567890123456789";

fn provenance(args: &[(&str, &str)], local: bool) -> Provenance {
    let args = args.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let mut capture = Capture {
        request: Parameters { frontend: "dockerfile.v0".to_owned(), args, ..Parameters::default() },
        ..Capture::default()
    };
    capture.add_secret(Secret { id: "s".to_owned(), optional: true });
    capture.add_secret(Secret { id: "s".to_owned(), optional: false });
    capture.add_git(GitSource { url: "https://u:p@git.example/r.git#main".to_owned(), commit: COMMIT.to_owned() });
    capture.add_http(HttpSource { url: "https://example.org/f".to_owned(), digest: Digest::of(b"f") });
    let image = |name: &str| ImageSource {
        reference: name.parse().unwrap(),
        platform: Some(Platform::new("linux", "amd64", None)),
        digest: Some(Digest::of(b"i")),
        local: false,
    };
    capture.add_image(image("alpine"));
    capture.add_image(image("alpine"));
    capture.add_image(image(&format!("alpine:latest@{}", Digest::of(b"i"))));
    if local {
        capture.add_local("context".to_owned());
    }
    let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).unwrap();
    Provenance {
        capture,
        run: Run { id: "run".to_owned(), started: at(0), finished: at(1) },
        platform: Platform::new("linux", "amd64", None),
        dockerfile_version: None,
        steps: Some(BuildConfig {
            steps: vec![BuildStep { id: "step0".to_owned(), op: json!({"Op": {}}), inputs: Vec::new() }],
            digest_mapping: BTreeMap::new(),
        }),
        source: None,
        layers: BTreeMap::new(),
        environment: Map::new(),
    }
}

fn predicate(provenance: &Provenance, options: &str) -> (Attestation, Value) {
    let told = BTreeMap::from([("attest:provenance".to_owned(), options.to_owned())]);
    let options = AttestOptions::parse(&told).unwrap().provenance.unwrap();
    let attestation = provenance.attestation(&options).unwrap();
    let Content::Made(bytes) = &attestation.content else { panic!("made here") };
    let value = serde_json::from_slice(bytes).unwrap();
    (attestation, value)
}

#[test]
fn version_one() {
    let args = [
        ("context", "https://u:p@git.example/r.git#main:sub"),
        ("filename", "Other"),
        ("platform", "linux/arm64"),
        ("attest:provenance", "x"),
        ("build-arg:A", "1"),
        ("vcs:revision", "abc"),
        ("target", "t"),
    ];
    let (attestation, found) = predicate(&provenance(&args, false), "mode=max,builder-id=me,reproducible=true");
    assert_eq!(attestation.predicate_type, "https://slsa.dev/provenance/v1");
    assert_eq!((attestation.path.as_str(), attestation.is_inline_only()), ("provenance.json", false));
    let hex = |bytes: &[u8]| Digest::of(bytes).hex();
    let want = json!({
        "buildDefinition": {
            "buildType": TYPE_V1,
            "resolvedDependencies": [
                {"uri": "pkg:docker/alpine@latest?platform=linux%2Famd64", "digest": {"sha256": hex(b"i")}},
                {"uri": "https://xxxxx:xxxxx@git.example/r.git#main", "digest": {"sha1": COMMIT}},
                {"uri": "https://example.org/f", "digest": {"sha256": hex(b"f")}},
            ],
            "externalParameters": {
                "configSource": {
                    "uri": "https://xxxxx:xxxxx@git.example/r.git#main:sub",
                    "digest": {"sha1": COMMIT},
                    "path": "Other",
                },
                "request": {
                    "frontend": "dockerfile.v0",
                    "args": {"build-arg:A": "1", "target": "t"},
                    "secrets": [{"id": "s"}],
                },
            },
            "internalParameters": {
                "builderPlatform": "linux/amd64",
                "buildConfig": {"llbDefinition": [{"id": "step0", "op": {"Op": {}}}]},
            },
        },
        "runDetails": {
            "builder": {"id": "me"},
            "metadata": {
                "invocationId": "run",
                "startedOn": "1970-01-01T00:00:00Z",
                "finishedOn": "1970-01-01T00:00:01Z",
                "buildkit_metadata": {"vcs": {"revision": "abc"}},
                "buildkit_hermetic": true,
                "buildkit_completeness": {"request": true, "resolvedDependencies": true},
                "buildkit_reproducible": true,
            },
        },
    });
    assert_eq!(found, want);
}

#[test]
fn the_least_is_told_in_the_old_version() {
    let provenance = provenance(&[("build-arg:A", "1"), ("label:l", "2"), ("target", "t")], true);
    let (attestation, found) = predicate(&provenance, "mode=min,inline-only=true,version=v0.2,filename=p.json");
    assert_eq!(attestation.predicate_type, "https://slsa.dev/provenance/v0.2");
    assert_eq!((attestation.path.as_str(), attestation.is_inline_only()), ("p.json", true));
    assert_eq!(found["buildType"], TYPE_V02);
    assert_eq!(found["materials"].as_array().unwrap().len(), 3);
    assert_eq!(found["buildConfig"], Value::Null);
    let request = json!({"frontend": "dockerfile.v0", "args": {"target": "t"}, "locals": [{"name": "context"}]});
    let environment = json!({"platform": "linux/amd64"});
    assert_eq!(found["invocation"], json!({"configSource": {}, "parameters": request, "environment": environment}));
    let complete = json!({"parameters": false, "environment": true, "materials": false});
    assert_eq!((&found["metadata"]["completeness"], &found["metadata"]["reproducible"]), (&complete, &json!(false)));
    assert_eq!(found["metadata"]["https://mobyproject.org/buildkit@v1#hermetic"], Value::Null);
    let told = BTreeMap::from([("attest:provenance".to_owned(), "complete-materials=true".to_owned())]);
    let options = AttestOptions::parse(&told).unwrap().provenance.unwrap();
    let error = provenance.attestation(&options).unwrap_err().to_string();
    assert_eq!(error, "provenance materials are incomplete: local sources: context");
}

#[test]
fn credentials_are_not_told() {
    for (url, want) in [
        ("https://user:secret@host/path?q", "https://xxxxx:xxxxx@host/path?q"),
        ("https://token@host", "https://xxxxx@host"),
        ("https://:secret@host/", "https://:xxxxx@host/"),
        ("https://host/a@b", "https://host/a@b"),
        ("https://a@b@host/", "https://xxxxx@host/"),
        ("git@host:path", "git@host:path"),
    ] {
        assert_eq!(redacted(url), want, "{url}");
    }
}
