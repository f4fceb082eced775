"""What a training does when something fails: it stops, says where, and leaves the last good state whole."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

import rsagent.training
import rsagent.training.stages as stages
from rsagent.errors import EngineError, ImageError, UserError
from rsagent.training.corpus import Corpus
from rsagent.training.fresh import fresh_network
from rsagent.training.language import LanguageTask
from rsagent.training.material import Material
from rsagent.training.pictures import picture_bank
from rsagent.training.recipe import Recipe, load_recipe
from rsagent.training.resume import checkpoint_to_resume
from rsagent.training.run_folder import claimed
from rsagent.training.stages import train_base

pytest.importorskip("accelerate", reason="needs pip install 'rsagent[train]'")


@pytest.fixture(scope="module")
def recipe(tiny_recipe: Recipe) -> Recipe:
    assert tiny_recipe.base
    run = tiny_recipe.base.model_copy(update={"samples": 24, "batch": 4, "lr": 1e-2})
    return tiny_recipe.model_copy(update={"base": run})


@pytest.fixture(autouse=True)
def _save_often(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(stages, "SAVE_STEPS", 2)
    yield


def base(recipe: Recipe, material: Material, out: Path, *, resume: bool = False) -> None:
    out.mkdir(exist_ok=True)
    train_base(fresh_network(recipe, material.tokenizer, ["ucm"]), recipe, material, out, resume=resume)


def said(call: Any) -> str:
    with pytest.raises((EngineError, UserError)) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def nan_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of the given step is no number, as after a learning rate that is too high."""
    forward, steps = LanguageTask.forward, iter(range(1000))

    def broken(self: LanguageTask, *args: Any, **batch: Any) -> dict[str, torch.Tensor]:
        found = forward(self, *args, **batch)
        return {**found, "loss": found["loss"] * float("nan")} if next(steps) == step else found

    monkeypatch.setattr(LanguageTask, "forward", broken)


