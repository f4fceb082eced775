"""The stages of RS-MoE training on `transformers.Trainer`: base, I and II, each resumable, each leaving one file behind.

    rsagent train all --recipe training/recipes/tiny.yaml --data DATA --out runs/tiny

base    the image encoder is fine-tuned, then the Q-Former and, for `tiny`, the LLM are trained from nothing.
stage1  the encoder is frozen; LoRA in the Q-Former and in the LLM, the output projection in full (III-C1).
stage2  both encoders are frozen; every expert starts as a copy of stage I's adapter, beside the router (III-C2). Then the
        composer, which starts from the same copy, learns to read what these experts really say.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, get_peft_model, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, Trainer, TrainingArguments

from rsagent.errors import UserError
from rsagent.model.checkpoint import EMBEDDED, load_checkpoint, save_checkpoint
from rsagent.model.image_encoder import ImageEncoder
from rsagent.model.network import COMPOSER, SINGLE, RSMoE
from rsagent.prompts import load_prompts
from rsagent.training.batches import Collator, Samples, Stores
from rsagent.training.card import model_card, parameter_counts
from rsagent.training.corpus import Corpus, Stage, answer_vocabulary, corpus_texts, read_corpus
from rsagent.training.critical import CriticalCollator, CriticalTask, judges
from rsagent.training.encoder import train_encoder
from rsagent.training.features import feature_store
from rsagent.training.fresh import fresh_network, load_or_train_tokenizer
from rsagent.training.language import LanguageTask
from rsagent.training.pictures import augment, normalise, picture_bank, picture_key
from rsagent.training.recipe import Recipe, StageRecipe
from rsagent.training.reports import described_pictures
from rsagent.training.resume import checkpoint_to_resume
from rsagent.training.scene_store import scene_batches, scene_key, scene_texts

log = logging.getLogger(__name__)
LLM_TARGETS = ["q_proj", "v_proj", "gate_proj", "up_proj", "down_proj"]
# the paper's places: self-attention q, v; cross-attention q, k, v and output; both feed-forward networks
QFORMER_TARGETS = (
    r"encoder\.layer\.\d+\.(attention\.attention\.(query|value)|crossattention\.attention\.(query|key|value)"
    r"|crossattention\.output\.dense|(intermediate|output)(_query)?\.dense)"
)
SAVE_STEPS = 200
"""After so many steps a checkpoint is kept to resume from."""
Progress = Callable[[str, int, int], None]


@dataclass
class Material:
    """What every stage of the language side needs: the words, the frozen features, the tokenizer."""

    corpus: Corpus
    stores: Stores
    tokenizer: PreTrainedTokenizerFast
    answers: list[str]


def prepare(recipe: Recipe, data: Path, out: Path, encoder: ImageEncoder, progress: Progress) -> Material:
    """Read the corpus and encode every picture once; what an earlier run left in `out/cache` is used again.

    Raises:
        UserError: a data set is missing or damaged.
    """
    cache = out / "cache"
    texts = scene_texts(recipe.scenes, cache, lambda done, count: progress("scene texts", done, count))
    corpus, files = read_corpus(
        data, load_prompts(), recipe.network.experts, texts,
        views=recipe.views, scene_share=recipe.base.scene_share, seed=recipe.seed, only=recipe.captions,
    )  # fmt: skip
    bank = picture_bank(files, recipe.image_size, cache, lambda done, count: progress("pictures", done, count))
    real = feature_store(
        encoder, f"real {recipe.views} {recipe.seed} {picture_key(files, recipe.image_size)}", len(files) * recipe.views,
        lambda: _views(bank, recipe.views, recipe.image_size, recipe.seed), cache,
        lambda done, count: progress("features", done, count),
    )  # fmt: skip
    scenes = feature_store(
        encoder, f"scenes {scene_key()}", recipe.scenes, lambda: scene_batches(recipe.scenes), cache,
        lambda done, count: progress("scene features", done, count),
    )  # fmt: skip
    tokenizer = load_or_train_tokenizer(
        [*corpus_texts(corpus), *_prompt_texts(corpus)], recipe.network.vocabulary, out / "tokenizer"
    )
    return Material(corpus, Stores([real, scenes]), tokenizer, answer_vocabulary(corpus))


def train_until(stage: Stage, recipe: Recipe, data: Path, out: Path, progress: Progress, *, resume: bool = False) -> Path:
    """Every stage up to `stage` that has not left its file yet; after stage2 `out/checkpoint` is the result.

    Returns:
        What `stage` left: its file, or the checkpoint folder.
    """
    start = start_of(recipe, out)
    encoder = start.image_encoder if start else train_encoder(recipe, data, out, resume=resume)
    encoder.requires_grad_(False)
    material = prepare(recipe, data, out, encoder.eval(), progress)
    network = fresh_network(recipe, material.tokenizer, [s for s in material.corpus.pictures if s != "detailed"])
    network.image_encoder = encoder
    if start:
        network.vlm_encoder.load_state_dict(start.vlm_encoder.state_dict())
        network.llm.load_state_dict(start.llm.state_dict())
    train_base(network, recipe, material, out, resume=resume)
    if stage == "base":
        return out / "base.safetensors"
    train_stage1(network, recipe, material, out, resume=resume)
    if stage == "stage1":
        return out / "stage1.safetensors"
    train_stage2(network, recipe, material, out, resume=resume)
    train_composer(network, recipe, material, out, progress, resume=resume)
    train_critical(network, recipe, material, out, progress, resume=resume)
    save_checkpoint(network, out / "checkpoint", card=model_card(recipe, network.config, parameter_counts(network)))
    return out / "checkpoint"


def start_of(recipe: Recipe, out: Path) -> RSMoE | None:
    """The checkpoint a recipe goes on from, without its adapters; its tokenizer becomes the run's.

    Raises:
        UserError: it has other sizes than the recipe.
        CheckpointError: it cannot be loaded.
    """
    if recipe.start is None:
        return None
    start = load_checkpoint(EMBEDDED if recipe.start == "tiny" else Path(recipe.start), adapters=[])
    wanted = fresh_network(recipe, start.tokenizer, start.config.composer_styles)
    for part in ("vlm_encoder", "llm"):
        has, needs = ({name: t.shape for name, t in getattr(n, part).state_dict().items()} for n in (start, wanted))
        if has != needs:
            odd = sorted(name for name in has.keys() | needs.keys() if has.get(name) != needs.get(name))[0]
            raise UserError(f"the recipe's network has other sizes than its start '{recipe.start}': see {part}.{odd}")
    start.tokenizer.save_pretrained(out / "tokenizer")
    return start


def train_base(network: RSMoE, recipe: Recipe, material: Material, out: Path, *, resume: bool) -> None:
    """The Q-Former and the LLM in full, from nothing or from the recipe's start; leaves `out/base.safetensors`."""
    final = out / "base.safetensors"
    network.router.requires_grad_(False)
    parts = nn.ModuleDict({"vlm_encoder": network.vlm_encoder, "llm": network.llm})
    if not final.exists():
        torch.manual_seed(recipe.seed)
        task = LanguageTask(network, "base", [SINGLE], len(material.answers))
        _run(task, "base", recipe, recipe.base, material, out, [SINGLE], resume)
        _write(parts, final)
    _read(parts, final)


