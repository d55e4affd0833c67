"""Writes stack files for new devices, and the schema that editors check them with.

The program's own code checks a new file, so `pulumi up` accepts it. Every text in it is quoted,
because PyYAML and Pulumi read YAML differently. A bare 00089 or 5e10 is a text for one and a number
for the other (https://github.com/pulumi/pulumi/issues/4295). The schema is made from Pulumi.yaml
and kept as Pulumi.schema.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pulumi
import yaml
from pulumi.runtime.settings import Settings as Engine
from pulumi.runtime.settings import configure

from fleet.stacks import ROOT, NoStack, Stack, project, scalars
from infra.name_patterns import stack_trouble
from infra.settings import Settings

SCHEMA = "Pulumi.schema.json"
_HINT = f"# yaml-language-server: $schema={SCHEMA}\n"

# YAML has types, but `pulumi config set` writes text. The program takes both.
_WORDS: Mapping[str, list[dict[str, Any]]] = {
    "string": [{"type": "string"}],
    "integer": [{"type": "integer"}, {"type": "string", "pattern": "^[0-9]+$"}],
    "boolean": [{"type": "boolean"}, {"enum": ["true", "false"]}],
    "array": [{"type": "array"}, {"type": "string", "pattern": r"^\["}],
}


def write(
    name: str,
    *,
    group: str,
    follows: str,
    architecture: str,
    region: str,
    root: Path = ROOT,
) -> Path:
    """Write `Pulumi.<name>.yaml`. Writes nothing if it raises NoStack or infra's Misconfigured."""
    if trouble := stack_trouble(name):
        raise NoStack(trouble, "", "make new-device NAME=press-3")
    path, this = root / f"Pulumi.{name}.yaml", project(root)
    if path.exists():
        raise NoStack(
            f"{path.name} is there already.", "Edit it, or remove it first:", f"rm {path.name}"
        )
    if follows and architecture:
        raise NoStack(
            f"{name} can't have an architecture of its own.",
            f"It follows {follows}, and takes its images. Add the architecture there:",
            f"pulumi config set --stack {follows} --path 'architectures[1]' {architecture}",
        )
    above = Stack.read(follows, root).config if follows else {}
    config: dict[str, Any] = {"aws:region": region or above.get("aws:region", "")}
    if not config["aws:region"]:
        raise NoStack(
            f"{name} has no region.",
            "Say where it is:",
            f"make new-device NAME={name} REGION=eu-west-1",
        )
    config |= {key: above[key] for key in ("aws:profile", "aws:assumeRoles") if key in above}
    config[f"{this}:thing-group" if group else f"{this}:thing"] = group or name
    if follows:
        config[f"{this}:release-from"] = follows
        if prefix := above.get(f"{this}:component-prefix"):
            config[f"{this}:component-prefix"] = prefix
    if architecture:
        config[f"{this}:architectures"] = [architecture]
    text = _HINT + yaml.dump({"config": config}, Dumper=_Quoting, sort_keys=False)
    check(name, read_back(text), root)
    path.write_text(text)
    return path


class _Quoting(yaml.SafeDumper):
    """Quotes values. Keys stay bare as Pulumi writes them: each has a letter before its colon."""


def _quoted(dumper: _Quoting, value: dict[str, Any]) -> yaml.Node:
    node = dumper.represent_dict(value)
    for _, one in node.value:
        for text in one.value if isinstance(one, yaml.SequenceNode) else [one]:
            if isinstance(text, yaml.ScalarNode):
                text.style = '"'
    return node


_Quoting.add_representer(dict, _quoted)


def read_back(text: str) -> dict[str, Any]:
    """The config of a stack file as Pulumi reads it. Raises NoStack if that isn't certain.

    A quoted scalar is the same text in every YAML. Only Pulumi's own reader knows whether a bare
    scalar is a text.
    """
    document: Any = yaml.compose(text)
    bare = [
        one.value
        for _, config in document.value
        for _, value in config.value
        for one in scalars(value)
        if one.style not in ("'", '"')
    ]
    if bare:
        raise NoStack(f"not quoted, Pulumi may read these as numbers: {', '.join(bare)}.")
    config: dict[str, Any] = yaml.safe_load(text)["config"]
    return config


def check(stack: str, config: Mapping[str, Any], root: Path = ROOT) -> Settings:
    """The program's settings from this config. Raises Misconfigured."""
    this = project(root)
    values = {f"{this}:{key}": said["default"] for key, said in _declared(root).items()}
    configure(Engine(project=this, stack=stack, root_directory=str(root)))
    pulumi.runtime.set_all_config(
        {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in {**values, **config}.items()
        }
    )
    return Settings.load(pulumi.Config(this))


def schema() -> dict[str, Any]:
    """The JSON schema of a stack file."""
    this = project()
    keys = {
        f"{this}:{key}": {
            "description": f"{said['description']} (default: {json.dumps(said['default'])})",
            "anyOf": [
                {**word, "items": said["items"]} if word == {"type": "array"} else word
                for word in _WORDS[said["type"]]
            ],
        }
        for key, said in _declared(ROOT).items()
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": f"A stack of {this}",
        "type": "object",
        "properties": {
            "config": {
                "type": "object",
                "properties": keys,
                # Keys of other namespaces, such as `aws:`.
                "patternProperties": {f"^(?!{this}:)[^:]+:": {}},
                "additionalProperties": False,
            }
        },
    }


def _declared(root: Path) -> dict[str, dict[str, Any]]:
    """The program's own keys."""
    found = yaml.safe_load((root / "Pulumi.yaml").read_text())["config"]
    return {key: said for key, said in found.items() if ":" not in key}
