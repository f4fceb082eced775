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
_CAPTIONS = {
    "ucm": "| UC Merced, UCM-Captions (training part) | both stages | imagery public domain (USGS); captions: none stated |",
    "rsicd": "| RSICD (training part) | both stages | research use |",
    "rsicap": "| RSICap (DOTA crops) | both stages | imagery academic use only; captions: none stated |",
}
_TERMS = {  # of published LLMs, by what their name begins with
    "meta-llama/": "Llama community licence; a model made from it carries Llama in its name",
    "huggyllama/": "LLaMA licence: non-commercial research",
    "lmsys/": "LLaMA or Llama 2 licence, by version",
    "Salesforce/instructblip-vicuna": "LLaMA licence: non-commercial research",
    "stabilityai/": "Stability AI community licence",
    "Qwen/Qwen1.5-1.8B": "Tongyi Qianwen research licence",
    "Qwen/": "Apache-2.0",
    "microsoft/phi-2": "MIT",
    "HuggingFaceTB/": "Apache-2.0",
}


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

{_data(recipe)}

No image and no caption is contained here. Because some of the data is for research use, so are these weights: ask the
data's owners before using them otherwise. The code around them is Apache-2.0.

## How

Recipe `{recipe.name}`, seed {recipe.seed}: {_beginning(recipe)}, {_stages(recipe)},
each with captions and questions. `training/recipes/{recipe.name}.yaml` in rsagent's repository, or `recipe.yaml` beside the
run, says everything.

## Limits

Places, words and objects outside the data above are unknown to it, and it does not say so.{_counting(recipe)}
English, short sentences, {config.image_encoder.size} pixels. Not fit for decisions about people or property.
Figures with their floors: {_figures(recipe)}
"""


def _data(recipe: Recipe) -> str:
    """The rows of what was seen, by this recipe."""
    weights = recipe.weights
    if weights is None:
        return _DATA
    rows = _DATA.splitlines()[:2]
    terms = next((said for start, said in _TERMS.items() if weights.llm.startswith(start)), "ask whoever published it")
    rows.append(f"| {weights.llm} | the LLM, which is not contained here | {terms} |")
    if weights.encoder:
        rows.append(f"| {weights.encoder} | image encoder and Q-Former | LLaMA licence: non-commercial research |")
    else:
        rows.append(f"| the checkpoint {recipe.start} | image encoder and Q-Former | see its card |")
    rows += [_CAPTIONS[name] for name in ([recipe.captions] if recipe.captions else ["ucm", "rsicd"])]
    if recipe.captions in (None, "ucm"):
        rows.append(_DATA.splitlines()[4])
    if recipe.scenes:
        rows.append(_DATA.splitlines()[-1])
    return "\n".join(rows)


def _beginning(recipe: Recipe) -> str:
    if recipe.weights is not None:
        encoder = recipe.weights.encoder or recipe.start
        return f"encoder from `{encoder}` before `{recipe.weights.llm}`"
    base = f"the base {recipe.base.samples:,} images" if recipe.base else ""
    if recipe.encoder is None:
        return f"image encoder, Q-Former and LLM come from the checkpoint `{recipe.start}`; {base}"
    return f"the image encoder saw {recipe.encoder.samples:,} pictures, {base}"


def _stages(recipe: Recipe) -> str:
    """What each stage saw, or where it comes from."""
    runs = {"stage I": recipe.stage1, "stage II": recipe.stage2, "the composer": recipe.composer}
    said = [f"{name} as in `{recipe.start}`" if run is None else f"{name} {run.samples:,} images" for name, run in runs.items()]
    return ", ".join([*said, *([f"{recipe.critical.samples:,} more for its own scores"] if recipe.critical else [])])


def _counting(recipe: Recipe) -> str:
    return "\nCounts and positions are learned mostly from rendered scenes." if recipe.scenes else ""


def _figures(recipe: Recipe) -> str:
    return "rsagent's README." if recipe.weights is None else "none yet; `rsagent eval --checkpoint THIS` prints them."


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
