"""The base images: pulled if a registry answers, else made. Equal files give equal bytes."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from greenhouse import toolchain
from greenhouse.toolchain import base_images, debian
from greenhouse.toolchain.docker import Docker
from tests.greenhouse.toolchain.machine import Machine

# An engine that holds the tags it was given: one file for each tag, with the recipe's label.
DOCKER = """
holds() {{ echo {images}/$(echo "$1" | tr /: __); }}
for last in "$@"; do :; done
case "$1" in
  image) cat "$(holds "$last")" ;;
  pull) {pull} ;;
  build) cp "$last/Dockerfile" {images}/Dockerfile; ls "$last" > {images}/context
         sed -n 's/^LABEL .*=//p' "$last/Dockerfile" > "$(holds "$3")" ;;
  import) for word in "$@"; do
            case "$word" in LABEL*) echo "${{word#*=}}" > "$(holds "$last")" ;; esac
          done ;;
esac
"""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    bundle = tmp_path / "bundle.crt"
    bundle.write_text("the company's proxy\n")
    monkeypatch.setenv("PIP_CERT", str(bundle))
    return bundle


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Tags that were made of packages. Really making them needs the network."""
    tags: list[str] = []

    def make(base: base_images.Base, draft: Path) -> None:
        tags.append(base.tag)
        (draft / "root.tar").touch()

    monkeypatch.setattr(base_images, "root_archive", make)
    return tags


def engine(machine: Machine, images: Path, *, pull: str) -> Docker:
    client = machine.tool("docker", DOCKER.format(images=images, pull=pull))
    return Docker(
        client=client, client_version="20.10", engine_version="20.10", host=None, ours=False
    )


def test_a_registry_that_answers_gives_the_public_images(
    machine: Machine, images: Path, made: list[str]
) -> None:
    docker = engine(machine, images, pull="echo Pulling from library/python")
    base_images.prepare_bases(docker, machine.progress)
    assert made == []
    pulled = [call.split()[-1] for call in machine.calls("docker pull")]
    assert pulled == [base_images.BUILD.public, base_images.RUNTIME.public]


@pytest.mark.usefixtures("made")
def test_the_pulled_build_image_trusts_what_the_machine_trusts(
    machine: Machine, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_images, "RUNTIME", base_images.BUILD)
    base_images.prepare_bases(engine(machine, images, pull="echo Pulling"), machine.progress)
    dockerfile = (images / "Dockerfile").read_text()
    assert f"ENV PIP_CERT={base_images.CA_BUNDLE}" in dockerfile
    assert "ca-certificates.crt" in (images / "context").read_text(), (
        "behind an intercepting proxy pip would fail inside the build"
    )


def test_both_bases_are_made_if_no_registry_answers_and_it_is_asked_once(
    machine: Machine, images: Path, made: list[str]
) -> None:
    docker = engine(machine, images, pull="echo no such host >&2; exit 1")
    base_images.prepare_bases(docker, machine.progress)
    assert made == [base_images.BUILD.tag, base_images.RUNTIME.tag]
    assert len(machine.calls("docker pull")) == 1, "each try costs up to ten seconds"


def test_a_silent_registry_is_given_up(
    machine: Machine, images: Path, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_images, "REGISTRY_SECONDS", 0.05)
    base_images.prepare_bases(engine(machine, images, pull="exec sleep 600"), machine.progress)
    assert made == [base_images.BUILD.tag, base_images.RUNTIME.tag]


@pytest.mark.usefixtures("made")
def test_a_base_that_the_engine_has_is_neither_pulled_nor_made_again(
    machine: Machine, images: Path
) -> None:
    docker = engine(machine, images, pull="exit 1")
    base_images.prepare_bases(docker, machine.progress)
    before = len(machine.calls())
    base_images.prepare_bases(docker, machine.progress)
    asked = {call.split()[1] for call in machine.calls()[before:]}
    assert asked == {"image"}, "an unchanged second run only looks"


def test_another_engine_of_this_user_loads_what_was_made(
    machine: Machine, images: Path, made: list[str]
) -> None:
    docker = engine(machine, images, pull="exit 1")
    base_images.prepare_bases(docker, machine.progress)
    for path in images.iterdir():
        path.unlink()
    base_images.prepare_bases(docker, machine.progress)
    assert made == [base_images.BUILD.tag, base_images.RUNTIME.tag], "made once, loaded twice"


def test_a_changed_ca_bundle_changes_the_build_image_alone(trusted: Path) -> None:
    before = base_images.BUILD.recipe(), base_images.RUNTIME.recipe()
    trusted.write_text("another proxy\n")
    after = base_images.BUILD.recipe(), base_images.RUNTIME.recipe()
    assert after[0] != before[0], "pip would go on with certificates that no longer hold"
    assert after[1] == before[1], "nothing of the runtime speaks TLS"


def test_a_machine_without_a_ca_bundle_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_CERT", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(base_images, "CA_BUNDLE", "/nowhere.crt")
    with pytest.raises(toolchain.ToolchainFailed, match="apt-get install ca-certificates"):
        base_images.ca_bundle()


def test_a_machine_without_apt_is_told_to_reach_a_registry(tmp_path: Path) -> None:
    with pytest.raises(toolchain.ToolchainFailed, match=r"(?s)apt-get is missing.*a registry"):
        debian.download(["dash"], tmp_path, log=tmp_path / "log")


def test_the_same_files_give_the_same_bytes_to_any_packer(tmp_path: Path) -> None:
    packed = []
    for order, mask in ((("b", "a"), 0o022), (("a", "b"), 0o077)):
        before = os.umask(mask)
        root = tmp_path / oct(mask)
        (root / "tmp").mkdir(parents=True)
        for name in order:
            (root / name).write_text(name)
            os.utime(root / name, (mask, mask))
        (root / "link").symlink_to("a")
        os.umask(before)
        debian.pack(root, tmp_path / "root.tar")
        packed.append(hashlib.sha256((tmp_path / "root.tar").read_bytes()).hexdigest())
    assert packed[0] == packed[1], "another digest is another image, and so another release"


@pytest.mark.docker
def test_the_runtime_runs_python_and_nothing_else(tools: toolchain.Toolchain) -> None:
    python = "import os, ssl; print(ssl.OPENSSL_VERSION.split()[0], os.path.exists('/bin/sh'))"
    run = ["run", "--rm", "--network=none", "--read-only", "--user=65532:65532"]
    said = tools.docker.ask(*run, base_images.RUNTIME.tag, "/usr/bin/python3", "-c", python)
    assert said == "OpenSSL False", "as the public one: all of Python, no shell"


@pytest.mark.docker
def test_the_build_image_installs_from_pypi(tools: toolchain.Toolchain) -> None:
    done = subprocess.run(
        tools.docker.argv(
            *("run", "--rm", base_images.BUILD.tag, "/bin/sh", "-c"),
            "pip download --quiet --no-deps --dest /tmp six==1.17.0 && ls /tmp/six*",
        ),
        env=tools.docker.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
