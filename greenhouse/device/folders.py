"""The places in a core device's root folder, in the Java nucleus' layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Folders:
    """The root folder and the places in it."""

    root: Path

    @property
    def recipes(self) -> Path:
        return self.root / "packages" / "recipes"

    def recipe(self, component: str, version: str) -> Path:
        return self.recipes / f"{component}@{version}.json"

    @property
    def all_artifacts(self) -> tuple[Path, Path]:
        """The artifacts of all components as they were downloaded, and unzipped."""
        packages = self.root / "packages"
        return packages / "artifacts", packages / "artifacts-unarchived"

    def artifacts(self, component: str, version: str) -> Path:
        return self.all_artifacts[0] / component / version

    def unarchived(self, component: str, version: str) -> Path:
        return self.all_artifacts[1] / component / version

    def work(self, component: str) -> Path:
        return self.root / "work" / component

    def log(self, component: str) -> Path:
        return self.root / "logs" / f"{component}.log"

    @property
    def processes(self) -> Path:
        """The processes that were started, for the successor of a killed device."""
        return self.root / "processes"

    @property
    def state(self) -> Path:
        return self.root / "state.json"
