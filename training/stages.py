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
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from rsagent.errors import UserError
from rsagent.model.checkpoint import adapter_names, load_checkpoint, read_config, save_checkpoint
from rsagent.model.config import PlainQFormerConfig
from rsagent.model.image_encoder import ImageEncoder
from rsagent.model.network import COMPOSER, SINGLE, RSMoE
from rsagent.model.shipped import checkpoint_folder
from rsagent.prompts import load_prompts
from rsagent.training.batches import Collator, Samples, Stores
from rsagent.training.card import model_card, parameter_counts
from rsagent.training.compiled import compile_layers
from rsagent.training.corpus import Corpus, Stage, answer_vocabulary, corpus_texts, read_corpus
from rsagent.training.critical import CriticalCollator, CriticalTask, judges
from rsagent.training.encoder import train_encoder
from rsagent.training.features import AnyEncoder, feature_store
from rsagent.training.fresh import fresh_network, load_or_train_tokenizer, train_tokenizer
from rsagent.training.language import LanguageTask
from rsagent.training.pictures import augment, normalise, picture_bank, picture_key
from rsagent.training.placement import adapt_llm, adapt_qformer
from rsagent.training.pretrained import go_on_speaking, pretrained_network, spoke_to_it
from rsagent.training.processes import alone, first_goes_first, is_first, sharded
from rsagent.training.recipe import Recipe, StageRecipe
from rsagent.training.reports import described_pictures
from rsagent.training.resume import checkpoint_to_resume, whole_files
from rsagent.training.run_folder import claimed, shared_cache
from rsagent.training.scene_store import scene_batches, scene_key, scene_texts
from rsagent.training.stage_trainer import stage_arguments, train_task

log = logging.getLogger(__name__)
SAVE_STEPS = 100
"""After so many steps a checkpoint is kept to resume from."""
Progress = Callable[[str, int, int], None]


@dataclass
class Material:
    """What every stage of the language side needs: the words, the frozen features, the tokenizer."""

    corpus: Corpus
    stores: Stores
    tokenizer: PreTrainedTokenizerFast
    answers: list[str]
    words_tokenizer: PreTrainedTokenizerFast | None = None


def prepare(recipe: Recipe, data: Path, out: Path, encoder: AnyEncoder, progress: Progress) -> Material:
    """Read the corpus and encode every picture once; what an earlier run left in `out/cache` is used again.

    Raises:
        UserError: a data set is missing or damaged.
    """
    with shared_cache(out / "cache") as cache:
        scenes = recipe.scenes
        texts = scene_texts(scenes, cache, lambda done, count: progress("scene texts", done, count)) if scenes else []
        corpus, files = read_corpus(
            data, load_prompts(), recipe.network.experts, texts,
            views=recipe.views, scene_share=recipe.stage1.scene_share, seed=recipe.seed, only=recipe.captions,
        )  # fmt: skip
        lost: set[int] = set()
        bank = picture_bank(files, recipe.image_size, cache, lambda done, count: progress("pictures", done, count), lost)
        corpus = corpus.without({row * recipe.views for row in lost})
        seed = recipe.seed if recipe.views > 1 else 0  # plain views are the same for every seed
        real = feature_store(
            encoder, f"real {recipe.views} {seed} {picture_key(files, recipe.image_size)}", len(files) * recipe.views,
            lambda: _views(bank, recipe.views, recipe.image_size, seed), cache,
            lambda done, count: progress("features", done, count),
        )  # fmt: skip
        stores = [real]
        if recipe.scenes:
            stores += [feature_store(
                encoder, f"scenes {scene_key()}", recipe.scenes, lambda: scene_batches(recipe.scenes), cache,
                lambda done, count: progress("scene features", done, count),
            )]  # fmt: skip
    tokenizer = load_or_train_tokenizer(
        [*corpus_texts(corpus), *_prompt_texts(corpus)], recipe.network.vocabulary, out / "tokenizer"
    )
    return Material(corpus, Stores(stores), tokenizer, answer_vocabulary(corpus))


def train_until(stage: Stage, recipe: Recipe, data: Path, out: Path, progress: Progress, *, resume: bool = False) -> Path:
    """Every stage up to `stage` that has not left its file yet; after stage2 `out/checkpoint` is the result.

    Returns:
        What `stage` left: its file, or the checkpoint folder.

    Raises:
        UserError: another training writes to `out`, or its run had another recipe; or as the stages.
        EngineError: the loss is no number, the disk is full, or memory is short.
    """
    with claimed(out, recipe):
        return _train_until(stage, recipe, data, out, progress, resume)


def _train_until(stage: Stage, recipe: Recipe, data: Path, out: Path, progress: Progress, resume: bool) -> Path:
    with first_goes_first():
        start = start_of(recipe, out)
        begin = _with_weights if recipe.weights else partial(_from_nothing, resume=resume)
        network, material = begin(recipe, start, data, out, progress)
    if recipe.base:
        train_base(network, recipe, material, out, resume=resume)
    if stage == "base":
        return out / "base.safetensors"
    train_stage1(network, recipe, material, out, start, resume=resume)
    if stage == "stage1":
        return out / "stage1.safetensors"
    train_stage2(network, recipe, material, out, resume=resume)
    train_composer(network, recipe, material, out, progress, resume=resume)
    train_critical(network, recipe, material, out, progress, resume=resume)
    if is_first():
        save_checkpoint(network, out / "checkpoint", card=model_card(recipe, network.config, parameter_counts(network)))
    return out / "checkpoint"


