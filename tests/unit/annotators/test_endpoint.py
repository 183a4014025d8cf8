"""An endpoint as annotator, against a stand-in server: what it is asked, and what goes wrong."""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import replace

import pytest
from stand_in_endpoint import StandIn, every_fifth, material, serving

from camelid.annotators import Endpoint
from camelid.annotators.judging import EndpointAnnotator, read_verdict
from camelid.errors import ConfigError, EndpointError

STRENGTHS = ("significantly_better", "better", "slightly_better", "negligibly_better")


def verdict(choice, strength="better", **more):
    return json.dumps({"choice": choice, "strength": strength, **more})


def longer_wins(body):
    """A judge without a taste for sides: the longer reply, by how much longer it is."""
    shown = material(body)
    lead = len(shown["reply_b"]) - len(shown["reply_a"])
    choice, strength = "b" if lead > 0 else "a", STRENGTHS[3 - min(3, abs(lead) // 3)]
    if "safe" not in body["messages"][0]["content"].split():
        return verdict(choice, strength)
    unsafe = ("bomb" in shown["reply_a"], "bomb" in shown["reply_b"])
    names = {(0, 0): "neither", (1, 0): "a", (0, 1): "b", (1, 1): "both"}
    return f"Here it is:\n```json\n{verdict(choice, strength, unsafe=names[unsafe])}\n```"


def settings(stand_in, **changes):
    given = Endpoint(
        url=stand_in.url, model="judge", wait_seconds=0.0, tries=4, timeout_seconds=5.0
    )
    return replace(given, **changes)


@pytest.fixture
def pairs(make_pair):
    found = [
        make_pair(n, kind=kind, a="x" * (1 + n % 7) + bomb, b="y" * (1 + n * 5 % 11))
        for n, (kind, bomb) in enumerate(
            itertools.product(("helpfulness", "safety"), ("", " bomb", "", "", ""))
        )
    ]
    # Replies of one length would be a tie.
    return [pair for pair in found if len(pair.reply_a) != len(pair.reply_b)]


@pytest.fixture
def ask(tmp_path):
    """Compares pairs with a stand-in; returns what came of it, the annotator and the stand-in."""

    def run(pairs, answer, *, folder="run", fails=lambda _: "", **changes):
        with serving(StandIn(answer, fails)) as stand_in:
            annotator = EndpointAnnotator(settings(stand_in, **changes), tmp_path / folder)
            return annotator.compare(pairs), annotator, stand_in

    return run


def test_both_orders_are_asked_and_the_question_holds_the_dialogue_as_data(ask, make_pair):
    pair = make_pair(1, a='short"}', b="the longer reply")
    [found], _, stand_in = ask([pair], longer_wins)
    shown = [material(body) for body in stand_in.bodies]
    assert {(each["reply_a"], each["reply_b"]) for each in shown} == {
        ('short"}', "the longer reply"),
        ("the longer reply", 'short"}'),
    }
    assert shown[0]["dialogue"][1] == {"role": "assistant", "content": "A llama."}
    assert {(b["model"], b["temperature"], b["max_tokens"]) for b in stand_in.bodies} == {
        ("judge", 0.0, 256)
    }
    assert (found.chosen, found.rejected) == ("the longer reply", 'short"}')
    assert (found.chosen_model, found.temperatures) == ("sft/model", (1.0, 0.5))
    assert (found.safety, found.simulated) == (None, False)
    assert found.annotator == "the model judge"


def test_the_average_of_both_orders_gives_choice_and_strength(tmp_path, make_pair):
    degrees = dict(zip(STRENGTHS, (4.0, 3.0, 2.0, 1.0), strict=True))
    labels = [(choice, strength) for choice in "ab" for strength in STRENGTHS]
    for first, second in itertools.product(labels, labels):
        # Of a and b as they are named in the pair.
        signed = [
            degrees[first[1]] * (1 if first[0] == "b" else -1),
            degrees[second[1]] * (1 if second[0] == "a" else -1),
        ]
        mean = sum(signed) / 2
        pair = make_pair(1, a="one", b="two")
        annotator = EndpointAnnotator(Endpoint(url="http://localhost", model="m"), tmp_path)
        found = annotator._decide(
            pair, *(read_verdict("helpfulness", verdict(*v)) for v in (first, second))
        )
        if mean == 0:
            assert found is None
            assert annotator.left_out == {"ties": 1}
            continue
        assert found.chosen == ("two" if mean > 0 else "one")
        # The strongest degree that the mean reaches; below the weakest it is that one.
        reached = [name for name in STRENGTHS if abs(mean) >= degrees[name]]
        assert found.strength == (reached or [STRENGTHS[-1]])[0]


def test_a_judge_that_goes_by_sides_decides_nothing(ask, make_pair):
    found, annotator, _ = ask([make_pair(1), make_pair(2)], lambda _: verdict("a"))
    assert found == [None, None]
    assert annotator.left_out == {"ties": 2}


def test_a_reply_is_unsafe_if_it_is_called_so_in_either_order(ask, make_pair):
    pair = make_pair(1, kind="safety", a="bad", b="good")

    def once(body):
        first = material(body)["reply_a"] == "bad"
        return verdict("b" if first else "a", unsafe="a" if first else "neither")

    [found], _, _ = ask([pair], once)
    assert (found.chosen, found.safety) == ("good", "chosen_safe")

    def both(body):
        return verdict("a" if material(body)["reply_a"] == "bad" else "b", unsafe="both")

    [found], _, _ = ask([pair], both, folder="other")
    assert (found.chosen, found.safety) == ("bad", "both_unsafe")


def test_failures_change_no_comparison(ask, pairs):
    sound, without, _ = ask(pairs, longer_wins)
    failures = (429, 500, "Both are fine.", (200, {}, "<html>"))
    found, annotator, stand_in = ask(
        pairs, longer_wins, folder="failing", fails=every_fifth(*failures)
    )
    assert found == sound
    assert None not in sound
    assert {p.safety for p in sound} == {None, "both_safe", "chosen_unsafe"}
    clean, failed = without.lineage(), annotator.lineage()
    assert (clean.requests, clean.failed) == (2 * len(pairs), {})
    assert failed.requests == len(stand_in.bodies) == 2 * len(pairs) + sum(failed.failed.values())
    assert failed.failed.keys() == {"HTTP 429", "HTTP 500", "nonsense"}
    assert clean.prompt_tokens == 100 * clean.requests
    assert clean.completion_tokens == 7 * clean.requests


def test_order_of_arrival_changes_nothing(ask, pairs):
    def slowly(body):
        time.sleep(0.02 * (len(material(body)["reply_a"]) % 3))
        return longer_wins(body)

    one, _, _ = ask(pairs, longer_wins, concurrency=1)
    many, _, _ = ask(pairs, slowly, folder="many", concurrency=8)
    assert one == many


def test_nothing_is_asked_twice(tmp_path, pairs):
    folder = tmp_path / "run"
    with serving(StandIn(longer_wins, lambda number: 401 if number == 7 else "")) as stand_in:
        given = settings(stand_in, concurrency=1)
        with pytest.raises(EndpointError, match="Answers so far \\(6\\) are kept in"):
            EndpointAnnotator(given, folder).compare(pairs)
        # A process that was killed leaves half a line.
        with (folder / "requests.jsonl").open("a", encoding="utf-8") as file:
            file.write('{"key": "ab')
        found = EndpointAnnotator(given, folder).compare(pairs)
        assert len(stand_in.bodies) == 2 * len(pairs) + 1
        again = EndpointAnnotator(given, folder)
        assert again.compare(pairs) == found
        assert len(stand_in.bodies) == 2 * len(pairs) + 1
        assert again.lineage().requests == 2 * len(pairs) + 1
        # Another question is another one.
        EndpointAnnotator(replace(given, model="other"), folder).compare(pairs[:1])
        assert len(stand_in.bodies) == 2 * len(pairs) + 3


def test_equal_questions_are_one_and_progress_is_told(tmp_path, make_pair):
    told = []
    with serving(StandIn(longer_wins)) as stand_in:
        annotator = EndpointAnnotator(
            settings(stand_in), tmp_path / "run", lambda done, total: told.append((done, total))
        )
        first, second, third = annotator.compare([make_pair(1), make_pair(2), make_pair(1)])
        assert len(stand_in.bodies) == 4
    assert first == third != second
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_refusals_are_counted_and_not_asked_again(ask, make_pair):
    pairs = [make_pair(n) for n in range(3)]

    def refuses(body):
        text = body["messages"][1]["content"]
        if "Question 0" in text:
            return {"content": None, "refusal": "I will not compare these."}
        return (
            "I'm sorry, but I can't help with that." if "Question 1" in text else longer_wins(body)
        )

    found, annotator, stand_in = ask(pairs, refuses)
    assert [p is None for p in found] == [True, True, False]
    assert annotator.left_out == {"refused_to_compare": 2}
    assert len(stand_in.bodies) == 6
    assert annotator.lineage().failed == {}


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        (429, r"in 3 of at most 3 tries; the last time: HTTP 429 \(.*no"),
        (503, r"the last time: HTTP 503"),
        (None, r"the last time: timeout \(no data for 0.2 s\)"),
        ("Both are fine.", r"the last time: nonsense \('Both are fine.'\)"),
        ((200, {}, "<html>"), r"the last time: nonsense \(no chat completion: <html>\)"),
        ((200, {}, '{"choices": []}'), r"nonsense \(no chat completion"),
        ((200, {"Content-Length": "9"}, ""), r"the last time: (no connection|timeout|nonsense)"),
    ],
)
def test_an_endpoint_that_goes_on_failing_stops_the_run(ask, make_pair, fails, said):
    with pytest.raises(EndpointError, match=said) as stopped:
        ask([make_pair(1)], longer_wins, fails=lambda _: fails, tries=3, timeout_seconds=0.2)
    message = str(stopped.value)
    assert "model judge: no usable answer" in message
    assert "requests.jsonl and not asked for again: the same command goes on" in message
    assert stopped.value.exit_code == 2


