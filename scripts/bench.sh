#!/usr/bin/env bash
# Times rbuild beside docker, buildah, podman, crun and skopeo, all from Debian. usage: bench.sh RBUILD [ROW...]
set -euo pipefail
cd "$(dirname "$0")/.."
rbuild=$(realpath "$1")
shift
# Newer releases ship docker's client and its BuildKit client as packages of their own.
scripts/packages.sh python3 busybox-static binutils iproute2 util-linux docker.io 'docker-cli?' 'docker-buildx?' buildah podman crun skopeo docker-registry ||
    echo "bench: some peers are missing; their rows will say so" >&2
sudo=()
if [ "$(id -u)" -ne 0 ]; then
    if sudo -n true 2> /dev/null; then
        sudo=(sudo --preserve-env=PATH)
    else
        echo "bench: not root and no sudo: rows that need root will say so" >&2
    fi
fi
exec "${sudo[@]}" python3 -B scripts/bench.py "$rbuild" "$@"
