"""Any model by the name a user gives it: a run, one model of a run, a folder or file of weights."""

from __future__ import annotations

from pathlib import Path

from camelid.cli import plans
from camelid.errors import MissingInputError
from camelid.inference.models import NamedModel
from camelid.plan import Plan
from camelid.run.directory import MANIFEST
from camelid.settings import suggestion


def pick_model(plan: Plan, run: Path, name: str) -> Path:
    """Return the folder of one model of a run; `final` is the latest there is.

    Raises:
        MissingInputError: The run has no such model yet; the message lists what it has.
    """
    places = {known: folder.at(run) for known, folder in plan.models.items()}
    made = {known: folder.path for known, folder in places.items() if folder.exists}
    if not made:
        raise MissingInputError(f"{run}: no model yet. Run `camelid run` first.")
    if name == "final":
        return list(made.values())[-1]
    if name not in made:
        stages = {folder.stage: folder.path for folder in places.values() if folder.exists}
        if name in stages:
            return stages[name]
        hint = suggestion(name, [*made, *stages])
        raise MissingInputError(f"{run}: no model '{name}'.{hint} There are: {', '.join(made)}.")
    return made[name]


def find_model(name: str) -> NamedModel:
    """Find what a user calls RUN, RUN:NAME, or by the path of its weights.

    Raises:
        MissingInputError: A run has no such model.
    """
    folder, _, chosen = name.rpartition(":") if not Path(name).exists() else (name, "", "")
    if (Path(folder) / MANIFEST).is_file():
        run, chosen = Path(folder), chosen or "final"
        path = pick_model(plans.plan_of(run), run, chosen)
        return NamedModel(name=chosen, path=path, run=run)
    path = Path(name)
    return NamedModel(name=path.stem if path.is_file() else path.absolute().name, path=path)
