"""An RS-MoE checkpoint: one folder, safetensors only, one layout for every size.

    config.json                 sizes and format version (`RSMoEConfig`)
    model.safetensors           image encoder and VLM encoder
    router.safetensors          instruction router
    llm/                        the LLM as a Hugging Face folder (or config.json names one that lies elsewhere)
    tokenizer/                  the tokenizer of the LLM, which the Q-Former shares unless config.json says `own_words`
    words/                      then: the tokenizer of the Q-Former
    experts/<name>/             one PEFT adapter an expert, exactly as PEFT writes and SGLang loads them;
                                beside them `composer` and, from stage I, `single`
    README.md                   the model card

A pickle is refused, whatever it is called.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from rsagent.errors import CheckpointError
from rsagent.model.bases import BASES
from rsagent.model.config import FORMAT_VERSION, KINDS, RSMoEConfig
from rsagent.model.pretrained import failure, line, load_llm, shortened, weights_folder

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from rsagent.model.network import RSMoE

EMBEDDED = Path(__file__).resolve().parent.parent / "weights" / "tiny"
"""The default checkpoint, which travels in the wheel."""

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")
_MOST_JSON = 1_000_000  # bytes of a configuration; real ones have a few thousand


def read_config(folder: Path) -> RSMoEConfig:
    """Check the folder's layout and read its `config.json`; nothing heavy is imported.

    Raises:
        CheckpointError: one line that names what is missing, damaged, of another version, or a pickle.
    """
    if not folder.is_dir():
        raise CheckpointError(f"no checkpoint folder at {folder}: give --checkpoint FOLDER, or leave it out for the default")
    path = folder / "config.json"
    if not path.exists():  # first of all, or a mistaken `--checkpoint /` would be searched to its end
        raise CheckpointError(f"{folder} is no RS-MoE checkpoint: it has no config.json")
    raw = _read_json(path)
    for file in folder.rglob("*"):
        if file.suffix.lower() in _PICKLES:
            raise CheckpointError(f"{file} is a pickle, which can run code: convert it to safetensors")
    version = raw.get("format")
    if version != FORMAT_VERSION:
        raise CheckpointError(f"{path} has format version {version!r}; this rsagent reads version {FORMAT_VERSION}")
    try:
        config = RSMoEConfig.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part not in KINDS)
        raise CheckpointError(f"{path}: {where}: {first['msg']}") from error
    needed = ["model.safetensors", "router.safetensors", "tokenizer/tokenizer.json"]
    needed += ["words/tokenizer.json"] if config.own_words else []
    for name in [*config.experts, *(["composer"] if config.composer_styles else [])]:
        needed += [f"experts/{name}/adapter_config.json", f"experts/{name}/adapter_model.safetensors"]
    needed += ["llm/config.json", "llm/model.safetensors"] if config.llm == "llm" else []
    for name in needed:
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} is incomplete: {name} is missing")
    return config


def checkpoint_digest(folder: Path) -> str:
    """A digest of everything that decides what the checkpoint says: sha256 over its json and safetensors files."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.suffix in (".json", ".safetensors") and file.is_file():
            digest.update(file.relative_to(folder).as_posix().encode())
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def load_checkpoint(folder: Path, *, adapters: list[str] | None = None) -> RSMoE:
    """Load a checkpoint in float32 on the CPU, its adapters attached through PEFT; `adapters` limits which.

    Raises:
        CheckpointError: as `read_config`, or a tensor of a wrong name or shape, or an adapter that does not fit.
        EngineError: the machine failed: out of memory, or the LLM is on a hub that cannot be reached.
    """
    config = read_config(folder)
    network = _load_around(folder, config, _load_llm(folder, config))
    _check_vocabulary(network, folder)
    _attach_adapters(network, folder / "experts", adapters)
    network.requires_grad_(False)
    return network.eval()


