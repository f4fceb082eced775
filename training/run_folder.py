"""A run's folder belongs to one training at a time and to one recipe."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Collection, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import ValidationError

from rsagent.errors import UserError
from rsagent.training.processes import is_first
from rsagent.training.recipe import STAGES, NetworkRecipe, Recipe
from rsagent.training.resume import whole_files

_log = logging.getLogger(__name__)
_LATER = ("encoder", *STAGES)


@contextmanager
def claimed(out: Path, recipe: Recipe) -> Generator[None]:
    """Hold `out`, made if need be, for this training and write its recipe there. A lock: a killed one leaves none behind.

    Raises:
        UserError: another training writes there, or the folder's run had another recipe; the message names the difference.
    """
    if not is_first():  # of several processes of one training, the first holds the folder
        yield
        return
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".training").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"another training writes to {out}: wait for it, or give another --out") from error
        _same_recipe(out, recipe)
        yield


@contextmanager
def shared_cache(cache: Path) -> Generator[Path]:
    """Hold a cache, made if need be, while it is read or filled: trainings that share one do not encode the same twice."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".filling").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            _log.info("%s: another training is filling it; waiting", cache)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield cache


def _same_recipe(out: Path, recipe: Recipe) -> None:
    """The recipe of the folder's run has to be this one, except for stages that have not begun."""
    file = out / "recipe.yaml"
    own = recipe.model_dump(mode="json", exclude={"optim"})  # each stage holds its part of it
    if file.exists():
        try:
            before = cast("dict[str, Any]", yaml.safe_load(file.read_text("utf-8")))
            begun = {name for name in _LATER if (out / name).exists() or (out / f"{name}.safetensors").exists()}
            changed = _changes(_with_defaults(before), own, ignored=set(_LATER) - begun)
        except (OSError, yaml.YAMLError, UnicodeDecodeError, AttributeError) as error:
            raise UserError(f"{file} cannot be read: give another --out, or delete it if its run had this recipe") from error
        if changed:
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise UserError(f"the run in {out} had another recipe: {changed[0]}{more}; take it back, or give another --out")
    with whole_files(file) as (partial,):
        partial.write_text(yaml.safe_dump(own, sort_keys=False), "utf-8")


def _with_defaults(before: dict[str, Any]) -> dict[str, Any]:
    """A stored recipe with what a later rsagent added, at its default: such a run had the same recipe."""
    usual = NetworkRecipe.model_validate({}).model_dump(mode="json")
    sizes = {name: size for name, size in (before.get("network") or {}).items() if size != usual.get(name)}
    try:  # sizes that nobody chose are stored too, and of what comes with weights none may be said
        return Recipe.model_validate(before | {"network": sizes}).model_dump(mode="json", exclude={"optim"})
    except ValidationError:  # it has what a recipe no longer has: a difference, which the comparison names
        return before


def _changes(before: dict[str, Any], now: dict[str, Any], prefix: str = "", ignored: Collection[str] = ()) -> list[str]:
    found: list[str] = []
    for key in {**before, **now}:
        was, is_now = before.get(key), now.get(key)
        if key in ignored or was == is_now:
            continue
        if isinstance(was, dict) and isinstance(is_now, dict):
            found += _changes(cast("dict[str, Any]", was), cast("dict[str, Any]", is_now), f"{prefix}{key}.")
        else:
            found.append(f"{prefix}{key} was {was}, is {is_now}")
    return found
