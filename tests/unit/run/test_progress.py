"""The display: plain lines and the live table."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from camelid.run import progress
from camelid.run.progress import LiveProgress, PlainProgress, duration, make_progress

NAMES = ["data", "sft", "v1/reward_modeling", "ppo"]


def console(*, terminal: bool, height: int = 40) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=terminal, width=100, height=height, color_system=None
    )


def play(display: progress.RunProgress) -> None:
    display.skipped("data", 5)
    display.started("sft")
    display.update(10, 100, loss=3.0)
    display.update(20, 100, loss=2.5)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_plain_lines(monkeypatch):
    monkeypatch.setattr(progress, "_PLAIN_INTERVAL_SECONDS", 0.0)
    target = console(terminal=False)
    display = make_progress(target)
    assert isinstance(display, PlainProgress)
    with display.show(Path("runs/x"), NAMES):
        play(display)
        display.note("one [row] dropped")
        display.finished("sft", 61)
    lines = target.file.getvalue().splitlines()
    assert lines[0] == "run runs/x: 4 stages"
    assert lines[1] == "[1/4] data: done before (5 s)"
    assert lines[2] == "[2/4] sft: started"
    assert lines[3] == "sft: 10/100  loss 3"
    assert lines[4].startswith("sft: 20/100  loss 2.5  ")
    assert lines[4].endswith(" left")
    assert lines[5] == "sft: one [row] dropped"
    assert lines[6].startswith("sft: finished in 1 min 1 s")


def test_live_table():
    target = console(terminal=True)
    display = make_progress(target)
    assert isinstance(display, LiveProgress)
    with display.show(Path("runs/x"), NAMES):
        play(display)
        with target.capture() as capture:
            target.print(display.render())
    text = capture.get()
    for part in (
        "runs/x",
        "1/4 stages",
        "= data",
        "> sft",
        "v1/reward_modeling",
        "loss 2.5",
        "left",
    ):
        assert part in text


def test_live_table_fits_the_terminal():
    target = console(terminal=True, height=12)
    display = LiveProgress(target)
    with display.show(Path("x"), [f"stage{i}" for i in range(30)]):
        for i in range(20):
            display.finished(f"stage{i}", 1)
        display.started("stage20")
    with target.capture() as capture:
        target.print(display.render())
    text = capture.get()
    assert len(text.splitlines()) <= 12
    assert "> stage20" in text
    assert "stages before" in text
    assert "stages after" in text


def test_time_left_counts_from_the_model_at_work(monkeypatch):
    clock = iter([0.0, 10.0, 100.0, 110.0, 110.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    pace = progress._Pace()
    for done in (1, 10):
        pace.update(done, 10, {})
    # A second model of the same stage: two steps took ten seconds, seven are left.
    for done in (1, 3):
        pace.update(done, 10, {})
    assert pace.remaining() == 35.0
