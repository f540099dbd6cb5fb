//! Media types of layers: OCI's or Docker's, to be distributed or not.

use rbuild_oci::{Descriptor, media_type};

const OCI_FOREIGN: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
const DOCKER_FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar";

/// Returns whether a layer stays one that is not distributed: if that is preferred, and it has places of its own.
pub(crate) fn stays_foreign(layer: &Descriptor, preferred: bool) -> bool {
    preferred && !layer.urls.is_empty()
}

/// Returns a layer's media type in the family that the manifest has.
pub(crate) fn layer_type(media_type: &str, oci: bool, foreign: bool) -> String {
    let stems = [media_type::OCI_LAYER, media_type::DOCKER_LAYER, OCI_FOREIGN, DOCKER_FOREIGN];
    let Some(suffix) = stems.iter().find_map(|stem| media_type.strip_prefix(stem)) else {
        return media_type.to_owned();
    };
    let compression = suffix.trim_start_matches(['+', '.']);
    if !matches!(compression, "" | "gzip" | "zstd") {
        return media_type.to_owned();
    }
    let stem = match (oci, foreign) {
        (true, false) => media_type::OCI_LAYER,
        (true, true) => OCI_FOREIGN,
        (false, false) => media_type::DOCKER_LAYER,
        (false, true) => DOCKER_FOREIGN,
    };
    match (compression, oci) {
        ("", _) => stem.to_owned(),
        (compression, true) => format!("{stem}+{compression}"),
        (compression, false) => format!("{stem}.{compression}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families() {
        for (given, oci, foreign, want) in [
            (media_type::DOCKER_LAYER_GZIP, true, false, media_type::OCI_LAYER_GZIP),
            (media_type::DOCKER_LAYER, true, false, media_type::OCI_LAYER),
            (media_type::OCI_LAYER_ZSTD, false, false, media_type::DOCKER_LAYER_ZSTD),
            (media_type::OCI_LAYER_GZIP, true, false, media_type::OCI_LAYER_GZIP),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", true, false, media_type::OCI_LAYER_GZIP),
            (
                "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                true,
                true,
                "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            ),
            (
                "application/vnd.oci.image.layer.v1.tar+other",
                false,
                false,
                "application/vnd.oci.image.layer.v1.tar+other",
            ),
            ("application/x", true, false, "application/x"),
        ] {
            assert_eq!(layer_type(given, oci, foreign), want, "{given}");
        }
    }
}
