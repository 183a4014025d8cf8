import csv
import json

import pytest

from camelid.data.records import Dialogue, Preference, Prompt
from camelid.data.sources import HH_SUBSETS
from camelid.errors import ConfigError, DataError, MissingInputError
from camelid.run.progress import RunProgress
from camelid.run.rows import read_records
from camelid.run.stage import StageContext
from camelid.sources.public_data import PROMPT_USES, Config, Counts, conversation, run

SMALL = Config(
    demonstrations=5,
    train=Counts(helpfulness=40, safety=30),
    guard=Counts(helpfulness=10, safety=10),
    test_pairs=Counts(helpfulness=20, safety=20),
    rejection_sampling=Counts(helpfulness=10, safety=5, attacks=4),
    ppo=Counts(helpfulness=10, safety=5, attacks=4),
    red_teaming=Counts(helpfulness=0, safety=0, attacks=4),
    validation=Counts(helpfulness=5, safety=5, attacks=4),
    test=Counts(helpfulness=10, safety=5, attacks=8),
    longest_characters=200,
    longest_prompt=120,
    longest_demonstration=60,
)


def context(folder):
    folder.mkdir()
    return StageContext(
        name="data",
        root=folder,
        out=folder,
        work=folder / "work",
        seed=1,
        run_seed=1,
        progress=RunProgress(),
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


def configured(directory, base=SMALL, **changes):
    values = {name: getattr(base, name) for name in base.__dataclass_fields__}
    return Config(**{**values, "directory": str(directory), **changes})


def check_files(out):
    """Return all rows after checking that no conversation has two uses."""
    owners = {}
    rows = {}
    for use in ("preferences", "guard_preferences", "test_preferences"):
        rows[use] = read_records(out / f"{use}.jsonl", Preference)
        for row in rows[use]:
            assert owners.setdefault(conversation(row.prompt[0].content), use) == use
            assert row.strength is None
            assert row.safety is None
            assert not row.simulated
            assert row.kind == ("safety" if row.category == "harmless-base" else "helpfulness")
    rows["prompts"] = read_records(out / "prompts.jsonl", Prompt)
    for row in rows["prompts"]:
        use = f"prompts {row.split}"
        assert owners.setdefault(conversation(row.messages[0].content), use) == use
    rows["demonstrations"] = read_records(out / "demonstrations.jsonl", Dialogue)
    return rows


def test_all_uses_are_disjoint_and_counted(tmp_path):
    data = write_public_files(tmp_path / "data")
    result = run(configured(data), context(tmp_path / "run"))
    rows = check_files(tmp_path / "run")
    assert len(rows["demonstrations"]) == 5
    assert result["left_out_too_long"]["dolly"] == 3
    assert all(size["found"] <= size["wanted"] for size in result["sizes"].values())
    attacks = [p for p in rows["prompts"] if p.attack_vector is not None]
    assert {p.split for p in attacks} == set(PROMPT_USES)
    assert all(p.is_safety and p.risk_category == "advbench" for p in attacks)
    kinds = {p.is_safety for p in rows["prompts"][:20]}
    assert kinds == {True, False}
    longest = max(sum(len(m.content) for m in p.messages) for p in rows["prompts"])
    assert longest <= SMALL.longest_prompt
    assert "test splits" in result["note"]
    assert len(result["files"]) == 6


def test_rows_do_not_depend_on_the_run(tmp_path):
    data = write_public_files(tmp_path / "data")
    for name in ("a", "b"):
        run(configured(data), context(tmp_path / name))
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_errors(tmp_path):
    with pytest.raises(MissingInputError, match="--data DIR"):
        run(Config(), context(tmp_path / "a"))
    with pytest.raises(MissingInputError, match=r"harmful_behaviors\.csv"):
        run(Config(directory=str(tmp_path)), context(tmp_path / "b"))
    data = write_public_files(tmp_path / "data")
    with pytest.raises(DataError, match=r"no row is left for train\.helpfulness"):
        run(configured(data, longest_characters=3), context(tmp_path / "c"))
    with pytest.raises(ConfigError, match="negative"):
        Counts(helpfulness=-1, safety=0)


@pytest.mark.shared_data
def test_real_files(tmp_path, shared_data):
    result = run(Config(directory=str(shared_data)), context(tmp_path / "run"))
    rows = check_files(tmp_path / "run")
    tests = rows["test_preferences"]
    assert sum(p.kind == "safety" for p in tests) >= 400
    assert sum(p.kind == "helpfulness" for p in tests) >= 400
    assert sum(p.split == "test" and not p.is_safety for p in rows["prompts"]) >= 200
    assert result["excluded_by_reason"]["chosen and rejected are identical"] == 25
    assert len(result["excluded"]) == sum(result["excluded_by_reason"].values())
