"""Pulumi.yaml and the stacks' files, as the CLI gives them to the program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pulumi
import yaml

from infra.settings import Settings
from tests.infra.pulumi_engine import PROJECT, Engine

ROOT = Path(__file__).resolve().parents[2]


def declared() -> dict[str, dict[str, Any]]:
    """The config keys of the program that Pulumi.yaml declares."""
    found = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    return {key: said for key, said in found.items() if ":" not in key}


def config_of(stack: Path | None = None, /, **values: object) -> dict[str, str]:
    """Defaults, a stack's own file over them, then `values` (an underscore for a hyphen)."""
    config = {f"{PROJECT}:{key}": _text(key_["default"]) for key, key_ in declared().items()}
    if stack:
        own = yaml.safe_load(stack.read_text())["config"]
        config |= {key: _text(value) for key, value in own.items()}
    return config | {
        f"{PROJECT}:{key.replace('_', '-')}": _text(value) for key, value in values.items()
    }


def load(config: dict[str, str], stack: str = "dev") -> Settings:
    """The settings that the program reads from it."""
    loaded: list[Settings] = []
    Engine().run(lambda: loaded.append(Settings.load(pulumi.Config())), stack=stack, config=config)
    return loaded[0]


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
