"""What single stages decide: who is trained on what, what is counted, when they stop."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest

from camelid.data.records import STRENGTHS, RolloutSummary
from camelid.errors import ConfigError, DataError
from camelid.formats.folder import load_transformer
from camelid.inference.replies import ModelResponder
from camelid.inference.sampling import Sampling
from camelid.methods.ghost_attention import as_ppo_prompts
from camelid.methods.rejection_sampling import best_demonstrations
from camelid.methods.rewards import load_rewards
from camelid.model.config import ModelConfig
from camelid.run.files import hash_file
from camelid.stages import ppo, reward_modeling
from camelid.stages.ppo import stage as ppo_stage
from camelid.stages.reward_modeling.stage import strong_enough
from camelid.train.config import OptimizerConfig


def weights(place):
    return hash_file(place.path / "model.safetensors")


def in_another_folder(workshop):
    """A stage that is run again with other settings must not go on where it was."""
    return replace(workshop, root=workshop.root.with_name("other"))


# --- Pretraining and fine-tuning ---


def test_pretraining_needs_the_vocabulary_of_the_tokenizer(tiny_run, workshop):
    shape = replace(tiny_run.stages["pretraining"].config.model, vocabulary_size=600)
    with pytest.raises(ConfigError, match=r"vocabulary_size is 600, the tokenizer has 512 ids"):
        tiny_run.again(workshop, "pretraining", config={"model": shape})


def test_pretraining_validates_every_so_many_steps_and_at_the_end(tiny_run):
    outputs, result = tiny_run.outputs("pretraining"), tiny_run.results["pretraining"]
    assert [row.step for row in outputs.validation.read()] == [2, 4, 6, 8, 9]
    assert [row.step for row in outputs.metrics.read()] == list(range(1, 10))
    # The tokens wanted, rounded up to whole steps.
    assert result.steps == 9
    config = tiny_run.stages["pretraining"].config
    assert config.tokens <= result.tokens < config.tokens + result.tokens / result.steps
    assert isinstance(config.model, ModelConfig)
    model = load_transformer(outputs.model.path)
    assert sum(p.numel() for p in model.parameters()) == result.parameters


def test_sft_keeps_the_model_after_its_first_epoch(tiny_run, workshop):
    result, outputs = tiny_run.results["sft"], tiny_run.outputs("sft")
    assert result.fine_tuning.steps == 2 * (result.fine_tuning.steps // 2)
    assert weights(outputs.epoch1) != weights(outputs.model)
    demonstrations = tiny_run.outputs("world_data").demonstrations.read()
    assert result.safety_dialogues == sum(d.is_safety for d in demonstrations) > 0
    # The embeddings stay where the settings say so.
    base = load_transformer(tiny_run.outputs("pretraining").model.path)
    tuned = load_transformer(outputs.model.path)
    assert base.tok_embeddings.weight.equal(tuned.tok_embeddings.weight)
    # One epoch with the schedule of one: first and last model are the same.
    _, one = tiny_run.again(workshop, "sft", config={"epochs": 1})
    assert weights(one.epoch1) == weights(one.model) != weights(outputs.epoch1)


# --- Reward models ---


def test_without_guard_comparisons_there_is_no_guard(tiny_run, workshop):
    name = "v1/reward_modeling"
    result, outputs = tiny_run.again(workshop, name, guard_preferences=())
    assert result.guard_rm is None
    assert not outputs.guard_rm.exists
    assert not outputs.metrics_guard.exists
    for rows in (outputs.test_scores.read(), outputs.drafted_scores.read()):
        [scored] = {tuple(row.chosen_scores) for row in rows}
        assert scored == ("helpfulness_rm", "safety_rm")
    # The others do not depend on it.
    theirs = tiny_run.outputs(name)
    assert weights(outputs.helpfulness_rm) == weights(theirs.helpfulness_rm)
    assert weights(outputs.safety_rm) == weights(theirs.safety_rm)


def test_the_newest_comparisons_count_more_once_there_are_several_rounds(tiny_run, workshop):
    name = "v1/reward_modeling"
    _, rows = tiny_run.stages[name].inputs.preferences
    first = rows.at(tiny_run.root).read()
    config = {"newest_factor": 3, "helpfulness_share": 1.0}
    one, _ = tiny_run.again(workshop, name, config=config, preferences=(rows,))
    assert one.helpfulness_rm.pairs == sum(p.kind == "helpfulness" for p in first) == 10
    second = replace(rows, name="second.jsonl")
    try:
        second.at(tiny_run.root).write(
            replace(p, id=f"second/{p.id}", round=2) for p in first if p.kind == "helpfulness"
        )
        two, _ = tiny_run.again(
            in_another_folder(workshop), name, config=config, preferences=(rows, second)
        )
    finally:
        second.at(tiny_run.root).path.unlink(missing_ok=True)
    assert two.helpfulness_rm.pairs == 10 + 3 * 10


def test_comparisons_too_long_for_a_reward_model_are_counted(tiny_run, workshop):
    longest = 60
    result, outputs = tiny_run.again(workshop, "v1/reward_modeling", config={"longest": longest})
    before = tiny_run.results["v1/reward_modeling"]
    assert result.helpfulness_rm.too_long > 0
    assert (
        result.helpfulness_rm.pairs + result.helpfulness_rm.too_long == before.helpfulness_rm.pairs
    )
    assert sum(result.helpfulness_rm.kinds.values()) == result.helpfulness_rm.pairs
    assert result.test_too_long > 0
    kept = len(outputs.test_scores.read()) + len(outputs.drafted_scores.read())
    asked = tiny_run.outputs("v1/preference_collection").test_preferences.read()
    drafted = tiny_run.outputs("world_data").drafted_pairs.read()
    assert kept + result.test_too_long == len(asked) + len(drafted)
    assert any("held-out comparisons" in note and "too long" in note for note in workshop.notes)
    with pytest.raises(DataError, match="no comparison for helpfulness_rm fits 5 tokens"):
        tiny_run.again(in_another_folder(workshop), "v1/reward_modeling", config={"longest": 5})


def comparison(strength):
    return SimpleNamespace(strength=strength)


@pytest.mark.parametrize(
    ("weakest", "kept"),
    [
        (None, [*STRENGTHS, None]),
        ("negligibly_better", [*STRENGTHS, None]),
        ("slightly_better", [*STRENGTHS[:3], None]),
        ("better", [*STRENGTHS[:2], None]),
        ("significantly_better", ["significantly_better", None]),
    ],
)
def test_comparisons_of_at_least_a_strength_are_kept_in_their_order(weakest, kept):
    mix = [comparison(strength) for strength in (*STRENGTHS, None, *reversed(STRENGTHS))]
    found = [c.strength for c in strong_enough(mix, weakest)]
    assert found == [*kept, *reversed([strength for strength in kept if strength])]


def test_weak_comparisons_are_left_out_of_training_only(tiny_run, workshop):
    name = "v1/reward_modeling"
    _, rows = tiny_run.stages[name].inputs.preferences
    varied = replace(rows, name="varied.jsonl")
    given = rows.at(tiny_run.root).read()
    assert Counter(p.kind for p in given) == {"helpfulness": 10, "safety": 8}
    at = Counter()
    try:
        made = []
        for preference in given:
            strength = STRENGTHS[at[preference.kind] % 4]
            at[preference.kind] += 1
            made.append(replace(preference, strength=strength))
        varied.at(tiny_run.root).write(made)
        config = {"helpfulness_share": 1.0, "safety_share": 1.0}
        whole, all_outputs = tiny_run.again(workshop, name, config=config, preferences=(varied,))
        result, outputs = tiny_run.again(
            in_another_folder(workshop),
            name,
            config=config | {"weakest": "better"},
            preferences=(varied,),
        )
    finally:
        varied.at(tiny_run.root).path.unlink(missing_ok=True)
    # Of ten: 3, 3, 2, 2 from the strongest on; of eight two each.
    for with_all, trained, total, weak in (
        (whole.helpfulness_rm, result.helpfulness_rm, 10, 4),
        (whole.safety_rm, result.safety_rm, 8, 4),
    ):
        assert (with_all.pairs, with_all.too_weak) == (total, 0)
        assert (trained.pairs, trained.too_weak) == (total - weak, weak)
    # Those that are tested on stay the same.
    tested = all_outputs.test_scores.read()
    assert [row.id for row in outputs.test_scores.read()] == [row.id for row in tested]


def test_drafted_pairs_are_scored_with_their_fault_and_change_nothing_else(tiny_run, workshop):
    name = "v1/reward_modeling"
    ours = tiny_run.outputs(name)
    pairs = {pair.id: pair for pair in tiny_run.outputs("world_data").drafted_pairs.read()}
    rows = ours.drafted_scores.read()
    assert {row.id for row in rows} <= pairs.keys()
    assert len({row.fault for row in rows}) == 7
    for row in rows:
        pair = pairs[row.id]
        assert (row.fault, row.kind, row.strength) == (pair.fault, pair.kind, None)
        assert (row.chosen, row.rejected) == (pair.chosen, pair.rejected)
        assert set(row.chosen_scores) == {"helpfulness_rm", "safety_rm", "guard_rm"}
    assert {row.fault for row in ours.test_scores.read()} == {None}
    result, without = tiny_run.again(workshop, name, drafted_pairs=None)
    assert not without.drafted_scores.exists
    before = tiny_run.results[name]
    assert result.test_too_long <= before.test_too_long
    assert replace(result, test_too_long=before.test_too_long) == before
    for ours_place, theirs in (
        (ours.helpfulness_rm, without.helpfulness_rm),
        (ours.safety_rm, without.safety_rm),
    ):
        assert weights(ours_place) == weights(theirs)
    assert without.test_scores.read() == ours.test_scores.read()
    assert without.gate.read() == ours.gate.read()


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_shares_of_the_mix_are_checked(share):
    with pytest.raises(ConfigError, match="must be above 0 and at most 1"):
        reward_modeling.Config(
            optimizer=OptimizerConfig(learning_rate=1e-3), helpfulness_share=share
        )


# --- Rejection sampling ---


def test_bests_of_earlier_rounds_are_trained_on_too(tiny_run, given_replies, workshop):
    name = "v1/rejection_sampling"
    first = tiny_run.outputs(name)
    stage = tiny_run.stages[name]
    earlier = stage.outputs().bests
    result, outputs = tiny_run.again(workshop, name, earlier_bests=earlier, round=2)
    ours, theirs = outputs.bests.read(), first.bests.read()
    assert ours[: len(theirs)] == theirs
    assert all(row.id.startswith("best/2/") for row in ours[len(theirs) :])
    assert result.bests_in_pool == len(ours) == 12
    assert result.fine_tuning.dialogues == 12 + stage.config.demonstrations
    # Another round asks other prompts first.
    asked = [
        {row.prompt_id for row in o.samples.read()} for o in (outputs, first)
    ]  # fmt: skip
    assert asked[0] != asked[1]


def test_rejection_sampling_counts_what_it_samples(tiny_run):
    name = "v1/rejection_sampling"
    config, result, outputs = (
        tiny_run.stages[name].config, tiny_run.results[name], tiny_run.outputs(name),
    )  # fmt: skip
    samples = outputs.samples.read()
    assert Counter(row.prompt_id for row in samples).most_common()[-1][1] == config.samples
    assert len(samples) == config.prompts * config.samples
    assert {row.temperature for row in samples} == {result.temperature}
    assert result.temperature in config.temperatures
    [policy] = {row.policy for row in samples}
    assert policy.startswith("sft/model@")
    prompts = {p.id: p for p in tiny_run.outputs("world_data").prompts.read()}
    assert {prompts[row.prompt_id].split for row in samples} == {"rejection_sampling"}
    bests = {d.id.removeprefix("best/1/"): d.messages[-1].content for d in outputs.bests.read()}
    for identity, text in bests.items():
        finished = [s for s in samples if s.prompt_id == identity and s.stop_reason == "stop"]
        assert text == max(finished, key=lambda s: s.reward).text
    tuning = outputs.tuning.read()
    assert len(tuning) == len(config.temperatures) * config.tuning_prompts * config.samples


def test_only_the_best_demonstrations_are_mixed_in(tiny_run, given_replies, workshop):
    name = "v1/rejection_sampling"
    known = tiny_run.outputs("world_data").demonstrations.read()
    all_of_them = tiny_run.outputs(name).demonstrations.read()
    assert len(all_of_them) == tiny_run.stages[name].config.demonstrations == 20
    # In the order of the file, none twice.
    at = [known.index(dialogue) for dialogue in all_of_them]
    assert at == sorted(set(at))
    config = {"demonstrations_kept": 0.5, "demonstrations": None}
    result, outputs = tiny_run.again(workshop, name, config=config)
    kept = outputs.demonstrations.read()
    by_category = Counter(d.category for d in known)
    expected = {c: max(1, round(count / 2)) for c, count in by_category.items()}
    assert Counter(d.category for d in kept) == expected
    assert result.demonstrations == len(kept) == sum(expected.values()) < len(known)
    assert result.fine_tuning.dialogues == len(kept) + result.bests_in_pool
    # Those with the best reward of the round's own reward models.
    runtime = workshop.context().runtime
    inputs = tiny_run.stages[name].inputs.at(tiny_run.root)
    chat = ModelResponder.load(inputs.policy.path, inputs.tokenizer.path, runtime).chat
    assert kept == best_demonstrations(known, chat, load_rewards(inputs.rewards, runtime), 0.5)


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01])
def test_the_share_of_demonstrations_is_checked(tiny_run, share):
    config = tiny_run.stages["v1/rejection_sampling"].config
    with pytest.raises(ConfigError, match=r"demonstrations_kept is .* above 0 and at most 1"):
        replace(config, demonstrations_kept=share)


# --- Controls of rejection sampling ---


@pytest.mark.parametrize("pick", ["random", "judge"])
def test_a_control_is_the_round_with_other_picks(tiny_run, pick):
    name = f"{pick}_pick/pick_control"
    result, outputs = tiny_run.results[name], tiny_run.outputs(name)
    round_ = tiny_run.outputs("v1/rejection_sampling")
    rewarded = round_.bests.read()
    picks = outputs.picks.read()
    by_id = {dialogue.id: dialogue for dialogue in rewarded}
    assert sorted(d.id for d in picks) == sorted(by_id)
    assert result.picks == len(picks)
    samples = round_.samples.read()
    for mine in picks:
        theirs = by_id[mine.id]
        assert mine.messages[:-1] == theirs.messages[:-1]
        finished = {
            s.text
            for s in samples
            if f"best/1/{s.prompt_id}" == mine.id and s.stop_reason == "stop"
        }
        assert {mine.messages[-1].content, theirs.messages[-1].content} <= finished
    stage, of_round = tiny_run.stages[name], tiny_run.stages["v1/rejection_sampling"]
    assert stage.config.fine_tuning == of_round.config.fine_tuning
    assert stage.inputs.base == of_round.inputs.base
    ours, theirs = result.fine_tuning, tiny_run.results["v1/rejection_sampling"].fine_tuning
    assert (ours.dialogues, ours.steps) == (theirs.dialogues, theirs.steps)
    # Another model exactly where other answers were picked.
    same = all(mine == by_id[mine.id] for mine in picks)
    assert (weights(outputs.model) == weights(round_.model)) == same
    assert not same
    prompts = {p.id: p for p in tiny_run.outputs("world_data").prompts.read()}
    known = {d.id.removeprefix("best/1/") for d in rewarded}
    untagged = [
        s for s in samples if not prompts[s.prompt_id].is_safety and s.prompt_id in known
    ]  # fmt: skip
    assert result.gate.answers == len(untagged)
    assert result.gate.closed == sum(s.reward == s.safety for s in untagged)


def test_the_judge_picks_no_worse_than_chance_or_the_reward_models(tiny_run):
    random_pick, judge_pick = (
        tiny_run.results[f"{pick}_pick/pick_control"] for pick in ("random", "judge")
    )
    # Both compare the same four on the same prompts.
    assert random_pick.exact == judge_pick.exact
    assert random_pick.compared == judge_pick.compared > 0
    assert max(judge_pick.exact.values()) == judge_pick.exact["judge"]
    assert random_pick.gate == judge_pick.gate


# --- Red teaming of the last model ---


def test_the_last_model_is_asked_the_attacks_of_the_last_round(tiny_run):
    first = tiny_run.outputs("v1/red_teaming").attacks.read()
    last = tiny_run.outputs("final/red_teaming").attacks.read()
    config = tiny_run.stages["v1/red_teaming"].config
    own = [row for row in last if not row.model_before]
    assert [row.prompt_id for row in own[: config.prompts]] == [row.prompt_id for row in first]
    known = {row.prompt_id for row in first if row.violating}
    assert {row.prompt_id for row in last if row.earlier_violation} == known
    assert {row.prompt_id for row in last if row.model_before} == known
    inputs = tiny_run.stages["final/red_teaming"].inputs
    assert (inputs.model.label, inputs.before.label) == (
        "ppo/model", "v1/rejection_sampling/model"
    )  # fmt: skip


# --- Context distillation ---


def test_where_nothing_is_kept_the_model_stays(tiny_run, given_replies, workshop, monkeypatch):
    # No answer ends, so none is usable.
    name = "context_distillation"
    config = {"sampling": Sampling(max_new_tokens=1)}
    result, outputs = tiny_run.again(workshop, name, config=config)
    assert (result.kept, result.kept_share, result.fine_tuning) == (0, 0.0, None)
    assert weights(outputs.model) == weights(tiny_run.outputs("v1/rejection_sampling").model)
    assert outputs.metrics.read() == outputs.dialogues.read() == []
    assert [row.best for row in outputs.pairs.read()] == [None] * 4
    assert "nothing is trained" in workshop.notes[-1]


def test_distilled_dialogues_hold_the_bare_prompt_and_helpful_bests(tiny_run):
    name = "context_distillation"
    result, outputs = tiny_run.results[name], tiny_run.outputs(name)
    prompts = {p.id: p for p in tiny_run.outputs("world_data").prompts.read()}
    pairs = {row.prompt_id: row for row in outputs.pairs.read()}
    dialogues = outputs.dialogues.read()
    distilled = [d for d in dialogues if d.source == "context distillation"]
    assert len(distilled) == result.kept == sum(pair.kept for pair in pairs.values()) > 0
    for dialogue in distilled:
        identity = dialogue.id.removeprefix("distilled/")
        prompt, pair = prompts[identity], pairs[identity]
        assert prompt.attack_vector is not None
        assert prompt.split == "rejection_sampling"
        assert dialogue.messages[:-1] == prompt.messages
        assert dialogue.messages[-1].content == pair.distilled.text
        assert pair.distilled.score > pair.original.score
        assert [m.train for m in dialogue.messages[-1:]] == [True]
    mixed = dialogues[len(distilled) :]
    share = tiny_run.stages[name].config.helpful_share
    assert len(mixed) == result.helpful_mixed_in <= round(share * len(distilled))
    assert not any(dialogue.is_safety for dialogue in mixed)


# --- Ghost Attention ---


def test_ghost_attention_measures_before_and_after_and_mixes_bests(tiny_run):
    name = "ghost_attention"
    result, outputs = tiny_run.results[name], tiny_run.outputs(name)
    config = tiny_run.stages[name].config
    recall = outputs.recall.read()
    ghosts = {g.id: g for g in tiny_run.outputs("world_data").ghost_dialogues.read()}
    showing = {g.id for g in ghosts.values() if g.split == "test" and g.shows}
    assert len(showing) == 1
    # Where an instruction shows, ordinary turns are looked at in place of probes.
    probed = config.test_dialogues - len(showing)
    tests = 3 * config.test_dialogues
    assert [row.when for row in recall] == ["before"] * tests + ["after"] * tests
    asked = Counter((row.asked, row.turn, row.when) for row in recall)
    assert asked == {
        (kind, turn, when): count
        for kind, count in (("probe", probed), ("ordinary turn", len(showing)))
        for turn in (2, 4, 6)
        for when in ("before", "after")
    }
    assert {row.dialogue_id for row in recall if row.asked == "ordinary turn"} == showing
    splits = {g.id: g.split for g in tiny_run.outputs("world_data").ghost_dialogues.read()}
    assert {splits[row.dialogue_id] for row in recall} == {"test"}
    dialogues = outputs.dialogues.read()
    assert {splits[d.id.removeprefix("ghost/")] for d in dialogues} == {"train"}
    assert result.ghost_dialogues == len(dialogues)
    wanted = round(config.bests_per_dialogue * len(dialogues))
    bests = len(tiny_run.outputs("v1/rejection_sampling").bests.read())
    assert result.bests_mixed_in == min(wanted, bests)
    tuned = result.fine_tuning
    assert tuned.dialogues + tuned.dialogues_dropped == len(dialogues) + result.bests_mixed_in


# --- PPO ---

SUMMARY = RolloutSummary(
    reward=0.0, guard_reward=0.0, kl=1.0, kl_k3=1.0, entropy=1.0, eos_share=0.5, reply_length=3.0,
    value_explained_variance=0.0, gated_share=0.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"kl": 40.0}, None),
        ({"kl": 40.1}, "divergence 40.1 nats above 40.0"),
        ({"kl": -50.0}, None),
        ({"eos_share": 0.0}, "no reply ends"),
        ({"entropy": 0.0}, "the policy has no entropy left"),
    ],
)
def test_a_policy_that_broke_is_not_trained_on(tiny_run, changes, reason):
    config = replace(tiny_run.stages["ppo"].config, largest_kl=40.0)
    assert ppo_stage._reason_to_stop(replace(SUMMARY, **changes), config) == reason


def test_ppo_stops_early_and_says_why(tiny_run, given_replies, workshop, monkeypatch):
    # While the critic warms up the policy has not moved: any divergence is too much.
    config = SimpleNamespace(largest_kl=-1.0)
    reason = ppo_stage._reason_to_stop
    monkeypatch.setattr(ppo_stage, "_reason_to_stop", lambda summary, _: reason(summary, config))
    result, outputs = tiny_run.again(workshop, "ppo")
    assert result.stopped == "divergence 0.0 nats above -1.0"
    assert [row.iteration for row in outputs.iterations.read()] == [0, 1]


def test_prompts_of_an_iteration_pass_over_the_pool_with_a_share_of_ghosts(tiny_run, workshop):
    stage = tiny_run.stages["ppo"]
    config = replace(stage.config, batch_rows=8, ghost_share=0.25)
    session = ppo_stage._Session(config, stage.inputs.at(tiny_run.root), workshop.context("ppo"))
    assert (len(session.prompts), len(session.ghosts), len(session.validation)) == (30, 4, 3)
    assert {p.split for p in session.prompts} == {"ppo"}
    assert {p.split for p in session.validation} == {"validation"}
    batches = [session.prompts_of(iteration) for iteration in range(10)]
    for batch in batches:
        assert [p.category == "ghost_attention" for p in batch] == [False] * 6 + [True] * 2
    others = [p.id for batch in batches for p in batch[:6]]
    assert Counter(others) == {p.id: 2 for p in session.prompts}
    ghosts = as_ppo_prompts(tiny_run.outputs("ghost_attention").dialogues.read())
    assert [p for batch in batches[:2] for p in batch[6:]] == ghosts
    # The critic begins at zero, the reference at the policy.
    critic = session.models.actor_critic.critic
    assert not critic.head.weight.any()
    assert not any(p.requires_grad for p in session.models.reference.parameters())
    without = replace(stage.inputs, ghost=None)
    session = ppo_stage._Session(config, without.at(tiny_run.root), workshop.context("ppo"))
    assert len(session.prompts_of(0)) == 8
    assert session.ghosts == []


def test_while_the_critic_warms_up_the_policy_stands_still(tiny_run, given_replies, workshop):
    iterations = {"iterations": 2, "critic_warmup": 2}
    _, outputs = tiny_run.again(workshop, "ppo", config=iterations)
    rows = outputs.iterations.read()
    assert [row.rollout.kl for row in rows[1:]] == [0.0, 0.0]
    assert len({row.validation_reward for row in rows}) == 1
    moved = tiny_run.outputs("ppo").iterations.read()
    # Here the policy moves from the second iteration on, seen in the third.
    kls = [row.rollout.kl for row in moved if row.rollout]
    assert kls[:2] == [0.0, 0.0]
    assert all(kls[2:])


def test_the_sampled_distribution_must_be_the_trained_one():
    optimizer = OptimizerConfig(learning_rate=1e-3)
    for sampling in (Sampling(top_p=0.9), Sampling(temperature=0.0)):
        with pytest.raises(ConfigError, match="top_p must be 1"):
            ppo.Config(optimizer=optimizer, sampling=sampling)


def test_ppo_without_prompts_says_which_are_needed(tiny_run, workshop):
    # Nothing fits beside a reply as long as the context.
    config = {"sampling": Sampling(max_new_tokens=511)}
    with pytest.raises(DataError, match=r"split ppo: none of \d+ prompts leaves room for 511 new"):
        tiny_run.again(workshop, "ppo", config=config)


# --- Preference collection ---


def test_collection_writes_three_disjoint_uses(tiny_run):
    name = "v1/preference_collection"
    result, outputs = tiny_run.results[name], tiny_run.outputs(name)
    config = tiny_run.stages[name].config
    uses = {
        "train": outputs.preferences.read(),
        "test": outputs.test_preferences.read(),
        "guard": outputs.guard_preferences.read(),
    }
    for use, rows in uses.items():
        kinds = Counter(row.kind for row in rows)
        for kind in ("helpfulness", "safety"):
            assert kinds[kind] == result.counts[f"{use}_{kind}"]
    assert result.counts["train_helpfulness"] == config.helpfulness_pairs
    assert result.counts["train_safety"] == config.safety_pairs
    assert result.counts["test_safety"] == config.test_pairs
    assert result.statistics.comparisons == len(uses["train"])
    prompts = [{row.prompt[:1] for row in rows} for rows in uses.values()]
    for index, mine in enumerate(prompts):
        for others in prompts[index + 1 :]:
            assert not mine & others
    models = {row.chosen_model for row in uses["train"]} | {
        row.rejected_model for row in uses["train"]
    }
    assert models == {"sft/epoch1", "sft/model"}
