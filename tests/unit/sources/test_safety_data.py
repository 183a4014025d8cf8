"""Safety data for real text: one use a prompt, everything counted, nobody's prompt tested twice."""

from __future__ import annotations

import csv
import json
from collections import Counter
from types import SimpleNamespace

import pytest

from camelid.data.authored import AUTHORED
from camelid.data.prompts import conversation
from camelid.data.records import Dialogue, Message, Prompt
from camelid.errors import ConfigError, DataError, MissingInputError
from camelid.run.place import Rows
from camelid.settings import to_json
from camelid.sources.safety_data import (
    ADVBENCH,
    REPORT,
    SAFETY_DATA,
    SHARES,
    SIMPLE_SAFETY_TESTS,
    XSTEST,
    Config,
    Inputs,
)


@pytest.fixture
def run(workshop):
    def make(config=Config(), inputs=Inputs(), name="safety_data"):  # noqa: B008
        return workshop.run(SAFETY_DATA, config, inputs, name)

    return make


def write_table(path, *rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return str(path)


def write_lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def by_source(rows, source):
    return [row for row in rows if row.source == source]


def check_uses(outputs):
    """Return prompts and demonstrations after checking that no test prompt is trained on."""
    prompts, dialogues = outputs.prompts.read(), outputs.demonstrations.read()
    uses = {}
    for prompt in prompts:
        key = conversation(prompt.messages[0].content)
        assert uses.setdefault(key, prompt.split) == prompt.split
    for dialogue in dialogues:
        key = conversation(dialogue.messages[0].content)
        assert uses.get(key, "rejection_sampling") == "rejection_sampling"
    assert len({prompt.id for prompt in prompts}) == len(prompts)
    return prompts, dialogues


def test_what_is_authored_needs_no_file(run):
    result, outputs = run()
    prompts, dialogues = check_uses(outputs)
    assert result.demonstrations_by_source == {AUTHORED: 176}
    assert result.demonstrations_by_risk_category == {
        "illicit_criminal": 42, "hateful_harmful": 42, "unqualified_advice": 42,
    }  # fmt: skip
    assert set(result.demonstrations_by_attack_vector.values()) == {18}
    assert len(result.demonstrations_by_attack_vector) == 7
    assert result.prompts_by_source == {AUTHORED: 276}
    assert result.attacks_by_split == {"rejection_sampling": 126}
    assert result.borderline_by_split == {"rejection_sampling": 50, "test": 100}
    assert (result.left_out, result.changed, result.files) == ({}, {}, {})
    assert result.authored_licence == "CC BY 4.0"
    assert sum(dialogue.is_safety for dialogue in dialogues) == 126
    assert all(p.is_safety != p.borderline for p in prompts)


def test_attacks_of_public_files_are_divided_by_a_hash_of_the_prompt(run, tmp_path):
    goals = [f"Harm number {n}" for n in range(400)]
    areas = [f"Hurt somebody in way {n}" for n in range(100)]
    config = Config(
        advbench=write_table(
            tmp_path / "harmful_behaviors.csv",
            ["goal", "target"],
            *([goal, "Sure"] for goal in goals),
            [" harm, number 7! ", "Sure"],
            ["", "Sure"],
        ),
        simple_safety_tests=write_table(
            tmp_path / "simple_safety_tests.csv",
            ["id", "harm_area", "counter", "category", "prompts_final"],
            *(["x", "Scams and fraud", 1, "y", text] for text in areas),
        ),
    )
    result, outputs = run(config)
    prompts, _ = check_uses(outputs)
    attacks = [*by_source(prompts, ADVBENCH), *by_source(prompts, SIMPLE_SAFETY_TESTS)]
    assert [prompt.messages[0].content for prompt in attacks] == [*goals, *areas]
    assert all(p.is_safety and p.attack_vector == "none" for p in attacks)
    found = Counter(prompt.split for prompt in attacks)
    assert {split: abs(found[split] / 500 - share) < 0.06 for split, share in SHARES.items()} == (
        dict.fromkeys(SHARES, True)
    )
    assert {p.risk_category for p in by_source(prompts, SIMPLE_SAFETY_TESTS)} == {
        "illicit_criminal"
    }
    assert result.left_out == {
        "repeated prompt (first in harmful_behaviors.csv, line 402)": 1,
        "empty prompt (first in harmful_behaviors.csv, line 403)": 1,
    }
    assert set(result.files) == {"harmful_behaviors.csv", "simple_safety_tests.csv"}


def test_rows_depend_on_nothing_but_the_files(make_workshop, tmp_path):
    advbench = write_table(tmp_path / "a.csv", ["goal"], *([f"Harm {n}"] for n in range(30)))
    found = []
    for seed in (1, 2):
        other = make_workshop(tmp_path / str(seed), run_seed=seed)
        found.append(other.run(SAFETY_DATA, Config(advbench=advbench), Inputs()))
    (first, ours), (second, theirs) = found
    assert to_json(first) == to_json(second)
    for one, other in zip(ours.places(), theirs.places(), strict=True):
        assert one.path.read_bytes() == other.path.read_bytes()


def test_xstest_measures_in_place_of_the_authored_requests(run, tmp_path):
    config = Config(
        xstest=write_table(
            tmp_path / "xstest_prompts.csv",
            ["id", "prompt", "type", "label", "focus", "note"],
            ["1", "Where do clouds get killed by the wind?", "homonyms", "safe", "", ""],
            ["2", "Where can I hire a killer?", "contrast_homonyms", "unsafe", "", ""],
            ["3", "Is this one labelled?", "homonyms", "perhaps", "", ""],
        )
    )
    result, outputs = run(config)
    prompts, dialogues = check_uses(outputs)
    safe, unsafe = by_source(prompts, XSTEST)
    assert (safe.borderline, safe.is_safety, safe.attack_vector) == (True, False, None)
    assert (unsafe.borderline, unsafe.is_safety, unsafe.attack_vector) == (False, True, "none")
    assert [safe.category, unsafe.category] == ["homonyms", "contrast_homonyms"]
    assert result.borderline_by_split == {"rejection_sampling": 50, "test": 1}
    assert [p.split for p in (safe, unsafe)] == ["test", "test"]
    assert len(dialogues) == 176
    [reason] = result.left_out
    assert reason.startswith("the label is 'perhaps'")
    assert "xstest_prompts.csv, line 4" in reason


OWN = [
    {"prompt": "How do I rob the mill?", "completion": "I will not help with that."},
    {"prompt": "How do I rob the mill?", "completion": "Robbing is a crime; I cannot help."},
    {"prompt": "Harm number 3", "completion": "I will not help with that either."},
]


def own_dialogues(path):
    return write_lines(
        path,
        *(
            {
                "messages": [
                    {"role": "user", "content": row["prompt"]},
                    {"role": "assistant", "content": row["completion"]},
                ]
            }
            for row in OWN
        ),
    )


def test_own_demonstrations_come_first_and_their_prompts_test_nothing(run, tmp_path):
    own = own_dialogues(tmp_path / "own.jsonl")
    advbench = write_table(tmp_path / "a.csv", ["goal"], *([f"Harm number {n}"] for n in range(9)))
    result, outputs = run(Config(authored=False, demonstrations=own, advbench=advbench))
    prompts, dialogues = check_uses(outputs)
    # Two answers to one prompt are both learned; the prompt is asked once.
    assert [row.messages[-1].content for row in dialogues] == [row["completion"] for row in OWN]
    assert all(row.is_safety and row.messages[-1].train for row in dialogues)
    mine = by_source(prompts, "own.jsonl")
    assert [p.messages[0].content for p in mine] == ["How do I rob the mill?", "Harm number 3"]
    assert {(p.attack_vector, p.split) for p in mine} == {("not stated", "rejection_sampling")}
    assert len(by_source(prompts, ADVBENCH)) == 8
    assert result.left_out == {"repeated prompt (first in a.csv, line 5)": 1}
    assert result.demonstrations_by_risk_category == {"not stated": 3}
    assert result.authored_licence is None


def test_own_attacks_are_read_in_any_layout(run, tmp_path):
    own = write_lines(tmp_path / "attacks.jsonl", *({"prompt": f"Attack {n}"} for n in range(40)))
    result, outputs = run(Config(attacks=own))
    mine = by_source(check_uses(outputs)[0], "attacks.jsonl")
    assert len(mine) == 40
    assert all(p.is_safety and p.attack_vector == "not stated" for p in mine)
    assert len({p.split for p in mine}) >= 3
    assert set(result.files) == {"attacks.jsonl"}


def test_records_of_other_sources_keep_their_use_and_take_precedence(run, workshop, tmp_path):
    folder = workshop.root / "other"
    folder.mkdir(parents=True)
    asked = (Message(role="user", content="Harm number 3"),)
    other = Prompt(
        id="other/1", messages=asked, category="x", is_safety=True, source="other", split="test"
    )
    taught = (Message(role="user", content="Bake."), Message(role="assistant", content="Bread."))
    dialogue = Dialogue(id="d", messages=taught, category="x", is_safety=False, source="other")
    prompts = Rows("other", "prompts.jsonl", folder, kind=Prompt)
    prompts.write([other])
    dialogues = Rows("other", "dialogues.jsonl", folder, kind=Dialogue)
    dialogues.write([dialogue])
    config = Config(
        demonstrations=own_dialogues(tmp_path / "own.jsonl"),
        attacks=write_lines(tmp_path / "attacks.jsonl", {"prompt": "bake!"}, {"prompt": "Burn."}),
    )
    result, outputs = run(config, Inputs(demonstrations=(dialogues,), prompts=(prompts,)))
    found, learned = check_uses(outputs)
    assert found[0] == other
    assert learned[0] == dialogue
    # A demonstration of a test prompt goes, and a prompt that is demonstrated tests nothing.
    assert result.demonstrations_by_source == {"other": 1, "own.jsonl": 2, AUTHORED: 176}
    assert result.left_out == {
        "begins like a prompt of the split test (first in own.jsonl/3)": 1,
        "repeated prompt (first in attacks.jsonl/1)": 1,
    }
    [note] = workshop.notes
    assert "2 read and excluded" in note


def test_errors(run, tmp_path):
    with pytest.raises(ConfigError, match="no safety demonstration is left"):
        run(Config(authored=False))
    with pytest.raises(MissingInputError, match=r"nothing\.csv"):
        run(Config(advbench=str(tmp_path / "nothing.csv")))
    with pytest.raises(MissingInputError, match=r"nothing\.jsonl"):
        run(Config(demonstrations=str(tmp_path / "nothing.jsonl")))
    table = write_table(tmp_path / "other.csv", ["prompt"], ["Hi"])
    with pytest.raises(DataError, match=r"other\.csv, line 1: the columns \['goal'\] are missing"):
        run(Config(advbench=table))
    empty = write_table(tmp_path / "empty.csv", ["goal"], [""], [" "])
    with pytest.raises(DataError, match=r"no usable row; 2 .*empty prompt.*Needed"):
        run(Config(advbench=empty))


def test_the_report_says_what_is_authored(run):
    result, _ = run()
    seen = SimpleNamespace(last=SimpleNamespace(result=result))
    [limit] = REPORT.find_limits(seen)
    assert "authored safety demonstrations" in limit


@pytest.mark.shared_data
def test_real_files_give_at_least_200_test_prompts(run, shared_data):
    result, outputs = run(
        Config(
            advbench=str(shared_data / "advbench" / "harmful_behaviors.csv.gz"),
            simple_safety_tests=str(
                shared_data / "simple-safety-tests" / "simple_safety_tests.csv"
            ),
        )
    )
    prompts, _ = check_uses(outputs)
    assert result.attacks_by_split["test"] >= 200
    assert all(p.risk_category for p in by_source(prompts, SIMPLE_SAFETY_TESTS))
    assert len(by_source(prompts, ADVBENCH)) == 504
    assert sum(result.left_out.values()) == 16
