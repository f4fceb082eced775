"""One run from its beginning to its tables: open or go on, ask, score, keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rsagent.errors import UserError
from rsagent.evaluation.asking import Speaker, ask_set, blind_pictures, texts_of
from rsagent.evaluation.run_folder import RunFolder
from rsagent.evaluation.scoring import Said, score_set
from rsagent.evaluation.table import Table

if TYPE_CHECKING:
    from rsagent.evaluation.caption_floors import Seen
    from rsagent.evaluation.sets import EvaluationSet


@dataclass(frozen=True)
class Conducted:
    """The tables of a run, and whether every item was answered in full."""

    tables: list[Table]
    complete: bool


async def conduct(
    speaker: Speaker,
    chosen: EvaluationSet,
    folder: RunFolder,
    see: Callable[[EvaluationSet], Seen | None],
    *,
    meteor: bool = True,
    seed: int = 0,
    ask_blind: bool = True,
) -> Conducted:
    """Ask what has not been asked yet, score everything, and keep the tables in the run's folder.

    Args:
        speaker: who is evaluated.
        chosen: the set.
        folder: of the run, which `RunFolder.begin` has opened for this configuration.
        see: gives the features for the floors, None where the model has no image encoder at hand.
        meteor: METEOR too.
        seed: of the floors, the bootstrap and the tests.
        ask_blind: ask the same questions about another image as well, for the floor.

    Raises:
        UserError: the folder holds something else, or an item has nothing that it could be scored against.
        MissingExtra: captions, and the extra `eval` is not installed.
        EngineError: captions, and Java does not run.
    """
    _check_truths(chosen)  # before hours of asking, not after
    with folder.alone():
        folder.note = chosen.note
        folder.save()
        kept = folder.predictions()
        troubles = await ask_set(speaker, chosen, kept, f"{chosen.name} {chosen.split}")
        texts, complete = texts_of(chosen, kept, troubles), troubles.empty
        lacking = [f"{len(kept)} of {len(chosen.items)} items were answered in full"] if not troubles.empty else []
        blind: list[str] | None = None
        if ask_blind and chosen.task != "caption" and len(chosen.images) > 1:
            kept_blind = folder.predictions("blind")
            pictures = blind_pictures(chosen, seed)
            troubles_blind = await ask_set(speaker, chosen, kept_blind, f"{chosen.name} {chosen.split}, shuffled", pictures)
            blind = texts_of(chosen, kept_blind, troubles_blind)
            if not troubles_blind.empty:
                lacking.append(f"of those on a shuffled image {len(kept_blind)} of {len(chosen.items)} were")
            complete = complete and troubles_blind.empty
        note = f"PARTIAL: {'; '.join(lacking)}." if lacking else ""
        tables = score_set(chosen, Said(texts, blind, note), see(chosen), meteor=meteor, seed=seed)
        folder.finish(tables, complete)
    return Conducted(tables, complete)


def _check_truths(chosen: EvaluationSet) -> None:
    """Raise where an item cannot be scored whatever is said of it, or the scorer cannot run."""
    if chosen.task == "caption":
        from rsagent.evaluation.captions import check_references

        check_references({item.key: item.truths for item in chosen.items})
        return
    blank = [item.key for item in chosen.items if not any(mark.isalnum() for truth in item.truths[:1] for mark in truth)]
    if blank:
        others = f" and {len(blank) - 1} more" if len(blank) > 1 else ""
        raise UserError(f"{chosen.name}, {chosen.split}: {blank[0][:80]!r}{others} has no answer: leave it out or give it one")
