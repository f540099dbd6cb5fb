//! Caches that travel, asked for by clients of the daemon.

use rbuild_buildkit_api::control::{CacheOptions, CacheOptionsEntry, SolveRequest};
use rbuild_session::client::ClientSession;

use crate::build_client::{attributes, dockerfile, session, with_output};
use crate::daemon::Daemon;
use crate::lab::Lab;
use crate::registry::Registry;

/// A cache of a type, with attributes.
type Cache<'a> = (&'a str, &'a [(&'a str, &'a str)]);

fn with_caches(mut request: SolveRequest, exports: &[Cache<'_>], imports: &[Cache<'_>]) -> SolveRequest {
    let entries = |caches: &[Cache<'_>]| {
        let entry =
            |(kind, attrs): &Cache<'_>| CacheOptionsEntry { r#type: (*kind).to_owned(), attrs: attributes(attrs) };
        caches.iter().map(entry).collect()
    };
    request.cache =
        Some(CacheOptions { exports: entries(exports), imports: entries(imports), ..CacheOptions::default() });
    request
}

/// What of a cache directory lies with the client: its blobs, under the name that the protocol has for them.
fn with_directory(session: ClientSession, directory: &std::path::Path) -> ClientSession {
    session.with_store(format!("local:{}", directory.display()), directory)
}

#[test]
fn what_one_daemon_built_is_cached_for_another() {
    let one = Lab::new();
    let Some(registry) = Registry::start(&one, "registry", false) else { return };
    let base = format!("{}/base", registry.address);
    one.rbuild(["tag", "busybox", &base]).ok();
    one.rbuild(["push", &base]).ok();
    one.rbuild(["rmi", &base, "busybox"]).ok();
    let cache = format!("{}/cache", registry.address);
    let app = format!("{}/app", registry.address);
    let directory = one.at("cache");
    std::fs::create_dir(&directory).unwrap();
    let place = crate::lab::path(&directory);
    let context = one.context(
        &format!("FROM {base} AS a\nCOPY a /a\nRUN cat /proc/sys/kernel/random/uuid > /id\nFROM {base}\nCOPY --from=a /id /id\n"),
        &[("a", "A")],
    );
    let daemon = Daemon::start(&one);
    let request = with_output(dockerfile(&[]), "image", &[("name", &app), ("push", "true")]);
    let request = with_output(request, "local", &[]);
    let exports: [Cache<'_>; 2] = [("registry", &[("ref", &cache), ("mode", "max")]), ("inline", &[])];
    let client = daemon.client();
    let offered = session(&context).with_directory(1, one.at("out"));
    let first = client.build(offered, with_caches(request, &exports, &[])).ok();
    first.progress.vertex("exporting cache to registry");
    let id = std::fs::read_to_string(one.at("out/id")).unwrap();
    // What a directory holds the client keeps in mind by itself.
    let exports: [Cache<'_>; 1] = [("local", &[("dest", &place), ("mode", "max")])];
    let offered = with_directory(session(&context), &directory);
    let second = client.build(offered, with_caches(dockerfile(&[]), &exports, &[])).ok();
    let manifest: serde_json::Value = serde_json::from_str(second.told("cache.manifest")).unwrap();
    let digest = manifest["digest"].as_str().unwrap();
    drop(client);
    daemon.stop();
    let sources: [(&str, Cache<'_>); 3] = [
        ("registry", ("registry", &[("ref", &cache)])),
        ("local", ("local", &[("src", &place), ("digest", digest)])),
        ("inline", ("registry", &[("ref", &app)])),
    ];
    for (name, import) in sources {
        let other = Lab::empty();
        let daemon = Daemon::start(&other);
        let request = with_caches(with_output(dockerfile(&[]), "local", &[]), &[], &[import]);
        let offered = with_directory(session(&context), &directory).with_directory(0, other.at("out"));
        let built = daemon.client().build(offered, request).ok();
        assert_eq!(built.progress.ran(), Vec::<&str>::new(), "{name}: {built:#?}");
        assert_eq!(std::fs::read_to_string(other.at("out/id")).unwrap(), id, "{name}");
        daemon.stop();
    }
}

#[test]
fn caches_that_are_not_there_are_told_and_left_out() {
    let lab = Lab::empty();
    let daemon = Daemon::start(&lab);
    let client = daemon.client();
    let context = lab.context("FROM scratch\nCOPY a /\n", &[("a", "A")]);
    // A port that nobody listens at any more.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let absent = format!("{closed}/cache");
    let import: Cache<'_> = ("registry", &[("ref", &absent)]);
    let built = client.build(session(&context), with_caches(dockerfile(&[]), &[], &[import])).ok();
    let vertex = built.progress.vertex("importing cache manifest");
    assert!(!vertex.error.is_empty() || vertex.completed.is_some(), "{vertex:?}");
    let unknown: Cache<'_> = ("sideways", &[]);
    client.build(session(&context), with_caches(dockerfile(&[]), &[unknown], &[])).fails("sideways");
    let twice: Cache<'_> = ("registry", &[("ref", &absent)]);
    client
        .build(session(&context), with_caches(dockerfile(&[]), &[twice, twice], &[]))
        .fails("duplicate cache exports");
    daemon.stop();
}
