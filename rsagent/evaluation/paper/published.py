"""What the RS-MoE paper prints in its eight tables, and what is known to be wrong with it. Figures as printed, in percent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

METRICS = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr")
TYPES = (
    "presence", "quantity", "color", "absolute position", "relative position", "area comparison", "road direction", "image",
    "scene", "reasoning",
)  # fmt: skip
MEAN = "micro average"


@dataclass(frozen=True)
class Printed:
    """One table of the paper: RS-MoE's rows, and those of the strongest others it names.

    `figures` are in percent, in the order of `columns`. `items` is how many images (questions in table 8) it was
    measured on. `faults` are facts that keep the figures from being compared with anybody's.
    """

    title: str
    columns: tuple[str, ...]
    on: str
    items: int
    figures: Mapping[str, tuple[float, ...]]
    faults: tuple[str, ...]


_ONCE = "One training each, without seeds or intervals."
_SCORER = "The scorer is not published."
_RSIEVAL_FLOOR = (
    "Captions of other images, written by the same people, already reach BLEU-1 to 4 of about 43, 29, 21 and 16 on RSIEval "
    "(20 pairs of unrelated references)."
)
_TOO_SCORER = (
    "The captions that its figures show have about 90 words. Against five references of a dozen words the precision of "
    "single words, and with it BLEU-1, cannot pass 65 % with such captions."
)
_LONGER = (
    "The captions that its figure shows are several times as long as the references, with which such BLEU cannot be reached."
)

PRINTED: Mapping[int, Printed] = {
    1: Printed(
        "captions of RSIEval, trained on RSICap", METRICS, "RSIEval", 100,
        {
            "RS-MoE-1B": (57.36, 42.25, 22.14, 20.54, 32.36, 25.98, 109.37),
            "RS-MoE-3B": (65.11, 52.44, 28.78, 26.86, 40.04, 27.62, 120.20),
            "RS-MoE-7B": (82.13, 65.44, 51.93, 42.55, 40.28, 35.72, 158.36),
            "RSGPT-13B": (77.05, 62.18, 48.25, 40.34, 37.41, 33.26, 149.32),
        },
        (
            _SCORER, _RSIEVAL_FLOOR,
            "On VRSBench, whose captions are of that kind, models trained on it reach BLEU-1 of 46 to 48, CIDEr of 28 to 34.",
            "The text speaks of 1,000 images; the set has 100.",
        ),
    ),
    2: Printed(
        "captions of UCM-Captions, trained on RSICap", METRICS, "UCM-Captions test", 210,
        {
            "RS-MoE-7B": (94.81, 87.09, 79.57, 72.34, 66.97, 62.74, 396.46),
            "RS-CapRet-7B": (84.30, 77.90, 72.20, 67.00, 47.20, 81.70, 354.80),
            "RSGPT-13B": (86.12, 79.14, 72.31, 65.74, 42.21, 78.34, 333.23),
        },
        (_SCORER, _TOO_SCORER, "RS-MoE's METEOR is above its ROUGE-L; in the other rows it is at most 60 % of it."),
    ),
    3: Printed(
        "captions of Sydney-Captions, trained on RSICap", METRICS, "Sydney-Captions test", 58,
        {
            "RS-MoE-7B": (84.56, 76.10, 69.25, 63.02, 56.23, 76.62, 279.76),
            "RS-CapRet-7B": (78.70, 70.00, 62.80, 56.40, 38.80, 70.70, 239.20),
            "RSGPT-13B": (82.26, 75.28, 68.57, 62.23, 41.37, 74.77, 273.08),
        },
        (_SCORER, _LONGER),
    ),
    4: Printed(
        "captions of RSICD, trained on RSICap", METRICS, "RSICD test", 1093,
        {
            "RS-MoE-7B": (78.61, 63.60, 51.44, 43.35, 39.30, 60.77, 109.46),
            "RS-CapRet-7B": (72.00, 59.90, 50.60, 43.30, 37.00, 63.30, 250.20),
            "RSGPT-13B": (70.32, 54.23, 44.02, 36.83, 30.10, 53.34, 102.94),
        },
        (_SCORER, _LONGER, "Its row mGRU holds the same seven figures as the row mGRU of the table on UCM-Captions."),
    ),
    5: Printed(
        "one to four LLMs", METRICS, "RSIEval", 100,
        {
            "1 LLM": (48.51, 38.65, 29.57, 25.13, 23.01, 21.49, 93.51),
            "2 LLMs": (64.52, 51.32, 40.43, 33.42, 30.61, 28.27, 124.41),
            "3 LLMs": (82.13, 65.44, 51.93, 42.55, 40.28, 35.72, 158.36),
            "4 LLMs": (77.36, 60.38, 48.91, 39.26, 37.94, 32.95, 147.24),
        },
        (_ONCE, _SCORER, _RSIEVAL_FLOOR, "More LLMs are more parameters and more training: no row holds these equal."),
    ),
    6: Printed(
        "sizes of the LLM", METRICS, "RSIEval", 100,
        {
            "Llama-3.2-1B": (57.36, 42.25, 22.14, 20.54, 32.36, 25.98, 109.37),
            "StableLM-1.6B": (56.42, 44.36, 23.27, 22.14, 33.71, 24.62, 110.85),
            "Qwen-1.8B": (59.35, 47.28, 27.52, 22.95, 34.62, 25.38, 113.98),
            "Phi2-2.7B": (59.78, 48.15, 27.35, 25.58, 36.77, 25.36, 114.96),
            "Llama-3.2-3B": (65.11, 52.44, 28.78, 26.86, 40.04, 27.62, 120.20),
            "LLaMa-7B": (77.95, 62.11, 49.28, 40.27, 38.26, 31.91, 150.31),
            "Vicuna-7B": (82.13, 65.44, 51.93, 42.55, 40.28, 35.72, 158.36),
        },
        (_ONCE, _SCORER, _RSIEVAL_FLOOR, "The LLMs differ in what they were pretrained on, not in size alone."),
    ),
    7: Printed(
        "one stage against two", METRICS, "RSIEval", 100,
        {
            "one stage": (50.39, 33.44, 24.37, 20.86, 27.49, 25.36, 98.21),
            "two stages": (82.13, 65.44, 51.93, 42.55, 40.28, 35.72, 158.36),
        },
        (_ONCE, _SCORER, _RSIEVAL_FLOOR, "Whether the one stage saw as many images as the two is not said."),
    ),
    8: Printed(
        "ten types of questions", (*TYPES, MEAN), "RSIEval", 935,
        {
            "RS-MoE": (83.16, 32.77, 71.92, 43.95, 45.00, 63.41, 0.00, 77.89, 93.18, 74.07, 68.65),
            "RSGPT": (81.22, 39.02, 54.05, 38.46, 35.53, 62.79, 66.67, 93.02, 89.19, 70.00, 65.24),
            "InstructBLIP": (76.14, 21.95, 45.05, 12.31, 10.53, 69.77, 0.00, 81.40, 45.95, 57.50, 53.26),
        },
        (
            "The four other rows fit one set of counts of questions (394, 123, 111, 65, 76, 43, 3, 43, 37, 40); the row of "
            "RS-MoE fits none of them in nine of the ten columns, so it was scored on something else.",
            "Answers were judged by hand where RSGPT's come from; how RS-MoE's were is not said.",
            "Road direction has three questions.",
            "Its area comparison is marked as the best; InstructBLIP's is higher.",
        ),
    ),
}  # fmt: skip
"""Every table by its number."""
