//! Caches that travel: through a registry, inside of an image, as a directory. A step that writes a random id
//! shows whether it ran.

use std::path::Path;

use crate::lab::{Lab, Outcome, path, run};
use crate::registry::Registry;

const FILES: &[(&str, &str)] = &[("a.txt", "a"), ("b.txt", "b")];

/// Steps upon an image of the registry, of which the last stage takes but a part.
fn steps(registry: &Registry) -> String {
    format!(
        "FROM {}/base AS a\nCOPY a.txt /\nRUN cat /proc/sys/kernel/random/uuid > /made\nFROM {0}/base\nCOPY --from=a \
         /made /a-id\nCOPY b.txt /\nRUN cat /proc/sys/kernel/random/uuid > /b-id\n",
        registry.address
    )
}

/// A registry with a base image, a lab that fills caches and one whose store is empty.
struct Pair {
    one: Lab,
    two: Lab,
    registry: Registry,
    cache: String,
}

impl Pair {
    fn new() -> Option<Self> {
        let (one, two) = (Lab::new(), Lab::empty());
        let registry = Registry::start(&one, "registry", false)?;
        let base = format!("{}/base", registry.address);
        one.rbuild(["tag", "busybox", &base]).ok();
        one.rbuild(["push", &base]).ok();
        // So that both know the image as the registry has it.
        one.rbuild(["rmi", &base, "busybox"]).ok();
        let cache = format!("{}/cache", registry.address);
        Some(Self { one, two, registry, cache })
    }

    fn to(&self, more: &str) -> String {
        format!("--cache-to=type=registry,ref={}{more}", self.cache)
    }

    fn from(&self) -> String {
        format!("--cache-from={}", self.cache)
    }
}

/// Builds to an archive that nobody reads; returns the image's id and what was said.
fn build(lab: &Lab, context: &Path, args: &[&str]) -> (String, Outcome) {
    let metadata = lab.at("metadata.json");
    let file = format!("--metadata-file={}", metadata.display());
    let output = format!("type=oci,dest={}", lab.at("image.tar").display());
    let outcome = lab.build_dir(context, &[&["-o", &output, &file], args].concat()).ok();
    let metadata: serde_json::Value = serde_json::from_slice(&std::fs::read(metadata).unwrap()).unwrap();
    (metadata["containerimage.digest"].as_str().unwrap().to_owned(), outcome)
}

/// Returns the ids that the steps wrote.
fn ids(lab: &Lab, context: &Path, args: &[&str]) -> [String; 2] {
    let out = lab.files_of(context, args);
    ["a-id", "b-id"].map(|name| std::fs::read_to_string(out.join(name)).unwrap())
}

/// Whether all steps of a build came from a cache.
fn all_cached(outcome: &Outcome) -> bool {
    let steps = |word: &str| outcome.stderr.lines().filter(|line| line.ends_with(word)).count();
    steps(" CACHED") >= 5
}

#[test]
fn two_stores_with_one_registry_build_nothing_twice() {
    let Some(pair) = Pair::new() else { return };
    let context = pair.one.context(&steps(&pair.registry), FILES);
    let (first, said) = build(&pair.one, &context, &[&pair.to(",mode=max")]);
    said.says("exporting cache to registry").says("writing cache image manifest sha256:");
    let before = pair.registry.requests().len();
    let app = format!("{}/app", pair.registry.address);
    let output = format!("type=registry,name={app}");
    let metadata = pair.two.at("m.json");
    let file = format!("--metadata-file={}", metadata.display());
    let said = pair.two.build_dir(&context, &["-o", &output, &file, &pair.from()]).ok();
    assert!(all_cached(&said), "{said:?}");
    said.says(&format!("importing cache manifest from {}", pair.cache));
    let metadata: serde_json::Value = serde_json::from_slice(&std::fs::read(metadata).unwrap()).unwrap();
    assert_eq!(metadata["containerimage.digest"].as_str(), Some(first.as_str()), "the very same image");
    let requests = pair.registry.requests().split_off(before);
    let fetched: Vec<_> = requests.iter().filter(|line| line.starts_with("GET") && line.contains("/blobs/")).collect();
    let names = |part: &str| fetched.iter().filter(|line| line.contains(part)).count();
    assert_eq!((names("/base/"), names("/cache/"), fetched.len()), (1, 1, 2), "configurations only: {fetched:?}");
    let uploads = requests.iter().filter(|line| line.starts_with("PUT") && line.contains("/blobs/")).count();
    assert_eq!(uploads, 1, "layers are mounted, the configuration is sent: {requests:?}");
    // Whoever pulls it gets what the first one built.
    let ran = ids(&pair.one, &context, &[]);
    let printed = pair.two.rbuild(["run", "--rm", "--network=none", &app, "cat", "/a-id", "/b-id"]).ok();
    assert_eq!(printed.stdout, ran.concat());
}

