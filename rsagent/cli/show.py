"""Captions and answers for people: in frames and colours on a terminal, in plain lines elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsagent.cli.console import visible

if TYPE_CHECKING:
    from rich.console import Console

    from rsagent.schemas import Answer, Caption, Conflict, ImageFacts

COLOURS = ("cyan", "green", "magenta", "yellow")
"""One for each expert, in the order in which they are shown; their names are always written, too."""


def caption_lines(name: str, caption: Caption) -> list[str]:
    """A caption in plain lines: the picture, what each expert says, the composed text, what is wrong with it."""
    lines = [name, *(f"  {expert}: {said}" for expert, said in said_by_experts(caption).items())]
    return [*lines, f"  caption: {caption.text}", *(f"  {line}" for line in blemishes(caption))]


def said_by_experts(caption: Caption) -> dict[str, str]:
    """Expert -> its aspect as the composer tidied it, or why there is none."""
    from rsagent.graphs.compose import ASPECTS, latest

    return {
        name: f"(no answer: {report.error})" if report.error else getattr(caption, ASPECTS.get(name, ""), report.text)
        for name, report in latest(caption.reports).items()
    }


def blemishes(outcome: Caption | Answer) -> list[str]:
    """What a reader must know: experts that failed, and contradictions that were not resolved."""
    lines = [f"conflict: {conflict_line(conflict)}" for conflict in outcome.conflicts if not conflict.resolved]
    return [f"partial: no answer from {', '.join(outcome.missing)}", *lines] if outcome.partial else lines


def conflict_line(conflict: Conflict) -> str:
    """A contradiction in words."""
    return f"{conflict.what} ({conflict.expert} against {conflict.against})"


def footer(facts: ImageFacts, seconds: float) -> str:
    """Size, kind, ground sample distance, what was done to read the picture, and the time it took."""
    parts = [f"{facts.width} x {facts.height}", facts.format]
    parts += [f"{facts.gsd_m:.3g} m a pixel"] if facts.gsd_m else []
    return " · ".join([*parts, *facts.notes, f"{seconds:.2f} s"])


def frame_caption(name: str, caption: Caption, console: Console) -> None:
    """A caption on a terminal: the experts side by side, the composed text under them."""
    from rich import box
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    said = said_by_experts(caption)
    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False)
    for index, expert in enumerate(said):
        table.add_column(Text(expert), style=COLOURS[index % len(COLOURS)], ratio=1)
    table.add_row(*(Text(visible(text) or "-") for text in said.values()))
    console.print(Panel(table, title=Text(visible(name)), title_align="left", border_style="dim"))
    console.print(Text(visible(caption.text), style="bold"))
    _frame_rest(caption, console)


def frame_answer(answer: Answer, console: Console) -> None:
    """An answer on a terminal, with the expert that gave it and its evidence."""
    from rich.text import Text

    console.print(Text(visible(answer.text), style="bold"))
    evidence = [f"{report.expert}: {report.text}" for report in answer.evidence if report.error is None]
    lines = [f"answered by {answer.expert}", *(["evidence: " + "; ".join(evidence)] if evidence else [])]
    console.print(Text("\n".join(map(visible, lines)), style=COLOURS[0]))
    _frame_rest(answer, console)


def _frame_rest(outcome: Caption | Answer, console: Console) -> None:
    from rich.text import Text

    for line in blemishes(outcome):
        console.print(Text(visible(line), style="yellow"))
    console.print(Text(visible(footer(outcome.image, outcome.seconds)), style="dim"))
    console.print()
