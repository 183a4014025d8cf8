"""Methods beside their control and ceiling, against numbers counted by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from intervals import bonett_price, wilson

from camelid.assessment.evaluating import Comparison, at
from camelid.assessment.evaluating import comparisons as table
from camelid.data.annotation import JudgedReply, Judgement
from camelid.data.records import Message
from camelid.evaluation.judged import decided, outcomes
from camelid.run.item import AbsentError

EXACT, VIOLATIONS, FALSE_REFUSALS = table.GOALS


def reply(model, number, *, exact=None, violating=None, score=None, set_="helpful"):
    return JudgedReply(
        model=model, set=set_, prompt_id=f"{set_}/{number}", category="any", risk_category=None,
        attack_vector=None, attack_strength=None, turns=1,
        prompt=(Message(role="user", content="?"),), reply="x", temperature=1.0, reply_tokens=3,
        stop_reason="stop", helpfulness_rm=0.0, safety_rm=0.0, guard_rm=0.0, reward=0.0,
        log_ratio=None, judge="test judge",
        judgement=Judgement(score=score, exact=exact, violating=violating, refusing=False),
    )  # fmt: skip


def answers(model, exact, violating):
    """Replies of a model: a letter a prompt, + for yes, - for no, ? for no verdict."""
    verdict = {"+": True, "-": False, "?": None}
    return [
        *(reply(model, n, exact=verdict[c]) for n, c in enumerate(exact)),
        *(
            reply(model, n, violating=verdict[c], set_="adversarial")
            for n, c in enumerate(violating)
        ),
    ]


ROWS = [
    *answers("sft", "++------", "++++"),
    # Cooler, SFT is right more often, and coldest it violates least.
    *answers(at("sft", 0.6), "++++----", "+++-"),
    *answers(at("sft", 0.0), "+++-----", "++--"),
    *answers("v1", "+++++++?", "+---"),
    *answers("random_pick", "+++-----", "+++-"),
    *answers("judge_pick", "++++++++", "----"),
    *answers("final", "++++----", "----"),
]
FULL = Comparison(
    method="the whole, v1", before="sft", after="v1", control="sft", ceiling="judge_pick"
)
PICK = Comparison(
    method="picking", before="sft", after="v1", control="random_pick", ceiling="judge_pick"
)
OPEN = Comparison(method="PPO", before="v1", after="final", control="v1")
ABSENT = Comparison(
    method="none", before="sft", after="final", control="gone", ceiling="judge_pick"
)


def stage(*comparisons, sharpened=("sft",), temperatures=(0.6, 0.0), controls=("random_pick",)):
    return SimpleNamespace(
        config=SimpleNamespace(other_temperatures=temperatures),
        inputs=SimpleNamespace(
            comparisons=comparisons,
            sharpened=sharpened,
            controls=tuple((name, None) for name in controls),
            rounds=("v1",),
        ),
    )


def cell(right, n):
    value, low, high = (100 * x for x in wilson(right, n))
    return f"{value:.1f} ({low:.1f} to {high:.1f})"


def points(gaps):
    value, low, high = (100 * x for x in bonett_price(gaps))
    # Nothing has no sign.
    texts = [f"{number:+.1f}" for number in (value, low, high)]
    first, *ends = ("0.0" if text in ("+0.0", "-0.0") else text for text in texts)
    return f"{first} ({' to '.join(ends)})"


def test_names_of_other_temperatures():
    assert at("sft", 0.6) == "sft_at_0.6"
    assert at("sft", 1.0) == "sft_at_1"
    assert at("sft", 0.0) == "sft_greedy"


def test_the_table_by_hand():
    found = table.methods(stage(FULL, PICK, OPEN, ABSENT), ROWS)
    assert found.columns == (
        "method", "measured", "before", "after", "control", "ceiling",
        "after less control, points", "both at their best, points", "headroom closed %",
    )  # fmt: skip
    # The eighth prompt has no verdict of v1: the pairs are of seven.
    exact, broken = "exactly right %", "violations %"
    assert found.rows == [
        (
            "the whole, v1", exact, "25.0", "100.0", "50.0 (at 0.6)",
            "100.0", points([0, 0, 0, 0, 1, 1, 1]), None, "100.0",
        ),
        (
            "the whole, v1", broken, "100.0", "25.0", "50.0 (greedy)",
            "0.0", points([0, -1, 0, 0]), None, "50.0",
        ),
        (
            "picking", exact, "25.0", "100.0", "37.5 (random pick)", "100.0",
            points([0, 0, 0, 1, 1, 1, 1]), None, "100.0",
        ),
        (
            "picking", broken, "100.0", "25.0", "75.0 (random pick)", "0.0",
            points([0, -1, -1, 0]), None, "66.7",
        ),
        # v1 is right wherever it is judged: nothing is left to gain, and final loses.
        (
            "PPO", exact, "100.0", "50.0", "100.0 (v1)", None,
            points([0, 0, 0, 0, -1, -1, -1]), None, None,
        ),
        # Without a ceiling what is left to wish for is the way.
        (
            "PPO", broken, "25.0", "0.0", "25.0 (v1)", None,
            points([-1, 0, 0, 0]), None, "100.0",
        ),
        ("none", exact, "25.0", "50.0", None, "100.0", None, None, None),
        ("none", broken, "100.0", "0.0", None, "0.0", None, None, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sharpened", "temperatures", "exact", "violations"),
    [
        (("sft",), (0.6, 0.0), "sft_at_0.6", "sft_greedy"),
        (("sft",), (0.0,), "sft_greedy", "sft_greedy"),
        # A temperature that was not asked does not count, nor one of a model that is not named.
        (("sft",), (0.9,), "sft", "sft"),
        ((), (0.6, 0.0), "sft", "sft"),
        (("v1",), (0.6, 0.0), "sft", "sft"),
    ],
)
def test_a_control_counts_with_its_best_temperature_by_goal(
    sharpened, temperatures, exact, violations
):
    made = stage(FULL, sharpened=sharpened, temperatures=temperatures)
    assert table.at_its_best(made, ROWS, "sft", EXACT) == exact
    assert table.at_its_best(made, ROWS, "sft", VIOLATIONS) == violations


def test_a_model_at_other_temperatures_is_compared_at_its_best_too():
    rows = [
        *ROWS,
        *answers(at("final", 0.6), "++++++--", "+---"),
        *answers(at("final", 0.0), "+++++---", "++--"),
    ]
    whole = Comparison(method="whole", before="sft", after="final", control="sft")
    made = stage(whole, sharpened=("sft", "final"))
    exact, violations = (dict(zip(table.COLUMNS, row[2:], strict=True))
                         for row in table.methods(made, rows).rows)  # fmt: skip
    # SFT's four at 0.6; final's own four, and its six at 0.6.
    assert exact["after less control"] == points([0, 0, 0, 0, 0, 0, 0, 0])
    assert exact["both at their best"] == points([0, 0, 0, 0, 1, 1, 0, 0])
    # No violation is left at its own temperature.
    assert violations["both at their best"] == points([-1, -1, 0, 0])
    found = {measure.key: measure for measure in table.measures(made, rows, "test judge")}
    measure = found["methods.whole.exact.both_at_their_best"]
    assert (measure.value, measure.n, measure.signed) == (0.25, 8, True)


def test_of_equal_temperatures_the_own_one_counts():
    rows = [*answers("sft", "+-", "+-"), *answers(at("sft", 0.6), "-+", "-+")]
    made = stage(FULL, temperatures=(0.6,))
    for goal in (EXACT, VIOLATIONS):
        assert table.at_its_best(made, rows, "sft", goal) == "sft"
    with pytest.raises(AbsentError, match="was evaluated on the borderline set"):
        table.at_its_best(made, rows, "sft", FALSE_REFUSALS)


def test_a_control_that_is_not_in_the_run_is_named():
    with pytest.raises(AbsentError, match="none of gone was evaluated on the helpful set"):
        table.at_its_best(stage(ABSENT), ROWS, "gone", EXACT)


@pytest.mark.parametrize(
    ("after", "control", "ceiling", "closed"),
    [
        ("+++-----", "+-------", "+++++---", (3 - 1) / (5 - 1)),
        # Past the ceiling, and behind the control.
        ("++++++--", "+-------", "+++++---", (6 - 1) / (5 - 1)),
        ("--------", "+-------", "+++++---", -1 / 4),
        # No ceiling: up to all.
        ("+++-----", "+-------", None, (3 - 1) / (8 - 1)),
        # Nothing lies between.
        ("+++-----", "+-------", "+-------", None),
        ("+++-----", "++------", "+-------", None),
        ("+++-----", "++++++++", None, None),
    ],
)
def test_closed_is_the_share_of_the_way_to_the_ceiling(after, control, ceiling, closed):
    rows = [*answers("after", after, "-"), *answers("control", control, "-")]
    rows += answers("top", ceiling or "", "-")
    compared = Comparison(
        method="m", before="control", after="after", control="control",
        ceiling="top" if ceiling else None,
    )  # fmt: skip
    if closed is None:
        with pytest.raises(AbsentError, match="as good as the ceiling"):
            table.closed(rows, EXACT, compared, "control")
    else:
        assert table.closed(rows, EXACT, compared, "control") == pytest.approx(closed)
    # The same the other way round, where less is better.
    turned = str.maketrans("+-", "-+")
    rows = [
        *answers("after", "", after.translate(turned)),
        *answers("control", "", control.translate(turned)),
        *answers("top", "", (ceiling or "").translate(turned)),
    ]
    if closed is None:
        with pytest.raises(AbsentError, match="as good as the ceiling"):
            table.closed(rows, VIOLATIONS, compared, "control")
    else:
        assert table.closed(rows, VIOLATIONS, compared, "control") == pytest.approx(closed)


def scored(model, scores):
    return [reply(model, number, score=score) for number, score in enumerate(scores)]


def test_ties_are_counted_apart_and_wins_are_of_those_decided():
    rows = [
        *scored("sft", [0.1, 0.5, 0.5, 1.0, 0.2, None]),
        *scored("v1", [1.0, 0.5, 0.6, 0.9, 0.3, 1.0]),
        *scored("v2", [0.1, 0.5, 0.5, 1.0, 0.2, 0.0]),
    ]
    # The sixth prompt has no score of SFT.
    assert outcomes(rows, "v1") == (3, 1, 1)
    found = decided(rows, "v1")
    assert (found.value, found.low, found.high) == pytest.approx(wilson(3, 4))
    assert found.n == 4
    assert outcomes(rows, "v2") == outcomes(rows, "sft") == (0, 5, 0)
    with pytest.raises(AbsentError, match="all comparisons of v2 with sft are ties"):
        decided(rows, "v2")
    shown = table.against_sft(rows, ["base", "sft", "v1", "v2"])
    assert shown.columns == ("model", "wins", "ties", "losses", "wins of those decided %")
    # A model that was not asked is left out.
    assert shown.rows == [
        ("sft", 0, 5, 0, None),
        ("v1", 3, 1, 1, cell(3, 4)),
        ("v2", 0, 5, 0, None),
    ]


def test_figures_say_what_the_table_says():
    made = stage(FULL, PICK, OPEN, ABSENT, controls=("random_pick", "judge_pick"))
    rows = [*ROWS, *(r for model in ("sft", "v1") for r in scored(model, [0.1, 0.2]))]
    measures = list(table.measures(made, rows, "test judge"))
    found = {measure.key: measure for measure in measures}
    assert len(found) == len(measures)

    def same(key, expected, n):
        measure = found[key]
        assert (measure.value, measure.low, measure.high) == pytest.approx(expected), key
        assert (measure.n, measure.unit, measure.judge) == (n, "share", "test judge")

    same("sft_at_0.6.exact", wilson(4, 8), 8)
    same("sft_greedy.violations", wilson(2, 4), 4)
    same("random_pick.exact", wilson(3, 8), 8)
    same("judge_pick.violations", wilson(0, 4), 4)
    whole = "methods.the_whole_v1"
    same(f"{whole}.exact.before", wilson(2, 8), 8)
    same(f"{whole}.exact.after", wilson(7, 7), 7)
    same(f"{whole}.exact.control", wilson(4, 8), 8)
    same(f"{whole}.violations.ceiling", wilson(0, 4), 4)
    same(f"{whole}.exact.after_less_control", bonett_price([0, 0, 0, 0, 1, 1, 1]), 7)
    assert found[f"{whole}.violations.headroom_closed"].value == pytest.approx(0.5)
    assert found[f"{whole}.exact.control"].method == ("the whole, v1: exactly right %", "control")
    # What a method has not is no figure that is missing.
    assert "methods.ppo.exact.ceiling" not in found
    assert not any(key.endswith("both_at_their_best") for key in found)
    for column in ("control", "after_less_control", "headroom_closed"):
        missing = found[f"methods.none.exact.{column}"]
        assert missing.value is None
        assert "none of gone" in missing.reason
    assert found["v1.wins_of_decided"].value is None
    assert found["final.wins_of_decided"].reason == "no prompt has this value for both models"