#[test]
fn what_was_imported_is_known_without_the_import_and_fetched_when_needed() {
    let Some(pair) = Pair::new() else { return };
    let context = pair.one.context(&steps(&pair.registry), FILES);
    let first = ids(&pair.one, &context, &[&pair.to(",mode=max")]);
    build(&pair.two, &context, &[&pair.from()]);
    assert_eq!(ids(&pair.two, &context, &[]), first);
    // A file that only the second stage takes: what it stands on is fetched, the other is not done again.
    std::fs::write(context.join("b.txt"), "changed").unwrap();
    let other = Lab::empty();
    let changed = ids(&other, &context, &[&pair.from()]);
    assert_eq!(changed[0], first[0]);
    assert_ne!(changed[1], first[1]);
}

#[test]
fn a_context_with_the_same_content_hits() {
    let Some(pair) = Pair::new() else { return };
    let context = pair.one.context(&steps(&pair.registry), FILES);
    let first = ids(&pair.one, &context, &[&pair.to("")]);
    let elsewhere = pair.two.context(&steps(&pair.registry), FILES);
    assert_eq!(ids(&pair.two, &elsewhere, &[&pair.from()]), first);
}

#[test]
fn min_keeps_what_the_result_is_made_of_and_max_all() {
    let Some(pair) = Pair::new() else { return };
    let context = pair.one.context(&steps(&pair.registry), FILES);
    let first = ids(&pair.one, &context, &[&pair.to(",mode=min")]);
    std::fs::write(context.join("b.txt"), "changed").unwrap();
    let min = ids(&pair.two, &context, &[&pair.from()]);
    assert_eq!(min[0], first[0], "the copy of it is a layer of the result");
    std::fs::write(context.join("a.txt"), "changed").unwrap();
    // Exported again from a store that imported it, all of it.
    ids(&pair.two, &context, &[&pair.from(), &pair.to(",mode=max")]);
    let again = Lab::empty();
    let now = ids(&again, &context, &[&pair.from()]);
    assert_eq!(now, ids(&pair.two, &context, &[]));
}

// items: A012
#[test]
fn an_image_may_carry_its_cache() {
    let Some(pair) = Pair::new() else { return };
    let context = pair.one.context(&steps(&pair.registry), FILES);
    let app = format!("{}/inline", pair.registry.address);
    for (lab, inline) in [(&pair.one, "--cache-to=type=inline"), (&pair.two, "--build-arg=BUILDKIT_INLINE_CACHE=1")] {
        let said = lab.build_dir(&context, &["--push", "-t", &app, inline, &format!("--cache-from={app}")]).ok();
        if std::ptr::eq(lab, &pair.two) {
            assert!(all_cached(&said) || said.stderr.contains("CACHED"), "{said:?}");
        }
    }
    let third = Lab::empty();
    let pulled = third.rbuild(["run", "--rm", "--network=none", &app, "cat", "/a-id", "/b-id"]).ok();
    assert_eq!(pulled.stdout, ids(&pair.one, &context, &[]).concat());
    let from = format!("--cache-from=type=registry,ref={app}");
    assert_eq!(ids(&Lab::empty(), &context, &[&from]), ids(&pair.one, &context, &[]));
}

