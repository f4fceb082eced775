"""A conversation that is killed keeps every finished turn."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.measure_chat import kills, kills_at_prompt


@pytest.mark.parametrize("count", [3, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_at_random_moments(tmp_path: Path, count: int) -> None:
    lost, kept = kills(tmp_path, count, seed=7)
    assert lost == 0 and kept >= count


@pytest.mark.slow
def test_killed_as_soon_as_the_next_prompt_appears(tmp_path: Path) -> None:
    """The prompt says that the turn is over, so that turn is on the disk, too."""
    lost, kept = kills_at_prompt(tmp_path, 5, seed=7)
    assert lost == 0 and kept >= 5
