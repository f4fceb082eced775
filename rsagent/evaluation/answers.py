"""How answers are written: the form in which two of them are compared, and the numbers that they hold.

Case, punctuation, articles and the way a number is written say nothing; every other word does. It is no substring test:
"car park" is not "car".
"""

from __future__ import annotations

import re
import unicodedata

_ARTICLES = frozenset({"a", "an", "the"})
_ONES = "one two three four five six seven eight nine".split()
_TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_VALUES = {word: value for value, word in enumerate(["zero", *_ONES, *_TEENS])} | {
    word: 10 * value for value, word in enumerate(_TENS, start=2)
}


def _number_words() -> re.Pattern[str]:
    """A number below a million in words, as long as it can be: "two three" are two of them."""
    ones, teens, tens = ("|".join(words) for words in (_ONES, _TEENS, _TENS))
    below_100 = rf"(?:(?:{tens})(?: (?:{ones})\b)?|{teens}|{ones})\b"
    below_1000 = rf"(?:(?:(?:{ones}) )?hundred\b(?: (?:and )?{below_100})?|{below_100})"
    return re.compile(rf"\b(?:zero\b|{below_1000} thousand\b(?: (?:and )?{below_1000})?|{below_1000})")


_NUMBER_WORDS = _number_words()
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_WORD = re.compile(r"\d+\.\d+|[^\W_]+")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def normalise_answer(text: str) -> str:
    """The form in which answers are compared: lower-case words and digits without articles, joined by single spaces.

    Number words become digits ("Twenty-two" -> "22", "one hundred and five" -> "105"), "1,205" becomes "1205" and
    "3.0" becomes "3". An answer that is nothing but an article stays as it is.
    """
    plain = unicodedata.normalize("NFKC", text).casefold().replace("'", "").replace("’", "")
    plain = _THOUSANDS.sub(lambda found: found[0].replace(",", ""), plain)
    spelt = " ".join(_WORD.findall(plain))
    digits = _NUMBER_WORDS.sub(lambda found: str(_spelt_value(found[0])), spelt)
    words = [_plain_digits(word) for word in digits.split()]
    return " ".join([word for word in words if word not in _ARTICLES] or words)


def same_answer(prediction: str, truth: str) -> bool:
    """The strict match: equal after `normalise_answer`, and not empty."""
    said = normalise_answer(prediction)
    return bool(said) and said == normalise_answer(truth)


def numbers_in(text: str) -> list[float]:
    """The numbers in an answer, in words or digits, in order."""
    return [float(word) for word in normalise_answer(text).split() if _NUMBER.fullmatch(word)]


def _spelt_value(words: str) -> int:
    """What a match of `_NUMBER_WORDS` says."""
    total = group = 0
    for word in words.split():
        if word == "hundred":
            group = max(group, 1) * 100
        elif word == "thousand":
            total, group = group * 1000, 0
        else:
            group += _VALUES.get(word, 0)  # "and" adds nothing
    return total + group


def _plain_digits(word: str) -> str:
    """The shortest way to write the same number: "007" is "7", "3.0" is "3"; other words are unchanged."""
    if not word.isascii() or not _NUMBER.fullmatch(word):
        return word
    whole, _, part = word.partition(".")
    whole, part = whole.lstrip("0") or "0", part.rstrip("0")
    return f"{whole}.{part}" if part else whole
