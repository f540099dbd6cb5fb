#!/usr/bin/env bash
# Compares the images that rbuild makes of tests/compare with those of docker.io's BuildKit and buildah.
# BUILDKITD=/path BUILDCTL=/path add a BuildKit of your own. usage: compare.sh RBUILD [-v] [CASE...]
set -euo pipefail
cd "$(dirname "$0")/.."
rbuild=$(realpath "$1")
shift
# Newer releases ship docker's client and its BuildKit client as packages of their own.
# The compressors and attr make contexts that git cannot keep.
scripts/packages.sh python3 busybox-static docker.io 'docker-cli?' 'docker-buildx?' buildah runc iproute2 attr bzip2 tar xz-utils zstd
sudo=()
if [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2> /dev/null || { echo "compare: dockerd and buildah need root: run this as root or with sudo" >&2; exit 1; }
    sudo=(sudo --preserve-env=PATH,BUILDKITD,BUILDCTL)
fi
exec "${sudo[@]}" python3 -B scripts/compare.py "$rbuild" "$@"
