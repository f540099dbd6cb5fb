//! Git repositories as contexts, named contexts and sources of ADD (D006-D012, X007): rows of addresses.

use std::path::{Path, PathBuf};

use rbuild_build::{BuildRequest, ContextSource, SecretSource};

use crate::files::Files;
use crate::place::{Place, read};
use crate::servers::{Site, git};

/// Says in `/out` which version this is.
const DOCKERFILE: &str = r#"FROM scratch AS withgit
COPY .git/HEAD out
FROM scratch AS withmodule
COPY module/file out
FROM scratch
COPY foo out
"#;

/// A repository with branches, tags and a submodule; returns its directory.
fn repository(place: &Place, site: &Site) -> PathBuf {
    let make = |name: &str| {
        let path = place.path(name);
        std::fs::create_dir(&path).unwrap();
        git(&path, &["init", "--quiet"]);
        path
    };
    let module = make("module.git");
    std::fs::write(module.join("file"), "123").unwrap();
    commit(&module, "initial");
    let path = make("repo.git");
    std::fs::write(path.join("Dockerfile"), DOCKERFILE).unwrap();
    std::fs::write(path.join("foo"), "base").unwrap();
    commit(&path, "initial");
    git(&path, &["branch", "base"]);
    git(&path, &["checkout", "--quiet", "-b", "modules"]);
    git(&path, &["submodule", "--quiet", "add", &format!("{}/git/module.git", site.address), "module"]);
    commit(&path, "module");
    git(&path, &["submodule", "--quiet", "deinit", "--all"]);
    git(&path, &["checkout", "--quiet", "-b", "feature", "base"]);
    std::fs::create_dir(path.join("sub")).unwrap();
    std::fs::write(path.join("sub/foo"), "subfeature").unwrap();
    std::fs::copy(path.join("Dockerfile"), path.join("sub/Dockerfile")).unwrap();
    commit(&path, "feature");
    git(&path, &["checkout", "--quiet", "main"]);
    for version in ["v0.0.2", "latest"] {
        std::fs::write(path.join("foo"), version).unwrap();
        commit(&path, version);
        git(&path, &["tag", version]);
    }
    path
}

fn commit(path: &Path, message: &str) {
    git(path, &["add", "--all"]);
    git(path, &["commit", "--quiet", "-m", message]);
}

