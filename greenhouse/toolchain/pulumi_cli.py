"""The Pulumi CLI with its Python language host: found, downloaded, or compiled.

A failing rollout has to fail the update. Older engines only warn, so there is a lowest version. If
Pulumi's own download is out of reach, the CLI is compiled from its Go module. Its language host is
now a module of its own, which no proxy serves any more. So the last release with the host inside
the SDK is used. It speaks the same protocol (preview, up, destroy: 2026-11-23).
"""

from __future__ import annotations

import hashlib
import http.client
import platform
import shlex
import shutil
import ssl
import tarfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import semver

from greenhouse.toolchain import cache
from greenhouse.toolchain.commands import ToolchainFailed, ask, go_build, log_file, require_go
from greenhouse.toolchain.progress import Progress
from infra.errors import told

MINIMUM = semver.Version(3, 238, 0)  # Since this version a failing after-hook fails the update.
PINNED = "3.276.0"
# https://github.com/pulumi/pulumi/releases: the archive and its checksums have different hosts.
ARCHIVE = f"https://get.pulumi.com/releases/sdk/pulumi-v{PINNED}-linux-{{machine}}.tar.gz"
CHECKSUMS = (
    f"https://github.com/pulumi/pulumi/releases/download/v{PINNED}/pulumi-{PINNED}-checksums.txt"
)
CONNECT_SECONDS = 5.0
STALL_SECONDS = 30.0
_OUT_OF_REACH = (  # An error that isn't among these comes from this machine, such as a full disk.
    urllib.error.URLError,
    http.client.HTTPException,
    ssl.SSLError,
    ConnectionError,
    TimeoutError,
)

CLI_MODULE = Path(__file__).with_name("pulumi-cli")
CLI_PACKAGE = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
HOST_MODULE = Path(__file__).with_name("pulumi-language-python")
HOST_PACKAGE = "github.com/pulumi/pulumi/sdk/v3/python/cmd/pulumi-language-python"
SDK_MODULE = "github.com/pulumi/pulumi/sdk/v3"
_TAGS, _BARE = ("-tags=osusergo,grpcnotrace",), "-ldflags=-s -w"
STAMP = "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version"

HOST = "pulumi-language-python"
# The host starts the first, the CLI the second. Both have to be beside their caller or on PATH.
SCRIPTS = ("pulumi-language-python-exec", "pulumi-resource-pulumi-python")
_SCRIPTS_IN_SDK = (
    "python/cmd/pulumi-language-python-exec",
    "python/dist/pulumi-resource-pulumi-python",
)


@dataclass(frozen=True, kw_only=True)
class Pulumi:
    """A CLI, and the folder of its parts."""

    folder: Path
    version: str
    origin: str


def prepare_pulumi(progress: Progress) -> Pulumi:
    """The machine's CLI, else the cached CLI, else a new one. Our folder gets a link to it."""
    try:
        found = _on_path(progress) or _cached() or _obtained(progress)
    except OSError as error:
        raise ToolchainFailed(
            told(
                f"the Pulumi CLI can't be put into {cache.folder()}: {error}.",
                "Make room there, or name another folder:",
                "export XDG_CACHE_HOME=PATH",
            )
        ) from error
    for name in ("pulumi", HOST, *SCRIPTS):
        if (found.folder / name).exists():
            cache.link(name, found.folder / name)
    return found


def version_of(said: str | None) -> semver.Version | None:
    """The output of `pulumi version`, such as v3.276.0. None without a version or an output."""
    try:
        return semver.Version.parse((said or "").removeprefix("v"))
    except ValueError:
        return None


def _on_path(progress: Progress) -> Pulumi | None:
    found = shutil.which("pulumi", path=cache.other_path())
    if found is None:
        return None
    executable = Path(found).resolve()
    version = version_of(ask(executable, "version", env={"PULUMI_SKIP_UPDATE_CHECK": "true"}))
    if version is None or version < MINIMUM:
        progress.note(f"{found} is {version or 'of unknown version'}; {MINIMUM} or newer is needed")
        return None
    if not (executable.parent / HOST).exists():
        progress.note(f"{found} has no {HOST} beside it, which runs Python programs")
        return None
    return Pulumi(folder=executable.parent, version=str(version), origin=f"PATH ({found})")


