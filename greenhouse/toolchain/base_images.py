"""The two base images of edge/Dockerfile, under names that don't depend on their origin.

They are pulled if a registry answers at once. Otherwise they are made from Debian's own packages,
so that a machine without a registry still builds a real image. The made runtime has the packages of
the public runtime, even those that edge/Dockerfile removes again. So the resulting image is the
same, whatever the origin of its base.
"""

from __future__ import annotations

import hashlib
import os
import select
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from greenhouse.toolchain import cache, debian
from greenhouse.toolchain.commands import ToolchainFailed, log_file, run_logged
from greenhouse.toolchain.docker import Docker
from greenhouse.toolchain.progress import Progress
from infra.errors import told

RECIPE_LABEL = "edge-inference.recipe"
REGISTRY_SECONDS = 10.0  # For a registry's first answer. A pull that has begun gets more time.
PULL_SECONDS = 600.0
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"  # Debian has it here, and so has the build image.

_PYTHON = (
    "libc6 libgcc-s1 python3.11-minimal libpython3.11-minimal libpython3.11-stdlib libssl3"
    " libsqlite3-0 libffi8 zlib1g libexpat1 libbz2-1.0 liblzma5 libuuid1 libcrypt1 libstdc++6"
    " python3-distutils media-types"
)
# They are python3, on cc, on base. Source: python3/python.bzl and the files that it uses, 2026-11.
_DISTROLESS = (
    f"{_PYTHON} gcc-12-base libgomp1 base-files netbase tzdata libdb5.3 libncursesw6 libtinfo6"
    " libcom-err2 libgssapi-krb5-2 libk5crypto3 libkeyutils1 libkrb5-3 libkrb5support0 libnsl2"
    " libreadline8 libtirpc3"
)
_PIP_AND_SHELL = (
    "python3.11 python3-pip python3-setuptools python3-wheel python3-lib2to3 python3-pkg-resources"
    " dash coreutils libacl1 libattr1 libgmp10 libselinux1 libpcre2-8-0 findutils sed grep tar gzip"
)


@dataclass(frozen=True, kw_only=True)
class Base:
    """One image: where it can be pulled, and from what it can be made."""

    tag: str
    public: str
    packages: str
    # Whether it has this machine's CA bundle, because pip runs in it behind any proxy.
    trusts_machine: bool
    env: tuple[tuple[str, str], ...]

    def recipe(self) -> str:
        """It changes with everything that decides the content, except Debian's current versions."""
        text = b"".join(Path(str(module)).read_bytes() for module in (__file__, debian.__file__))
        if self.trusts_machine:
            text += ca_bundle().read_bytes()
        return hashlib.sha256(text).hexdigest()[:16]


BUILD = Base(
    tag="greenhouse/build:bookworm",
    public="docker.io/library/python:3.11-slim-bookworm",
    packages=f"{_PYTHON} {_PIP_AND_SHELL}",
    trusts_machine=True,
    env=(
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("LANG", "C.UTF-8"),
    ),
)
RUNTIME = Base(
    tag="greenhouse/runtime:bookworm",
    public="gcr.io/distroless/python3-debian12",
    packages=_DISTROLESS,
    trusts_machine=False,
    env=(("PATH", "/usr/bin"), ("LANG", "C.UTF-8")),
)