def test_a_loss_that_is_no_number_stops_the_stage(
    recipe: Recipe, material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        nan_at(5, patch)
        line = said(lambda: base(recipe, material, tmp_path / "run"))
    assert "base at step 5" in line and "lower base.lr" in line and "checkpoint-4" in line
    assert not (tmp_path / "run" / "base.safetensors").exists()
    assert Path(checkpoint_to_resume(tmp_path / "run" / "base", resume=True) or "").name == "checkpoint-4"
    base(recipe, material, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "base.safetensors").exists()


def test_before_the_first_checkpoint_nothing_is_promised(
    recipe: Recipe, material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    nan_at(0, monkeypatch)
    assert "no checkpoint of this stage was kept yet" in said(lambda: base(recipe, material, tmp_path / "run"))


def test_a_full_disk_leaves_the_checkpoint_before_it_whole(
    recipe: Recipe, material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    save, calls = torch.save, iter(range(1000))

    def full(*args: Any, **kwargs: Any) -> None:
        if next(calls) >= 4:  # each checkpoint holds some files that torch writes
            raise OSError(errno.ENOSPC, "No space left on device")
        save(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        line = said(lambda: base(recipe, material, tmp_path / "run"))
    assert "No space left on device" in line and "then --resume" in line and "checkpoint-" in line
    kept = checkpoint_to_resume(tmp_path / "run" / "base", resume=True)
    assert kept and Path(kept).name in line
    base(recipe, material, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "base.safetensors").exists()


HOLD = """
import sys, time
from pathlib import Path
from rsagent.training.recipe import Recipe, load_recipe
from rsagent.training.run_folder import claimed
import yaml
with claimed(Path(sys.argv[1]), Recipe.model_validate(yaml.safe_load(sys.stdin))):
    print("held", flush=True)
    time.sleep(600)
"""


def test_one_training_a_folder(tiny_recipe: Recipe, tmp_path: Path):
    """Another process holds the folder; killed, it holds it no longer."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin and process.stdout
    process.stdin.write(yaml.safe_dump(tiny_recipe.model_dump(mode="json", exclude={"optim"})))
    process.stdin.close()
    assert process.stdout.readline() == "held\n"
    with pytest.raises(UserError, match="another training writes to"), claimed(tmp_path, tiny_recipe):
        pass
    process.kill()
    process.wait()
    with claimed(tmp_path, tiny_recipe):
        pass


def test_a_run_keeps_its_recipe(tiny_recipe: Recipe, tmp_path: Path):
    with claimed(tmp_path, tiny_recipe):
        pass
    other = tiny_recipe.model_copy(update={"seed": 5})
    with pytest.raises(UserError, match="seed was 0, is 5; take it back"), claimed(tmp_path, other):
        pass
    slower = tiny_recipe.model_copy(update={"stage1": tiny_recipe.stage1.model_copy(update={"lr": 1e-5})})
    with claimed(tmp_path, slower):  # stage I has not begun
        pass
    (tmp_path / "stage1").mkdir()
    with pytest.raises(UserError, match="stage1.lr was 1e-05, is 0.001"), claimed(tmp_path, tiny_recipe):
        pass


def test_a_key_that_recipes_did_not_have_then_is_no_difference(tiny_recipe: Recipe, tmp_path: Path):
    with claimed(tmp_path, tiny_recipe):
        pass
    (tmp_path / "stage1").mkdir()
    stored = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    del stored["stage1"]["looks"]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(stored))
    with claimed(tmp_path, tiny_recipe):
        pass
    looks = tiny_recipe.model_copy(update={"stage1": tiny_recipe.stage1.model_copy(update={"looks": 4})})
    with pytest.raises(UserError, match="stage1.looks was 0, is 4"), claimed(tmp_path, looks):
        pass


def test_nor_is_it_one_in_a_recipe_that_names_weights(tmp_path: Path):
    """Its sizes are stored although such a recipe must not say them."""
    recipe = load_recipe(Path(rsagent.training.__file__).parent / "recipes" / "small.yaml", ["network.lora_rank=4"])
    with claimed(tmp_path, recipe):
        pass
    (tmp_path / "stage1").mkdir()
    stored = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    del stored["compiled"]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(stored))
    with claimed(tmp_path, recipe):
        pass
    wider = load_recipe(Path(rsagent.training.__file__).parent / "recipes" / "small.yaml")
    with pytest.raises(UserError, match="network.lora_rank was 4, is 8"), claimed(tmp_path, wider):
        pass


def test_a_run_from_before_recipes_were_kept_goes_on(tiny_recipe: Recipe, tmp_path: Path):
    (tmp_path / "stage1.safetensors").touch()
    with claimed(tmp_path, tiny_recipe):
        assert yaml.safe_load((tmp_path / "recipe.yaml").read_text())["name"] == "test"


def pictures(folder: Path, count: int, broken: int) -> list[Path]:
    folder.mkdir()
    files = [folder / f"{index}.png" for index in range(count)]
    for index, file in enumerate(files):
        if index < broken:
            file.write_bytes(b"no picture")
        else:
            Image.new("RGB", (32, 32), (index % 256, 0, 0)).save(file)
    return files


def test_a_picture_that_cannot_be_read_is_left_out_and_listed(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    files = pictures(tmp_path / "imgs", 150, 1)
    for _ in range(2):  # the second time the bank comes from disk, and knows it still
        lost: set[int] = set()
        with caplog.at_level("WARNING"):
            bank = picture_bank(files, 32, tmp_path / "cache", lost=lost)
        assert lost == {0} and bank[0].max() == 0 and bank[5, 0, 0, 0] == 5
    assert "1 of 150 pictures cannot be read" in caplog.text
    assert "0.png" in next((tmp_path / "cache").glob("*.lost.json")).read_text()
    with pytest.raises(ImageError):  # who needs every picture is told
        picture_bank(files, 32, tmp_path / "cache")


def test_too_many_of_them_stop_the_run(tmp_path: Path):
    files = pictures(tmp_path / "imgs", 150, 4)
    with pytest.raises(UserError, match="more than 1% of 150 pictures"):
        picture_bank(files, 32, tmp_path / "cache", lost=set())
    assert not list((tmp_path / "cache").glob("*"))


def test_the_corpus_forgets_what_could_not_be_read(corpus: Corpus):
    left = corpus.without({0, 6})
    assert [len(left.pictures[style]) for style in ("ucm", "rsicd", "scenes")] == [2, 2, 4]
    assert all(row.image not in (0, 1, 6, 7) for index in range(60) for row in left.sample(index, "stage1"))
