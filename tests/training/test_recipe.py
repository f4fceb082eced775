"""A recipe says everything about a run, and whatever is wrong with it is one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import rsagent.training
from rsagent.errors import UserError
from rsagent.training.recipe import load_recipe

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
    encoder = [recipe.encoder] if recipe.encoder else []
    for run in (*encoder, recipe.base, recipe.stage1, recipe.stage2, recipe.composer):
        assert run.samples >= run.batch


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
    "name": {"name": "../../elsewhere"},
}


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
