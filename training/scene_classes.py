"""What a scene class of the public data sets says about a picture: its name, city or country, what it surely shows.

One row a name; several data sets share it. `shows` and `lacks` hold only what follows from the class beyond reasonable
doubt; what is not listed is unknown, and no question is asked about it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SceneClass:
    """A scene class: its `name` as an answer, its `family` (look-alikes), "urban", "rural" or "", and things."""

    name: str
    family: str
    setting: str
    shows: tuple[str, ...]
    lacks: tuple[str, ...]


_URBAN_LACKS = "mountains, sand dunes, waves"
_WILD_LACKS = "airplanes, ships, tennis courts, storage tanks, trains, parking lots, a stadium, a runway"
_NO_WILD = f"{_WILD_LACKS}, buildings"
_RURAL_LACKS = "airplanes, ships, tennis courts, storage tanks, a stadium, a runway"

# class folders or labels | name | family | setting | shows | lacks
_ROWS = f"""
agricultural farmland | farmland | fields | rural | a field | {_RURAL_LACKS}, a harbor
AnnualCrop | annual crops | fields | rural | a field, crops | {_RURAL_LACKS}, a harbor
PermanentCrop | permanent crops | fields | rural | a field, crops | {_RURAL_LACKS}, a harbor
Pasture | pasture | fields | rural | grass | {_RURAL_LACKS}, a harbor
meadow | meadow | fields | rural | grass | {_RURAL_LACKS}, a harbor
HerbaceousVegetation | herbaceous vegetation | wild | rural | vegetation | {_WILD_LACKS}, a harbor
forest Forest | forest | wild | rural | trees, vegetation | {_WILD_LACKS}, a harbor
chaparral | chaparral | wild | rural | vegetation | {_NO_WILD}, a harbor
wetland | wetland | wild | rural | water | {_WILD_LACKS}
desert | desert | bare | rural | sand | {_NO_WILD}, a harbor, a forest
bareland | bareland | bare |  | bare soil | airplanes, ships, a stadium, a harbor, a forest
mountain | mountain | wild | rural | mountains | {_WILD_LACKS}, a harbor
airport | airport | air |  | pavement | ships, a harbor, tennis courts, a forest, waves
airplane | airport | air |  | pavement, airplanes | ships, a harbor, tennis courts, a forest, waves
runway | runway | air |  | pavement, a runway | ships, a harbor, tennis courts, a forest, waves
harbor | harbor | harbor |  | water, boats | airplanes, tennis courts, a stadium, a runway, a forest
port | port | harbor |  | water | airplanes, tennis courts, a runway, a forest
beach | beach | coast |  | sand, water | airplanes, storage tanks, trains, a stadium, a runway
island | island | coast |  | water | storage tanks, trains, a stadium, a runway
SeaLake | sea or lake | water |  | water | airplanes, tennis courts, trains, a stadium, a runway
lake | lake | water |  | water | airplanes, trains, a stadium, a runway
pond | pond | water |  | water | airplanes, trains, a stadium, a runway, waves
river River | river | water |  | water | airplanes, a stadium, a runway, waves
bridge | bridge | water |  | a bridge | airplanes, a stadium, a runway, waves
denseresidential | dense residential | homes | urban | buildings, houses | airplanes, {_URBAN_LACKS}, a runway
mediumresidential | medium residential | homes | urban | buildings, houses | airplanes, {_URBAN_LACKS}, a runway
sparseresidential | sparse residential | homes |  | buildings | airplanes, a stadium, waves, a runway
mobilehomepark | mobile home park | homes |  | mobile homes | airplanes, {_URBAN_LACKS}, a runway
residential Residential | residential area | homes | urban | buildings, houses | airplanes, {_URBAN_LACKS}, a runway
buildings | buildings | town | urban | buildings | airplanes, {_URBAN_LACKS}, a runway
commercial commercial_area | commercial area | town | urban | buildings | airplanes, {_URBAN_LACKS}, a runway
center | center | town | urban | buildings | airplanes, {_URBAN_LACKS}, a runway
square | square | town | urban |  | airplanes, {_URBAN_LACKS}, a runway
church | church | town |  | buildings, a church | airplanes, {_URBAN_LACKS}, a runway
school | school | town | urban | buildings | airplanes, {_URBAN_LACKS}, a runway
resort | resort | town |  | buildings | airplanes, trains, storage tanks, a runway
park | park | park |  | trees, vegetation | airplanes, trains, storage tanks, a runway
industrial industrial_area Industrial | industrial area | industry | urban | buildings | airplanes, {_URBAN_LACKS}
storagetanks | storage tanks | industry |  | storage tanks | airplanes, {_URBAN_LACKS}, a stadium, a runway
parking parkinglot | parking lot | roads | urban | cars, pavement, a parking lot | {_URBAN_LACKS}, storage tanks
intersection | intersection | roads |  | roads, pavement | airplanes, {_URBAN_LACKS}, ships, a stadium, a runway
overpass | overpass | roads |  | roads, pavement | airplanes, {_URBAN_LACKS}, ships, a stadium, a runway
viaduct | viaduct | roads |  | roads, pavement | airplanes, sand dunes, waves, a stadium, a runway
freeway Highway | freeway | roads |  | roads | airplanes, sand dunes, waves, a stadium, a runway
railwaystation | railway station | rail | urban | railways | airplanes, {_URBAN_LACKS}, ships, a runway
stadium | stadium | sport | urban | a stadium | airplanes, {_URBAN_LACKS}, ships, storage tanks, a runway
playfields | playground | sport |  |  | airplanes, {_URBAN_LACKS}, ships, storage tanks, a runway
baseballdiamond baseballfield | baseball field | sport |  | a baseball field | airplanes, {_URBAN_LACKS}, a runway
tenniscourt | tennis court | sport |  | tennis courts | airplanes, {_URBAN_LACKS}, ships, storage tanks, a runway
golfcourse | golf course | sport |  | grass | airplanes, {_URBAN_LACKS}, ships, storage tanks, a runway
"""


def _things(text: str) -> tuple[str, ...]:
    return tuple(thing.strip() for thing in text.split(",") if thing.strip())


def _read() -> dict[str, SceneClass]:
    classes: dict[str, SceneClass] = {}
    for row in _ROWS.strip().splitlines():
        labels, name, family, setting, shows, lacks = (part.strip() for part in row.split("|"))
        for label in labels.split():
            classes[label] = SceneClass(name, family, setting, _things(shows), _things(lacks))
    return classes


SCENE_CLASSES = _read()
"""By label, as UC Merced, RSICD, NWPU-RESISC45 and EuroSAT spell it."""

MAY_CONTAIN: dict[str, frozenset[str]] = {
    "town": frozenset({"homes", "roads", "park", "sport", "water"}),
    "homes": frozenset({"town", "roads", "park", "fields", "wild"}),
    "roads": frozenset({"town", "homes", "industry", "rail"}),
    "park": frozenset({"town", "water", "wild", "sport", "fields", "homes"}),
    "sport": frozenset({"town", "park", "fields", "homes", "roads"}),
    "water": frozenset({"wild", "harbor", "coast", "park", "fields", "town"}),
    "coast": frozenset({"water", "harbor", "wild", "town", "bare"}),
    "harbor": frozenset({"water", "coast", "industry", "town"}),
    "industry": frozenset({"town", "harbor", "roads", "rail", "homes"}),
    "wild": frozenset({"fields", "bare", "park", "water", "coast", "homes"}),
    "fields": frozenset({"wild", "bare", "park", "sport", "homes", "water"}),
    "bare": frozenset({"wild", "fields", "coast"}),
    "air": frozenset({"roads", "town", "fields", "bare"}),
    "rail": frozenset({"town", "roads", "industry"}),
}
"""Families of which a picture of the first family may show a part: "is this a park?" is not asked of a square."""
