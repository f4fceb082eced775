"""A recipe says everything about a run, and whatever is wrong with it is one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import rsagent.training
from rsagent.errors import UserError
from rsagent.training.expert_sets import aspects_by_expert
from rsagent.training.question_types import QUESTION_EXPERT, expert_of
from rsagent.training.recipe import STAGES, load_recipe

SHIPPED = sorted((Path(rsagent.training.__file__).parent / "recipes").glob("*.yaml"))
WHOLE = {
    "name": "mine",
    "encoder": {"samples": 100},
    "base": {"samples": 100},
    "stage1": {"samples": 100},
    "stage2": {"samples": 100},
    "composer": {"samples": 100},
}


def fault(tmp_path: Path, content: object) -> str:
    file = tmp_path / "mine.yaml"
    file.write_bytes(content if isinstance(content, bytes) else yaml.safe_dump(content).encode())
    with pytest.raises(UserError) as caught:
        load_recipe(file)
    line = str(caught.value)
    assert "\n" not in line and "mine.yaml" in line
    return line


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_the_shipped_recipes_load(file: Path):
    recipe = load_recipe(file)
    assert recipe.name == file.stem
    for run in (recipe.encoder, recipe.base, recipe.stage1, recipe.stage2, recipe.composer):
        assert run is None or run.samples >= run.batch


def test_tiny_is_shipped():
    assert "tiny" in [file.stem for file in SHIPPED]


def test_the_least_that_a_recipe_says(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(WHOLE))
    recipe = load_recipe(tmp_path / "mine.yaml")
    assert recipe.network.experts == ["theme", "object", "relation"] and recipe.seed == 0


WRONG = {
    "colour": {"colour": "red"},
    "network.depth": {"network": {"depth": 3}},
    "stage1.steps": {"stage1": {"samples": 100, "steps": 3}},
    "base.samples": {"base": {"batch": 4}},
    "base: ": {"base": {"samples": 3, "batch": 48}},
    "base.batch": {"base": {"samples": 3, "batch": 0}},
    "stage2.lr": {"stage2": {"samples": 100, "lr": -1}},
    "stage2.warmup": {"stage2": {"samples": 100, "warmup": 2}},
    "network: ": {"network": {"experts": ["theme", "weather"]}},
    "in this order": {"network": {"experts": ["object", "theme"]}},
    "some of theme": {"network": {"experts": []}},
    "qformer_dim 30": {"network": {"qformer_dim": 30, "qformer_heads": 4}},
    "llm_dim 36": {"network": {"llm_dim": 36, "llm_heads": 4}},
    "network.vocabulary": {"network": {"vocabulary": 100}},
    "image_size": {"image_size": 225},
    "views": {"views": 0},
    "either `encoder`": {"start": "tiny"},
    "or `start`": {"encoder": None},
    "`base` trains what has no weights": {"base": None},
    "not `encoder`": {"weights": {"llm": "a/b"}, "base": None},
    "left out with them": {"weights": {"llm": "a/b"}, "encoder": None, "start": "tiny"},
    "`vision` goes with": {"weights": {"llm": "a/b", "encoder": "c/d", "vision": "e.pth"}},
    "weights.llm": {"weights": {"llm": ""}},
    "optim.lr changes nothing": {"optim": {"lr": 0.1}, **{name: {"samples": 100, "lr": 0.2} for name in STAGES}},
    "optim.epochs": {"optim": {"epochs": 3}},
    "3 passes": {"stage1": {"samples": 100, "batch": 4, "accumulate": 3}},
    "stage2.accumulate": {"stage2": {"samples": 100, "checkpointing": True}},
    "name": {"name": "../../elsewhere"},
}


PRETRAINED = {"name": "mine", "weights": {"llm": "a/b", "encoder": "c/d"}, "optim": {"samples": 100, "batch": 8, "lr": 1e-4}}


def test_weights_need_no_base_and_optim_speaks_for_all_stages(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**PRETRAINED, "stage2": {"samples": 300}}))
    recipe = load_recipe(tmp_path / "mine.yaml")
    assert recipe.base is None
    assert [(run.samples, run.lr) for run in (recipe.stage1, recipe.stage2, recipe.composer)] == [
        (100, 1e-4), (300, 1e-4), (100, 1e-4),
    ]  # fmt: skip


def test_sizes_of_what_has_weights_are_refused(tmp_path: Path):
    assert "network.llm_dim" in fault(tmp_path, {**PRETRAINED, "network": {"llm_dim": 64}})
    assert "network.qformer_dim" in fault(tmp_path, {**PRETRAINED, "network": {"qformer_dim": 64}})


def test_changes_on_the_command_line(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(PRETRAINED))
    changed = load_recipe(
        tmp_path / "mine.yaml", ["optim.lr=3e-5", "seed=7", "network.experts=2", "stage2.batch=4", "captions=ucm"]
    )
    assert changed.stage1.lr == changed.stage2.lr == 3e-5
    assert (changed.seed, changed.stage1.batch, changed.stage2.batch, changed.captions) == (7, 8, 4, "ucm")
    assert changed.network.experts == ["theme", "specific"]


@pytest.mark.parametrize(
    "change", ["lr", "=3", "optim.=3", "a b=3", "optim.lr=[", "name.x=3", "optim.colour=red", "optim.lr=fast"]
)
def test_a_change_that_cannot_be_is_one_line(tmp_path: Path, change: str):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(PRETRAINED))
    with pytest.raises(UserError) as caught:
        load_recipe(tmp_path / "mine.yaml", [change])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_so_many_experts(tmp_path: Path, count: int):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**WHOLE, "network": {"experts": count}}))
    experts = load_recipe(tmp_path / "mine.yaml").network.experts
    assert len(experts) == count
    said = {"theme": "a harbour.", "object": "two boats.", "relation": "boats lie in the top left. a road beside a pier."}
    learned = aspects_by_expert(said, "a harbour with two boats", experts)
    assert list(learned) == experts and all(learned.values())
    assert {expert_of(kind, tuple(experts)) for kind in QUESTION_EXPERT} == set(experts)


def test_places_have_an_expert_of_their_own():
    said = {"theme": "", "object": "", "relation": "a pool lies in the upper right corner. cars stand beside a road."}
    learned = aspects_by_expert(said, "", ("theme", "object", "position", "relation"))
    assert learned["position"] == "a pool lies in the upper right corner."
    assert learned["relation"] == "cars stand beside a road."


def test_a_batch_is_shared_among_devices(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**PRETRAINED, "stage1": {"accumulate": 2}}))
    stage = load_recipe(tmp_path / "mine.yaml").stage1
    assert [stage.images_a_pass(devices) for devices in (1, 2, 4)] == [4, 2, 1]
    with pytest.raises(UserError, match="3 devices"):
        stage.images_a_pass(3)


@pytest.mark.parametrize("named", WRONG)
def test_an_unknown_or_impossible_key_is_named(tmp_path: Path, named: str):
    assert named in fault(tmp_path, {**WHOLE, **WRONG[named]})


@pytest.mark.parametrize(
    "content", [b"", b"[1, 2]", b"text", b"a: [1", b"\xff\xfe\x00\x01", b"a: !!python/object:os.system x", b"{" * 5000],
    ids=["empty", "list", "text", "cut", "binary", "object", "deep"],
)  # fmt: skip
def test_what_is_no_recipe(tmp_path: Path, content: bytes):
    fault(tmp_path, content)


def test_the_line_of_a_slip_is_given(tmp_path: Path):
    assert "(line 3)" in fault(tmp_path, b"name: mine\nseed: 1\nbase: {samples: 3, ]\n")


def test_no_such_file(tmp_path: Path):
    with pytest.raises(UserError, match="cannot read the recipe .*none.yaml: No such file"):
        load_recipe(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="cannot read the recipe"):
        load_recipe(tmp_path)


KEYS = st.sampled_from(["name", "base", "network", "samples", "x"])
LEAVES = st.none() | st.integers() | st.text(max_size=5)
ANYTHING = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4))


@given(ANYTHING)
def test_anything_gives_a_recipe_or_one_line(tmp_path_factory: pytest.TempPathFactory, content: object):
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError) as caught:
        load_recipe(file)
    assert "\n" not in str(caught.value)
