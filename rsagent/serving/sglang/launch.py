"""The command that starts SGLang on a checkpoint, and the environment it needs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from rsagent.errors import SettingsError
from rsagent.serving.sglang import ARCHITECTURE, SGLANG_VERSION
from rsagent.serving.sglang.checks import Servable

PLUGIN = Path(__file__).resolve().parent / "plugin"
INSTALL = f"pip install sglang=={SGLANG_VERSION}, in an environment of its own (docs/sglang.md)"


@dataclass(frozen=True)
class Options:
    """What a user chooses about a server. `extra` goes to SGLang as it is, after ours, so it wins."""

    python: str
    host: str = "127.0.0.1"
    port: int = 30000
    device: str = "cuda"
    dtype: str = "auto"
    tp: int = 1
    dp: int = 1
    extra: Sequence[str] = field(default_factory=tuple)


def command(servable: Servable, model: Path, digest: str, options: Options) -> list[str]:
    """The server's command line for the folder `model` that was prepared of `servable`."""
    cpu = options.device == "cpu"
    adapters = [f"{adapter.name}={adapter.folder.resolve()}" for adapter in servable.adapters]
    line = [options.python, "-m", "sglang.launch_server", "--model-path", str(model)]
    line += ["--served-model-name", re.sub(r"[^\w.-]", "-", servable.config.name), "--weight-version", digest]
    line += ["--host", options.host, "--port", str(options.port), "--device", options.device]
    line += ["--dtype", served_dtype(options), "--enable-lora", "--lora-paths", *adapters]
    # The base LLM, which a health check asks, counts as one; rank and targets also bound what can be loaded later.
    line += ["--max-loras-per-batch", str(len(adapters) + 1), "--max-lora-rank", str(servable.rank)]
    line += ["--lora-target-modules", *servable.targets]
    line += ["--lora-backend", "torch_native" if cpu else "csgmv"]
    if cpu:
        # an idle server would keep one of the machine's few cores busy with asking whether there is work
        line += ["--attention-backend", "torch_native", "--max-total-tokens", "65536", "--sleep-on-idle"]
    # Its own warm-up sends a picture, which no expert can read.
    line += [
        "--skip-server-warmup",
        "--constrained-json-disable-any-whitespace",
        "--tp-size",
        str(options.tp),
        "--dp-size",
        str(options.dp),
    ]
    return [*line, *options.extra]


def served_dtype(options: Options) -> str:
    """The number type that the server computes in: float32 on a CPU, where half precision is emulated, else bfloat16."""
    return options.dtype if options.dtype != "auto" else "float32" if options.device == "cpu" else "bfloat16"


def environment(options: Options) -> dict[str, str]:
    """The variables that the server needs beside those that are set."""
    variables = {
        "PYTHONPATH": str(PLUGIN),  # only the plugin: our own packages must not stand in for the server's
        "SGLANG_EXTERNAL_MODEL_PACKAGE": "rsagent_sglang.models",
        "SGLANG_EXTERNAL_MM_MODEL_ARCH": ARCHITECTURE,
        "SGLANG_EXTERNAL_MM_PROCESSOR_PACKAGE": "rsagent_sglang.processors",
        "HF_HUB_OFFLINE": "1",  # everything lies in the prepared folder
    }
    if options.device == "cpu":
        threads = os.environ.get("OMP_NUM_THREADS", "1")  # more are slower on small machines, by a factor of several
        variables |= {"SGLANG_USE_CPU_ENGINE": "1", "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        nodes = len(list(Path("/sys/devices/system/node").glob("node[0-9]*"))) or 1
        if options.tp * options.dp > nodes and "SGLANG_CPU_OMP_THREADS_BIND" not in os.environ:
            # by itself SGLang wants a NUMA node for each copy or shard, and ends where there are fewer
            variables["SGLANG_CPU_OMP_THREADS_BIND"] = bound_cores(options.tp * options.dp, _cores())
    return variables


def bound_cores(ranks: int, cores: Sequence[int]) -> str:
    """Which cores each of the `ranks` keeps to, as SGLang reads it: "0,1|2,3"; cores are shared where there are too few."""
    each = max(1, len(cores) // ranks)
    groups = [[cores[(rank * each + place) % len(cores)] for place in range(each)] for rank in range(ranks)]
    return "|".join(",".join(map(str, group)) for group in groups)


def _cores() -> list[int]:
    """The processor cores that a child of ours may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def printed(line: Sequence[str], variables: dict[str, str]) -> str:
    """The command as a line for a shell."""
    return shlex.join(["env", *(f"{name}={value}" for name, value in variables.items()), *line])


def find_python(named: str | None) -> str:
    """The server's Python: the one that was named, the one `make sglang-env` made here, or this one."""
    if named:
        return str(Path(named).absolute()) if "/" in named else named
    made = Path(".sglang-env/bin/python")
    return str(made.absolute()) if made.exists() else sys.executable


def is_own_without_sglang(python: str) -> bool:
    """Whether this is our own Python, and SGLang is not in it: a command that names it starts nothing."""
    return python == sys.executable and find_spec("sglang") is None


def check_version(python: str) -> None:
    """That this Python has the SGLang that the plugin is made for.

    Raises:
        SettingsError: it has none, or another; the message says what to install.
    """
    ask = "import importlib.metadata as m; print(m.version('sglang'))"
    try:
        outcome = subprocess.run([python, "-c", ask], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SettingsError(f"--python {python} cannot be run: {error}") from error
    version = outcome.stdout.strip()
    if outcome.returncode or not version:
        raise SettingsError(f"{python} has no SGLang: {INSTALL}, then: --python THAT/bin/python")
    if version != SGLANG_VERSION:
        raise SettingsError(f"{python} has SGLang {version}, the plugin is made for {SGLANG_VERSION}: {INSTALL}")
