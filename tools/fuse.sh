#!/usr/bin/env bash
# Prints 1 where a file system can be mounted, which makes the tests that mount one
# fail when they cannot; elsewhere it prints nothing, and says on stderr, where
# nobody overlooks it, that they are skipped.
set -euo pipefail
why=
if ! (exec 9<>/dev/fuse) 2>/dev/null; then
  why='/dev/fuse cannot be opened'
elif [ "$(id -u)" != 0 ]; then
  command -v fusermount3 >/dev/null || why='this is not root, and there is no fusermount3'
elif ! unshare -m true 2>/dev/null; then
  why='this root may not mount'
fi
if [ -z "$why" ]; then
  echo 1
else
  echo "$1: THE TESTS OF modelreg mount ARE SKIPPED: $why" >&2
fi
