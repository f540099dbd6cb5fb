//! Builds whose context lies behind an address, or in an OCI layout.

use std::collections::BTreeMap;
use std::path::Path;

use rbuild_build::{BuildRequest, ContextSource, DockerfileSource, OutputSpec};
use rbuild_tree::Metadata;
use rbuild_tree::tar::LayerWriter;

use crate::place::{Place, read};
use crate::servers::{Daemon, git, serve};

fn archive(files: &[(&str, &str)], mtime: i64) -> Vec<u8> {
    let mut writer = LayerWriter::new(Vec::new());
    for (name, content) in files {
        let mtime = rbuild_tree::Time::from_seconds(mtime);
        let metadata = Metadata { mtime, ..Metadata::file(content.len() as u64) };
        writer.file(Path::new(name), &metadata, &mut content.as_bytes()).unwrap();
    }
    writer.finish().unwrap()
}

/// X008
#[tokio::test(flavor = "multi_thread")]
async fn x008_dockerfile_by_http() {
    let place = Place::new();
    let (address, asked) = serve(b"FROM scratch\nCOPY context /copied\n".to_vec(), "");
    let out = place.build(ContextSource::Http(format!("{address}/some/Dockerfile")), |_| {}).await.unwrap();
    assert!(read(&out, "copied").unwrap().starts_with("FROM scratch"));
    assert_eq!(*asked.lock().unwrap(), ["GET"], "one build fetches its context once");
}

/// X008
#[tokio::test(flavor = "multi_thread")]
async fn x008_archive_by_http() {
    let place = Place::new();
    let files = [
        ("Dockerfile", "FROM scratch\nCOPY sub /\n"),
        ("sub/inner", "here"),
        ("other.Dockerfile", "FROM scratch\nCOPY sub/inner /other\n"),
    ];
    let (address, _) = serve(archive(&files, 5), "");
    let context = || ContextSource::Http(format!("{address}/context.tar"));
    let out = place.build(context(), |_| {}).await.unwrap();
    assert_eq!(read(&out, "inner").as_deref(), Some("here"));
    let inside = |request: &mut BuildRequest| request.dockerfile = DockerfileSource::Path("./other.Dockerfile".into());
    assert_eq!(read(&place.build(context(), inside).await.unwrap(), "other").as_deref(), Some("here"));
    let by_stdin = |request: &mut BuildRequest| request.dockerfile = DockerfileSource::Stdin;
    assert_eq!(read(&place.build(context(), by_stdin).await.unwrap(), "by-stdin").as_deref(), Some("here"));
    let missing = |request: &mut BuildRequest| request.dockerfile = DockerfileSource::Path("none".into());
    let error = place.build(context(), missing).await.unwrap_err().to_string();
    assert!(error.contains("failed to read dockerfile: open none: no such file or directory"), "{error}");
}

/// O010: the newest file of an archive, unless the server tells a time.
#[tokio::test(flavor = "multi_thread")]
async fn o010_times_of_archives() {
    let files = [("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")];
    for (headers, expect) in
        [("", "2001-09-09T01:46:40Z"), ("Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n", "1994-11-06T08:49:37Z")]
    {
        let place = Place::new();
        let (address, _) = serve(archive(&files, 1_000_000_000), headers);
        let epoch = |request: &mut BuildRequest| request.source_date_epoch = Some("context".to_owned());
        let (_, config) = place.image(ContextSource::Http(address), epoch).await;
        assert_eq!(config.created.as_deref(), Some(expect));
    }
}

/// X007
#[tokio::test(flavor = "multi_thread")]
async fn x007_git() {
    let place = Place::new();
    let path = place.path("repo");
    std::fs::create_dir_all(path.join("sub")).unwrap();
    std::fs::write(path.join("Dockerfile"), "FROM scratch\nCOPY sub/inner /whole\n").unwrap();
    std::fs::write(path.join("sub/dockerfile"), "FROM scratch\nCOPY inner /part\n").unwrap();
    std::fs::write(path.join("sub/inner"), "here").unwrap();
    git(&path, &["init", "--quiet"]);
    git(&path, &["add", "--all"]);
    git(&path, &["commit", "--quiet", "-m", "one"]);
    let daemon = Daemon::start(place.0.path());
    let context = |fragment: &str| ContextSource::Git(format!("git://127.0.0.1:{}/repo{fragment}", daemon.1));
    let whole = place.build(context("#main"), |_| {}).await.unwrap();
    assert_eq!(read(&whole, "whole").as_deref(), Some("here"));
    let part = place.build(context("#main:sub"), |_| {}).await.unwrap();
    assert_eq!(read(&part, "part").as_deref(), Some("here"));
    let epoch = |request: &mut BuildRequest| request.source_date_epoch = Some("context".to_owned());
    let (_, config) = place.image(context(""), epoch).await;
    assert_eq!(config.created.as_deref(), Some("2023-11-14T22:13:20Z"));
    let error = place.build(context("#none"), |_| {}).await.unwrap_err().to_string();
    assert!(error.contains("does not contain ref none"), "{error}");
}

/// X011: what one build wrote as a layout is another's base.
#[tokio::test(flavor = "multi_thread")]
async fn x011_oci_layout() {
    let place = Place::new();
    let context = place.path("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY Dockerfile /first\nENV FROM_LAYOUT=yes\n").unwrap();
    let layout = place.path("layout");
    let attributes =
        BTreeMap::from([("dest".to_owned(), layout.display().to_string()), ("tar".to_owned(), "false".to_owned())]);
    let output = OutputSpec { kind: "oci".to_owned(), attributes };
    let source = || ContextSource::Directory(context.clone());
    place.image(source(), |request| request.outputs = vec![output]).await;
    std::fs::write(context.join("Dockerfile"), "FROM base\nCOPY --from=base first /second\n").unwrap();
    // Another store, which has nothing of it.
    let other = Place::new();
    let named =
        |value: String| move |request: &mut BuildRequest| drop(request.build_contexts.insert("base".to_owned(), value));
    let given = format!("oci-layout://{}", layout.display());
    let out = other.build(source(), named(given.clone())).await.unwrap();
    assert!(read(&out, "first").is_some() && read(&out, "first") == read(&out, "second"));
    let (_, config) = other.image(source(), named(given.clone())).await;
    let env = config.config.env;
    assert!(format!("{env:?}").contains("FROM_LAYOUT=yes"), "{env:?}");
    let error = other.build(source(), named(format!("{given}:missing"))).await.unwrap_err().to_string();
    assert!(error.contains("has no image `missing`"), "{error}");
}