def test_an_endpoint_that_is_down_says_so(tmp_path, make_pair):
    with serving(StandIn(longer_wins)) as stand_in:
        gone = settings(stand_in, tries=2)
    with pytest.raises(EndpointError, match=r"2 tries; the last time: no connection \(.*refused"):
        EndpointAnnotator(gone, tmp_path / "run").compare([make_pair(1)])


def test_what_cannot_change_is_asked_once(ask, make_pair, monkeypatch):
    monkeypatch.setenv("TEST_KEY", "sk-secret")
    wrong = (401, {}, '{"error": "Incorrect key: sk-secret"}')
    with pytest.raises(
        EndpointError, match=r"in 1 of at most 4 tries.*the key is refused"
    ) as found:
        ask([make_pair(1)], longer_wins, fails=lambda _: wrong, key_variable="TEST_KEY")
    assert "sk-secret" not in str(found.value)
    with pytest.raises(EndpointError, match="set key_variable to the name of one"):
        ask([make_pair(1)], longer_wins, fails=lambda _: 401, folder="other")
    moved = (307, {"Location": "http://127.0.0.1:9/v1"}, "")
    with pytest.raises(EndpointError, match=r"name that address: http://127.0.0.1:9/v1"):
        ask([make_pair(1)], longer_wins, fails=lambda _: moved, folder="moved")


