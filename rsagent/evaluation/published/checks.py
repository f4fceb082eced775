"""What is in a folder of published data, and what is wrong with it: counts, missing images, parts, duplicates, faults."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from rsagent.errors import UserError
from rsagent.evaluation.published.entries import ALL, CATALOGUE, Published
from rsagent.evaluation.published.files import leaves_folder, reading, subfolders
from rsagent.evaluation.published.karpathy import PER_IMAGE, has_words
from rsagent.evaluation.published.layouts import AnyReading, names_in, read_layout
from rsagent.evaluation.published.records import CaptionedImage, LabelledImage, QuestionItem

Progress = Callable[[str, int, int], None]
"""Called with the data set's name, the images compared so far and their number."""
_FIVE = frozenset({"ucm-captions", "sydney-captions", "rsicd", "nwpu-captions"})
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Checked:
    """One data set in a folder.

    Attributes:
        name: its name in CATALOGUE.
        path: its folder.
        images: how many of its images are there.
        splits: items whose image is there (images, or questions), by part.
        problems: what is wrong with this copy, one line each.
        notes: faults that the authors' own copy has, and what a user should know, one line each.
    """

    name: str
    path: Path
    images: int
    splits: Mapping[str, int]
    problems: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Every data set found in a folder; `unknown` names its folders that hold none that we can read."""

    path: Path
    sets: tuple[Checked, ...]
    unknown: tuple[str, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """All problems, each with the name of its data set before it."""
        return tuple(f"{one.name}: {problem}" for one in self.sets for problem in one.problems)

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def check(path: Path, progress: Progress | None = None) -> Report:
    """Recognise the data sets in a folder, its own or those of the folders in it, and say what is wrong with them.

    Raises:
        UserError: there is no such folder, or it holds nothing that we can read.
    """
    if not path.is_dir():
        raise UserError(f"{path}: no such folder; give a data set's own, or the one that holds several")
    names = names_in(path)
    if names:
        return Report(path, tuple(_check_one(name, path, progress) for name in names))
    found: list[Checked] = []
    unknown: list[str] = []
    for folder in subfolders(path):
        inside = names_in(folder)
        found += [_check_one(name, folder, progress) for name in inside]
        if not inside:
            unknown.append(folder.name)
    if not found:
        raise UserError(f"{path}: no data set that we know; `rsagent data fetch-help NAME` says how each must lie on disk")
    return Report(path, tuple(found), tuple(unknown))


def _check_one(name: str, home: Path, progress: Progress | None) -> Checked:
    about = CATALOGUE[name]
    try:
        found = read_layout(name, home, drop=False)
        parts: dict[Path, set[str]] = defaultdict(set)
        for item in found.items:
            parts[item.path].add(item.split)
        problems = [
            *found.problems,
            *counts(about, found),
            *_missing(found),
            *_parts(about, found, parts),
            *_texts(about, found),
            *_unlisted(about, found),
            *_equal_files(parts, (lambda done, of: progress(name, done, of)) if progress else None),
        ]
    except UserError as error:
        return Checked(name, home, 0, {}, (str(error),), ())
    notes = [*found.faults]
    if about.divided_here and isinstance(next(iter(found.items), None), LabelledImage):
        notes.append("no parts are published: a digest of the file name makes train, val and test")
    per_part = Counter(item.split for item in found.items if item.split in about.parts)
    return Checked(name, home, len(parts), dict(sorted(per_part.items(), key=_part_order)), tuple(problems), tuple(notes))


def counts(about: Published, found: AnyReading, split: str | None = None) -> list[str]:
    """Parts and classes that are smaller or larger than published; of the part `split` alone where parts are published."""
    there = [*found.items, *found.left_out]
    listed = Counter(item.split for item in there) + Counter(part for part, _ in found.missing)
    if about.divided_here:
        listed = Counter({ALL: listed.total()})
    unit = "questions" if about.task == "answer" else "images"
    if found.extract:
        images = len({item.path for item in there})
        return [
            f"an extract: {listed.total():,} of {sum(about.splits.values()):,} {unit}, {images:,} of {about.images:,} images"
        ]
    problems = [
        f"{'' if part == ALL else f'part {part}: '}{listed[part]:,} of {count:,} {unit}"
        if listed[part] < count
        else f"{'' if part == ALL else f'part {part}: '}{listed[part]:,} {unit}, {count:,} are published"
        for part, count in about.splits.items()
        if listed[part] != count and (split is None or part in (split, ALL))
    ]
    labels = Counter(item.label for item in found.items if isinstance(item, LabelledImage))
    if labels:
        problems += _some(
            sorted(about.classes.keys() - labels), "published class has no image here", "published classes have no image here"
        )
        problems += _some(
            sorted(labels.keys() - about.classes.keys()),
            "class is not on the published list",
            "classes are not on the published list",
        )
    return problems


def _missing(found: AnyReading) -> list[str]:
    """Listed images that are not there."""
    names = list(dict.fromkeys(name for _, name in found.missing))
    outside = leaves_folder(names)
    away = set(outside)
    lost = [name for name in names if name not in away]
    return [
        *_some(outside, "listed name points outside its folder", "listed names point outside their folder"),
        *_some(lost, "listed image is missing", "listed images are missing"),
    ]


def _parts(about: Published, found: AnyReading, parts: Mapping[Path, set[str]]) -> list[str]:
    """Images listed twice or in two parts, and parts of no known name."""
    problems = [
        f"{name} ({', '.join(sorted(where, key=_order))})"
        for name, where in ((p.name, s) for p, s in parts.items())
        if len(where) > 1
    ]
    known = set(about.parts)
    strange = Counter(item.split for item in found.items if item.split not in known)
    lines = _some(problems, "image is listed in two parts", "images are listed in two parts")
    named = [f"{part[:40]!r} ({count:,})" for part, count in strange.items()]
    lines += _some(named, "part is no published one", "parts are no published ones")
    if about.task == "caption":
        twice = [path.name for path, count in Counter(item.path for item in found.items).items() if count > 1]
        lines += _some(twice, "image is listed more than once", "images are listed more than once")
    return lines


def _texts(about: Published, found: AnyReading) -> list[str]:
    """Captions and answers that are empty, too few or contradictory."""
    captioned = [item for item in found.items if isinstance(item, CaptionedImage)]
    empty = [item.path.name for item in captioned if not all(map(has_words, item.captions))]
    known = about.name == "rsicd"  # whose reader notes them: the original has some
    lines = [] if known else _some(empty, "image has a caption without a word", "images have a caption without a word")
    if about.name in _FIVE:
        uneven = [item.path.name for item in captioned if len(item.captions) != PER_IMAGE]
        lines += _some(uneven, "image has not five captions", "images have not five captions")
    answers: dict[tuple[Path, str], set[str]] = defaultdict(set)
    blank: list[str] = []
    for item in found.items:
        if isinstance(item, QuestionItem):
            answers[item.path, item.question].add(item.answer.strip().lower())
            if not item.answer.strip():
                blank.append(item.path.name)
    unlike = [path.name for (path, _), given in answers.items() if len(given) > 1]
    lines += _some(blank, "question has no answer", "questions have no answer")
    return lines + _some(
        unlike, "question is asked twice with different answers", "questions are asked twice with different answers"
    )


def _unlisted(about: Published, found: AnyReading) -> list[str]:
    """Images that no caption names. Questions often leave images out, and class folders list all of theirs."""
    if about.task != "caption":
        return []
    extra = [f"{files.folder.name}/{name}" for files in found.folders for name in files.unlisted()]
    return _some(sorted(extra), "image is listed nowhere", "images are listed nowhere")


def _equal_files(parts: Mapping[Path, set[str]], progress: Callable[[int, int], None] | None) -> list[str]:
    """Files of different names and parts with the same bytes; and files without any."""
    by_size: dict[int, list[Path]] = defaultdict(list)
    for path in parts:
        with reading(path):
            by_size[path.stat().st_size].append(path)
    empty = [path.name for path in by_size.pop(0, [])]
    alike = [path for paths in by_size.values() if len(paths) > 1 for path in paths]
    by_digest: dict[bytes, list[Path]] = defaultdict(list)
    for done, path in enumerate(alike, 1):
        by_digest[_digest(path)].append(path)
        if progress is not None:
            progress(done, len(alike))
    pairs: list[str] = []
    for paths in by_digest.values():
        first = paths[0]
        other = next((path for path in paths if parts[path] != parts[first]), None)
        if other is not None:
            pairs.append(f"{first.name} ({', '.join(parts[first])}) = {other.name} ({', '.join(parts[other])})")
    return [
        *_some(empty, "image file is empty", "image files are empty"),
        *_some(pairs, "image is in two parts byte for byte", "images are in two parts byte for byte"),
    ]


def _digest(path: Path) -> bytes:
    digest = sha256()
    with reading(path), path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.digest()


def _some(names: Sequence[str], one: str, many: str) -> list[str]:
    """A line that counts `names` and shows a few; none where there are none."""
    if not names:
        return []
    more = ", ..." if len(names) > _SHOWN else ""
    return [f"{len(names):,} {one if len(names) == 1 else many}: {_listing(names[:_SHOWN])}{more}"]


def _listing(names: Iterable[str]) -> str:
    return ", ".join(name if len(name) <= 80 else f"{name[:77]}..." for name in names)


def _order(part: str) -> tuple[int, str]:
    usual = ("train", "val", "test", "test_phili")
    return (usual.index(part) if part in usual else len(usual), part)


def _part_order(pair: tuple[str, int]) -> tuple[int, str]:
    return _order(pair[0])
