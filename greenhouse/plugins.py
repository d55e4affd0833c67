"""Which plugins the CLI takes: greenhouse's stand-ins, or the real ones where they can be had.

A greenhouse keeps what its stacks were made with. The states of both are alike, as the records
show, but not those of `aws`, so that a change from the one to the other is refused.
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

INSTALL_SECONDS = 600.0


class Plugins(Enum):
    """What `make up PLUGINS=…` takes."""

    STAND_INS = "stand-ins"
    REAL = "real"


class PluginsRefused(Exception):
    """The plugins that were asked for can't be had; the message says what to type."""


@dataclass(frozen=True, kw_only=True)
class _Plugin:
    name: str
    version: str

    def place(self, env: Mapping[str, str]) -> Path | None:
        """Where the CLI would find it: on PATH first, whatever its version, then in its cache."""
        executable = f"pulumi-resource-{self.name}"
        ambient = env.get("PULUMI_IGNORE_AMBIENT_PLUGINS", "").lower() not in ("1", "true")
        if ambient and (found := shutil.which(executable, path=env["PATH"])):
            return Path(found)
        folder = Path(env["PULUMI_HOME"]) / "plugins" / f"resource-{self.name}-v{self.version}"
        return folder if (folder / executable).is_file() else None

    def install(self, env: Mapping[str, str]) -> str:
        """Have the CLI download it; why it couldn't, empty when it could."""
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
    """Have the plugins there that were asked for, and remember them.

    Not asked, a greenhouse keeps what it has; a new one has stand-ins. Raises PluginsRefused when
    it has the others, or when a real one can't be had.
    """
    kept = home.real_plugins()
    wanted = asked is Plugins.REAL if asked else kept
    if wanted is not kept and any(home.stacks.rglob("stacks/**/*.json")):
        has, other = ("real plugins", "stand-ins") if kept else ("stand-ins", "real plugins")
        raise PluginsRefused(
            f"the stacks of this greenhouse were made with {has}, and {other} can't take them over:"
            f" a stack keeps its plugins. Take it down first (make down), then make up"
            f" PLUGINS={(asked or Plugins.STAND_INS).value}"
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
            f"plugins that can't be had here: {'; '.join(missing)}. Put an executable"
            " pulumi-resource-NAME on PATH, or download where the network lets you: pulumi plugin"
            " install resource NAME vVERSION. Without real plugins: make up"
        )
