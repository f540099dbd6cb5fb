//! What this daemon can do, item by item: clients leave out of their graphs and calls what is not announced here.

use rbuild_buildkit_api::caps::ApiCap;

/// What frontends may ask of the bridge.
const FRONTEND: &[&str] = &[
    "solve.base",
    "solve.inlinereturn",
    "resolveimage",
    "resolveimage.resolvemode",
    "readfile",
    "return",
    "returnmap",
    "readdir",
    "statfile",
    "importcaches",
    "proto.refarray",
    "reference.output",
    "frontend.inputs",
    "gateway.solve.metadata",
    "gateway.exec",
    "gateway.exec.extrahosts",
    "gateway.exec.secretenv",
    "gateway.exec.signals",
    "gateway.exec.filesystem",
    "frontend.caps",
    "gateway.solve.evaluate",
    "gateway.evaluate",
    "gateway.warnings",
    "reference.attestations",
    "source.metaresolver",
    "source.metaresolver.image.attestations",
    "source.metaresolver.http.checksumrequest",
];

/// Returns what frontends may ask of the bridge.
pub(crate) fn frontend() -> Vec<ApiCap> {
    FRONTEND.iter().copied().map(enabled).collect()
}

/// Returns what graphs may hold.
pub(crate) fn llb() -> Vec<ApiCap> {
    rbuild_graph::capabilities().iter().filter(|capability| capability.enabled).map(|known| enabled(known.id)).collect()
}

fn enabled(id: &str) -> ApiCap {
    ApiCap { id: id.to_owned(), enabled: true, ..ApiCap::default() }
}
