"""Places and directions in words: nine cells of an image, sides of a thing, and the way a road runs.

North is up: pictures from above are shown so, and people answer either way.
"""

from __future__ import annotations

import re

CELLS = ("top left", "top", "top right", "left", "center", "right", "bottom left", "bottom", "bottom right")
"""The nine cells, row by row. "left" is the cell in the middle of the left edge, as annotators use it beside corners."""
NOWHERE = "nowhere"
WAYS = ("left to right", "top to bottom", "top left to bottom right", "bottom left to top right")
"""The four ways in which something long can lie in an image; there and back are one."""

_ROWS = {"top": "top upper up above north northern uppermost topmost", "bottom": "bottom lower down below south southern"}
_COLUMNS = {"left": "left west western leftmost", "right": "right east eastern rightmost"}
_CENTRE = "center centre middle central mid"


def _meanings(groups: dict[str, str]) -> dict[str, str]:
    return {word: meaning for meaning, words in groups.items() for word in words.split()}


_ROW_OF, _COLUMN_OF, _CENTRES = _meanings(_ROWS), _meanings(_COLUMNS), frozenset(_CENTRE.split())
_WORD = re.compile(r"[a-z0-9]+")
_COMPASS = re.compile(r"\b(north|south)[ -]?(east|west)(ern)?\b")
_TOGETHER = re.compile(r"[,;/]|\band\b|\bor\b|\bas well as\b|\bplus\b|&")
_NOWHERE = re.compile(
    r"\b(cannot|cant|can not|can t|could not|not|nowhere|no such|none|never|no)\b.*|^(absent|missing|invisible)$"
)
_EVERYWHERE = re.compile(
    r"\b(everywhere|all over|throughout|(whole|entire) (image|picture|scene|area)|all (parts|sides|around)|full of)\b"
)
_DIAGONALS = (
    (re.compile(r"\b(minor|anti|secondary|counter) ?diagonal(ly)?\b"), frozenset({"bottom left", "center", "top right"})),
    (re.compile(r"\b(main|major|primary|leading) diagonal(ly)?\b"), frozenset({"top left", "center", "bottom right"})),
)
_BARE_DIAGONAL = re.compile(r"\bdiagonal(ly)?\b")
_CORNERS = re.compile(r"\b(4|all|each|every) (of the )?corners?\b|^(in |at )?corners$")
_BOTH_SIDES = re.compile(r"\b(both|2|either|opposite) (of the )?(sides|edges|ends)\b|^(sides|edges)$")
_FILLERS = frozenset(
    """of image picture photo scene frame view in on at to is are it its they side sides part parts corner corners edge edges
    area section region portion located located there hand half most very mostly mainly near close towards toward along
    position positioned lies lie stands end quarter quadrant this that and just can be seen found visible""".split()
)


def cells_in(text: str) -> frozenset[str] | None:
    """The cells that a place names, {"nowhere"} for what is not to be seen, None where no place is told.

    `text` is a normalised answer with its commas. "the upper left corner" is one cell, "left and right" are two, "main
    diagonal" three. "diagonal" alone may be either diagonal and stands for itself. A place told by another thing ("next to
    the road") is none of the nine.
    """
    plain = _COMPASS.sub(r"\1 \2", text)
    if _NOWHERE.search(plain):
        return frozenset({NOWHERE})
    if _EVERYWHERE.search(plain):
        return frozenset(CELLS)
    found: set[str] = set()
    for part in _TOGETHER.split(plain):
        cells = _part(part.strip())
        if cells is None:
            return None
        found |= cells
    return frozenset(found) or None


def _part(text: str) -> set[str] | frozenset[str] | None:
    """One place of a list; None where words are left over that no place explains."""
    for pattern, cells in _DIAGONALS:
        if pattern.search(text):
            return cells
    if _CORNERS.search(text):
        return {cell for cell in CELLS if " " in cell}
    if _BOTH_SIDES.search(text):
        return {"left", "right"}
    words = [word for word in _WORD.findall(text) if word not in _FILLERS]
    if len(words) == 1 and _BARE_DIAGONAL.fullmatch(words[0]):
        return {"diagonal"}
    told: set[str] = set()
    row = column = ""
    centred = False
    for word in words:
        if word in _ROW_OF:
            if row:
                told.add(_cell(row, column, centred))
                row, column, centred = "", "", False
            row = _ROW_OF[word]
        elif word in _COLUMN_OF:
            if column:
                told.add(_cell(row, column, centred))
                row, column, centred = "", "", False
            column = _COLUMN_OF[word]
        elif word in _CENTRES:
            if centred and not (row or column):
                continue  # "the center, in the middle"
            centred = True
        else:
            return None
    if row or column or centred:
        told.add(_cell(row, column, centred))
    return told


