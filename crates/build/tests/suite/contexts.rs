//! Where files and Dockerfiles come from: directories, ignore files, named contexts.

use rbuild_build::{BuildRequest, ContextSource, DockerfileSource};
use rbuild_oci::{Platform, Reference};

use crate::files::Files;
use crate::place::read;
use crate::servers::Site;

/// Builds each Dockerfile with its named contexts (`name=value`, blank-separated; `DIR` is that of the files).
async fn check_named(files: &Files, rows: &[(&str, &str, &str)]) {
    for (contexts, dockerfile, expected) in rows {
        let directory = files.context.display().to_string();
        let give = |request: &mut BuildRequest| {
            let pairs = contexts.split(' ').map(|pair| pair.split_once('=').unwrap());
            let pairs = pairs.map(|(name, value)| (name.to_owned(), value.replace("DIR", &directory)));
            request.build_contexts = pairs.collect();
        };
        let got = files.tree(dockerfile, give).await;
        let right = match (&got, expected.strip_prefix("error: ")) {
            (Ok(tree), None) => tree == expected,
            (Err(error), Some(part)) => error.contains(part),
            _ => false,
        };
        assert!(right, "{contexts}\n{dockerfile}\n  expected {expected}\n  got      {got:?}");
    }
}

// items: X006 X011 X012
#[tokio::test(flavor = "multi_thread")]
async fn x011_x012_named_directories() {
    let files = Files::new("a=A .dockerignore=d/ignored d/f=F d/ignored=I other/f=O other/g=G other/.dockerignore=g");
    let copy = "FROM scratch\nCOPY --from=named f /\n";
    let part = "FROM scratch AS named\nCOPY a /stage\nFROM named\nCOPY a /x\n";
    check_named(
        &files,
        &[
            ("named=DIR/d", copy, "f=F"),
            ("named=DIR/d docker.io/library/named=DIR/other", copy, "f=F"),
            ("named=DIR/d named::linux/arm64=DIR/other", copy, "f=F"),
            ("named=DIR/d", "FROM scratch\nCOPY --from=docker.io/library/named:latest f /\n", "f=F"),
            ("named:1=DIR/d", "FROM scratch\nCOPY --from=named:1 f /\n", "f=F"),
            // Each has its own ignore file; the build context's is not for others.
            ("named=DIR/other", "FROM scratch\nCOPY --from=named . /\n", ".dockerignore=g f=O"),
            ("named=DIR/d", "FROM scratch\nCOPY --from=named . /\n", "f=F ignored=I"),
            // In the place of a stage, of a base, of a trigger's source.
            ("named=DIR/d", part, "f=F ignored=I x=A"),
            ("named=DIR/d", "FROM named\nCOPY --link a /x\n", "f=F ignored=I x=A"),
            ("named=DIR/d", "FROM named\n", "f=F ignored=I"),
            ("named=DIR/d", "FROM named AS one\nFROM one\nCOPY --from=named f g\n", "f=F g=F ignored=I"),
            ("named=DIR/d", "FROM scratch AS b\nONBUILD COPY --from=named f /\nFROM b\n", "f=F"),
            ("scratch=DIR/d", "FROM scratch\nCOPY a /\n", "a=A"),
            ("named=DIR/none", copy, "error: build context named="),
            ("named=docker-image://scratch", "FROM named\nCOPY a /\n", "a=A"),
            ("named=ftp://x/y", copy, "error: unsupported context source ftp for named"),
        ],
    )
    .await;
    let arm = |request: &mut BuildRequest| {
        let directory = |name: &str| files.path(name).display().to_string();
        request.platforms = vec![Platform::new("linux", "arm64", None)];
        request.build_contexts.insert("named".to_owned(), directory("d"));
        request.build_contexts.insert("named::linux/arm64".to_owned(), directory("other"));
    };
    assert_eq!(files.tree(copy, arm).await.as_deref(), Ok("f=O"));
}

