"""A first look: describes rendered scenes (or one picture of yours), asks questions, shows what the router did.

The scenes are drawn by the project itself, so the true answers are known and printed beside the agent's. All that is
written goes to the folder demo/.

    make demo
    make demo IMAGE=photo.tif
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rsagent.agent import RSAgent
from rsagent.cli.console import decorated, quiet_libraries, result, say, terminal
from rsagent.cli.picture import router_picture, save_picture
from rsagent.cli.runtime import check_picture, open_agent
from rsagent.cli.show import caption_lines, frame_answer, frame_caption, frame_trace, said, trace_lines
from rsagent.errors import RSAgentError
from rsagent.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

FOLDER = Path("demo")
SEEDS = (19, 20, 14, 22)
"""Of the split `demo`: an airport, a river, a sports ground, a beach."""
TYPES = ("color", "quantity", "road_ori", "presence")
"""The types of question asked of a scene, the first three that it offers."""
QUESTIONS = ("What is in this image?", "Is there a road in this image?", "How many houses are there?")
"""What is asked of a picture of yours."""

Asked = list[tuple[str, str | None]]
"""Questions, each with the true answer where it is known."""


def draw_scenes(folder: Path) -> list[tuple[Path, Asked]]:
    """Render the example scenes into `folder`; with each, three questions of different types and the truth."""
    from PIL import Image

    from rsagent.training.render import render
    from rsagent.training.scene_sets import scene_record
    from rsagent.training.scenes import scene_from_seed

    scenes: list[tuple[Path, Asked]] = []
    for seed in SEEDS:
        scene = scene_from_seed(seed, "demo")
        path = folder / f"{scene.kind.replace(' ', '_')}.png"
        save_picture(Image.fromarray(render(scene)), path)
        questions = scene_record(seed, "demo", scene)["questions"]
        by_type = {one["type"]: (one["question"], one["answer"]) for one in reversed(questions)}
        scenes.append((path, [by_type[name] for name in TYPES if name in by_type][:3]))
    return scenes


async def show(agent: RSAgent, path: Path, asked: Asked, console: Console | None) -> None:
    """Describe one picture and ask about it."""
    heading(f"rsagent caption {path}", console)
    caption = await agent.caption(str(path))
    if console:
        frame_caption(path.name, caption, console)
    else:
        result(caption_lines(path.name, caption))
    for question, truth in asked:
        heading(f'rsagent ask {path} "{question}"', console)
        answer = await agent.ask(str(path), question)
        if console:
            frame_answer(answer, console)
        else:
            result([answer.text])
        if truth is not None:
            result([f"(drawn: {truth})"])


async def explain(agent: RSAgent, path: Path, question: str, console: Console | None) -> Path:
    """Print what the router did with a picture and a question, and save its picture."""
    from rsagent.imagery import load_image

    heading(f'rsagent explain {path} "{question}"', console)
    trace = await agent.explain(str(path), question)
    answer = await agent.ask(str(path), question)
    if console:
        frame_trace(trace, answer, console)
    else:
        result(trace_lines(path.name, trace, answer))
    picture = FOLDER / f"{path.stem}-router.png"
    save_picture(router_picture(load_image(path).rgb, trace, said(answer)), picture)
    return picture


def heading(command: str, console: Console | None) -> None:
    """The command that would do what follows."""
    if console:
        console.rule(f"$ {command}", align="left", style="dim")
    else:
        result(["", f"$ {command}"])


async def demo(image: Path | None) -> None:
    """The whole tour."""
    settings = Settings.load()
    if image is not None:
        check_picture(str(image), settings, None)
    FOLDER.mkdir(exist_ok=True)
    pictures: list[tuple[Path, Asked]] = [(image, [(q, None) for q in QUESTIONS])] if image else draw_scenes(FOLDER)
    console = terminal() if decorated(plain=False) else None
    async with open_agent(settings, None) as (agent, _):
        for path, asked in pictures:
            await show(agent, path, asked, console)
        path, asked = pictures[0]
        picture = await explain(agent, path, asked[0][0], console)
    result(
        [
            "",
            f"Where each expert looked: {picture}",
            "Next, with the environment of this folder (. .venv/bin/activate):",
            "  make demo IMAGE=photo.tif",
            f"  rsagent caption {path} --style ucm",
            f'  rsagent ask {path} "Is it a rural or an urban area?"',
            f"  rsagent explain {path}",
            "  rsagent --help",
        ]
    )


def main() -> int:
    """Run the tour; what goes wrong is one line."""
    quiet_libraries()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("image", nargs="?", type=Path, help="a picture of yours; left out: rendered scenes")
    try:
        asyncio.run(demo(parser.parse_args().image))
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except RSAgentError as error:
        say(str(error))
        return error.exit_code
    except OSError as error:
        say(f"{error.filename or FOLDER}: {error.strerror or error}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
