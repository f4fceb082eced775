"""`rsagent sessions`: the conversations that are kept."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rsagent.cli import options
from rsagent.cli.console import result, result_json, say

if TYPE_CHECKING:
    from rsagent.chat.records import Picture, Turn
    from rsagent.chat.store import Store

app = typer.Typer(no_args_is_help=True, help="The conversations that are kept.", rich_markup_mode=None)

Session = Annotated[str, typer.Argument(metavar="ID", help="A session's id, or its beginning.")]


@app.command("list")
def list_sessions(as_json: options.Json = False) -> None:
    """List the sessions, the newest first."""
    with _store() as store:
        for note in store.notes:
            say(note)
        if as_json:
            result_json([vars(session) for session in store.list()])
        else:
            result(session_lines(store))


@app.command()
def show(session: Session, as_json: options.Json = False) -> None:
    """Print what was said in a session."""
    from rsagent.chat.export import as_data

    with _store() as store:
        title, pictures, turns = _read(store, session)
    if as_json:
        result_json(as_data(title, pictures, turns))
        return
    lines = [title, *(f"  {number}  {picture.path}" for number, picture in enumerate(pictures, 1))]
    for turn in turns:
        lines.append(f"> {turn.said}")
        for reply in turn.replies:
            label = f"picture {reply.picture}: " if len(turn.pictures) > 1 else ""
            lines.append(f"  {label}{reply.text}{' (cut)' if turn.cut else ''}")
    result(lines)


@app.command()
def rm(sessions: Annotated[list[str], typer.Argument(metavar="ID ...", help="Sessions to delete.")]) -> None:
    """Delete sessions."""
    from rsagent.errors import UserError

    with _store() as store:
        for found in [store.find(name) for name in sessions]:
            if not store.hold(found.id):
                raise UserError(f"{found.id} is open in another terminal: leave it there first")
            store.remove(found.id)
            say(f"deleted {found.id}: {found.title}")


@app.command()
def export(
    session: Session, file: Annotated[Path, typer.Argument(metavar="FILE", help="NAME.md, NAME.json or NAME.html.")]
) -> None:
    """Write a session to a file."""
    from rsagent.chat.export import export as write

    with _store() as store:
        write(file, *_read(store, session))


def session_lines(store: Store) -> list[str]:
    """The sessions in plain lines: id, when, turns, title."""
    return [
        f"{session.id}  {time.strftime('%Y-%m-%d %H:%M', time.localtime(session.updated))}  "
        f"{session.turns:3d} turns  {session.title}"
        for session in store.list()
    ]


def _store() -> AbstractContextManager[Store]:
    from rsagent.chat.store import opened, state_folder

    return opened(state_folder())


def _read(store: Store, name: str) -> tuple[str, list[Picture], list[Turn]]:
    """Title, pictures and turns of a session."""
    from rsagent.chat.conversation import Conversation

    talk = Conversation(store, name, hold=False)
    return talk.title, talk.pictures, talk.turns
