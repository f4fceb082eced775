"""What a training does and costs, before it costs: plan, placement, check, and captions divided into aspects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

CAPTIONS = (
    "This is an aerial image of an airport. Two white planes are parked in the top left, near a long grey runway.",
    "A residential area with many houses. Some cars are parked beside a road in the middle.",
    "There is a harbour with three boats. The boats lie near a pier.",
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """RSICap as it is published, with three pictures."""
    folder = tmp_path / "data" / "RSICap"
    (folder / "images").mkdir(parents=True)
    items = []
    for index, caption in enumerate(CAPTIONS):
        Image.new("RGB", (64, 64), (index * 40, 90, 60)).save(folder / "images" / f"P{index}.png")
        items.append({"image_id": index, "filename": f"P{index}.png", "text_input": "Describe it.", "text_output": caption})
    (folder / "captions.json").write_text(json.dumps({"annotations": items}))
    return folder.parent


def test_a_plan_needs_nothing_but_the_recipe(cli):
    result = cli("train", "plan", "vicuna-7b", "--gpu", "h100", "optim.accumulate=6")
    assert result.exit_code == 0, result.stderr
    assert "torchrun --nproc-per-node 8 -m rsagent train all --recipe vicuna-7b" in result.stdout
    assert "4 images x 272 tokens" in result.stdout and "989 TFLOP/s" in result.stdout


def test_placement_as_a_table_and_as_json(cli):
    table = cli("train", "placement", "smollm2-135m")
    assert "crossattention.output.dense" in table.stdout and "stage2: " in table.stdout
    rows = json.loads(cli("train", "placement", "smollm2-135m", "network.experts=2", "--json").stdout)
    first, second = (
        sum(row["parameters"] for row in rows if row["stage"] == s and row["part"] == "LLM") for s in ("stage1", "stage2")
    )
    assert second == 2 * first


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["plan", "tiny"], "from nothing"),
        (["plan", "gone"], "no recipe 'gone': give a file, or one of"),
        (["plan", "vicuna-7b", "optim.colour=red"], "optim.colour"),
        (["plan", "vicuna-7b", "--gpu", "abacus"], "choose one of a100"),
        (["placement", "tiny"], "with weights"),
        (["check", "vicuna-7b", "--data", "nowhere"], "nowhere is no folder"),
        (["base", "--recipe", "vicuna-7b", "--data", "."], "begin with stage1"),
        (["data", "split-aspects", "holiday", "--data", "."], "choose one of ucm"),
        (["data", "split-aspects", "ucm", "--data", ".", "--model", "m"], "--url and --model go together"),
    ],
)
def test_what_cannot_be_is_one_line(cli, monkeypatch, arguments, says):
    monkeypatch.delenv("RSAGENT_DATA", raising=False)
    result = cli("train", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1 and says in result.stderr


def test_check_shows_what_the_experts_will_learn(cli, data):
    result = cli("train", "check", "smollm2-135m", "--data", str(data), "--no-step")
    assert result.exit_code == 0, result.stderr
    assert "rsicap: train 3" in result.stdout and result.stdout.count("caption: ") == 3
    assert "theme: " in result.stdout and "disk: " in result.stdout and "Memory of stage1" in result.stdout


def test_check_makes_one_step(cli, data):
    """A recipe of tiny sizes is built, its tokens are counted and one batch goes forward and back."""
    sizes = "network={queries_side: 3, qformer_dim: 32, token_dim: 32, qformer_layers: 1, llm_dim: 32, llm_layers: 1}"
    changes = ["captions=rsicap", "views=1", "scenes=0", "stage1={samples: 8, batch: 4}", sizes]
    result = cli("train", "check", "tiny", "--data", str(data), "--json", *changes)
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert (
        found["step"]["seconds"] > 0 and found["step"]["gigabytes"] > 0.1 and found["tokens"][0] > 20 and found["pictures"] == 3
    )


def test_check_finds_what_is_broken(cli, data):
    (data / "RSICap" / "images" / "P1.png").write_bytes(b"no picture")
    result = cli("train", "check", "smollm2-135m", "--data", str(data), "--no-step")
    assert result.exit_code == 1
    assert "cannot be read: P1.png" in result.stdout and "1 of 3 pictures cannot be read" in result.stderr
    (data / "RSICap" / "images" / "P1.png").unlink()
    gone = cli("train", "check", "smollm2-135m", "--data", str(data), "--no-step")
    assert gone.exit_code == 2 and "P1.png" in gone.stderr


def test_aspects_are_written_corrected_and_read(cli, data):
    result = cli("train", "data", "split-aspects", "rsicap", "--data", str(data))
    target = data / "RSICap" / "aspects.jsonl"
    assert result.exit_code == 0 and result.stdout == f"{target}\n" and "3 divided, 0 left" in result.stderr
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    lines[0] |= {"theme": "a place that nobody else names.", "checked": True}
    target.write_text("".join(json.dumps(line) + "\n" for line in lines))
    again = cli("train", "data", "split-aspects", "rsicap", "--data", str(data))
    assert "0 divided, 3 left" in again.stderr
    assert "a place that nobody else names." in cli("train", "check", "smollm2-135m", "--data", str(data), "--no-step").stdout


def test_an_expert_is_merged_and_checkpoints_are_compared(cli, tiny_checkpoint, tmp_path):
    out = tmp_path / "merged"
    merged = cli("model", "merge", "theme", str(out), "--checkpoint", str(tiny_checkpoint))
    assert merged.exit_code == 0 and merged.stdout == f"{out}\n" and (out / "model.safetensors").is_file()
    assert cli("model", "diff", str(tiny_checkpoint), str(tiny_checkpoint)).stdout == "no difference\n"
    told = cli("model", "diff", "tiny", str(tiny_checkpoint))
    assert told.exit_code == 0 and "config name: 'tiny" in told.stdout and "model.safetensors: " in told.stdout