def train_stage1(network: RSMoE, recipe: Recipe, material: Material, out: Path, *, resume: bool) -> None:
    """LoRA in the Q-Former (merged afterwards) and in the LLM, the projection in full; leaves `out/stage1.safetensors`."""
    final = out / "stage1.safetensors"
    sizes = recipe.network
    network.router.requires_grad_(False)
    network.vlm_encoder.requires_grad_(False)
    torch.manual_seed(recipe.seed)  # new weights must not depend on whether the stage before ran in this process
    lora = LoraConfig(r=sizes.lora_rank, lora_alpha=2 * sizes.lora_rank, target_modules=LLM_TARGETS, task_type="CAUSAL_LM")
    network.llm = get_peft_model(network.llm, lora, adapter_name=SINGLE)
    parts = nn.ModuleDict({"vlm_encoder": network.vlm_encoder, "llm": network.llm})
    if not final.exists():
        rank = sizes.qformer_lora_rank
        inject_adapter_in_model(
            LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=QFORMER_TARGETS), network.vlm_encoder.qformer
        )
        network.vlm_encoder.projection.requires_grad_(True)
        task = LanguageTask(network, "stage1", [SINGLE], len(material.answers))
        _run(task, "stage1", recipe, recipe.stage1, material, out, [SINGLE], resume)
        _merge(network.vlm_encoder)
        _write(parts, final)
    _read(parts, final)


