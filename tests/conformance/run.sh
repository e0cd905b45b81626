#!/bin/sh
# Prints how our command lines differ from the outside referee's: run.sh [NAME-PATTERN]
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
out=$(mktemp --suffix=.mjs)
trap 'rm -f "$out"' EXIT
"$root/node_modules/.bin/esbuild" "$root/tests/conformance/report.ts" --bundle --platform=node --format=esm --target=node20 \
  --banner:js="import{createRequire}from'node:module';const require=createRequire(import.meta.url);" \
  --external:koffi --log-level=error --outfile="$out" --sourcemap=inline \
  --define:import.meta.url="\"file://$root/tests/conformance/report.ts\""
node --enable-source-maps "$out" "$@"
