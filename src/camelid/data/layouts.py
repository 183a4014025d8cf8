"""The layouts of people's data: what recognises a row, and the turns that it holds.

Source: choice; the layouts are those of OpenAI's fine-tuning files, ShareGPT, Alpaca and Dolly,
HH-RLHF, OASST, TRL and UltraFeedback.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from camelid.data.records import Dialogue, Preference, Prompt
from camelid.data.turns import BLANK, Tally, Turn, split_transcript
from camelid.errors import DataError
from camelid.settings import from_json

Record = Dialogue | Preference | Prompt
Numbered = Iterable[tuple[int, Any]]
"""Rows with their line numbers."""


class Held(NamedTuple):
    """One dialogue or prompt of a row, or two dialogues to compare."""

    turns: list[Turn]
    """Of a comparison the dialogue with the chosen reply."""
    rejected: list[Turn] | None = None
    own: Record | None = None
    """The row itself, where it is one of our records."""


class Layout(NamedTuple):
    """One layout of rows."""

    name: str
    needs: str
    """What a row holds."""
    fits: Callable[[Any], bool]
    read: Callable[[Any, list[str]], Iterable[Held]]
    """Takes what it leaves out of a row as changes; raises `ValueError` with the reason why a row
    cannot be used, `DataError` without its place where a value has the wrong type."""
    compares: bool = False


KINDS: dict[Any, str] = {str: "a text", list: "a list", dict: "an object"}


def _has(*keys: str) -> Callable[[Any], bool]:
    return lambda row: isinstance(row, dict) and all(key in row for key in keys)


def _of_type(value: Any, kind: type, name: str) -> Any:
    if not isinstance(value, kind):
        raise DataError(f"{name} is {value!r:.60}, needed {KINDS[kind]}.")
    return value


def _content(message: dict[str, Any], key: str) -> str:
    """Return the text of a message, which may stand in parts; null, as of a call, is empty."""
    content = message.get(key)
    if not isinstance(content, list):
        return str(_of_type("" if content is None else content, str, repr(key)))
    texts = [part.get("text") if isinstance(part, dict) else None for part in content]
    found = [text for text in texts if isinstance(text, str)]
    if len(found) < len(texts):
        raise ValueError("a part of a message is no text")
    return "".join(found)


def _turns(messages: Any, name: str) -> list[Turn]:
    """Return a list of messages, by role and content or by from and value."""
    turns = []
    for message in _of_type(messages, list, repr(name)):
        _of_type(message, dict, f"a message of {name!r}")
        role, content = ("from", "value") if "from" in message else ("role", "content")
        if role not in message:
            raise DataError(f"a message of {name!r} has no role; needed 'role' and 'content'.")
        turns.append(Turn(_of_type(message[role], str, repr(role)), _content(message, content)))
    return turns


def _is_transcript(text: Any) -> bool:
    return isinstance(text, str) and text.lstrip().startswith(("Human:", "Assistant:"))


def _prompt(value: Any, name: str) -> list[Turn]:
    """Return a prompt: messages, a text, or a transcript that may end where the reply begins."""
    if isinstance(value, list):
        return _turns(value, name)
    text = _of_type(value, str, repr(name))
    if not _is_transcript(text):
        return [Turn("user", text)]
    turns = split_transcript(BLANK + text.lstrip())
    opens = turns[-1].role == "Assistant" and not turns[-1].content.strip()
    return turns[:-1] if opens else turns


def _reply(value: Any, prompt: list[Turn], name: str) -> list[Turn]:
    """Return a dialogue from its prompt and a reply: a text, or messages that may repeat it."""
    if isinstance(value, list):
        turns = _turns(value, name)
        return turns if turns[: len(prompt)] == prompt else [*prompt, *turns]
    return [*prompt, Turn("assistant", _of_type(value, str, repr(name)))]


def _with_system(row: Any, turns: list[Turn]) -> list[Turn]:
    system = row.get("system") if isinstance(row, dict) else None
    return [Turn("system", system), *turns] if isinstance(system, str) else turns


def _own(schema: type[Any]) -> Callable[[Any, list[str]], Iterator[Held]]:
    def read(row: Any, _: list[str]) -> Iterator[Held]:
        own = from_json(row, schema, schema.__name__, error=DataError)
        messages = own.prompt if isinstance(own, Preference) else own.messages
        turns = [Turn(m.role, m.content, m.train) for m in messages]
        if isinstance(own, Preference):
            chosen, rejected = (Turn("assistant", text) for text in (own.chosen, own.rejected))
            yield Held([*turns, chosen], [*turns, rejected], own)
        else:
            yield Held(turns, own=own)

    return read


def _compared(row: Any, _: list[str]) -> Iterator[Held]:
    prompt = _prompt(row["prompt"], "prompt") if "prompt" in row else []
    chosen, rejected = (_reply(row[key], prompt, key) for key in ("chosen", "rejected"))
    yield Held(_with_system(row, chosen), _with_system(row, rejected))


def _transcripts(row: Any, _: list[str]) -> Iterator[Held]:
    chosen, rejected = (_of_type(row[key], str, repr(key)) for key in ("chosen", "rejected"))
    yield Held(split_transcript(chosen), split_transcript(rejected))


_SCORES = ("fine-grained_score", "overall_score", "score")


def _scored(row: Any, changes: list[str]) -> Iterator[Held]:
    """Yield the best completion against each that is worse; those between them are not compared."""
    key = "instruction" if "instruction" in row else "prompt"
    prompt = _prompt(row[key], key)
    found: list[tuple[float, list[Turn]]] = []
    for completion in _of_type(row["completions"], list, "'completions'"):
        _of_type(completion, dict, "a completion")
        score = next((completion[name] for name in _SCORES if name in completion), None)
        # A whole number may be too large for a float.
        if not isinstance(score, int | float) or (isinstance(score, float) and math.isnan(score)):
            raise ValueError("a completion has no score")
        name = "response" if "response" in completion else "text"
        found.append((score, _reply(completion.get(name), prompt, name)))
    best = max(found, key=lambda pair: pair[0], default=(0.0, prompt))
    worse = [turns for score, turns in found if score < best[0]]
    if not worse:
        raise ValueError("no completion is better than another")
    ties = len(found) - len(worse) - 1
    changes += ["completion that ties with the best: dropped"] * ties
    for turns in worse:
        yield Held(_with_system(row, best[1]), _with_system(row, turns))


def _threads(row: Any, changes: list[str]) -> Iterator[Held]:
    """Yield the threads of a tree: to each user turn its best ranked reply.

    What two threads share carries loss in the first of them only.
    """
    waiting: list[tuple[Any, list[Turn]]] = [(row["prompt"], [])]
    while waiting:
        node, before = waiting.pop()
        _of_type(node, dict, "a message of the tree")
        role, text = (_of_type(node.get(key), str, repr(key)) for key in ("role", "text"))
        turns = [*before, Turn(role, text)]
        replies = _replies(node)
        if role == "assistant":
            replies = [reply for reply in replies if _replies(reply)]
        elif replies:
            best = min(replies, key=_rank)
            changes += ["reply that is not ranked best: dropped"] * (len(replies) - 1)
            replies = [best]
        if not replies:
            yield Held(turns)
        seen = [turn._replace(train=False) for turn in turns]
        later = [(reply, seen) for reply in replies[1:]]
        waiting += [*reversed(later), *((reply, turns) for reply in replies[:1])]


def _replies(node: Any) -> list[Any]:
    found = _of_type(_of_type(node, dict, "a reply").get("replies") or [], list, "'replies'")
    return [r for r in found if not _of_type(r, dict, "a reply").get("deleted")]


def _rank(node: dict[str, Any]) -> float:
    rank = node.get("rank")
    return rank if isinstance(rank, int | float) else float("inf")


def _is_message(row: Any) -> bool:
    texts = ("message_id", "text", "role")
    return (
        _has(*texts, "parent_id")(row)
        and all(isinstance(row[key], str) for key in texts)
        and isinstance(row["parent_id"], str | None)
        and isinstance(row.get("replies") or [], list)
    )


def as_trees(rows: Numbered, left_out: Tally) -> Iterator[tuple[int, Any]]:
    """Put the messages of a file under those that they answer; all are held in memory."""
    nodes: dict[str, dict[str, Any]] = {}
    roots = []
    for line, row in rows:
        node = {**row, "replies": list(row.get("replies") or [])}
        parent = nodes.get(row["parent_id"])
        if row["message_id"] in nodes:
            left_out.add("its message_id stands twice", f"line {line}")
            continue
        if row["parent_id"] is None:
            roots.append((line, {"prompt": node}))
        elif parent is None:
            left_out.add("its parent is not in a row before it", f"line {line}")
            continue
        else:
            parent["replies"].append(node)
        nodes[row["message_id"]] = node
    yield from roots


OASST_MESSAGES = Layout(
    "OASST messages",
    "message_id, parent_id (null at the root), text, role, parents before their replies",
    _is_message,
    _threads,
)


def _messages(row: Any, _: list[str]) -> Iterator[Held]:
    key = next(key for key in ("messages", "conversations", "") if not key or key in row)
    yield Held(_with_system(row, _turns(row[key] if key else row, key or "the row")))


def _conversations(key: str) -> Callable[[Any], bool]:
    """Recognise conversations whose messages name their role by a key."""

    def fits(row: Any) -> bool:
        messages = row.get("conversations") if isinstance(row, dict) else None
        return isinstance(messages, list) and (
            not messages or not isinstance(messages[0], dict) or key in messages[0]
        )

    return fits


_ASKED = (
    *(("instruction", "output"), ("instruction", "response")),
    *(("prompt", "completion"), ("prompt", "response")),
)


def _columns(row: Any) -> tuple[str, str] | None:
    return next((keys for keys in _ASKED if _has(*keys)(row)), None)


def _instructed(row: Any, _: list[str]) -> Iterator[Held]:
    asked, answer = _columns(row) or _ASKED[0]
    prompt = _prompt(row[asked], asked)
    for name in ("input", "context"):
        more = row.get(name)
        if more and _of_type(more, str, repr(name)).strip():
            last = prompt[-1] if prompt else Turn("user", "")
            prompt = [*prompt[:-1], last._replace(content=f"{last.content}{BLANK}{more}")]
    yield Held(_with_system(row, _reply(row[answer], prompt, answer)))


_PROMPTS = ("prompt", "question", "goal", "text", "transcript")


def _asked(row: Any) -> Any:
    """Return what a row asks, or None: a text or list of messages, by itself or in a column."""
    if isinstance(row, dict):
        return next((row[key] for key in _PROMPTS if key in row), None)
    return row


def _prompted(row: Any, _: list[str]) -> Iterator[Held]:
    yield Held(_with_system(row, _prompt(_asked(row), "prompt")))


LAYOUTS = (
    Layout(
        "Camelid comparisons",
        "id, kind, round, batch, category, prompt, chosen, rejected, strength",
        _has("id", "kind", "round", "batch", "prompt", "chosen", "rejected"),
        _own(Preference),
        compares=True,
    ),
    Layout(
        "Camelid prompts",
        "id, messages, category, is_safety, source, split",
        _has("id", "messages", "is_safety", "source", "split"),
        _own(Prompt),
    ),
    Layout(
        "Camelid dialogues",
        "id, messages, category, is_safety, source",
        _has("id", "messages", "is_safety", "source"),
        _own(Dialogue),
    ),
    Layout(
        "comparisons with a prompt",
        "prompt, chosen, rejected, each a text or a list of messages",
        _has("prompt", "chosen", "rejected"),
        _compared,
        compares=True,
    ),
    Layout(
        "comparisons of message lists",
        "chosen, rejected, each a whole list of messages, equal up to the last reply",
        lambda row: _has("chosen", "rejected")(row) and isinstance(row["chosen"], list),
        _compared,
        compares=True,
    ),
    Layout(
        "HH comparisons",
        "chosen, rejected, each '\\n\\nHuman: ...\\n\\nAssistant: ...', equal up to the last reply",
        _has("chosen", "rejected"),
        _transcripts,
        compares=True,
    ),
    Layout(
        "scored completions",
        "instruction or prompt, and completions with response and score, as UltraFeedback",
        lambda row: _has("completions")(row) and ("instruction" in row or "prompt" in row),
        _scored,
        compares=True,
    ),
    Layout(
        "OASST trees",
        "message_tree_id, prompt with text, role, replies",
        _has("message_tree_id", "prompt"),
        _threads,
    ),
    OASST_MESSAGES,
    Layout(
        "ShareGPT",
        "conversations, a list of messages with from and value",
        _conversations("from"),
        _messages,
    ),
    Layout(
        "OpenAI messages",
        "messages (or conversations), a list of messages with role and content",
        lambda row: _has("messages")(row) or _conversations("role")(row),
        _messages,
    ),
    Layout(
        "instructions with replies",
        "instruction and output or response (perhaps input or context), or prompt and completion "
        "or response",
        lambda row: _columns(row) is not None,
        _instructed,
    ),
    Layout(
        "HH transcripts",
        "a text '\\n\\nHuman: ...\\n\\nAssistant: ...', by itself or in text or transcript",
        lambda row: _is_transcript(_asked(row)),
        _prompted,
    ),
    Layout(
        "prompts",
        f"a text or a list of messages, by itself or in one of {', '.join(_PROMPTS)}",
        lambda row: isinstance(_asked(row), str | list),
        _prompted,
    ),
)
