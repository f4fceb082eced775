"""Words from outside, made safe to store and to print: what people ask and what models say, both hostile until then.

Terminals obey escape sequences, and bidirectional overrides make a line read differently from what it says. Letters of
every script, emoji and their joiners stay.
"""

from __future__ import annotations

import re
import unicodedata

from rsagent.errors import UserError

MAX_QUESTION = 2_000
"""Characters in a question; the encoder reads far fewer, and a longer text is a mistake or an attack."""

# CSI (colours, cursor), then OSC and its kin (titles, links; up to their terminator), then two-character escapes.
# Bounded and without nesting, so that hostile text cannot make the search slow.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}[@-~]|\x1b[\]PX^_][^\x07\x1b]{0,2000}(?:\x07|\x1b\\)|\x1b[ -/]{0,8}[0-~]"
)
_BIDI_OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_DROPPED = frozenset(("Cc", "Cs"))  # controls, and halves of surrogate pairs, which no encoder accepts
_BREAKS = frozenset("\t\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029")

_WORD = re.compile(r"\w+")
_ROUNDS, _ROUNDS_OF_A_WORD = 3, 5
_LONGEST_ROUND = 12  # words


def strip_controls(piece: str) -> str:
    """`piece` of a stream without control characters, line breaks turned into spaces, spaces as they are."""
    if piece.isascii() and piece.isprintable():
        return piece
    return "".join(
        " " if mark in _BREAKS else mark
        for mark in piece
        if mark in _BREAKS or (mark not in _BIDI_OVERRIDES and unicodedata.category(mark) not in _DROPPED)
    )


def clean(text: str) -> str:
    """`text` on one line, without escape sequences and control characters, spaces single and none at the ends."""
    return " ".join(strip_controls(_ESCAPES.sub("", text)).split())


def once_round(text: str, heard: int = 0) -> str | None:
    """What a model said before it began to go round in circles; None while it does not.

    It does when the same two to twelve words stand there three times in a row, or the same word five times; the first time
    round stays. A word counts once something stands behind it, so it makes no difference in which pieces the text came.
    The first `heard` characters are known not to go round, so that a long stream is not searched anew with every piece.
    """
    words = [found for found in _WORD.finditer(text) if found.end() < len(text)]
    said = [found[0].casefold() for found in words]
    first = next((place for place, found in enumerate(words, 1) if found.end() >= heard), len(words) + 1)
    for end in range(max(first, _ROUNDS_OF_A_WORD), len(said) + 1):
        for length in range(1, _LONGEST_ROUND + 1):
            rounds = _ROUNDS if length > 1 else _ROUNDS_OF_A_WORD
            start = end - rounds * length
            if start >= 0 and said[start:end] == said[start : start + length] * rounds:
                return text[: words[start + length - 1].end()]
    return None


def clean_question(question: str) -> str:
    """A question that can be asked.

    Raises:
        UserError: it is empty, nothing but spaces and control characters, or longer than 2,000 characters.
    """
    if len(question) > MAX_QUESTION:
        raise UserError(f"the question has {len(question):,} characters: ask in at most {MAX_QUESTION:,}")
    cleaned = clean(question)
    if not cleaned:
        raise UserError("the question is empty: ask something, such as 'How many cars are there?'")
    return cleaned
