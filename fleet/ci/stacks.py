"""Finds the stacks that a change affects, and the order of their deployments."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from fleet.stacks import ROOT, NoStack, Stack, names, project, refuse_strange_name

# These are the program's inputs. A change elsewhere (tests, docs, greenhouse) changes no stack.
PROGRAM = ("__main__.py", "Pulumi.yaml", "requirements.txt", "infra/", "edge/")
_LOCAL = "local"  # The stack of greenhouse is in no account.


def committed(root: Path = ROOT) -> tuple[list[Stack], list[str]]:
    """The stacks of an account, and the reasons for files that can't be read.

    A broken file gives only the stack's name. Raises NoStack for a file name that no stack can
    have, because workflows would use it as a stack.
    """
    there, broken = [], []
    for name in names(root):
        refuse_strange_name(name)
        if name == _LOCAL:
            continue
        try:
            there.append(Stack.read(name, root))
        except NoStack as error:
            there.append(Stack(name=name, config={}))
            broken.append(str(error))
    return there, broken


def changed(there: Sequence[Stack], paths: Iterable[str]) -> list[str]:
    """The stacks that these files change: all if the program changed, else each by its files.

    A change of a publisher also changes the followers of its newest release.
    """
    touched = set(paths)
    program = any(path.startswith(PROGRAM) for path in touched)
    found = {
        one.name
        for one in there
        if program or touched & {f"Pulumi.{one.name}.yaml", *_own_files(one)}
    }
    return [
        one.name
        for one in there
        if one.name in found or (one.publisher() in found and not _value(one, "release"))
    ]


def in_turn(there: Sequence[Stack]) -> tuple[list[str], list[str]]:
    """Publishers, then followers. Raises NoStack for a follower of a follower."""
    above = {one.name: one.publisher() for one in there if one.publisher()}
    for name, followed in above.items():
        if first := above.get(followed):
            raise NoStack(
                f"stack {name} follows {followed}, which follows {first}.",
                "Workflows deploy in two turns: publishers, then their followers.",
                f"pulumi config set --stack {name} release-from {first}",
            )
    return [one.name for one in there if one.name not in above], list(above)


def _own_files(stack: Stack) -> set[str]:
    return {_value(stack, key) for key in ("model", "samples", "predictions")} - {""}


def _value(stack: Stack, key: str, default: str = "") -> str:
    return str(stack.config.get(f"{project()}:{key}", default))


def values(there: Iterable[Stack], key: str, default: str = "") -> tuple[str, ...]:
    """The values that these stacks set, each once."""
    return tuple(sorted({_value(stack, key, default) for stack in there} - {""}))


def differing(since: str) -> list[str]:
    """The files that differ from a commit. Raises NoStack if git fails."""
    done = subprocess.run(
        ["git", "diff", "--name-only", "--end-of-options", f"{since}...HEAD", "--"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NoStack(
            f"git can't tell what changed since {since}.",
            f"{done.stderr.strip()}\nA checkout of one commit lacks the history:",
            "git fetch --unshallow",
        )
    return done.stdout.splitlines()
