"""The display: a line at each change; a bar on a terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from camelid.run import progress
from camelid.run.progress import RunProgress, duration

NAMES = ["data", "sft", "v1/reward_modeling", "ppo"]


def console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100, color_system=None)


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """Time, moved by hand."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def display(target: Console, clock: list[float]) -> RunProgress:
    shown = RunProgress(target)
    shown._bar.get_time = lambda: clock[0]
    return shown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_plain_lines(clock):
    target = console(terminal=False)
    shown = display(target, clock)
    with shown.show(Path("runs/x"), NAMES):
        shown.skipped("data", 5)
        shown.started("sft")
        # Every 7 s; a line is due after 20.
        for step in range(1, 7):
            clock[0] += 7
            shown.update(10 * step, 100, loss=4 - step / 2)
        shown.note("one [row] dropped")
        shown.finished("sft", 61)
        shown.started("v1/reward_modeling")
        shown.failed("v1/reward_modeling")
    assert target.file.getvalue().splitlines() == [
        "run runs/x: 4 stages",
        "[1/4] data: done before (5 s)",
        "[2/4] sft: started",
        "sft: 30/100  loss 2.5  49 s left",
        "sft: 60/100  loss 1  28 s left",
        "sft: one [row] dropped",
        "sft: finished in 1 min 1 s  loss 1",
        "[3/4] v1/reward_modeling: started",
        "v1/reward_modeling: stopped",
    ]


def test_a_bar_on_a_terminal(clock):
    target = console(terminal=True)
    shown = display(target, clock)
    with shown.show(Path("runs/x"), NAMES):
        shown.started("sft")
        for done in (10, 20):
            clock[0] += 30
            shown.update(done, 100, loss=2.5)
        with target.capture() as capture:
            target.print(shown._bar.get_renderable())
        shown.finished("sft", 61)
    text = capture.get()
    for part in ("[2/4] sft", "20/100", "0:01:00", "0:04:00", "loss 2.5"):
        assert part in text
    said = target.file.getvalue()
    assert "sft: finished in 1 min 1 s" in said
    assert "sft: 20/100" not in said


def test_time_left_counts_from_the_model_at_work(clock):
    target = console(terminal=False)
    shown = display(target, clock)
    with shown.show(Path("x"), NAMES):
        shown.started("sft")
        for done in (1, 10):
            shown.update(done, 10)
            clock[0] += 1
        # A second model of the same stage, from a checkpoint: two steps take ten seconds, seven
        # are left.
        for done in (1, 3):
            shown.update(done, 10)
            clock[0] += 10
        assert shown._bar.tasks[-1].time_remaining == 35


def test_the_silent_one_says_nothing(capsys):
    silent = RunProgress()
    silent.update(1, 2, loss=1.0)
    silent.note("before any stage")
    with silent.show(Path("x"), NAMES):
        silent.started("sft")
        silent.update(1, 2, loss=1.0)
        silent.note("text")
        silent.finished("sft", 1)
    assert capsys.readouterr() == ("", "")
