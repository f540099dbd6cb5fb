#!/usr/bin/env bash
# Everything that must hold, on a fresh Debian or Ubuntu machine with a Rust toolchain: formatting, lints, tests of
# each room, then the end-to-end tests as root and as an ordinary user. What cannot run here is said aloud.
# usage: test.sh [FILTER-OF-END-TO-END-TESTS...]
set -euo pipefail
cd "$(dirname "$0")/.."
user=rbuild-test
passed=0 failed=0 notes=()
filters=("$@")
say() { printf '\n== %s\n' "$*"; }
note() {
    notes+=("$*")
    printf 'NOT RUN: %s\n' "$*"
}
sudo=()
if [ "$(id -u)" -ne 0 ]; then
    if sudo -n true 2> /dev/null; then sudo=(sudo -n); else sudo=(false); fi
fi
can_root() { [ "${sudo[0]:-}" != false ]; }

say "packages"
# No recommended packages: the tests use the programs themselves, never these packages' services.
scripts/packages.sh build-essential busybox-static bzip2 crun docker-registry fuse-overlayfs git iproute2 openssh-client passt \
    podman procps python3 qemu-user-static skopeo slirp4netns uidmap umoci util-linux xz-utils zstd || note "some packages could not be installed; tests that need them skip aloud"

# Counts what `cargo test` says; its output passes through.
run_tests() {
    local log status=0
    log=$(mktemp)
    "$@" 2>&1 | tee "$log" || status=$?
    local line
    while read -r line; do
        passed=$((passed + $(sed -E 's/.* ([0-9]+) passed.*/\1/' <<< "$line")))
        failed=$((failed + $(sed -E 's/.* ([0-9]+) failed.*/\1/' <<< "$line")))
    done < <(grep -E '^test result: ' "$log" || true)
    # What ended without a count, such as a compiler's error, is a failure too.
    if [ "$status" -ne 0 ] && ! grep -qE '^test result: FAILED' "$log"; then failed=$((failed + 1)); fi
    rm -f "$log"
}

check() {
    say "$*"
    if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

check cargo fmt --check
check cargo clippy --workspace --all-targets --locked -- -D warnings
# The fuzz targets are a workspace of their own; they run by `make fuzz` only.
check cargo check --locked --manifest-path fuzz/Cargo.toml --target-dir target/fuzz-check

say "the binary"
cargo build --locked -p rbuild-cli

# User-mode networks need the tun device; some machines keep it to root.
if [ -e /dev/net/tun ] && [ "$(stat -c %a /dev/net/tun)" != 666 ]; then
    if can_root && "${sudo[@]}" chmod 666 /dev/net/tun 2> /dev/null; then
        echo "made /dev/net/tun usable by everybody (chmod 666): networks of ordinary users need it"
    else
        note "networks of ordinary users: /dev/net/tun cannot be used"
    fi
fi

# A home and temporary directory of their own: nothing of the person's counts, nothing is left in them.
work=$(mktemp -d /var/tmp/rbt-XXXX)
trap 'rm -rf "$work" 2> /dev/null || "${sudo[@]}" rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir "$work/home" "$work/tmp"
# Tests that enter user namespaces make files there as other users. The name is short: sockets and podman need that.
chmod 1777 "$work/tmp"
toolchain=(CARGO_HOME="${CARGO_HOME:-$HOME/.cargo}" RUSTUP_HOME="${RUSTUP_HOME:-$HOME/.rustup}")

say "tests of each room, as $(id -un)"
run_tests env HOME="$work/home" TMPDIR="$work/tmp" "${toolchain[@]}" \
    cargo test --workspace --locked --no-fail-fast --exclude rbuild-tests
run_tests cargo test --locked -p rbuild-tests --test architecture --test items

# Where every user can reach them: a checkout may lie in a closed home.
e2e=$(cargo test --locked -p rbuild-tests --test e2e --no-run --message-format=json 2> /dev/null |
    sed -n 's/.*"executable":"\([^"]*\/e2e-[^"]*\)".*/\1/p' | tail -n 1)
install -m 755 "$e2e" "$work/e2e"
install -m 755 "$(dirname "$(dirname "$e2e")")/rbuild" "$work/rbuild"
cp -r examples "$work/examples"
chmod -R a+rX "$work/examples"

# usage: e2e_as USER COMMAND...: runs the end-to-end tests through COMMAND with a home of USER's.
e2e_as() {
    local who=$1 place=$work/${1:0:2}
    shift
    say "end to end, as $who"
    mkdir "$place" "$place/t"
    if [ "$(id -un)" != "$who" ]; then "${sudo[@]}" chown -R "$who:" "$place"; fi
    run_tests "$@" env -i PATH="$PATH" HOME="$place" TMPDIR="$place/t" LANG=C.UTF-8 RBUILD_E2E_BINARY="$work/rbuild" \
        RBUILD_E2E_EXAMPLES="$work/examples" "$work/e2e" "${filters[@]}"
}

# Makes the ordinary user, with ranges of ids of its own.
make_user() {
    id "$user" > /dev/null 2>&1 || "${sudo[@]}" useradd --create-home --shell /bin/sh "$user" || return
    local file first
    for file in /etc/subuid /etc/subgid; do
        grep -q "^$user:" "$file" 2> /dev/null && continue
        # Behind every range that is there.
        first=$(awk -F: 'BEGIN { n = 100000 } $2 + $3 > n { n = $2 + $3 } END { print n }' "$file" 2> /dev/null || echo 100000)
        echo "$user:$first:65536" | "${sudo[@]}" tee -a "$file" > /dev/null || return
    done
}

if [ "$(id -u)" -eq 0 ]; then
    e2e_as root
    if make_user; then
        e2e_as "$user" setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups
    else
        note "end to end as an ordinary user: the user \`$user\` could not be made"
    fi
else
    e2e_as "$(id -un)"
    if can_root; then
        e2e_as root "${sudo[@]}"
    else
        note "end to end as root: this is no root shell, and sudo asks for a password or is missing"
    fi
fi

say "result"
for text in "${notes[@]}"; do echo "NOT RUN: $text"; done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
