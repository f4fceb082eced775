"""When the soak of scripts/measure_embedding.py says that it failed."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "measure_embedding.py"


@pytest.mark.parametrize(
    ("outcomes", "drift", "code", "says"),
    [
        ({"200": 90, "429": 10}, 0.049, 0, []),
        ({"200": 90, "503": 1, "cut off": 2}, 0.0, 0, ["1 x 503", "2 x cut off"]),
        ({"200": 90, "ReadError": 1}, 0.0, 0, ["1 x ReadError"]),
        ({"429": 9}, 0.0, 0, ["nothing was answered"]),
        ({"200": 9}, -0.06, 0, ["memory drifted by -6.0%, more than 5%"]),
        ({"200": 9}, 0.0, 1, ["exit code 1"]),
    ],
)
def test_what_a_soak_must_not_show(outcomes: dict[str, int], drift: float, code: int, says: list[str]) -> None:
    spec = importlib.util.spec_from_file_location("measure_embedding", SCRIPT)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.soak_faults(Counter(outcomes), drift, code) == says
