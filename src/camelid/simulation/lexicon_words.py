"""Words of the pocket world that are not closed-book facts: names, things, verbs, rhymes, roles.

Source: choice; authored for this project, no real persons.
"""

# ruff: noqa: SIM905 - word lists read best as running text

from __future__ import annotations


def _triples(text: str) -> tuple[tuple[str, str, str], ...]:
    entries = (entry.split() for entry in text.split(","))
    return tuple((base, present, past) for base, present, past in entries)


def _pairs(firsts: str, seconds: str) -> tuple[str, ...]:
    """Every first with every second.

    Names made of common words are many: to use one means to copy it, not to remember a list.
    """
    return tuple(
        f"{first} {second}" for first in firsts.split(", ") for second in seconds.split(", ")
    )


USER_NAMES: tuple[str, ...] = tuple(
    """Tilla Bram Nelka Odo Pim Roska Sander Tove Ulla Vinko Wanda Yuri Zita Anka Berta Cosmo Dina
    Elmo Flora Gusta Hugo Ilka Jorn Klara Lasse Mika Nora Oskar Petra Romy Sten Trudi Uwe Vera
    Willa Yola Alma Bruno Carla Dario Erna Fritz Gitta Hedda Igor Jutta Kaja Lotte""".split()
)
COLOURS: tuple[str, ...] = tuple("red blue green grey brown white black yellow purple".split())
ITEMS: tuple[str, ...] = tuple(
    """boat tent scarf bicycle blanket violin sled lantern jacket canoe helmet carpet mirror vase
    piano banjo trumpet suitcase pencil doll ladder bench hammock parasol""".split()
)
COUNTED: tuple[str, ...] = tuple(
    """chickens marbles stamps ribbons medals tulips maps gloves dolls chairs kites shells
    candies beads ponies paintings""".split()
)
NUMBERS: tuple[str, ...] = tuple("two three four five six seven eight nine ten twelve".split())
KIN: tuple[str, ...] = tuple(
    "brother sister uncle aunt mother father cousin neighbour grandmother nephew".split()
)
KIN_TRADES: tuple[str, ...] = tuple(
    "barber plumber lawyer waiter porter dentist driver fisher grocer printer mason brewer".split()
)
DRINKS: tuple[str, ...] = tuple(
    "milk tea cider juice cocoa lemonade coffee water punch syrup".split()
)

SUBJECTS: tuple[tuple[str, str], ...] = (
    *((noun, noun + "s") for noun in "miller baker farmer sailor painter teacher doctor".split()),
    *((noun, noun + "s") for noun in "hunter shepherd gardener soldier singer dancer".split()),
    *((noun, noun + "s") for noun in "merchant student nurse judge clerk boy girl king".split()),
    ("woman", "women"),
    ("man", "men"),
    ("child", "children"),
)
VERBS: tuple[tuple[str, str, str], ...] = _triples(
    """find finds found, take takes took, see sees saw, bring brings brought, buy buys bought,
    sell sells sold, lose loses lost, hold holds held, hide hides hid, use uses used,
    make makes made, draw draws drew, choose chooses chose, steal steals stole, keep keeps kept,
    send sends sent, leave leaves left, break breaks broke, throw throws threw, catch catches
    caught,
    clean cleans cleaned, carry carries carried, open opens opened, paint paints painted,
    wash washes washed, drop drops dropped, move moves moved, need needs needed, touch touches
    touched,
    fill fills filled, push pushes pushed, pull pulls pulled, lift lifts lifted, want wants
    wanted"""
)
OBJECTS: tuple[tuple[str, str], ...] = (
    *(
        (n, n + "s")
        for n in "lamp basket ticket feather pebble button saddle wallet bottle".split()
    ),
    *((n, n + "s") for n in "shovel towel statue necklace puzzle journal package sandal".split()),
    *(
        (n, n + "s")
        for n in "bracelet telescope whistle napkin curtain pitcher ladle thimble".split()
    ),
    *((n, n + "s") for n in "hatchet anchor paddle lemon carrot melon turnip walnut crate".split()),
    *((n, n + "s") for n in "locket banner flute saucer bonnet chisel magnet teaspoon".split()),
    ("compass", "compasses"),
    ("potato", "potatoes"),
    ("tomato", "tomatoes"),
    ("cherry", "cherries"),
    ("peach", "peaches"),
    ("trophy", "trophies"),
)

GARMENTS: tuple[str, ...] = _pairs(
    "the", "coat, hat, cap, shawl, shirt, cloak, robe, hood, vest, belt, dress, suit, tunic, smock"
)
MEALS: tuple[str, ...] = _pairs(
    "the", "pie, soup, salad, rice, bread, tart, stew, pudding, curry, omelette, roll, pasta, fish"
)
INNS: tuple[str, ...] = _pairs(
    "the", "Oar, Ox, Beehive, Heron, Piper, Pot, Goat, Trout, Bridge, Bard, Garland, Acorn, Bell"
)
QUALITIES: dict[str, tuple[tuple[str, str], ...]] = {
    "wear": (
        ("I am cold.", "warm"),
        ("It is hot today.", "thin"),
        ("It will rain today.", "waterproof"),
        ("I want to look my best.", "elegant"),
    ),
    "eat": (
        ("I like hot spices.", "spicy"),
        ("I like sugar.", "sweet"),
        ("I am on a diet.", "healthy"),
        ("I am very hungry.", "filling"),
    ),
    "stay at": (
        ("I like to sleep in peace.", "quiet"),
        ("I like songs and company.", "lively"),
        ("I want soft beds.", "comfortable"),
        ("I do not like dirt.", "tidy"),
    ),
}
"""Verb of a recommendation to (what the user says, what the right option is)."""

