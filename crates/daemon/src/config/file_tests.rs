use std::time::Duration;

use super::*;
use crate::address::Address;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("buildkitd.toml"), text)
}

/// What the text says, or the error, as Rust shows it.
fn check(text: &str, expect: fn(&Config) -> bool) {
    let config = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert!(expect(&config), "{text}: {config:?}");
}

fn refused(text: &str, reason: &str) {
    let error = parse(text).expect_err(text).to_string();
    assert!(error.contains(reason), "{text}: {error}");
}

#[test]
fn what_is_said_is_understood() {
    check("", |config| *config == Config::default());
    check("root = '/x'", |c| c.root.as_deref() == Some(Path::new("/x")));
    check("debug = true", |c| c.log.level == Level::Debug);
    check("[log]\nlevel = 'warn'\nformat = 'json'", |c| c.log.level == Level::Warning && c.log.json);
    check("insecure-entitlements = ['network.host', 'security.insecure', 'device']", |c| c.entitlements.len() == 3);
    check("[grpc]\naddress = ['tcp://:1']\nuid = 0\ngid = 7", |c| {
        c.addresses == [Address::Tcp { host: String::new(), port: 1 }] && (c.uid, c.gid) == (Some(0), Some(7))
    });
    check("[grpc.tls]\ncert = 'a'\nkey = 'b'\nca = 'c'", |c| c.tls.complete().unwrap().unwrap().authority.is_some());
    check("[otel]\nsocketPath = '/run/x'", |c| *c == Config::default());
    check("[cdi]\ndisabled = true\nspecDirs = ['/a']", |c| c.cdi.disabled && c.cdi.spec_dirs.len() == 1);
    check("insecure-entitlements = ['network.host', 'device']\n[cdi]\ndisabled = true", |c| {
        c.grantable() == [Entitlement::NetworkHost].into()
    });
    check("", |c| c.grantable() == [Entitlement::Device].into());
    check("[history]\nmaxAge = 60\nmaxEntries = 2", |c| {
        c.history == HistoryLimits { max_age: Duration::from_secs(60), max_entries: 2 }
    });
    check("[frontend.'dockerfile.v0']\nenabled = false", |c| !c.frontends.dockerfile);
    check("[frontend.'gateway.v0']\nallowedRepositories = ['a/b']", |c| c.frontends.gateway_repositories.len() == 1);
    check("[system]\nplatformsCacheMaxAge = '1h'\nmaxRegistryConcurrency = 9", |c| c.registry_concurrency == Some(9));
}

#[test]
fn workers() {
    check("[worker.oci]\nenabled = true\nplatforms = ['linux/arm64']", |c| c.worker.platforms.len() == 1);
    check("[worker.oci]\nsnapshotter = 'native'", |c| c.worker.snapshotter == Snapshotter::Native);
    check("[worker.oci]\nnetworkMode = 'host'", |c| c.worker.network == NetworkMode::Host);
    check("[worker.oci]\nmax-parallelism = 1\n[worker.containerd]\nmax-parallelism = 1", |c| {
        c.worker.max_parallelism == Some(1)
    });
    check("[worker.oci]\nmax-parallelism = 0", |c| c.worker.max_parallelism.is_none());
    check("[worker.oci.labels]\n'foo' = 'bar'", |c| c.worker.labels["foo"] == "bar");
    check("[worker.oci]\ngc = false", |c| !c.worker.gc.enabled);
    check("[worker.oci]\ngckeepstorage = 9000", |c| c.worker.gc.reserved == Some(Space::Bytes(9000)));
    check("[[worker.oci.gcpolicy]]\nkeepDuration = '48h'\nfilters = ['type==source.local,inuse']", |c| {
        c.worker.gc.policies[0].keep_duration == Duration::from_secs(48 * 3600)
    });
    check("[[worker.oci.gcpolicy]]\nall = true\nreservedSpace = 1024000000", |c| {
        c.worker.gc.policies[0].reserved == Some(Space::Bytes(1_024_000_000))
    });
    check("[worker.oci]\nbinary = ''\nnoProcessSandbox = false", |c| *c == Config::default());
    check("[worker.containerd]\nenabled = false\nnamespace = 'x'", |c| *c == Config::default());
}

