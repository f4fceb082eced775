"""A recipe: one YAML file that says everything about a training run. Checked before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rsagent.errors import UserError


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class EncoderRecipe(_Part):
    """Fine-tuning the image encoder on aerial pictures and rendered scenes (the stage `base`, first half)."""

    samples: int = Field(description="pictures seen in all")
    batch: int = 48
    scene_share: float = Field(0.35, ge=0, le=1, description="share of rendered scenes among the pictures")
    lr: float = 4e-4
    head_lr: float = 2e-3
    weight_decay: float = 0.05
    frozen_stages: int = Field(2, ge=0, le=7, description="stem and this many stages keep their ImageNet weights")


class NetworkRecipe(_Part):
    """The sizes of what has no pretrained weights. Widths in channels, ranks of LoRA and of the router."""

    queries_side: int = Field(6, description="anchored query tokens a side: 6 gives 36 queries")
    qformer_dim: int = 256
    token_dim: int = 128
    qformer_layers: int = 3
    qformer_heads: int = 4
    qformer_mlp: int = 768
    llm_dim: int = 256
    llm_layers: int = 4
    llm_heads: int = 4
    llm_mlp: int = 768
    vocabulary: int = 2048
    experts: list[str] = ["theme", "object", "relation"]
    soft_prompts: int = 8
    router_rank: int = 32
    lora_rank: int = 8
    qformer_lora_rank: int = 8


class StageRecipe(_Part):
    """One stage of training the language side: how many images, how fast."""

    samples: int = Field(description="images seen in all (an image brings its captions and questions)")
    batch: int = 48
    scene_share: float = Field(0.4, ge=0, le=1)
    looks: int = Field(0, ge=0, description="further questions an image for the Q-Former's read-out alone (base)")
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = Field(0.05, ge=0, le=1, description="share of the steps in which the learning rate rises")


class Recipe(_Part):
    """Everything about one checkpoint's training."""

    name: str
    seed: int = 0
    image_size: int = 224
    scenes: int = Field(16000, description="rendered training scenes whose features are cached")
    views: int = Field(2, description="cached views of each real picture: one plain, the rest augmented")
    network: NetworkRecipe = NetworkRecipe()
    encoder: EncoderRecipe
    base: StageRecipe
    stage1: StageRecipe
    stage2: StageRecipe


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        UserError: the file cannot be read, is not YAML, or has an unknown or impossible key; the message names it.
    """
    try:
        return Recipe.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except OSError as error:
        raise UserError(f"cannot read the recipe {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise UserError(f"the recipe {path} is not YAML: {str(error).splitlines()[0]}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"the recipe {path}: {where}: {first['msg']}") from error
