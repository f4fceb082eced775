"""A recipe: one YAML file that says everything about a training run. Checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from rsagent.errors import UserError
from rsagent.training.expert_sets import EXPERT_SETS, is_expert_set
from rsagent.training.question_types import EXPERTS

Size = Annotated[int, Field(ge=1, le=65536)]
Rate = Annotated[float, Field(gt=0, le=1)]
STAGES = ("base", "stage1", "stage2", "composer", "critical")
LLM_SIZES = frozenset({"llm_dim", "llm_layers", "llm_heads", "llm_mlp", "vocabulary"})
ENCODER_SIZES = frozenset(
    {"queries_side", "merge", "qformer_dim", "token_dim", "qformer_layers", "qformer_heads", "qformer_mlp"}
)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Run(_Part):
    samples: int = Field(ge=1, description="images seen in all (on the language side each brings its captions and questions)")
    batch: Size = Field(default=48, description="images a step, on all devices together")
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


class WeightsRecipe(_Part):
    """Pretrained weights: a hub id, a folder, or a file. What they bring needs no sizes and no stage `base`."""

    llm: str = Field(min_length=1, description="hub id or folder of a causal LM, a GGUF file, or an InstructBLIP (its LLM)")
    encoder: str | None = Field(
        default=None, min_length=1, description="InstructBLIP: hub id, folder, or LAVIS .pth; brings ViT and Q-Former"
    )
    vision: str | None = Field(default=None, min_length=1, description="the ViT's .pth, where a LAVIS .pth has none")

    @model_validator(mode="after")
    def _vision_beside_lavis(self) -> WeightsRecipe:
        if self.vision is not None and not (self.encoder or "").endswith(".pth"):
            raise ValueError("`vision` goes with an `encoder` that is a LAVIS .pth; others bring their ViT")
        return self


class OptimRecipe(_Part):
    """What every stage of the language side has that does not say otherwise."""

    samples: int | None = Field(default=None, ge=1)
    batch: Size | None = None
    lr: Rate | None = None
    weight_decay: float | None = Field(default=None, ge=0)
    warmup: float | None = Field(default=None, ge=0, le=1)
    accumulate: Size | None = None
    checkpointing: bool | None = None


class NetworkRecipe(_Part):
    """The experts, and the sizes of what has no pretrained weights. Widths in channels, ranks of LoRA and of the router."""

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
    experts: list[str] = Field(default=list(EXPERTS), description="names, or how many: 1 to 4 stand for the paper's sets")
    merge: Size = Field(default=1, description="merge x merge neighbouring queries become one token of the LLM: fewer to read")
    soft_prompts: Size = 8
    router_rank: Size = 32
    router_reads: Literal["queries", "image"] = Field(
        default="queries", description="what the router's soft prompts attend to: F_VLM's queries, or the image's tokens"
    )
    lora_rank: Size = 8
    qformer_lora_rank: Size = 8

    @field_validator("experts", mode="before")
    @classmethod
    def _how_many(cls, value: object) -> object:
        return list(EXPERT_SETS[value]) if type(value) is int and value in EXPERT_SETS else value

    @model_validator(mode="after")
    def _fits(self) -> NetworkRecipe:
        if not is_expert_set(self.experts):
            raise ValueError(
                f"experts must be some of {', '.join(EXPERTS)}, in this order, or how many there are: 1, 2, 3 or 4"
            )
        if self.qformer_dim % self.qformer_heads:
            raise ValueError(f"qformer_dim {self.qformer_dim} cannot be shared among {self.qformer_heads} heads")
        if self.queries_side % self.merge:
            raise ValueError(f"{self.queries_side} queries a side cannot be merged by {self.merge}")
        if self.llm_dim % (2 * self.llm_heads):
            raise ValueError(f"llm_dim {self.llm_dim} cannot be shared among {self.llm_heads} heads of even width")
        return self


class StageRecipe(_Run):
    """One stage of training the language side: how many images, how fast."""

    scene_share: float = Field(default=0.4, ge=0, le=1)
    told: int = Field(default=3, ge=1, description="questions a rendered scene that the LLM answers (not the composer)")
    asked: float = Field(default=0.15, ge=0, le=1, description="share of real pictures that people asked questions about")
    hidden: float = Field(default=0, ge=0, lt=1, description="share of experts' rows read without F_VLM (stage2)")
    looks: int = Field(default=0, ge=0, description="further questions an image for the Q-Former's read-out alone (base)")
    lr: Rate = 1e-3
    warmup: float = Field(default=0.05, ge=0, le=1, description="share of the steps in which the learning rate rises")
    accumulate: Size = Field(default=1, description="passes a batch is divided into on each device, to save memory")
    checkpointing: bool = Field(default=False, description="compute the LLM's activations twice instead of keeping them")

    @model_validator(mode="after")
    def _whole_passes(self) -> StageRecipe:
        if self.batch % self.accumulate:
            raise ValueError(f"a batch of {self.batch} cannot be divided into {self.accumulate} passes")
        return self

    def images_a_pass(self, devices: int) -> int:
        """Images that go through one device at a time.

        Raises:
            UserError: the batch cannot be shared among `devices`.
        """
        if self.batch % (devices * self.accumulate):
            passes = "" if self.accumulate == 1 else f" in {self.accumulate} passes"
            raise UserError(
                f"a batch of {self.batch} cannot be shared among {devices} devices{passes}: change batch or accumulate"
            )
        return self.batch // (devices * self.accumulate)


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
    scenes: int = Field(default=16000, ge=0, description="rendered training scenes whose features are cached")
    views: Size = Field(default=2, description="cached views of each real picture: one plain, the rest augmented")
    captions: Literal["ucm", "rsicd", "rsicap"] | None = Field(
        default=None, description="train the language side on this caption set alone; else on UC Merced's and RSICD's"
    )
    network: NetworkRecipe = Field(default_factory=NetworkRecipe)
    start: str | None = Field(
        default=None,
        description="checkpoint folder, tiny or small: where encoders, LLM and tokenizer come from",
    )
    weights: WeightsRecipe | None = Field(default=None, description="pretrained weights the stages start from")
    compiled: bool = Field(
        default=False, description="torch compiles the LLM's layers: slow to begin, then quicker; a CPU needs a C++ compiler"
    )
    encoder: EncoderRecipe | None = Field(default=None, description="left out where the image encoder comes from elsewhere")
    optim: OptimRecipe | None = Field(default=None, description="for base, stage1, stage2 and composer where they say nothing")
    base: StageRecipe | None = Field(default=None, description="left out where `weights` name the LLM")
    stage1: StageRecipe | None = Field(description="null: as `start` has it; experts, router, composer then go on from there")
    stage2: StageRecipe | None = Field(description="null, with stage1: the experts stay as `start` has them")
    composer: ComposerRecipe
    critical: CriticalRecipe | None = None

    @property
    def first_stage(self) -> StageRecipe:
        """The first that is trained, of those after the base."""
        return self.stage1 or self.stage2 or self.composer

    @model_validator(mode="before")
    @classmethod
    def _share_optim(cls, content: Any) -> Any:
        """Write `optim` into the stages that do not say otherwise; one that none of them reads is a mistake."""
        if not isinstance(content, dict):
            return cast(object, content)
        given = cast("dict[str, Any]", content)
        optim = given.get("optim")
        if not isinstance(optim, dict):
            return given
        shared = {key: value for key, value in cast("dict[str, Any]", optim).items() if key in OptimRecipe.model_fields}
        stages = {name: given.get(name) for name in STAGES}
        if "samples" in shared:  # then a stage may be left out, but for those that need not be
            plain = [
                name for name in ("stage1", "stage2", "composer") if _is_plain(stages[name]) and not _left_out(name, given)
            ]
            stages |= {name: stages[name] or {} for name in plain}
        written: dict[str, Any] = {name: shared | stage for name, stage in stages.items() if isinstance(stage, dict)}
        if "checkpointing" in shared and "stage2" in written and "checkpointing" not in (stages["stage2"] or {}):
            del written["stage2"]["checkpointing"]  # see `_adapters_once`
        for key in shared:
            if written and all(key in (stages[name] or {}) for name in written):
                raise ValueError(f"optim.{key} changes nothing: {', '.join(written)} say their own")
        return given | written

    @model_validator(mode="after")
    def _adapters_once(self) -> Recipe:
        if self.stage2 is not None and self.stage2.checkpointing:
            raise ValueError("stage2 cannot compute activations twice, since its batches mix adapters: use stage2.accumulate")
        return self

    @model_validator(mode="after")
    def _left_out_in_order(self) -> Recipe:
        """What is left out has to be in `start`, and what comes before it too."""
        if self.stage1 is None and (self.start is None or self.base is not None):
            raise ValueError("stage1 may be left out only where everything before it comes from a `start` and stays as it is")
        if self.stage2 is None and self.stage1 is not None:
            raise ValueError("stage2 is needed: the experts of a `start` do not fit what stage1 changes")
        return self

    @model_validator(mode="after")
    def _one_source(self) -> Recipe:
        """Each part of the network comes from one place, and only what comes from nowhere has sizes and a stage `base`."""
        weights = self.weights
        brought = weights is not None and weights.encoder is not None
        if (self.start is not None) + (self.encoder is not None) + brought != 1:
            raise ValueError(
                "say either `encoder`, how the image encoder is trained, or `start`, the checkpoint it comes from, "
                "or `weights.encoder`, the InstructBLIP that brings it"
            )
        if weights is not None and self.encoder is not None:
            raise ValueError("`weights.llm` needs an encoder that can see: name `start` or `weights.encoder`, not `encoder`")
        if self.stage1 is not None and (self.base is None) == (weights is None):
            raise ValueError("`base` trains what has no weights: it is needed without `weights`, and left out with them")
        said = self.network.model_fields_set
        for named, sizes in ((weights is not None, LLM_SIZES), (brought, ENCODER_SIZES)):
            if named and (odd := sorted(sizes & said)):
                raise ValueError(f"network.{odd[0]} is a size of what comes with `weights`: leave it out")
        return self


def _left_out(name: str, given: dict[str, Any]) -> bool:
    """Whether a stage is said to be left out, and not only unsaid."""
    return name in given and given[name] is None


def _is_plain(stage: object) -> bool:
    return stage is None or isinstance(stage, dict)


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe.

    Args:
        path: the YAML file.
        overrides: changes to it, such as "optim.lr=3e-5" or "network.experts=2"; values are YAML.

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
    for override in overrides:
        content = _overridden(content, override)
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the top"
        raise UserError(f"the recipe {path}: {where}: {first['msg']}") from error


def _overridden(content: object, override: str) -> object:
    """`content` with one `key.key=value` put into it; a null value takes a key away."""
    name, equals, text = override.partition("=")
    keys = name.strip().split(".")
    if not equals or not all(key.isidentifier() for key in keys):
        raise UserError(f"'{override}' changes no key of the recipe: write one such as optim.lr=3e-5")
    try:
        value: object = _number(yaml.safe_load(text))
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"'{override}': the value is not YAML") from error
    if not isinstance(content, dict):
        return content  # the check says what is wrong with it
    changed = dict(cast("dict[str, object]", content))
    inner = changed
    for key in keys[:-1]:
        below = inner.get(key)
        if below is not None and not isinstance(below, dict):
            raise UserError(f"'{override}': {key} holds no keys of its own")
        inner[key] = dict(cast("dict[str, object]", below or {}))
        inner = cast("dict[str, object]", inner[key])
    inner[keys[-1]] = value
    return changed


def _number(value: object) -> object:
    """YAML 1.1 takes 3e-5, without a full stop, for a text; nobody who writes it means one."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value
