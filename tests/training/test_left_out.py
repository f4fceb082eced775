"""A recipe that leaves stages out: they stay as the start has them, and what comes after goes on from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rsagent.errors import UserError
from rsagent.model.checkpoint import load_checkpoint, save_checkpoint
from rsagent.model.network import RSMoE
from rsagent.training.beginning import start_of, take_over
from rsagent.training.fresh import fresh_network
from rsagent.training.material import Material
from rsagent.training.recipe import Recipe
from rsagent.training.stages import train_base, train_composer, train_stage1, train_stage2

pytest.importorskip("accelerate", reason="needs pip install 'rsagent[train]'")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def first(tiny_recipe: Recipe) -> Recipe:
    run = tiny_recipe.base.model_copy(update={"samples": 8, "batch": 4, "lr": 1e-2})
    composer = tiny_recipe.composer.model_copy(update={"samples": 8, "batch": 4, "lr": 1e-2})
    return tiny_recipe.model_copy(update={"base": run, "stage1": run, "stage2": run, "composer": composer})


@pytest.fixture(scope="module")
def start(first: Recipe, material: Material, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that has been through all stages."""
    out = tmp_path_factory.mktemp("first")
    network = fresh_network(first, material.tokenizer, ["ucm"])
    train_base(network, first, material, out, resume=False)
    after(network, first, material, out)
    save_checkpoint(network, out / "checkpoint", half=False)
    return out / "checkpoint"


def after(network: RSMoE, recipe: Recipe, material: Material, out: Path) -> None:
    """Every stage after the base."""
    train_stage1(network, recipe, material, out, resume=False)
    train_stage2(network, recipe, material, out, resume=False)
    train_composer(network, recipe, material, out, lambda *_: None, resume=False)


def gone_on(first: Recipe, material: Material, start: Path, out: Path, **changes: Any) -> dict[str, torch.Tensor]:
    """The tensors of what a recipe with `changes` leaves that goes on from `start`."""
    given = first.model_dump() | {"start": str(start), "encoder": None, "base": None, "stage1": None} | changes
    recipe = Recipe.model_validate({key: value for key, value in given.items() if key != "optim"})
    begun = start_of(recipe, out)
    assert begun is not None
    network = fresh_network(recipe, material.tokenizer, ["ucm"])
    network.vlm_encoder.load_state_dict(begun.vlm_encoder.state_dict())
    network.llm.load_state_dict(begun.llm.state_dict())
    network.image_encoder.load_state_dict(begun.image_encoder.state_dict())
    after(network, recipe, material, out)
    save_checkpoint(network, out / "checkpoint", half=False)
    return tensors(out / "checkpoint")


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_checkpoint(folder).state_dict())


def test_the_composer_alone_learns_more(first: Recipe, material: Material, start: Path, tmp_path: Path) -> None:
    was, now = tensors(start), gone_on(first, material, start, tmp_path, stage2=None)
    moved = {name for name in was if not torch.equal(was[name], now[name])}
    assert was.keys() == now.keys() and moved and all(".composer." in name for name in moved)


def test_experts_and_router_go_on_from_where_they_are(first: Recipe, material: Material, start: Path, tmp_path: Path) -> None:
    """With a rate at which nothing moves, the composer and the experts are those of the start, and not stage I's copies."""
    still = {"samples": 4, "batch": 4, "lr": 1e-12, "weight_decay": 0.0}
    was = tensors(start)
    now = gone_on(first, material, start, tmp_path, stage2=still, composer={**still, "reports": 4})
    for name, tensor in was.items():
        torch.testing.assert_close(now[name], tensor, atol=1e-6, rtol=1e-5)
    single = next(name for name in was if ".lora_B.single." in name)
    assert not torch.equal(was[single], was[single.replace("single", "composer")])


def test_a_start_that_lacks_an_adapter_is_refused(first: Recipe, material: Material, start: Path) -> None:
    network = fresh_network(first, material.tokenizer, ["ucm"])
    recipe = first.model_copy(update={"start": str(start)})
    with pytest.raises(UserError, match="has no adapter 'theme2'"):
        take_over(network, recipe, ["theme2"])


def test_a_start_of_another_rank_is_refused(first: Recipe, material: Material, start: Path, tmp_path: Path) -> None:
    network = first.network.model_copy(update={"lora_rank": first.network.lora_rank + 1})
    with pytest.raises(UserError, match="'single' of the start"):
        gone_on(first, material, start, tmp_path, network=network.model_dump())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"start": None, "encoder": {"samples": 100}}, "stage1 may be left out only"),
        ({"start": "tiny", "encoder": None, "base": {"samples": 100}}, "stage1 may be left out only"),
        ({"start": "tiny", "encoder": None, "base": None, "stage1": {"samples": 100}, "stage2": None}, "stage2 is needed"),
    ],
)
def test_what_cannot_be_left_out(first: Recipe, changes: dict[str, Any], said: str) -> None:
    given = first.model_dump() | {"base": None, "stage1": None, "optim": None} | changes
    with pytest.raises(ValueError, match=said):
        Recipe.model_validate(given)


def test_a_stage_that_is_left_out_gets_nothing_of_optim(first: Recipe) -> None:
    recipe = Recipe.model_validate(
        {"name": "t", "start": "tiny", "stage1": None, "optim": {"samples": 96, "lr": 1e-4}, "composer": {"reports": 8}}
    )
    assert recipe.stage1 is None and recipe.stage2 is not None and recipe.composer.samples == 96
    assert recipe.first_stage is recipe.stage2


def test_a_stage_that_is_only_forgotten_is_missed() -> None:
    with pytest.raises(ValueError, match="stage1"):
        Recipe.model_validate({"name": "t", "start": "tiny", "stage2": None, "composer": {"samples": 96, "reports": 8}})
