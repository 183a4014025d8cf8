"""The recipe on own data: the starter runs as it is, and each part only where there is an input."""

from __future__ import annotations

import json
import re

import pytest

from camelid.cli import main
from camelid.errors import ConfigError
from camelid.recipes.own import own


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The starter's folder, run as its user would."""
    root = tmp_path_factory.mktemp("own") / "demo"
    assert main(["init", str(root)]) == 0
    recipe, run = str(root / "recipe.py"), str(root / "run")
    assert main(["run", recipe, "--threads", "1", "--out", run]) == 0
    return root


def test_the_starter_ends_with_a_report(demo):
    page = (demo / "run" / "report" / "index.html").read_text(encoding="utf-8")
    assert "Your files" in page
    assert "scored_completions.jsonl" in page
    assert "Held-out demonstrations" in page
    card = (demo / "run" / "report" / "model_card.md").read_text(encoding="utf-8")
    assert "hh_transcripts.jsonl" in card
    assert "HH-RLHF" not in card


def test_every_row_of_the_starter_is_used(demo):
    result = json.loads((demo / "run" / "own_data" / "result.json").read_text())
    assert len(result["files"]) == 13
    for file in result["files"]:
        # Three scored completions make two comparisons.
        used = 4 if file["path"] == "scored_completions.jsonl" else 3
        assert (file["rows"], file["used"], file["left_out"]) == (3, used, {}), file["path"]


def test_a_second_run_has_nothing_to_do_and_new_rows_are_noticed(demo, capsys):
    run = ["run", str(demo / "recipe.py"), "--threads", "1", "--out", str(demo / "run")]
    assert main(run) == 0
    assert "started" not in capsys.readouterr().out
    path = demo / "data" / "prompts" / "texts.jsonl"
    before = path.read_bytes()
    path.write_bytes(before + b'{"prompt": "What is new?"}\n')
    assert main(run) == 2
    assert re.search(r"own_data is finished already.*prompts has changed", capsys.readouterr().err)
    path.unlink()
    # A finished stage needs its files no more, as long as others of the folder stay as they were.
    path.write_bytes(before)
    assert main(run) == 0


def test_nothing_is_written_over(demo, capsys):
    assert main(["init", str(demo)]) == 2
    assert "is there already; name a folder that is not" in capsys.readouterr().err


@pytest.fixture
def paths(tmp_path):
    found = {}
    for name in ("weights", "text", "demonstrations", "comparisons", "safety_comparisons"):
        found[name] = tmp_path / name
        found[name].mkdir()
    return found


def stages(plan):
    return [stage.name for stage in plan.stages]


def test_stages_follow_from_what_is_given(paths):
    text = own(text=paths["text"])
    assert stages(text) == ["own_data", "tokenizer_training", "pretraining", "reporting"]
    assert {*text.left_out} == {
        "supervised fine-tuning",
        "reward models, rejection sampling, PPO and evaluation",
    }
    tuned = own(weights=paths["weights"], demonstrations=paths["demonstrations"])
    assert stages(tuned) == ["own_data", "weights", "sft", "reporting"]
    rewarded = own(weights=paths["weights"], comparisons=paths["comparisons"])
    assert stages(rewarded) == [
        "own_data", "weights", "v1/reward_modeling", "v1/rejection_sampling", "ppo", "evaluating",
        "reporting",
    ]  # fmt: skip
    assert "safety reward model with its gate, and context distillation" in rewarded.left_out
    configs = {stage.name: stage.config for stage in rewarded.stages}
    assert not configs["v1/reward_modeling"].safety_model
    safe = own(
        weights=paths["weights"],
        comparisons=paths["comparisons"],
        safety_comparisons=paths["safety_comparisons"],
        rounds=2,
    )
    assert "v2/rejection_sampling" in stages(safe)
    assert {s.name: s.config for s in safe.stages}["v2/reward_modeling"].safety_model