fn hash(path: &Path, reference: &str) -> String {
    let output = std::process::Command::new("git").args(["rev-parse", reference]).current_dir(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// An address as a context, and some as a source of ADD and as a named context, too.
// items: D007 D008 D009 D010 X007
#[tokio::test(flavor = "multi_thread")]
async fn d008_addresses() {
    let place = Place::new();
    let site = Site::start(place.0.path(), None);
    let path = repository(&place, &site);
    let (two, latest) = (hash(&path, "v0.0.2"), hash(&path, "latest"));
    let short = |hash: &str| hash[..8].to_owned();
    let rows = [
        ("", "", "latest".to_owned()),
        ("#v0.0.2", "", "v0.0.2".to_owned()),
        ("?ref=base", "", "base".to_owned()),
        ("?branch=base", "", "base".to_owned()),
        ("?branch=invalid", "", "error: does not contain ref refs/heads/invalid".to_owned()),
        ("?branch=v0.0.2", "", "error: does not contain ref refs/heads/v0.0.2".to_owned()),
        ("?tag=v0.0.2#refs/tags/v0.0.2", "", "v0.0.2".to_owned()),
        ("?tag=v0.0.2#refs/heads/main", "", "error: ref conflicts".to_owned()),
        ("?tag=v0.0.2&branch=base", "", "error: branch conflicts with tag".to_owned()),
        (&format!("?commit={latest}"), "", "latest".to_owned()),
        (&format!("?checksum={}", short(&latest)), "", "latest".to_owned()),
        (&format!("?commit={}", short(&two)), "", "error: expected checksum to match".to_owned()),
        (&format!("?ref={two}"), "", "v0.0.2".to_owned()),
        (&format!("#{two}"), "", "v0.0.2".to_owned()),
        (&format!("?ref={}", short(&two)), "", "error: does not contain ref".to_owned()),
        (&format!("?tag=v0.0.2&commit={two}"), "", "v0.0.2".to_owned()),
        (&format!("?tag=v0.0.2&commit={latest}"), "", "error: expected checksum to match".to_owned()),
        (&format!("?ref={two}&commit={two}"), "", "v0.0.2".to_owned()),
        (&format!("?fetch-by-commit&commit={two}"), "", "v0.0.2".to_owned()),
        ("?commit=nothex", "", "error: expected hex commit hash".to_owned()),
        ("#feature:sub", "", "subfeature".to_owned()),
        ("?subdir=sub&ref=feature", "", "subfeature".to_owned()),
        ("?keep-git-dir=true", "withgit", latest.clone()),
        ("?tag=v0.0.2&keep-git-dir=1", "withgit", two.clone()),
        ("?keep-git-dir&submodules", "withgit", latest.clone()),
        ("", "withgit", "error: .git/HEAD\": not found".to_owned()),
        ("?keep-git-dir=false", "withgit", "error: .git/HEAD\": not found".to_owned()),
        ("#modules", "withmodule", "123".to_owned()),
        ("?submodules=true#modules", "withmodule", "123".to_owned()),
        ("?submodules=false#modules", "withmodule", "error: module/file\": not found".to_owned()),
        ("?unknown=1", "", "error: unexpected query \"unknown\"".to_owned()),
        ("?mtime=then", "", "error: invalid mtime value".to_owned()),
    ];
    let added = Files::new("");
    for (number, (query, target, expected)) in rows.into_iter().enumerate() {
        let address = format!("{}/git/repo.git{query}", site.address);
        let aim = |request: &mut BuildRequest| request.target = Some(target.to_owned());
        let built = place.build(ContextSource::Git(address.clone()), aim).await.map_err(|error| error.to_string());
        compare("context", &address, built.map(|out| read(&out, "out").unwrap()), &expected);
        // The three are one source; a few rows tell.
        if number % 4 != 0 {
            continue;
        }
        let from = |from: &str| DOCKERFILE.replace("COPY ", &format!("COPY --from={from} "));
        let add = format!("FROM scratch AS main\nADD {address} /\n{}", from("main"));
        compare("ADD", &address, added.out(&add, aim).await, &expected);
        let name = |request: &mut BuildRequest| {
            aim(request);
            request.build_contexts.insert("named".to_owned(), address.clone());
        };
        compare("named context", &address, added.out(&from("named"), name).await, &expected);
    }
}

fn compare(kind: &str, address: &str, got: Result<String, String>, expected: &str) {
    let right = match (&got, expected.strip_prefix("error: ")) {
        (Ok(text), None) => text.trim() == expected,
        (Err(error), Some(part)) => error.contains(part),
        _ => false,
    };
    assert!(right, "{kind} {address}: expected {expected}, got {got:?}");
}

// items: D009 D010 D011 D012
#[tokio::test(flavor = "multi_thread")]
async fn d009_d010_flags_of_add() {
    let place = Place::new();
    let site = Site::start(place.0.path(), None);
    let path = repository(&place, &site);
    let address = format!("{}/git/repo.git", site.address);
    let (two, latest) = (hash(&path, "v0.0.2"), hash(&path, "latest"));
    std::fs::write(place.path("page"), "page").unwrap();
    let page = format!("{}/page", site.address);
    let files = Files::new("a=A");
    let rows = [
        (format!("ADD --keep-git-dir=true {address}#v0.0.2 /\nFROM scratch\nCOPY --from=3 .git/HEAD /out"), format!("out={two}")),
        (format!("ADD --keep-git-dir {address}?keep-git-dir=false /"), "error: inconsistent keep-git-dir".to_owned()),
        (format!("ADD --checksum={two} {address}#v0.0.2 /\nFROM scratch\nCOPY --from=3 foo /"), "foo=v0.0.2".to_owned()),
        (format!("ADD --checksum={} {address} /\nFROM scratch\nCOPY --from=3 foo /", &latest[..7]), "foo=latest".to_owned()),
        (format!("ADD --checksum={two} {address} /"), "error: expected checksum to match".to_owned()),
        (format!("ADD --checksum=xyz {address} /"), "error: expected hex commit hash".to_owned()),
        (format!("ADD --checksum={two} {address}?checksum={latest} /"), "error: checksum mismatch".to_owned()),
        (format!("ADD --chown=3:4 --chmod=700 {address}#feature:sub /x/"), "x/[700][3:4] x/Dockerfile[700][3:4]=FROM_scratch_AS_withgit_COPY_.git/HEAD_out_FROM_scratch_AS_withmodule_COPY_module/file_out_FROM_scratch_COPY_foo_out x/foo[700][3:4]=subfeature".to_owned()),
        (format!("ADD --exclude=Dockerfile {address}#feature:sub {page} a <<h /x/\nhere\nh"), "x/ x/a=A x/foo=subfeature x/h=here x/page[600]=page".to_owned()),
        (format!("ADD {} /", &address[7..]), "error: not found".to_owned()),
        ("ADD github.com/some/where /".to_owned(), "error: \"/github.com/some/where\": not found".to_owned()),
    ];
    let rows: Vec<_> = rows.iter().map(|(instructions, tree)| (instructions.as_str(), tree.as_str())).collect();
    files.check(&rows).await;
}

/// Naming the commit that was found anyway changes nothing.
// items: D010 K010
#[tokio::test(flavor = "multi_thread")]
async fn d010_a_checksum_is_no_reason_to_fetch_again() {
    let place = Place::new();
    let site = Site::start(place.0.path(), None);
    let path = repository(&place, &site);
    let files = Files::new("");
    let build = async |flags: &str, fragment: &str| {
        let address = format!("{}/git/repo.git{fragment}", site.address);
        files.image(&format!("FROM scratch\nADD {flags} {address} /\n")).await;
        site.asked().iter().filter(|asked| asked.starts_with("POST")).count()
    };
    assert!(build("", "#latest").await > 1);
    let latest = hash(&path, "latest");
    assert_eq!(build(&format!("--checksum={latest}"), "#latest").await, 1, "which commit the tag is, and no more");
    assert_eq!(build("", &format!("?ref={latest}")).await, 0, "the commit says it all");
}

// items: D006
#[tokio::test(flavor = "multi_thread")]
async fn d006_private_repositories_by_secret() {
    let place = Place::new();
    // What git makes of `x-access-token:sesame`.
    let site = Site::start(place.0.path(), Some("basic eC1hY2Nlc3MtdG9rZW46c2VzYW1l"));
    let path = place.path("repo.git");
    std::fs::create_dir(&path).unwrap();
    git(&path, &["init", "--quiet"]);
    std::fs::write(path.join("Dockerfile"), "FROM scratch\nCOPY foo out\n").unwrap();
    std::fs::write(path.join("foo"), "private").unwrap();
    commit(&path, "initial");
    let address = format!("{}/git/repo.git", site.address);
    let header = "basic eC1hY2Nlc3MtdG9rZW46c2VzYW1l";
    let host = site.host();
    for (secrets, right) in [
        (vec![("GIT_AUTH_TOKEN".to_owned(), "sesame")], true),
        (vec![("GIT_AUTH_HEADER".to_owned(), header)], true),
        (vec![(format!("GIT_AUTH_TOKEN.{host}"), "sesame\n"), ("GIT_AUTH_TOKEN".to_owned(), "wrong")], true),
        (vec![(format!("GIT_AUTH_HEADER.{host}"), header)], true),
        (vec![("GIT_AUTH_TOKEN.example.com".to_owned(), "sesame")], false),
        (vec![("GIT_AUTH_TOKEN".to_owned(), "wrong")], false),
        (vec![], false),
    ] {
        let give = |request: &mut BuildRequest| {
            let value = |value: &str| SecretSource::Value(value.as_bytes().to_vec());
            request.secrets = secrets.iter().map(|(id, text)| (id.clone(), value(text))).collect();
        };
        let place = Place::new();
        let built = place.build(ContextSource::Git(address.clone()), give).await.map_err(|error| error.to_string());
        let by_context = built.map(|out| read(&out, "out").unwrap());
        let files_of = Files::at(place);
        let add = format!("FROM scratch\nADD {address} /\nFROM scratch\nCOPY --from=0 foo out\n");
        for got in [by_context, files_of.out(&add, give).await] {
            assert_eq!(got.is_ok(), right, "{secrets:?}: {got:?}");
            assert!(got.as_ref().is_err_and(|error| !error.contains("sesame") && !error.contains("wrong")) || right);
        }
    }
}

/// What answers in the place of ssh: it tells with what it was called, and runs what it was asked to.
const SSH: &str = r#"#!/bin/sh
echo "$SSH_AUTH_SOCK $*" >> LOG
for last; do :; done
exec sh -c "$last"
"#;

// items: D006 D007
#[tokio::test(flavor = "multi_thread")]
async fn d006_private_repositories_by_ssh() {
    let place = Place::new();
    let path = place.path("repo");
    std::fs::create_dir(&path).unwrap();
    git(&path, &["init", "--quiet"]);
    std::fs::write(path.join("foo"), "by ssh").unwrap();
    std::fs::write(path.join("Dockerfile"), "FROM scratch\nCOPY foo out\n").unwrap();
    commit(&path, "initial");
    let programs = place.path("bin");
    std::fs::create_dir(&programs).unwrap();
    let log = place.path("log");
    std::fs::write(programs.join("ssh"), SSH.replace("LOG", log.to_str().unwrap())).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(programs.join("ssh"), executable).unwrap();
    let agent = place.path("agent");
    let _agent = std::os::unix::net::UnixListener::bind(&agent).unwrap();
    let place = place.with_programs(&programs);
    let give = |request: &mut BuildRequest| {
        request.ssh = vec![rbuild_build::SshSource { id: "default".to_owned(), socket: agent.clone() }];
    };
    for address in [format!("ssh://git@example.com{}", path.display()), format!("git@example.com:{}", path.display())] {
        let out = place.build(ContextSource::Git(address), give).await.unwrap();
        assert_eq!(read(&out, "out").as_deref(), Some("by ssh"));
        let said = std::fs::read_to_string(&log).unwrap();
        std::fs::remove_file(&log).unwrap();
        assert!(said.lines().all(|line| line.starts_with(agent.to_str().unwrap())), "{said}");
        assert!(said.contains("BatchMode=yes") && said.contains("git@example.com git-upload-pack"), "{said}");
    }
    let without = place.build(ContextSource::Git("git@example.com:repo".to_owned()), |_| {}).await.unwrap_err();
    assert!(without.to_string().contains("--ssh"), "{without}");
}
