"""Whether a reply keeps an instruction: by a string, by its form, by its language.

The paper asks people (Table 30); all checks here are Source: choice.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from camelid.data.prompts import mentions
from camelid.data.records import Check
from camelid.errors import DataError, MissingInputError

IDENTIFIER = "py3langid"
"""The package that tells languages apart."""
CHECKED_BY: dict[Check, str] = {
    "mentions": "string match with the expected text",
    "begins": "string match at the start",
    "ends": "string match at the end",
    "capitals": "no small letter",
    "words": "number of words",
    "language": f"language identification by {IDENTIFIER}",
}
"""The judge of each check, as the report names it."""


@cache
def authored(key: str) -> Any:
    """Return an entry of the lists that belong to this package (`instructions.toml`)."""
    path = Path(__file__).with_name("instructions.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))[key]


def tells_languages() -> bool:
    """Whether the package that tells languages apart is installed."""
    return find_spec(IDENTIFIER) is not None


def require_identifier() -> None:
    """Check that languages can be told apart.

    Raises:
        MissingInputError: The package is not installed; says how to get it or do without.
    """
    if not tells_languages():
        raise MissingInputError(
            f"Instructions on the language of replies are checked by {IDENTIFIER}, which is not "
            f"installed. Get it with `pip install {IDENTIFIER}`, or leave 'language' out of "
            "--ghost-instructions.kinds."
        )


@cache
def _identifier() -> Any:
    require_identifier()
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    # Short texts look like rare languages that nobody asked for.
    identifier.set_languages(["en", *authored("languages").values()])
    return identifier


def language_of(text: str) -> str | None:
    """Return the code of a text's likeliest language, None of a text without letters.

    Only English and the languages of `instructions.toml` are told apart.

    Raises:
        MissingInputError: The package that tells languages apart is not installed.
    """
    identifier = _identifier()
    if not any(letter.isalpha() for letter in text):
        return None
    return str(identifier.classify(text)[0])


def _words(text: str) -> list[str]:
    """The words of a text without case and marks."""
    return re.findall(r"\w+", unicodedata.normalize("NFC", text).casefold())


def keeps(check: Check, expected: str, reply: str) -> bool:
    """Tell whether a reply keeps one thing that an instruction asks for.

    Args:
        check: `mentions`: the text stands in the reply as whole words, in any case. `begins` and
            `ends`: the reply's first or last words are the text's, in any case and with any marks.
            `capitals`: it has letters and no small one. `words`: it has at least one word and no
            more than the number. `language`: that of the reply is likeliest the one of the code.
        expected: What is asked for; see `Demand`.
        reply: The reply.

    Raises:
        DataError: The check is `words` and what is expected is no number.
        MissingInputError: As `language_of`.
    """
    if check == "mentions":
        return mentions(reply, [expected])
    if check == "language":
        return language_of(reply) == expected
    if check == "capitals":
        letters = [letter for letter in reply if letter.isalpha()]
        return bool(letters) and not any(letter.islower() for letter in letters)
    said = _words(reply)
    if check == "words":
        if not expected.isdecimal():
            raise DataError(
                f"an instruction's most words: {expected!r} expected, but a whole number is needed."
            )
        # Counted as people do: "don't" and "a well-kept garden" are one and three.
        return bool(said) and len(reply.split()) <= int(expected)
    wanted = _words(expected)
    return (said[: len(wanted)] if check == "begins" else said[-len(wanted) :]) == wanted
