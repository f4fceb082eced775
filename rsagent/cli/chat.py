"""`rsagent chat`: a conversation about pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rsagent.cli import options
from rsagent.cli.console import result, say
from rsagent.errors import UserError

if TYPE_CHECKING:
    from rsagent.chat.script import Checked
    from rsagent.settings import Settings


@options.with_engine()
def chat(
    images: Annotated[list[str] | None, typer.Argument(metavar="[IMAGE ...]", help="Pictures to talk about.")] = None,
    go_on: Annotated[bool, typer.Option("--continue", "-c", help="Go on with the newest session.")] = False,
    session: Annotated[str | None, typer.Option(metavar="ID", help="Go on with this session.")] = None,
    list_them: Annotated[bool, typer.Option("--list", help="List the sessions and leave.")] = False,
    script: Annotated[Path | None, typer.Option(metavar="FILE", help="Play a file of dialogues and check them.")] = None,
    experts: options.Experts = None,
    stream: Annotated[bool, typer.Option("--stream/--no-stream", help="Show words as they are written.")] = True,
    preview: Annotated[bool, typer.Option("--preview/--no-preview", help="Show small pictures where possible.")] = True,
    plain: options.Plain = False,
    *,
    settings: Settings,
    bands: Sequence[int] | None,
) -> None:
    """Talk about pictures. Ask, and ask on ("and to the left of it?"); /help lists the commands. Lines when piped."""
    import asyncio

    if script is not None:
        raise typer.Exit(asyncio.run(_play(script, settings, bands)))
    from rsagent.chat.store import opened, state_folder

    with opened(state_folder()) as store:
        if list_them:
            from rsagent.cli.sessions import session_lines

            result(session_lines(store))
            return
        from rsagent.chat.conversation import Conversation
        from rsagent.chat.records import check_file
        from rsagent.cli.chat_loop import Loop

        if go_on and session is not None:
            raise UserError("give --continue or --session, not both")
        talk = Conversation(store)
        if go_on or session is not None:
            talk.resume(session)
        for image in images or []:
            check_file(image)

        async def run() -> int:
            loop = Loop(
                talk, settings, bands, plain=plain, stream=stream, preview=preview, experts=experts, images=images or []
            )
            return await loop.run()

        code = asyncio.run(run())
    raise typer.Exit(code)


async def _play(path: Path, settings: Settings, bands: Sequence[int] | None) -> int:
    """Play a script; a line a turn, and how many were right. 0 where all checks hold."""
    import tempfile

    from rsagent.chat.script import load_script, run_script
    from rsagent.cli.runtime import open_agent
    from rsagent.engines.base import Rewriter

    script, done = load_script(path), list[Checked]()
    with tempfile.TemporaryDirectory(prefix="rsagent-") as scratch:
        async with open_agent(settings, bands) as (agent, engine):
            rewriter = engine if isinstance(engine, Rewriter) else None
            async for checked in run_script(script, agent, engine.name, path.parent, Path(scratch), rewriter):
                done.append(checked)
                result([_line(checked)])
    rows = {
        "follow-ups understood": [turn.understood for turn in done if turn.follow_up],
        "complete questions left alone": [turn.understood for turn in done if not turn.follow_up],
        "answers right": [turn.right for turn in done if turn.right is not None],
    }
    for name, outcomes in rows.items():
        if outcomes:
            say(f"{name}: {sum(outcomes)} of {len(outcomes)}")
    return 0 if all(all(outcomes) for outcomes in rows.values()) else 1


def _line(checked: Checked) -> str:
    marks = "ok  " if checked.understood and checked.right is not False else "FAIL"
    what = checked.error or f"{checked.question} -> {'; '.join(checked.answers)}"
    return f"{marks} {checked.dialogue}: {checked.ask} | {what}"