def _official() -> Path:
    return cache.folder() / "pulumi" / f"v{PINNED}-official"


def _compiled() -> Path:
    """The key is what the modules pin, so that a changed pin is compiled again."""
    sums = b"".join((module / "go.sum").read_bytes() for module in (CLI_MODULE, HOST_MODULE))
    return cache.folder() / "pulumi" / f"v{PINNED}-{hashlib.sha256(sums).hexdigest()[:12]}"


def _cached() -> Pulumi | None:
    for folder, origin in ((_official(), "official archive"), (_compiled(), "compiled")):
        if folder.is_dir():
            return Pulumi(folder=folder, version=PINNED, origin=f"{origin}, cached ({folder})")
    return None


def _obtained(progress: Progress) -> Pulumi:
    def waiting() -> None:
        progress.note("another process makes the Pulumi CLI; waiting for it")

    try:
        cache.made_once(_official(), lambda draft: _download(draft, progress), waiting=waiting)
    except _OUT_OF_REACH as error:
        progress.note(f"Pulumi's own download is out of reach ({error})")
        cache.made_once(_compiled(), lambda draft: _compile(draft, progress), waiting=waiting)
        return Pulumi(folder=_compiled(), version=PINNED, origin=f"compiled ({_compiled()})")
    return Pulumi(folder=_official(), version=PINNED, origin=f"official archive ({_official()})")


def _download(draft: Path, progress: Progress) -> None:
    """The official archive's executables. Raises one of _OUT_OF_REACH if it can't be had."""
    machine = platform.machine()
    archive = ARCHIVE.format(machine={"x86_64": "x64", "aarch64": "arm64"}.get(machine, machine))
    published = _published_checksum(archive.rpartition("/")[2])
    packed = draft / "archive.tar.gz"
    with (
        progress.step(f"downloading the Pulumi CLI {PINNED} (130 MB)"),
        urllib.request.urlopen(archive, timeout=STALL_SECONDS) as answer,  # noqa: S310  # constant
        packed.open("wb") as file,
    ):
        shutil.copyfileobj(answer, file)
    with packed.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    if checksum != published:
        raise ToolchainFailed(
            told(
                f"{archive} has sha256 {checksum}, but {CHECKSUMS} says {published}: not used.",
                "Try again. If it fails again, install Pulumi by hand and put it on PATH.",
            )
        )
    with tarfile.open(packed) as members:
        for member in members:
            member.name = Path(member.name).name  # All executables are below pulumi/.
            if member.isfile():
                members.extract(member, draft, filter="data")
    packed.unlink()


def _published_checksum(name: str) -> str:
    with urllib.request.urlopen(CHECKSUMS, timeout=CONNECT_SECONDS) as answer:  # noqa: S310  # constant
        for line in answer.read().decode().splitlines():
            checksum, _, listed = line.partition("  ")
            if listed == name:
                return str(checksum)
    raise urllib.error.URLError(f"{CHECKSUMS} doesn't name {name}")


def _compile(draft: Path, progress: Progress) -> None:
    """Compile CLI and host from the pinned modules. go checks each module against go.sum."""
    require_go(
        f"there is no Pulumi CLI {MINIMUM} or newer on PATH, its download is out of reach",
        instead="Pulumi (https://www.pulumi.com/docs/install/)",
    )
    log = log_file("pulumi")
    with progress.step(
        f"compiling the Pulumi CLI {PINNED}: 6 minutes on two cores, once per user and version"
        f" (go's output: {log})"
    ):
        go_build(CLI_MODULE, CLI_PACKAGE, draft, *_TAGS, f"{_BARE} -X {STAMP}=v{PINNED}", log=log)
    with progress.step("compiling its Python language host: half a minute"):
        go_build(HOST_MODULE, HOST_PACKAGE, draft, *_TAGS, _BARE, log=log)
    asked = ("go", "-C", str(CLI_MODULE), "list", "-m", "-f", "{{.Dir}}", SDK_MODULE)
    sdk = ask(*asked)
    if not sdk:
        raise ToolchainFailed(
            told(
                "go doesn't say where the SDK's scripts are.",
                "See what it says:",
                shlex.join(asked),
            )
        )
    for script in _SCRIPTS_IN_SDK:
        target = draft / Path(script).name
        shutil.copyfile(Path(sdk, script), target)
        target.chmod(0o755)