def _from_nothing(
    recipe: Recipe, start: RSMoE | None, data: Path, out: Path, progress: Progress, *, resume: bool
) -> tuple[RSMoE, Material]:
    """The network of a recipe whose Q-Former and LLM are trained here, or go on from `start`, and its material."""
    if recipe.encoder and not alone() and not (out / "encoder.safetensors").exists():
        raise UserError("the image encoder is trained by one process: start the run without torchrun, then go on with --resume")
    encoder = cast(ImageEncoder, start.image_encoder) if start else train_encoder(recipe, data, out, resume=resume)
    encoder.requires_grad_(False)
    material = prepare(recipe, data, out, encoder.eval(), progress)
    network = fresh_network(recipe, material.tokenizer, _styles(material.corpus))
    network.image_encoder = encoder
    if start:
        network.vlm_encoder.load_state_dict(start.vlm_encoder.state_dict())
        network.llm.load_state_dict(start.llm.state_dict())
    return network, material


def _with_weights(recipe: Recipe, start: RSMoE | None, data: Path, out: Path, progress: Progress) -> tuple[RSMoE, Material]:
    """The network of a recipe that names weights, and its material; such a recipe has no stage `base`."""
    network = pretrained_network(recipe, start, [])
    network.requires_grad_(False)
    network.tokenizer.save_pretrained(out / "tokenizer")
    encoder = network.image_encoder.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    material = prepare(recipe, data, out, encoder, progress)
    network.image_encoder.cpu()  # its work is done
    network.config.composer_styles = _styles(material.corpus)
    return network, replace(material, tokenizer=network.tokenizer, words_tokenizer=network.words_tokenizer)


def network_to_try(recipe: Recipe, corpus: Corpus) -> RSMoE:
    """The network that stage I would begin with, for one step before a training; nothing is written.

    Raises:
        UserError, CheckpointError, EngineError: weights are missing or do not fit.
    """
    start = None if recipe.start is None else _loaded(checkpoint_folder(recipe.start), recipe)
    if recipe.weights:
        return pretrained_network(recipe, start, [])
    tokenizer = start.tokenizer if start else train_tokenizer(corpus_texts(corpus), recipe.network.vocabulary)
    return fresh_network(recipe, tokenizer, _styles(corpus))


def _styles(corpus: Corpus) -> list[str]:
    return [style for style, pictures in corpus.pictures.items() if pictures and style != "detailed"]


def start_of(recipe: Recipe, out: Path) -> RSMoE | None:
    """The checkpoint a recipe goes on from; its tokenizer becomes the run's. Of its adapters at most stage I's comes with it.

    Raises:
        UserError: it has other sizes than the recipe.
        CheckpointError: it cannot be loaded.
    """
    if recipe.start is None:
        return None
    start = _loaded(checkpoint_folder(recipe.start), recipe)
    if recipe.weights:  # only its encoder is taken, and that has sizes of its own
        return start
    wanted = fresh_network(recipe, start.tokenizer, start.config.composer_styles)
    for part in ("vlm_encoder", "llm"):
        has, needs = ({name: t.shape for name, t in getattr(n, part).state_dict().items()} for n in (start, wanted))
        if has != needs:
            odd = sorted(name for name in has.keys() | needs.keys() if has.get(name) != needs.get(name))[0]
            raise UserError(f"the recipe's network has other sizes than its start '{recipe.start}': see {part}.{odd}")
    start.tokenizer.save_pretrained(out / "tokenizer")
    return start


def _loaded(folder: Path, recipe: Recipe) -> RSMoE:
    """A start; with stage I's adapter, where that may go on."""
    same = recipe.weights is not None and read_config(folder).llm == recipe.weights.llm
    return load_checkpoint(folder, adapters=[SINGLE] if same and SINGLE in adapter_names(folder / "experts") else [])


def train_base(network: RSMoE, recipe: Recipe, material: Material, out: Path, *, resume: bool) -> None:
    """The Q-Former and the LLM in full, from nothing or from the recipe's start; leaves `out/base.safetensors`."""
    assert recipe.base is not None
    final = out / "base.safetensors"
    network.router.requires_grad_(False)
    parts = nn.ModuleDict({"vlm_encoder": network.vlm_encoder, "llm": network.llm})
    if not final.exists():
        torch.manual_seed(recipe.seed)
        task = LanguageTask(network, "base", [SINGLE], len(material.answers))
        _run(task, "base", recipe, recipe.base, material, out, [SINGLE], resume)
        _write(network, parts, final)
    _read(network, parts, final)


