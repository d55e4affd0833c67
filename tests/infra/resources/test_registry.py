"""The build context of an image."""

from __future__ import annotations

from pathlib import Path

import pulumi
import pytest

from infra.publish.build_folder import BUILD
from infra.resources import registry
from infra.resources.registry import EDGE


def test_the_build_context_is_the_same_in_every_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (EDGE / "inference/__pycache__").mkdir(parents=True)
    (EDGE / "build").mkdir()
    built = ("Dockerfile", "inference/serve.py", "requirements.txt", "build/settle.sh")
    others = ("README.md", "inference/libforest.so", "inference/__pycache__/serve.pyc")
    for name in (*built, *others):
        (EDGE / name).write_text(name)
    seen = []
    for number, mode in enumerate((0o600, 0o775)):
        for path in EDGE.rglob("*"):
            path.chmod(mode if path.is_file() else mode | 0o111)
        context = registry._staged(f"{number}")
        seen.append({str(path.relative_to(context)): path for path in context.rglob("*")})
    for name in built:
        assert [files[name].stat().st_mode & 0o777 for files in seen] == [0o644, 0o644]
        assert seen[0][name].read_text() == name
    assert set(seen[0]) == set(seen[1]) == {*built, "build", "inference"}
    assert registry._staged("0") == BUILD / "image-0", "relative, and made once"
    assert len(list(BUILD.iterdir())) == 2, "no draft is left"


@pytest.mark.parametrize(
    ("line", "given", "says"),
    [
        ("python:3.11", {}, "names python:3.11 and gcr.io/d/python3 by tag"),
        (f"python:3.11@sha256:{'a' * 64}", {}, "names gcr.io/d/python3 by tag"),
        ("python:3.11", {"RUNTIME_IMAGE": "mine:1"}, "names python:3.11 by tag"),
        ("python:3.11", {"RUNTIME_IMAGE": "mine:1", "BUILD_IMAGE": "mine:2"}, ""),
    ],
)
def test_a_preview_warns_of_a_base_that_is_another_one_tomorrow(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    given: dict[str, str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    EDGE.mkdir()
    (EDGE / "Dockerfile").write_text(
        f"FROM --platform=linux/amd64 {line} AS build-image\n"
        "FROM gcr.io/d/python3 AS runtime-image\nFROM scratch AS runtime\n"
    )
    said: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", said.append)
    registry._warn_of_tags(given)
    assert [says in one and "make pin" in one for one in said] == ([True] if says else [])


def test_the_shipped_dockerfile_has_the_two_lines() -> None:
    assert [which for _, which in registry._BASE.findall((EDGE / "Dockerfile").read_text())] == [
        "build",
        "runtime",
    ]
