"""A root filesystem from Debian 12's own packages, made without root and without a registry.

apt gets a state of its own, so the machine's state is neither read nor changed. Any Debian-like
machine gets the same packages. Equal packages give equal bytes: order, times and owners are fixed.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

from greenhouse.toolchain.commands import ToolchainFailed, ask, run_logged
from infra.errors import told

EPOCH = 1_700_000_000  # The time of every file.

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SOURCES = f"""\
deb [signed-by={KEYRING}] http://deb.debian.org/debian bookworm main
deb [signed-by={KEYRING}] http://deb.debian.org/debian bookworm-updates main
deb [signed-by={KEYRING}] http://deb.debian.org/debian-security bookworm-security main
"""
_MERGED = ("bin", "sbin", "lib", "lib64")  # Debian 12: links into usr, which no package ships.


def download(packages: Sequence[str], folder: Path, *, log: Path) -> list[Path]:
    """Debian's current archives of exactly these packages, checked by apt's signatures."""
    if missing := [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]:
        raise ToolchainFailed(
            told(
                f"the base images can't be pulled, and {missing[0]} is missing to make them.",
                "Only a Debian-like machine can make them. Let the Docker engine reach a registry.",
            )
        )
    if not KEYRING.is_file():
        raise ToolchainFailed(
            told(
                f"Debian's packages can't be checked without {KEYRING}.",
                "Install the keyring:",
                "sudo apt-get install debian-archive-keyring",
            )
        )
    state, archives = folder / "apt", folder / "archives"
    for needed in (state / "lists/partial", state / "cache/archives/partial", archives):
        needed.mkdir(parents=True)
    (state / "sources.list").write_text(SOURCES)
    (state / "status").touch()
    apt = [
        "apt-get",
        f"-oDir::State={state}",
        f"-oDir::State::lists={state}/lists",
        f"-oDir::State::status={state}/status",
        f"-oDir::Cache={state}/cache",
        f"-oDir::Etc::sourcelist={state}/sources.list",
        "-oDir::Etc::sourceparts=-",
        "-oDir::Etc::preferencesparts=-",
        "-oAPT::Sandbox::User=",  # The folder may lie in a home that the user _apt can't enter.
        "-oAcquire::Languages=none",
        "-oAcquire::Retries=2",
        "-qq",
    ]
    run_logged([*apt, "update", "--error-on=any"], log=log)
    run_logged([*apt, "download", *packages], log=log, cwd=archives)
    return sorted(archives.iterdir())


def unpack(archives: Sequence[Path], root: Path) -> None:
    """Unpack their files below `root`, with the list of packages that scanners of images read.

    Both files of each are as in distroless images (GoogleContainerTools/distroless,
    PACKAGE_METADATA.md).
    """
    for name in _MERGED:
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    manifest = root / "var/lib/dpkg/status.d"
    manifest.mkdir(parents=True)
    for archive in archives:
        with (
            subprocess.Popen(
                ["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE
            ) as unpacking,
            tarfile.open(fileobj=unpacking.stdout, mode="r|") as files,
        ):
            files.extractall(root, filter="tar")
        if unpacking.returncode:
            raise ToolchainFailed(f"dpkg-deb can't read {archive}. The next run fetches it again.")
        name = archive.name.split("_")[0]
        (manifest / name).write_text(f"{ask('dpkg-deb', '--field', archive)}\n")
        # A package that has only links has none.
        sums = ask("dpkg-deb", "--info", archive, "md5sums")
        (manifest / f"{name}.md5sums").write_text(f"{sums}\n" if sums else "")


def pack(root: Path, target: Path) -> None:
    """Pack everything below `root` into one tar, without packer, time or place."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mtime, member.uid, member.gid = EPOCH, 0, 0
        member.uname = member.gname = ""
        if member.name == "tmp":
            member.mode = 0o1777
        elif not member.issym():
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
        return member

    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as packed:
        for path in sorted(root.rglob("*")):
            packed.add(path, str(path.relative_to(root)), recursive=False, filter=plain)
