"""`config.json` of an RS-MoE checkpoint: the sizes of the parts, checked before any tensor is loaded."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

FORMAT_VERSION = 2  # 1 had the soft prompt behind F_VLM
ExpertName = Annotated[str, Field(pattern="^[a-z][a-z0-9_-]{0,31}$")]
"""Names a folder and a PEFT adapter, so it is short and holds neither slashes nor dots."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ImageEncoderConfig(_Part):
    """The frozen image encoder."""

    kind: str = Field(default="efficientnet_lite0", pattern="^efficientnet_lite0$")
    size: int = Field(default=224, ge=32, le=1024, multiple_of=32, description="side in pixels a picture is resized to")


class VLMEncoderConfig(_Part):
    """InstructBLIP's Q-Former with anchored queries."""

    queries_side: int = Field(
        default=6, ge=1, le=24, description="queries a side: each is anchored to one of side x side regions"
    )
    dim: int = Field(default=256, ge=8, le=16384)
    token_dim: int = Field(default=128, ge=8, le=16384, description="width of the image tokens that the queries attend to")
    layers: int = Field(default=3, ge=1, le=256)
    heads: int = Field(default=4, ge=1, le=256)
    mlp: int = Field(default=768, ge=8, le=65536)
    vocabulary: int = Field(ge=8, le=1_000_000)
    max_words: int = Field(default=64, ge=4, le=4096, description="instruction tokens read; longer ones are cut")
    merge: int = Field(default=1, ge=1, le=24, description="merge x merge neighbouring queries become one token of the LLM")
    scales: tuple[Literal[112], Literal[1280]] = Field(
        default=(112, 1280), description="channels of the image encoder's scales"
    )

    @model_validator(mode="after")
    def _divides(self) -> VLMEncoderConfig:
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} cannot be shared among {self.heads} heads")
        if self.queries_side % self.merge:
            raise ValueError(f"{self.queries_side} queries a side cannot be merged by {self.merge}")
        return self


class ViTConfig(_Part):
    """InstructBLIP's image encoder; the defaults are EVA's ViT-g/14 as it is published."""

    kind: Literal["vit"]
    size: int = Field(default=224, ge=14, le=1024, description="side in pixels a picture is resized to")
    patch: int = Field(default=14, ge=1, le=64)
    width: int = Field(default=1408, ge=8, le=16384)
    layers: int = Field(default=39, ge=1, le=256)
    heads: int = Field(default=16, ge=1, le=256)
    mlp: int = Field(default=6144, ge=8, le=65536)

    @model_validator(mode="after")
    def _divides(self) -> ViTConfig:
        if self.size % self.patch or self.width % self.heads:
            raise ValueError(f"{self.size} pixels need whole patches of {self.patch}, width {self.width} whole heads")
        return self


class PlainQFormerConfig(_Part):
    """InstructBLIP's Q-Former with learned queries; the defaults are the published ones."""

    kind: Literal["instructblip"]
    queries: int = Field(default=32, ge=1, le=1024)
    dim: int = Field(default=768, ge=8, le=16384)
    layers: int = Field(default=12, ge=1, le=256)
    heads: int = Field(default=12, ge=1, le=256)
    mlp: int = Field(default=3072, ge=8, le=65536)
    cross_every: int = Field(default=2, ge=1, le=256, description="every so many layers one looks at the picture")
    vocabulary: int = Field(default=30523, ge=8, le=1_000_000)
    positions: int = Field(default=512, ge=4, le=4096)
    max_words: int = Field(default=128, ge=4, le=4096, description="instruction tokens read; longer ones are cut")
    image_dim: int = Field(default=1408, ge=8, le=16384)

    @model_validator(mode="after")
    def _divides(self) -> PlainQFormerConfig:
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} cannot be shared among {self.heads} heads")
        if self.max_words > self.positions:
            raise ValueError(f"{self.max_words} words need more than {self.positions} positions")
        return self


KINDS = ("default", "vit", "instructblip")
"""How pydantic marks which encoder a fault is in; no key of the file is called so."""


def _kind(value: Any) -> str:
    own: object = cast("dict[str, object]", value).get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return own if isinstance(own, str) and own in KINDS else "default"


AnyImageEncoder = Annotated[
    Annotated[ImageEncoderConfig, Tag("default")] | Annotated[ViTConfig, Tag("vit")], Discriminator(_kind)
]
AnyVLMEncoder = Annotated[
    Annotated[VLMEncoderConfig, Tag("default")] | Annotated[PlainQFormerConfig, Tag("instructblip")], Discriminator(_kind)
]


class RouterConfig(_Part):
    """The instruction router."""

    soft_prompts: int = Field(default=8, ge=1, le=1024, description="soft prompt vectors an expert")
    rank: int = Field(default=32, ge=1, le=4096)
    reads: Literal["queries", "image"] = Field(
        default="queries", description="what soft prompts attend to: F_VLM's queries, or the image's tokens themselves"
    )


class RSMoEConfig(_Part):
    """One checkpoint. `llm` is "llm" for a folder inside it, or the name of one that lies elsewhere."""

    format: int = FORMAT_VERSION
    name: str
    image_encoder: AnyImageEncoder = Field(default_factory=ImageEncoderConfig)
    vlm_encoder: AnyVLMEncoder
    router: RouterConfig = Field(default_factory=RouterConfig)
    llm: str = "llm"
    llm_dim: int = Field(ge=8, le=65536)
    own_words: bool = Field(default=False, description="the VLM encoder reads instructions with a tokenizer of its own, words/")
    experts: list[ExpertName] = Field(min_length=1, max_length=4)
    composer_styles: list[str] = Field(default_factory=list, description="styles the composer adapter writes")

    @model_validator(mode="after")
    def _distinct(self) -> RSMoEConfig:
        if len(set(self.experts)) != len(self.experts) or {"composer", "single"} & set(self.experts):
            raise ValueError("experts must have distinct names, none of them 'composer' or 'single'")
        image, vlm = self.image_encoder, self.vlm_encoder
        if isinstance(image, ViTConfig) != isinstance(vlm, PlainQFormerConfig):
            raise ValueError("a ViT and InstructBLIP's Q-Former go together")
        if isinstance(image, ViTConfig) and isinstance(vlm, PlainQFormerConfig) and image.width != vlm.image_dim:
            raise ValueError(f"the Q-Former reads tokens {vlm.image_dim} wide, the ViT writes {image.width}")
        return self

    @property
    def queries(self) -> int:
        """Query tokens of the VLM encoder."""
        vlm = self.vlm_encoder
        return vlm.queries if isinstance(vlm, PlainQFormerConfig) else vlm.queries_side**2

    @property
    def visual_tokens(self) -> int:
        """Tokens of F_VLM that the LLM reads."""
        vlm = self.vlm_encoder
        return vlm.queries if isinstance(vlm, PlainQFormerConfig) else (vlm.queries_side // vlm.merge) ** 2