def test_the_key_is_sent_and_written_nowhere(ask, make_pair, monkeypatch, tmp_path):
    monkeypatch.setenv("TEST_KEY", "sk-secret\n")
    _, annotator, stand_in = ask([make_pair(1)], longer_wins, key_variable="TEST_KEY")
    assert {found["Authorization"] for found in stand_in.headers} == {"Bearer sk-secret"}
    files = [path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not any("sk-secret" in text for text in [*files, repr(annotator.lineage())])
    monkeypatch.setenv("TEST_KEY", "")
    with pytest.raises(ConfigError, match="environment variable TEST_KEY is empty or not set"):
        ask([make_pair(2)], longer_wins, key_variable="TEST_KEY")


def test_nonsense_may_be_left_out(ask, make_pair):
    pairs = [make_pair(n) for n in range(3)]

    def once(body):
        return "Hm." if "Question 1" in body["messages"][1]["content"] else longer_wins(body)

    found, annotator, _ = ask(pairs, once, nonsense="leave_out", tries=2)
    assert [p is None for p in found] == [False, True, False]
    assert annotator.left_out == {"no_verdict": 1}


def test_what_the_endpoint_asks_to_wait_is_waited(ask, make_pair, monkeypatch):
    waits = []
    busy = (429, {"Retry-After": "7"}, "{}")
    import threading

    monkeypatch.setattr(
        threading.Event, "wait", lambda event, seconds=None: waits.append(seconds) or event.is_set()
    )
    with pytest.raises(EndpointError):
        ask([make_pair(1)], longer_wins, fails=lambda _: busy, wait_seconds=4.0, concurrency=1)
    assert [wait for wait in waits if wait in (4.0, 7.0, 8.0, 16.0)] == [7.0, 8.0, 16.0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a is better",
        '{"choice": "a"}',
        '{"choice": "c", "strength": "better"}',
        '{"choice": "a", "strength": "much better"}',
        '{"choice": "a", "strength": "better", "unsafe": "a"}',
        '["a", "better"]',
        "{" * 5_000,
    ],
)
def test_what_is_no_verdict(text):
    assert read_verdict("helpfulness", text) is None


def test_safety_needs_its_bin():
    assert read_verdict("safety", verdict("a")) is None
    assert read_verdict("safety", verdict("a", unsafe="both")).unsafe == "both"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"url": "localhost:8000"}, "needed an address such as"),
        ({"url": "ftp://host/v1"}, "needed an address such as"),
        ({"url": "http://[host/v1"}, "needed an address such as"),
        ({"url": "https://me:secret@host/v1"}, "holds a user, a password or a query"),
        ({"url": "https://host/v1?key=1"}, "holds a user, a password or a query"),
        ({"model": ""}, "name it behind the address: http://host/v1#MODEL"),
        ({"concurrency": 0}, "concurrency is 0"),
    ],
)
def test_wrong_settings(changes, said):
    with pytest.raises(ConfigError, match=said) as found:
        Endpoint(**{"url": "http://host/v1", "model": "m", **changes})
    assert "secret" not in str(found.value)
