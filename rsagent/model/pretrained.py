"""Pretrained LLMs as people have them: a hub id, a folder (sharded or not), a GGUF file, the LLM inside an InstructBLIP.

Only safetensors and GGUF are read; a folder that holds nothing but pickles is refused with the way to convert it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rsagent.errors import CheckpointError, EngineError, MissingExtra, RSAgentError
from rsagent.model.bases import BASES, find_base, unavailable

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*/*.json", "*/*.txt"]


def weights_folder(name: str) -> Path:
    """The folder of a model: `name` itself, the prepared one of a base LLM that we know, or what the hub holds under that id.

    Raises:
        CheckpointError: neither a folder nor on the hub, gated, or pickles alone; the message says what to do.
        EngineError: the hub cannot be reached and its cache does not hold the model.
        MissingExtra: a package holds the base LLM, and the one that reads it is not installed.
    """
    if Path(name).is_dir():
        return _checked(Path(name))
    base = BASES.get(name)
    if base is None:
        return hub_folder(name)
    if found := find_base(base):
        return found
    try:
        return hub_folder(name)
    except RSAgentError as error:
        raise unavailable(base, error) from error


def hub_folder(name: str) -> Path:
    """What the hub, or its cache, holds under an id.

    Raises:
        CheckpointError, EngineError: as `weights_folder`.
    """
    return _checked(_from_hub(name))


def _checked(folder: Path) -> Path:
    """A folder that holds safetensors, and all of them."""
    if not any(folder.glob("*.safetensors")):
        kinds = sorted({file.suffix for file in folder.iterdir() if file.suffix in (".bin", ".pt", ".pth")})
        if kinds:
            raise CheckpointError(
                f"{folder} holds its weights as pickles ({', '.join(kinds)}), which can run code: "
                "convert them with transformers' save_pretrained to safetensors"
            )
        raise CheckpointError(f"{folder} holds no safetensors: unpack the whole model there")
    _check_shards(folder)
    return folder


def load_llm(name: str, dtype: torch.dtype) -> PreTrainedModel:
    """A causal LM in `dtype`, whatever form its weights have.

    Raises:
        CheckpointError: as `weights_folder`, or the weights do not fit their own configuration.
        EngineError: the hub cannot be reached, or memory is short.
        MissingExtra: a GGUF file, and the package that reads it is not installed.
    """
    from transformers import AutoModelForCausalLM, InstructBlipForConditionalGeneration

    read: Any = AutoModelForCausalLM.from_pretrained
    options: dict[str, Any] = {"dtype": dtype, "trust_remote_code": False, "output_loading_info": True}
    if name.endswith(".gguf"):
        file, options = _gguf(name), options | _gguf_options(name)
        place = file.parent
    else:
        place = weights_folder(name)
        options["use_safetensors"] = True
        if _is_instructblip(place):
            read = InstructBlipForConditionalGeneration.from_pretrained
    try:
        model, found = read(place, **options)
    except Exception as error:  # a damaged folder makes transformers raise almost anything
        raise failure(f"the LLM '{name}' cannot be loaded", error) from error
    if missing := sorted(cast("set[str]", found["missing_keys"])):  # transformers would go on with random weights
        raise CheckpointError(f"the LLM '{name}' lacks {len(missing)} tensors, such as {missing[0]}")
    llm = model.language_model if hasattr(model, "qformer") else model
    llm.get_output_embeddings().register_forward_pre_hook(_in_one_piece)
    return llm


def _in_one_piece(_: nn.Module, arguments: tuple[Tensor]) -> tuple[Tensor]:
    """What the LLM's head reads, without gaps in memory.

    Of a batch's last tokens, a slice with gaps, torch takes products row by row and copies the head's matrix for each: with
    32 rows and a vocabulary of 49,152 that was seven seconds before the first word.
    """
    return (arguments[0].contiguous(),)


def load_llm_tokenizer(name: str) -> PreTrainedTokenizerFast:
    """The tokenizer beside an LLM, given the tokens for begin, end and padding that some lack.

    The end stands in for a missing beginning: it begins a target here, as it separates texts in the LLM's own training. It
    pads as well where nothing else does, since what is padded is masked.

    Raises:
        CheckpointError: it cannot be read, or has no token that ends a text.
    """
    from transformers import AutoTokenizer

    options: dict[str, Any] = {"trust_remote_code": False}
    if name.endswith(".gguf"):
        place = _gguf(name).parent
        if not (place / "tokenizer.json").exists():  # a tokenizer beside it is exact, the one inside is converted
            options["gguf_file"] = Path(name).name
    else:
        place = weights_folder(name)
    try:
        tokenizer: Any = cast(Any, AutoTokenizer.from_pretrained)(place, **options)
    except Exception as error:  # the Rust parser raises bare Exceptions
        raise failure(f"the tokenizer of '{name}' cannot be read", error) from error
    if tokenizer.eos_token is None:
        raise CheckpointError(f"the tokenizer of '{name}' has no token that ends a text")
    tokenizer.bos_token = tokenizer.bos_token or tokenizer.eos_token
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.unk_token or tokenizer.eos_token
    return cast("PreTrainedTokenizerFast", tokenizer)


def failure(what: str, error: Exception) -> CheckpointError | EngineError:
    """One line for what a library raised while it loaded: the folder's fault, or the machine's."""
    text = str(error).lower()
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
        return EngineError(f"{what}: out of memory")
    if "couldn't connect" in text:
        return EngineError(f"{what}: the hub cannot be reached, and it is not in the cache")
    return CheckpointError(f"{what}: {line(error)}")


def line(error: Exception) -> str:
    """The first line of an error, of bearable length."""
    return shortened(str(error)) or type(error).__name__


def shortened(text: str) -> str:
    """The first line of a text, of bearable length."""
    first = text.strip().split("\n", 1)[0]
    return first if len(first) <= 200 else f"{first[:200]} ..."


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(cast(Any, snapshot_download)(name, allow_patterns=_FILES))
    except GatedRepoError as error:
        raise CheckpointError(
            f"'{name}' is gated: ask for access on its page, then run `hf auth login`, or give a folder that holds it"
        ) from error
    except (LocalEntryNotFoundError, ConnectionError) as error:
        raise EngineError(f"'{name}' is no folder here, and the hub cannot be reached: give a folder that holds it") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise CheckpointError(
            f"'{name}' is neither a folder nor a model on the hub that you may read: {line(error)}"
        ) from error
    except Exception as error:  # the hub's client raises some twenty kinds
        raise failure(f"'{name}' cannot be fetched", error) from error


def _check_shards(folder: Path) -> None:
    """Every shard that an index names is there; transformers would name only the first."""
    for index in folder.glob("*.safetensors.index.json"):
        try:
            named = sorted(set(cast("dict[str, str]", json.loads(index.read_text("utf-8"))["weight_map"]).values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{index} is no index of shards: {line(error)}") from error
        missing = [name for name in named if not (folder / Path(name).name).is_file()]
        if missing:
            raise CheckpointError(
                f"{folder} is incomplete: {len(missing)} of {len(named)} shards are missing, {missing[0]} first"
            )


def _is_instructblip(folder: Path) -> bool:
    try:
        return json.loads((folder / "config.json").read_text("utf-8")).get("model_type") == "instructblip"
    except (OSError, ValueError, AttributeError):
        return False


def _gguf(name: str) -> Path:
    file = Path(name)
    if not file.is_file():
        raise CheckpointError(f"no GGUF file at {file}")
    return file


def _gguf_options(name: str) -> dict[str, Any]:
    from importlib.util import find_spec

    if find_spec("gguf") is None:
        raise MissingExtra("gguf", "train", f"reading {name}")
    from transformers import GgufConfig  # pyright: ignore[reportAttributeAccessIssue]

    # without `dequantize` the packed weights are kept, and cannot be trained on or saved
    return {"gguf_file": Path(name).name, "quantization_config": cast(Any, GgufConfig)(dequantize=True)}
