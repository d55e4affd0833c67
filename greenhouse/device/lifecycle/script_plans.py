"""Makes plans from what is installed: scripts with their variables replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from greenhouse.device.folders import Folders
from greenhouse.device.lifecycle.lifecycle import Plan
from greenhouse.device.recipe.interpolation import Names
from greenhouse.device.recipe.recipes import Recipe, Script, Step
from greenhouse.device.state import Installed

Render = Callable[[Step, Script, Names, Mapping[str, Names]], Script]


def plan_all(
    recipes: Mapping[str, Recipe],
    installed: Mapping[str, Installed],
    *,
    render: Render,
    folders: Folders,
    thing: str,
) -> dict[str, Plan]:
    """A plan for each component. Raises what `render` raises for a variable that can't be read."""
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

    def rendered(recipe: Recipe) -> dict[Step, Script]:
        others = {name: names[name] for name in recipe.dependencies if name in names}
        return {
            step: render(step, script, names[recipe.name], others)
            for step, script in recipe.scripts.items()
        }

    return {
        name: Plan(
            name=name,
            version=recipe.version,
            scripts=rendered(recipe),
            hard=recipe.programs.union(n for n, one in recipe.dependencies.items() if one.hard),
            soft=frozenset(other for other, one in recipe.dependencies.items() if not one.hard),
            builtin=recipe.builtin,
        )
        for name, recipe in recipes.items()
    }
