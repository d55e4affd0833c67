#!/bin/sh
# Removes from the Python base around this file what the container doesn't need: documentation,
# modules that a service without network and terminal never imports, and libraries of only those.
# The rest of the standard library is compiled, without checks against its sources. Debian ships no
# compiled modules, and a read-only container can't store any. A process that imports the IPC client
# then peaks at 21 MB instead of 35 (2026-11-23).
# A redistributed image needs its packages' licences, so they are kept. A package without remaining
# files loses its entry, because scanners and the bill of materials read the entries.
set -eu
cd "$(dirname "$0")"
rm slim.sh
library=usr/lib/python3.11
if [ -n "$(ls -A)" ] && [ ! -d $library ]; then
  echo "RUNTIME_IMAGE has no $library; the container needs Debian 12's own Python, as" \
    "gcr.io/distroless/python3-debian12 has it" >&2
  exit 1
fi

rm -rf usr/share/man usr/share/locale usr/share/info usr/share/lintian usr/share/bug \
  usr/share/doc-base usr/share/pixmaps usr/share/applications usr/share/binfmts usr/share/zoneinfo \
  usr/share/python3 usr/lib/python3 usr/sbin/* \
  usr/lib/ssl etc/ssl etc/ld.so.cache etc/ethertypes etc/mime.types etc/protocols etc/rpc etc/services \
  usr/lib/*-linux-gnu/gconv usr/lib/*-linux-gnu/audit \
  usr/lib/*-linux-gnu/engines-3 usr/lib/*-linux-gnu/ossl-modules usr/lib/*-linux-gnu/krb5

for name in __phello__ _pydecimal.py _pyio.py antigravity.py cgi.py cgitb.py curses dbm distutils \
  doctest.py ensurepip ftplib.py html idlelib imaplib.py lib2to3 mailbox.py multiprocessing \
  nntplib.py optparse.py pdb.py pickletools.py poplib.py pydoc.py pydoc_data smtpd.py smtplib.py \
  sqlite3 tarfile.py telnetlib.py test this.py tkinter turtle.py turtledemo unittest venv wsgiref \
  xml xmlrpc 'encodings/big5*' 'encodings/cp[1-35-9]*' 'encodings/cp42*' 'encodings/euc_*' \
  'encodings/gb*' 'encodings/iso*' 'encodings/koi8*' 'encodings/mac_*' 'encodings/shift_jis*'; do
  rm -rf $library/$name
done
for name in _codecs_ _ctypes_test _curses _dbm _hashlib _sqlite3 _ssl _test _tkinter _xx audioop nis \
  ossaudiodev readline xx; do
  rm -f $library/lib-dynload/"$name"*
done
for name in com_err crypto curses db- form gomp gssapi history k5crypto keyutils krb5 menu ncurses nsl \
  panel readline sqlite3 ssl tic tinfo tirpc; do
  rm -f lib/*-linux-gnu/lib"$name"* usr/lib/*-linux-gnu/lib"$name"*
done

docs=usr/share/doc
[ ! -d $docs ] || find $docs -type f ! -name copyright -delete
for entry in var/lib/dpkg/status.d/*.md5sums; do
  [ -f "$entry" ] || continue
  package=$(basename "$entry" .md5sums)
  # a link in the documentation leads to a package with a licence that several share
  stays=$(find $docs -lname "$package")
  for path in $(cut -c 35- "$entry" | grep -v "^$docs/"); do
    [ -z "$stays" ] || break
    [ ! -e "$path" ] || stays=$path
  done
  [ -n "$stays" ] || rm -rf "$entry" "${entry%.md5sums}" "${docs:?}/$package"
done
[ ! -d $docs ] || find $docs -type d -empty -delete

[ ! -d $library ] || python3 -m compileall -qq --invalidation-mode unchecked-hash -s . $library
find . -exec touch --no-dereference --date=@0 {} +
