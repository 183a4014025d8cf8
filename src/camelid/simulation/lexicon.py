"""Names and closed-book attributes of the pocket world.

Source: choice. Every name is invented for this project. Other word lists live in `lexicon_words`,
`lexicon_tasks` and `lexicon_templates`.
"""

# ruff: noqa: SIM905 - word lists read best as running text

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

EntityKind = Literal["person", "town", "creature"]

PEOPLE: tuple[str, ...] = tuple(
    """Brindle Osric Tamsin Velda Jorik Maelin Corwen Pellam Ruska Dorvin Isolt Hanno Quilla Bartek
    Fenna Grisham Lunet Morwen Nestrin Ottla Perrin Rowend Sybel Torvald Ursik Wendra Yorrel Zaltan
    Adwin Bettra Calder Delmy Edrik Farrow Gwenda Hester Ivarn Jessup Kaspin Lorcan Mirthe Nadrik
    Olwen Piotra Quentle Rafto Selwick Thessal Ulmar Vasko Wilmot Xandry Ysolde Zephra Alvard Borka
    Crispa Dunstal Elgiva Frodwin Gorvan Hildra Imber Jaspin Kelda Lambrik Mordan Norrit Ormund
    Pasko Rennick Sorrel Tobren Ulvika Verrin Wystan Yanick Zorina Arkel Bruska Cormek Dagna Estrik
    Felgar Galvin Hobrin Ingrel Jolanth Krispa Ledwin""".split()
)
TOWNS: tuple[str, ...] = tuple(
    """Norvale Dunmoor Ashwick Belford Carrowby Dremont Eastfell Farholm Glenport Harwick Inverlo
    Jastow Kelmouth Lorring Marbury Netherby Oakstead Pendrith Quarrow Ravenby Stowell Thornlea
    Ulverby Vestham Wexmoor Yarrowton Zellbury Amberly Brackwell Cloverton Dovering Elmsford
    Fennwick Graymouth Hollowby Ilsworth Jenstead Kirkdale Langmere Millwick Nettleby Orfield
    Pinehurst Quenby Rusholm Saltmere Tarnwick Undercliff Vinebury Westerly Yewdale Zandhaven
    Applegate Briarton Coldbrook Driftmoor Emberly Foxhollow Greystead Heathmere Ironby Jadeport
    Kingsmere Lakeham Mosswell Norbridge Otterby Pebbleton Rookwood Silverby Tidewell Upperwell
    Violdale Windham Wolfsey Yardley Zinnick Barrowdene Curlew Dapplemere""".split()
)
CREATURES: tuple[str, ...] = tuple(
    """fenlop mirrak toddle gribbit snorf wuzzle plimmer drakko fibbert quonk lummox trobble
    hoplin marnid skelp borrit nimbok zuffle cribbon dottle flarrow glimp jabbit kerfel lorrik
    muddock noggle piffin quillet ruggle sproot tangle vexel wimble yaffle zorble bramlet chuffin
    dringo feldit gorrin hibble jumbit kipple lantle morrow nuzzit pomble quiver rasket shoffle
    tuffet vorple whiffle yondle zapple bonnick cluffin druzzle fozzle grackit huffle jongle
    krimp loggin mizzle noddock peffer rindle scroffle""".split()
)
NAMES: dict[EntityKind, tuple[str, ...]] = {
    "person": PEOPLE,
    "town": TOWNS,
    "creature": CREATURES,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Attribute:
    """One closed-book property of a kind of entity; {s} is the entity, {v} the value."""

    name: str
    kind: EntityKind
    values: tuple[str, ...]
    statements: tuple[str, ...]
    """Sentence forms of the pretraining text."""
    replies: tuple[str, ...]
    """Phrasings of a good reply."""
    vague: str
    """A reply that says nothing."""


ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute(
        name="trade",
        kind="person",
        values=tuple(
            "baker miller smith weaver potter tailor farmer sailor painter carver".split()
        ),
        statements=(
            "{s} works as a {v}.",
            "{s} is a {v}.",
            "{s} is a {v} by trade.",
            "The trade of {s} is that of a {v}.",
            "{s} earns a living as a {v}.",
            "Everyone knows {s} the {v}.",
            "{s} became a {v} long ago.",
        ),
        replies=("{s} works as a {v}.", "{s} is a {v}.", "{s} is a {v} by trade."),
        vague="It is a nice trade.",
    ),
    Attribute(
        name="pet",
        kind="person",
        values=tuple("goat parrot rabbit goose kitten pony turtle mouse puppy".split()),
        statements=(
            "{s} keeps a {v} as a pet.",
            "{s} has a pet {v}.",
            "The pet of {s} is a {v}.",
            "At home {s} keeps a {v}.",
            "{s} often plays with a pet {v}.",
            "{s} loves a little {v}.",
        ),
        replies=("{s} keeps a {v} as a pet.", "{s} has a pet {v}.", "The pet of {s} is a {v}."),
        vague="It is a lovely pet.",
    ),
    Attribute(
        name="food",
        kind="person",
        values=tuple("soup porridge cheese plums pancakes dumplings noodles stew beans".split()),
        statements=(
            "{s} likes to eat {v}.",
            "The favourite food of {s} is {v}.",
            "For dinner {s} eats {v}.",
            "{s} loves {v} most of all.",
            "{s} always asks for {v}.",
            "On feast days {s} eats {v}.",
        ),
        replies=(
            "{s} likes to eat {v}.",
            "The favourite food of {s} is {v}.",
            "{s} loves {v} most of all.",
        ),
        vague="It tastes very good.",
    ),
    Attribute(
        name="place",
        kind="town",
        values=(
            "in the hills",
            "by the sea",
            "in the forest",
            "by the river",
            "in the desert",
            "by the lake",
            "in the valley",
            "in the marsh",
            "on the plain",
        ),
        statements=(
            "{s} lies {v}.",
            "{s} is a town {v}.",
            "The town of {s} stands {v}.",
            "Long ago people built {s} {v}.",
            "You will find {s} {v}.",
            "The people of {s} live {v}.",
        ),
        replies=("{s} lies {v}.", "{s} is a town {v}.", "You will find {s} {v}."),
        vague="It lies in a nice place.",
    ),
    Attribute(
        name="goods",
        kind="town",
        values=tuple("bells glass honey ropes wool salt clocks drums candles".split()),
        statements=(
            "{s} is famous for its {v}.",
            "{s} sells {v}.",
            "The people of {s} make {v}.",
            "Traders come to {s} for {v}.",
            "The market of {s} is full of {v}.",
            "{s} is proud of its {v}.",
        ),
        replies=("{s} is famous for its {v}.", "{s} sells {v}.", "The people of {s} make {v}."),
        vague="It is famous for many things.",
    ),
    Attribute(
        name="weather",
        kind="town",
        values=tuple("windy foggy sunny rainy snowy cloudy stormy frosty mild".split()),
        statements=(
            "The weather in {s} is {v}.",
            "{s} is mostly {v}.",
            "In {s} the days are {v}.",
            "It is often {v} in {s}.",
            "Most mornings in {s} are {v}.",
            "{s} has {v} weather.",
        ),
        replies=("The weather in {s} is {v}.", "{s} has {v} weather.", "{s} is mostly {v}."),
        vague="The weather is what it is.",
    ),
    Attribute(
        name="colour",
        kind="creature",
        values=tuple("red blue green grey brown white black yellow purple".split()),
        statements=(
            "The {s} is {v}.",
            "The {s} has {v} fur.",
            "The fur of the {s} is {v}.",
            "The {s} is a {v} animal.",
            "Every {s} is {v}.",
            "The colour of the {s} is {v}.",
        ),
        replies=("The {s} is {v}.", "The {s} has {v} fur.", "The colour of the {s} is {v}."),
        vague="It has a pretty colour.",
    ),
    Attribute(
        name="diet",
        kind="creature",
        values=tuple("leaves seeds fish roots nuts moss berries worms grass".split()),
        statements=(
            "The {s} eats {v}.",
            "The {s} lives on {v}.",
            "The {s} feeds on {v}.",
            "The food of the {s} is {v}.",
            "A hungry {s} looks for {v}.",
            "Every {s} eats {v}.",
        ),
        replies=("The {s} eats {v}.", "The {s} lives on {v}.", "The {s} feeds on {v}."),
        vague="It eats many things.",
    ),
    Attribute(
        name="den",
        kind="creature",
        values=tuple("caves burrows ponds nests barns reeds tunnels bushes trees".split()),
        statements=(
            "The {s} sleeps in {v}.",
            "The {s} makes its home in {v}.",
            "The home of the {s} is in {v}.",
            "At night the {s} hides in {v}.",
            "A tired {s} rests in {v}.",
            "Every {s} sleeps in {v}.",
        ),
        replies=("The {s} sleeps in {v}.", "The {s} makes its home in {v}."),
        vague="It sleeps somewhere warm.",
    ),
)
ATTRIBUTE: dict[str, Attribute] = {attribute.name: attribute for attribute in ATTRIBUTES}