#[test]
fn registries() {
    check("[registry.'docker.io']\nmirrors = ['localhost:5000']\nhttp = true", |c| {
        c.registries["docker.io"].http && c.registries["docker.io"].mirrors == ["localhost:5000"]
    });
    check("[registry.'r:5']\ninsecure = true\nca = ['a']\n[[registry.'r:5'.keypair]]\nkey = 'k'\ncert = 'c'", |c| {
        let mut options = rbuild_registry::Options::default();
        c.apply_registries(&mut options);
        options.hosts.insecure.contains("r:5") && options.host_certificates["r:5"].client.is_some()
    });
    check("[registry.'docker.io']\nhttp = true", |c| {
        let mut options = rbuild_registry::Options::default();
        c.apply_registries(&mut options);
        options.hosts.insecure.contains("registry-1.docker.io")
    });
}

#[test]
fn what_we_cannot_do_is_refused_with_its_line() {
    refused("\n\nproxyNetwork = true", "buildkitd.toml:3: `proxyNetwork` is not supported");
    refused("[worker.oci]\nenabled = false", "no other worker");
    refused("[worker.oci]\nsnapshotter = 'stargz'", "no snapshotter `stargz`");
    refused("[worker.oci]\nnetworkMode = 'cni'", "without plugins");
    refused("[worker.oci]\ncniConfigPath = '/x'", "`cniConfigPath` of [worker.oci] is not supported");
    refused("[worker.oci]\nbinary = 'crun'", "buildkitd.toml:2:");
    refused("[worker.oci]\nplatforms = ['nonsense/a/b/c/d']", "`platforms`");
    refused("[worker.containerd]\nenabled = true", "does not run on containerd");
    refused("[dns]\nnameservers = ['1.1.1.1']", "`dns` is not supported");
    refused("insecure-entitlements = ['all']", "no entitlement `all`");
    refused("[grpc]\naddress = ['/x']", "did you mean unix:///x?");
    refused("[grpc]\ndebugAddress = '0:1'", "debugging");
    refused("[[worker.oci.gcpolicy]]\nfilters = ['colour==red']", "colour==red");
    refused("[[registry.'a'.keypair]]\nkey = 'k'", "both `cert` and `key`");
    refused("[system]\nmaxRegistryConcurrency = 0", "at least 1");
}

#[test]
fn what_nobody_knows_is_refused_with_a_hint() {
    refused("roots = '/x'", "unknown key `roots`: did you mean `root`?");
    refused("[worker.oci]\nmaxParallelism = 1", "did you mean `max-parallelism`?");
    refused("[grpc]\nmax_recv_message_size = 1", "unknown key `max_recv_message_size` of [grpc]");
    refused("[registry.'a']\nmirror = ['x']", "did you mean `mirrors`?");
    refused("root = 7", "expected a string, found integer");
    refused("[grpc]\nuid = -1", "a number of at least 0");
    refused("[history]\nmaxAge = 'long'", "invalid duration");
    refused("root =", "buildkitd.toml:1:");
    refused("a = 1\na = 2", "buildkitd.toml:2:");
}

#[test]
fn the_example_is_understood() {
    let example = include_str!("../../../../examples/serve/daemon.toml");
    check(example, |c| c.worker.max_parallelism == Some(4) && c.registries.len() == 2);
}

#[test]
fn frontends_that_are_images() {
    let some = "[frontend.'gateway.v0']\nallowedRepositories = ['docker.io/a/b', 'example.com:5000/c']";
    for (text, source, reason) in [
        ("", "a/b:1", ""),
        (some, "a/b", ""),
        (some, "docker.io/a/b:1@sha256:0000000000000000000000000000000000000000000000000000000000000000", ""),
        (some, "example.com:5000/c:2", ""),
        (some, "a/bc", "'a/bc' is not an allowed gateway source"),
        (some, "c", "'c' is not an allowed gateway source"),
        (some, "example.com/a/b", "not an allowed gateway source"),
        (some, "&&", "not an allowed gateway source"),
        ("[frontend.'gateway.v0']\nenabled = false", "a/b", "disabled in the configuration"),
    ] {
        let refusal = parse(text).unwrap().frontends.refusal(source).unwrap_or_default();
        assert_eq!(refusal.is_empty(), reason.is_empty(), "{source}: {refusal}");
        assert!(refusal.contains(reason), "{source}: {refusal}");
    }
}