TOPICS: tuple[str, ...] = tuple(
    """cat dog owl fox frog hen cow pig duck bear wolf whale crab snail swan crow deer lamb
    walrus
    toad badger beaver otter eagle spider camel donkey squirrel penguin cloud comet snowman pumpkin
    cabbage teapot pirate witch robot ghost mermaid troll goblin princess knight sparrow monkey
    tiger lion panda zebra""".split()
)
TOPIC_ADJECTIVES: tuple[str, ...] = tuple(
    "small happy proud sleepy clever shy noisy hungry gentle lonely brave lazy".split()
)
RHYME_LINES: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = tuple(
    (tuple(first.split("; ")), tuple(second.split("; ")))
    for first, second in (
        (
            "stood under a tree; was one of three; met a small bee",
            "dreamed of the open sea; waited at home for tea; found a golden key; sang with me",
        ),
        (
            "came out at night; saw a pale light",
            "waited for morning light; held the ribbon tight; gave the moon a fright",
        ),
        (
            "went out to play; woke up in May",
            "sang for half the day; slept on a bed of hay; never went away",
        ),
        (
            "turned round and round; made a soft sound",
            "rolled along the ground; never could be found; slept upon a mound",
        ),
        (
            "stood in the rain; went by the train",
            "came back home again; walked along the lane; looked through the window pane",
        ),
        (
            "was ever so small; leaned on the wall",
            "went to the grand old ball; never would slip or fall; ran all along the hall",
        ),
        (
            "wore a gold ring; came back in spring",
            "danced for the merry king; swung on a piece of string; liked to dance and sing",
        ),
        (
            "went into town; wore a small crown",
            "never once looked down; put on a yellow gown; laughed with the silly clown",
        ),
        (
            "sat by the lake; ate a sweet cake",
            "stayed the whole night awake; made a tiny mistake; gave the branch a shake",
        ),
        (
            "climbed up the hill; felt a cold chill",
            "rested beside the mill; stood there very still; sat on the window sill",
        ),
        (
            "was covered in gold; was brave and bold",
            "shivered in the cold; lived to be very old; heard what the stories told",
        ),
        (
            "came every year; had nothing to fear",
            "whispered in my ear; shed a single tear; said that the sky was clear",
        ),
        (
            "hid in a book; crossed over the brook",
            "gave me a funny look; hung from a rusty hook; laughed at the angry cook",
        ),
        (
            "sat on a rock; heard a loud knock",
            "wound up the kitchen clock; followed the woolly flock; swam along to the dock",
        ),
        (
            "stood by a rose; danced on its toes",
            "tickled the baby's nose; followed wherever it goes; slept as the cold wind blows",
        ),
        (
            "flew to the moon; left us in June",
            "whistled a merry tune; ate with a silver spoon; promised to come back soon",
        ),
        (
            "slept in a bed; ate all the bread",
            "wore a blue cap on its head; painted the whole barn red; followed wherever we led",
        ),
        (
            "travelled so far; looked at a star",
            "hid in a honey jar; rode in a wooden car; played on the old guitar",
        ),
    )
)
"""Ends of first lines and of second lines that rhyme with each other."""
_MORE_RHYMES: tuple[str, ...] = (
    "free me be see knee three he she we",
    "bright right white kite flight bite",
    "way say stay grey clay pay",
    "pound hound bound",
    "chain plain grain brain cane",
    "call stall crawl",
    "thing bring wing cling",
    "brown noun",
    "bake make take snake",
    "will until pill bill",
    "hold sold fold rolled",
    "hear dear here near deer",
    "shook took",
    "block lock sock shock",
    "those grows knows flows shows",
    "noon balloon raccoon",
    "said thread shed fed",
    "bar tar are",
)
RHYMES: tuple[tuple[str, ...], ...] = tuple(
    tuple(dict.fromkeys([*(line.split()[-1] for line in (*first, *second)), *more.split()]))
    for (first, second), more in zip(RHYME_LINES, _MORE_RHYMES, strict=True)
)
"""Families of words that rhyme."""

FIGURES: tuple[str, ...] = _pairs(
    "Captain, Doctor, Queen, King, Farmer, Sister, Uncle, Pilot", ", ".join(USER_NAMES[::2])
)
HOBBIES: tuple[str, ...] = _pairs(
    "painting, collecting, drawing, counting", ", ".join(many for _, many in OBJECTS[::3])
)
CLOSING_WORDS: tuple[str, ...] = tuple(
    """ahoy hooray indeed cheers goodbye amen bravo yippee hello always forever friend thanks
    please peace sunshine""".split()
)
SPOTS: tuple[str, ...] = tuple(
    text.strip()
    for text in """the shop, the school, the harbour, the library, the station, the forge,
    the bridge, the museum, the stadium, the beach, the zoo, the theatre, the bakery, the square,
    the garden gate, the fountain, the playground, the courtyard, the pier, the hall""".split(",")
)
FEELINGS: tuple[str, ...] = tuple(
    """glad tired angry sad calm surprised afraid curious pleased bored nervous cheerful grateful
    worried excited jealous""".split()
)
"""Moods in stories."""
GROCERIES: tuple[str, ...] = tuple(
    """flour sugar butter eggs rice oil pepper jam apples pears onions garlic yeast cream vinegar
    raisins almonds mustard ginger oats barley grapes figs cabbages radishes celery parsley
    cinnamon chestnuts lentils olives spinach lettuce mushrooms""".split()
)
"""Words of shopping lists, repeated within one document."""
