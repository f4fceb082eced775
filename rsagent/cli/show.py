"""Captions, answers and the router's work for people: in frames and colours on a terminal, else in plain lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsagent.cli.console import visible

if TYPE_CHECKING:
    from rich.console import Console

    from rsagent.schemas import Answer, Caption, Conflict, ImageFacts, RouterTrace

COLOURS = ("cyan", "green", "magenta", "yellow")
"""One for each expert, in the order in which they are shown; their names are always written, too."""


def caption_lines(name: str, caption: Caption) -> list[str]:
    """A caption in plain lines: the picture, what each expert says, the composed text, what is wrong with it."""
    lines = [name, *(f"  {expert}: {text}" for expert, text in said(caption).items())]
    return [*lines, f"  caption: {caption.text}", *(f"  {line}" for line in blemishes(caption))]


def said(outcome: Caption | Answer) -> dict[str, str]:
    """Expert -> what it said: its aspect as the composer tidied it, its answer, or why there is none."""
    from rsagent.graphs.compose import ASPECTS, latest
    from rsagent.schemas import Answer

    if isinstance(outcome, Answer):
        answers = {outcome.expert: outcome.text} | {report.expert: report.text for report in outcome.evidence}
        errors = {report.expert: report.error for report in outcome.evidence if report.error}
        return answers | {name: f"(no answer: {error})" for name, error in errors.items()}
    return {
        name: f"(no answer: {report.error})" if report.error else getattr(outcome, ASPECTS.get(name, ""), report.text)
        for name, report in latest(outcome.reports).items()
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

    aspects = said(caption)
    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False, show_edge=False)
    for index, expert in enumerate(aspects):
        table.add_column(Text(visible(expert)), style=COLOURS[index % len(COLOURS)], ratio=1)
    table.add_row(*(Text(visible(text) or "-") for text in aspects.values()))
    console.print(Panel(table, title=Text(visible(name)), title_align="left", border_style="dim"))
    console.print(Text(visible(caption.text), style="bold"))
    _frame_rest(caption, console)


def frame_answer(answer: Answer, console: Console) -> None:
    """An answer on a terminal, with the expert that gave it and its evidence."""
    from rich.text import Text

    console.print(Text(visible(answer.text), style="bold"))
    evidence = [f"{report.expert}: {report.text}" for report in answer.evidence if report.error is None and report.text]
    lines = [f"answered by {answer.expert}", *(["evidence: " + "; ".join(evidence)] if evidence else [])]
    console.print(Text("\n".join(map(visible, lines)), style=COLOURS[0]))
    _frame_rest(answer, console)


def trace_lines(name: str, trace: RouterTrace, outcome: Caption | Answer) -> list[str]:
    """What the router did, and what came of it, in plain lines."""
    lines = [name, f"  instruction: {trace.instruction}"]
    for expert, cells in _trace_rows(trace, outcome).items():
        lines += [f"  {expert} {label}: {cell}" for label, cell in zip(_TRACED, cells, strict=True)]
    return [*lines, f"  result: {outcome.text}", *(f"  {line}" for line in blemishes(outcome))]


def frame_trace(trace: RouterTrace, outcome: Caption | Answer, console: Console) -> None:
    """What the router did, on a terminal: a column an expert, and the result under them."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = _trace_rows(trace, outcome)
    table = Table(box=box.ROUNDED, expand=True, border_style="dim", title_justify="left")
    table.title = Text(visible(f"{trace.image.name}: {trace.instruction}"), style="bold")
    table.add_column("")
    for index, expert in enumerate(rows):
        table.add_column(Text(visible(expert)), style=COLOURS[index % len(COLOURS)], ratio=1)
    for label, *cells in zip(_TRACED, *rows.values(), strict=True):
        table.add_row(label, *(Text(visible(cell)) for cell in cells))
    console.print(table)
    console.print(Text(visible(outcome.text), style="bold"))
    _frame_rest(outcome, console)


_TRACED = ("gate", "prompt", "looks at", "nearest words", "says")


def _trace_rows(trace: RouterTrace, outcome: Caption | Answer) -> dict[str, list[str]]:
    """Expert -> gate, prompt, place, nearest words and report, in words."""
    from rsagent.cli.picture import place

    words = said(outcome)
    return {
        (name := expert.prompt.expert): [
            f"{trace.gate[name]:.2f}",
            expert.prompt.text,
            place(expert.attention),
            " ".join(expert.nearest_words) or "-",
            (words[name] or "-") if name in words else "(not asked)",
        ]
        for expert in trace.experts
    }


def _frame_rest(outcome: Caption | Answer, console: Console) -> None:
    from rich.text import Text

    for line in blemishes(outcome):
        console.print(Text(visible(line), style="yellow"))
    console.print(Text(visible(footer(outcome.image, outcome.seconds)), style="dim"))
    console.print()
