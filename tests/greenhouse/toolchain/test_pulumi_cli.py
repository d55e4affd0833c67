"""Which Pulumi CLI is chosen: the machine's, else Pulumi's archive, else a compiled one."""

from __future__ import annotations

import errno
import hashlib
import shutil
import tarfile
from pathlib import Path

import pytest

from greenhouse.toolchain import ToolchainFailed, cache, pulumi_cli
from tests.greenhouse.toolchain.machine import Machine

# It writes what `go build -o FOLDER/ PACKAGE` would, and the SDK's folder for `go list`.
GO = """
for argument in "$@"; do
  case "$argument" in -o=*) out="${{argument#-o=}}" ;; esac
  last="$argument"
done
case "$*" in
  version) echo go version go1.25.11 linux/amd64 ;;
  *list*) echo {sdk} ;;
  *) out="$out/${{last##*/}}"; printf '#!/bin/sh\\necho v{version}\\n' > "$out"; chmod +x "$out" ;;
esac
"""


@pytest.fixture(autouse=True)
def out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No download, unless a test says otherwise."""
    monkeypatch.setattr(pulumi_cli, "CHECKSUMS", (tmp_path / "absent.txt").as_uri())


@pytest.fixture
def go(machine: Machine, tmp_path: Path) -> Path:
    sdk = tmp_path / "sdk"
    for script in ("cmd/pulumi-language-python-exec", "dist/pulumi-resource-pulumi-python"):
        path = sdk / "python" / script
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
    return machine.tool("go", GO.format(sdk=sdk, version=pulumi_cli.PINNED))


def published(monkeypatch: pytest.MonkeyPatch, folder: Path, *, checksum: str = "") -> None:
    """Put an archive and its checksums where the download looks for them."""
    content = folder / "content"
    content.mkdir()
    for name in ("pulumi", "pulumi-language-python"):
        (content / name).write_text("#!/bin/sh\n")
        (content / name).chmod(0o755)
    archive = folder / "pulumi-linux.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(content, "pulumi")
    right = hashlib.sha256(archive.read_bytes()).hexdigest()
    sums = folder / "checksums.txt"
    sums.write_text(f"00  another.tar.gz\n{checksum or right}  {archive.name}\n")
    monkeypatch.setattr(pulumi_cli, "ARCHIVE", archive.as_uri())
    monkeypatch.setattr(pulumi_cli, "CHECKSUMS", sums.as_uri())


@pytest.mark.parametrize("said", ["v3.238.0", "v3.272.1", "v4.0.0", "3.300.0-dev.1"])
def test_the_machines_own_cli_is_taken_when_it_is_new_enough(machine: Machine, said: str) -> None:
    machine.tool("pulumi", f"echo {said}")
    machine.tool("pulumi-language-python", "")
    found = pulumi_cli.prepare_pulumi(machine.progress)
    assert (found.folder, found.version) == (machine.bin, said.removeprefix("v"))
    assert (cache.bin_folder() / "pulumi").resolve() == machine.bin / "pulumi"


@pytest.mark.usefixtures("go")
@pytest.mark.parametrize("said", ["v3.237.9", "v1.0.0", "unknown", "v3.238.0-rc.1"])
def test_an_older_or_unstamped_cli_is_passed_over_with_the_reason(
    machine: Machine, said: str
) -> None:
    machine.tool("pulumi", f"echo {said}")
    machine.tool("pulumi-language-python", "")
    assert pulumi_cli.prepare_pulumi(machine.progress).folder != machine.bin
    assert "3.238.0 or newer is needed" in machine.said()


@pytest.mark.usefixtures("go")
def test_a_cli_that_can_not_run_python_is_passed_over(machine: Machine) -> None:
    machine.tool("pulumi", "echo v3.272.0")
    assert pulumi_cli.prepare_pulumi(machine.progress).folder != machine.bin
    assert "has no pulumi-language-python" in machine.said()


@pytest.mark.usefixtures("go")
def test_pulumis_own_archive_is_better_than_compiling(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    published(monkeypatch, tmp_path)
    found = pulumi_cli.prepare_pulumi(machine.progress)
    assert found.origin.startswith("official archive")
    assert sorted(path.name for path in found.folder.iterdir()) == [
        "pulumi",
        "pulumi-language-python",
    ], "the archive itself is not kept"
    assert machine.calls("go") == []


@pytest.mark.usefixtures("go")
def test_an_archive_with_another_checksum_is_not_used(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    published(monkeypatch, tmp_path, checksum="ab" * 32)
    with pytest.raises(ToolchainFailed, match=f"says {'ab' * 32}: not used"):
        pulumi_cli.prepare_pulumi(machine.progress)
    assert list((cache.folder() / "pulumi").iterdir()) == []
    assert machine.calls("go") == [], "a tampered download is a person's to look at"


@pytest.mark.usefixtures("go")
def test_the_pinned_modules_are_compiled_if_no_download_can_be_had(machine: Machine) -> None:
    found = pulumi_cli.prepare_pulumi(machine.progress)
    assert found.origin.startswith("compiled")
    linked = {path.name: path.resolve() for path in cache.bin_folder().iterdir()}
    assert set(linked) == {"pulumi", pulumi_cli.HOST, *pulumi_cli.SCRIPTS}
    assert all(path.stat().st_mode & 0o100 for path in linked.values()), "they are executed"
    assert {path.parent for path in linked.values()} == {found.folder}, (
        "the host looks for its exec script beside itself"
    )
    cli = next(call for call in machine.calls("go build") if pulumi_cli.CLI_PACKAGE in call)
    assert f"Version=v{pulumi_cli.PINNED}" in cli, (
        "unstamped, requiredPulumiVersion is not looked at"
    )
    assert "6 minutes" in machine.said(), "a person has to know why this takes long"


@pytest.mark.usefixtures("go")
def test_a_second_checkout_compiles_nothing(machine: Machine) -> None:
    first = pulumi_cli.prepare_pulumi(machine.progress)
    machine.without("go")
    second = pulumi_cli.prepare_pulumi(machine.progress)
    assert second.folder == first.folder


@pytest.mark.usefixtures("go")
def test_changed_pins_are_compiled_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = pulumi_cli.prepare_pulumi(machine.progress)
    changed = tmp_path / "module"
    changed.mkdir()
    (changed / "go.sum").write_text("another h1:sum=\n")
    monkeypatch.setattr(pulumi_cli, "HOST_MODULE", changed)
    assert pulumi_cli.prepare_pulumi(machine.progress).folder != first.folder


def test_a_compilation_that_failed_names_its_log_and_is_done_again(
    machine: Machine, go: Path
) -> None:
    works = go.read_text()
    machine.tool(
        "go", works.replace("*) out=", "*) echo no space left on device >&2; exit 1; out=")
    )
    with pytest.raises(ToolchainFailed, match=r"(?s)no space left.*pulumi\.log"):
        pulumi_cli.prepare_pulumi(machine.progress)
    go.write_text(works)
    assert pulumi_cli.prepare_pulumi(machine.progress).origin.startswith("compiled")


def test_without_go_a_person_is_told_both_ways_out(machine: Machine) -> None:
    with pytest.raises(ToolchainFailed, match=r"Install Pulumi \(https.*or Go"):
        pulumi_cli.prepare_pulumi(machine.progress)


@pytest.mark.parametrize("said", ["go version go1.19.8 linux/amd64", "go version devel", ""])
def test_a_go_that_can_not_compile_the_cli_is_refused_before_it_tries(
    machine: Machine, said: str
) -> None:
    machine.tool("go", f"echo {said}")
    with pytest.raises(ToolchainFailed, match=r"Install Pulumi \(https.*or Go 1\.25\.11"):
        pulumi_cli.prepare_pulumi(machine.progress)
    assert machine.calls("go") == ["go version"], "go's own words name a syntax error in go.mod"


def test_a_sdk_that_go_does_not_find_comes_with_what_to_ask_it(machine: Machine, go: Path) -> None:
    go.write_text(go.read_text().replace("*list*) echo", "*list*) exit 1; echo"))
    with pytest.raises(ToolchainFailed, match=r"go -C .* list -m"):
        pulumi_cli.prepare_pulumi(machine.progress)


@pytest.mark.usefixtures("go")
def test_a_full_disk_is_not_taken_for_a_download_out_of_reach(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    published(monkeypatch, tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(ToolchainFailed, match=r"(?s)No space left.*export XDG_CACHE_HOME"):
        pulumi_cli.prepare_pulumi(machine.progress)
    assert machine.calls("go") == [], "six minutes more, and 3 GB"


def test_the_pinned_version_is_the_one_that_the_modules_pin() -> None:
    pinned = (pulumi_cli.CLI_MODULE / "go.mod").read_text()
    assert f"{pulumi_cli.CLI_PACKAGE.removesuffix('/cmd/pulumi')} v{pulumi_cli.PINNED} " in pinned
    assert (pulumi_cli.version_of(pulumi_cli.PINNED) or pulumi_cli.MINIMUM) >= pulumi_cli.MINIMUM