// items: X011 X012
#[tokio::test(flavor = "multi_thread")]
async fn x011_named_stages_of_the_same_file() {
    let files = Files::new("a=A b=B");
    let part = "FROM scratch AS part\nENV MADE=part\nCOPY a /made\n";
    let rows = [
        ("base=target:part", "FROM base\n", "made=A"),
        ("base=target:PART", "FROM base:latest\nCOPY b /\n", "b=B made=A"),
        ("base=target:part", "FROM scratch\nCOPY --from=base made /x\n", "x=A"),
        ("base=target:part", "FROM scratch AS base\nCOPY missing /\nFROM base\nCOPY b /\n", "b=B made=A"),
        ("base=target:part", "FROM scratch AS t\nONBUILD COPY --from=base made /x\nFROM t\n", "x=A"),
        ("base::linux/s390x=target:part base=DIR", "FROM base\n", "a=A b=B"),
        ("base=target:pert", "FROM base\n", "error: there is no stage \"pert\" (did you mean part?)"),
        (
            "base=target:late",
            "FROM base\nFROM scratch AS late\nFROM scratch\nCOPY --from=1 / /\n",
            "error: must be defined before",
        ),
        ("part=target:part", "FROM part\n", "error: must be defined before"),
    ];
    for (contexts, rest, expected) in rows {
        check_named(&files, &[(contexts, &format!("{part}{rest}"), expected)]).await;
    }
    let named = |request: &mut BuildRequest| drop(request.build_contexts.insert("base".into(), "target:part".into()));
    let config = files.image_with(&format!("{part}FROM base\nENV OWN=1\n"), named).await;
    let history: Vec<_> = config.history.iter().map(|entry| entry.created_by.as_str()).collect();
    assert!(config.config.env.ends_with(&["MADE=part".to_owned(), "OWN=1".to_owned()]), "{:?}", config.config.env);
    assert_eq!(history, ["ENV MADE=part", "COPY a /made # buildkit", "ENV OWN=1"]);
}

// items: X011 X012 H001 H003
#[tokio::test(flavor = "multi_thread")]
async fn x011_named_images_and_files() {
    let files = Files::new("a=A d/page=P");
    let site = Site::start(&files.path("d"), None);
    let tag = |request: &mut BuildRequest| request.tags = vec![Reference::parse("example.com/base:1").unwrap()];
    files.image_with("FROM scratch\nCOPY a /in-base\nENV BASE=1\n", tag).await;
    let page = format!("named={}/page", site.address);
    let image = "named=docker-image://example.com/base:1";
    check_named(
        &files,
        &[
            (&page, "FROM scratch\nCOPY --from=named context /x\n", "x[600]=P"),
            (&page, "FROM named\nCOPY a /\n", "a=A context[600]=P"),
            (image, "FROM scratch\nCOPY --from=named / /\n", "in-base=A"),
            (image, "FROM named\nCOPY a /\n", "a=A in-base=A"),
            (
                image,
                "FROM scratch AS named\nCOPY none /\nFROM named AS x\nFROM scratch\nCOPY --from=x . /\n",
                "in-base=A",
            ),
        ],
    )
    .await;
    let named = |value: &str| {
        let value = value.to_owned();
        move |request: &mut BuildRequest| drop(request.build_contexts.insert("named".to_owned(), value))
    };
    let config = files.image_with("FROM named\nCOPY a /\n", named("docker-image://example.com/base:1")).await;
    assert!(config.config.env.contains(&"BASE=1".to_owned()), "{:?}", config.config.env);
    // A base without history gets an entry for its layer.
    for value in [format!("{}/page", site.address), files.path("d").display().to_string()] {
        let config = files.image_with("FROM named\nCOPY a /\n", named(&value)).await;
        let told: Vec<_> = config.history.iter().map(|entry| (entry.comment.as_str(), entry.empty_layer)).collect();
        assert_eq!(told, [("buildkit.dockerfile.v0", false), ("buildkit.exporter.image.v0", false)], "{value}");
        assert!(config.history.iter().all(|entry| entry.created.is_some()));
        assert_eq!(config.rootfs.diff_ids.len(), 2);
    }
}

