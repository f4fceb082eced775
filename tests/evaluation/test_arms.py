"""Arms against their reference, image by image, over one seed and over several."""

import pytest

from rsagent.errors import UserError
from rsagent.evaluation.arms import ARM, DIFFERENCE, Arm, paired_table
from rsagent.evaluation.run_folder import RunFolder

CONFIG = {"dataset": "toy", "split": "test", "limit": None, "items": "x"}


def run(path, right, *, images=40, **changed) -> RunFolder:
    """A run in which `right(kind, image)` says whether the question of that kind about that image was answered right."""
    folder = RunFolder.begin(path, {**CONFIG, **changed}, 2 * images)
    kept = folder.predictions()
    for image in range(images):
        for kind, truth in (("count", str(image)), ("presence", "yes")):
            text = truth if right(kind, image) else "nothing of the kind"
            kept.add(
                f"{image}#{kind}", image=f"{image}", file=None, type=kind, question="?", truths=[truth], label=None,
                text=text, expert="object", experts=[],
            )  # fmt: skip
    return folder


def rows(table):
    return {row.name: row for row in table.rows}


@pytest.fixture
def own(tmp_path):
    return run(tmp_path / "own", lambda kind, image: True)


def test_what_loses_one_aspect_loses_it_alone(tmp_path, own):
    worse = run(tmp_path / "zero", lambda kind, image: kind == "presence" or image % 2)
    found = rows(paired_table("t", [Arm("zero", [(own, worse)]), Arm("own again", [(own, own)])]))
    assert found["zero: count, strict"].figures[DIFFERENCE].value == pytest.approx(-0.5)
    assert found["zero: count, strict"].note == "worse"
    assert found["zero: all, strict"].figures[ARM].value == pytest.approx(0.75)
    assert found["zero: presence, strict"].note == "no difference beyond the interval"
    assert found["own again: all, strict"].figures[DIFFERENCE].value == 0


def test_seeds_are_averaged_by_image_and_counted(tmp_path, own):
    worse = run(tmp_path / "a", lambda kind, image: image % 2)
    same = run(tmp_path / "b", lambda kind, image: True)
    found = rows(paired_table("t", [Arm("zero", [(own, worse), (own, same), (own, worse)])], aspects=False))
    assert list(found) == ["zero: all, strict"]
    row = found["zero: all, strict"]
    assert row.figures[DIFFERENCE].value == pytest.approx(-1 / 3)
    assert row.figures[DIFFERENCE].n == 80
    assert row.note == "worse; so by itself in 2 of 3 seeds"


def test_runs_on_different_sets_are_refused_in_one_line(tmp_path, own):
    other = run(tmp_path / "val", lambda kind, image: True, split="val")
    with pytest.raises(UserError, match="has split val, .* has test: compare runs on one set"):
        paired_table("t", [Arm("zero", [(own, other)])])


def test_captions_are_scored_whole_and_by_expert(tmp_path):
    pytest.importorskip("pycocoevalcap")

    def captions(path, relation):
        folder = RunFolder.begin(path, CONFIG, 3)
        kept = folder.predictions()
        for image, place in enumerate(("river", "harbour", "airport", "beach")):
            said = {"theme": f"this is a quiet {place} in summer", "relation": f"the {relation(place)} lies beside a road"}
            kept.add(
                place, image=str(image), file=None, type="", question="", label=None, text=" . ".join(said.values()), expert="",
                truths=[f"this is a quiet {place} in summer . the {place} lies beside a road"],
                experts=[list(one) for one in said.items()],
            )  # fmt: skip
        return folder

    own, arm = captions(tmp_path / "own", lambda place: place), captions(tmp_path / "arm", lambda place: "pig")
    found = rows(paired_table("t", [Arm("swapped", [(own, arm)])]))
    assert found["swapped: caption, CIDEr"].figures[DIFFERENCE].value < 0
    assert found["swapped: theme expert, CIDEr"].figures[DIFFERENCE].value == 0
    assert found["swapped: relation expert, CIDEr"].figures[DIFFERENCE].value < 0


def test_what_an_arm_never_answered_counts_as_nothing_said(tmp_path, own):
    short = run(tmp_path / "short", lambda kind, image: True, images=30)
    table = paired_table("t", [Arm("short", [(own, short)])])
    assert table.note.startswith("PARTIAL: 20 items without a full answer count as nothing said.")
    figure = rows(table)["short: all, strict"].figures[DIFFERENCE]
    assert (figure.value, figure.n) == (pytest.approx(-0.25), 80)