def train_stage2(network: RSMoE, recipe: Recipe, material: Material, out: Path, *, resume: bool) -> None:
    """The experts and the router; leaves `out/stage2.safetensors`."""
    experts = list(recipe.network.experts)
    _add_adapters(network, experts, recipe)
    parts = nn.ModuleDict({"router": network.router, "llm": network.llm})
    final = out / "stage2.safetensors"
    if not final.exists():
        network.vlm_encoder.requires_grad_(False)
        network.router.requires_grad_(True)
        _train_only(network.llm, experts)
        task = LanguageTask(network, "stage2", experts, len(material.answers))
        _run(task, "stage2", recipe, recipe.stage2, material, out, experts, resume)
        _write(parts, final)
    _read(parts, final)


def train_composer(network: RSMoE, recipe: Recipe, material: Material, out: Path, progress: Progress, *, resume: bool) -> None:
    """The composer, on reports of the experts as they are now; leaves `out/composer.safetensors`."""
    _add_adapters(network, [COMPOSER], recipe)
    parts = nn.ModuleDict({"llm": network.llm})
    final = out / "composer.safetensors"
    if not final.exists():
        corpus = _described(network, recipe, material, out, progress)
        _train_the_composer(network)
        task = LanguageTask(network, "composer", [COMPOSER], len(material.answers))
        _run(task, "composer", recipe, recipe.composer, replace(material, corpus=corpus), out, [COMPOSER], resume)
        _write(parts, final)
    _read(parts, final)


def train_critical(network: RSMoE, recipe: Recipe, material: Material, out: Path, progress: Progress, *, resume: bool) -> None:
    """The composer on the scores of its own captions, where the recipe asks for it; leaves `out/critical.safetensors`."""
    if recipe.critical is None:
        return
    parts = nn.ModuleDict({"llm": network.llm})
    final = out / "critical.safetensors"
    if not final.exists():
        corpus = _described(network, recipe, material, out, progress)
        corpus.pictures.pop("scenes")  # nobody wrote five captions of a rendered scene
        _train_the_composer(network)
        torch.manual_seed(recipe.seed)
        task = CriticalTask(network, judges(corpus, material.corpus), recipe.critical.captions, recipe.critical.plain)
        _run(task, "critical", recipe, recipe.critical, replace(material, corpus=corpus), out, [COMPOSER], resume)
        _write(parts, final)
    _read(parts, final)


def _described(network: RSMoE, recipe: Recipe, material: Material, out: Path, progress: Progress) -> Corpus:
    """The pictures that stage II's experts have described, or now describe."""
    corpus = replace(material.corpus, scene_share=recipe.composer.scene_share)
    digest = hashlib.sha256((out / "stage2.safetensors").read_bytes()).hexdigest()[:16]
    target = out / f"reports-{recipe.composer.reports}-{digest}.jsonl"
    described = described_pictures(
        corpus, network, material.stores, recipe.composer.reports, target,
        lambda done, count: progress("reports", done, count),
    )  # fmt: skip
    return replace(corpus, pictures=described)


def _train_the_composer(network: RSMoE) -> None:
    network.router.requires_grad_(False)
    network.vlm_encoder.requires_grad_(False)
    network.llm.set_adapter(COMPOSER)
    _train_only(network.llm, [COMPOSER])


def _add_adapters(network: RSMoE, names: Sequence[str], recipe: Recipe) -> None:
    """Further adapters that start as copies of stage I's."""
    torch.manual_seed(recipe.seed)
    for name in names:
        network.llm.add_adapter(name, network.llm.peft_config[SINGLE])
    _copy_adapter(network.llm, SINGLE, names)


def _train_only(llm: nn.Module, adapters: Sequence[str]) -> None:
    for name, parameter in llm.named_parameters():  # PEFT leaves only the first adapter trainable
        parameter.requires_grad_(any(f".{adapter}." in name for adapter in adapters))


