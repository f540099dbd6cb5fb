use super::*;
use clap::CommandFactory;

fn parse(line: &str) -> Result<Config, String> {
    let words = std::iter::once("buildkitd").chain(line.split_whitespace());
    let args = Args::try_parse_from(words).map_err(|error| error.to_string())?;
    let mut config = Config::default();
    args.apply(&mut config).map(|()| config)
}

fn check(line: &str, expect: fn(&Config) -> bool) {
    let config = parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    assert!(expect(&config), "{line}: {config:?}");
}

fn refused(line: &str, reason: &str) {
    let error = parse(line).expect_err(line);
    assert!(error.contains(reason), "{line}: {error}");
}

#[test]
fn flags_are_consistent() {
    Args::command().debug_assert();
}

#[test]
fn suites_and_drivers_are_understood() {
    check(
        "--oci-worker=true --containerd-worker=false --oci-worker-gc=false \
         --oci-worker-labels=org.mobyproject.buildkit.worker.sandbox=true --oci-worker-snapshotter=native \
         --root /r --addr unix:///r/d.sock --debug",
        |c| {
            !c.worker.gc.enabled
                && c.worker.labels["org.mobyproject.buildkit.worker.sandbox"] == "true"
                && c.worker.snapshotter == Snapshotter::Native
                && c.root == Some("/r".into())
                && c.addresses == [Address::Unix("/r/d.sock".into())]
                && c.log.level == Level::Debug
        },
    );
    check("--allow-insecure-entitlement=network.host --allow-insecure-entitlement device", |c| {
        c.entitlements.len() == 2
    });
    check("--oci-worker-net=bridge --rootless --oci-worker-no-process-sandbox", |c| c.worker.rootless == Some(true));
    check("--addr tcp://0.0.0.0:1234 --addr fd:// --tlscert a --tlskey b --tlscacert c", |c| {
        c.addresses.len() == 2 && c.tls.complete().unwrap().is_some()
    });
}

#[test]
fn values() {
    check("", |c| *c == Config::default());
    check("--debug=false --oci-worker=auto --containerd-worker=", |c| *c == Config::default());
    check("--oci-worker-gc-keepstorage 1,2,3", |c| {
        let gc = &c.worker.gc;
        [gc.reserved, gc.min_free, gc.max_used] == [1, 2, 3].map(|n| Some(Space::Bytes(n * 1_000_000)))
    });
    check("--oci-max-parallelism 3 --oci-worker-net host", |c| {
        c.worker.max_parallelism == Some(3) && c.worker.network == NetworkMode::Host
    });
    check("--oci-worker-platform linux/arm64 --log-format json --log-level=warn", |c| {
        c.worker.platforms.len() == 1 && c.log.json && c.log.level == Level::Warning
    });
    check("--cdi-disabled --cdi-spec-dir /a --group 5", |c| c.cdi.disabled && c.gid == Some(5));
    check("--debugaddr= --oci-worker-binary= --oci-cni-pool-size 0", |c| *c == Config::default());
    check("--containerd-worker-addr /x --containerd-worker-rootless", |c| *c == Config::default());
}

#[test]
fn what_cannot_be_had_is_refused() {
    refused("--oci-worker=false", "no other worker");
    refused("--containerd-worker=true", "does not run on containerd");
    refused("--oci-worker-snapshotter=stargz", "expected auto, overlayfs");
    refused("--oci-worker-net=cni", "expected auto, bridge or host");
    refused("--oci-worker-binary=crun", "--oci-worker-binary is not supported");
    refused("--oci-cni-config-path=/x", "without plugins");
    refused("--oci-worker-selinux", "SELinux");
    refused("--debugaddr=0.0.0.0:6060", "debugging");
    refused("--proxy-network", "proxy");
    refused("--allow-insecure-entitlement=all", "no entitlement `all`");
    refused("--addr /run/x.sock", "did you mean unix:///run/x.sock?");
    refused("--oci-worker-gc-keepstorage 1,2,3,4", "RESERVED");
    refused("--oci-worker-labels x", "KEY=VALUE");
    refused("--adr x", "--addr");
    refused("--unknown-flag", "unexpected argument");
}

#[test]
fn versions_have_four_words() {
    let text = version("buildkitd");
    let words: Vec<_> = text.split_whitespace().collect();
    assert_eq!(words.len(), 4, "{text}");
    assert!(words[2].starts_with("v0."), "{text}");
}
