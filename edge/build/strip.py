"""Removes a shared library's debug information: 11.6 MB of awscrt become 6.4.

The loader only needs the segments in the program headers. In this library everything else (debug
sections, symbol table, section headers) comes after them, so the file is cut there. That works for
any architecture on any machine. Zig's objcopy can't do it (0.17: "unimplemented"), and a build base
need not have binutils.
"""

import struct
import sys
from pathlib import Path

ELF_64_LITTLE = b"\x7fELF\x02\x01"
PHOFF, SHOFF, PHENTSIZE, SHNUM = 32, 40, 54, 60


def stripped(library: bytes) -> bytes:
    """The library up to the end of its last segment, without a section table."""
    if not library.startswith(ELF_64_LITTLE):
        raise ValueError("not a 64-bit little-endian ELF file")
    (first,) = struct.unpack_from("<Q", library, PHOFF)
    size, count = struct.unpack_from("<HH", library, PHENTSIZE)
    ends = [first + count * size]
    for header in range(first, first + count * size, size):
        offset, _, _, length = struct.unpack_from("<4Q", library, header + 8)
        ends.append(offset + length)
    kept = bytearray(library[: max(ends)])
    struct.pack_into("<Q", kept, SHOFF, 0)
    # They are the sections' count, and the index of their names.
    struct.pack_into("<HH", kept, SHNUM, 0, 0)
    return bytes(kept)


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_bytes(stripped(path.read_bytes()))
