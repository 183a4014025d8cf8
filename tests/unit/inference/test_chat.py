"""Talking: what is forgotten is said, Ctrl-C stops a reply only, commands change what they say."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

import pytest

from camelid.inference import chat
from camelid.inference.chat import Speaker, chat_loop

END = 256


class Letters:
    """A tokenizer of bytes."""

    opens_with_space = False
    unused_ids = ()

    def token_bytes(self, token: int) -> bytes:
        return b"" if token == END else bytes([token])


class Marked:
    """A chat format that opens each message with one byte."""

    end_ids = (END,)
    tokenizer = Letters()

    def render_prompt(self, messages):
        return [byte for m in messages for byte in (m.role[0] + m.content).encode()]


class Table:
    """A chat at a table: what was typed, what was said, what the model was given."""

    def __init__(self, context: int = 400) -> None:
        self.speaker = Speaker(SimpleNamespace(config=SimpleNamespace(context=context)), Marked())
        self.said: list[str] = []
        self.asked: list[Any] = []
        self.stop: BaseException | None = None

    def generate(self, model, requests, sampling, *, on_token, **_):
        self.asked.append((bytes(requests[0].tokens).decode(), sampling))
        for byte in "yes, ünd".encode():
            on_token(byte)
        if self.stop is not None:
            raise self.stop
        on_token(END)

    def talk(self, *lines: str, **speakers: Speaker) -> str:
        self.said.clear()
        typed = iter(lines)

        def read(_: str) -> str:
            try:
                return next(typed)
            except StopIteration:
                raise EOFError from None

        chat_loop("t", speakers or {"m": self.speaker}, read=read, write=self.said.append)
        return "".join(self.said)


@pytest.fixture
def table(monkeypatch) -> Table:
    made = Table()
    monkeypatch.setattr(chat, "generate", made.generate)
    return made


def test_replies_are_remembered(table):
    assert "yes, ünd\n" in table.talk("one", "two", "/exit", "three")
    assert [prompt for prompt, _ in table.asked] == ["uone", "uoneayes, ündutwo"]


def test_case_silent_truncation_forgotten_turns_are_announced(table, monkeypatch):
    table.speaker.model.config.context = 40
    said = table.talk("first one", "second", "third")
    note = "(forgotten to fit the context of 40 tokens: the oldest 1 turn; 1 turn before this one"
    assert said.count(note) == 1
    assert table.asked[-1][0] == "usecondayes, ünduthird"


def test_case_silent_truncation_a_long_message_is_not_cut(table):
    said = table.talk("x" * 301, "short")
    assert "(not sent: with the system message it has 302 tokens and at most 300 fit" in said
    assert [prompt for prompt, _ in table.asked] == ["ushort"]


def test_case_silent_truncation_an_invalid_byte_does_not_end_the_chat(table):
    said = table.talk("a\N{REPLACEMENT CHARACTER}b", "c")
    assert said.count("(what was no valid text in your message") == 1
    assert len(table.asked) == 2


def test_case_ctrl_c_stops_a_reply_and_not_the_chat(table):
    table.stop = KeyboardInterrupt(signal.SIGINT)
    assert "yes, ünd (stopped)\n" in table.talk("one")
    table.stop = None
    table.talk("two")
    # What was said of it stays.
    assert table.asked[-1][0] == "uoneayes, ündutwo"
    table.stop = KeyboardInterrupt(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        table.talk("three")


def test_commands(table):
    said = table.talk(
        "/system be brief", "one", "/temperature 0", "two", "/undo", "/system", "/new"
    )
    assert [prompt for prompt, _ in table.asked] == [
        "sbe briefuone",
        "sbe briefuoneayes, ündutwo",
    ]
    assert [sampling.temperature for _, sampling in table.asked] == [0.6, 0.0]
    for line in ("(the system message is set)", "(temperature 0)", "(no system message)"):
        assert line in said
    table.talk("one")
    assert table.asked[-1][0] == "uone"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/temperature hot", "(/temperature is 'hot', but must be a number.)"),
        ("/temperature -1", "(/temperature is -1.0, but must be from 0 to 100.)"),
        ("/temperature", "(/temperature is '', but must be a number.)"),
        ("/what", "(not sent: there is no command /what.)\nCommands: "),
        ("/sytem be brief", "(not sent: there is no command /sytem. Did you mean '/system'?)"),
    ],
)
def test_wrong_commands_are_told(table, line, said):
    assert said in table.talk(line).partition("\n")[2]
    assert not table.asked


def test_two_answer_side_by_side(table):
    other = Speaker(table.speaker.model, table.speaker.chat)
    said = table.talk("one", a=table.speaker, b=other)
    assert "a: yes, ünd\nb: yes, ünd\n" in said
