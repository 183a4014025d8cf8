"""The recipe needs what is declared and nothing else: no stage imports more when it runs."""

from __future__ import annotations

import sys


def test_b8_no_stage_asks_for_more_than_the_dependencies(
    tiny_run, given_replies, workshop, monkeypatch, strangers
):
    assert {"gguf", "transformers"} & set(strangers)
    for name in strangers:
        # Those that run the tests may be asked for at any time.
        if name.strip("_") not in ("pytest", "pluggy") and "hypothesis" not in name:
            monkeypatch.setitem(sys.modules, name, None)
    asked = []
    for name, stage in tiny_run.stages.items():
        if not stage.kind.shows:
            try:
                tiny_run.again(workshop, name)
            except ImportError as error:
                asked.append((name, str(error)))
    assert not asked
