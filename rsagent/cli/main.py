"""The command `rsagent`: commands, exit codes, and the one place where errors become a line on stderr.

Exit codes: 0 done; 1 partial, or the engine or the machine failed; 2 the user's input; 130 interrupted.
Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from rsagent import __version__
from rsagent.cli import ask, caption, chat, config, data, doctor, eval, experts, explain, mcp, model, serve, sessions, train
from rsagent.cli.console import quiet_libraries, say, say_waits
from rsagent.errors import RSAgentError


class Commands(TyperGroup):
    """The commands, with whatever may go wrong in them turned into one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            outcome = super().invoke(ctx)
            sys.stdout.flush()
            return outcome
        except BrokenPipeError:  # the reader, such as `head`, has seen enough
            _abandon_stdout()
            raise typer.Exit(0) from None
        except RSAgentError as error:
            say(str(error))
            raise typer.Exit(error.exit_code) from error
        except typer.TyperException as error:  # an option or an argument is wrong
            say(f"{error.format_message()} (rsagent --help, or --help after a command, lists what there is)")
            raise typer.Exit(error.exit_code) from error
        except OSError as error:
            _abandon_stdout()
            say(f"{error.filename or 'output'}: {error.strerror or error}")
            raise typer.Exit(1) from error
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            say("out of memory: give fewer or smaller pictures, a smaller checkpoint, or --device cpu")
            raise typer.Exit(1) from error


app = typer.Typer(
    name="rsagent",
    cls=Commands,
    help="Look at aerial and satellite images: describe them, answer questions about them, show how.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"rsagent {__version__}")
        raise typer.Exit


@app.callback()
def rsagent(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Options of the program as a whole."""


app.command()(caption.caption)
app.command()(ask.ask)
app.command()(explain.explain)
app.command()(chat.chat)
app.add_typer(sessions.app, name="sessions")
app.add_typer(model.app, name="model")
app.add_typer(experts.app, name="experts")
app.command()(doctor.doctor)
app.add_typer(config.app, name="config")
app.add_typer(train.app, name="train")
app.add_typer(data.app, name="data")
app.add_typer(eval.app, name="eval")
app.command()(serve.serve)
app.command()(mcp.mcp)


def main() -> None:
    """Run the command line and leave with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # a stream that somebody put in its place
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    # The libraries make a million objects while they load, and all of them stay: looking through them costs half a second.
    gc.set_threshold(100_000, 50, 50)
    quiet_libraries()
    say_waits()
    app(prog_name="rsagent")


def _abandon_stdout() -> None:
    """Let what is still buffered go nowhere, so that closing stdout does not fail once more."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _is_out_of_memory(error: BaseException) -> bool:
    """Torch says it with a RuntimeError on the CPU and with a subclass of it on a GPU."""
    return isinstance(error, MemoryError) or "out of memory" in str(error) or "allocate memory" in str(error)