def _run(
    task: LanguageTask | CriticalTask,
    stage: Stage,
    recipe: Recipe,
    settings: StageRecipe,
    material: Material,
    out: Path,
    adapters: list[str],
    resume: bool,
) -> None:
    steps = settings.samples // settings.batch
    arguments = TrainingArguments(
        output_dir=str(out / stage),
        per_device_train_batch_size=settings.batch,
        max_steps=steps,
        learning_rate=settings.lr,
        weight_decay=settings.weight_decay,
        adam_beta1=0.9,
        adam_beta2=0.999,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, int(steps * settings.warmup)),
        max_grad_norm=1.0,
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        logging_steps=20,
        save_steps=SAVE_STEPS,
        save_total_limit=1,
        save_only_model=False,
        report_to=[],
        remove_unused_columns=False,
        dataloader_num_workers=1,
        dataloader_prefetch_factor=4,
        disable_tqdm=True,
        seed=recipe.seed,
    )
    sizes = task.vlm_encoder.config
    collator = (CriticalCollator if stage == "critical" else Collator)(
        material.stores, material.tokenizer, material.answers, recipe.network.experts, adapters,
        sizes.max_words, sizes.queries_side,
    )  # fmt: skip
    corpus = replace(material.corpus, scene_share=settings.scene_share, told=settings.told, looks=settings.looks)
    trainer = _StageTrainer(
        model=task,
        args=arguments,
        data_collator=collator,
        train_dataset=Samples(corpus, stage, settings.samples),
    )
    trainer.train(resume_from_checkpoint=checkpoint_to_resume(out / stage, resume=resume))


class _StageTrainer(Trainer):
    """Trainer whose log also shows the parts of the loss, and which stores tied weights once."""

    parts: dict[str, Tensor] | None = None

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        state = cast(nn.Module, self.model).state_dict() if state_dict is None else state_dict
        super()._save(output_dir, {name: tensor.clone() for name, tensor in state.items()})

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        output = model(**inputs)
        self.parts = {name: value for name, value in output.items() if name != "loss"}
        return output["loss"]

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        extra = {name: round(float(value), 4) for name, value in (self.parts or {}).items()}
        super().log({**logs, **extra}, *args, **kwargs)


def _views(bank: Any, views: int, size: int, seed: int) -> Iterator[Tensor]:
    """Each picture's views in a row, the plain one first: `(16 * views, 3, size, size)` at a time."""
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, len(bank), 16):
        plain = normalise(torch.tensor(bank[start : start + 16]))
        seen = [plain, *(augment(plain, size, generator, smallest=0.6) for _ in range(views - 1))]
        yield torch.stack(seen, 1).flatten(0, 1)


def _prompt_texts(corpus: Corpus) -> Iterator[str]:
    """The fixed words of the prompts, often enough that the tokenizer knows them whole."""
    for style in corpus.prompts.styles.values():
        for expert in corpus.experts:
            yield from [corpus.prompts.expert_text(expert, "caption", style)] * 50
        yield from [corpus.prompts.composer_text(style, theme="", objects="", relations="")] * 50


def _copy_adapter(llm: nn.Module, source: str, targets: Sequence[str]) -> None:
    with torch.no_grad():
        state = dict(llm.named_parameters())
        for name, parameter in state.items():
            if f".{source}." in name:
                for target in targets:
                    state[name.replace(f".{source}.", f".{target}.")].copy_(parameter)


def _merge(encoder: nn.Module) -> None:
    """Fold the Q-Former's LoRA into its weights, so that the checkpoint's encoder is a plain one."""
    for name, module in list(encoder.named_modules()):
        if isinstance(module, BaseTunerLayer):
            layer = cast(Any, module)
            layer.merge()
            parent = encoder.get_submodule(name.rsplit(".", 1)[0])
            setattr(parent, name.rsplit(".", 1)[1], layer.get_base_layer())


def _write(parts: nn.ModuleDict, final: Path) -> None:
    tensors = {name: tensor.contiguous().clone() for name, tensor in parts.state_dict().items()}
    partial = final.with_suffix(".part")
    save_file(tensors, partial)
    partial.rename(final)


def _read(parts: nn.ModuleDict, final: Path) -> None:
    try:
        parts.load_state_dict(load_file(final))
    except RuntimeError as error:
        raise UserError(f"{final} was made by another recipe: choose another --out, or delete it") from error
