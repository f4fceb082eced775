"""The words of aerial captions that are known: places, things, quantities, what ends a phrase.

Singular forms; `HEADS` maps every form, singular and plural, to the singular one. A place has a rank: how well it
says, by itself, what scene a picture shows ("an airport" says more than "a road").
"""

from __future__ import annotations

from collections.abc import Sequence

_PLACES = {
    9: """airport; parking lot; residential area; industrial area; commercial area; park; resort; school; port;
        harbor; harbour; railway station; playground; stadium; church; viaduct; overpass; intersection;
        baseball diamond; golf course; runway; freeway; desert; farmland; cropland; forest; beach;
        chaparral; mobile home park; square; center; center building; factory; rainforest; wood;
        grassland; wetland; campus; city; village; town; neighborhood; community; crossroads; junction;
        t-junction; train station; station; amusement park; downtown; residential district; business
        district; commercial district; industrial park; football ground; marina; shipyard; dam; resort
        area""",
    8: """bareland; bare land; mountain; mountain area; meadow; pond; bridge; baseball field; football field;
        farm; field; wasteland; golf; island; airstrip; ranch; pasture""",
    7: """river; lake; land; sea; ocean; stream; factory building; park area; oasis; highway""",
    5: """storage tank; tennis court; mobile home; basketball court; tank; dock; wharf; pier; gym; gymnasium""",
    3: """building; house; villa; lawn; road; street; urban area; factory area; area; region; zone""",
}

_THINGS = """
tree; plant; bush; weed; crop; grass; turf; vegetation; flower; flower bed; green belt; greenbelt; shrub; snow;
sand; rock; stone; water; wave; foam; spray; ripple; hill; ridge; island; shore; coastline; reef; dune; cloud;
trail; path; footpath; pathway; alley; lane; track; railway; rail; train; car; truck; bus; vehicle; van;
automobile; luggage car; boat; ship; yacht; sailboat; steamer; speedboat; airplane; plane; aircraft; aeroplane;
helicopter; terminal; terminal building; hangar; apron; tarmac; boarding bridge; container; cargo; crane; tower;
skyscraper; flat; apartment; apartment building; shop; mall; hall; workshop; warehouse; plant building; teaching
building; school building; shed; cottage; roof; fuselage; wing; court; badminton court; volleyball court; tennis
field; basketball field; sports field; soccer field; running track; track field; bleacher; pool; swimming
pool; bunker; sand bunker; spectator; people; pedestrian; player; tourist; umbrella; fountain; statue; monument;
pavilion; parterre; garden; yard; courtyard; parking space; parking spot; empty space; open space; mark line;
white line; marking line; zebra crossing; crosswalk; block; residential building; commercial building; office
building; edifice; pipe; chimney; tube; jar; cylinder; light; lamp; gate; wall; fence; bare soil; soil; ground;
land block; terrace; freeway; railway line; branch; swimming area; tributary; sandbar; beach umbrella; sun
umbrella; ferris wheel; dome; green land; lush grass; seaweed; rice field; pit; cliff; valley; coast;
embankment; seawall; breakwater; container ship; oil tank; greenhouse; mobile house; mound; badminton field;
parking area; parking; plaza; podium; roundabout; ring; bank
"""

MASS = frozenset(
    """farmland cropland bareland grassland wasteland sand snow grass vegetation water foam spray cargo land soil
    ground people aircraft parking golf sea ocean downtown turf""".split()
)
"""Heads that stand without an article (or, as sea, read well without one)."""

ATTRIBUTES = frozenset({"roof", "fuselage", "wing", "dome"})
"""Parts that belong to the thing before them: "buildings with grey roofs" is one object."""

NO_OBJECTS = frozenset(
    """area ground land region zone bank ring light center branch city town village neighborhood community downtown
    harbour campus chaparral""".split()
)
"""Heads that say nothing as an object of their own."""

SYNONYMS = {
    word: group[0]
    for group in (
        ("tree", "plant", "vegetation", "bush"),
        ("house", "building", "villa", "residential building", "edifice", "cottage", "flat"),
        ("airplane", "plane", "aircraft", "aeroplane"),
        ("road", "freeway", "highway", "street", "overpass", "viaduct", "lane"),
        ("lawn", "grass", "turf", "meadow", "grassland", "lush grass"),
        ("sea", "ocean", "water"),
        ("beach", "sand"),
        ("bareland", "bare land", "land", "wasteland", "bare soil", "soil"),
        ("parking space", "parking spot", "empty space", "open space", "parking area", "parking lot"),
        (
            "field",
            "baseball field",
            "football field",
            "baseball diamond",
            "playground",
            "football ground",
            "sports field",
        ),
        ("basketball court", "basketball field", "court"),
        ("tennis court", "tennis field", "court"),
        ("tank", "storage tank", "oil tank", "cylinder"),
        ("boat", "ship", "yacht", "sailboat"),
        ("path", "footpath", "pathway", "trail", "alley"),
        ("farmland", "cropland", "farm", "crop"),
        ("railway", "railway line", "rail", "track"),
        ("terminal", "terminal building"),
        ("port", "harbor", "harbour", "dock", "wharf", "pier"),
        ("pool", "swimming pool"),
        ("mountain", "hill", "ridge"),
        ("pond", "lake"),
        ("car", "vehicle", "automobile"),
        ("foam", "spray"),
        ("mark line", "white line", "marking line"),
    )
    for word in group
}
"""Words that annotators use for one and the same thing, to the first of their group."""