def load_encoder_side(folder: Path) -> RSMoE:
    """Load what stands before the LLM, for an engine whose experts run elsewhere.

    The network can look, see, route and be traced; of the LLM only the words' embeddings are read, once a trace asks.

    Raises:
        CheckpointError: as `load_checkpoint`.
    """
    config = read_config(folder)
    from rsagent.model.words_only import WordsOnly

    network = _load_around(folder, config, cast("PreTrainedModel", WordsOnly(folder, config)))
    if len(network.words_tokenizer) > config.vlm_encoder.vocabulary:
        raise CheckpointError(f"the tokenizer of {folder} has more tokens than the VLM encoder knows")
    network.requires_grad_(False)
    return network.eval()


def llm_folder(folder: Path, config: RSMoEConfig) -> Path:
    """Where the LLM of a checkpoint lies: inside it, in another folder, prepared (see `bases`), or in the cache of the hub.

    Raises:
        CheckpointError: it is not there.
        EngineError: the hub cannot be reached.
        MissingExtra: it is in a package that another one is needed to read.
    """
    if config.llm == "llm":
        return folder / "llm"
    if Path(config.llm).is_dir():
        return Path(config.llm)
    return weights_folder(config.llm)


def _load_around(folder: Path, config: RSMoEConfig, llm: PreTrainedModel) -> RSMoE:
    """The network with `llm` in it and every other part read from the folder."""
    from rsagent.model.network import RSMoE

    words = load_tokenizer(folder / "words", speaks=False) if config.own_words else None
    network = RSMoE(config, llm, load_tokenizer(folder / "tokenizer"), words)
    encoder = read_tensors(folder / "model.safetensors")
    _fill(network.image_encoder, _part(encoder, "image_encoder."), folder / "model.safetensors", "image encoder")
    _fill(network.vlm_encoder, _part(encoder, "vlm_encoder."), folder / "model.safetensors", "VLM encoder")
    _fill(network.router, read_tensors(folder / "router.safetensors"), folder / "router.safetensors", "router")
    return network


