#!/bin/sh
# Makes a folder's content the same in every build: one time, one mode, and compiled modules without
# times. So the same sources give the same layer.
set -eu
python3 -m compileall -q --invalidation-mode unchecked-hash -s "$1" "$1/app"
find "$1" -type d -exec chmod 755 {} + -o -exec chmod 644 {} +
find "$1" -exec touch --no-dereference --date=@0 {} +
