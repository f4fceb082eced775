"""The forms in which questions are put for training, one a line. They are trained on, so a change needs a new model.

Fields in braces are replaced as plain text.
"""

from __future__ import annotations


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().splitlines())


SCENE = _lines("""
What is the theme of this picture?
What is the theme of this image?
What kind of place is this?
What kind of scene is this?
What does this picture show?
What is shown here?
What place is this?
Which type of scene does the image show?
What sort of area is this?
What would you call this place?
What is this a picture of?
What am I looking at?
Name the scene in this image.
What is the main theme here?
In one or two words, what kind of place is it?
What category does this scene belong to?
""")
"""What place is shown; the answer is the place."""

IS_SCENE = _lines("""
Is this {a}?
Does this picture show {a}?
Is {a} shown here?
Would you call this {a}?
Am I looking at {a}?
Is the theme of this picture {a}?
Is it {a}?
Is this a picture of {a}?
""")
"""Yes or no; {a} is a place with its article."""

PRESENCE = _lines("""
Does this picture contain {a}?
Does the image contain {a}?
Is there {a} in this picture?
Is there {a}?
Can you see {a}?
Does the image show {a}?
Is {a} visible?
Do you see {a} anywhere?
Is there {a} here?
Is {a} present in the image?
Can {a} be seen in the picture?
Does this place have {a}?
""")
"""{a} is one thing with its article."""

PRESENCE_MANY = _lines("""
Does this picture contain {a}?
Does the image contain {a}?
Are there {a} in this picture?
Are there any {a}?
Can you see any {a}?
Does the image show {a}?
Are any {a} visible?
Do you see {a} anywhere?
Are there {a} here?
Are {a} present in the image?
Can {a} be seen in the picture?
Does this place have {a}?
""")
"""{a} is a plural."""

PRESENCE_MASS = _lines("""
Does this picture contain {a}?
Does the image contain {a}?
Is there {a} in this picture?
Is there any {a}?
Can you see any {a}?
Does the image show {a}?
Is any {a} visible?
Do you see {a} anywhere?
Is there {a} here?
Is {a} present in the image?
Can {a} be seen in the picture?
Does this place have {a}?
""")
"""{a} is uncounted, such as water."""

COUNT = _lines("""
How many {a} in the picture?
How many {a} are there?
How many {a} can you see?
What is the number of {a}?
How many {a} are in the image?
How many {a} does the picture show?
Count the {a}.
What number of {a} is there?
How many {a} are visible?
Can you count the {a}?
How many {a} do you see here?
Tell me how many {a} there are.
""")
"""{a} is a plural."""

LOCATION = _lines("""
What is the location of the {a} in this picture?
Where {be} the {a}?
Where {be} the {a} in this picture?
In which part of the image {be} the {a}?
Where can I find the {a}?
Where in the picture {be} the {a} located?
Which part of the picture shows the {a}?
Where do you see the {a}?
What is the position of the {a}?
Where {be} the {a} located?
Where should I look for the {a}?
Tell me where the {a} {be}.
""")
"""{a} is a noun, {be} the verb that agrees with it."""

COLOUR = _lines("""
What color {be} the {a}?
What is the color of the {a}?
Which color {do} the {a} have?
What colour {be} the {a}?
What color {do} the {a} have?
Tell me the color of the {a}.
In what color {do} the {a} appear?
""")
"""{a} is a noun, {be} and {do} the verbs that agree with it."""

SCENE_OF_MANY = tuple(form for form in IS_SCENE if not form.startswith(("Is it", "Is this {", "Would", "Is {")))
"""Yes or no; {a} is a plural or uncounted: storage tanks."""

_SETTING_ROWS = _lines("""
Is it a rural or an urban area? | urban | rural
Is this an urban or a rural area? | urban | rural
Is this a city or the countryside? | city | countryside
City or countryside? | city | countryside
Is this in a city or in the countryside? | city | countryside
Urban or rural? | urban | rural
Is this an urban area? | yes | no
Is this a rural area? | no | yes
Is this in a city? | yes | no
Is this the countryside? | no | yes
Are we in the countryside here? | no | yes
Is the area built up? | yes | no
Does this look like a town? | yes | no
Is the area rural or urban? | urban | rural
Would you say this is urban or rural? | urban | rural
""")
SETTING = tuple((row.split(" | ")[0], row.split(" | ")[1], row.split(" | ")[2]) for row in _SETTING_ROWS)
"""City or country: the question, its answer in a city, its answer in the country."""
