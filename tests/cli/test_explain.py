from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from rsagent.cli.picture import SIDE, place, router_picture
from rsagent.schemas import ExpertPrompt, ExpertTrace, ImageFacts, RouterTrace

HERE = {"digest": "0" * 64, "instruction": "Where?", "task": "answer"}


def trace_of(attention: list[list[float]]) -> RouterTrace:
    facts = ImageFacts(sha256="0" * 64, name="x.png", width=60, height=40, bands=3, dtype="uint8", format="PNG")
    experts = [
        ExpertTrace(prompt=ExpertPrompt(expert=name, text="Where?", **HERE), nearest_words=["sea"], attention=attention)
        for name in ("theme", "object")
    ]
    return RouterTrace(image=facts, instruction="Where?", gate={"theme": 0.2, "object": 0.8}, experts=experts)


def test_the_trace_and_a_picture(cli, picture):
    result = cli("explain", picture, "How many houses are there?", "--out", "seen.png")
    assert result.exit_code == 0
    for part in (
        "instruction: How many houses",
        "object gate: 1.00",
        "relation prompt:",
        "theme looks at:",
        "result:",
    ):
        assert part in result.stdout
    assert "the router picture is seen.png" in result.stderr
    with Image.open("seen.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > 4 * SIDE  # the image and three experts


def test_without_a_question_it_explains_the_caption(cli, picture):
    record = json.loads(cli("explain", "--json", picture).stdout)
    assert "Describe" in record["trace"]["instruction"]
    assert record["result"]["style"] == "detailed"
    assert record["picture"] == "field-router.png"
    assert Path("field-router.png").exists()


def test_a_picture_that_cannot_be_written_is_one_line_and_leaves_nothing(cli, picture, place):
    result = cli("explain", picture, "--out", "nowhere/seen.png")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "cannot write nowhere/seen.png" in result.stderr
    assert not list(place.glob("**/*seen*"))


def test_place_names_the_ninth_with_the_most_attention():
    maps = np.full((6, 6), 0.5 / 36)
    maps[0, 5] += 0.5
    assert place(maps.tolist()) == "upper right (56%)"
    assert place(np.full((6, 6), 1 / 36).tolist()) == "the whole image"
    assert place([[1.0]]) == "the whole image"


def test_the_panel_of_an_expert_is_brightest_where_it_looks():
    attention = [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    rgb = np.full((40, 60, 3), 200, np.uint8)
    sheet = np.asarray(router_picture(rgb, trace_of(attention), {"object": "a sea"}).convert("L"), np.float32)
    height = round(SIDE * 40 / 60)
    panel = sheet[10 : 10 + height, 20 + SIDE : 20 + 2 * SIDE]
    assert panel[-20:, :20].mean() > 2 * panel[:20, -20:].mean()


def test_long_words_and_tall_pictures_stay_on_the_sheet():
    said = {"theme": "w" * 500, "object": "word " * 500}
    sheet = router_picture(np.zeros((900, 3, 3), np.uint8), trace_of([[1.0]]), said)
    assert sheet.height < 1000