def _cell(row: str, column: str, centred: bool) -> str:
    """The cell of a row and a column; a centre beside one of them ("top center") changes nothing."""
    return f"{row} {column}".strip() or ("center" if centred else "")


_SIDES = (
    (re.compile(r"\b(left|west|western|leftward)\b"), "left"),
    (re.compile(r"\b(right|east|eastern|rightward)\b"), "right"),
    (re.compile(r"\b(above|over|atop|top|upper|up|upward|north|northern|higher)\b"), "above"),
    (re.compile(r"\b(below|under|underneath|beneath|bottom|lower|down|downward|south|southern)\b"), "below"),
    (re.compile(r"\b(next|beside|besides|adjacent|near|nearby|close|alongside|along|side by side|neighboring|by)\b"), "beside"),
    (re.compile(r"\b(around|surround(s|ed|ing)?)\b"), "around"),
    (re.compile(r"\b(between|among)\b"), "between"),
    (re.compile(r"\b(inside|within|in middle|in center|in centre|middle|center|centre)\b"), "inside"),
    (re.compile(r"\b(opposite|across)\b"), "opposite"),
    (re.compile(r"\b(parallel)\b"), "parallel"),
)


def sides_in(text: str) -> frozenset[str] | None:
    """On which sides of another thing something lies: left, right, above, below, beside, around, ...; None if untold.

    "to the upper left of the road" is left and above. `text` is a normalised answer.
    """
    plain = _COMPASS.sub(r"\1 \2", text)
    found = {side for pattern, side in _SIDES if pattern.search(plain)}
    if found & {"left", "right", "above", "below"}:
        found -= {"beside", "inside"}  # "next to it on the left", "in the middle left": the side says more
    if found & {"around", "parallel", "opposite"}:
        found -= {"beside"}  # "surrounded by"
    return frozenset(found) or None


_WAY_WORDS = (
    (re.compile(r"\b(horizontal(ly)?|sideways|east ?west|west ?east)\b"), WAYS[0]),
    (re.compile(r"\b(vertical(ly)?|upright|north ?south|south ?north)\b"), WAYS[1]),
)
_ENDS = re.compile(r"\b(.+?) (?:to|through to|until|towards?|and) (.+)$")
_WAY_OF_ENDS = {
    frozenset({"left", "right"}): WAYS[0],
    frozenset({"top", "bottom"}): WAYS[1],
    frozenset({"top left", "bottom right"}): WAYS[2],
    frozenset({"bottom left", "top right"}): WAYS[3],
}


def ways_in(text: str) -> frozenset[str] | None:
    """Which ways something long runs, of `WAYS` (or {"diagonal"}, either of two); None where no way is told.

    "from the upper left to the lower right", "northwest to southeast" and "main diagonal" are one way.
    """
    plain = _COMPASS.sub(r"\1\2", text)
    plain = re.sub(r"\b(north|south)(east|west) (?:to )?(north|south)(east|west)\b", r"\1 \2 to \3 \4", plain)
    plain = re.sub(r"\b(north|south) (?:to )?(south|north)\b(?! ?(?:east|west))", "vertical", plain)
    plain = re.sub(r"\b(east|west) (?:to )?(east|west)\b", "horizontal", plain)
    found = {way for pattern, way in _WAY_WORDS if pattern.search(plain)}
    for pattern, cells in _DIAGONALS:
        if pattern.search(plain):
            found.add(WAYS[2] if "top left" in cells else WAYS[3])
    if found:
        return frozenset(found)
    ends = _ENDS.search(re.sub(r"^.*?\bfrom ", "", plain))
    if ends:
        both = [cells_in(end) for end in ends.groups()]
        if both[0] and both[1] and (way := _WAY_OF_ENDS.get(both[0] | both[1])):
            return frozenset({way})
    return frozenset({"diagonal"}) if _BARE_DIAGONAL.search(plain) else None