_FILES = {
    "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\n'
    'VERSION_ID="12"\nVERSION_CODENAME=bookworm\nID=debian\n',
    "etc/passwd": "root:x:0:0:root:/root:/sbin/nologin\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n"
    "nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\nnonroot:x:65532:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


def ca_bundle() -> Path:
    """The certificates that this machine trusts, including those of an intercepting proxy."""
    named = [os.environ.get(name) for name in ("PIP_CERT", "SSL_CERT_FILE")]
    for path in [*map(Path, filter(None, named)), Path(CA_BUNDLE)]:
        if path.is_file():
            return path
    raise ToolchainFailed(
        told(
            f"there is no CA bundle at {CA_BUNDLE}.",
            "pip needs it inside the image build. Install it, or name yours:",
            "sudo apt-get install ca-certificates",
            "export SSL_CERT_FILE=PATH",
        )
    )


def prepare_bases(docker: Docker, progress: Progress) -> None:
    """Provide both tags on the engine, made by this version of the recipe."""
    registry = True
    for base in (BUILD, RUNTIME):
        if _is_there(docker, base):
            continue
        registry = registry and _pull(docker, base, progress)
        if not registry:
            _make(docker, base, progress)


def _is_there(docker: Docker, base: Base) -> bool:
    label = f'{{{{index .Config.Labels "{RECIPE_LABEL}"}}}}'
    return docker.ask("image", "inspect", "--format", label, base.tag) == base.recipe()


def _pull(docker: Docker, base: Base, progress: Progress) -> bool:
    """Pull the public image and adapt it under our tag. False if no registry answers in time."""
    log = log_file("bases")
    with progress.step(f"pulling {base.public}, if a registry answers"):
        pulled = _pulled(docker.argv("pull", base.public), {**os.environ, **docker.env}, log)
    if not pulled:
        progress.note(f"not to be had here (why: {log})")
        return False
    with _scratch() as context:
        lines = [f"FROM {base.public}"]
        if base.trusts_machine:
            shutil.copyfile(ca_bundle(), context / "ca-certificates.crt")
            lines.append(f"COPY ca-certificates.crt {CA_BUNDLE}")
        lines += _instructions(base)
        (context / "Dockerfile").write_text("\n".join(lines) + "\n")
        run_logged(docker.argv("build", "--tag", base.tag, str(context)), log=log, env=docker.env)
    return True


def _pulled(argv: Sequence[str], env: Mapping[str, str], log: Path) -> bool:
    with (
        log.open("a") as errors,
        subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=errors) as pulling,
    ):
        # The first line comes with the registry's first answer.
        answered, _, _ = select.select([pulling.stdout], [], [], REGISTRY_SECONDS)
        try:
            pulling.communicate(timeout=PULL_SECONDS if answered else 0)
        except subprocess.TimeoutExpired:
            pulling.kill()
    return pulling.returncode == 0


def _make(docker: Docker, base: Base, progress: Progress) -> None:
    """Load the root made of Debian's packages. It is made once for each user and recipe."""
    name = base.tag.partition("/")[2].replace(":", "-")
    made = cache.folder() / "bases" / f"{name}-{base.recipe()}"

    def make(draft: Path) -> None:
        with progress.step(f"base image {base.tag} from Debian's packages (no registry answers)"):
            root_archive(base, draft)

    cache.made_once(made, make, waiting=lambda: progress.note(f"another process makes {base.tag}"))
    with progress.step(f"loading {base.tag} into the Docker engine"):
        changes = [part for line in _instructions(base) for part in ("--change", line)]
        run_logged(
            docker.argv("import", *changes, str(made / "root.tar"), base.tag),
            log=log_file("bases"),
            env=docker.env,
        )


def root_archive(base: Base, folder: Path) -> None:
    """Make `root.tar` of the packages, for the machine's architecture or the given one."""
    log = log_file("bases")
    with _scratch() as scratch:
        root = scratch / "root"
        root.mkdir()
        debian.unpack(debian.download(base.packages.split(), scratch, log=log), root)
        # Public Python images let pip install as well.
        (root / "usr/lib/python3.11/EXTERNALLY-MANAGED").unlink(missing_ok=True)
        for name, text in _FILES.items():
            (root / name).write_text(text)
        for name in ("python3", "python"):
            (root / "usr/bin" / name).symlink_to("python3.11")
        (root / "tmp").mkdir(exist_ok=True)
        if base.trusts_machine:
            (root / CA_BUNDLE.lstrip("/")).parent.mkdir(parents=True)
            shutil.copyfile(ca_bundle(), root / CA_BUNDLE.lstrip("/"))
        debian.pack(root, folder / "root.tar")


def _instructions(base: Base) -> list[str]:
    """What a Dockerfile would say on top of the files."""
    trust = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE") if base.trusts_machine else ()
    env = [*base.env, *((name, CA_BUNDLE) for name in trust)]
    return [
        *(f"ENV {name}={value}" for name, value in env),
        f"LABEL {RECIPE_LABEL}={base.recipe()}",
    ]


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="edge-inference-") as folder:
        yield Path(folder)
