"""The rows of scripts/measure_training.py that a test can repeat."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from scripts import measure_training

pytest.importorskip("accelerate", reason="needs pip install 'rsagent[train]'")


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The rows set torch's threads and where modules are found."""
    threads = torch.get_num_threads()
    monkeypatch.syspath_prepend(str(Path(measure_training.__file__).parent))
    yield
    torch.set_num_threads(threads)


def test_an_unknown_row_is_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        measure_training.main(["--rows", "speed"])
    assert "invalid choice: 'speed'" in capsys.readouterr().err


def test_adapters_say_in_peft_what_they_say_here(tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]):
    rows = ["--rows", "export", "--images", "2", "--threads", "1", "--checkpoint", str(tiny_checkpoint)]
    assert measure_training.main(rows) == 0
    told = capsys.readouterr().out.splitlines()
    assert "6 of n = 6 texts" in told[0] and told[0].endswith("met")
    assert "not asked for" in told[1]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_killed_training_goes_on(capsys: pytest.CaptureFixture[str]):
    assert measure_training.main(["--rows", "resume", "--kills", "1"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 7 and all(line.endswith("met") for line in told)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_processes_learn_what_one_does(capsys: pytest.CaptureFixture[str]):
    assert measure_training.main(["--rows", "parallel"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 2 and all("n = 50 steps a stage" in line and line.endswith("met") for line in told)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_timings_are_told_with_their_spread(capsys: pytest.CaptureFixture[str]):
    """Whether they meet their floors is for a quiet machine to say; nothing was encoded twice in any case."""
    short = ["--turns", "2", "--steps", "8", "--scenes", "20", "--threads", "1"]
    measure_training.main(["--rows", "overhead", "cache", *short])
    told = capsys.readouterr().out
    assert told.count("n = 2 turns") == 2 and "encoder passes, later epochs: 0," in told
