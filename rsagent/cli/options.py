"""The options that several commands share, and how their texts become values."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rsagent.errors import SettingsError, UserError

if TYPE_CHECKING:
    from rsagent.settings import Settings

Images = Annotated[list[str], typer.Argument(metavar="IMAGE|FOLDER|-", help="Pictures, folders of them, - for stdin.")]
Image = Annotated[str, typer.Argument(metavar="IMAGE|-", help="A picture, or - for stdin.")]
Question = Annotated[str, typer.Argument(metavar="QUESTION", help="What to ask, in quotes.")]
Experts = Annotated[str | None, typer.Option(metavar="A,B", help="Ask only these experts: theme,object,relation.")]
Style = Annotated[str | None, typer.Option(metavar="NAME", help="Caption style: detailed, ucm, rsicd, ...")]
Checkpoint = Annotated[str | None, typer.Option(metavar="FOLDER", help="RS-MoE checkpoint: a folder, tiny or small.")]
Device = Annotated[str | None, typer.Option(metavar="auto|cpu|cuda|mps", help="What the networks run on.")]
Dtype = Annotated[str | None, typer.Option(metavar="NAME", help="auto, float32, bfloat16 or float16.")]
Best = Annotated[bool | None, typer.Option("--best", help="Decode with beams: better and slower.")]
MaxTokens = Annotated[int | None, typer.Option(metavar="N", help="Most tokens an expert writes.")]
Seed = Annotated[int | None, typer.Option(metavar="N", help="Seed of what is drawn at random.")]
Prompts = Annotated[str | None, typer.Option(metavar="DIR", help="Folder whose default.yaml replaces our prompts.")]
Bands = Annotated[str | None, typer.Option(metavar="R,G,B", help="Bands to show, counted from 1, such as 4,3,2.")]
MaxPixels = Annotated[int | None, typer.Option(metavar="N", help="Larger pictures are refused, or read reduced.")]
Engine = Annotated[str | None, typer.Option(metavar="local|sglang|openai", help="Where the experts run.")]
Url = Annotated[str | None, typer.Option(metavar="URL", help="For --engine sglang: the server, or several with commas.")]
Root = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Read pictures below it alone.")]
ChatUrl = Annotated[str | None, typer.Option(metavar="URL", help="For --engine openai: the server, with /v1 at its end.")]
ChatModel = Annotated[str | None, typer.Option(metavar="NAME", help="For --engine openai: the model.")]
ChatPreset = Annotated[
    str | None, typer.Option(metavar="NAME", help="For --engine openai: qwen3-vl-sglang, qwen2.5-vl-vllm, ...")
]
ChatExperts = Annotated[str | None, typer.Option(metavar="A=MODEL,..", help="For --engine openai: models of single experts.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Plain = Annotated[bool, typer.Option("--plain", help="No colours and no frames; so it is when piped.")]


_ENGINE: dict[str, Any] = {
    "engine": Engine,
    "url": Url,
    "chat_url": ChatUrl,
    "chat_model": ChatModel,
    "chat_preset": ChatPreset,
    "chat_experts": ChatExperts,
    "checkpoint": Checkpoint,
    "device": Device,
    "dtype": Dtype,
    "best": Best,
    "max_tokens": MaxTokens,
    "seed": Seed,
    "prompts": Prompts,
    "max_pixels": MaxPixels,
}
"""The settings that every command with an engine takes as flags."""


def with_engine(*, style: bool = True) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options that say where and how the experts run, after its own ones.

    They reach it as the keyword arguments `settings` and `bands`.

    Args:
        style: whether it takes a caption style, too.
    """
    flags: dict[str, Any] = {**({"style": Style} if style else {}), **_ENGINE}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        # Typer reads a signature: the command's own, in which our flags take the place of what they become.
        signature = inspect.signature(command, eval_str=True, locals={"Settings": object})
        kind = inspect.Parameter.KEYWORD_ONLY
        own = [one.replace(kind=kind) for name, one in signature.parameters.items() if name not in ("settings", "bands")]
        shared = {**flags, "bands": Bands}
        further = [inspect.Parameter(name, kind, default=None, annotation=what) for name, what in shared.items()]

        def run(**given: Any) -> None:
            from rsagent.settings import Settings

            settings = Settings.load(**{name: given.pop(name) for name in flags})
            command(**{**given, "settings": settings, "bands": parse_bands(given["bands"])})

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__annotations__ = {one.name: one.annotation for one in (*own, *further)}
        run.__signature__ = signature.replace(parameters=[*own, *further])  # type: ignore[attr-defined]
        return run

    return decorate


def chosen_root(flag: Path | None, settings: Settings) -> Path | None:
    """The folder below which clients may name pictures: of `--root`, else of the settings.

    Raises:
        SettingsError: it is no folder.
    """
    root = flag or settings.root
    if root is not None and not root.is_dir():
        place = "--root" if flag else settings.sources()["root"]
        raise SettingsError(f"{place}: {root} is no folder; name one that holds pictures")
    return root


def parse_bands(text: str | None) -> tuple[int, ...] | None:
    """The bands that a text such as "4,3,2" names.

    Raises:
        UserError: not one or three band numbers.
    """
    if text is None:
        return None
    if not re.fullmatch(r"\s*[0-9]{1,5}(\s*,\s*[0-9]{1,5}){0,2}\s*", text) or text.count(",") == 1:
        raise UserError(f"--bands {text!r}: give one band or three, counted from 1, such as 4,3,2")
    return tuple(int(band) for band in text.split(","))


def parse_experts(text: str | None, there: Sequence[str]) -> tuple[str, ...]:
    """The experts that a text such as "theme,object" names; empty when not given, which means all.

    Raises:
        UserError: an expert that is not `there`, or none named.
    """
    if text is None:
        return ()
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in there:
            raise UserError(f"--experts: unknown expert {name!r}: choose from {', '.join(there)}")
    if not names:
        raise UserError(f"--experts names none: choose from {', '.join(there)}")
    return names
