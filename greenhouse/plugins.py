"""Chooses the plugins for the CLI: greenhouse's stand-ins, or the real ones if they can be had.

A greenhouse keeps the plugins with which its stacks were made. Both write the same state, as the
records show, except for package `aws`. So a change from one to the other is refused.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from importlib import metadata
from pathlib import Path

from greenhouse.files import write_whole
from greenhouse.home import REAL_PACKAGES, Home
from infra.errors import told

INSTALL_SECONDS = 600.0


class Plugins(Enum):
    """The values of `make up PLUGINS=…`."""

    STAND_INS = "stand-ins"
    REAL = "real"


class PluginsRefused(Exception):
    """The requested plugins can't be had. The message says what to type."""


@dataclass(frozen=True, kw_only=True)
class _Plugin:
    name: str
    version: str

    def place(self, env: Mapping[str, str]) -> Path | None:
        """Where the CLI would find the plugin: on PATH first, whatever its version, then in its
        cache.
        """
        executable = f"pulumi-resource-{self.name}"
        ambient = env.get("PULUMI_IGNORE_AMBIENT_PLUGINS", "").lower() not in ("1", "true")
        if ambient and (found := shutil.which(executable, path=env["PATH"])):
            return Path(found)
        folder = Path(env["PULUMI_HOME"]) / "plugins" / f"resource-{self.name}-v{self.version}"
        return folder if (folder / executable).is_file() else None

    def install(self, env: Mapping[str, str]) -> str:
        """Have the CLI download the plugin. Returns why it couldn't, or an empty string."""
        try:
            done = subprocess.run(
                ["pulumi", "plugin", "install", "resource", self.name, f"v{self.version}"],
                env=dict(env),
                capture_output=True,
                text=True,
                timeout=INSTALL_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"not downloaded within {INSTALL_SECONDS:.0f} s"
        said = [line for line in done.stderr.splitlines() if line.strip()]
        return said[-1].strip() if done.returncode and said else ""


def choose(home: Home, asked: Plugins | None, env: Mapping[str, str]) -> None:
    """Provide the requested plugins, and remember the choice.

    Without a request, a greenhouse keeps its plugins, and a new greenhouse has stand-ins. Raises
    PluginsRefused if it has the other kind, or if a real plugin can't be had.
    """
    kept = home.real_plugins()
    wanted = asked is Plugins.REAL if asked else kept
    if wanted is not kept and any(home.stacks.rglob("stacks/**/*.json")):
        has, other = ("real plugins", "stand-ins") if kept else ("stand-ins", "real plugins")
        raise PluginsRefused(
            told(
                f"the stacks of this greenhouse were made with {has}.",
                f"A stack keeps its plugins: {other} can't take it over. Destroy it first:",
                f"make down && make up PLUGINS={(asked or Plugins.STAND_INS).value}",
            )
        )
    if wanted:
        _have_real(env)
    write_whole(home.plugins, f"{'real' if wanted else 'stand-ins'}\n")


def _have_real(env: Mapping[str, str]) -> None:
    missing = []
    for name in REAL_PACKAGES:
        plugin = _Plugin(name=name, version=metadata.version(f"pulumi-{name}"))
        if not plugin.place(env):
            why = plugin.install(env)
            if not plugin.place(env):
                missing.append(f"{plugin.name} {plugin.version} ({why or 'nothing was installed'})")
    if missing:
        raise PluginsRefused(
            told(
                f"plugins that can't be had here: {'; '.join(missing)}.",
                "Put an executable pulumi-resource-NAME on PATH, or download it on another network,"
                " or use the stand-ins:",
                "pulumi plugin install resource NAME vVERSION",
                "make up",
            )
        )