def train_stage1(
    network: RSMoE, recipe: Recipe, material: Material, out: Path, start: RSMoE | None = None, *, resume: bool
) -> None:
    """LoRA in the Q-Former (merged afterwards) and in the LLM, the projection in full; leaves `out/stage1.safetensors`.

    The LLM's adapter goes on from that of `start`, where that was trained for the same LLM.
    """
    final = out / "stage1.safetensors"
    network.router.requires_grad_(False)
    network.vlm_encoder.requires_grad_(False)
    torch.manual_seed(recipe.seed)  # new weights must not depend on whether the stage before ran in this process
    adapt_llm(network, recipe.network)
    if start is not None and recipe.weights is not None and spoke_to_it(start, recipe):
        go_on_speaking(network.llm, start.llm)
    parts = nn.ModuleDict({"vlm_encoder": network.vlm_encoder, "llm": network.llm})
    if not final.exists():
        adapt_qformer(network, recipe.network)
        task = LanguageTask(network, "stage1", [SINGLE], len(material.answers))
        _run(task, "stage1", recipe, recipe.stage1, material, out, [SINGLE], resume)
        _merge(network.vlm_encoder)
        _write(network, parts, final)
    _read(network, parts, final)


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
        task = LanguageTask(network, "stage2", experts, len(material.answers), one_expert_a_pass=recipe.compiled)
        _run(task, "stage2", recipe, recipe.stage2, material, out, experts, resume)
        _write(network, parts, final)
    _read(network, parts, final)


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
        _write(network, parts, final)
    _read(network, parts, final)


def train_critical(network: RSMoE, recipe: Recipe, material: Material, out: Path, progress: Progress, *, resume: bool) -> None:
    """The composer on the scores of its own captions, where the recipe asks for it; leaves `out/critical.safetensors`."""
    if recipe.critical is None:
        return
    parts = nn.ModuleDict({"llm": network.llm})
    final = out / "critical.safetensors"
    if not final.exists():
        corpus = _described(network, recipe, material, out, progress)
        corpus.pictures.pop("scenes", None)  # nobody wrote five captions of a rendered scene
        _train_the_composer(network)
        torch.manual_seed(recipe.seed)
        task = CriticalTask(network, judges(corpus, material.corpus), recipe.critical.captions, recipe.critical.plain)
        _run(task, "critical", recipe, recipe.critical, replace(material, corpus=corpus), out, [COMPOSER], resume)
        _write(network, parts, final)
    _read(network, parts, final)


def _described(network: RSMoE, recipe: Recipe, material: Material, out: Path, progress: Progress) -> Corpus:
    """The pictures that stage II's experts have described, or now describe."""
    corpus = replace(material.corpus, scene_share=recipe.composer.scene_share)
    digest = hashlib.sha256((out / "stage2.safetensors").read_bytes()).hexdigest()[:16]
    target = out / f"reports-{recipe.composer.reports}-{digest}.jsonl"
    with first_goes_first():
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
    if recipe.compiled:
        compile_layers(task.llm)
    if settings.checkpointing:
        task.llm.gradient_checkpointing_enable({"use_reentrant": False})
    sizes = task.vlm_encoder.config
    collator = (CriticalCollator if stage == "critical" else Collator)(
        material.stores, material.tokenizer, material.answers, recipe.network.experts, adapters,
        sizes.max_words, 1 if isinstance(sizes, PlainQFormerConfig) else sizes.queries_side, material.words_tokenizer,
        every_adapter=sharded(),
    )  # fmt: skip
    corpus = replace(
        material.corpus,
        scene_share=settings.scene_share, told=settings.told, looks=settings.looks,
        asked_share=settings.asked, hidden_share=settings.hidden,
    )  # fmt: skip
    arguments = stage_arguments(settings, out / stage, seed=recipe.seed, save_steps=SAVE_STEPS)
    samples = Samples(corpus, stage, settings.samples)
    train_task(task, arguments, collator, samples, checkpoint_to_resume(out / stage, resume=resume))


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


def _write(network: RSMoE, parts: nn.ModuleDict, final: Path) -> None:
    with first_goes_first():
        if is_first():
            with whole_files(final) as (written,):
                save_file({name: tensor.contiguous().clone() for name, tensor in _own(network, parts).items()}, written)


def _read(network: RSMoE, parts: nn.ModuleDict, final: Path) -> None:
    own, stored = _own(network, parts), load_file(final)
    odd = {name for name in own.keys() | stored.keys() if name not in own or name not in stored}
    if odd or any(own[name].shape != stored[name].shape for name in own):
        raise UserError(f"{final} was made by another recipe: choose another --out, or delete it")
    parts.load_state_dict(stored, strict=False)


def _own(network: RSMoE, parts: nn.ModuleDict) -> dict[str, Tensor]:
    """The tensors of a stage's file: all, but for a pretrained LLM, which lies elsewhere and never changes."""
    state = cast("dict[str, Tensor]", parts.state_dict())
    if network.config.llm == "llm":
        return state
    return {name: tensor for name, tensor in state.items() if not name.startswith("llm.") or ".lora_" in name}
