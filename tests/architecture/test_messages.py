"""All error messages in one table, and what each must say: what is wrong, found, needed, to do.

`PYTHONPATH=src python tests/architecture/test_messages.py` writes the table anew.
"""

from __future__ import annotations

import ast
import itertools
import re
from pathlib import Path

from camelid.errors import counted

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "camelid"
TABLE = ROOT / "tests" / "golden" / "messages.txt"
ERRORS = (
    *("CamelidError", "ConfigError", "DataError", "CheckpointError", "MissingInputError"),
    *("TrainingError", "_ReadError", "AbsentError", "NotApplicableError"),
    *("EndpointError", "WaitingError"),
)


def template(node: ast.expr) -> str:
    """Return the text of a message with `{what}` for what is put in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(template, node.values))
    value = node.value if isinstance(node, ast.FormattedValue) else node
    return f"{{{ast.unparse(value)}}}"


def messages() -> dict[str, list[str]]:
    """Return file and type of error -> templates of its messages, in the order of the source."""
    found: dict[str, list[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Raise) or not isinstance(node.exc, ast.Call):
                continue
            name = ast.unparse(node.exc.func)
            if name in ERRORS and node.exc.args:
                key = f"{path.relative_to(SOURCE)} {name}"
                found.setdefault(key, []).append(template(node.exc.args[0]))
    return found


def table() -> str:
    """Return all messages, a line each."""
    lines = (f"{key}: {text}" for key, texts in messages().items() for text in sorted(texts))
    return "".join(f"{line!r}\n"[1:-2] + "\n" for line in lines)


ALL = [(key, text) for key, texts in messages().items() for text in texts]
SHOWN = [
    (k, t) for k, t in ALL if not k.endswith((" _ReadError", "AbsentError", "ApplicableError"))
]
"""What a user reads of an error; the others are parts of one, or say why a figure is not there."""
ADVISES = re.compile(
    r"\b(needed|needs|must|at most|at least|between|expected|only|supported|[Nn]ame|[Ss]et"
    r"|[Cc]hoose|[Gg]ive|[Mm]ake|[Rr]un|[Uu]se|[Rr]emove|[Rr]epair|[Rr]eplace|[Gg]et|[Ww]rite"
    r"|[Ll]eave|[Aa]sk|[Ss]horten|[Rr]aise|[Ll]ower|[Tt]ake|[Cc]hange|[Dd]rop|[Ii]nstall|[Ff]ree"
    r"|[Aa]dd|[Cc]heck|[Ww]ait|[Ss]tart|[Ss]ave|[Ss]ee|[Rr]edo|pip install|There are|Known|--redo"
    r"|lists them|shorten|keep the one|state one|goes on|[Pp]ublic gets|once is|[Ii]t is a)\b"
    r"|\{(advice|hint|error|where|reason)\}"
)
"""What is needed, or what to do about it."""
BARE = {"benchmarks": 1, "settings.py": 1, "simulation": 1}
"""Messages by room that say what is wrong and not what to do: one that another part has made, and
two about files of the package itself."""


def test_the_table_of_messages_is_as_it_was():
    assert TABLE.read_text(encoding="utf-8") == table(), (
        "The error messages changed; if meant, write tests/golden/messages.txt anew (see above)."
    )


def test_messages_say_what_is_needed_or_what_to_do():
    bare: dict[str, list[str]] = {}
    for key, text in SHOWN:
        if not ADVISES.search(text):
            bare.setdefault(key.partition("/")[0].partition(" ")[0], []).append(f"{key}: {text}")
    assert len(SHOWN) > 200
    more = {room: found for room, found in bare.items() if len(found) > BARE.get(room, 0)}
    assert not more


def test_messages_name_what_was_found():
    nameless = [f"{key}: {text}" for key, text in SHOWN if "{" not in text]
    # The others say in words all that there is to say; there may only be fewer.
    assert len(nameless) <= 20, nameless


def test_case_no_message_advises_to_lose_what_is_there():
    loses = re.compile(r"\b[Rr]emove (this|it|the (folder|run|directory|weights))\b|\b[Dd]elete\b")
    assert not [f"{key}: {text}" for key, text in ALL if loses.search(text)]


def test_messages_are_whole_sentences():
    # Or end with a command, with what another says, or before a list.
    assert not [
        f"{key}: {text}" for key, text in SHOWN if not re.search(r"[.?:})`\d']$|\.\.\.$", text)
    ]


COUNTED = (
    *("stage", "thread", "row", "prompt", "reply", "comparison", "dialogue", "item", "label"),
    *("line", "cell", "field", "document", "iteration", "figure", "setting", "layer", "tensor"),
    *("sample", "seed", "turn", "answer", "round", "example", "model", "record", "file"),
)
"""What there may be one of. Not so tokens, ids, rows of tables: they are sizes of models."""
NO_COUNTS = {
    *("name", "m", "kind", "limits[0]"),
    *("config.vocabulary_size", "self.vocabulary_size", "vocabulary_size", "size"),
    *("count", "found.equal_replies"),
}
"""Names and ranges before such a noun, rows of tables, and two: of rounds, where there are several,
and of comparisons, which a noun follows."""


def miscounted(text: str) -> list[str]:
    """Return the f-strings that put a number before a noun that may be one."""
    nouns = "|".join(f"{n[:-1]}ies" if n.endswith("y") else f"{n}s" for n in COUNTED)
    after = re.compile(rf" ([a-z-]+ )?({nouns})\b")
    found = []
    for node in ast.walk(ast.parse(text)):
        parts = node.values if isinstance(node, ast.JoinedStr) else []
        for value, words in itertools.pairwise(parts):
            if isinstance(value, ast.FormattedValue) and isinstance(words, ast.Constant):
                said = ast.unparse(value.value)
                if after.match(words.value) and said not in NO_COUNTS:
                    found.append(f"{node.lineno}: {{{said}}}{words.value[:30]}")
    return found


def test_case_one_of_a_kind_is_no_plural():
    assert counted(1, "stage") == "1 stage"
    assert counted(0, "reply") == "0 replies"
    assert counted(2000, "held-out comparison") == "2,000 held-out comparisons"
    assert miscounted('f"run {root}: {len(names)} stages"') == ["1: {len(names)} stages"]
    assert not {
        str(path.relative_to(SOURCE)): found
        for path in SOURCE.rglob("*.py")
        if (found := miscounted(path.read_text(encoding="utf-8")))
    }
    pages = {path.name: path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.html")}
    assert not [name for name, text in pages.items() if re.search(r"length\)? }} [a-z]+s\b", text)]


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
