"""The build context that an image is made from."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.publish import registry
from infra.publish.artifacts import BUILD
from infra.publish.registry import EDGE


def test_whoever_checked_the_tree_out_its_build_context_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (EDGE / "inference/__pycache__").mkdir(parents=True)
    built = ("Dockerfile", "inference/serve.py", "requirements.txt", "settle.sh", "strip.py")
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
    assert set(seen[0]) == set(seen[1]) == {*built, "inference"}
    assert registry._staged("0") == BUILD / "image-0", "relative, and made once"
    assert len(list(BUILD.iterdir())) == 2, "no draft is left"
