"""Aspects of a caption set as a file that people can correct, and that training reads instead of splitting by rule.

    rsagent train data split-aspects rsicap --data DATA --url http://127.0.0.1:30000/v1 --model Qwen/Qwen2.5-7B-Instruct

`aspects.jsonl` lies beside the captions: one line an image with its captions and its aspects. Whoever corrects a line sets
`"checked": true`, and no later splitting touches it. A run that was stopped goes on behind the last line that is whole.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rsagent.errors import UserError
from rsagent.evaluation.published.karpathy import read_rsicd, read_ucm_captions
from rsagent.evaluation.published.records import CaptionedImage
from rsagent.evaluation.published.rsgpt import read_rsicap
from rsagent.training.aspects import merge_aspects
from rsagent.training.resume import whole_files

FOLDERS = {"ucm": "UCM_captions", "rsicd": "RSICD", "rsicap": "RSICap"}
READERS = {"ucm": read_ucm_captions, "rsicd": read_rsicd, "rsicap": read_rsicap}
_LONGEST = 2000  # characters of an aspect: a model that goes round in circles is stopped here


class SplitCaption(BaseModel):
    """The three aspects of a caption; "" where it offers nothing."""

    model_config = ConfigDict(extra="forbid")
    theme: str = Field(max_length=_LONGEST)
    objects: str = Field(max_length=_LONGEST)
    relations: str = Field(max_length=_LONGEST)


class AspectLine(SplitCaption):
    """One line of the file. `by` says who divided the captions: "rules", or the name of a model."""

    image: str = Field(min_length=1)
    captions: list[str]
    by: str
    checked: bool = False

    def said(self) -> dict[str, str]:
        """By expert of the paper's three."""
        return {"theme": self.theme, "object": self.objects, "relation": self.relations}


Split = Callable[[Sequence[str]], SplitCaption]


def by_rules(captions: Sequence[str]) -> SplitCaption:
    """The aspects that the rules of `rsagent.training.aspects` find."""
    found = merge_aspects(captions, random.Random(0))
    return SplitCaption(theme=found.theme, objects=found.objects, relations=found.relations)


def aspect_messages(captions: Sequence[str]) -> list[dict[str, str]]:
    """What a language model reads: the task, then the captions, one a line."""
    text = files("rsagent.prompts").joinpath("aspects.yaml").read_text("utf-8")
    return [{"role": "system", "content": yaml.safe_load(text)["system"]}, {"role": "user", "content": "\n".join(captions)}]


def aspect_file(data: Path, name: str) -> Path:
    """Where the aspects of a caption set lie."""
    return data / FOLDERS[name] / "aspects.jsonl"


def read_aspects(file: Path) -> dict[str, AspectLine]:
    """The lines of a file by image; none where there is no file.

    Raises:
        UserError: a line is damaged, or two are of one image; the message names it.
    """
    found: dict[str, AspectLine] = {}
    try:
        lines = file.read_text("utf-8").splitlines() if file.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read as UTF-8 text: {error}") from error
    for number, line in enumerate(lines, 1):
        try:
            entry = AspectLine.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the line"
            raise UserError(f"{file}, line {number}: {where}: {first['msg']}; mend it or delete the line") from error
        if entry.image in found:
            raise UserError(f"{file}, line {number}: a second line for {entry.image}; delete one of them")
        found[entry.image] = entry
    return found


def split_captions(
    images: Iterable[CaptionedImage], target: Path, split: Split, by: str, progress: Callable[[int, int], None] | None = None
) -> tuple[int, int]:
    """Divide the captions of `images` that `target` does not hold yet.

    A line by the same splitter, or one that was checked by a person, stays as it is.

    Args:
        images: whose captions; each is written as soon as it is done.
        target: the file; a last line that a stop cut short is dropped.
        split: divides the captions of one image.
        by: who that is, for the file.
        progress: called with (done, count).

    Returns:
        How many images were divided, and how many lines stayed.

    Raises:
        UserError: the file is damaged.
    """
    _drop_cut_line(target)
    before = read_aspects(target)
    kept = {name: line for name, line in before.items() if line.checked or line.by == by}
    items = list(images)
    todo = [item for item in items if item.path.name not in kept]
    if len(kept) < len(before):
        with whole_files(target) as (partial,):
            partial.write_text("".join(_line(entry) for entry in kept.values()), "utf-8")
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("a", encoding="utf-8") as out:
        for done, item in enumerate(todo, 1):
            found = split(item.captions)
            out.write(_line(AspectLine(image=item.path.name, captions=list(item.captions), by=by, **found.model_dump())))
            out.flush()
            if progress is not None:
                progress(done, len(todo))
    return len(todo), len(items) - len(todo)


def _drop_cut_line(target: Path) -> None:
    if not target.exists():
        return
    text = target.read_bytes()
    if text and not text.endswith(b"\n"):
        last = text[text.rfind(b"\n") + 1 :]
        try:
            json.loads(last)
            text += b"\n"  # an editor left out the last line's end
        except ValueError:
            text = text[: text.rfind(b"\n") + 1]
        with whole_files(target) as (partial,):
            partial.write_bytes(text)


def _line(entry: AspectLine) -> str:
    return json.dumps(entry.model_dump(), ensure_ascii=False) + "\n"
