"""Which files a build sees, and that only they make it run again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from greenhouse.providers.docker.build_context import (
    BadPattern,
    Pattern,
    context_digest,
    ignore_patterns,
    visible_files,
)

TREE = (
    "Dockerfile",
    "README.md",
    "readme.md",
    "models/wine.json",
    "inference/__init__.py",
    "inference/service.py",
    "inference/__pycache__/service.pyc",
    "inference/deep/er/__pycache__/x.pyc",
    "inference/deep/er/keep.txt",
    "a[1].txt",
    "a1.txt",
    "!odd",
)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    root = tmp_path / "context"
    for name in TREE:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        path.chmod(0o644)
    return root


def seen(context: Path, ignore: str) -> set[str]:
    (context / ".dockerignore").write_text(ignore)
    patterns = ignore_patterns(context, context / "Dockerfile")
    return set(visible_files(context, patterns)) - {".dockerignore"}


CASES = {
    "nothing": ("", set(TREE)),
    "a comment": ("# README.md\n", set(TREE)),
    "everything but": (
        "*\n!Dockerfile\n!inference\n**/__pycache__\n",
        {
            "Dockerfile",
            "inference/__init__.py",
            "inference/service.py",
            "inference/deep/er/keep.txt",
        },
    ),
    "case matters": ("README.md", set(TREE) - {"README.md"}),
    "a slash in front": ("/models/", set(TREE) - {"models/wine.json"}),
    "only at the top": ("*.py", set(TREE)),
    "at any depth": ("**/*.py", set(TREE) - {"inference/__init__.py", "inference/service.py"}),
    "two levels": ("*/*.json", set(TREE) - {"models/wine.json"}),
    "below": (
        "inference/deep/**",
        {name for name in TREE if not name.startswith("inference/deep/")},
    ),
    "one character": ("a?.txt", set(TREE) - {"a1.txt"}),
    "a class": ("a[0-9].txt", set(TREE) - {"a1.txt"}),
    "escaped": (r"a\[1\].txt", set(TREE) - {"a[1].txt"}),
    "a way back inside": (
        "inference\n!inference/deep/er/keep.txt",
        {name for name in TREE if not name.startswith("inference/")}
        | {"inference/deep/er/keep.txt"},
    ),
    "the last one decides": ("!README.md\n*.md", set(TREE) - {"README.md", "readme.md"}),
    "dots": ("./models/../models/wine.json", set(TREE) - {"models/wine.json"}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_ignore_file_is_read_as_docker_reads_it(context: Path, case: str) -> None:
    ignore, expected = CASES[case]
    assert seen(context, ignore) == expected


def test_a_pattern_that_docker_could_not_read_is_named() -> None:
    with pytest.raises(BadPattern, match=r"'a\[' is not a pattern"):
        Pattern.parse("a[")


def test_a_dockerfile_may_have_an_ignore_file_of_its_own(context: Path) -> None:
    (context / ".dockerignore").write_text("models")
    (context / "Dockerfile.dockerignore").write_text("inference")
    patterns = ignore_patterns(context, context / "Dockerfile")
    files = set(visible_files(context, patterns))
    assert "models/wine.json" in files
    assert "inference/service.py" not in files


def digest(context: Path) -> str:
    return context_digest(context, context / "Dockerfile", written="edge")


def test_the_same_tree_elsewhere_has_the_same_digest(context: Path, tmp_path: Path) -> None:
    assert digest(Path(shutil.copytree(context, tmp_path / "elsewhere"))) == digest(context)


def test_files_that_the_build_does_not_see_do_not_count(context: Path) -> None:
    (context / ".dockerignore").write_text("models\n")
    before = digest(context)
    (context / "models/wine.json").write_text("a new model")
    assert digest(context) == before, "a new model would build a new image"


def test_content_name_mode_and_dockerfile_count(context: Path) -> None:
    digests = [digest(context)]
    (context / "inference/service.py").write_text("changed")
    digests.append(digest(context))
    (context / "inference/service.py").chmod(0o755)
    digests.append(digest(context))
    (context / "inference/service.py").rename(context / "inference/server.py")
    digests.append(digest(context))
    (context / "Dockerfile").write_text("FROM scratch")
    digests.append(digest(context))
    assert len(set(digests)) == len(digests)


def test_a_dockerfile_counts_even_where_the_build_ignores_it(context: Path) -> None:
    (context / ".dockerignore").write_text("*")
    before = digest(context)
    (context / "Dockerfile").write_text("FROM scratch")
    assert digest(context) != before


def test_a_link_counts_by_where_it_points(context: Path) -> None:
    link = context / "link"
    link.symlink_to("models")
    before = digest(context)
    (context / "models/wine.json").write_text("changed")
    assert digest(context) != before
    link.unlink()
    link.symlink_to("inference")
    (context / "models/wine.json").write_text("models/wine.json")
    assert digest(context) != before
