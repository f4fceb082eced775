"""What a training costs before it runs: launch lines, memory and hours for one, two and eight GPUs, with the arithmetic.

    rsagent train plan llama-3.2-1b --gpu a100

Nothing is loaded and nothing downloaded: the figures follow from the sizes of the parts. The bytes that one layer of the LLM
keeps for the backward pass were counted (`tests/training/test_plan.py` counts them again); the share of a GPU's peak that a
training reaches is an assumption, and said to be one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from rsagent.errors import UserError
from rsagent.training.llm_sizes import LLMSizes, llm_sizes, llm_targets
from rsagent.training.recipe import Recipe, StageRecipe

GPUS: dict[str, tuple[float, float]] = {
    "a100": (80, 312),
    "a100-40": (40, 312),
    "h100": (80, 989),
    "h200": (141, 989),
    "l40s": (48, 362),
    "rtx4090": (24, 165),
}
"""By name the memory in GB and the peak in TFLOP/s for dense bfloat16, as their maker publishes them."""
UTILISATION = 0.35
"""The share of the peak that LoRA training with short sequences is assumed to reach."""
WORDS, PROMPT, CAPTION, QUESTION = 24, 16, 80, 12
"""Tokens: the instruction in the Q-Former, a prompt, a caption of some sixty words, a question with its answer."""
QUESTIONS_AN_IMAGE = 2
_CONTEXT = 1.0e9  # what CUDA and its libraries take for themselves


@dataclass(frozen=True)
class Sight:
    """What stands before the LLM: queries, and sizes of the Q-Former; `parameters` and those of LoRA of rank 8 in it (`lora`).

    The projection is in neither. `features` are the bytes of a picture in the cache.
    """

    queries: int
    width: int
    layers: int
    parameters: int
    lora: int
    features: int


INSTRUCTBLIP = Sight(32, 768, 12, 185_686_272, 1_978_368, 257 * 1408 * 2)
EMBEDDED = Sight(36, 256, 3, 4_840_192, 165_888, 106_624)
"""The encoders of `tiny` and `small`."""


def sight(recipe: Recipe) -> Sight:
    """The sizes of a recipe's encoders, and how many tokens the LLM reads; a checkpoint to start from has the embedded."""
    brought = recipe.weights is not None and recipe.weights.encoder is not None
    return INSTRUCTBLIP if brought else replace(EMBEDDED, queries=EMBEDDED.queries // recipe.network.merge**2)


@dataclass(frozen=True)
class StagePlan:
    """What one stage costs on each of `devices`: bytes by what they are for, and hours in all.

    Attributes:
        memory: bytes by name, on one device.
        sums: the arithmetic of each entry of `memory`, for people.
        hours: of the stage, on `devices` of them, at the assumed share of the peak.
        work: the arithmetic of the hours.
    """

    stage: str
    devices: int
    memory: dict[str, float]
    sums: dict[str, str]
    hours: float
    work: str

    @property
    def total(self) -> float:
        """Bytes on one device."""
        return sum(self.memory.values())


def tokens_an_image(recipe: Recipe) -> int:
    """The LLM's tokens for one image: a caption, and its questions, each behind F_VLM and the expert's soft prompt."""
    prefix = sight(recipe).queries + recipe.network.soft_prompts + PROMPT
    return prefix + CAPTION + QUESTIONS_AN_IMAGE * (prefix + QUESTION)


def layer_bytes(sizes: LLMSizes, rank: int) -> float:
    """Bytes a token that one layer keeps for the backward pass, in bfloat16 with LoRA in float32 on query, value and FFN.

    Attention keeps 24 bytes a channel: the residual stream twice in float32, normed in bfloat16 for the base and again
    for each LoRA, queries, keys and values. A gated feed-forward network keeps 8 bytes an inner channel.
    """
    return 24 * sizes.width + 8 * sizes.mlp + 4 * rank * len(llm_targets(sizes.architecture)) + 16


def llm_parameters(sizes: LLMSizes) -> int:
    """Parameters of the LLM, norms and biases left out: they are a ten-thousandth."""
    head = sizes.width // sizes.heads
    attention = 2 * sizes.width * sizes.width + 2 * sizes.width * sizes.kv_heads * head
    ffn = (2 if sizes.architecture == "phi" else 3) * sizes.width * sizes.mlp
    return sizes.layers * (attention + ffn) + sizes.vocabulary * sizes.width * (1 if sizes.tied else 2)


def lora_parameters(sizes: LLMSizes, rank: int) -> int:
    """Parameters of one adapter of the LLM."""
    kv = sizes.kv_heads * (sizes.width // sizes.heads)
    ffn = (2 if sizes.architecture == "phi" else 3) * (sizes.width + sizes.mlp)
    return sizes.layers * rank * (2 * sizes.width + sizes.width + kv + ffn)


def plan_stage(
    recipe: Recipe, stage: str, devices: int, *, tflops: float, tokens: int | None = None, sizes: LLMSizes | None = None
) -> StagePlan:
    """The cost of "stage1" or "stage2" on each of `devices`; `tokens` an image as measured, or as assumed.

    Raises:
        UserError: the recipe names no weights, its LLM's sizes are not known, or its batch cannot be shared.
    """
    if recipe.weights is None:
        raise UserError(f"the recipe {recipe.name} trains its parts from nothing on a CPU: there is no plan for GPUs")
    llm = sizes or llm_sizes(recipe.weights.llm)
    run: StageRecipe = getattr(recipe, stage)
    images = run.images_a_pass(devices)
    tokens = tokens or tokens_an_image(recipe)
    base, rank, seeing = llm_parameters(llm), recipe.network.lora_rank, sight(recipe)
    adapters = 1 if stage == "stage1" else len(recipe.network.experts)
    trained = adapters * lora_parameters(llm, rank)
    if stage == "stage1":
        trained += recipe.network.merge**2 * seeing.width * llm.width + (seeing.lora * recipe.network.qformer_lora_rank) // 8
    layer = layer_bytes(llm, rank)
    kept = 4 * llm.width * llm.layers + layer if run.checkpointing else layer * llm.layers
    targets = CAPTION + QUESTIONS_AN_IMAGE * QUESTION
    seen = (1 + QUESTIONS_AN_IMAGE) * (seeing.queries + WORDS) * seeing.layers * 34 * seeing.width if stage == "stage1" else 0
    memory = {
        "LLM": 2.0 * base, "VLM encoder": 4.0 * seeing.parameters, "trained": 16.0 * trained,
        "activations": images * tokens * kept + images * seen, "logits": 16.0 * images * targets * llm.vocabulary,
        "CUDA": _CONTEXT,
    }  # fmt: skip
    sums = {
        "LLM": f"{_in(base)} parameters x 2 bytes",
        "VLM encoder": f"{_in(seeing.parameters)} x 4 bytes",
        "trained": f"{_in(trained)} x 16 bytes (weight, gradient, two moments)",
        "activations": f"{images} images x {tokens} tokens x {kept / 1e6:.2f} MB" + (" + Q-Former" if seen else ""),
        "logits": f"{images} images x {targets} targets x {llm.vocabulary:,} x 16 bytes",
        "CUDA": "context",
    }
    passes = 6 if run.checkpointing else 4  # forward, backward through frozen weights; once more forward
    flops = passes * base * tokens * run.samples
    hours = flops / (devices * tflops * 1e12 * UTILISATION) / 3600
    work = (
        f"{run.samples:,} images x {tokens} tokens x {passes} x {_in(base)} FLOP "
        f"/ ({devices} x {tflops:.0f} TFLOP/s x {UTILISATION:.0%})"
    )
    return StagePlan(stage, devices, memory, sums, hours, work)


def plan_lines(recipe: Recipe, gpu: str = "a100", *, tokens: int | None = None) -> list[str]:
    """The whole plan for people: how to launch, what fits, how long.

    Raises:
        UserError: as `plan_stage`, or a GPU that is not in `GPUS`.
    """
    if gpu not in GPUS:
        raise UserError(f"nothing is known of a GPU '{gpu}': choose one of {', '.join(GPUS)}")
    room, tflops = GPUS[gpu]
    lines = ["Launch:"]
    lines += [f"  {devices} GPU{'s' if devices > 1 else ''}: {launch_line(recipe.name, devices)}" for devices in (1, 2, 8)]
    for stage in (name for name in ("stage1", "stage2") if getattr(recipe, name)):
        whole = plan_stage(recipe, stage, 1, tflops=tflops, tokens=tokens)
        lines.append(f"Memory of {stage} on one GPU, {whole.total / 1e9:.1f} of {room:.0f} GB:")
        lines += [f"  {name}: {whole.sums[name]} = {size / 1e9:.2f} GB" for name, size in whole.memory.items()]
        try:
            lines.append(f"  on each of eight: {plan_stage(recipe, stage, 8, tflops=tflops, tokens=tokens).total / 1e9:.1f} GB")
        except UserError as error:  # one GPU may still do it
            lines.append(f"  on eight: {error}")
        lines.append(f"Time of {stage}: {whole.work} = {whole.hours:.2f} h; {whole.hours / 8:.2f} h on eight")
    return lines


def launch_line(recipe: str, devices: int) -> str:
    """The command that trains a recipe on `devices` GPUs of one machine."""
    start = "rsagent" if devices == 1 else f"torchrun --nproc-per-node {devices} -m rsagent"
    return f"{start} train all --recipe {recipe} --data DATA --out runs/{recipe}"


def disk_bytes(recipe: Recipe, pictures: int) -> dict[str, float]:
    """What a run writes, by what it is: cached features, the stages' files, the checkpoint to resume from."""
    if recipe.weights is None:
        sizes = recipe.network
        llm = 4.0 * (
            sizes.vocabulary * sizes.llm_dim + sizes.llm_layers * (4 * sizes.llm_dim**2 + 3 * sizes.llm_dim * sizes.llm_mlp)
        )
        return {"features": float(EMBEDDED.features) * (pictures * recipe.views + recipe.scenes), "stages": 12 * llm}
    sizes = llm_sizes(recipe.weights.llm)
    adapters = 4.0 * lora_parameters(sizes, recipe.network.lora_rank)
    seeing = sight(recipe)
    stage = 4.0 * seeing.parameters + adapters * (len(recipe.network.experts) + 2)
    return {
        "features": float(seeing.features * (pictures * recipe.views + recipe.scenes)),
        "stages": 4 * stage,
        "to resume": 3 * stage,
    }


def _in(count: float) -> str:
    return f"{count / 1e9:.2f} G" if count >= 1e9 else f"{count / 1e6:.1f} M"