LABEL_HEADS = {
    "agricultural": "farmland; cropland",
    "airplane": "airport; runway",
    "baseballdiamond": "baseball diamond",
    "baseballfield": "baseball field",
    "buildings": "building",
    "center": "center; center building",
    "church": "church",
    "commercial": "commercial area; commercial district",
    "denseresidential": "residential area",
    "farmland": "farmland; farm; field",
    "freeway": "freeway",
    "golfcourse": "golf course",
    "harbor": "harbor; harbour",
    "industrial": "industrial area; factory; industrial park",
    "intersection": "intersection",
    "mediumresidential": "residential area",
    "mobilehomepark": "mobile home park",
    "mountain": "mountain; mountain area",
    "parking": "parking lot",
    "parkinglot": "parking lot",
    "playfields": "playground; football field; baseball field; field",
    "port": "port; harbor; harbour; marina",
    "railwaystation": "railway station; train station; station",
    "sparseresidential": "residential area",
    "resort": "resort; resort area",
    "storagetanks": "storage tank; tank",
    "tenniscourt": "tennis court",
}
"""The nouns that name each scene class of UC Merced and RSICD where it is not the class name itself."""

_IRREGULAR = {"people": "people", "aircraft": "aircraft", "crossroads": "crossroads", "bus": "buses", "gym": "gyms"}


def _plural(noun: str) -> str:
    if noun in _IRREGULAR:
        return _IRREGULAR[noun]
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    if noun.endswith("oasis"):
        return noun[:-2] + "es"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


def _split(text: str) -> list[str]:
    return [" ".join(name.split()) for name in text.split(";") if name.strip()]


RANK = {name: rank for rank, names in _PLACES.items() for name in _split(names)}
"""How well a place names the scene, 3 to 9, by singular noun."""
PLURAL = {name: _plural(name) for name in [*RANK, *_split(_THINGS)]}
HEADS = {form: name for name, plural in PLURAL.items() for form in (plural, name)}
LONGEST_HEAD = max(len(name.split()) for name in PLURAL)


def head_at(words: Sequence[str], i: int) -> tuple[int, str | None]:
    """How many words from place `i` on name a known thing, the longest name there is, and its singular; (1, None) if none."""
    for length in range(min(LONGEST_HEAD, len(words) - i), 0, -1):
        head = HEADS.get(" ".join(words[i : i + length]))
        if head is not None:
            return length, head
    return 1, None


NUMBERS = "two three four five six seven eight nine ten eleven twelve dozens".split()
PLURAL_WORDS = frozenset(NUMBERS) | {"many", "several", "some", "few", "lots", "both", "various", "numerous"}
DETERMINERS = frozenset(
    """a an the this that these those some many several few each every both all another other one no its their
    any""".split()
) | frozenset(NUMBERS)
QUANTITIES = frozenset(
    """lot lots number numbers piece pieces row rows line lines amount group groups plenty couple series dozens
    quantities quantity patch patches cluster clusters kind kinds variety hundreds expanse stretch tract
    tracts""".split()
)
"""Nouns that count what follows "of": "a row of", "two pieces of"."""
ONE_QUANTITY = frozenset("lot number piece row line group series patch cluster expanse stretch tract variety".split())
"""The singular ones, which take an article."""

PARTICIPLES_AS_ADJECTIVES = frozenset(
    """curved crowded shaped withered wilted towering winding rounded striped colored coloured red-roofed roofed
    bending twisted forked pointed scattered tiled interlaced deserted paved unpaved abandoned parallel red
    closed old-fashioned terraced wooded fan-shaped square-shaped u-shaped l-shaped striated flourishing
    swimming parking building rippling surging well-organized semicircle triangle-shaped irregular-shaped
    s-shaped arc-shaped polygonal-shaped sparkling running teaching bearded manicured sized medium-sized""".split()
)
BREAKS = frozenset(
    """is are was were be been being has have had can could may will would and or but while with without of in on
    at by to from for near around beside besides between among over above under across through along
    alongside behind into onto inside outside next surrounded surround surrounds surrounding semi-surrounded
    semisurrounded separated divided connected located situated there here it they them we this which that
    what where who whose as like than so since because if it's there's not only just also very quite almost
    together each up down out off go goes pass passes lie lies stand stands sits sit run runs cross crosses
    connect connects cover covers stretch stretches make makes form forms composed consist consists compose
    constitute grow grows planted built parked docked stopped arranged crammed distributed decorated
    equipped covered filled full beat beats slapping throw throwing taxiing moored placed dotted lined sides
    side middle corner corners front top edge part parts half end bottom , upon against toward towards about
    close adjacent opposite see look looks seem seems contains contain includes include extend extends cut
    divide divides separate separates embrace embraces come came coming pressed""".split()
)