// items: X001 X003 X005 X015
#[tokio::test(flavor = "multi_thread")]
async fn x001_x003_dockerfiles_and_their_ignore_files() {
    let all = "FROM_scratch\nCOPY . /".replace('_', " ");
    let files = Files::new(
        "foo=F bar=B .dockerignore=baz baz=Z One.dockerignore=bar sub/dockerfile sub/Two>../One sub/Two.dockerignore=foo",
    );
    std::fs::write(files.path("One"), &all).unwrap();
    std::fs::write(files.path("sub/dockerfile"), &all).unwrap();
    let hidden = |tree: &str| ["foo=", "bar=", "baz="].iter().filter(|name| !tree.contains(**name)).count();
    for (name, shown) in [
        ("One", "foo=F"),
        ("One", "baz=Z"),
        ("sub/Two", "bar=B"),
        ("sub/Two", "baz=Z"),
        ("sub/Dockerfile", "foo=F"),
        ("sub/Dockerfile", "bar=B"),
    ] {
        let tree =
            files.tree("", |request| request.dockerfile = DockerfileSource::Path(files.path(name))).await.unwrap();
        assert!(tree.contains(shown) && hidden(&tree) == 1, "{name}: {tree}");
    }
    // Both may leave themselves out and are used nevertheless.
    std::fs::write(files.path(".dockerignore"), "*\n!foo\n").unwrap();
    std::fs::write(files.path("Dockerfile"), &all).unwrap();
    let tree = files.tree("", |request| request.dockerfile = DockerfileSource::Default).await;
    assert_eq!(tree.as_deref(), Ok("foo=F"));
    let missing = files.tree("FROM scratch\nCOPY x/y /\n", |_| {}).await.unwrap_err();
    assert!(
        missing.contains("failed to calculate checksum of ref") && missing.contains("\"/x/y\": not found"),
        "{missing}"
    );
    let ignored = files.tree("FROM scratch\nCOPY bar /\n", |_| {}).await.unwrap_err();
    assert!(ignored.contains("\"/bar\": not found"), "{ignored}");
}

// items: X004
#[tokio::test(flavor = "multi_thread")]
async fn x004_ignore_patterns() {
    let files = Files::new("foo=1 bar=2 bay=3 baz=4 d/x=5 d/y/z=6 d/y/w=7 e.md=8 e/README.md=9");
    let all = "bar=2 bay=3 baz=4 d/ d/x=5 d/y/ d/y/w=7 d/y/z=6 e/ e/README.md=9 e.md=8 foo=1";
    let without = |out: &str| {
        let left = all.split(' ').filter(|entry| !out.split(' ').any(|out| entry.split('=').next() == Some(out)));
        left.collect::<Vec<_>>().join(" ")
    };
    for (patterns, out) in [
        ("\u{feff}ba*\n!bay\n", "bar baz"),
        ("#foo\n  /foo/../bar  \n", "bar"),
        ("d\n", "d/ d/x d/y/ d/y/z d/y/w"),
        ("d\n!d/y/z\n", "d/x d/y/w"),
        ("d/\n", "d/ d/x d/y/ d/y/z d/y/w"),
        ("**/z\n", "d/y/z"),
        ("d/**\n", "d/x d/y/ d/y/z d/y/w"),
        ("*/y\n", "d/y/ d/y/z d/y/w"),
        ("*.md\n!README.md\n", "e.md"),
        ("**/*.md\n!**/README.md\n", "e.md"),
        ("d\n!d\nd/x\n", "d/x"),
        ("!foo\nfoo\n", "foo"),
        ("fo?\n[b]ar\n", "foo bar"),
        (" #foo\n", ""),
    ] {
        std::fs::write(files.path(".dockerignore"), format!("{patterns}\n.dockerignore\n")).unwrap();
        let tree = files.tree("FROM scratch\nCOPY . /\n", |_| {}).await;
        assert_eq!(tree, Ok(without(out)), "{patterns:?}");
    }
    for (patterns, part) in [("!\n", "illegal exclusion pattern"), ("[a\n", "syntax error in pattern")] {
        std::fs::write(files.path(".dockerignore"), patterns).unwrap();
        let error = files.tree("FROM scratch\nCOPY . /\n", |_| {}).await.unwrap_err();
        assert!(error.contains(part), "{patterns:?}: {error}");
    }
}

/// Archives and single files behind addresses, however they are compressed; what ignore files say is for directories.
// items: X006 X008
#[tokio::test(flavor = "multi_thread")]
async fn x008_archives_by_http_in_every_compression() {
    let files = Files::new("a=A .dockerignore=a out/");
    std::fs::write(files.path("Dockerfile"), "FROM scratch\nCOPY a out\n").unwrap();
    let site = Site::start(files.place.0.path(), None);
    for (name, flags) in [("t.tar", "-cf"), ("t.tgz", "-czf"), ("t.bz2", "-cjf"), ("t.xz", "-cJf")] {
        let path = files.place.path(name);
        let mut tar = std::process::Command::new("tar");
        tar.arg("-C").arg(&files.context).arg(flags).arg(&path).arg(".");
        assert!(tar.status().unwrap().success(), "{tar:?}");
        let address = format!("{}/{name}", site.address);
        let out = files.place.build(ContextSource::Http(address), |_| {}).await.unwrap();
        assert_eq!(read(&out, "out").as_deref(), Some("A"), "{name}");
    }
}
