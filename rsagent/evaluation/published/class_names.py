"""The closed lists of scene classes: each folder's name as published, and the same in words for a prompt."""

from __future__ import annotations

import re
from collections.abc import Mapping

UCM_CLASSES = (
    "agricultural", "airplane", "baseballdiamond", "beach", "buildings", "chaparral", "denseresidential", "forest",
    "freeway", "golfcourse", "harbor", "intersection", "mediumresidential", "mobilehomepark", "overpass", "parkinglot",
    "river", "runway", "sparseresidential", "storagetanks", "tenniscourt",
)  # fmt: skip
"""In alphabetical order, which is the order of UCM-Captions' image numbers."""

_RESISC45 = (
    "airplane", "airport", "baseball_diamond", "basketball_court", "beach", "bridge", "chaparral", "church",
    "circular_farmland", "cloud", "commercial_area", "dense_residential", "desert", "forest", "freeway", "golf_course",
    "ground_track_field", "harbor", "industrial_area", "intersection", "island", "lake", "meadow", "medium_residential",
    "mobile_home_park", "mountain", "overpass", "palace", "parking_lot", "railway", "railway_station",
    "rectangular_farmland", "river", "roundabout", "runway", "sea_ice", "ship", "snowberg", "sparse_residential",
    "stadium", "storage_tank", "tennis_court", "terrace", "thermal_power_station", "wetland",
)  # fmt: skip
_AID = (
    "Airport", "BareLand", "BaseballField", "Beach", "Bridge", "Center", "Church", "Commercial", "DenseResidential",
    "Desert", "Farmland", "Forest", "Industrial", "Meadow", "MediumResidential", "Mountain", "Park", "Parking",
    "Playground", "Pond", "Port", "RailwayStation", "Resort", "River", "School", "SparseResidential", "Square",
    "Stadium", "StorageTanks", "Viaduct",
)  # fmt: skip
_WHU_RS19 = (
    "Airport", "Beach", "Bridge", "Commercial", "Desert", "Farmland", "footballField", "Forest", "Industrial", "Meadow",
    "Mountain", "Park", "Parking", "Pond", "Port", "railwayStation", "Residential", "River", "Viaduct",
)  # fmt: skip
_SIRI_WHU = (
    "agriculture", "commercial", "harbor", "idle_land", "industrial", "meadow", "overpass", "park", "pond",
    "residential", "river", "water",
)  # fmt: skip
_EUROSAT = (
    "AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial", "Pasture", "PermanentCrop", "Residential",
    "River", "SeaLake",
)  # fmt: skip

# What taking a name apart at its capitals and underscores does not give.
_SPECIAL = {
    "baseballdiamond": "baseball diamond",
    "denseresidential": "dense residential",
    "golfcourse": "golf course",
    "mediumresidential": "medium residential",
    "mobilehomepark": "mobile home park",
    "parkinglot": "parking lot",
    "sparseresidential": "sparse residential",
    "storagetanks": "storage tanks",
    "tenniscourt": "tennis court",
    "SeaLake": "sea or lake",
    "snowberg": "snow mountain",
}
_BOUNDARY = re.compile(r"(?<=[a-z])(?=[A-Z])|[\s_-]+")


def in_words(name: str) -> str:
    """A class as words in lower case: "AnnualCrop" and "annual_crop" are both "annual crop"."""
    return _SPECIAL.get(name) or " ".join(part for part in _BOUNDARY.split(name) if part).lower()


CLASS_NAMES: Mapping[str, Mapping[str, str]] = {
    name: {folder: in_words(folder) for folder in folders}
    for name, folders in {
        "ucm": UCM_CLASSES,
        "nwpu-resisc45": _RESISC45,
        "aid": _AID,
        "whu-rs19": _WHU_RS19,
        "siri-whu": _SIRI_WHU,
        "eurosat": _EUROSAT,
    }.items()
}
"""Data set -> folder of a class as published -> the class in words, in the order of the folders."""
