#!/usr/bin/env bash
# Makes base images without any registry: `busybox` from Debian's busybox-static, `debian:bookworm` by mmdebstrap.
# usage: examples/base.sh busybox|debian RBUILD [FLAGS-OF-RBUILD...]
set -euo pipefail
kind=$1 rbuild=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
case $kind in
busybox)
    cp /bin/busybox "$work/busybox"
    cat > "$work/Dockerfile" <<'DOCKERFILE'
FROM scratch AS install
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]

FROM scratch
COPY --from=install /bin /bin
COPY <<EOF /etc/passwd
root:x:0:0:root:/root:/bin/sh
EOF
COPY <<EOF /etc/group
root:x:0:
EOF
CMD ["sh"]
DOCKERFILE
    "$rbuild" "$@" build -q -t busybox "$work"
    ;;
debian)
    mmdebstrap --variant=minbase --format=tar bookworm "$work/rootfs.tar" >&2
    printf 'FROM scratch\nADD rootfs.tar /\nCMD ["bash"]\n' > "$work/Dockerfile"
    "$rbuild" "$@" build -q -t debian:bookworm "$work"
    ;;
*)
    echo "usage: $0 busybox|debian RBUILD [FLAGS...]" >&2
    exit 2
    ;;
esac
