"""The frozen image encoder's linear read-out on the published splits, and the size of the checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rsagent.evaluation.caption_floors import Seen
from rsagent.evaluation.intervals import Figure, bootstrap_mean
from rsagent.evaluation.run import Run
from rsagent.evaluation.run_captions import CaptionSet
from rsagent.evaluation.table import Asked, Column, Row, Table

_FLOORS = {"ucm-test": Asked(0.94, 0.98), "rsicd-val": Asked(0.91, 0.94)}
_LARGEST_MB, _SMALL_MB = 30.0, 20.0


def run_encoder(run: Run, sets: Sequence[tuple[CaptionSet, Seen]]) -> list[Table]:
    """Share of images whose class the read-out names, and the checkpoint's size."""
    rows: list[Row] = []
    for chosen, seen in sets:
        known = [row for row, image in enumerate(chosen.images) if image.label is not None]
        if seen.readout is None:
            continue
        found = seen.readout.predict(seen.images)
        right = [float(found[row] == chosen.images[row].label) for row in known]
        asked = {"accuracy": _FLOORS[chosen.name]} if run.limit is None else {}
        name = f"{chosen.title.replace(' captions', '')}: {len(seen.readout.classes)} classes"
        rows.append(Row(name, {"accuracy": bootstrap_mean(right, seed=run.seed)}, asked, f"L2 {seen.readout.penalty:g}"))
    read_outs = Table("Image encoder, frozen: linear read-out of pooled features", [Column("accuracy")], rows)
    return [read_outs, checkpoint_size(run.checkpoint)]


def checkpoint_size(folder: Path) -> Table:
    """The size of a checkpoint folder in megabytes (10^6 bytes)."""
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
    row = Row(folder.name, {"MB": Figure(size, 1)}, {"MB": Asked(_LARGEST_MB, _SMALL_MB, at_most=True)})
    return Table("Checkpoint folder", [Column("MB", digits=1)], [row])