#[test]
fn a_directory_holds_several_caches_by_tag() {
    let Some(pair) = Pair::new() else { return };
    let context = pair.one.context(&steps(&pair.registry), FILES);
    let dir = pair.one.at("cache");
    let to = |more: &str| format!("--cache-to=type=local,dest={}{more}", dir.display());
    let from = |more: &str| format!("--cache-from=type=local,src={}{more}", dir.display());
    let metadata = pair.one.at("m.json");
    let first = ids(
        &pair.one,
        &context,
        &[&to(",mode=max,compression=zstd,force-compression=true"), &pair.to(""), "--metadata-file", &path(&metadata)],
    );
    let metadata: serde_json::Value = serde_json::from_slice(&std::fs::read(metadata).unwrap()).unwrap();
    let manifest: serde_json::Value =
        serde_json::from_str(metadata["cache.manifest"].as_str().expect("the cache is told")).unwrap();
    assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(ids(&pair.two, &context, &[&from("")]), first);
    let changed = pair.one.context(&steps(&pair.registry), &[("a.txt", "other"), ("b.txt", "b")]);
    let second = ids(&pair.one, &changed, &[&to(",tag=other,image-manifest=false,oci-mediatypes=false")]);
    let index: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.join("index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
    assert_eq!(ids(&Lab::empty(), &changed, &[&from(",tag=other")]), second);
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    assert_eq!(ids(&Lab::empty(), &context, &[&from(&format!(",digest={digest}"))]), first);
    let blobs = || std::fs::read_dir(dir.join("blobs/sha256")).unwrap().count();
    let before = blobs();
    ids(&pair.one, &changed, &[&to(",tag=other,reset=true")]);
    assert!(blobs() < before);
    pair.two.build_dir(&context, &[&from(",tag=none")]).ok().says("`none` in local:");
}

#[test]
fn failures_to_import_are_told_and_failures_to_export_end_the_build() {
    let Some(pair) = Pair::new() else { return };
    let context = pair.one.context(&steps(&pair.registry), FILES);
    let missing = format!("--cache-from={}/nothing", pair.registry.address);
    let garbage = format!("--cache-from={}/base", pair.registry.address);
    let said = pair.one.build_dir(&context, &[&missing, &garbage]).ok();
    said.says("failed to import the cache of").says("no cache in it");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let to = format!("--cache-to=type=registry,ref={closed}/x");
    pair.one.build_dir(&context, &[&to]).exits(1).says("failed to export the cache");
    pair.one.build_dir(&context, &[&format!("{to},ignore-error=true")]).ok().says("failed to export the cache to");
    pair.one.build_dir(&context, &["--cache-to=type=s3,bucket=x"]).exits(2).says("not supported yet");
    pair.one.build_dir(&context, &["--cache-from=type=registry,rf=x"]).exits(2).says("needs `ref`");
}

#[test]
fn an_export_that_is_cut_off_leaves_what_was_there() {
    let Some(pair) = Pair::new() else { return };
    let context = pair.one.context(&steps(&pair.registry), FILES);
    let first = ids(&pair.one, &context, &[&pair.to(",mode=max")]);
    pair.registry.break_uploads("cache");
    let changed = pair.one.context(&steps(&pair.registry), &[("a.txt", "other"), ("b.txt", "other")]);
    pair.one.build_dir(&changed, &[&pair.to(",mode=max")]).exits(1).says("failed to export the cache");
    assert_eq!(ids(&pair.two, &context, &[&pair.from()]), first);
}

#[test]
fn missing_and_damaged_layers_are_made_again() {
    use std::io::{Seek, Write};
    let Some(pair) = Pair::new() else { return };
    let context = pair.one.context(&steps(&pair.registry), FILES);
    let before = pair.registry.blobs();
    let first = ids(&pair.one, &context, &[&pair.to(",mode=max")]);
    let damage = |how: &dyn Fn(&Path)| {
        let new = pair.registry.blobs().into_iter().filter(|blob| !before.contains(blob));
        let gzip = |blob: &Path| std::fs::read(blob).unwrap().starts_with(&[0x1f, 0x8b]);
        new.filter(|blob| gzip(blob)).for_each(|blob| how(&blob));
    };
    damage(&|blob| {
        let mut file = std::fs::File::options().write(true).open(blob).unwrap();
        let size = file.metadata().unwrap().len();
        file.seek(std::io::SeekFrom::Start(size / 2)).unwrap();
        file.write_all(b"x").unwrap();
    });
    std::fs::write(context.join("b.txt"), "changed").unwrap();
    let out = pair.two.at("out");
    let output = format!("type=local,dest={}", out.display());
    let said = pair.two.build_dir(&context, &["-o", &output, &pair.from()]).ok();
    said.says("missing or damaged");
    assert_ne!(std::fs::read_to_string(out.join("a-id")).unwrap(), first[0]);
    damage(&|blob| std::fs::remove_file(blob).unwrap());
    let other = Lab::empty();
    let output = format!("type=local,dest={}", other.at("out").display());
    other.build_dir(&context, &["-o", &output, &pair.from()]).ok().says("cannot be used");
}

#[test]
fn caches_of_others_and_hostile_ones_do_no_harm() {
    let Some(pair) = Pair::new() else { return };
    let context = pair.one.context(&steps(&pair.registry), FILES);
    let dir = pair.one.at("cache");
    let (to, from) = (
        format!("--cache-to=type=local,dest={}", dir.display()),
        format!("--cache-from=type=local,src={}", dir.display()),
    );
    let first = ids(&pair.one, &context, &[&to]);
    let index: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.join("index.json")).unwrap()).unwrap();
    let blob = |digest: &serde_json::Value| dir.join("blobs/sha256").join(&digest.as_str().unwrap()[7..]);
    let manifest = std::fs::read(blob(&index["manifests"][0]["digest"])).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let config = std::fs::read_to_string(blob(&manifest["config"]["digest"])).unwrap();
    let put = |text: &str, kind: &str| {
        let sum = run(pair.one.command("sha256sum").arg("-"), text.as_bytes()).ok().stdout;
        let hex = sum.split_whitespace().next().unwrap();
        std::fs::write(dir.join("blobs/sha256").join(hex), text).unwrap();
        serde_json::json!({"mediaType": kind, "digest": format!("sha256:{hex}"), "size": text.len()})
    };
    let with_config = |text: &str| {
        let mut manifest = manifest.clone();
        manifest["config"] = put(text, "application/vnd.buildkit.cacheconfig.v0");
        put(&manifest.to_string(), "application/vnd.oci.image.manifest.v1+json")["digest"].as_str().unwrap().to_owned()
    };
    let import = |text: &str| {
        let lab = Lab::empty();
        let output = format!("type=local,dest={}", lab.at("out").display());
        let from = format!("{from},digest={}", with_config(text));
        let said = lab.build_dir(&context, &["-o", &output, &from]).ok();
        let ran = std::fs::read_to_string(lab.at("out/a-id")).unwrap() != first[0];
        (said, ran)
    };
    assert!(!import(&config).1, "as it was written");
    let foreign = config.replace("\"rbuild\"", "\"other\"");
    let (said, ran) = import(&foreign);
    assert!(ran, "{said:?}");
    said.says("that another program or another version wrote");
    for (hostile, expected) in [
        (r#"{"records":[{"inputs":[[{"link":1}]]},{"inputs":[[{"link":0}]]}]}"#, "go in circles"),
        (r#"{"records":[{"inputs":[[{"link":7}]]}]}"#, "which is not there"),
        (r#"{"layers":[{"blob":"x","parent":9}]}"#, "has no parent 9"),
        ("not json", "cache configuration sha256:"),
    ] {
        let (said, ran) = import(hostile);
        assert!(ran, "{hostile}");
        said.says(expected);
    }
}
