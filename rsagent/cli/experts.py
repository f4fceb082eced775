"""`rsagent experts`: the experts of a checkpoint on an SGLang server; start it, look at it, change its adapters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from rsagent.cli import options
from rsagent.cli.console import result, result_json, say
from rsagent.errors import EngineError, UserError

app = typer.Typer(help="Experts on an SGLang server.", no_args_is_help=True)

_READY_S = 1800.0  # a large LLM from a slow disk takes its time; the progress is shown
Url = Annotated[str | None, typer.Option(metavar="URL", help="The server; the setting `url` if left out.")]


@app.callback()
def experts() -> None:
    """The experts of an RS-MoE checkpoint, served by SGLang."""


@app.command()
def serve(
    checkpoint: Annotated[str | None, typer.Argument(metavar="[FOLDER]", help="The one in force if left out.")] = None,
    extra: Annotated[list[str] | None, typer.Argument(metavar="[-- ARGUMENT...]", help="For SGLang, as it is.")] = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Who may reach it; 0.0.0.0 is everybody.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=1, max=65535, help="Where it listens.")] = 30000,
    device: Annotated[Literal["auto", "cuda", "cpu"], typer.Option(help="What the LLM runs on.")] = "auto",
    dtype: Annotated[Literal["auto", "float32", "bfloat16", "float16"], typer.Option(help="The LLM's number type.")] = "auto",
    tp: Annotated[int, typer.Option(metavar="N", min=1, help="GPUs that share one copy of the LLM.")] = 1,
    dp: Annotated[int, typer.Option(metavar="N", min=1, help="Copies of the LLM, each on its own GPUs.")] = 1,
    python: Annotated[str | None, typer.Option(metavar="PATH", help="The Python that has SGLang.")] = None,
    only_print: Annotated[bool, typer.Option("--print", help="Print the command and start nothing.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show all that SGLang prints.")] = False,
) -> None:
    """Serve a checkpoint's experts. Runs until Ctrl-C; what stands after -- goes to SGLang."""
    from rsagent.model.checkpoint import checkpoint_digest
    from rsagent.model.shipped import checkpoint_folder
    from rsagent.serving.sglang import launch
    from rsagent.serving.sglang.checks import check_checkpoint, check_cpu
    from rsagent.serving.sglang.prepare import cache_folder, prepare
    from rsagent.settings import Settings

    further = list(extra or ())
    if checkpoint is not None and checkpoint.startswith("-"):  # no folder, and the first of what stands after --
        further, checkpoint = [checkpoint, *further], None
    settings = Settings.load(checkpoint=checkpoint, sglang_python=python)
    folder = checkpoint_folder(settings.checkpoint)
    servable = check_checkpoint(folder)
    chosen = launch.Options(launch.find_python(settings.sglang_python), host, port, _device(device), dtype, tp, dp, further)
    if chosen.device == "cpu":
        check_cpu(servable, tp)
    if not only_print:
        launch.check_version(chosen.python)
    digest = checkpoint_digest(folder)
    line = launch.command(servable, prepare(servable, digest), digest, chosen)
    variables = launch.environment(chosen)
    if only_print:
        if launch.is_own_without_sglang(chosen.python):
            say("the command names this Python, which has no SGLang: give --python PATH, the one that has it")
        print(launch.printed(line, variables), flush=True)
        return
    _serve(line, variables, chosen, cache_folder() / f"server-{port}.log", verbose)


def _serve(line: list[str], variables: dict[str, str], chosen: Any, log: Path, verbose: bool) -> None:
    from rsagent.serving.sglang.child import Server, check_port, end_on_terminate

    check_port(chosen.host, chosen.port)
    end_on_terminate()
    reachable = "127.0.0.1" if chosen.host in ("0.0.0.0", "::") else chosen.host
    url = f"http://[{reachable}]:{chosen.port}" if ":" in reachable else f"http://{reachable}:{chosen.port}"
    with Server(line, variables, log, verbose=verbose) as server:
        say(f"SGLang starts (its output: {log})")
        server.wait_ready(url, _READY_S, lambda step: say(f"SGLang: {step}"))
        say(f"ready: rsagent caption photo.tif --engine sglang --url {url}; Ctrl-C ends it")
        code = server.wait()
    raise EngineError(f"SGLang ended with code {code}: {server.reason()} (all of it: {log})")


def _device(named: str) -> str:
    """What "auto" is: the GPU if there seems to be one. The server's torch is not ours, so torch is not asked."""
    if named != "auto":
        return named
    return "cuda" if Path("/dev/nvidia0").exists() else "cpu"


@app.command()
def status(url: Url = None, as_json: options.Json = False) -> None:
    """What a server serves, how much it does, and whether it is the checkpoint in force. Exit code 1 if it is not."""
    from rsagent.model.checkpoint import checkpoint_digest
    from rsagent.model.shipped import checkpoint_folder
    from rsagent.serving.sglang.http import LOADS, MODEL, SERVER, ask, is_healthy
    from rsagent.settings import Settings

    settings = Settings.load(url=url)
    folder = checkpoint_folder(settings.checkpoint)
    states: list[dict[str, Any]] = []
    for place in _urls(settings.url):
        model = ask(place, MODEL)
        server = ask(place, SERVER)
        adapters = cast("list[dict[str, Any]]", ask(place, "/v1/models").get("data") or [])
        states.append(
            {
                "url": place,
                "healthy": is_healthy(place),
                "model": model.get("served_model_name"),
                "version": server.get("version"),
                "dtype": server.get("dtype"),
                "adapters": {card["id"]: card.get("root") for card in adapters if card.get("parent")},
                "same_checkpoint": model.get("weight_version") == checkpoint_digest(folder),
                "load": _load(ask(place, LOADS)),
            }
        )
    if as_json:
        result_json(states)
    else:
        for state in states:
            result([f"{state['url']}: {'ready' if state['healthy'] else 'not ready'}"])
            result([f"  model: {state['model']}, {state['dtype']}, SGLang {state['version']}"])
            result([f"  checkpoint: {'the one in force' if state['same_checkpoint'] else f'another than {folder}'}"])
            result([f"  now: {_in_words(state['load'])}"])
            result([f"  adapter {name}: {root}" for name, root in state["adapters"].items()])
    raise typer.Exit(0 if all(state["healthy"] and state["same_checkpoint"] for state in states) else 1)