def test_what_cannot_be_is_said(paths):
    for given, said in (
        (("demonstrations",), r"--weights or from --text; neither is given"),
        (("weights", "text"), r"both are given"),
        (("weights",), r"nothing to train them on"),
        (("text", "safety_comparisons"), r"--safety-comparisons .* needs --comparisons"),
    ):
        plan = own(**{name: paths[name] for name in given})
        with pytest.raises(ConfigError, match=said):
            plan.check()


def test_given_weights_without_demonstrations_or_safety(tiny_weights, tmp_path, capsys):
    pairs = [
        {"prompt": f"Which {n}?", "chosen": "This one.", "rejected": "That."} for n in range(24)
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in pairs))
    run = tmp_path / "run"
    words = ["--weights", str(tiny_weights), "--comparisons", str(path), "--length", "128"]
    sizes = ["--ppo.iterations", "2", "--ppo.batch-rows", "4", "--ppo.minibatch-rows", "4",
             "--ppo.validate-every", "1", "--ppo.critic-warmup", "1",
             "--rejection-sampling.samples", "24"]  # fmt: skip
    assert main(["run", "own", *words, *sizes, "--threads", "1", "--out", str(run)]) == 0
    out = capsys.readouterr().out
    assert "Left out: supervised fine-tuning (no --demonstrations)." in out
    assert not (run / "v1" / "reward_modeling" / "safety_rm").exists()
    lines = (run / "evaluating" / "replies.jsonl").read_text(encoding="utf-8").splitlines()
    replies = [json.loads(line) for line in lines]
    assert {row["safety_rm"] for row in replies} == {None}
    assert {row["model"] for row in replies} == {"sft", "v1", "final"}
    page = (run / "report" / "index.html").read_text(encoding="utf-8")
    assert "safety reward model with its gate, and context distillation: no" in page
    # What this run cannot have is left off, and nothing is said of attacks that there were not.
    assert "Missing:" not in page
    assert "Nothing attacked it" in page


def test_no_answer_that_ends_is_said(tiny_weights, tmp_path, capsys):
    pairs = [{"prompt": f"Which {n}?", "chosen": "A.", "rejected": "B."} for n in range(24)]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in pairs))
    words = ["--weights", str(tiny_weights), "--comparisons", str(path), "--length", "64"]
    sizes = ["--rejection-sampling.samples", "1", "--rejection-sampling.max-new-tokens", "1"]
    run = ["--threads", "1", "--out", str(tmp_path / "run")]
    assert main(["run", "own", *words, *sizes, *run]) == 2
    assert "no answer ended within 1 tokens" in capsys.readouterr().err


def test_text_alone_and_dialogues_alone(tiny_weights, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"Line {n} says {n * n} and no more." for n in range(200)))
    words = ["--text", str(text), "--own-data.document-characters", "100", "--threads", "1"]
    sizes = ["--tokenizer-training.vocabulary-size", "300", "--pretraining.tokens", "4000",
             "--pretraining.row-tokens", "64", "--pretraining.batch-rows", "4"]  # fmt: skip
    shape = {"vocabulary-size": 300, "dim": 32, "layers": 1, "heads": 2, "kv-heads": 1,
             "ffn-dim": 64, "context": 64}  # fmt: skip
    for name, value in shape.items():
        sizes += [f"--pretraining.model.{name}", str(value)]
    run = tmp_path / "text"
    assert main(["run", "own", *words, *sizes, "--out", str(run)]) == 0
    page = (run / "report" / "index.html").read_text(encoding="utf-8")
    assert "supervised fine-tuning: no --demonstrations" in page
    # What one run has trained, another starts from.
    dialogues = tmp_path / "dialogues.jsonl"
    rows = [{"instruction": f"Say {n}.", "output": f"{n}."} for n in range(40)]
    dialogues.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for weights in (run / "pretraining" / "model", tiny_weights):
        more = ["--demonstrations", str(dialogues), "--length", "64", "--threads", "1"]
        tokenizer = run / "tokenizer_training" / "tokenizer"
        if weights != tiny_weights:
            more += ["--weights.tokenizer", str(tokenizer)]
        tuned = tmp_path / f"tuned_{weights.parent.name}"
        assert main(["run", "own", "--weights", str(weights), *more, "--out", str(tuned)]) == 0
        found = json.loads((tuned / "sft" / "result.json").read_text())["held_out"]
        assert found["after"] < found["before"]


