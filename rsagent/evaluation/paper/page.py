"""The paper's tables with ours: a row a score, what is run here in columns, what was published in columns of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rsagent.evaluation.arms import Arm, paired_table
from rsagent.evaluation.intervals import Figure
from rsagent.evaluation.paper.published import MEAN, Printed
from rsagent.evaluation.paper.specs import PaperTable, TrainedArm
from rsagent.evaluation.run_folder import RunFolder
from rsagent.evaluation.scoring import BLIND, LENIENT, MODEL, PRIOR, STRICT
from rsagent.evaluation.table import Column, Row, Table

HERE, PRINTED = "here", "published"
_FLOORS = ("random training caption", "nearest neighbour's caption", "predicted-class lookup", "true-class lookup")
_TEN = "RSIEval's ten types"


@dataclass(frozen=True)
class OnSet:
    """What was run on one set: the model as it is, and for each arm a run by seed."""

    name: str
    plain: RunFolder | None = None
    arms: Mapping[str, Mapping[int, RunFolder]] = field(default_factory=lambda: dict[str, Mapping[int, RunFolder]]())


def paper_tables(
    table: PaperTable,
    found: Sequence[OnSet],
    missing: Sequence[str],
    *,
    left_out: Sequence[TrainedArm] = (),
    untrained: Sequence[str] = (),
    seed: int = 0,
) -> list[Table]:
    """The tables of one of the paper's: for each set the figures, then the arms' differences.

    Args:
        table: which.
        found: the sets at hand, run.
        missing: a line for each set that is not at hand, and how to get it.
        left_out: arms that nobody asked for.
        untrained: the trainings that failed, by name.
        seed: of intervals and tests.
    """
    printed = table.printed
    note = " ".join([f"Published: on {printed.on}.", *printed.faults, table.missing, *missing]).strip()
    if left_out:
        note = f"Left out (--arms): {', '.join(arm.name for arm in left_out)}. {note}"
    number = f"Table {table.number}, {printed.title}"
    if not found:
        return [Table(f"{number}: no set is at hand", [Column(PRINTED)], _published_rows(printed, ()), f"PARTIAL: {note}")]
    runs = [
        run
        for on in found
        for run in (*([on.plain] if on.plain else []), *(run for of in on.arms.values() for run in of.values()))
    ]
    lacking = [run.name for run in runs if not run.complete]
    partial = "PARTIAL: not every set is at hand. " if missing else ""
    partial += f"PARTIAL: some items of {len(lacking)} runs have no full answer. " if lacking else ""
    partial += f"PARTIAL: not trained: {'; '.join(untrained)}. " if untrained else ""
    tables: list[Table] = []
    for on in found:
        build = _by_arm if table.reference else _by_system
        tables.append(build(f"{number}; here on {on.name}", table, on, partial + note))
        if table.reference in on.arms and len(on.arms) > 1:
            tables.append(_differences(f"{number}: differences on {on.name}", table, on, seed))
    return tables


def scores(run: RunFolder) -> dict[str, dict[str, Figure]]:
    """A run's figures: system (the model, floors) -> score -> figure. Questions by RSIEval's types where they map."""
    tables = run.tables()
    captions = next((one for one in tables if one.title.endswith(": captions")), None)
    if captions is not None:
        return {row.name: dict(row.figures) for row in captions.rows}
    main = tables[0]
    ten = next((one for one in tables if _TEN in one.title), None)
    rows = [*(row for row in main.rows if row.name == MEAN), *((ten or main).rows)]
    systems = [column.name for column in main.columns]
    return {
        MODEL if system == STRICT else system: {
            row.name: row.figures[system] for row in reversed(rows) if system in row.figures
        }
        for system in systems
    }


def over_seeds(figures: Sequence[Figure]) -> Figure:
    """The mean over seeds with the lowest and the highest of them; one seed keeps its interval."""
    if len(figures) == 1:
        return figures[0]
    values = [one.value for one in figures]
    return Figure(float(np.mean(values)), figures[0].n, min(values), max(values))


def _by_system(title: str, table: PaperTable, on: OnSet, note: str) -> Table:
    """A row a score; columns: the model, its floors, the arms, and the paper's systems."""
    systems: dict[str, dict[str, Figure]] = {}
    if on.plain is not None:
        of = scores(on.plain)
        systems[HERE] = of[MODEL]
        systems |= {name: of[name] for name in (LENIENT, PRIOR, BLIND, *_FLOORS) if name in of}
    for arm in table.arms:
        if arm.key in on.arms:
            systems[arm.name] = _arm_scores(on.arms[arm.key])
    printed = table.printed
    names = list(dict.fromkeys([*printed.columns, *(name for of in systems.values() for name in of)]))
    columns = [Column(name) for name in [*systems, *(f"{PRINTED}: {name}" for name in printed.figures)]]
    rows: list[Row] = []
    for name in names:
        figures = {system: of[name] for system, of in systems.items() if name in of}
        if name in printed.columns:
            figures |= {f"{PRINTED}: {system}": _printed(printed, system, name) for system in printed.figures}
        rows.append(Row(name, figures))
    return Table(title, columns, rows, note)


def _by_arm(title: str, table: PaperTable, on: OnSet, note: str) -> Table:
    """A row an arm and score; one column is ours, one the paper's."""
    rows: list[Row] = []
    for arm in table.arms:
        ours = _arm_scores(on.arms[arm.key]) if arm.key in on.arms else {}
        for name in _shown(table.printed, arm, ours):
            figures = {HERE: ours[name]} if name in ours else {}
            if arm.printed and name in table.printed.columns:
                figures[PRINTED] = _printed(table.printed, arm.printed, name)
            rows.append(Row(f"{arm.name}: {name}", figures))
    rows += _published_rows(table.printed, [arm.printed for arm in table.arms])
    seeds = max((len(runs) for runs in on.arms.values()), default=1)
    told = f"Here: mean of {seeds} seeds, in brackets the lowest and the highest. " if seeds > 1 else ""
    return Table(title, [Column(HERE), Column(PRINTED)], rows, told + note)


def _shown(printed: Printed, arm: TrainedArm, ours: Mapping[str, Figure]) -> list[str]:
    both = [name for name in printed.columns if name in ours or arm.printed]
    return list(dict.fromkeys([*both, *ours]))


def _differences(title: str, table: PaperTable, on: OnSet, seed: int) -> Table:
    reference = next(arm for arm in table.arms if arm.key == table.reference)
    first = on.arms[table.reference]
    arms = [
        Arm(arm.name, [(first[seed], on.arms[arm.key][seed]) for seed in seeds])
        for arm in table.arms
        if arm is not reference and (seeds := sorted(first.keys() & on.arms.get(arm.key, {}).keys()))
    ]
    return paired_table(title, arms, reference=reference.name, aspects=False, seed=seed)


def _arm_scores(runs: Mapping[int, RunFolder]) -> dict[str, Figure]:
    by_seed = [scores(runs[seed])[MODEL] for seed in sorted(runs)]
    return {name: over_seeds([of[name] for of in by_seed]) for name in by_seed[0] if all(name in of for of in by_seed)}


def _published_rows(printed: Printed, known: Sequence[str]) -> list[Row]:
    """The paper's rows that no arm stands beside."""
    return [
        Row(f"{system} (paper): {name}", {PRINTED: _printed(printed, system, name)})
        for system in printed.figures
        if system not in known
        for name in printed.columns
    ]


def _printed(printed: Printed, system: str, column: str) -> Figure:
    """A published figure on our scale, where 1.0 is 100 %."""
    return Figure(printed.figures[system][printed.columns.index(column)] / 100, printed.items)
