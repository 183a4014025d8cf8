"""Own data as a stage: what is read, divided, counted, and what it says of mistakes."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from camelid.data.own_uses import key_of
from camelid.errors import ConfigError, DataError, MissingInputError
from camelid.run.stage import NoInputs
from camelid.sources.own_data import OWN_DATA, Config, Outputs, files, uses


def rows(path, found):
    path.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    return str(path)


@pytest.fixture
def given(tmp_path):
    """Files of every kind, of conversations of their own."""
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text(
        "\n\n".join(f"Paragraph {n}\nof two lines." for n in range(40)), encoding="utf-8"
    )
    pairs = [{"prompt": f"Which {n}?", "chosen": "This.", "rejected": "That."} for n in range(40)]
    both = [{**row, "kind": "safety"} for row in pairs[:12]]
    return {
        "text": str(tmp_path / "text"),
        "demonstrations": rows(
            tmp_path / "dialogues.jsonl",
            [{"instruction": f"Say {n}.", "output": str(n)} for n in range(30)] * 2,
        ),
        "comparisons": rows(tmp_path / "pairs.jsonl", pairs + both),
        "safety_comparisons": str(tmp_path / "pairs.jsonl"),
        "prompts": rows(tmp_path / "prompts.jsonl", [f"Tell {n}." for n in range(40)]
                        + ["Which 3?", "Say 4."]),
    }  # fmt: skip


@pytest.fixture
def read(tmp_path):
    def read_one(**config):
        outputs = Outputs("own_data", tmp_path / "out")
        outputs.corpus.path.parent.mkdir()
        config = Config(document_characters=20, text_held_out=0.1, **config)
        result = OWN_DATA.runner()(config, NoInputs(), outputs, SimpleNamespace(name="own_data"))
        return result, outputs

    return read_one


def test_everything_that_is_given_is_divided(given, read):
    result, outputs = read(**given)
    trained, held_out = ([*place.documents()] for place in (outputs.corpus, outputs.validation))
    assert {*trained, *held_out} == {f"Paragraph {n}\nof two lines." for n in range(40)}
    assert len(trained) + len(held_out) == 40
    assert 0 < len(held_out) < 15
    assert result.documents == {"a": len(trained)}
    assert result.characters == sum(map(len, trained))
    assert result.demonstrations + result.demonstrations_held_out == 30
    assert result.demonstrations_repeated == 30
    uses_of = {
        name: place.read()
        for name, place in (
            ("train", outputs.preferences),
            ("guard", outputs.guard_preferences),
            ("test", outputs.test_preferences),
        )
    }
    for kind, count in (("helpfulness", 40), ("safety", 12)):
        assert sum(row.kind == kind for found in uses_of.values() for row in found) == count
        assert all(any(row.kind == kind for row in found) for found in uses_of.values())
    prompts = outputs.prompts.read()
    assert len(prompts) == 41
    assert {p.split for p in prompts} == {"rejection_sampling", "ppo", "validation", "test"}
    assert result.prompts_left_out == {"the conversation is among the comparisons": 1}
    [shown] = [p for p in prompts if p.messages[0].content == "Say 4."]
    learned = {key_of(d.messages) for d in outputs.demonstrations.read()}
    assert shown.split in ("rejection_sampling", "ppo") or key_of(shown.messages) not in learned
    # One file of both kinds, named twice: each option takes its own and counts the other.
    first, second = [file for file in result.files if file.use == "comparisons"]
    assert (first.used, second.used) == (40, 12)
    assert first.left_out == {"of another kind than helpfulness": 12}
    assert second.left_out == {"of another kind than safety": 40}


def test_without_prompts_a_part_of_the_comparisons_is_asked(given, read):
    result, outputs = read(comparisons=given["comparisons"])
    asked = {key_of(p.messages) for p in outputs.prompts.read()}
    compared = {
        key_of(row.prompt)
        for place in (outputs.preferences, outputs.guard_preferences, outputs.test_preferences)
        for row in place.read()
    }
    assert len(asked) + len(compared) == 40
    assert not asked & compared
    assert not outputs.demonstrations.exists
    assert sum(result.prompts_by_split.values()) == len(asked)


def test_an_imitation_learns_from_comparisons_that_no_other_stage_reads(given, read):
    _, outputs = read(comparisons=given["comparisons"], prompts=given["prompts"], imitated=True)
    uses_of = {
        place.name: {key_of(row.prompt) for row in place.read()}
        for place in (
            outputs.preferences,
            outputs.guard_preferences,
            outputs.test_preferences,
            outputs.imitation_preferences,
        )
    }
    # Half as many again as the others together would be the shares 0.75, 0.15, 0.1 and 0.5.
    assert len(uses_of["imitation_preferences.jsonl"]) == 13
    assert sum(map(len, uses_of.values())) == 40 == len(set.union(*uses_of.values()))


def test_upsampling_counts_in_training_and_not_in_validation(given, read):
    result, outputs = read(text=given["text"], upsampled=("a=3",))
    trained = [*outputs.corpus.documents()]
    assert result.documents == {"a": 3 * len({*trained})}
    assert len([*outputs.validation.documents()]) == result.documents_held_out
    assert not {*trained} & {*outputs.validation.documents()}


def test_the_report_names_files_and_uses(given, read):
    result, _ = read(**given)
    seen = SimpleNamespace(last=SimpleNamespace(result=result, config=Config()))
    assert {row[0] for row in files(seen).rows} == {
        "a", "dialogues.jsonl", "pairs.jsonl", "prompts.jsonl"
    }  # fmt: skip
    assert dict(uses(seen).rows)["demonstrations, exact repeats left out"] == 30


def test_mistakes_are_named(given, read, tmp_path):
    empty = rows(tmp_path / "pairs2.jsonl",
                 [{"prompt": "a", "chosen": "b", "rejected": "c", "kind": "safety"}])  # fmt: skip
    for config, error, said in (
        ({}, MissingInputError, r"own_data: no file is named"),
        ({"comparisons": empty}, DataError, r"no comparison of helpfulness, which --comparisons"),
        ({"text": given["text"], "upsampled": ("b=1",)}, ConfigError, r"'b=1' names no part"),
        ({"text": given["text"], "upsampled": ("a=0",)}, DataError, r"no document is left"),
        ({"demonstrations": rows(tmp_path / "one.jsonl", [{"instruction": "a", "output": "b"}])},
         DataError, r"demonstrations: 1 conversations"),
    ):  # fmt: skip
        with pytest.raises(error, match=said):
            read(**config)
        (tmp_path / "out" / "x").parent.rename(tmp_path / f"out{abs(hash(said))}")
