"""The config that a workdir holds, which may be of an older version, or damaged."""
import pathlib
from typing import Any

import ml_collections

from ls_jax import config as configs
from ls_jax.errors import UserError, first_line
from ls_jax.workdir import files

ALWAYS = ("steps", "batch_size", "sweep.seed", "data.name", "model.name", "evaluate.split")  # in every config.json


def read(path: str | pathlib.Path) -> ml_collections.ConfigDict:
    """The config in a config.json. Fields that it lacks are newer than it, and have their defaults.

    Values are not checked: a report may be about what this version would not run.

    Raises:
        UserError: it cannot be read, or is no config: a field is missing, or of another type.
    """
    found = files.read_config(path)
    missing = {*ALWAYS} - {*configs.flat(found)}
    if missing:
        raise UserError(f"{path} is damaged: it has no {', '.join(sorted(missing))}; {files.REMOVE}")
    try:
        return _filled(found)
    except (LookupError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged: {first_line(error)}; {files.REMOVE}") from error


def _filled(found: dict[str, Any]) -> ml_collections.ConfigDict:
    """The default config with the fields that were found, whose types it checks; its teachers are such configs too."""
    config = configs.default().unlock()
    teachers = (found.get("distill") or {}).get("teachers", {})
    config.update(_tuples({name: value for name, value in found.items() if name != "distill"}))
    if found.get("distill"):
        config.distill = ml_collections.ConfigDict(_tuples(found["distill"]))
        config.distill.teachers = {name: teacher if isinstance(teacher, str) else _filled(teacher)
                                   for name, teacher in teachers.items()}
    return config


def _tuples(value):
    """JSON has lists where a config has tuples."""
    if isinstance(value, dict):
        return {name: _tuples(each) for name, each in value.items()}
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value
