#!/usr/bin/env bash
# Meets the project as a new user does: a minimal Debian root with nothing but Node, a clean clone in it, and `./dev COMMAND` there.
# Needs root, mmdebstrap and git; works in a mount namespace of its own, and removes everything it made.
# usage: tools/check-minimal-root.sh [--keep] [COMMAND…]     default commands: demo test
set -euo pipefail

SUITE=bookworm
REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
keep=

main() {
  if [ "${1:-}" = --keep ]; then
    keep=1
    shift
  fi
  [ "$(id -u)" -eq 0 ] || die 'run it as root: it makes a root file system'
  if [ -z "${IN_OWN_NAMESPACE:-}" ]; then
    need mmdebstrap git unshare node
    # Mounts made here are seen by nobody else, and are gone with the last process.
    IN_OWN_NAMESPACE=1 exec unshare --mount --propagation private -- "$0" ${keep:+--keep} "$@"
  fi
  [ $# -gt 0 ] || set -- demo test
  root=$(mktemp -d --tmpdir minimal-root.XXXXXX)
  trap cleanup EXIT
  make_root
  local command status=0
  for command in "$@"; do
    say "./dev $command"
    in_root "cd /root/nestling && exec ./dev $command" || { status=$?; say "./dev $command: status $status"; break; }
  done
  return "$status"
}

make_root() {
  say "a minimal $SUITE in $root"
  mmdebstrap --quiet --variant=minbase --include=ca-certificates "$SUITE" "$root" "${SOURCES[@]}"
  install_node
  git -c advice.detachedHead=false clone --quiet --no-hardlinks "$REPOSITORY" "$root/root/nestling"
  copy_settings
  mount -t proc proc "$root/proc"
  mount --rbind /dev "$root/dev"
  mount --rbind /sys "$root/sys"
  mount -t tmpfs tmpfs "$root/run"
}

# The machine's own package sources, whichever of the two formats they are in.
SOURCES=()
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources}; do
  if [ -s "$file" ]; then SOURCES+=("$file"); fi
done

# Node and npm as they are here.
install_node() {
  local prefix
  prefix=$(dirname "$(dirname "$(readlink -f "$(command -v node)")")")
  mkdir -p "$root/usr/local/bin" "$root/usr/local/lib/node_modules"
  cp "$prefix/bin/node" "$root/usr/local/bin/"
  cp -a "$prefix/lib/node_modules/npm" "$root/usr/local/lib/node_modules/"
  ln -s ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/local/bin/npm"
  ln -s ../lib/node_modules/npm/bin/npx-cli.js "$root/usr/local/bin/npx"
}

# How this machine reaches the network is no part of what is checked. Only settings that everybody may read: no passwords.
copy_settings() {
  local file
  for file in /etc/resolv.conf /etc/hosts /etc/npmrc /usr/local/etc/npmrc /etc/apt/apt.conf.d /usr/local/share/ca-certificates; do
    [ -e "$file" ] || continue
    mkdir -p "$root$(dirname "$file")"
    cp -aLT "$file" "$root$file"
  done
  chroot "$root" update-ca-certificates >"$root/tmp/certificates.log" 2>&1 || say 'certificates: not updated'
}

in_root() {
  local name environment=(HOME=/root USER=root LANG=C.UTF-8 TERM="${TERM:-dumb}" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
  for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY NODE_EXTRA_CA_CERTS npm_config_registry CI; do
    if [ -n "${!name:-}" ]; then environment+=("$name=${!name}"); fi
  done
  if [ -f "${NODE_EXTRA_CA_CERTS:-}" ]; then
    mkdir -p "$root$(dirname "$NODE_EXTRA_CA_CERTS")"
    cp -L "$NODE_EXTRA_CA_CERTS" "$root$NODE_EXTRA_CA_CERTS"
  fi
  chroot "$root" env -i "${environment[@]}" /bin/bash -c "$1"
}

cleanup() {
  # Only what was mounted here, deepest first; the namespace is ours, so nothing of the host's goes.
  local point
  while read -r _ point _; do
    case $point in "$root"/*) umount --lazy -- "$point" ;; esac
  done < <(tac /proc/self/mounts)
  if grep -q " $root/" /proc/self/mounts; then
    say "$root: still has mounts, not removed"
  elif [ -n "$keep" ]; then
    say "kept: $root"
  else
    rm -rf --one-file-system -- "$root"
  fi
}

need() {
  local program
  for program in "$@"; do
    command -v "$program" >/dev/null || die "$program not found"
  done
}

say() {
  printf 'check-minimal-root: %s\n' "$*" >&2
}

die() {
  say "$*"
  exit 1
}

main "$@"
