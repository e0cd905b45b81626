#!/bin/sh
# usage: without PROGRAM COMMAND...
# Runs COMMAND where nobody can execute PROGRAM.
export WITHOUT="$(command -v "$1")"
shift
exec /usr/bin/unshare --mount sh -c 'mount --bind /dev/null "$WITHOUT" && exec "$@"' sh "$@"
