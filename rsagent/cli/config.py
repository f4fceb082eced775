"""`rsagent config`: the settings in force."""

from __future__ import annotations

import typer

from rsagent.cli import options
from rsagent.cli.console import result, result_json, say

app = typer.Typer(help="Settings.", no_args_is_help=True)


@app.callback()
def config() -> None:
    """The settings: flags > environment (RSAGENT_*) > rsagent.toml > defaults."""


@app.command()
def show(as_json: options.Json = False) -> None:
    """Every setting, its value and where that came from."""
    from rsagent.settings import FILE_NAME, Settings, config_file, unknown_variables

    settings = Settings.load()
    values, sources = settings.model_dump(mode="json"), settings.sources()
    if as_json:
        result_json({name: {"value": value, "source": sources[name]} for name, value in values.items()})
    else:
        result([f"{name} = {values[name]} ({source})" for name, source in sources.items()])
    say(f"the configuration file is {config_file() or f'not there (./{FILE_NAME})'}")
    for name in unknown_variables():
        say(f"{name} is no setting and has no effect")
