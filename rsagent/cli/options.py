"""The options that several commands share, and how their texts become values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from rsagent.errors import SettingsError, UserError

Images = Annotated[list[str], typer.Argument(metavar="IMAGE|FOLDER|-", help="Pictures, folders of them, - for stdin.")]
Image = Annotated[str, typer.Argument(metavar="IMAGE|-", help="A picture, or - for stdin.")]
Question = Annotated[str, typer.Argument(metavar="QUESTION", help="What to ask, in quotes.")]
Experts = Annotated[str | None, typer.Option(metavar="A,B", help="Ask only these experts: theme,object,relation.")]
Style = Annotated[str | None, typer.Option(metavar="NAME", help="Caption style: detailed, ucm, rsicd, ...")]
Checkpoint = Annotated[str | None, typer.Option(metavar="FOLDER", help="RS-MoE checkpoint; the embedded one by default.")]
Device = Annotated[str | None, typer.Option(metavar="auto|cpu|cuda|mps", help="What the networks run on.")]
Dtype = Annotated[str | None, typer.Option(metavar="NAME", help="auto, float32, bfloat16 or float16.")]
Best = Annotated[bool, typer.Option("--best", help="Decode with beams: better and slower.")]
MaxTokens = Annotated[int | None, typer.Option(metavar="N", help="Most tokens an expert writes.")]
Seed = Annotated[int | None, typer.Option(metavar="N", help="Seed of what is drawn at random.")]
Prompts = Annotated[str | None, typer.Option(metavar="DIR", help="Folder whose default.yaml replaces our prompts.")]
Bands = Annotated[str | None, typer.Option(metavar="R,G,B", help="Bands to show, counted from 1, such as 4,3,2.")]
MaxPixels = Annotated[int | None, typer.Option(metavar="N", help="Larger pictures are refused, or read reduced.")]
Engine = Annotated[str | None, typer.Option(metavar="local|sglang|openai", help="Where the experts run.")]
Url = Annotated[str | None, typer.Option(metavar="URL", help="For --engine sglang: the server, or several with commas.")]
Root = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Read pictures below it alone.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Plain = Annotated[bool, typer.Option("--plain", help="No colours and no frames; so it is when piped.")]


def check_root(root: Path | None) -> None:
    """Raise SettingsError where `--root` names no folder."""
    if root is not None and not root.is_dir():
        raise SettingsError(f"--root: {root} is no folder; name one that holds pictures")


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
