"""The wording of published captions and questions: cleaning a training caption, telling question types apart.

Training targets are cleaned; references for scoring never are.
"""

from __future__ import annotations

import re

# Misspellings in the training captions of UC Merced and RSICD, found by comparing rare words with frequent ones. A row
# is "right: wrong wrong ...". Doubtful ones ("loos", "thr") are left alone.
_SPELLINGS = """
across: acrosss acroos aross
airplanes: airlplanes
area: aera
areas: aereas
aside: aisde
baseball: baseabll basebal
basketball: baksetball baskteball baketball bastetball basketnall
beside: besid besiede biside besided
between: betweeen betwwen betweem btween
bleachers: blearchers
blocks: bolcks
bridge: bridege brdige brige brighe
building: buliding builindg
buildings: buildiings buidings builidngs beuildings
cement: cemnet
center: ceter cneter
church: chuch churh
containers: containters
corner: coner
corners: coners cornersd
cover: corver
dense: dence
diamond: diamand
different: differnet differenet diffirent differents
distinctive: distictive
divide: devide
divided: devided
divides: divids devides
edifices: eidifices
factories: factries
farmland: formland
fences: fenses
flourish: flurish
football: foorball ffotball fotball fottball
forest: fotest
grassland: grassaland
green: gree grren greee
harbor: harobr habor
harbors: habors
highway: haighway
houses: ouses
huge: huage
industrial: ndustrial industriala
irregular: inregular
little: litte
located: laocted laocated
luggage: lugage
magnificent: magneficent
many: mang
nearby: neaby
next: bext nexr
opposite: oppsite
ornamented: onamented
parallel: paralled
parked: paked
parking: paking parkin prking
planes: palnes
playground: playgound playgrund platground playgournd palyground
polygon: ploygon
prosperous: prosperious prosperou
rectangle: rectangule rectanguale
rectangles: rectangules
rectangular: rectangualr rectanglar spectangular
residential: redidential residencial residental residebtial
road: raod
roads: raods rads rouds
separate: seperate
separated: seperated
separates: seperates
separating: seperating
several: severl
shaped: shpaped sahped
space: sapce
sparse: spase
square: sqare
stadium: stadiun
storage: storange
straight: staight
stretch: stretcj
surround: sourround
surrounded: surounded sorrounded surroundeded surroundededed surroudned srrounded surrpunded suttounded shrunded
surrounding: sorrounding
swimming: swimmng
tanks: tanka
tennis: tennnis
terminal: termial
trees: tress treefs trss trsss
triangular: trangular triangulr
under: undr undee
valley: vally
water: wate
which: shich
white: withe whie
with: wih wiht witha
withered: writhered
over: voer
"""
_RUN_TOGETHER = """
a lot: alot
a straight: astraight
baseball field: baseballfield
baseball fields: baseballfields
dense residential: denseresidential
football field: footballfield footballground
is surrounded: issurrounded
lush plants: lushplants
mountain peak: mountainpeak
mountain peaks: mountainpeaks
next to: nextto
parking lot: parkinglot
railway station: railwaystation
red roofs: redroofs
sparse residential: sparseresidential
storage tanks: storagetanks
to buildings: tobuildings
trees and: treesand
with dense: withdense
"""


def _table(text: str) -> dict[str, str]:
    rows = (line.split(": ") for line in text.strip().splitlines())
    return {wrong: right for right, wrongs in rows for wrong in wrongs.split()}


MISSPELT = {**_table(_SPELLINGS), **_table(_RUN_TOGETHER)}
"""What a misspelt word of the training captions was meant to be."""

_WORD = re.compile(r"[a-z]+(?:['-][a-z]+)*|\d+|,")
_LONE_NUMBER = re.compile(r"\(\d+")  # "the beach(2": a number left over from annotating
_COMMAS = re.compile(r" ?,[, ]*")
_LETTER = re.compile("[a-z]")


def clean_caption(caption: str) -> str:
    """A training target: lower case, one space between words, commas kept, known misspellings mended, one full stop.

    "" where no word remains (a caption that was only a full stop). Cleaning twice changes nothing.
    """
    text = _LONE_NUMBER.sub(" ", caption.lower().replace("’", "'").replace("`", "'").replace("_", " "))
    found: list[str] = _WORD.findall(text)
    words = " ".join(MISSPELT.get(word, word) for word in found)
    sentence = _COMMAS.sub(", ", words).strip(" ,")
    return f"{sentence}." if _LETTER.search(sentence) else ""


_RSIVQA_TYPES = (
    (re.compile(r"^what is the theme\b", re.I), "theme"),
    (re.compile(r"^(does|do|is|are)\b.*\b(contain|there|present)\b", re.I), "presence"),
    (re.compile(r"^how many\b", re.I), "count"),
    (re.compile(r"^(what is the location|where)\b", re.I), "location"),
    (re.compile(r"^what (is the )?colou?r\b", re.I), "color"),
)
_NO_OBJECT = re.compile(r"\b(how many|location of( the)?|contain( an?)?) +(in\b|\?)", re.I)


def rsivqa_type(question: str) -> str | None:
    """theme, presence, count, location or color by an RSIVQA question's wording; None for any other wording."""
    return next((kind for pattern, kind in _RSIVQA_TYPES if pattern.search(question.strip())), None)


def is_faulty_question(question: str) -> bool:
    """Whether the question names no object, as "How many  in the picture?" does."""
    return _NO_OBJECT.search(question) is not None
