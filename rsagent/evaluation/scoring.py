"""The tables of a run: the model beside its floors, every figure with its n and interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rsagent.evaluation.caption_facts import PRECISION, RECALL, VERBATIM, WORDS, caption_facts
from rsagent.evaluation.caption_floors import Seen, caption_floors
from rsagent.evaluation.captions import METEOR, METEOR_MEAN, CaptionScores, Meteor, score_captions
from rsagent.evaluation.floors import QuestionPrior
from rsagent.evaluation.intervals import Figure, bootstrap_mean
from rsagent.evaluation.matchers import match
from rsagent.evaluation.paired import Difference, difference
from rsagent.evaluation.published.catalogue import TEN_TYPES, ten_type
from rsagent.evaluation.question_types import Family, family_of
from rsagent.evaluation.questions import QuestionScores, score_questions
from rsagent.evaluation.sets import EvaluationSet, Item, leave_one_out
from rsagent.evaluation.table import Column, Row, Table

MICRO, MACRO = "micro average", "macro average"
STRICT, LENIENT, BLIND, PRIOR, OVER = "strict", "lenient", "shuffled image", "question prior", "over prior"
MODEL, READ_OUT, OUTSIDE = "model", "class by read-out", "outside the closed list"
_NGRAMS = ("CIDEr", "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", METEOR, METEOR_MEAN, "ROUGE-L")


@dataclass(frozen=True)
class Said:
    """What is scored: a text an item in order, the blind texts (questions and classes), and what is missing of them."""

    texts: Sequence[str]
    blind: Sequence[str] | None
    note: str = ""


def score_set(chosen: EvaluationSet, said: Said, seen: Seen | None, *, meteor: bool, seed: int) -> list[Table]:
    """All tables of one run.

    Args:
        chosen: the set.
        said: what it said.
        seen: features of its own image encoder, None where it has none at hand.
        meteor: METEOR too.
        seed: of whatever is drawn.

    Raises:
        MissingExtra: captions, and the extra `eval` is not installed.
    """
    title = f"{chosen.name}, {chosen.split}"
    note = " ".join(part for part in (chosen.note, said.note) if part)
    if chosen.task == "caption":
        tables = _caption_tables(chosen, title, said, seen, meteor, seed)
    else:
        tables = _question_tables(chosen, title, said, seen, seed)
    return [replace(table, note=" ".join(part for part in (note, table.note) if part)) for table in tables]


def _caption_tables(chosen: EvaluationSet, title: str, said: Said, seen: Seen | None, meteor: bool, seed: int) -> list[Table]:
    keys = [item.key for item in chosen.items]
    labels = [item.label for item in chosen.items]
    train = [(item.label, item.truths) for item in chosen.train]
    captions = {MODEL: dict(zip(keys, said.texts, strict=True))}
    captions |= caption_floors(keys, labels, captions[MODEL], train, seen, seed)
    references = {item.key: list(item.truths) for item in chosen.items}
    with Meteor() as program:
        scores = {name: score_captions(texts, references, meteor=meteor and program) for name, texts in captions.items()}
    known = [text for item in chosen.train for text in item.truths]
    facts = {name: caption_facts(texts, references, known, seed=seed) for name, texts in captions.items()}
    extra: dict[str, dict[str, Figure]] = {}
    if chosen.check is not None:
        extra = {name: chosen.check([texts[key] for key in keys], seed) for name, texts in captions.items()}
    ngrams = [Column(name) for name in _NGRAMS if meteor or name not in (METEOR, METEOR_MEAN)]
    named = [Column(PRECISION), Column(RECALL), Column(WORDS, digits=1)]
    named += [Column(VERBATIM, percent=True)] if known else []
    further = [Column(name, digits=2) for name in next(iter(extra.values()), {})]
    rows = [Row(name, score.figures(seed=seed)) for name, score in scores.items()]
    facts_rows = [Row(name, {**found, **extra.get(name, {})}) for name, found in facts.items()]
    return [
        Table(f"{title}: captions", ngrams, rows),
        Table(f"{title}: things named, length, wording", [*named, *further], facts_rows, _THINGS_NOTE),
        _against(f"{title}: the model against its floors, CIDEr", scores, seed),
        *_varied_tables(title, captions, references, seed),
    ]


_THINGS_NOTE = "Things are known nouns, synonyms together, held against all references."


def _varied_tables(
    title: str, captions: Mapping[str, Mapping[str, str]], references: Mapping[str, Sequence[str]], seed: int
) -> list[Table]:
    """Where most images repeat a sentence, the others by themselves: only of those does it show how much is described."""
    varied = [key for key, said in references.items() if len(set(said)) == len(said) > 1]
    if not 1 < len(varied) < len(references) / 2:
        return []
    own = {key: references[key] for key in varied}
    rows = [
        Row(name, score_captions({key: texts[key] for key in varied}, own).figures(seed=seed))
        for name, texts in captions.items()
    ]
    columns = [Column(name) for name in _NGRAMS if name not in (METEOR, METEOR_MEAN)]
    return [Table(f"{title}: the {len(varied)} images whose captions all differ, a set of their own", columns, rows)]


def _against(title: str, scores: Mapping[str, CaptionScores], seed: int) -> Table:
    found = {
        name: difference(scores[MODEL].cider_per_image, score.cider_per_image, seed=seed)
        for name, score in scores.items()
        if name != MODEL
    }
    return difference_table(title, {f"over {name}": one for name, one in found.items()})


def difference_table(title: str, found: Mapping[str, Difference], digits: int = 3) -> Table:
    """A row a difference, with the permutation test's p and the verdict in words."""
    rows = [
        Row(name, {"difference": one.figure, "p": Figure(one.p, one.figure.n)}, note=one.verdict) for name, one in found.items()
    ]
    columns = [Column("difference", digits=digits), Column("p", digits=4)]
    return Table(title, columns, rows, "Paired: bootstrap over images, permutation test of 10,000 changes of sides.")


