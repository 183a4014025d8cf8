"""What the report says of the pocket world beside its figures."""

from __future__ import annotations

from types import SimpleNamespace

from camelid.recipes.pocket import SMOKE, smoke
from camelid.simulation.config import WorldConfig
from camelid.sources.world_data import REPORT


def limits(config: WorldConfig) -> list[str]:
    return list(REPORT.find_limits(SimpleNamespace(last=SimpleNamespace(config=config))))


def test_case_a_tiny_run_says_that_it_tests_the_plumbing():
    said = [text for text in limits(SMOKE.world) if "only tests the plumbing" in text]
    assert len(said) == 1
    assert "800 documents" in said[0]
    assert not [text for text in limits(WorldConfig()) if "plumbing" in text]
    assert smoke().remark.startswith("smoke only tests that everything runs")


def test_what_is_planted_is_said_with_its_shares():
    config = WorldConfig(
        imperfect=0.11, reasonless=0.22, complies=0.33, complies_disguised=0.44, lapse=0.55,
        untagged=0.66,
    )  # fmt: skip
    found = limits(config)
    assert not any("{" in text for text in found)
    [planted] = [text for text in found if text.startswith("Planted")]
    shares = ["11%", "22%", "33%", "44%", "55%", "66%"]
    assert [word for word in planted.split() if word.endswith("%")] == shares