def _load(told: dict[str, Any]) -> dict[str, int | float]:
    """What a server does now, all copies of the LLM together."""
    copies = cast("list[dict[str, Any]]", told.get("loads") or [])
    slots = [cast("dict[str, Any]", copy.get("lora") or {}) for copy in copies]
    return {
        "running": sum(int(copy.get("num_running_reqs") or 0) for copy in copies),
        "waiting": sum(int(copy.get("num_waiting_reqs") or 0) for copy in copies),
        "tokens": sum(int(copy.get("num_used_tokens") or 0) for copy in copies),
        "most_tokens": sum(int(copy.get("max_total_num_tokens") or 0) for copy in copies),
        "cache_hit_rate": max((float(copy.get("cache_hit_rate") or 0) for copy in copies), default=0.0),
        "adapters": sum(int(slot.get("slots_used") or 0) for slot in slots),
        "most_adapters": sum(int(slot.get("slots_total") or 0) for slot in slots),
    }


def _in_words(load: dict[str, int | float]) -> str:
    """A server's load in one line."""
    return (
        f"{load['running']} requests running, {load['waiting']} waiting; "
        f"{load['tokens']} of {load['most_tokens']} tokens in use; "
        f"{load['cache_hit_rate']:.0%} of the prompts read last came from the cache; "
        f"{load['adapters']} of {load['most_adapters']} adapters' places taken"
    )


@app.command()
def load(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What requests will call it.")],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The adapter's folder, as the server sees it.")],
    url: Url = None,
) -> None:
    """Give a running server another adapter."""
    from rsagent.model.checkpoint import adapter_names, read_config
    from rsagent.model.shipped import checkpoint_folder
    from rsagent.serving.sglang.checks import check_adapter
    from rsagent.serving.sglang.http import ask
    from rsagent.serving.sglang.llm_files import find_llm
    from rsagent.settings import Settings

    settings = Settings.load(url=url)
    _check_name(name)
    folder = checkpoint_folder(settings.checkpoint)
    if name in adapter_names(folder / "experts"):
        raise UserError(f"{name!r} is an expert of the checkpoint {folder}, whose turns ask for it: choose another name")
    servers = _urls(settings.url)
    for place in servers:
        _check_serves(place, folder)
        _check_one_copy(place)
    if path.is_dir():  # else it may well be on the server's machine, which looks itself
        check_adapter(path, find_llm(folder, read_config(folder)).config)
        path = path.resolve()
    for place in servers:
        ask(place, "/load_lora_adapter", {"lora_name": name, "lora_path": str(path)})
        say(f"{place} has the adapter {name}")


@app.command()
def unload(name: Annotated[str, typer.Argument(metavar="NAME", help="The adapter.")], url: Url = None) -> None:
    """Take an adapter from a running server; what is being written with it is finished first."""
    from rsagent.serving.sglang.http import ask
    from rsagent.settings import Settings

    _check_name(name)
    servers = _urls(Settings.load(url=url).url)
    for place in servers:
        _check_one_copy(place)
    for place in servers:
        ask(place, "/unload_lora_adapter", {"lora_name": name})
        say(f"{place} no longer has the adapter {name}")


def _check_name(name: str) -> None:
    if not name.replace("-", "_").isidentifier() or len(name) > 64:
        raise UserError(f"{name!r} is no adapter's name: letters, digits, - and _")


def _check_serves(url: str, folder: Path) -> None:
    """That a server serves the checkpoint in `folder`: an adapter for another LLM can end it.

    Raises:
        UserError: it serves another one.
    """
    from rsagent.model.checkpoint import checkpoint_digest
    from rsagent.serving.sglang.http import MODEL, ask

    model = ask(url, MODEL)
    if model.get("weight_version") != checkpoint_digest(folder):
        named = f"{url} serves another checkpoint ({model.get('served_model_name')}) than {folder}"
        raise UserError(f"{named}, which the adapter is checked against: set RSAGENT_CHECKPOINT to the one it serves")


def _check_one_copy(url: str) -> None:
    """That a server can change its adapters while it runs; SGLang itself answers 500, and says nothing.

    Raises:
        UserError: it runs several copies of the LLM.
    """
    from rsagent.serving.sglang.http import SERVER, ask

    copies = int(ask(url, SERVER).get("dp_size") or 1)
    if copies > 1:
        named = f"{url} runs {copies} copies of the LLM, whose adapters SGLang does not change while it runs"
        raise UserError(f"{named}: start a server a copy instead of --dp, and name all of them in --url")


def _urls(setting: str | None) -> list[str]:
    """The servers that a setting such as "http://a:30000,http://b:30000" names.

    Raises:
        SettingsError: an address is none.
    """
    from rsagent.serving.sglang.http import check_url

    return [check_url(url) for url in (setting or "http://127.0.0.1:30000").split(",")]
