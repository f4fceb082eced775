"""`rsagent model get` and `model list`: the checkpoints that rsagent carries, their base LLMs, and which one speaks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from rsagent.cli import options
from rsagent.cli.console import result, result_json, say
from rsagent.errors import CheckpointError, EngineError, UserError

BaseSource = Annotated[
    str | None, typer.Option("--base", metavar="FOLDER|FILE.gguf|HUB-ID", help="Take the base LLM from here, and keep it.")
]
AsDefault = Annotated[
    bool | None, typer.Option("--default/--no-default", help="Make it what speaks from now on, or leave the settings alone.")
]


def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="tiny or small.")],
    base: BaseSource = None,
    default: AsDefault = None,
    as_json: options.Json = False,
) -> None:
    """Make a shipped checkpoint ready: prepare its base LLM, try it on a rendered picture, record it as the default."""
    from rsagent.model.bases import BASES, prepare_base, size_of, source_of
    from rsagent.model.checkpoint import read_config
    from rsagent.model.shipped import SHIPPED, checkpoint_folder

    if name not in SHIPPED:
        raise UserError(f"rsagent carries no checkpoint {name!r}: choose one of {', '.join(SHIPPED)}")
    folder = checkpoint_folder(name)
    wanted = BASES.get(read_config(folder).llm)
    if wanted is None and base is not None:
        raise UserError(f"--base: the checkpoint {name} brings its own LLM; leave --base out")
    prepared = prepare_base(wanted, base, say) if wanted else None
    caption = _try(name, folder)
    in_force = _choose(name, default)
    size = size_of(folder) + (size_of(prepared) if prepared else 0)
    if as_json:
        llm = None if prepared is None or wanted is None else {"name": wanted.name, **_kept(prepared)}
        result_json({"name": name, "folder": str(folder), "bytes": size, "base": llm, "caption": caption, "default": in_force})
        return
    result([f"{name} is ready: {folder}", f"  size on disk: {size / 1e6:.1f} MB"])
    if prepared and wanted:
        result([f"  base LLM: {wanted.name}, from {source_of(prepared)}, in {prepared}"])
    result([f"  of a rendered picture it says: {caption}"])
    result(
        [f"  default: {'yes' if in_force else f'no; --checkpoint {name} asks it, rsagent model get {name} --default sets it'}"]
    )


def list_shipped(as_json: options.Json = False) -> None:
    """The checkpoints that rsagent carries, their sizes, where their base LLMs are, and which one is the default."""
    from rsagent.model.shipped import DEFAULT, SHIPPED
    from rsagent.settings import Settings

    settings = Settings.load()
    chosen, source = settings.checkpoint or DEFAULT, settings.sources()["checkpoint"]
    found = [_describe(name, folder, chosen) for name, folder in SHIPPED.items()]
    if as_json:
        result_json([asdict(one) for one in found])
        return
    for one in found:
        size = f"{one.bytes / 1e6:.1f} MB in {one.folder}" if one.carried else "not carried by this rsagent"
        result([f"{one.name}{' (default)' if one.default else ''}: {size}"])
        if one.base is not None:
            result([f"  base LLM {one.base['name']}: {one.base['found']}"])
        elif one.carried:
            result(["  brings its own LLM"])
    if chosen not in SHIPPED:
        result([f"in force: {chosen} ({source})"])


@dataclass(frozen=True)
class Shipped:
    """What there is to say of a shipped checkpoint; `base` is None where it brings its own LLM, or is not carried."""

    name: str
    folder: str
    carried: bool
    bytes: int
    default: bool
    base: dict[str, Any] | None


def _describe(name: str, folder: Path, chosen: str) -> Shipped:
    from rsagent.model.bases import BASES, size_of
    from rsagent.model.checkpoint import read_config

    if not folder.is_dir():
        return Shipped(name, str(folder), False, 0, name == chosen, None)
    base = BASES.get(read_config(folder).llm)
    llm = None if base is None else {"name": base.name, **base_state(base.name)}
    return Shipped(name, str(folder), True, size_of(folder), name == chosen, llm)


def base_state(name: str) -> dict[str, Any]:
    """Where the base LLM of that name is: `there`, `bytes` and `path` for programs, `found` in words."""
    from rsagent.model.bases import BASES, locate_base, source_of

    base = BASES[name]
    try:
        place = locate_base(base)
    except CheckpointError as error:
        return {"there": False, "path": None, "bytes": 0, "found": str(error)}
    if place is None:
        return {"there": False, "path": None, "bytes": 0, "found": f"not on this machine; {base.mend} gets it"}
    if place.kind == "prepared":
        kept = _kept(place.path)
        found = f"prepared in {place.path}, {kept['bytes'] / 1e6:.1f} MB, from {source_of(place.path)}"
        return {"there": True, **kept, "found": found}
    later = " is prepared at first use" if place.kind == "package" else ""
    size = place.path.stat().st_size if place.path.is_file() else 0
    return {"there": True, "path": str(place.path), "bytes": size, "found": f"the {place.kind}, {place.path}{later}"}


def _kept(folder: Path) -> dict[str, Any]:
    from rsagent.model.bases import size_of, source_of

    return {"path": str(folder), "bytes": size_of(folder), "from": source_of(folder)}


def _try(name: str, folder: Path) -> str:
    """Load the checkpoint and let it write a caption of a rendered picture, in its shortest style.

    Raises:
        EngineError: it loads, and an expert says nothing.
    """
    from rsagent.agent import RSAgent
    from rsagent.model.checkpoint import read_config
    from rsagent.settings import Settings
    from rsagent.training.render import render
    from rsagent.training.scenes import scene_from_seed

    settings = Settings.load()
    style = "ucm" if "ucm" in read_config(folder).composer_styles else "detailed"
    say(f"trying {name} on a rendered picture")
    agent = RSAgent("local", checkpoint=folder, device=settings.device, dtype=settings.dtype, expert_timeout_s=600)
    with agent.sync as twin:
        caption = twin.caption(render(scene_from_seed(20, "demo")), style)
    if caption.partial:
        raise EngineError(f"{name} loads, but not every expert answers: {', '.join(caption.missing)}")
    return caption.text


def _choose(name: str, default: bool | None) -> bool:
    """Record the checkpoint in the user's settings where that is wanted; whether it is what speaks now.

    Unasked, `small` is recorded only where it answers better, `tiny` only over another shipped one, and neither over a
    checkpoint of the user's own.
    """
    from rsagent.model.shipped import BETTER_THAN_TINY, DEFAULT, SHIPPED
    from rsagent.settings import FILE_NAME, Settings
    from rsagent.settings_file import record, recorded, user_file

    wanted = False
    if default is not False:
        path = user_file()
        before = recorded(path, "checkpoint")
        own = before is not None and before not in SHIPPED
        wanted = default or (BETTER_THAN_TINY if name != DEFAULT else before is not None)
        if wanted and own and not default:
            wanted = False
            say(f"{path} names a checkpoint of your own, {before}, which stays: --default replaces it")
        elif wanted and before != name:
            record(path, "checkpoint", name)
            say(f"{path}: checkpoint is {name} now" + (f", was {before}" if before is not None else ""))
    settings = Settings.load()
    speaks = (settings.checkpoint or DEFAULT) == name
    if wanted and not speaks:
        where = settings.sources()["checkpoint"] if settings.checkpoint else f"./{FILE_NAME}"
        say(f"here {where} goes before it, so that {settings.checkpoint or DEFAULT} speaks")
    return speaks
