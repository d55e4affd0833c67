"""Cut a shared library down to what the loader maps, for whatever architecture it is.

awscrt ships with its debug information, half of its size, and no strip for a foreign architecture
comes with pip. The loader reads program headers only: section headers, symbol tables for debuggers
and debug sections lie behind the last loaded byte and go.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path


def stripped(library: bytes) -> bytes:
    """The library without what no segment loads; raises ValueError where it isn't 64-bit ELF."""
    if library[:6] != b"\x7fELF\x02\x01":
        raise ValueError("expected a little-endian 64-bit ELF file")
    first, size, count = (
        *struct.unpack_from("<Q", library, 32),
        *struct.unpack_from("<HH", library, 54),
    )
    headers = [struct.unpack_from("<IIQQQQ", library, first + at * size) for at in range(count)]
    end = max(offset + length for _, _, offset, _, _, length in headers)
    kept = bytearray(library[:end])
    struct.pack_into("<Q", kept, 40, 0)  # e_shoff: no section headers …
    struct.pack_into("<HH", kept, 60, 0, 0)  # … e_shnum, e_shstrndx: and none to count or name
    return bytes(kept)


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_bytes(stripped(path.read_bytes()))
