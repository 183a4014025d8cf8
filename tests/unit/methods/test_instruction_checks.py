"""Checks of instructions: replies that keep and that break each one."""

from __future__ import annotations

import pytest

from camelid.data.records import Demand, GhostDialogue
from camelid.errors import DataError, MissingInputError
from camelid.methods import instruction_checks
from camelid.methods.ghost_attention import holds
from camelid.methods.instruction_checks import keeps, language_of, require_identifier

KEPT = [
    ("mentions", "Mozart", "I am mozart, of Salzburg."),
    ("begins", "Lemon", "Lemon. The sea is blue."),
    ("begins", "Lemon", '"LEMON" - the sea is blue.'),
    ("ends", "Tiger", "The sea is blue. Tiger!"),
    ("ends", "Tiger", "The sea is blue, tiger "),
    ("capitals", "capitals", "THE SEA IS BLUE, 42."),
    ("capitals", "capitals", "ÉTÉ"),
    ("words", "4", "The sea is blue."),
    ("words", "4", "Blue"),
]
BROKEN = [
    ("mentions", "Mozart", "I am Mozarts friend."),
    ("mentions", "Mozart", ""),
    ("begins", "Lemon", "Lemonade is sweet."),
    ("begins", "Lemon", "The lemon is sour."),
    ("begins", "Lemon", ""),
    ("ends", "Tiger", "Tiger. The sea is blue."),
    ("ends", "Tiger", "The sea is full of tigers."),
    ("ends", "Tiger", ""),
    ("capitals", "capitals", "THE SEA IS BLUe."),
    ("capitals", "capitals", "42."),
    ("capitals", "capitals", ""),
    ("words", "4", "The sea is very blue."),
    ("words", "4", ""),
    ("words", "4", "..."),
]


@pytest.mark.parametrize(("check", "expected", "reply"), KEPT)
def test_a_reply_that_keeps_an_instruction(check, expected, reply):
    assert keeps(check, expected, reply)


@pytest.mark.parametrize(("check", "expected", "reply"), BROKEN)
def test_a_reply_that_breaks_an_instruction(check, expected, reply):
    assert not keeps(check, expected, reply)


@pytest.fixture
def identifier():
    # It unpacks its model for seconds; one fixture keeps the tests that need it together.
    return pytest.importorskip("py3langid")


LANGUAGES = {
    "fr": "Le chat dort sur le canapé.",
    "es": "El gato duerme en el sofá porque tiene sueño.",
    "de": "Die Katze schläft auf dem Sofa.",
    "it": "Il gatto dorme sul divano.",
    "pt": "O gato está dormindo no sofá da sala.",
    "nl": "De kat slaapt op de bank.",
    "ru": "Кошка спит на диване.",
    "ja": "猫はソファで寝ています。",
    "zh": "猫在沙发上睡觉。",
    "en": "The cat sleeps on the sofa.",
}


def test_the_language_of_a_reply(identifier):
    assert {language_of(text): code for code, text in LANGUAGES.items()} == {
        code: code for code in LANGUAGES
    }
    assert keeps("language", "fr", LANGUAGES["fr"].upper())
    assert keeps("language", "fr", f"Lemon. {LANGUAGES['fr']}")
    assert not keeps("language", "fr", LANGUAGES["en"])
    for nothing in ("", "...", "42"):
        assert language_of(nothing) is None
        assert not keeps("language", "fr", nothing)


def test_every_language_of_the_list_can_be_told(identifier):
    known = set(instruction_checks.authored("languages").values())
    assert known <= set(identifier.langid.LanguageIdentifier.from_model_file(
        identifier.langid.MODEL_FILE
    ).labels)  # fmt: skip


def test_without_the_package_languages_are_no_kind_and_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(instruction_checks, "find_spec", lambda name: None)
    instruction_checks._identifier.cache_clear()
    assert not instruction_checks.tells_languages()
    from camelid.sources.ghost_instructions import KINDS, kinds_here

    assert kinds_here() == tuple(kind for kind in KINDS if kind != "language")
    for ask in (require_identifier, lambda: keeps("language", "fr", "Oui.")):
        with pytest.raises(MissingInputError, match="pip install py3langid") as error:
            ask()
    assert "leave 'language' out of --ghost-instructions.kinds" in str(error.value)


def test_a_number_of_words_that_is_none_is_an_error():
    with pytest.raises(DataError, match="'few' expected, but a whole number is needed"):
        keeps("words", "few", "Yes.")


def two_parts(*turns):
    return GhostDialogue(
        id="g", instruction="Act as Mozart. Begin each reply with the word Lemon.",
        shortened="Figure: Mozart. First word: Lemon.", turns=turns, probe="Who are you?",
        expected="Mozart", split="train",
        also=(Demand(check="begins", expected="Lemon", probe="", shows=True),),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("last", "reply", "kept"),
    [
        ("Who are you?", "Lemon. I am Mozart.", True),
        ("Who are you?", "I am Mozart.", False),
        ("Who are you?", "Lemon. I am a helper.", False),
        # Nothing asks for the figure, but the word still shows.
        ("Is it blue?", "Lemon. It is.", True),
        ("Is it blue?", "I, Mozart, say yes.", False),
    ],
)
def test_an_instruction_of_two_parts_holds_where_all_that_can_be_seen_do(last, reply, kept):
    assert holds(two_parts("Hello?", last), reply) is kept
