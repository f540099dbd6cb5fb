#!/usr/bin/env bash
# Installs the Debian packages named as arguments that are missing; says so and fails if it cannot. A name that ends
# in `?` is left out where the release has no such package.
set -euo pipefail
missing=()
for package in "$@"; do
    if [ "${package%\?}" != "$package" ]; then
        package=${package%\?}
        apt-cache show "$package" > /dev/null 2>&1 || continue
    fi
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
echo "installing: ${missing[*]}" >&2
sudo=$([ "$(id -u)" -eq 0 ] || echo sudo)
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -q >&2
$sudo apt-get install -y -q --no-install-recommends "${missing[@]}" >&2
