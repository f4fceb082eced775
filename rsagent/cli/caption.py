"""`rsagent caption`: describe pictures, one or a folder full of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rsagent.cli import options
from rsagent.cli.console import counting, decorated, result, result_json, say, terminal, to_json
from rsagent.cli.show import caption_lines, frame_caption
from rsagent.errors import ImageError, RSAgentError, UserError

if TYPE_CHECKING:
    from rich.console import Console

    from rsagent.cli.resume import ResumeFile
    from rsagent.schemas import Caption
    from rsagent.settings import Settings

Form = Literal["plain", "frames", "json", "jsonl"]


@options.with_engine()
def caption(
    images: options.Images,
    experts: options.Experts = None,
    as_json: options.Json = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Print one line of JSON a picture, as each is done.")] = False,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON lines: skip the pictures FILE holds, add the others to it."),
    ] = None,
    plain: options.Plain = False,
    *,
    settings: Settings,
    bands: Sequence[int] | None,
) -> None:
    """Describe pictures. Shows what each expert says and the composed caption."""
    from rsagent.cli.runtime import run_async

    if as_json and (jsonl or resume):
        raise UserError("--json prints one document, --jsonl (and --resume) one line a picture: choose one")
    form: Form = "json" if as_json else "jsonl" if jsonl or resume else "frames" if decorated(plain) else "plain"
    run = _Run(settings, bands, experts, form, plain)
    run.gather(images, resume)
    try:
        run_async(run.describe())
    except KeyboardInterrupt:
        run.list_failures()
        raise
    run.list_failures()
    if form == "json" and run.records:
        several = len(images) > 1 or Path(images[0]).is_dir()
        result_json([run.records[index] for index in sorted(run.records)] if several else run.records[0])
    raise typer.Exit(run.exit_code())


class _Run:
    """One call of the command: what is wanted, what is done so far, what went wrong."""

    def __init__(
        self,
        settings: Settings,
        bands: Sequence[int] | None,
        experts: str | None,
        form: Form,
        plain: bool,
    ) -> None:
        self.settings, self.bands, self.experts, self.form, self.plain = settings, bands, experts, form, plain
        self.console = terminal() if form == "frames" else None
        self.resume: ResumeFile | None = None
        self.waiting: list[str] = []
        self.sources: list[str | bytes] = []
        self.failed: list[tuple[str, RSAgentError]] = []
        self.records: dict[int, dict[str, Any]] = {}
        self.described = 0
        self.partial = 0
        self.next = 0

    def gather(self, names: Sequence[str], resume: Path | None) -> None:
        """Find the pictures that `names` name and that the file `resume` does not hold.

        Raises:
            UserError: there is none, the only one cannot be used, or the file is no resume file.
        """
        from rsagent.cli.resume import ResumeFile
        from rsagent.cli.runtime import check_picture, read_source

        found = self._find(names)
        if resume is not None:
            self.resume = ResumeFile.open(resume)
        held = self.resume.held if self.resume else set[str]()
        self.waiting = [name for name in found if name not in held]
        self.described = len(found) - len(self.waiting)
        if self.described:
            say(f"{self.described} of {len(found)} pictures are in {resume}: skipped")
        self.sources = [read_source(name) for name in self.waiting]
        if len(names) == 1 and len(self.sources) == 1:
            check_picture(self.sources[0], self.settings, self.bands)

    async def describe(self) -> None:
        """Describe the pictures, print each as it is done and note what went wrong."""
        from rsagent.cli.runtime import open_agent

        if not self.sources:
            return
        async with open_agent(self.settings, self.bands) as (agent, engine):
            experts = options.parse_experts(self.experts, engine.experts)
            captions = agent.caption_many(self.sources, self.settings.style, experts)
            outcomes: dict[int, Caption | RSAgentError] = {}
            with counting(len(self.sources), self._bar_console()) as advance:
                async with aclosing(captions) as results:
                    async for done in results:
                        advance()
                        outcomes[done.index] = done.result
                        for index in self._due(outcomes, done.index):
                            self._take(index, outcomes.pop(index))

    def list_failures(self) -> None:
        """Name on stderr the pictures without a caption, one line each."""
        for name, error in self.failed:
            say(str(error) if isinstance(error, ImageError) else f"{name}: {error}")
        if self.failed and self.described:
            say(f"{len(self.failed)} of {len(self.failed) + self.described} pictures have no caption")

    def exit_code(self) -> int:
        """0 all described; 1 some are not, or in part only, or the engine failed; 2 no picture can be used."""
        if self.failed and not self.described and all(isinstance(error, UserError) for _, error in self.failed):
            return 2
        return 1 if self.failed or self.partial else 0

    def _find(self, names: Sequence[str]) -> list[str]:
        """The pictures that the arguments name; what is not there is noted, unless it is all that was named."""
        from rsagent.cli.runtime import STDIN
        from rsagent.imagery import find_images

        found: list[str] = []
        for name in names:
            try:
                found += [name] if name == STDIN else map(str, find_images(name))
            except ImageError as error:
                if len(names) == 1:
                    raise
                self.failed.append((name, error))
        return found

    def _due(self, outcomes: Mapping[int, object], done: int) -> Iterator[int]:
        """Which of `outcomes` to print now: the one just `done`, or for people those whose turn it is."""
        if self.form in ("json", "jsonl"):
            yield done
            return
        while self.next in outcomes:
            yield self.next
            self.next += 1

    def _take(self, index: int, outcome: Caption | RSAgentError) -> None:
        """Count one outcome, and print it unless all are printed together in the end."""
        name = self.waiting[index]
        if isinstance(outcome, RSAgentError):
            self.failed.append((name, outcome))
            return
        self.described += 1
        self.partial += outcome.partial
        record = {"path": name, **outcome.model_dump(mode="json")}
        if self.form == "json":
            self.records[index] = record
        elif self.form == "jsonl":
            if self.resume is not None:
                self.resume.add(to_json(record))
            print(to_json(record), flush=True)
        elif self.console is not None:
            frame_caption(name, outcome, self.console)
        else:
            result(caption_lines(name, outcome))

    def _bar_console(self) -> Console | None:
        """Where a progress bar disturbs nothing: the terminal of the frames, or a stderr that results do not share."""
        if self.console is not None or not sys.stderr.isatty() or self.plain:
            return self.console
        return terminal(stderr=True) if self.form == "json" or not sys.stdout.isatty() else None
