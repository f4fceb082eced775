"""Whether a composed caption says only what the experts reported: of the right things, on the right sides."""

from __future__ import annotations

import pytest

from rsagent.engines.grounding import ungrounded

REPORTS = (
    "Theme: a harbour. Objects: three boats and two red cars, a large white building. "
    "Relations: the boats lie left of the quay. The cars are parked above the building."
)


@pytest.mark.parametrize(
    "caption",
    [
        "Three boats and two red cars in a harbour.",
        "A harbour where three boats lie left of the quay.",
        "In a harbour, 3 boats lie to the left of the quay and two cars are parked.",
        "Two cars, which are red, are parked above a large white building.",
        "A building, white and large, lies in the harbour.",
        "Three boats are seen.",
        "The harbour has a white building.",
    ],
)
def test_what_was_reported_is_accepted(caption: str) -> None:
    assert ungrounded(caption, REPORTS) == []


@pytest.mark.parametrize(
    ("caption", "says"),
    [
        ("Two boats and three red cars in a harbour.", "2 boats"),
        ("Two boats and three red cars in a harbour.", "3 cars"),
        ("Three red boats lie left of the cars.", "red boats"),
        ("Three red boats lie left of the cars.", "boats left cars"),
        ("Cars lie left of the boats.", "cars left boats"),
        ("The quay lies left of the boats.", "quay left boats"),
        ("The boats are white.", "white boats"),
        ("A red building in a harbour.", "red building"),
        ("The building is parked above the cars.", "building above cars"),
    ],
)
def test_what_was_reported_of_another_thing_is_refused(caption: str, says: str) -> None:
    assert says in ungrounded(caption, REPORTS)


@pytest.mark.parametrize(
    "reports", ["Cars: 2, boats: 3.", "Cars (2), boats (3).", "There are two cars; three boats are there."]
)
def test_counts_are_read_as_experts_write_them(reports: str) -> None:
    assert ungrounded("Two cars and three boats.", reports) == []
    assert ungrounded("Three cars and two boats.", reports) == ["3 cars", "2 boats"]


def test_colours_that_are_said_afterwards() -> None:
    reports = "The cars are red and white. The roof is grey."
    assert ungrounded("Red and white cars.", reports) == []
    assert ungrounded("A grey roof.", reports) == []
    assert ungrounded("A white roof.", reports) == ["white roof"]
