"""The model card that a training run writes into its checkpoint: what it is, what it saw, under whose terms."""

from __future__ import annotations

from rsagent.model.config import RSMoEConfig
from rsagent.model.network import RSMoE
from rsagent.training.recipe import Recipe

_DATA = """\
| data | used for | upstream terms |
|---|---|---|
| ImageNet (EfficientNet-Lite0's published weights, Apache-2.0) | start of the encoder | non-commercial research |
| UC Merced, UCM-Captions, multi-labels (training part) | all stages | imagery public domain (USGS); captions: none stated |
| RSIVQA's questions on UC Merced (training part) | questions | none stated |
| RSICD (training part) | encoder, captions, questions | research use |
| NWPU-RESISC45, 12 of 45 classes, and EuroSAT RGB (training parts by hash) | encoder only | research use; MIT |
| scenes rendered by rsagent | all of it | Apache-2.0 |"""


def model_card(recipe: Recipe, config: RSMoEConfig, parameters: dict[str, int]) -> str:
    """Markdown for `README.md` of the checkpoint; `parameters` counts them by part."""
    sizes = "\n".join(f"| {name} | {count / 1e6:.2f} M |" for name, count in parameters.items())
    experts = ", ".join(config.experts)
    return f"""# {config.name}: an RS-MoE checkpoint of rsagent

Describes aerial and satellite images and answers questions about them: image encoder, Q-Former, instruction router,
experts ({experts}) and a composer as LoRA adapters on one LLM. Format {config.format}; float16 safetensors.

| part | parameters |
|---|---|
{sizes}

## What it was trained on

{_DATA}

No image and no caption is contained here. Because some of the data is for research use, so are these weights: ask the
data's owners before using them otherwise. The code around them is Apache-2.0.

## How

Recipe `{recipe.name}`, seed {recipe.seed}: {_encoder(recipe)}, the base
{recipe.base.samples:,} images with their captions and questions, stage I {recipe.stage1.samples:,}, stage II
{recipe.stage2.samples:,}. `training/recipes/{recipe.name}.yaml` in rsagent's repository says everything.

## Limits

Places, words and objects outside the data above are unknown to it, and it does not say so. Counts and positions are learned
mostly from rendered scenes. English, short sentences, 224 pixels. Not fit for decisions about people or property.
Figures with their floors: rsagent's README.
"""


def _encoder(recipe: Recipe) -> str:
    if recipe.encoder is None:
        return f"image encoder, Q-Former and LLM come from the checkpoint `{recipe.start}`"
    return f"the image encoder saw {recipe.encoder.samples:,} pictures"


def parameter_counts(network: RSMoE) -> dict[str, int]:
    """Parameters by part, adapters apart from the LLM that carries them."""
    counts = {
        "image encoder": sum(p.numel() for p in network.image_encoder.parameters()),
        "VLM encoder": sum(p.numel() for p in network.vlm_encoder.parameters()),
        "instruction router": sum(p.numel() for p in network.router.parameters()),
    }
    named = list(network.llm.named_parameters())
    counts["LLM"] = sum(p.numel() for name, p in named if ".lora_" not in name)
    counts["adapters, together"] = sum(p.numel() for name, p in named if ".lora_" in name)
    return counts
