"""What people type made plain: short and mistyped words spelled out, and what only opens or closes a sentence taken off."""

from __future__ import annotations

import re

_SHORT = {
    "r": "are", "u": "you", "ur": "your", "em": "them", "n": "and", "pls": "please", "plz": "please", "thx": "thanks",
    "ty": "thanks", "bout": "about", "abt": "about", "wat": "what", "wot": "what", "wht": "what", "wats": "what's",
    "wots": "what's", "whats": "what's", "wheres": "where's", "hows": "how's", "theres": "there's", "thats": "that's",
    "theyre": "they're", "isnt": "isn't", "arent": "aren't", "dont": "don't", "doesnt": "doesn't", "cant": "can't",
    "clr": "colour", "colr": "colour", "pic": "picture", "pics": "pictures", "img": "image",
    "imgs": "images", "pix": "pictures", "smth": "something", "nr": "number", "num": "number", "prev": "previous",
    "ther": "there", "thier": "their", "nvm": "never mind", "btw": "by the way",
}  # fmt: skip
_SHORT_WORD = re.compile(rf"(?<![\w'’/#.-])(?:{'|'.join(sorted(_SHORT, key=len, reverse=True))})(?![\w'’/-]|\.\w)", re.I)
# Words of questions that a slip of the fingers spoils: two letters changed places, or one of a long word left out.
_OFTEN = (
    "how many what where which there they them their the and about any are colour color colours colors picture pictures "
    "image images photo first second third other same left right above below near between"
).split()
_REAL_WORDS = frozenset("three wear were hose sit form aer".split())
_CONTRACTED = re.compile(r"\b(what|where|how|there|that|who|it|they)['’](s|re)\b", re.I)
_LEADING = re.compile(
    r"^(?:and|n|&|plus|ok|okay|okey|k|kk|hm+|mm+|ah+|aha|well|so|no|nope|nah|yes|yep|yeah|but|or|now|please|then|also|"
    r"actually|anyway|right|sorry|oops|my bad|thanks(?: a lot| so much)?|thank you|cheers|great|good|perfect|awesome|got it|"
    r"i see|interesting|let me see|let's see|tell me|by the way|wait|hold on|oh|uh|um|er|alright|all right|fine|cool|nice|"
    r"hey|hi|hello|next|finally|lastly|just curious|never ?mind(?: that| it)?|scratch that|forget (?:it|that)|"
    r"(?:(?:the )?last|one more|another|one last|next|quick|a quick)(?: one| thing| question)(?=\s*[:,-]))(?![\w'’])"
    r"(?:\s*[,.;:!-]+\s*|\s+)(?=\S)",
    re.I,
)
_NOT_LEADING = re.compile(  # "right of it", "the next picture", "no cars?"
    r"^(?:right|next) (?:of|to|side|one|picture|image|photo)\b|^no (?!i\b|wait\b|the\b)\w+\s*\?|^(?:no|right) \w+ side\b", re.I
)
_TRAILING = re.compile(
    r"[\s,]+(?:then|too|as well|also|by the way|please|though|now|instead|at least|or something|or so|or anything|"
    r"thanks|thank you|cheers|lol|haha|perhaps|maybe|i guess|i wonder|do you think|if any|if so)\s*(?=[?.!,]*$)",
    re.I,
)
_POLITE = re.compile(
    r"^(?:(?:can|could|would|will) you (?:please |also |maybe |just )*(?:tell|show|give)(?: me)?|(?:please )?(?:give|show) me|"
    r"i(?:'d| would) (?:also )?(?:like|love) to (?:know|see)|i (?:also )?(?:want|wanted|need) to know|"
    r"(?:do )?you know|any idea|"
    r"i(?:'m| am) (?:looking for|interested in|curious about)|what can you (?:say|tell me) about|let's (?:take|go with))"
    r"(?: (?:about|of))?[\s,]+(?=\S)",
    re.I,
)


def _slips() -> dict[str, str]:
    """Mistyped words and what was meant."""
    slips: dict[str, str] = {}
    for word in _OFTEN:
        swapped = [word[:at] + word[at + 1] + word[at] + word[at + 2 :] for at in range(len(word) - 1)]
        short = [word[:at] + word[at + 1 :] for at in range(1, len(word))] if word[:3] in ("col", "pic", "ima", "whi") else []
        for slip in (*swapped, *short):
            if slip not in _OFTEN and slip not in _REAL_WORDS:
                slips.setdefault(slip, word)
    return slips


_SLIPS = _slips()


def spelled(text: str) -> str:
    """`text` with short forms of chats and slips in the words of questions spelled out: "how mnay r there", "wheres it"."""

    def fix(match: re.Match[str]) -> str:
        word = match[0].lower()
        return _cased(_SLIPS[word], match[0]) if word in _SLIPS else match[0]

    text = re.sub(r"^[*>\s]+(?=\w)|(?<=\w)\*+(?=[\s?.!]*$)", "", text)
    text = _SHORT_WORD.sub(lambda match: _cased(_SHORT[match[0].lower()], match[0]), text)
    text = re.sub(r"(?<![\w'’/.-])[a-z]{3,8}(?![\w'’/-]|\.\w)", fix, text, flags=re.I)
    return re.sub(r"\bwhere abouts\b", "whereabouts", re.sub(r"(?<=\s)['’]em\b", "them", text, flags=re.I), flags=re.I)


def _cased(word: str, typed: str) -> str:
    return word.capitalize() if typed[0].isupper() else word


def uncontracted(text: str) -> str:
    """`text` with "where is" for "where's" and the like."""
    return _CONTRACTED.sub(lambda match: f"{match[1]} {'is' if match[2].lower() == 's' else 'are'}", text)


def without_fillers(text: str) -> str:
    """`text` without the words by which people begin and end a follow-up."""
    before = None
    while before != text:
        before = text
        if not _NOT_LEADING.search(text):
            text = _LEADING.sub("", text, count=1)
        text = _TRAILING.sub("", text).strip()
    return text


def without_courtesy(text: str) -> str:
    """`text` without "could you tell me" and the like, which may leave the word order of a statement."""
    return _POLITE.sub("", text, count=1)