def save_checkpoint(network: RSMoE, folder: Path, *, half: bool = True, card: str = "") -> None:
    """Write the network as a checkpoint folder; it appears whole or not at all. `half` stores float16.

    Raises:
        CheckpointError: the folder exists and is not a checkpoint.
    """
    from safetensors.torch import save_file

    if network.mixed is not None:
        raise ValueError("a network that was made ready for mixed batches has lost PEFT's layers: save it before `mix`")
    if folder.exists() and not (folder / "config.json").exists():
        raise CheckpointError(f"{folder} exists and is no checkpoint: choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        encoder = {f"image_encoder.{k}": v for k, v in network.image_encoder.state_dict().items()}
        encoder |= {f"vlm_encoder.{k}": v for k, v in network.vlm_encoder.state_dict().items()}
        save_file(_stored(encoder, half), partial / "model.safetensors", {"format": "pt"})
        save_file(_stored(network.router.state_dict(), half), partial / "router.safetensors", {"format": "pt"})
        _save_llm(network, partial, half)
        network.tokenizer.save_pretrained(partial / "tokenizer")
        if network.config.own_words:
            network.words_tokenizer.save_pretrained(partial / "words")
        _tidy_notes(partial, half, network.config.llm)
        (partial / "config.json").write_text(network.config.model_dump_json(indent=2) + "\n", "utf-8")
        (partial / "README.md").write_text(card or f"# {network.config.name}\n", "utf-8")
        for path in [partial, *partial.rglob("*")]:  # temporary folders and safetensors' files are the owner's alone
            path.chmod(0o755 if path.is_dir() else 0o644)
        _replace_folder(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _replace_folder(new: Path, folder: Path) -> None:
    """Rename `new` to `folder`; what was there is deleted only afterwards."""
    if not folder.exists():
        os.replace(new, folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
    os.replace(folder, old / "was")
    os.replace(new, folder)
    shutil.rmtree(old)


def load_tokenizer(folder: Path, *, speaks: bool = True) -> PreTrainedTokenizerFast:
    """The tokenizer of a checkpoint; one that only reads instructions (not `speaks`) needs no begin and end.

    Raises:
        CheckpointError: it cannot be read, or lacks the tokens that begin and end a text and pad a batch.
    """
    from transformers import PreTrainedTokenizerFast

    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    except Exception as error:  # the Rust parser raises bare Exceptions
        raise failure(f"{folder} holds no tokenizer that can be read", error) from error
    needed = [tokenizer.pad_token_id, *([tokenizer.bos_token_id, tokenizer.eos_token_id] if speaks else [])]
    if None in needed:
        raise CheckpointError(f"the tokenizer in {folder} needs tokens for padding, begin and end of a text")
    return cast("PreTrainedTokenizerFast", tokenizer)


def _load_llm(folder: Path, config: RSMoEConfig) -> PreTrainedModel:
    import torch
    from transformers.utils import logging

    place = str(folder / "llm") if config.llm == "llm" else config.llm
    if config.llm == "llm" or config.llm in BASES:  # small and on disk: a progress bar would only flicker
        logging.disable_progress_bar()
    llm = load_llm(place, torch.float32)
    width = int(cast(Any, llm).get_input_embeddings().weight.shape[1])
    if width != config.llm_dim:
        raise CheckpointError(f"the LLM '{place}' is {width} wide, config.json says {config.llm_dim}")
    return llm


def _attach_adapters(network: RSMoE, folder: Path, wanted: list[str] | None) -> None:
    from peft import PeftModel

    names = wanted if wanted is not None else adapter_names(folder)
    for index, name in enumerate(names):
        tensors = _adapter_tensors(folder / name)
        try:
            if index == 0:
                network.llm = PeftModel.from_pretrained(network.llm, folder / name, adapter_name=name)
            else:
                network.llm.load_adapter(folder / name, adapter_name=name)
        except Exception as error:  # a damaged folder makes PEFT raise almost anything
            raise failure(f"the adapter {folder / name} does not fit the LLM", error) from error
        if odd := sorted(tensors ^ _attached_tensors(network.llm, name)):  # PEFT only warns of them, or not even that
            raise CheckpointError(f"the adapter {folder / name} does not fit the LLM: it lacks, or has too much, {odd[0]}")


def _adapter_tensors(folder: Path) -> set[str]:
    """The names of an adapter's tensors, after a look at what PEFT must not see.

    PEFT would search the hub for missing files, fall back on a pickle, and import modules that a configuration names.
    """
    from safetensors import SafetensorError, safe_open

    file = folder / "adapter_model.safetensors"
    if not file.is_file():
        raise CheckpointError(f"{folder} is incomplete: adapter_model.safetensors is missing")
    config = _read_json(folder / "adapter_config.json")
    if config.get("peft_type") != "LORA" or config.get("megatron_config"):
        raise CheckpointError(f"{folder / 'adapter_config.json'} is of no plain LoRA adapter, which an expert has to be")
    try:
        with cast(Any, safe_open)(file, "pt") as stored:
            return set(cast("list[str]", stored.keys()))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{file} is damaged or no safetensors file: {line(error)}") from error


def _attached_tensors(llm: Any, name: str) -> set[str]:
    from peft import get_peft_model_state_dict

    return set(get_peft_model_state_dict(llm, adapter_name=name, save_embedding_layers=False))


def _check_vocabulary(network: RSMoE, folder: Path) -> None:
    """A token without an embedding would only be noticed when somebody's question holds it."""
    rows = int(network.llm.get_input_embeddings().weight.shape[0])
    for tokenizer, known in ((network.tokenizer, rows), (network.words_tokenizer, network.config.vlm_encoder.vocabulary)):
        if len(tokenizer) > known:
            raise CheckpointError(f"the tokenizer of {folder} has {len(tokenizer)} tokens, its networks know {known}")


def adapter_names(folder: Path) -> list[str]:
    """The adapters below `folder`, by name."""
    return sorted(path.parent.name for path in folder.glob("*/adapter_config.json"))


def _save_llm(network: RSMoE, partial: Path, half: bool) -> None:
    from safetensors.torch import load_file, save_file

    wrapped = network.adapters
    llm = network.llm.get_base_model() if wrapped else network.llm
    if network.config.llm == "llm":
        # PEFT renames what it wraps ("q_proj.base_layer.weight"): take the plain names back
        state = {
            name.replace(".base_layer.", "."): tensor
            for name, tensor in cast("dict[str, Tensor]", llm.state_dict()).items()
            if ".lora_" not in name
        }
        if llm.config.tie_word_embeddings:
            state.pop("lm_head.weight", None)
        (partial / "llm").mkdir()
        llm.config.architectures = [type(llm).__name__]  # one that was made here has none, and servers ask for it
        llm.config.save_pretrained(partial / "llm")
        save_file(_stored(state, half), partial / "llm" / "model.safetensors", {"format": "pt"})
    if wrapped:
        network.llm.save_pretrained(partial / "experts", selected_adapters=wrapped, save_embedding_layers=False)
        (partial / "experts" / "README.md").unlink(missing_ok=True)
        for file in (partial / "experts").rglob("*.safetensors"):
            save_file(_stored(load_file(file), half), file, {"format": "pt"})


def _tidy_notes(folder: Path, half: bool, llm: str) -> None:
    """Take out what PEFT and transformers note of this machine or order by chance: equal networks give equal folders.

    Adapters of an LLM that is not carried name it by its id, as other programs expect.
    """
    for file in folder.glob("experts/*/adapter_config.json"):
        config = _read_json(file)
        base = config.get("base_model_name_or_path") if llm == "llm" else llm
        config["base_model_name_or_path"] = None if os.path.isabs(base or "") else base
        if isinstance(config["target_modules"], list):
            config["target_modules"].sort()
        _write_json(file, config)
    if (folder / "llm").is_dir():
        config = _read_json(folder / "llm" / "config.json")
        _write_json(folder / "llm" / "config.json", {**config, "dtype": "float16" if half else "float32"})
    for file in folder.glob("*/tokenizer_config.json"):
        config = _read_json(file)
        for note in ("is_local", "local_files_only"):
            config.pop(note, None)
        _write_json(file, config)
    for file in folder.glob("*/tokenizer.json"):  # half of what tokenizers writes is indentation
        vocabulary = json.loads(file.read_text("utf-8"))
        file.write_text(json.dumps(vocabulary, ensure_ascii=False, separators=(",", ":")) + "\n", "utf-8")


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", "utf-8")


def _stored(state: dict[str, Tensor], half: bool) -> dict[str, Tensor]:
    import torch

    def one(tensor: Tensor) -> Tensor:
        tensor = tensor.detach().cpu()
        return (tensor.to(torch.float16) if half and tensor.is_floating_point() else tensor).contiguous().clone()

    return {name: one(tensor) for name, tensor in state.items()}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, those with fractions in float32.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in load_file(path).items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or no safetensors file: {line(error)}") from error


def _part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _fill(module: Any, state: dict[str, Tensor], path: Path, what: str) -> None:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        detail = str(error).split("\n", 1)[-1].strip()
        raise CheckpointError(f"{path} does not fit the {what} of config.json: {shortened(detail)}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file() or path.stat().st_size > _MOST_JSON:  # a pipe would wait for ever
            raise CheckpointError(f"{path} is missing, no plain file, or too large for a configuration")
        raw = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {line(error)}") from error
    if not isinstance(raw, dict):
        raise CheckpointError(f"{path} holds no JSON object")
    return cast("dict[str, Any]", raw)
