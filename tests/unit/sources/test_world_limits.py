"""What the report says of the pocket world beside its figures."""

from __future__ import annotations

from types import SimpleNamespace

from camelid.simulation.config import WorldConfig
from camelid.sources.world_data import REPORT


def test_what_is_planted_is_said_with_its_shares():
    config = WorldConfig(
        imperfect=0.11, reasonless=0.22, complies=0.33, complies_disguised=0.44, lapse=0.55,
        untagged=0.66,
    )  # fmt: skip
    found = list(REPORT.find_limits(SimpleNamespace(last=SimpleNamespace(config=config))))
    assert not any("{" in text for text in found)
    [planted] = [text for text in found if text.startswith("Planted")]
    shares = ["11%", "22%", "33%", "44%", "55%", "66%"]
    assert [word for word in planted.split() if word.endswith("%")] == shares
