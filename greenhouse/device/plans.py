"""From what is installed to what is run: scripts with their variables replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from greenhouse.device.folders import Folders
from greenhouse.device.interpolation import Names, interpolate
from greenhouse.device.lifecycle import Plan
from greenhouse.device.recipes import Recipe, Script
from greenhouse.device.state import Installed


def plan_all(
    recipes: Mapping[str, Recipe],
    installed: Mapping[str, Installed],
    *,
    folders: Folders,
    thing: str,
) -> dict[str, Plan]:
    """A plan for each component; raises BadPointer for a recipe variable that can't be read."""
    names = {
        name: Names(
            configuration=installed[name].configuration,
            artifacts=folders.artifacts(name, recipe.version),
            unarchived=folders.unarchived(name, recipe.version),
            work=folders.work(name),
            root=folders.root,
            thing=thing,
        )
        for name, recipe in recipes.items()
    }

    def replaced(script: Script, recipe: Recipe) -> Script:
        own = names[recipe.name]
        others = {name: names[name] for name in recipe.dependencies if name in names}
        return replace(
            script,
            text=interpolate(script.text, own, others),
            environment={
                name: interpolate(value, own, others) for name, value in script.environment.items()
            },
            skip_if=script.skip_if
            and (script.skip_if[0], interpolate(script.skip_if[1], own, others)),
        )

    return {
        name: Plan(
            name=name,
            version=recipe.version,
            scripts={step: replaced(script, recipe) for step, script in recipe.scripts.items()},
            hard=frozenset(other for other, one in recipe.dependencies.items() if one.hard),
            soft=frozenset(other for other, one in recipe.dependencies.items() if not one.hard),
            builtin=recipe.builtin,
        )
        for name, recipe in recipes.items()
    }
