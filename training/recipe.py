"""A recipe: one YAML file that says everything about a training run. Checked before anything is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rsagent.errors import UserError
from rsagent.training.question_types import EXPERTS

Size = Annotated[int, Field(ge=1, le=65536)]
Rate = Annotated[float, Field(gt=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Run(_Part):
    samples: int = Field(ge=1, description="images seen in all (on the language side each brings its captions and questions)")
    batch: Size = 48
    weight_decay: float = Field(default=0.05, ge=0)

    @model_validator(mode="after")
    def _one_step(self) -> _Run:
        if self.samples < self.batch:
            raise ValueError(f"{self.samples} samples are less than one batch of {self.batch}")
        return self


class EncoderRecipe(_Run):
    """Fine-tuning the image encoder on aerial pictures and rendered scenes (the stage `base`, first half)."""

    scene_share: float = Field(default=0.35, ge=0, le=1, description="share of rendered scenes among the pictures")
    lr: Rate = 4e-4
    head_lr: Rate = 2e-3
    frozen_stages: int = Field(default=2, ge=0, le=7, description="stem and this many stages keep their ImageNet weights")


class NetworkRecipe(_Part):
    """The sizes of what has no pretrained weights. Widths in channels, ranks of LoRA and of the router."""

    queries_side: Size = Field(default=6, description="anchored query tokens a side: 6 gives 36 queries")
    qformer_dim: Size = 256
    token_dim: Size = 128
    qformer_layers: Size = 3
    qformer_heads: Size = 4
    qformer_mlp: Size = 768
    llm_dim: Size = 256
    llm_layers: Size = 4
    llm_heads: Size = 4
    llm_mlp: Size = 768
    vocabulary: int = Field(default=2048, ge=300, description="tokens; 256 bytes and three special ones are always among them")
    experts: list[str] = list(EXPERTS)
    soft_prompts: Size = 8
    router_rank: Size = 32
    lora_rank: Size = 8
    qformer_lora_rank: Size = 8

    @model_validator(mode="after")
    def _fits(self) -> NetworkRecipe:
        if not self.experts or self.experts != [name for name in EXPERTS if name in self.experts]:
            raise ValueError(f"experts must be some of {', '.join(EXPERTS)}, in this order")
        if self.qformer_dim % self.qformer_heads:
            raise ValueError(f"qformer_dim {self.qformer_dim} cannot be shared among {self.qformer_heads} heads")
        if self.llm_dim % (2 * self.llm_heads):
            raise ValueError(f"llm_dim {self.llm_dim} cannot be shared among {self.llm_heads} heads of even width")
        return self


class StageRecipe(_Run):
    """One stage of training the language side: how many images, how fast."""

    scene_share: float = Field(default=0.4, ge=0, le=1)
    told: int = Field(default=3, ge=1, description="questions a rendered scene that the LLM answers (base and stage I)")
    looks: int = Field(default=0, ge=0, description="further questions an image for the Q-Former's read-out alone (base)")
    lr: Rate = 1e-3
    warmup: float = Field(default=0.05, ge=0, le=1, description="share of the steps in which the learning rate rises")


class ComposerRecipe(StageRecipe):
    """The last step of stage II: the composer on the experts' own words."""

    reports: Size = Field(default=4800, description="training views that the experts describe for it")


class CriticalRecipe(StageRecipe):
    """The composer on the scores of its own captions (self-critical training), after it has learnt from people's."""

    captions: int = Field(default=4, ge=2, le=32, description="captions drawn an image; each is judged by the others")
    plain: float = Field(default=0.2, ge=0, description="weight of the ordinary loss on people's captions beside the score's")


class Recipe(_Part):
    """Everything about one checkpoint's training."""

    name: str = Field(pattern=r"^[\w.-]+$", description="of the checkpoint, and of the run's folder")
    seed: int = Field(default=0, ge=0)
    image_size: Literal[224] = Field(default=224, description="the size at which scenes are rendered and cells are labelled")
    scenes: int = Field(default=16000, ge=1, description="rendered training scenes whose features are cached")
    views: Size = Field(default=2, description="cached views of each real picture: one plain, the rest augmented")
    captions: Literal["ucm", "rsicd"] | None = Field(
        default=None, description="train the language side on this caption set alone, to see how it carries over to the other"
    )
    network: NetworkRecipe = Field(default_factory=NetworkRecipe)
    start: str | None = Field(
        default=None,
        description="checkpoint folder, or 'tiny' for the embedded one: where encoders, LLM and tokenizer come from",
    )
    encoder: EncoderRecipe | None = Field(default=None, description="left out where `start` brings an image encoder")
    base: StageRecipe
    stage1: StageRecipe
    stage2: StageRecipe
    composer: ComposerRecipe
    critical: CriticalRecipe | None = None

    @model_validator(mode="after")
    def _one_encoder(self) -> Recipe:
        if (self.start is None) == (self.encoder is None):
            raise ValueError("say either `encoder`, how the image encoder is trained, or `start`, the checkpoint it comes from")
        return self


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        UserError: the file cannot be read, is not YAML, or has an unknown or impossible key; the message names it.
    """
    try:
        content: object = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the recipe {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f" (line {mark.line + 1})"
        raise UserError(f"the recipe {path} is not YAML{where}: {str(error).splitlines()[0]}") from error
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the top"
        raise UserError(f"the recipe {path}: {where}: {first['msg']}") from error