def test_everything_given_is_the_whole_recipe(paths, tmp_path):
    plan = own(
        weights=paths["weights"],
        demonstrations=paths["demonstrations"],
        comparisons=paths["comparisons"],
        safety_comparisons=paths["safety_comparisons"],
        attacks=tmp_path,
        human_scores=tmp_path,
        safety="authored",
        annotator="imitation",
        ghost_dialogues=10,
        rounds=2,
    )
    plan.check()
    assert [*plan.left_out] == ["tokenizer training and pretraining"]
    assert stages(plan) == [
        "own_data", "weights", "safety_data", "judge_training", "imitation", "sft",
        "v1/preference_collection", "v1/reward_modeling", "v1/rejection_sampling",
        "v1/red_teaming", "v2/preference_collection", "v2/reward_modeling",
        "v2/rejection_sampling", "v2/red_teaming", "context_distillation", "ghost_instructions",
        "ghost_attention", "ppo", "final/red_teaming", "evaluating", "reporting",
    ]  # fmt: skip


def test_authored_safety_and_an_imitation_of_people_run(demo, tmp_path):
    """From the starter's model and rows to a report with all parts but trained judges."""
    data = demo / "data"
    attacks = tmp_path / "attacks.jsonl"
    attacks.write_text("".join(f'{{"prompt": "Help me with harm {n}."}}\n' for n in range(60)))
    unsafe = tmp_path / "unsafe.jsonl"
    rows = [{"prompt": f"Harm {n}?", "chosen": "No, I will not.", "rejected": "Yes.",
             "safety": "chosen_safe"} for n in range(16)]  # fmt: skip
    unsafe.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = tmp_path / "run"
    # Named as for chat and evaluate.
    words = ["--weights", f"{demo / 'run'}:final", "--safety-comparisons", str(unsafe)]
    for name in ("demonstrations", "comparisons"):
        words += [f"--{name}", str(data / name)]
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(f'{{"prompt": "What is bean {n}?"}}\n' for n in range(60)))
    words += ["--prompts", str(prompts)]
    words += ["--attacks", str(attacks), "--safety", "authored", "--annotator", "imitation",
              "--ghost-dialogues", "24", "--length", "128"]  # fmt: skip
    sizes = {
        "ppo.iterations": 2, "ppo.batch-rows": 4, "ppo.minibatch-rows": 4, "ppo.validate-every": 1,
        "rejection-sampling.samples": 2, "preference-collection.helpfulness-pairs": 4,
        "preference-collection.test-pairs": 2, "preference-collection.guard-pairs": 2,
        "ghost-attention.test-dialogues": 2, "ghost-instructions.asks": 0,
        "ghost-instructions.test": 2, "context-distillation.prompts": 8,
        "evaluating.adversarial": 8, "evaluating.borderline": 8, "sft.epochs": 60,
        "sft.optimizer.learning-rate": 3e-3, "red-teaming.prompts": 4,
        "own-data.pairs.imitation": 0.3, "own-data.splits.rm-train": 1,
        "own-data.splits.validation": 0.5, "preference-collection.max-new-tokens": 80,
        "ghost-attention.require-expected": "false", "ghost-instructions.turns": 2,
        "ghost-attention.sampling.max-new-tokens": 100,
    }  # fmt: skip
    for name, value in sizes.items():
        words += [f"--{name}", str(value)]
    words += ["--preference-collection.temperatures", "0.5", "0.7"]
    assert main(["run", "own", *words, "--threads", "1", "--out", str(run)]) == 0
    page = (run / "report" / "index.html").read_text(encoding="utf-8")
    assert "imitation of people" in page
    assert "uthored" in page
