#!/usr/bin/env bash
# Builds the image of the daemon and looks whether it has what buildx's drivers run in it.
# usage: daemon-image.sh RBUILD [TARGET...]    (a static binary, as `make` leaves it; all targets if none is named)
set -euo pipefail
cd "$(dirname "$0")/.."
rbuild=$(realpath "$1")
shift
[ $# -gt 0 ] || set -- small with-git
scripts/packages.sh mmdebstrap
work=$(mktemp -d)
trap '"$rbuild" --root "$work/store" prune -af > /dev/null 2>&1 || true; rm -rf "$work"' EXIT
export RBUILD_ROOT=$work/store
mkdir "$work/bin"
cp "$rbuild" "$work/bin/rbuild"
examples/base.sh debian "$rbuild" > /dev/null
for target; do
    "$rbuild" build -q -t "daemon:$target" --target "$target" --build-arg BASE=debian:bookworm \
        --build-context rbuild="$work/bin" examples/daemon-image > /dev/null
    run() { "$rbuild" run --rm --network=none "$@"; }
    for name in buildkitd buildctl; do
        # buildx reads the second and third word.
        said=$(run --entrypoint "$name" "daemon:$target" --version)
        [[ $said =~ ^$name\ rbuild\ v[0-9]+\.[0-9]+\.[0-9] ]] || { echo "$target: $name says: $said" >&2; exit 1; }
    done
    run --entrypoint sh "daemon:$target" -c 'test -s /etc/ssl/certs/ca-certificates.crt && test -d /var/lib'
    if run --entrypoint buildctl "daemon:$target" dial-stdio < /dev/null 2> "$work/refusal"; then
        echo "$target: dial-stdio found a daemon where there is none" >&2
        exit 1
    fi
    grep -q /run/buildkit/buildkitd.sock "$work/refusal"
    echo "daemon:$target is as buildx's drivers want it"
done
