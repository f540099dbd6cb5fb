//! The cache key of an exec op: everything that decides what the process does and sees.

use std::collections::BTreeSet;

use prost::Message as _;
use rbuild_graph::{Operand, pb};
use rbuild_oci::{Digest, Platform};

/// Returns the op's own key.
///
/// Left out, because they do not decide the result or must not: proxies, addresses of extra hosts,
/// names and sharing of cache mounts that are not the default, and the parts of inputs that are
/// known by their content.
pub(crate) fn key(op: &pb::ExecOp, platform: Option<&Platform>, inputs: usize) -> Digest {
    let mut op = op.clone();
    if let Some(meta) = &mut op.meta {
        meta.proxy_env = None;
        for host in &mut meta.extra_hosts {
            host.ip.clear();
        }
    }
    let content: BTreeSet<usize> = (0..inputs).filter(|index| by_content(&op, *index, inputs)).collect();
    for mount in &mut op.mounts {
        if let Some(cache) = &mut mount.cache_opt {
            *cache = pb::CacheOpt::default();
        }
        if let Operand::Input(index) = Operand::of(mount.input, inputs)
            && content.contains(&index)
        {
            mount.selector.clear();
        }
    }
    let mut bytes = b"rbuild.exec.v1\0".to_vec();
    if let Some(platform) = platform {
        let variant = platform.variant.as_deref().unwrap_or_default();
        bytes.extend_from_slice(format!("{}/{}/{variant}\0", platform.os, platform.architecture).as_bytes());
    }
    op.encode(&mut bytes).expect("a vector takes any length");
    Digest::of(&bytes)
}

/// Whether input `index` matters by the content of what is mounted of it only: no mount of it is the
/// root or can give a changed result.
pub(crate) fn by_content(op: &pb::ExecOp, index: usize, inputs: usize) -> bool {
    let mut mounts = mounts_of(op, index, inputs).peekable();
    mounts.peek().is_some()
        && mounts.all(|mount| match mount.content_cache() {
            pb::MountContentCache::Off => false,
            pb::MountContentCache::On => true,
            pb::MountContentCache::Default => {
                mount.dest != pb::ROOT_MOUNT
                    && mount.mount_type() == pb::MountType::Bind
                    && (mount.readonly || mount.output == pb::SKIP_OUTPUT)
            }
        })
}

/// Returns the mounts that show input `index`.
pub(crate) fn mounts_of(op: &pb::ExecOp, index: usize, inputs: usize) -> impl Iterator<Item = &pb::Mount> {
    op.mounts.iter().filter(move |mount| Operand::of(mount.input, inputs) == Operand::Input(index))
}

/// Returns the selected paths of input `index`, sorted.
pub(crate) fn selectors(op: &pb::ExecOp, index: usize, inputs: usize) -> BTreeSet<String> {
    let clean = |mount: &pb::Mount| crate::file::rooted(&mount.selector).to_string_lossy().into_owned();
    mounts_of(op, index, inputs).map(clean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op() -> pb::ExecOp {
        let root = pb::Mount { dest: "/".into(), ..pb::Mount::default() };
        let bind =
            pb::Mount { dest: "/src".into(), input: 1, output: -1, selector: "/a".into(), ..pb::Mount::default() };
        let meta = pb::Meta { args: vec!["sh".into()], ..pb::Meta::default() };
        pb::ExecOp { meta: Some(meta), mounts: vec![root, bind], ..pb::ExecOp::default() }
    }

    // items: A010 M014 T10
    #[test]
    fn proxies_and_cache_names_do_not_count_a010_m014() {
        let mut other = op();
        other.meta.as_mut().unwrap().proxy_env =
            Some(pb::ProxyEnv { http_proxy: "http://p".into(), ..Default::default() });
        assert_eq!(key(&op(), None, 2), key(&other, None, 2));
        let cache = |id: &str, sharing: pb::CacheSharing| {
            let mut op = op();
            op.mounts[1].mount_type = pb::MountType::Cache.into();
            op.mounts[1].cache_opt = Some(pb::CacheOpt { id: id.to_owned(), sharing: sharing.into() });
            op
        };
        let key_of = |id: &str, sharing| key(&cache(id, sharing), None, 2);
        assert_eq!(key_of("a", pb::CacheSharing::Shared), key_of("b", pb::CacheSharing::Locked));
        let mut env = op();
        env.meta.as_mut().unwrap().env.push("A=b".into());
        assert_ne!(key(&op(), None, 2), key(&env, None, 2));
    }

    // items: K002 K003
    #[test]
    fn k002_what_counts() {
        type Change = fn(&mut pb::ExecOp);
        fn meta(op: &mut pb::ExecOp) -> &mut pb::Meta {
            op.meta.as_mut().unwrap()
        }
        let counts: [(&str, Change); 16] = [
            ("arguments", |op| meta(op).args.push("x".into())),
            ("variables", |op| meta(op).env.push("A=b".into())),
            ("directory", |op| meta(op).cwd = "/w".into()),
            ("user", |op| meta(op).user = "app".into()),
            ("host name", |op| meta(op).hostname = "h".into()),
            ("name of a host", |op| meta(op).extra_hosts = vec![pb::HostIp { host: "h".into(), ip: "1.1.1.1".into() }]),
            ("limits of processes", |op| {
                meta(op).ulimit = vec![pb::Ulimit { name: "nofile".into(), soft: 1, hard: 1 }]
            }),
            ("control group", |op| meta(op).cgroup_parent = "x".into()),
            ("network", |op| op.network = 1),
            ("security", |op| op.security = 1),
            ("secret in a variable", |op| op.secretenv = vec![pb::SecretEnv { id: "s".into(), ..Default::default() }]),
            ("devices", |op| op.cdi_devices = vec![pb::CdiDevice { name: "d".into(), optional: false }]),
            ("place of a mount", |op| op.mounts[1].dest = "/other".into()),
            ("writable mount", |op| op.mounts[1].output = 1),
            ("kind of a mount", |op| op.mounts[1].mount_type = 3),
            ("path of the root", |op| op.mounts[0].selector = "/sub".into()),
        ];
        for (name, change) in counts {
            let mut other = op();
            change(&mut other);
            assert_ne!(key(&op(), None, 2), key(&other, None, 2), "{name}");
        }
        let host = |ip: &str| {
            let mut op = op();
            meta(&mut op).extra_hosts = vec![pb::HostIp { host: "h".into(), ip: ip.into() }];
            key(&op, None, 2)
        };
        assert_eq!(host("1.1.1.1"), host("2.2.2.2"), "addresses of hosts");
        let cache = |id: &str, sharing: i32| {
            let mut op = op();
            op.mounts[1].cache_opt = Some(pb::CacheOpt { id: id.into(), sharing });
            key(&op, None, 2)
        };
        assert_eq!(cache("a", 0), cache("b", 2), "names and sharing of caches");
        let arm = Platform::new("linux", "arm64", None);
        assert_ne!(key(&op(), None, 2), key(&op(), Some(&arm), 2), "platform");
    }

    // items: M006
    #[test]
    fn binds_count_by_content_m006() {
        assert!(!by_content(&op(), 0, 2));
        assert!(by_content(&op(), 1, 2));
        let mut moved = op();
        moved.mounts[1].selector = "/b".into();
        assert_eq!(key(&op(), None, 2), key(&moved, None, 2));
    }
}
