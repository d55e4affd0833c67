#!/bin/sh
# Make a folder's content the same whenever it is built: one time, one mode, modules compiled
# without theirs. Same sources, same layer.
set -eu
python3 -m compileall -q --invalidation-mode unchecked-hash -s "$1" "$1/app"
find "$1" -type d -exec chmod 755 {} + -o -exec chmod 644 {} +
find "$1" -exec touch --no-dereference --date=@0 {} +
