#!/usr/bin/env bash
# Builds a real image from a Dockerfile with RUN steps and runs it. usage: demo.sh RBUILD
set -euo pipefail
cd "$(dirname "$0")/.."
rbuild=$(realpath "$1")
scripts/packages.sh busybox-static
root=$(mktemp -d)
trap '"$rbuild" --root "$root" prune -af >/dev/null 2>&1 || true; rm -rf "$root"' EXIT
export RBUILD_ROOT=$root
say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; }

say "examples/base.sh busybox rbuild    # a base image, as no registry may be reachable"
examples/base.sh busybox "$rbuild"
say "rbuild -t words examples/tool-busybox"
"$rbuild" -t words examples/tool-busybox
say "rbuild -t words examples/tool-busybox    # again: nothing is left to do"
"$rbuild" -t words examples/tool-busybox
say "rbuild run --rm words layer banana"
"$rbuild" run --rm words layer banana
say "rbuild images"
"$rbuild" images
