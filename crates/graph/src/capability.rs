//! What clients may ask of the engine: each capability of the protocol, and whether it is honoured.
//!
//! Clients emit simpler graphs for capabilities that are not announced, so one that is honoured by half is worse
//! than one that is missing. What a vertex asks for stands in its metadata and is checked when a graph is loaded.

use std::collections::BTreeMap;

use crate::GraphError;

/// A capability of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capability {
    /// Its name in the protocol.
    pub id: &'static str,
    /// Whether it is honoured; only then it is announced.
    pub enabled: bool,
    /// Why it is not.
    pub reason: &'static str,
}

const fn yes(id: &'static str) -> Capability {
    Capability { id, enabled: true, reason: "" }
}

const fn no(id: &'static str, reason: &'static str) -> Capability {
    Capability { id, enabled: false, reason }
}

/// Returns all capabilities of graphs that the protocol has, in the order of their names.
pub fn capabilities() -> &'static [Capability] {
    &CAPABILITIES
}

/// Sorted by name, which `check` relies upon. The misspelled one is spelled so in the protocol.
const CAPABILITIES: [Capability; 90] = [
    no("cache.azblob", "no such cache backend"),
    no("cache.gha", "no such cache backend"),
    no("cache.s3", "no such cache backend"),
    yes("constraints"),
    yes("diffop"),
    yes("exec.cgroup"),
    yes("exec.meta.base"),
    yes("exec.meta.cdi"),
    yes("exec.meta.cgroup.parent"),
    yes("exec.meta.linux.resources"),
    yes("exec.meta.network"),
    no("exec.meta.network.proxy", "steps have no recording proxy"),
    yes("exec.meta.proxyenv"),
    yes("exec.meta.removemountstubs.recursive"),
    yes("exec.meta.security"),
    yes("exec.meta.security.devices.v1"),
    yes("exec.meta.setsdefaultpath"),
    yes("exec.meta.ulimit"),
    yes("exec.mount.bind"),
    yes("exec.mount.bind.readwrite-nooutput"),
    yes("exec.mount.cache"),
    yes("exec.mount.cache.content"),
    yes("exec.mount.cache.sharing"),
    yes("exec.mount.secret"),
    yes("exec.mount.selector"),
    yes("exec.mount.ssh"),
    yes("exec.mount.tmpfs"),
    yes("exec.mount.tmpfs.size"),
    yes("exec.secretenv"),
    yes("exec.validexitcode"),
    yes("exporter.image.annotations"),
    yes("exporter.image.attestations"),
    yes("exporter.multiple"),
    yes("exporter.session"),
    yes("exporter.sourcedateepoch"),
    yes("file.base"),
    yes("file.copy.alwaysreplaceexistingdestpaths"),
    yes("file.copy.includeexcludepatterns"),
    yes("file.copy.modestring"),
    yes("file.copy.requiredpaths"),
    yes("file.rm.nofollowsymlink"),
    yes("file.rm.wildcard"),
    yes("file.symlink.create"),
    yes("gc.freespacefilter"),
    yes("history.filter"),
    yes("mergeop"),
    yes("meta.description"),
    yes("meta.exportcache"),
    yes("meta.ignorecache"),
    yes("passthroughop"),
    yes("platform"),
    yes("soruce.http.uidgid"),
    yes("source.buildop.llbfilename"),
    yes("source.git"),
    no("source.git.bundle", "repositories are fetched from remotes only"),
    no("source.git.checkoutbundle", "commits are checked out as files only"),
    yes("source.git.checksum"),
    yes("source.git.fetchbycommit"),
    yes("source.git.fullurl"),
    yes("source.git.httpauth"),
    yes("source.git.keepgitdir"),
    yes("source.git.knownsshhosts"),
    yes("source.git.mountsshsock"),
    yes("source.git.mtime"),
    no("source.git.signatureverify", "signatures are not verified"),
    yes("source.git.skipsubmodules"),
    yes("source.git.subdir"),
    yes("source.http"),
    yes("source.http.auth"),
    yes("source.http.checksum"),
    yes("source.http.header"),
    yes("source.http.perm"),
    no("source.http.signatureverify", "signatures are not verified"),
    yes("source.image"),
    yes("source.image.checksum"),
    yes("source.image.layerlimit"),
    yes("source.image.resolvemode"),
    yes("source.imageblob"),
    yes("source.local"),
    yes("source.local.differ"),
    yes("source.local.excludepatterns"),
    yes("source.local.followpaths"),
    yes("source.local.includepatterns"),
    yes("source.local.metadatatransfer"),
    yes("source.local.sessionid"),
    yes("source.local.sharedkeyhint"),
    yes("source.local.unique"),
    yes("source.ocilayout"),
    yes("source.policy"),
    yes("source.policy.session"),
];

/// Checks what a vertex asks for. What it says that it does without is asked for as well, as BuildKit has it.
pub(crate) fn check(asked: &BTreeMap<String, bool>) -> Result<(), GraphError> {
    for id in asked.keys() {
        let found = CAPABILITIES.binary_search_by(|capability| capability.id.cmp(id));
        let Ok(position) = found else {
            return Err(GraphError::UnknownCapability(id.chars().take(100).collect()));
        };
        let Capability { id, enabled, reason } = CAPABILITIES[position];
        if !enabled {
            return Err(GraphError::Capability { id, reason });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_sorted_and_say_why_not() {
        assert!(CAPABILITIES.windows(2).all(|pair| pair[0].id < pair[1].id));
        assert!(CAPABILITIES.iter().all(|capability| capability.enabled == capability.reason.is_empty()));
    }

    #[test]
    fn t22_only_what_is_honoured_can_be_asked_for() {
        let asked = |id: &str| match check(&[(id.to_owned(), true)].into()) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        };
        assert_eq!(asked("exec.mount.bind"), "");
        assert_eq!(asked("soruce.http.uidgid"), "");
        assert_eq!(asked("source.http.uidgid"), "unknown API capability source.http.uidgid");
        assert_eq!(asked(""), "unknown API capability ");
        assert_eq!(
            asked("cache.s3"),
            "requested feature cache.s3 is not supported by build server: no such cache backend"
        );
    }
}
