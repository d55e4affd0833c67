"""amd64 and arm64 answer with the same bits: each architecture's image, its own Python and C.

The arm64 image runs in QEMU, which emulates the processor's instructions one by one.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from greenhouse.toolchain.commands import ToolchainFailed, install
from tests.edge import answering
from tests.edge.compiling import compiled
from tests.edge.kinds import KINDS, booster
from tests.edge.rows import hard_rows
from tests.edge.runtime.test_image import build, docker
from tests.edge.test_older_versions import VERSIONS, archive, numbers
from tests.edge.texts import texts
from tests.missing import missing

pytestmark = [pytest.mark.docker, pytest.mark.matrix]

TEXTS = 5_000
EXACT = [name for name, kind in KINDS.items() if kind.exact]


@pytest.fixture(scope="module")
def qemu() -> Path:
    """An arm64 processor, statically linked.

    It is installed if it is missing and may be installed.
    """
    if shutil.which("qemu-aarch64-static") is None:
        if os.geteuid():
            missing("no QEMU here, and only root installs it: apt-get install qemu-user-static")
        try:
            install("qemu-user-static")
        except ToolchainFailed as error:
            missing(f"QEMU can't be installed: {error}")
    return Path(str(shutil.which("qemu-aarch64-static")))


@pytest.fixture(scope="module")
def built(foreign: str) -> Iterator[dict[str, str]]:
    """The evaluator's image of each architecture."""
    found = {"amd64": build("amd64", runtime="greenhouse/runtime:bookworm")}
    found["arm64"] = build("arm64", runtime=foreign)
    yield found
    # The engine refuses if a stack still uses it.
    docker("image", "rm", *found.values(), check=False)


def laid_out(folder: Path) -> None:
    """The input of answering.py: every kind of model, with rows that are hard for it."""

    def lay(name: str, file: bytearray, rows: Any) -> None:
        (folder / f"{name}.forest").write_bytes(file)
        (folder / f"{name}.rows").write_bytes(rows.astype("<f4").tobytes())

    for name in EXACT:
        model = booster(KINDS[name], missing=True)
        rows = hard_rows(bytes(model.save_raw("json")), 4)
        lay(name, compiled(bytes(model.save_raw("ubj"))), rows)
    lay("of texts", compiled(bytes(booster(KINDS["class probabilities"]).save_raw("ubj"))), rows)
    for version in VERSIONS:
        for kind, cells in archive(version).items():
            if kind in ("linear", "vector-leaves"):
                continue
            files = cells["named-missing"]
            rows = numbers(json.loads(files["cell.json"])["rows"])
            lay(f"{kind} by {version}", compiled(files["model.ubj"]), rows)
    columns = ("width", "age", "mass", "colour")
    (folder / "texts.json").write_text(json.dumps([*islice(texts(columns, seed=5), TEXTS)]))
    shutil.copy(answering.__file__, folder)
    folder.chmod(0o755)


def answers(image: str, folder: Path, *options: str) -> Any:
    """The output of the image's Python for the folder."""
    return json.loads(
        docker(
            *("run", "--rm", "--network=none", "--read-only", f"--volume={folder}:/folder:ro"),
            *(*options, image, "/usr/bin/python3", "/folder/answering.py", "/folder"),
        )
    )


def test_arm64_answers_with_the_bits_of_amd64(
    built: dict[str, str], qemu: Path, tmp_path: Path
) -> None:
    laid_out(tmp_path)
    ours = answers(built["amd64"], tmp_path, "--entrypoint=")
    emulated = ("--platform=linux/arm64", f"--volume={qemu}:/qemu:ro", "--entrypoint=/qemu")
    theirs = answers(built["arm64"], tmp_path, *emulated)
    assert (ours["machine"], theirs["machine"]) == ("x86_64", "aarch64")
    ours, theirs = ours["found"], theirs["found"]
    assert theirs.keys() == ours.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == [], "these differ"
    assert len(ours) == 137, "kinds of model, three transforms, texts"
    assert sum(count for _, count in ours.values()) > 12_000_000
    assert ours["texts"][1] > TEXTS / 2, "most records are plain"