def _question_tables(chosen: EvaluationSet, title: str, said: Said, seen: Seen | None, seed: int) -> list[Table]:
    items = chosen.items
    answers: dict[str, Sequence[str]] = {STRICT: said.texts}
    if said.blind is not None:
        answers[BLIND] = said.blind
    prior = prior_answers(chosen)
    if prior is not None:
        answers[PRIOR] = prior
    if seen is not None and seen.readout is not None and chosen.task == "classify":
        answers[READ_OUT] = [chosen.classes.get(label, label) for label in seen.readout.predict(seen.images)]
    own = [item.truths[0] if chosen.task == "classify" else item.type for item in items]
    tables = _tables_by(chosen, f"{title}: answers", own, answers, items, seed)
    ten = [ten_type(chosen.name, item.type) for item in items]
    if any(ten) and any(name != item.type for name, item in zip(ten, items, strict=True)):
        rows = [row for row, name in enumerate(ten) if name is not None]
        some = {name: [texts[row] for row in rows] for name, texts in answers.items()}
        types = [TEN_TYPES[ten[row] or ""] for row in rows]
        tables += _tables_by(chosen, f"{title}: RSIEval's ten types", types, some, [items[row] for row in rows], seed)[:1]
    return tables


def prior_answers(chosen: EvaluationSet) -> list[str] | None:
    """What the blind prior answers to each question; None where there is nothing that it could be fitted on.

    Without a training part a question's own answers are those about the other images. The most frequent answer to its type is
    that of all images: with its own left out, a type in which two answers are equally frequent would always be guessed wrong.
    """
    if chosen.train:
        prior = QuestionPrior.fit((item.question, item.type, item.truths[0]) for item in chosen.train)
        return [prior.answer(item.question, item.type) for item in chosen.items]
    if not leave_one_out(chosen) or len(chosen.images) < 2:
        return None
    answers: dict[str, str] = {}
    whole = QuestionPrior.fit((item.question, item.type, item.truths[0]) for item in chosen.items)
    for image in chosen.images:
        others = ((item.question, item.type, item.truths[0]) for item in chosen.items if item.image != image)
        prior = replace(whole, by_question=QuestionPrior.fit(others).by_question)
        answers |= {item.key: prior.answer(item.question, item.type) for item in chosen.items if item.image == image}
    return [answers[item.key] for item in chosen.items]


