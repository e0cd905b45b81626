#!/usr/bin/env bash
# The demo (`./dev demo`): a Linux guest from domain XML, as a child of this script, its serial console live, and at the end
# a timeline of the run. On a terminal it gives a shell in the guest (`poweroff` ends it); without one, or with a command as
# argument, the guest runs that and powers off.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

if [ $# -gt 0 ]; then
  command="$*; poweroff"
elif [ -t 0 ] && [ -t 1 ]; then
  command=
else
  command='uname -sr; cat /proc/uptime; mke2fs /dev/vda > /dev/null; mount /dev/vda /mnt; df -h /mnt; poweroff'
fi

mkdir -p .cache/demo
# The guests' builder finds the repository by its own place, which a bundle would move: so the place is told to it.
node_modules/.bin/esbuild demo/prepare.ts --bundle --platform=node --format=esm --packages=external --log-level=warning \
  --define:import.meta.url="'file://$PWD/tests/support/guests/linux-guest.ts'" --outfile=.cache/demo/prepare.mjs
xml=$(node .cache/demo/prepare.mjs demo/guest.xml .cache/demo "$command")

{
  echo "demo: dist/cli.cjs run --console --timeline ${xml#"$PWD/"}"
  [ -n "$command" ] || echo "demo: 'poweroff' ends the guest; Ctrl-] leaves its console"
} >&2
exec dist/cli.cjs run --console --timeline "$xml"
