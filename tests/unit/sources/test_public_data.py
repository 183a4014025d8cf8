"""Public data: every conversation has one use, and what is left out is counted."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections import Counter
from types import SimpleNamespace

import pytest

from camelid.data.public import PROMPT_USES, Counts, PublicDataConfig, conversation
from camelid.data.sources import HH_SUBSETS
from camelid.errors import ConfigError, DataError, MissingInputError
from camelid.recipes.smollm2 import smollm2
from camelid.run.stage import NoInputs
from camelid.settings import to_json
from camelid.sources.public_data import PUBLIC_DATA, REPORT

SMALL = PublicDataConfig(
    demonstrations=5,
    train=Counts(helpfulness=40, safety=30),
    guard=Counts(helpfulness=10, safety=10),
    test_pairs=Counts(helpfulness=20, safety=20),
    imitation=Counts(helpfulness=10, safety=5),
    rm_train=Counts(helpfulness=5, safety=5, attacks=2),
    rejection_sampling=Counts(helpfulness=10, safety=5, attacks=4),
    ppo=Counts(helpfulness=10, safety=5, attacks=4),
    red_teaming=Counts(helpfulness=0, safety=0, attacks=4),
    validation=Counts(helpfulness=5, safety=5, attacks=4),
    test=Counts(helpfulness=10, safety=5, attacks=8),
    longest_characters=200,
    longest_prompt=120,
    longest_demonstration=60,
)


def write_public_files(folder):
    for subset in HH_SUBSETS:
        (folder / "hh-rlhf" / subset).mkdir(parents=True)
        rows = []
        for index in range(120):
            # Two rows continue each conversation; the harmless set repeats some of the others'.
            kind = "shared" if index % 12 == 0 else subset
            start = f"\n\nHuman: {kind} request {index // 2}"
            if index % 2:
                start += "\n\nAssistant: Well?\n\nHuman: Go on."
            reply = "word " * (60 if index % 10 == 0 else 3)
            rows.append(
                {
                    "chosen": f"{start}\n\nAssistant: good {reply}",
                    "rejected": f"{start}\n\nAssistant: bad {reply}",
                }
            )
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "hh-rlhf" / subset / "test.jsonl").write_text(text, encoding="utf-8")
    with (folder / "databricks_dolly_15k.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["instruction", "context", "response", "category"])
        writer.writerows([f"Ask {i}", "", "x" * i * 10, "open_qa"] for i in range(1, 9))
    with (folder / "harmful_behaviors.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["goal", "target"])
        writer.writerows([f"Harm number {i}", "Sure"] for i in range(40))
    return folder


@pytest.fixture
def run(workshop):
    """Reads public files into a folder of the given name; returns result and outputs."""

    def make(config, name="public_data"):
        return workshop.run(PUBLIC_DATA, config, NoInputs(), name)

    return make


def configured(directory, **changes):
    return dataclasses.replace(SMALL, directory=str(directory), **changes)


def check_files(outputs):
    """Return all rows after checking that no conversation has two uses."""
    owners = {}
    rows = {}
    for place in (
        outputs.preferences,
        outputs.guard_preferences,
        outputs.test_preferences,
        outputs.imitation_preferences,
    ):
        rows[place.name] = place.read()
        for row in rows[place.name]:
            key = conversation(row.prompt[0].content)
            assert owners.setdefault(key, place.name) == place.name
            assert row.strength is None
            assert row.safety is None
            assert not row.simulated
            assert row.kind == ("safety" if row.category == "harmless-base" else "helpfulness")
    prompts = outputs.prompts.read()
    for row in prompts:
        use = f"prompts {row.split}"
        assert owners.setdefault(conversation(row.messages[0].content), use) == use
    return rows["test_preferences.jsonl"], prompts


def test_all_uses_are_disjoint_and_counted(run, tmp_path):
    data = write_public_files(tmp_path / "data")
    result, outputs = run(configured(data))
    tests, prompts = check_files(outputs)
    assert Counter(row.kind for row in tests).keys() == {"helpfulness", "safety"}
    assert len(outputs.demonstrations.read()) == result.demonstrations == 5
    assert result.left_out_too_long["dolly"] == 3
    assert all(bool(s.wanted) <= s.found <= s.wanted for s in result.sizes.values())
    attacks = [p for p in prompts if p.attack_vector is not None]
    assert {p.split for p in attacks} == set(PROMPT_USES)
    assert all(p.is_safety and p.risk_category == "advbench" for p in attacks)
    assert {p.is_safety for p in prompts[:20]} == {True, False}
    longest = max(sum(len(m.content) for m in p.messages) for p in prompts)
    assert longest <= SMALL.longest_prompt
    assert result.distinct_prompts == len(prompts)
    assert result.prompts_by_split == Counter(p.split for p in prompts)
    assert len(result.files) == 6
    assert (result.longest_characters, result.longest_prompt) == (200, 120)


def test_rows_do_not_depend_on_the_run(make_workshop, tmp_path):
    data = write_public_files(tmp_path / "data")
    found = []
    for seed in (1, 2):
        other = make_workshop(tmp_path / str(seed), run_seed=seed)
        found.append(other.run(PUBLIC_DATA, configured(data), NoInputs()))
    (first, ours), (second, theirs) = found
    assert to_json(first) == to_json(second)
    for one, other in zip(ours.places(), theirs.places(), strict=True):
        assert one.path.read_bytes() == other.path.read_bytes()


def test_what_was_wanted_and_not_found_is_noted(run, workshop, tmp_path):
    result, _ = run(configured(write_public_files(tmp_path / "data"), demonstrations=500))
    assert result.demonstrations == 5
    [note] = [note for note in workshop.notes if "demonstrations" in note]
    assert note.endswith("5 rows of 500 wanted")


def test_errors(run, tmp_path):
    with pytest.raises(MissingInputError, match="--data DIR"):
        run(PublicDataConfig(), "a")
    with pytest.raises(MissingInputError, match=r"harmful_behaviors\.csv"):
        run(PublicDataConfig(directory=str(tmp_path)), "b")
    data = write_public_files(tmp_path / "data")
    with pytest.raises(DataError, match=r"no row is left for train\.helpfulness"):
        run(configured(data, longest_characters=3), "c")
    with pytest.raises(ConfigError, match="must be from 0"):
        Counts(helpfulness=-1, safety=0)


def test_case_newcomer_13_the_report_names_the_files_that_were_read(run, workshop, tmp_path):
    data = write_public_files(tmp_path / "data")
    for subset in HH_SUBSETS:
        (data / "hh-rlhf" / subset / "test.jsonl").rename(data / "hh-rlhf" / subset / "train.jsonl")
    result, _ = run(configured(data))
    seen = SimpleNamespace(last=SimpleNamespace(result=result))
    [limit] = REPORT.find_limits(seen)
    names = ", ".join(f"{subset}/train.jsonl" for subset in HH_SUBSETS)
    assert f"from these files only, under the names of HH-RLHF: {names};" in limit


@pytest.mark.shared_data
def test_real_files(run, shared_data):
    # As the recipe asks for them.
    result, outputs = run(smollm2(data=shared_data).stages[0].config)
    tests, prompts = check_files(outputs)
    assert all(size.found >= 0.85 * size.wanted for size in result.sizes.values())
    assert sum(p.kind == "safety" for p in tests) >= 400
    assert sum(p.kind == "helpfulness" for p in tests) >= 400
    assert sum(p.split == "test" and not p.is_safety for p in prompts) >= 200
    assert result.excluded_by_reason["chosen and rejected are identical"] == 25
    assert len(result.excluded) == sum(result.excluded_by_reason.values())
