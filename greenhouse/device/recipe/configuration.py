"""A component's configuration and its order: the running one, a reset, new defaults, a merge.

The nucleus starts from the device's configuration and deletes what `reset` points at. It fills in
the recipe's defaults at timestamp 1, "so that they don't overwrite any pre-existing values". Then
it lays `merge` on top (KernelConfigResolver.resolveConfigurationToApply). So a changed default,
accessControl included, doesn't reach a device that has the key already. Keys are the same in any
case (CaseInsensitiveString). Lists are values, not containers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

Tree = dict[str, Any]


class BadPointer(ValueError):
    """A JSON pointer that doesn't start with a slash. The text is the nucleus' own."""


def pointer(text: str) -> list[str]:
    """The steps of a JSON pointer (RFC 6901). `""` is the whole document."""
    if text and not text.startswith("/"):
        raise BadPointer(f"Invalid input: JSON Pointer expression must start with '/': \"{text}\"")
    return [step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:]]


def find(tree: Any, path: Sequence[str]) -> Any:
    """The value at the path. Raises KeyError."""
    for step in path:
        if not isinstance(tree, dict):
            raise KeyError(step)
        tree = tree[_spelled(tree, step)]
    return tree


def resolve(
    running: Mapping[str, Any],
    defaults: Mapping[str, Any],
    *,
    reset: Sequence[str] = (),
    merge: Mapping[str, Any] | None = None,
) -> Tree:
    """The configuration after a deployment. The arguments don't change."""
    result = deepcopy(dict(running))
    for path in map(pointer, reset):
        _remove(result, path)
    _fill(result, defaults)
    return merged(result, merge or {})


def merged(tree: Mapping[str, Any], values: Mapping[str, Any]) -> Tree:
    """`values` laid over the tree. Containers are merged, everything else is replaced."""
    result = deepcopy(dict(tree))
    for key, value in values.items():
        name = _spelled(result, key)
        there = result.get(name)
        both = isinstance(there, dict) and isinstance(value, Mapping)
        result[name] = merged(there, value) if both and there is not None else deepcopy(value)
    return result


def without(tree: Mapping[str, Any], path: Sequence[str]) -> Tree:
    """The tree without what is at the path. An empty path removes all of it."""
    result = deepcopy(dict(tree))
    _remove(result, path)
    return result


def _spelled(tree: Mapping[str, Any], key: str) -> str:
    """The key in the tree's spelling, in any case. A new key stays as it is given."""
    if key in tree:
        return key
    return next((name for name in tree if name.casefold() == key.casefold()), key)


def _remove(tree: Tree, path: Sequence[str]) -> None:
    if not path:
        tree.clear()
        return
    try:
        parent = find(tree, path[:-1])
    except KeyError:
        return
    if isinstance(parent, dict):
        parent.pop(_spelled(parent, path[-1]), None)


def _fill(tree: Tree, defaults: Mapping[str, Any]) -> None:
    for key, value in defaults.items():
        name = _spelled(tree, key)
        if name not in tree:
            tree[name] = deepcopy(value)
        elif isinstance(tree[name], dict) and isinstance(value, Mapping):
            _fill(tree[name], value)