def _tables_by(
    chosen: EvaluationSet,
    title: str,
    types: Sequence[str],
    answers: Mapping[str, Sequence[str]],
    items: Sequence[Item],
    seed: int,
) -> list[Table]:
    """Strict and lenient side by side for the model, strict for the floors; then the floors leniently."""
    truths, images = [item.truths for item in items], [item.image for item in items]
    families: list[Family] = [family_of(item.type, item.truths[0]) for item in items]
    scores = {
        name: score_questions(texts, truths, types, images, families=families, seed=seed) for name, texts in answers.items()
    }
    model = scores[STRICT]
    gain = np.subtract(model.correct, scores[PRIOR].correct, dtype=np.float64) if PRIOR in scores else None

    def over(kind: str | None) -> dict[str, Figure]:
        if gain is None:
            return {}
        rows = [row for row, name in enumerate(types) if kind is None or name == kind]
        return {OVER: bootstrap_mean(gain[rows], [images[row] for row in rows], seed=seed)}

    def strict(part: str, kind: str | None = None) -> dict[str, Figure]:
        return {name: _of(score, part, kind) for name, score in scores.items()}

    rows = [
        Row(MICRO, {**strict("overall"), LENIENT: model.lenient, **over(None)}),
        Row(MACRO, {**strict("macro"), LENIENT: model.lenient_macro}),
        *(
            Row(
                kind,
                {**strict("types", kind), LENIENT: model.lenient_types[kind], **over(kind)},
                note=_matcher(kind, types, families),
            )
            for kind in model.types
        ),
    ]
    if chosen.task == "classify":
        rows.append(_outside_row(chosen, answers[STRICT], images, seed))
    columns = [Column(STRICT), Column(LENIENT), *(Column(name) for name in scores if name != STRICT)]
    columns += [Column(OVER)] if gain is not None else []
    named = {MODEL if name == STRICT else name: score for name, score in scores.items()}
    leniently = [
        Row(MICRO, {name: score.lenient for name, score in named.items()}),
        Row(MACRO, {name: score.lenient_macro for name, score in named.items()}),
        *(Row(kind, {name: score.lenient_types[kind] for name, score in named.items()}) for kind in model.types),
    ]
    note = (
        "Prior: to a question as about the other images of the set, to a type as about all."
        if PRIOR in scores and not chosen.train
        else ""
    )
    found = {
        f"over {name}": difference(model.correct, score.correct, images, seed=seed)
        for name, score in scores.items()
        if name != STRICT
    }
    return [
        Table(f"{title}, strict match", columns, rows, note),
        Table(f"{title}, lenient match", [Column(name) for name in named], leniently, note),
        difference_table(f"{title}: the model against its floors, strict match", found),
    ]


def _of(score: QuestionScores, part: str, kind: str | None) -> Figure:
    return score.types[kind] if kind is not None else score.overall if part == "overall" else score.macro


def _matcher(kind: str, types: Sequence[str], families: Sequence[Family]) -> str:
    """Which matchers score a type, unless it is told by its name."""
    names = sorted({family for name, family in zip(types, families, strict=True) if name == kind})
    return "matched as " + ", ".join(name.replace("_", "/") for name in names)


def _outside_row(chosen: EvaluationSet, texts: Sequence[str], images: Sequence[str], seed: int) -> Row:
    """The share of answers that name no class of the closed list, leniently."""
    names = list(chosen.classes.values())
    known = {text: any(match(text, name, "scene").lenient for name in names) for text in set(texts)}
    return Row(OUTSIDE, {STRICT: bootstrap_mean([float(not known[text]) for text in texts], images, seed=seed)})
