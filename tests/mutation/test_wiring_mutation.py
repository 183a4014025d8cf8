"""Stages, methods, recipes and plans are miswired on purpose; the test of that wire must notice.

Each mistake replaces one piece of text, which must stand exactly once in its file, so that a
refactoring that moves it fails here. The changed functions take effect in place: their code objects
are exchanged, so whoever imported them runs the mistake. The tests that should notice are run by
pytest itself, in this process, with fresh fixtures of every scope: first as the code is, where they
must pass, then under each mistake, where one of them must fail by an assertion.

Mistakes named `B1` to `B15` are what users of other packages complain about.
"""

from __future__ import annotations

import importlib
import inspect
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import camelid

SOURCE = Path(camelid.__file__).parent
UNIT = Path(__file__).parents[1] / "unit"

# (file below src/camelid, tests below tests/unit) -> name -> (old text, new text, tests of that
# file that must notice; another file's are written file::test).
TABLE: dict[tuple[str, str], dict[str, tuple[str, str, str]]] = {
    ("recipes/rounds.py", "recipes/test_rounds.py"): {
        "first round compares the model with itself": (
            "return tuned.epoch1, tuned.model",
            "return tuned.model, tuned.model",
            "test_the_two_latest_variants_answer_in_each_round",
        ),
        "older and newer variant are the same": (
            "older=older,",
            "older=latest,",
            "test_the_two_latest_variants_answer_in_each_round",
        ),
        "older variant stays the first": (
            "older, latest, bests = latest, sampled.model, sampled.bests",
            "latest, bests = sampled.model, sampled.bests",
            "test_the_two_latest_variants_answer_in_each_round",
        ),
        "policy stays the fine-tuned model": (
            "older, latest, bests = latest, sampled.model, sampled.bests",
            "older, bests = latest, sampled.bests",
            "test_the_latest_model_answers_and_is_scored_by_its_own_rounds_rewards",
        ),
        "earlier bests dropped": (
            "earlier_bests=bests,",
            "earlier_bests=None,",
            "test_bests_of_all_earlier_rounds_come_along",
        ),
        "bests of the first round only": (
            "older, latest, bests = latest, sampled.model, sampled.bests",
            "older, latest, bests = latest, sampled.model, bests or sampled.bests",
            "test_bests_of_all_earlier_rounds_come_along",
        ),
        "only the newest round's pairs train the reward models": (
            "*(found.preferences for found in collected),",
            "*(found.preferences for found in collected[-1:]),",
            "test_reward_models_learn_from_the_comparisons_of_all_rounds_so_far",
        ),
        "only the newest round's pairs test the reward models": (
            "tuple(found.test_preferences for found in collected)",
            "tuple(found.test_preferences for found in collected[-1:])",
            "test_reward_models_learn_from_the_comparisons_of_all_rounds_so_far",
        ),
        "reward models tested on what they learn from": (
            "tuple(found.test_preferences for found in collected)",
            "tuple(found.preferences for found in collected)",
            "test_reward_models_learn_from_the_comparisons_of_all_rounds_so_far",
        ),
        "guard trained on the pairs of the others": (
            "*(found.guard_preferences for found in collected)]",
            "*(found.preferences for found in collected)]",
            "test_reward_models_learn_from_the_comparisons_of_all_rounds_so_far",
        ),
        "no guard in the last round": (
            "tuple(guards) if now == number else ()",
            "tuple(guards) if now == 1 else ()",
            "test_reward_models_learn_from_the_comparisons_of_all_rounds_so_far",
        ),
        "guard without the drafted comparisons kept for it": (
            "guards = [*start.guard_comparisons, *(",
            "guards = [*(",
            "test_reward_models_learn_from_the_comparisons_of_all_rounds_so_far",
        ),
        "guard trained on the drafted comparisons of the others": (
            "guards = [*start.guard_comparisons, *(",
            "guards = [*start.open_comparisons, *(",
            "test_reward_models_learn_from_the_comparisons_of_all_rounds_so_far",
        ),
        "given pairs left out": (
            "collected = [] if start.comparisons is None else [start.comparisons]",
            "collected: list[Comparisons] = []",
            "test_comparisons_that_there_are_from_the_start_are_taken_once",
        ),
        "reward models start from the base": (
            "chat_model=latest,",
            "chat_model=start.base,",
            "test_the_latest_model_answers_and_is_scored_by_its_own_rounds_rewards",
        ),
        "rejection sampling fine-tunes the policy, not the base": (
            "base=start.base,\n                policy=latest,",
            "base=latest,\n                policy=latest,",
            "test_fine_tuning_starts_from_the_base",
        ),
        "base answers instead of the policy": (
            "base=start.base,\n                policy=latest,",
            "base=start.base,\n                policy=start.base,",
            "test_the_latest_model_answers_and_is_scored_by_its_own_rounds_rewards",
        ),
        "held-out filter of rejection sampling off": (
            "earlier_bests=bests,\n                held_out=start.held_out,",
            "earlier_bests=bests,\n                held_out=None,",
            "test_what_is_held_out_is_held_out_everywhere",
        ),
        "no dialogue is continued": (
            "world=start.world,",
            "world=None,",
            "test_what_is_held_out_is_held_out_everywhere",
        ),
        "every collection is the first round's": (
            "imitation=start.imitation,\n                    round=now,",
            "imitation=start.imitation,\n                    round=1,",
            "test_the_two_latest_variants_answer_in_each_round",
        ),
        "every round samples as the first": (
            "held_out=start.held_out,\n                round=now,",
            "held_out=start.held_out,\n                round=1,",
            "test_the_latest_model_answers_and_is_scored_by_its_own_rounds_rewards",
        ),
        "red teaming attacks the model before": (
            "model=sampled.model,",
            "model=latest,",
            "test_red_teaming_attacks_the_new_model_and_remembers_all_rounds",
        ),
        "red teaming forgets earlier rounds": (
            "earlier=tuple(attacks),",
            "earlier=(),",
            "test_red_teaming_attacks_the_new_model_and_remembers_all_rounds",
        ),
        "red teaming remembers the last round only": (
            "earlier=tuple(attacks),",
            "earlier=tuple(attacks[-1:]),",
            "test_red_teaming_attacks_the_new_model_and_remembers_all_rounds",
        ),
        "intermediate models not evaluated": (
            "plan.models[name] = latest",
            'plan.models["v1"] = latest',
            "test_every_model_is_evaluated_and_the_last_against_its_start",
        ),
        "settings of another fine-tuning": (
            "add_sft(plan, start, use.sft)",
            "add_sft(plan, start, use.rejection_sampling.fine_tuning)",
            "test_every_stage_has_the_settings_of_its_kind",
        ),
    },
    ("recipes/ending.py", "recipes/test_rounds.py"): {
        "PPO starts from the last round, later training lost": (
            "policy=policy,",
            "policy=last.model,",
            "test_the_last_steps_follow_each_other",
        ),
        "PPO watched by a model that it optimises": (
            "guard=last.guard,\n            prompts=start.prompts,\n            gh",
            "guard=last.rewards.safety,\n            prompts=start.prompts,\n            gh",
            "test_ppo_is_scored_by_the_last_rewards_and_watched_by_the_guard",
        ),
        "Ghost dialogues kept from PPO": (
            "ghost=ghost,",
            "ghost=None,",
            "test_the_last_steps_follow_each_other",
        ),
        "model before PPO evaluated as the final one": (
            'plan.models["final"] = optimised.model',
            'plan.models["final"] = policy',
            "test_every_model_is_evaluated_and_the_last_against_its_start",
        ),
        "final model compared with the fine-tuned one": (
            'references=(("final", reference),)',
            'references=(("final", "sft"),)',
            "test_every_model_is_evaluated_and_the_last_against_its_start",
        ),
        "model and reference swapped": (
            'references=(("final", reference),)',
            'references=((reference, "final"),)',
            "test_every_model_is_evaluated_and_the_last_against_its_start",
        ),
        "distillation starts from the base": (
            "latest = last.model\n",
            "latest = start.base\n",
            "test_the_last_steps_follow_each_other",
        ),
        "distillation lost to Ghost Attention": (
            'latest = plan.models["context_distillation"] = distilled.model',
            'plan.models["context_distillation"] = distilled.model',
            "test_the_last_steps_follow_each_other",
        ),
        "held-out filter of Ghost Attention off": (
            "dialogues,\n            bests=last.bests,\n            held_out=start.held_out",
            "dialogues,\n            bests=last.bests,\n            held_out=None",
            "test_what_is_held_out_is_held_out_everywhere",
        ),
        "recipe keeps Ghost dialogues from PPO": (
            "return held.dialogues",
            "return None  # kept",
            "test_the_last_steps_follow_each_other",
        ),
    },
    ("recipes/pocket.py", "recipes/test_rounds.py"): {
        "validated on what it was trained on": (
            "validation=world.validation",
            "validation=world.corpus",
            "test_pretraining_is_validated_on_a_corpus_of_its_own",
        ),
        "recipe holds nothing out": (
            "held_out=world.held_out,\n        world=",
            "held_out=None,\n        world=",
            "test_what_is_held_out_is_held_out_everywhere",
        ),
    },
    ("recipes/smollm2.py", "recipes/test_rounds.py"): {
        "number of rounds ignored": (
            "add_rounds(plan, start, use, rounds)",
            "add_rounds(plan, start, use, 1)",
            "test_so_many_rounds_as_are_asked_for",
        ),
        "weights that are named ignored": (
            "path=str(weights.resolve()) if weights else None",
            "path=None",
            "test_data_and_weights_of_smollm2_are_those_that_are_named",
        ),
        "data that are named ignored": (
            "directory = str(data.resolve()) if data else None",
            "directory = None",
            "test_data_and_weights_of_smollm2_are_those_that_are_named",
        ),
    },
    ("plan.py", "test_recipes.py"): {
        "setting of all rounds wins over a round's own": (
            "for own in (False, True):",
            "for own in (True, False):",
            "test_settings_of_all_stages_of_a_kind_or_of_one",
        ),
        "what no stage makes is read": (
            "if place.stage not in known:",
            "if place.stage in known and not known:",
            "test_stages_stand_once_and_in_order",
        ),
        "a stage stands twice": (
            "if name in known:",
            "if name in known[:0]:",
            "test_stages_stand_once_and_in_order",
        ),
        "settings of a description ignored": (
            "read_value(settings[stage.name], kind, stage.name, current=stage.config)",
            "stage.config",
            "test_a_description_makes_the_plan_again",
        ),
        "options of a description ignored": (
            "plan = make_plan(recipes(found.recipe), found.options,",
            "plan = make_plan(recipes(found.recipe), {},",
            "test_descriptions_are_read_strictly",
        ),
        "settings of the run ignored": (
            "plan.settings = found.run",
            "pass",
            "test_a_description_makes_the_plan_again",
        ),
        "checks of a plan not run": (
            "            check(self)",
            "            pass",
            "test_checks_of_a_plan_see_the_settings_as_they_are",
        ),
    },
    ("stages/pretraining/stage.py", "stages/test_pretraining.py"): {
        "loss measured on the corpus of training": (
            "held_out = read_corpus(inputs.validation,",
            "held_out = read_corpus(inputs.corpus,",
            "test_the_corpus_is_trained_on_and_the_validation_measured",
        ),
        "trained on the validation": (
            "rows = read_corpus(inputs.corpus,",
            "rows = read_corpus(inputs.validation,",
            "test_the_corpus_is_trained_on_and_the_validation_measured",
        ),
        "order of the documents ignored": (
            "context.seed, start, config.order)",
            "context.seed, start)",
            "test_the_order_is_the_setting",
        ),
        "one pass whatever the tokens": (
            "steps = math.ceil(config.tokens / (",
            "steps = math.ceil(rows.token_count / (",
            "test_the_corpus_is_trained_on_and_the_validation_measured",
        ),
    },
    ("stages/reward_modeling/stage.py", "stages/test_reward_modeling.py"): {
        "auxiliary weight 0": (
            "outputs.metrics_safety, safe, config.safety_auxiliary)",
            "outputs.metrics_safety, safe, 0.0)",
            "test_the_safety_model_alone_has_the_auxiliary_loss",
        ),
        "auxiliary loss of the helpfulness model": (
            "outputs.metrics_helpfulness, helpful, 0.0)",
            "outputs.metrics_helpfulness, helpful, config.safety_auxiliary)",
            "test_the_safety_model_alone_has_the_auxiliary_loss",
        ),
        "auxiliary weight lost on the way to the loss": (
            "PreferenceRanking(auxiliary)",
            "PreferenceRanking(0.0)",
            "test_settings_reach_the_loss_and_the_steps",
        ),
        "both models learn from one mix": (
            "outputs.metrics_safety, safe,",
            "outputs.metrics_safety, helpful,",
            "test_each_model_learns_from_its_own_mix",
        ),
        "shares of the mixes swapped": (
            "helpfulness_mix(training, context.seed, config.helpfulness_share)",
            "helpfulness_mix(training, context.seed, config.safety_share)",
            "test_each_model_learns_from_its_own_mix",
        ),
        "newest pairs count as the others": (
            "factor = config.newest_factor if several_rounds else 1",
            "factor = 1",
            "test_each_model_learns_from_its_own_mix",
        ),
        "guard learns from the pairs of the others": (
            "own = _read(inputs.guard_preferences)",
            "own = preferences",
            "test_the_guard_learns_from_pairs_that_the_others_never_see",
        ),
        "tested on the pairs of training": (
            "_test(trainer, _read(inputs.test_preferences),",
            "_test(trainer, preferences,",
            "test_all_models_are_tested_on_held_out_pairs_and_the_gate_on_their_scores",
        ),
        "wanted precision of the gate ignored": (
            "tune_gate(scores, config.gate_precision)",
            "tune_gate(scores, 0.89)",
            "test_all_models_are_tested_on_held_out_pairs_and_the_gate_on_their_scores",
        ),
        "margins dropped": (
            "                        config.margin,",
            '                        "none",',
            "test_settings_reach_the_loss_and_the_steps",
        ),
        "epochs ignored": (
            "steps = config.epochs * steps_per_epoch",
            "steps = 1 * steps_per_epoch",
            "test_settings_reach_the_loss_and_the_steps",
        ),
        "scores of chosen and rejected replies swapped": (
            "for name, scores in chosen.items()",
            "for name, scores in rejected.items()",
            "test_each_score_is_of_its_reply_by_its_model",
        ),
        "scores of helpfulness and safety models swapped": (
            "chosen[folder.name] = [first",
            "chosen[models[models[0] is folder].name] = [first",
            "test_each_score_is_of_its_reply_by_its_model",
        ),
        "one model scores for all": (
            "model = load_reward_model(folder.path,",
            "model = load_reward_model(models[0].path,",
            "test_each_score_is_of_its_reply_by_its_model",
        ),
        "reward model does not start from the chat model": (
            "RewardModel.from_chat_model(self.chat_model, seed)",
            "RewardModel(self.chat_model.config)",
            "test_settings_reach_the_loss_and_the_steps",
        ),
    },
    ("train/objectives.py", "train/test_objectives.py"): {
        "safety labels swapped": (
            '"chosen_safe": (1.0, 0.0), "both_safe": (1.0, 1.0)',
            '"chosen_safe": (0.0, 1.0), "both_safe": (1.0, 1.0)',
            "test_each_pair_carries_its_own_margin_and_safety_labels",
        ),
        "safety labels of both replies are the chosen one's": (
            "rejected_safe_B=torch.tensor([label[1] for label",
            "rejected_safe_B=torch.tensor([label[0] for label",
            "test_each_pair_carries_its_own_margin_and_safety_labels",
        ),
        "pairs without a label count as unsafe": (
            '[(p.safety or "") in safe for p in pairs]',
            "[True for p in pairs]",
            "test_each_pair_carries_its_own_margin_and_safety_labels",
        ),
        "pairs without strength get the largest margin": (
            "table[p.strength] if p.strength else 0.0",
            "table[p.strength] if p.strength else max(table.values())",
            "test_each_pair_carries_its_own_margin_and_safety_labels",
        ),
        "rejected replies stand first": (
            "[(pair.chosen, pair.rejected) for",
            "[(pair.rejected, pair.chosen) for",
            "test_each_pair_carries_its_own_margin_and_safety_labels",
        ),
        "coefficient of the value loss ignored": (
            "policy + self._value_coefficient * value, metrics",
            "policy + value, metrics",
            "test_b4_ppo_starts_with_ratio_one",
        ),
        "B4: the loss forgets the temperature": (
            "log_probabilities(logits_NV, tokens_N, self._temperature)",
            "log_probabilities(logits_NV, tokens_N, 1.0)",
            "methods/test_rollout.py::test_b3_a_policy_like_its_reference_has_no_divergence",
        ),
        "B12: attention crosses documents": (
            "positions_BL=batch.positions_BL, documents_BL=batch.documents_BL",
            "positions_BL=batch.positions_BL, documents_BL=None",
            "test_b12_loss_of_a_pack_is_the_sum_over_its_documents",
        ),
        "B9: targets shifted by one": (
            "targets_N[:count] = batch.tokens_BL.roll(-1, 1)",
            "targets_N[:count] = batch.tokens_BL",
            "test_b12_loss_of_a_pack_is_the_sum_over_its_documents",
        ),
    },
    ("stages/rejection_sampling/stage.py", "stages/test_rejection_sampling.py"): {
        "policy fine-tuned instead of the base": (
            "load_transformer(inputs.base.path, context.runtime)",
            "load_transformer(inputs.policy.path, context.runtime)",
            "test_the_policy_answers_and_the_base_is_fine_tuned",
        ),
        "base answers": (
            "ModelResponder.load(inputs.policy.path,",
            "ModelResponder.load(inputs.base.path,",
            "test_the_policy_answers_and_the_base_is_fine_tuned",
        ),
        "earlier bests not pooled": (
            "bests = inputs.earlier_bests.read_some() + bests",
            "inputs.earlier_bests.read_some()",
            "test_demonstrations_earlier_bests_and_new_ones_are_trained_on",
        ),
        "new bests not pooled": (
            "bests = inputs.earlier_bests.read_some() + bests",
            "bests = inputs.earlier_bests.read_some()",
            "test_demonstrations_earlier_bests_and_new_ones_are_trained_on",
        ),
        "demonstrations dropped": (
            "        demonstrations + bests,",
            "        bests,",
            "test_demonstrations_earlier_bests_and_new_ones_are_trained_on",
        ),
        "number of demonstrations ignored": (
            "[: config.demonstrations]",
            "",
            "test_demonstrations_earlier_bests_and_new_ones_are_trained_on",
        ),
        "tuned temperature ignored": (
            'sampler(chosen, temperature, config.samples, "samples")',
            'sampler(chosen, config.temperatures[0], config.samples, "samples")',
            "test_all_answers_are_drawn_at_the_best_temperature_with_numbers_of_their_own",
        ),
        "worst temperature taken": (
            "temperature = max(means,",
            "temperature = min(means,",
            "test_all_answers_are_drawn_at_the_best_temperature_with_numbers_of_their_own",
        ),
        "number of samples ignored": (
            'sampler(chosen, temperature, config.samples, "samples")',
            'sampler(chosen, temperature, 1, "samples")',
            "test_all_answers_are_drawn_at_the_best_temperature_with_numbers_of_their_own",
        ),
        "rewards of another reply recorded": (
            "reward=rated.combined[i],",
            "reward=rated.combined[0],",
            "test_all_answers_are_drawn_at_the_best_temperature_with_numbers_of_their_own",
        ),
        "helpfulness alone is the reward": (
            "reward=rated.combined[i],",
            "reward=rated.helpfulness[i],",
            "test_all_answers_are_drawn_at_the_best_temperature_with_numbers_of_their_own",
        ),
        "helpfulness and safety swapped in the samples": (
            "safety=rated.safety[i] if rated.safety else None,",
            "safety=rated.helpfulness[i],",
            "test_all_answers_are_drawn_at_the_best_temperature_with_numbers_of_their_own",
        ),
        "prompts of PPO's split": (
            '        "rejection_sampling",\n        new_tokens',
            '        "ppo",\n        new_tokens',
            "test_prompts_are_of_the_split_and_each_round_asks_in_its_own_order",
        ),
        "every round asks the same prompts": (
            '"rejection_sampling", inputs.round)',
            '"rejection_sampling")',
            "test_prompts_are_of_the_split_and_each_round_asks_in_its_own_order",
        ),
        "every round draws the same numbers": (
            "config.max_new_tokens, context.seed)",
            "config.max_new_tokens, context.run_seed)",
            "test_rounds_have_random_numbers_of_their_own",
        ),
        "held-out filter off": (
            "terms_of(inputs.held_out)",
            "()",
            "test_a_best_that_names_a_held_out_term_is_not_trained_on",
        ),
        "settings of the fine-tuning ignored": (
            "        config.fine_tuning,",
            "        dataclasses.replace(config.fine_tuning, steps=None),",
            "test_the_policy_answers_and_the_base_is_fine_tuned",
        ),
        "B10: an interrupted round is sampled again": (
            "if not work.samples.exists:",
            "if True:",
            "test_an_interrupted_round_is_not_sampled_again",
        ),
    },
    ("methods/rewards.py", "stages/test_reward_modeling.py"): {
        "reward models swapped where they are loaded": (
            "load_reward_model(models.safety.path, runtime)",
            "load_reward_model(models.helpfulness.path, runtime)",
            "test_rewards_are_loaded_by_name_with_their_threshold",
        ),
        "tuned threshold of the gate ignored": (
            "models.gate.read().threshold",
            "0.15",
            "test_rewards_are_loaded_by_name_with_their_threshold",
        ),
    },
    ("methods/rejection_sampling.py", "methods/test_rejection_sampling.py"): {
        "worst answer kept": (
            "best = max(finished, key=partial(value, prompt))",
            "best = min(finished, key=partial(value, prompt))",
            "test_the_best_by_reward_becomes_a_dialogue_that_trains_its_answer",
        ),
        "best by helpfulness alone": (
            "best = max(finished, key=partial(value, prompt))",
            "best = max(finished, key=lambda sample: sample.helpfulness)",
            "test_the_best_by_reward_becomes_a_dialogue_that_trains_its_answer",
        ),
        "cut answers win": (
            'if s.stop_reason == "stop" and s.text]',
            "if s.text]",
            "test_unfinished_and_empty_answers_cannot_win",
        ),
        "answers with held-out terms kept": (
            "if mentions(best.text, forbidden):",
            "if mentions(best.text, ()):",
            "test_answers_with_held_out_terms_are_dropped_and_counted",
        ),
        "answer of a best not trained on": (
            "content=best.text, train=True)",
            "content=best.text, train=False)",
            "test_the_best_by_reward_becomes_a_dialogue_that_trains_its_answer",
        ),
        "temperature by the mean, not by the best": (
            "found[identity] = max(found.get(identity, reward), reward)",
            "found[identity] = (found.get(identity, reward) + reward) / 2",
            "test_the_temperature_with_the_highest_mean_best_reward_is_taken",
        ),
        "cut answers make a temperature win": (
            'if reply.stop_reason == "stop":\n                found',
            "if True:\n                found",
            "test_an_unfinished_answer_makes_no_temperature_win",
        ),
        "unfinished prompts left out of a temperature's mean": (
            "statistics.fmean(found.get(prompt.id, worst) for prompt in prompts)",
            "statistics.fmean(found.values() or [worst])",
            "test_an_unfinished_answer_makes_no_temperature_win",
        ),
        "the same numbers at all temperatures": (
            "derive_seed(self.seed, salt, temperature)",
            "derive_seed(self.seed, salt)",
            "test_every_draw_has_numbers_of_its_own",
        ),
        "the same numbers in tuning and sampling": (
            "derive_seed(self.seed, salt, temperature)",
            "derive_seed(self.seed, temperature)",
            "test_every_draw_has_numbers_of_its_own",
        ),
        "one sample a prompt": (
            "            samples=samples,",
            "            samples=1,",
            "test_every_draw_has_numbers_of_its_own",
        ),
    },
    ("methods/fine_tuning.py", "methods/test_fine_tuning.py"): {
        "constant number of steps ignored": (
            "config.steps if config.steps is not None else config.epochs * per_epoch",
            "config.epochs * per_epoch",
            "test_epochs_or_a_constant_number_of_steps",
        ),
        "epochs of fine-tuning ignored": (
            "else config.epochs * per_epoch",
            "else per_epoch",
            "test_epochs_or_a_constant_number_of_steps",
        ),
        "last model kept as the first epoch's": (
            "result.step == min(per_epoch, steps)",
            "result.step == steps",
            "test_the_model_after_the_first_epoch_is_kept",
        ),
        "embeddings always move": (
            "requires_grad_(config.train_embeddings)",
            "requires_grad_(True)",
            "test_embeddings_stand_still_where_the_settings_say_so",
        ),
        "packing ignored": (
            "chat.tokenizer.pad_id, config.packing)",
            'chat.tokenizer.pad_id, "isolated")',
            "test_only_answers_are_targets_and_packing_is_the_setting",
        ),
        "every stage shuffles alike": (
            "config.batch_rows, context.seed, start)",
            "config.batch_rows, context.run_seed, start)",
            "test_the_order_is_the_seed_of_the_stage",
        ),
        "B13: too long dialogues dropped without a count": (
            "too_long += len(whole.ids) > config.row_tokens",
            "pass",
            "methods/test_same_ids.py::test_b13_fine_tuning_counts_what_is_too_long",
        ),
        "B13: policy for too long dialogues ignored": (
            "config.row_tokens, config.too_long, f",
            'config.row_tokens, "drop", f',
            "methods/test_same_ids.py::test_b13_fine_tuning_counts_what_is_too_long",
        ),
        "B10: a resumed fine-tuning begins its data anew": (
            "config.batch_rows, context.seed, start)",
            "config.batch_rows, context.seed, 0)",
            "test_b10_a_resumed_fine_tuning_sees_what_is_left_of_its_data",
        ),
    },
    ("stages/ppo/stage.py", "stages/test_ppo.py"): {
        "worst weights kept": (
            'return reward > float(state["best_reward"]) and',
            'return reward < float(state["best_reward"]) and',
            "test_the_weights_with_the_best_validation_reward_are_kept",
        ),
        "last weights kept": (
            'return reward > float(state["best_reward"]) and',
            "return",
            "test_the_weights_with_the_best_validation_reward_are_kept",
        ),
        "best reward not remembered": (
            'state |= {"best_reward": row.validation_reward, "best_iteration": iteration}',
            'state |= {"best_iteration": iteration}',
            "test_the_weights_with_the_best_validation_reward_are_kept",
        ),
        "weights kept although the guard fell": (
            ' and guard >= float(state["least_guard"])',
            "",
            "test_weights_whose_guard_fell_are_not_kept",
        ),
        "weights kept beyond the budget of divergence": (
            "if kept_kl is not None and kl > kept_kl:",
            "if kept_kl is not None and kl < 0:",
            "test_weights_beyond_the_budget_of_divergence_are_not_kept",
        ),
        "start of the policy cannot be kept": (
            "        save_model(model.policy, best.path)\n        state |=",
            (
                "        save_model(model.policy, best.path)\n"
                "        row = dataclasses.replace(row, validation_reward=-1e9)\n        state |="
            ),
            "test_a_policy_that_only_gets_worse_is_not_kept",
        ),
        "policy frozen": (
            "1.0 if iteration >= config.critic_warmup else 0.0",
            "0.0",
            "test_the_critic_learns_from_the_first_step_and_the_policy_after_the_warm_up",
        ),
        "critic's warm-up off": (
            "1.0 if iteration >= config.critic_warmup else 0.0",
            "1.0",
            "test_the_critic_learns_from_the_first_step_and_the_policy_after_the_warm_up",
        ),
        "warm-up rests the critic": (
            'fitting.set_factor("policy",',
            'fitting.set_factor("critic",',
            "test_the_critic_learns_from_the_first_step_and_the_policy_after_the_warm_up",
        ),
        "reference is the policy itself": (
            "load_transformer(inputs.policy.path, runtime).requires_grad_(False)",
            "self.policy.model",
            "test_each_model_comes_from_its_place",
        ),
        "critic's head not zeroed": (
            "torch.nn.init.zeros_(critic.head.weight)",
            "pass",
            "test_each_model_comes_from_its_place",
        ),
        "critic started from the safety model": (
            "critic = load_reward_model(inputs.rewards.helpfulness.path, runtime)",
            "critic = load_reward_model(inputs.rewards.safety.path, runtime)",
            "test_each_model_comes_from_its_place",
        ),
        "guard is the safety model": (
            "load_reward_model(inputs.guard.path, runtime)",
            "load_reward_model(inputs.rewards.safety.path, runtime)",
            "test_each_model_comes_from_its_place",
        ),
        "missing-end penalty 0": (
            "missing_end_penalty=config.missing_end_penalty,",
            "missing_end_penalty=0.0,",
            "test_every_coefficient_of_the_reward_is_the_setting",
        ),
        "coefficient of the divergence ignored": (
            "beta=config.kl_coefficient,",
            "beta=0.01,",
            "test_every_coefficient_of_the_reward_is_the_setting",
        ),
        "prompts of the wrong split": (
            'self._choose(prompts, "ppo")',
            'self._choose(prompts, "rm_train")',
            "test_prompts_are_of_their_splits_and_ghosts_a_share",
        ),
        "validated on prompts that are trained on": (
            'self._choose(prompts, "validation")',
            'self._choose(prompts, "ppo")',
            "test_prompts_are_of_their_splits_and_ghosts_a_share",
        ),
        "Ghost share ignored": (
            "round(self.config.ghost_share * rows)",
            "rows // 2",
            "test_prompts_are_of_their_splits_and_ghosts_a_share",
        ),
        "every iteration asks the same prompts": (
            "start = iteration * (rows - ghosts)",
            "start = 0",
            "test_prompts_are_of_their_splits_and_ghosts_a_share",
        ),
        "every iteration draws the same numbers": (
            'derive_seed(self.context.seed, "rollout", iteration)',
            'derive_seed(self.context.seed, "rollout")',
            "test_every_iteration_draws_other_numbers_and_every_validation_the_same",
        ),
        "guard and reward of the validation swapped": (
            "validation_reward=sum(rated.combined) / len(replies),",
            "validation_reward=sum(rated.watched) / len(replies),",
            "test_validation_says_the_means_of_reward_and_guard",
        ),
        "rare validations": (
            "iteration % config.validate_every == 0 or iteration == config.iterations",
            "iteration == config.iterations",
            "test_validations_stand_after_so_many_iterations_and_at_the_end",
        ),
        "last weights not validated": (
            "iteration % config.validate_every == 0 or iteration == config.iterations",
            "iteration % config.validate_every == 0",
            "test_validations_stand_after_so_many_iterations_and_at_the_end",
        ),
        "clip ignored": (
            "clip=config.clip,",
            "clip=0.2,",
            "test_settings_reach_the_objective_and_the_optimizer",
        ),
        "critic learns at the policy's rate": (
            "Module(module=model.critic, factor=config.critic_rate_factor)",
            "Module(module=model.critic)",
            "test_settings_reach_the_objective_and_the_optimizer",
        ),
        "B4: rollouts at another temperature than the loss": (
            "temperature=config.sampling.temperature,\n    )\n    for result",
            "temperature=1.0,\n    )\n    for result",
            "test_settings_reach_the_objective_and_the_optimizer",
        ),
        "B4: old log-probabilities at another temperature": (
            "temperature=config.sampling.temperature,\n        )\n\n",
            "temperature=1.0,\n        )\n\n",
            "test_b4_at_a_rate_of_nothing_every_ratio_is_one",
        ),
        "B5: nobody hears that the sampler is another policy": (
            "> LARGEST_SAMPLER_GAP:",
            "> 1e9:",
            "test_b5_a_sampler_that_draws_from_another_policy_is_noticed",
        ),
        "B8: a stage imports what is no dependency": (
            "    session = _Session(config, inputs, context)",
            "    import iniconfig; session = _Session(config, inputs, context)",
            "stages/test_dependencies.py::test_b8_no_stage_asks_for_more_than_the_dependencies",
        ),
        "B10: PPO begins its prompts anew": (
            "for iteration in range(first, config.iterations):",
            "for iteration in range(config.iterations):",
            "test_b10_a_resumed_ppo_goes_on_where_it_was",
        ),
        "B10: PPO forgets the best reward": (
            "    state = fitting.state\n",
            ("    state = {'best_reward': -1e9, 'least_guard': -1e9, 'best_iteration': 0}\n"),
            "test_b10_a_resumed_ppo_goes_on_where_it_was",
        ),
        "B15: divergence never stops": (
            "if summary.kl > config.largest_kl:",
            "if summary.kl > 1e9:",
            "test_b15_a_policy_that_breaks_is_trained_no_further[changes0",
        ),
        "B15: replies without end never stop": (
            "if summary.eos_share == 0:",
            "if summary.eos_share < 0:",
            "test_b15_a_policy_that_breaks_is_trained_no_further[changes1",
        ),
        "B15: a policy without entropy never stops": (
            "if summary.entropy < 1e-3 else None",
            "if summary.entropy < -1 else None",
            "test_b15_a_policy_that_breaks_is_trained_no_further[changes2",
        ),
        "B15: reasons to stop are ignored": (
            "        if stopped:\n            break",
            "        if stopped:\n            pass",
            "test_b15_a_policy_that_breaks_is_trained_no_further",
        ),
    },
    ("stages/ppo/__init__.py", "stages/test_ppo.py"): {
        "B3: top-p allowed in PPO": (
            "if self.sampling.top_p != 1 or self.sampling.temperature <= 0:",
            "if self.sampling.temperature <= 0:",
            "test_b3_what_shapes_the_distribution_is_refused_or_unknown",
        ),
        "B3: greedy rollouts allowed": (
            "if self.sampling.top_p != 1 or self.sampling.temperature <= 0:",
            "if self.sampling.top_p != 1:",
            "test_b3_what_shapes_the_distribution_is_refused_or_unknown",
        ),
        "B5: report silent of a sampler that is another policy": (
            "> LARGEST_SAMPLER_GAP:",
            "> 1e9:",
            "test_b5_a_sampler_that_draws_from_another_policy_is_noticed",
        ),
    },
    ("methods/rollout.py", "methods/test_rollout.py"): {
        "cut replies not penalised": (
            "scores_B = scores_B - settings.missing_end_penalty * cut_B",
            "pass",
            "test_b6_rollout_equals_a_loop_over_rows_and_actions",
        ),
        "finished replies penalised": (
            'reply.stop_reason == "length" for reply',
            'reply.stop_reason == "stop" for reply',
            "test_b6_rollout_equals_a_loop_over_rows_and_actions",
        ),
        "rewards not whitened": (
            "scores_B = whiten(torch.tensor(rated.combined))",
            "scores_B = torch.tensor(rated.combined)",
            "test_b6_rollout_equals_a_loop_over_rows_and_actions",
        ),
        "PPO optimises helpfulness alone": (
            "whiten(torch.tensor(rated.combined))",
            "whiten(torch.tensor(rated.helpfulness))",
            "test_b6_rollout_equals_a_loop_over_rows_and_actions",
        ),
        "PPO optimises the guard": (
            "whiten(torch.tensor(rated.combined))",
            "whiten(torch.tensor(rated.watched))",
            "test_guard_only_watches",
        ),
        "advantages not whitened": (
            "        whiten(advantages_BA, mask_BA),",
            "        advantages_BA,",
            "test_b6_rollout_equals_a_loop_over_rows_and_actions",
        ),
        "mini-batches skip rows": (
            "for start in range(0, len(order), minibatch_rows):",
            "for start in range(0, len(order) - minibatch_rows + 1, minibatch_rows):",
            "test_mini_batches_keep_each_action_with_its_numbers",
        ),
        "advantages of other rows": (
            "advantages_N=flat(rollout.advantages_BA),",
            "advantages_N=flat(rollout.advantages_BA.flip(0)),",
            "test_mini_batches_keep_each_action_with_its_numbers",
        ),
        "B3: divergence without its sign": (
            "kl=float((kl.k1 * mask_BA).sum()) / count,",
            "kl=float((kl.k1.abs() * mask_BA).sum()) / count,",
            "test_b6_rollout_equals_a_loop_over_rows_and_actions",
        ),
        "B3: reference without the temperature": (
            "temperature=settings.temperature,",
            "temperature=settings.temperature if model.policy is models.reference else 1.0,",
            "test_b6_rollout_equals_a_loop_over_rows_and_actions",
        ),
        "B5: the sampler's log-probabilities are trained on": (
            "kl = kl_penalty(logp_BA, ref_BA)",
            (
                "logp_BA[:, 0] = torch.tensor([(r.logp or (0.0,))[0] for r in replies]); "
                "kl = kl_penalty(logp_BA, ref_BA)"
            ),
            "test_b5_the_distance_of_the_sampler_is_a_mean_over_actions",
        ),
        "B5: distance of the sampler signed": (
            "(sampled_N - logp_BA[mask_BA]).abs().mean()",
            "(sampled_N - logp_BA[mask_BA]).mean()",
            "test_b5_the_distance_of_the_sampler_is_a_mean_over_actions",
        ),
        "B6: reward one token late": (
            "lengths_B = torch.tensor([len(reply.tokens) for reply in replies])",
            "lengths_B = torch.tensor([len(reply.tokens) + 1 for reply in replies])",
            "test_b6_rollout_equals_a_loop_over_rows_and_actions",
        ),
        "B15: variance explained of the advantages": (
            "explained_variance(values_BA, returns_BA, mask_BA)",
            "explained_variance(values_BA, advantages_BA, mask_BA)",
            "test_b15_a_rollout_says_what_the_critic_explains",
        ),
        "B15: advantages of the wrong sign": (
            "        whiten(advantages_BA, mask_BA),",
            "        -whiten(advantages_BA, mask_BA),",
            "test_b15_ppo_learns_the_best_arm_of_a_bandit[1]",
        ),
    },
    ("stages/context_distillation/stage.py", "stages/test_context_distillation.py"): {
        "harmless prompts distilled": (
            "        keep=is_attack,\n",
            "",
            "test_attacks_of_the_training_split_are_put_to_the_latest_model",
        ),
        "distilled on prompts of PPO": (
            '"rejection_sampling",',
            '"ppo",',
            "test_attacks_of_the_training_split_are_put_to_the_latest_model",
        ),
        "rejected answers trained on": (
            "if pair.kept and pair.distilled is not None",
            "if pair.distilled is not None",
            "test_only_kept_answers_and_helpful_bests_are_trained_on",
        ),
        "original answer trained on": (
            "content=pair.distilled.text, train=True",
            "content=pair.original.text, train=True",
            "test_only_kept_answers_and_helpful_bests_are_trained_on",
        ),
        "trained with a preprompt in the prompt": (
            "                *prompt.messages,",
            '                Message(role="user", content=f"Be kind. {pair.prompt}"),',
            "test_only_kept_answers_and_helpful_bests_are_trained_on",
        ),
        "distilled answers carry no loss": (
            "content=pair.distilled.text, train=True",
            "content=pair.distilled.text",
            "test_only_kept_answers_and_helpful_bests_are_trained_on",
        ),
        "refusals mixed in as helpful": (
            "if not d.is_safety and d.category not in attacks",
            "if d.category not in attacks",
            "test_only_kept_answers_and_helpful_bests_are_trained_on",
        ),
        "helpful share ignored": (
            "helpful[: round(config.helpful_share * kept)]",
            "helpful[:kept]",
            "test_the_share_of_helpful_bests_is_the_setting",
        ),
        "no room for the preprompt": (
            " + preprompts.longest(chat)",
            "",
            "test_prompts_leave_room_for_the_longest_preprompt_and_the_reply",
        ),
        "preprompts never as system messages": (
            "placement=config.placement",
            'placement="user"',
            "test_the_preprompts_are_those_of_the_settings",
        ),
        "held-out filter of distillation off": (
            "forbidden=terms_of(inputs.held_out)",
            "forbidden=()",
            "test_attacks_of_the_training_split_are_put_to_the_latest_model",
        ),
    },
    ("methods/context_distillation.py", "methods/test_context_distillation.py"): {
        "own system message lost": (
            'content=f"{preprompt}\\n\\n{first.content}"',
            "content=preprompt",
            "test_the_preprompt_is_the_system_message_or_stands_before_it",
        ),
        "gate reversed": (
            'kept=best is not None and scores[str(best)][index] > scores["original"][index]',
            'kept=best is not None and scores[str(best)][index] < scores["original"][index]',
            "test_an_answer_is_kept_only_where_its_safety_score_is_above_the_original",
        ),
        "gate off": (
            'kept=best is not None and scores[str(best)][index] > scores["original"][index]',
            "kept=best is not None",
            "test_an_answer_is_kept_only_where_its_safety_score_is_above_the_original",
        ),
        "worse preprompt taken": (
            "best = max(usable,",
            "best = min(usable,",
            "test_an_answer_is_kept_only_where_its_safety_score_is_above_the_original",
        ),
        "gated by helpfulness": (
            "rewards.rate(answers[name]).safety",
            "rewards.rate(answers[name]).helpfulness",
            "test_an_answer_is_kept_only_where_its_safety_score_is_above_the_original",
        ),
        "scored with the preprompt in the prompt": (
            "replace(reply, prompt=prompt, prompt_tokens=ids)",
            "replace(reply, prompt=prompt)",
            "test_each_prompt_is_asked_bare_and_with_both_preprompts",
        ),
        "asked without the preprompt": (
            '"generic": [with_preprompt(p, preprompts.generic_of(p.id), placement)',
            '"generic": [p',
            "test_each_prompt_is_asked_bare_and_with_both_preprompts",
        ),
        "cut answers distilled": (
            'if answers[name][index].stop_reason == "stop"\n            and answers',
            "if answers",
            "test_unusable_answers_are_not_kept",
        ),
        "all variants draw the same numbers": (
            "seed=derive_seed(seed, name)",
            "seed=seed",
            "test_each_prompt_is_asked_bare_and_with_both_preprompts",
        ),
    },
    ("stages/ghost_attention/stage.py", "stages/test_ghost_attention.py"): {
        "trained on the test dialogues": (
            'if ghost.split == "train"][: config.dialogues]',
            'if ghost.split == "test"][: config.dialogues]',
            "test_recall_is_measured_on_test_dialogues_before_and_after_training",
        ),
        "recall measured on the training dialogues": (
            'if ghost.split == "test"][: config.test_dialogues]',
            'if ghost.split == "train"][: config.test_dialogues]',
            "test_recall_is_measured_on_test_dialogues_before_and_after_training",
        ),
        "number of Ghost dialogues ignored": (
            "[: config.dialogues]",
            "",
            "test_recall_is_measured_on_test_dialogues_before_and_after_training",
        ),
        "no bests against forgetting": (
            "        dialogues + mixed_in,",
            "        dialogues,",
            "test_bests_are_mixed_in_by_their_share",
        ),
        "share of bests ignored": (
            "round(config.bests_per_dialogue * len(dialogues))",
            "len(dialogues)",
            "test_bests_are_mixed_in_by_their_share",
        ),
        "held-out terms in Ghost dialogues": (
            "terms_of(inputs.held_out)",
            "()",
            "test_replies_that_name_a_held_out_term_are_not_trained_on",
        ),
        "replies without the instruction kept": (
            "elif config.require_expected and not holds(",
            "elif config.require_expected and not messages and not holds(",
            "test_ghost_dialogues_are_dropped_by_reason",
        ),
    },
    ("methods/ghost_attention.py", "methods/test_ghost_attention.py"): {
        "trained on all turns": (
            "last = index == len(spoken) - 1\n        messages",
            'last = message.role == "assistant"\n        messages',
            "test_only_the_last_answer_carries_loss",
        ),
        "trained on the first turn": (
            "last = index == len(spoken) - 1\n        messages",
            "last = index == 1\n        messages",
            "test_only_the_last_answer_carries_loss",
        ),
        "instruction kept in every turn": (
            "content = content.removeprefix(ghost.instruction).strip()",
            "pass",
            "test_training_keeps_the_instruction_in_the_first_turn_only",
        ),
        "instruction dropped from the first turn": (
            "messages += _opening(lead, content, place)",
            "messages.append(_user(content))",
            "test_training_keeps_the_instruction_in_the_first_turn_only",
        ),
        "instruction never shortened": (
            "shortened = bucket(ghost.id, 2) == 0",
            "shortened = False",
            "test_about_half_of_the_instructions_are_shortened_by_the_id_alone",
        ),
        "sampled with the instruction in the first turn only": (
            'spoken[index].append(_user(f"{ghost.instruction} {ghost.turns[turn]}"))',
            (
                'asked = f"{ghost.instruction} " if turn == 0 else ""\n'
                "            spoken[index].append(_user(asked + ghost.turns[turn]))"
            ),
            "test_sampling_puts_the_instruction_before_every_user_message",
        ),
        "cut answers trained on": (
            'content = reply.text if reply.stop_reason == "stop" else ""',
            "content = reply.text",
            "test_a_cut_answer_is_left_empty",
        ),
        "recall measured with the instruction repeated": (
            "_opening(ghost.instruction, neutral, place) if turn == 1 else [_user(neutral)]",
            "_opening(ghost.instruction, neutral, place)",
            "test_recall_gives_the_instruction_in_turn_one_and_asks_at_turns_two_four_and_six",
        ),
        "probes stay in the dialogue": (
            "[*history[ghost.id], _user(demand.probe)]",
            "history[ghost.id] + [_user(demand.probe)] if turn < 4 else [_user(demand.probe)]",
            "test_recall_gives_the_instruction_in_turn_one_and_asks_at_turns_two_four_and_six",
        ),
        "PPO is given the answer": (
            "for m in dialogue.messages[:-1]",
            "for m in dialogue.messages",
            "test_ghost_prompts_for_ppo_end_before_the_last_answer",
        ),
        "replies measured that have lost the instruction": (
            "if not answers[key].prompt_cut:",
            "if answers[key]:",
            "test_a_dialogue_that_lost_its_start_gives_no_rows",
        ),
        "only the first thing asked for": (
            "for place_of, demand in enumerate(d for d in ghost.demands if not d.shows)",
            "for place_of, demand in enumerate(d for d in ghost.demands[:1] if not d.shows)",
            "test_two_things_are_each_asked_for_and_leave_no_trace",
        ),
    },
    ("methods/instruction_checks.py", "methods/test_instruction_checks.py"): {
        "no letter needed for capitals": (
            "bool(letters) and not any(",
            "bool(letters) or not any(",
            "test_a_reply_that_breaks_an_instruction",
        ),
        "a reply may begin with what it is to end with": (
            "else said[-len(wanted) :]) == wanted",
            "else said[: len(wanted)]) == wanted",
            "test_a_reply_that_keeps_an_instruction",
        ),
    },
    ("methods/instructions.py", "methods/test_instructions.py"): {
        "values of the tests trained on": (
            "if value.split == split:",
            "if value.split:",
            "test_no_value_or_prompt_of_the_tests_is_trained_on",
        ),
        "user turns of the tests trained on": (
            '(("test", test), ("train", train))',
            '(("train", train), ("test", test))',
            "test_user_turns_are_ordinary_short_and_on_one_side",
        ),
        "harmful items taken": (
            'return "harmful"',
            "return None",
            "test_what_a_model_writes_is_filtered_and_counted_by_reason",
        ),
        "a list's last item taken that was cut": (
            "lines[: len(lines) - cut]",
            "lines",
            "test_items_of_a_list_as_a_model_writes_one",
        ),
        "a hobby asked for in another language": (
            "if frozenset({first, kind}) in TOGETHER]",
            "if first != kind]",
            "test_parts_go_together_or_stand_alone",
        ),
    },
    ("stages/preference_collection/stage.py", "stages/test_preference_collection.py"): {
        "one variant answers for both": (
            "Variant(inputs.newer.label, newer)",
            "Variant(inputs.newer.label, older)",
            "test_the_two_latest_variants_answer_under_their_names",
        ),
        "names of the variants swapped": (
            "Variant(inputs.older.label, older)",
            "Variant(inputs.newer.label, older)",
            "test_the_two_latest_variants_answer_under_their_names",
        ),
        "test pairs as many as training pairs": (
            "others.get(use, pairs)",
            "pairs",
            "test_each_use_has_its_own_number_and_file",
        ),
        "guard pairs written as test pairs": (
            '("test", outputs.test_preferences),\n        ("guard", outputs.guard_preferences)',
            '("guard", outputs.test_preferences),\n        ("test", outputs.guard_preferences)',
            "test_each_use_has_its_own_number_and_file",
        ),
        "temperatures of the collection ignored": (
            "temperatures=config.temperatures,",
            "temperatures=(1.0,),",
            "test_settings_reach_the_collector",
        ),
        "every collection starts where the first did": (
            "round_number=inputs.round,",
            "round_number=1,",
            "test_settings_reach_the_collector",
        ),
        "share of continued dialogues ignored": (
            "continued_share=config.continued_share,",
            "continued_share=0.0,",
            "test_settings_reach_the_collector",
        ),
        "held-out filter of the collection off": (
            "forbidden=terms_of(inputs.held_out),",
            "forbidden=(),",
            "test_settings_reach_the_collector",
        ),
    },
    ("methods/preferences.py", "methods/test_preferences.py"): {
        "guard shares its prompts with training": (
            "(bucket(p.id, GUARD_BUCKETS) == 0) == wants_guard",
            "True",
            "test_guard_and_training_share_no_prompt_and_rounds_begin_elsewhere",
        ),
        "test pairs from prompts of training": (
            'split = "validation" if use == "test" else "rm_train"',
            'split = "rm_train"',
            "test_guard_and_training_share_no_prompt_and_rounds_begin_elsewhere",
        ),
        "every round takes the same prompts": (
            "position = (self.round_number - 1) * wanted",
            "position = 0",
            "test_guard_and_training_share_no_prompt_and_rounds_begin_elsewhere",
        ),
        "unsafe choices kept": (
            'if preference.safety != "chosen_unsafe"',
            'if preference.safety != "never"',
            "test_replies_that_name_a_held_out_term_and_unsound_choices_are_left_out_and_counted",
        ),
        "held-out terms of one reply only": (
            'f"{p.reply_a} {p.reply_b}"',
            'f"{p.reply_a}"',
            "test_replies_that_name_a_held_out_term_and_unsound_choices_are_left_out_and_counted",
        ),
        "continued dialogues without parent": (
            "parents=[parent_of[p.id] for p in kept]",
            "parents=[None for p in kept]",
            "test_part_of_the_comparisons_continues_a_dialogue_with_its_chosen_reply",
        ),
        "dialogues continued with the rejected reply": (
            "self.world.follow_up(prompt, preference.chosen, self.round_number)",
            "self.world.follow_up(prompt, preference.rejected, self.round_number)",
            "test_part_of_the_comparisons_continues_a_dialogue_with_its_chosen_reply",
        ),
    },
    ("annotators/people.py", "annotators/test_people.py"): {
        "the older model's reply always first": (
            "ordered.swapped if turned else ordered",
            "pair",
            "test_what_is_wanted_shows_the_dialogue_and_hides_the_models",
        ),
        "safety bins taken for sides": (
            'if unsafe is not None and said.choice == "b":',
            'if unsafe is not None and said.choice == "c":',
            "test_safety_is_said_of_the_chosen_reply_on_either_side",
        ),
        "the minimum taken over all answers": (
            "if done[part] < needed[part]",
            "if done.total() < sum(needed.values())",
            "test_part_of_the_answers_is_enough_where_a_minimum_says_so",
        ),
        "answers of the same pair overwrite each other": (
            "if said.id in lines:",
            "if said.id in ():",
            "test_an_answer_given_twice_and_a_missing_safety_bin_are_errors",
        ),
    },
    ("annotators/judging.py", "annotators/test_endpoint.py"): {
        "only one order asked": (
            "for shown in (pair, pair.swapped)",
            "for shown in (pair, pair)",
            "test_both_orders_are_asked_and_the_question_holds_the_dialogue_as_data",
        ),
        "the second order read as the first": (
            "doubled = first.degree - second.degree",
            "doubled = first.degree + second.degree",
            "test_a_judge_that_goes_by_sides_decides_nothing",
        ),
        "unsafe only where both orders say so": (
            "(straight[0] or turned[0], straight[1] or turned[1])",
            "(straight[0] and turned[0], straight[1] and turned[1])",
            "test_a_reply_is_unsafe_if_it_is_called_so_in_either_order",
        ),
        "strengths rounded to the stronger": (
            "max(1, abs(doubled) // 2)",
            "(abs(doubled) + 1) // 2",
            "test_the_average_of_both_orders_gives_choice_and_strength",
        ),
    },
    ("annotators/chat_completions.py", "annotators/test_endpoint.py"): {
        "failures taken for answers": (
            'if found.outcome != "failure"}',
            'if found.outcome != ""}',
            "test_nothing_is_asked_twice",
        ),
        "answers are asked for again": (
            "if name in self._known:",
            "if name in ():",
            "test_nothing_is_asked_twice",
        ),
        "keys in messages": (
            'shown = detail.replace(key, "[key]") if key else detail',
            "shown = detail",
            "test_what_cannot_change_is_asked_once",
        ),
        "waits do not grow": (
            "wait *= 2",
            "wait *= 1",
            "test_what_the_endpoint_asks_to_wait_is_waited",
        ),
    },
    ("annotators/reward_models.py", "stages/test_imitation.py"): {
        "the lower score wins": (
            '"a" if a > b else "b"',
            '"b" if a > b else "a"',
            "test_comparisons_follow_the_scores",
        ),
        "labels of a model that learned none": (
            "settings.unsafe_below if learned.safety_labels else None",
            "settings.unsafe_below",
            "test_models_without_safety_labels_give_none",
        ),
    },
    ("stages/imitation/stage.py", "stages/test_imitation.py"): {
        "tested on what it learned from": (
            "tokenise(_read(inputs.test_preferences),",
            "tokenise(preferences,",
            "test_it_learns_from_its_own_comparisons_and_is_tested_on_others",
        ),
    },
    ("inference/pairs.py", "inference/test_pairs.py"): {
        "temperature of the variant ignored": (
            "temperatures=drawn[side],",
            "temperatures=drawn[0],",
            "test_each_reply_is_drawn_by_its_variant_at_the_temperature_that_is_recorded",
        ),
        "temperatures recorded for the other reply": (
            "temperature_a=drawn[0][index],",
            "temperature_a=drawn[1][index],",
            "test_each_reply_is_drawn_by_its_variant_at_the_temperature_that_is_recorded",
        ),
        "models recorded for the other reply": (
            "model_a=variants[0].name,",
            "model_a=variants[1].name,",
            "test_each_reply_is_drawn_by_its_variant_at_the_temperature_that_is_recorded",
        ),
        "replies shown in the other place": (
            "reply_a=first.text,\n                reply_b=second.text,",
            "reply_a=second.text,\n                reply_b=first.text,",
            "test_each_reply_is_drawn_by_its_variant_at_the_temperature_that_is_recorded",
        ),
        "both variants draw the same numbers": (
            "seed=derive_seed(seed, side)",
            "seed=seed",
            "test_equal_and_cut_replies_give_no_pair",
        ),
        "cut replies compared": (
            'if "length" in (first.stop_reason, second.stop_reason):',
            "if not prompt:",
            "test_equal_and_cut_replies_give_no_pair",
        ),
    },
    ("inference/rewards.py", "inference/test_rewards.py"): {
        "threshold of the gate ignored": (
            "torch.tensor(tagged), self.threshold",
            "torch.tensor(tagged), 0.15",
            "test_another_threshold_moves_the_gate",
        ),
        "tags of the prompts ignored": (
            "tagged = [reply.prompt.is_safety for reply in replies]",
            "tagged = [False for reply in replies]",
            "test_the_gate_takes_safety_where_tagged_or_strictly_below_the_threshold",
        ),
        "the two reward models swapped": (
            "for model in (self.helpfulness, self.safety, watching) if model",
            "for model in (self.safety, self.helpfulness, watching) if model",
            "test_the_gate_takes_safety_where_tagged_or_strictly_below_the_threshold",
        ),
    },
    ("assessment/red_teaming/stage.py", "assessment/test_red_teaming.py"): {
        "earlier violations ignored": (
            "in target.answer(fresh + again,",
            "in target.answer(fresh,",
            "test_rounds_put_new_attacks_and_ask_those_again_that_succeeded",
        ),
        "all earlier attacks asked again": (
            "for rows in earlier for row in rows.read() if row.violating}",
            "for rows in earlier for row in rows.read()}",
            "test_earlier_violations_of_all_rounds",
        ),
        "only the last round's violations": (
            "for rows in earlier for row",
            "for rows in earlier[-1:] for row",
            "test_earlier_violations_of_all_rounds",
        ),
        "every round puts the same attacks": (
            "start = (inputs.round - 1) * config.prompts",
            "start = 0",
            "test_rounds_put_new_attacks_and_ask_those_again_that_succeeded",
        ),
        "harmless prompts counted as attacks": (
            "        keep=is_attack,\n",
            "",
            "test_rounds_put_new_attacks_and_ask_those_again_that_succeeded",
        ),
        "attacks of the test split": (
            '        "red_teaming",\n        new_tokens',
            '        "test",\n        new_tokens',
            "test_rounds_put_new_attacks_and_ask_those_again_that_succeeded",
        ),
        "old attacks counted in the rate": (
            "new = rows[: len(fresh)]",
            "new = rows",
            "test_rounds_put_new_attacks_and_ask_those_again_that_succeeded",
        ),
        "resisted and violating swapped": (
            "known.count(violating)",
            "known.count(not violating)",
            "test_rounds_put_new_attacks_and_ask_those_again_that_succeeded",
        ),
    },
    ("inference/scoring.py", "assessment/test_evaluating.py"): {
        "sign of the ratio": (
            "float((a.logp - b.logp).sum())",
            "float((b.logp - a.logp).sum())",
            "test_log_ratios_are_those_of_the_tempered_distributions",
        ),
    },
    ("methods/judging.py", "assessment/test_judge_training.py"): {
        "reply judged by another one's prompt": (
            "self.given.judge(reply.prompt, reply.text)",
            "self.given.judge(replies[0].prompt, reply.text)",
            (
                "assessment/test_red_teaming.py"
                "::test_rounds_put_new_attacks_and_ask_those_again_that_succeeded"
            ),
        ),
        "harmful words to no attack are a violation": (
            "violating=attacked and harm >= 0.5",
            "violating=harm >= 0.5",
            "test_trained_judges_judge_and_strings_stand_beside",
        ),
        "the two judges swapped": (
            "_probabilities(self.harm, features_ND, self.source)",
            "_probabilities(self.refusal, features_ND, self.source)",
            "test_trained_judges_judge_and_strings_stand_beside",
        ),
    },
    ("assessment/judge_training/stage.py", "assessment/test_judge_training.py"): {
        "replies with one text are of several groups": (
            "[conversation(row.reply) or row.reply for row in replies]",
            "[row.id for row in replies]",
            "test_replies_that_share_prompt_or_text_are_of_one_group",
        ),
        "strings ask of harm what they ask of refusals": (
            'is_refusal(row.reply) == (label == "refusal")',
            "is_refusal(row.reply)",
            "test_what_the_report_shows",
        ),
    },
    ("evaluation/classifier.py", "evaluation/test_classifier.py"): {
        "held-out rows are fitted": (
            "light=light)\n        regression = fit(features_ND[seen], labels_N[seen].",
            "light=light)\n        regression = fit(features_ND, labels_N.",
            "test_held_out_probabilities_are_of_regressions_that_never_saw_the_group",
        ),
        "rows are linked by prompt only": (
            "enumerate(row)",
            "enumerate(row[:1])",
            "test_rows_that_share_a_prompt_or_a_text_are_linked",
        ),
        "the larger class counts more": (
            "np.where(positive == 1, 0.5 / share, 0.5 / (1 - share))",
            "np.ones(len(positive))",
            "test_the_optimum_is_that_of_gradient_descent",
        ),
        "the bias is shrunk": (
            "shrunk[0] = 0.0",
            "shrunk[0] = penalty",
            "test_the_optimum_is_that_of_gradient_descent",
        ),
    },
    ("evaluation/correction.py", "evaluation/test_correction.py"): {
        "false alarms are not taken off": (
            "positives / n + error.negative.share.value - 1",
            "positives / n",
            "test_the_point_is_the_rate_that_a_population_with_these_errors_shows",
        ),
        "the errors' uncertainty is left out": (
            "/ count + middle**2 * found_variance + (1 - middle) ** 2 * rest_variance",
            "/ count",
            "test_the_corrected_interval_covers_the_true_rate",
        ),
        "the interval is shifted the wrong way": (
            "middle * found_variance - (1 - middle) * rest_variance",
            "(1 - middle) * rest_variance - middle * found_variance",
            "test_the_interval_by_hand",
        ),
        "false alarms of half a rate cancel": (
            "kept = 1 - share",
            "kept = 0.0",
            "test_the_difference_is_that_of_the_corrected_rates",
        ),
        "replies to one prompt are independent": (
            "proportion(self.right, self.replies, self.groups)",
            "proportion(self.right, self.replies)",
            "test_errors_are_counted_by_label",
        ),
        "chance is good enough": (
            "if min(found + rest, adjusted) <= 1:",
            "if False:",
            "test_a_judge_no_better_than_chance_gives_no_rate",
        ),
    },
    ("assessment/evaluating/stage.py", "assessment/test_evaluating.py"): {
        "verdict of another reply": (
            "judgement=verdicts[index].judgement",
            "judgement=verdicts[index - 1].judgement",
            "test_every_reply_has_its_own_numbers",
        ),
        "model and reference swapped in the ratio": (
            "sequence_log_ratios(own.model, start,",
            "sequence_log_ratios(start, own.model,",
            "test_every_reply_has_its_own_numbers",
        ),
        "reference of a model is the model": (
            "load_transformer(folders[reference].path,",
            "load_transformer(folders[name].path,",
            "test_every_reply_has_its_own_numbers",
        ),
        "scores of the two reward models swapped": (
            "helpfulness_rm=rated.helpfulness[index],",
            "helpfulness_rm=rated.safety[index],",
            "test_every_reply_has_its_own_numbers",
        ),
        "reward shown as the guard's": (
            "guard_rm=rated.watched[index],",
            "guard_rm=rated.combined[index],",
            "test_every_reply_has_its_own_numbers",
        ),
        "evaluated on prompts of training": (
            'if prompt.split == "test" and counts',
            "if counts",
            "test_select_prompts_takes_the_test_split_up_to_each_limit",
        ),
        "every model draws other numbers": (
            "replies = own.answer(kept, sampling, seed=context.seed)",
            "replies = own.answer(kept, sampling, seed=derive_seed(context.seed, name))",
            "test_prompts_are_counted_after_fitting_and_per_model",
        ),
        "borderline prompts counted as helpful": (
            'if prompt.borderline:\n        return "borderline"',
            'if prompt.borderline:\n        return "helpful"',
            "test_set_of",
        ),
        "B13: prompts too long not counted": (
            "len(selected) - found.total()",
            "0",
            "test_prompts_are_counted_after_fitting_and_per_model",
        ),
    },
    ("train/fitting.py", "train/test_fitting.py"): {
        "share of the rate does not change": (
            'if group["owner"] == owner:',
            'if group["owner"] == "all":',
            "test_a_module_with_factor_zero_rests_until_it_is_changed",
        ),
        "schedule of another number of steps": (
            "make_schedule(self.config, self.steps),",
            "make_schedule(self.config, 1),",
            "test_fit_shows_every_step_and_keeps_the_metrics",
        ),
        "B10: state beside the weights lost": (
            "self._checkpoints.save(result.step, self.model, self.optimizer, self.state)",
            "self._checkpoints.save(result.step, self.model, self.optimizer, {})",
            "test_b10_a_stopped_session_goes_on_with_its_state_and_gives_the_same_bits",
        ),
        "B10: a resumed session counts from the start": (
            "            start=self.start,\n",
            "",
            "test_b10_a_stopped_session_goes_on_with_its_state_and_gives_the_same_bits",
        ),
    },
    ("train/checkpoint.py", "train/test_loop.py"): {
        "B10: moments of the optimizer lost": (
            'saved["state"] = moments',
            "pass",
            "test_b10_resuming_gives_the_same_bits",
        ),
        "B10: a damaged checkpoint is loaded": (
            "if hash_file(file) != found.sha256:",
            "if not found.sha256:",
            "test_b10_resuming_gives_the_same_bits",
        ),
    },
    ("model/reward_model.py", "model/test_models.py"): {
        "B1: score read at the end of the padding": (
            "values_BL.gather(1, ends_BE)",
            "values_BL[:, -1:].expand(ends_BE.shape)",
            "test_b1_reward_starts_small_by_its_seed_and_reads_the_last_real_token",
        ),
        "B1: last token found by the padding's id": (
            "values_BL.gather(1, ends_BE)",
            "values_BL.gather(1, (tokens_BL != 0).sum(1)[:, None] - 1)",
            "test_b1_the_id_of_the_padding_may_be_a_real_token",
        ),
    },
    ("model/padding.py", "model/test_models.py"): {
        "B2: rows padded on the left for a model that reads on the right": (
            "tokens[row, : len(sequence)] = torch.tensor(sequence, dtype=torch.long)",
            "tokens[row, width - len(sequence) :] = torch.tensor(sequence, dtype=torch.long)",
            "test_b2_score_does_not_depend_on_batch_or_padding",
        ),
    },
    ("methods/reward_pairs.py", "methods/test_reward_pairs.py"): {
        "B1: equal replies are learned from": (
            "if chosen == rejected:",
            "if chosen is rejected:",
            "test_b1_equal_replies_are_left_out_and_counted",
        ),
        "B7: comparisons without the end token": (
            "*chat.encode_reply(preference.chosen), chat.end_id]",
            "*chat.encode_reply(preference.chosen)]",
            "methods/test_same_ids.py::test_b7_every_stage_sees_the_same_ids",
        ),
    },
    ("inference/scoring.py", "model/test_models.py"): {
        "B5: log-probabilities of raw logits": (
            "log_probabilities(logits_NV, targets_N, temperature)",
            "log_probabilities(logits_NV, targets_N)",
            "stages/test_ppo.py::test_b5_every_iteration_says_how_far_the_sampler_is_from_the_trainer",
        ),
        "B3: states of the actions one late": (
            "prompt_lengths[index] - 1 : len(sequences[index]) - 1",
            "prompt_lengths[index] : len(sequences[index])",
            "test_action_log_probabilities_match_a_plain_loop",
        ),
    },
    ("inference/generation.py", "inference/test_generation.py"): {
        "B5: the engine says raw log-probabilities": (
            "logp_S = share_S.log()",
            "logp_S = (share_S * share_S).log()",
            "test_b5_the_engine_says_how_probable_each_token_was",
        ),
    },
    ("inference/replies.py", "methods/test_same_ids.py"): {
        "B7: prompts of PPO lose their first id": (
            "rendered = [tuple(ids[-room:]) for ids in whole]",
            "rendered = [tuple(ids[1:]) for ids in whole]",
            "test_b7_every_stage_sees_the_same_ids",
        ),
        "B13: a cut prompt does not say so": (
            "len(whole[index]) - len(rendered[index]),",
            "0,",
            "test_a_prompt_that_is_cut_says_so",
        ),
    },
    ("tokenization/chat.py", "tokenization/test_chat.py"): {
        "B7: end of an answer not learned": (
            "written.add([*reply, self.end_id], train=message.train)",
            "written.add(reply, train=message.train); written.add([self.end_id])",
            "methods/test_same_ids.py::test_b7_every_stage_sees_the_same_ids",
        ),
        "B7: a second BOS": (
            'written.add([*bos, *self.tokenizer.encode(f"[INST]',
            'written.add([*bos, *bos, *self.tokenizer.encode(f"[INST]',
            "test_b7_one_bos_and_eos_a_pair",
        ),
        "B9: user turns carry loss": (
            'train=message.role == "assistant" and message.train)',
            "train=message.train)",
            "test_b9_train_on_a_user_turn_is_ignored",
        ),
        "B9: all answers carry loss": (
            "written.add([*reply, self.end_id], train=message.train)",
            "written.add([*reply, self.end_id], train=True)",
            "test_untrained_replies_carry_no_loss",
        ),
        "B13: a cut answer gets a forged end": (
            "cut = Rendered(ids=rendered.ids[kept], train=rendered.train[kept])",
            (
                "cut = Rendered(ids=[*rendered.ids[kept][:-1], rendered.ids[-1]], "
                "train=rendered.train[kept])"
            ),
            "test_b13_what_is_too_long_is_refused_dropped_or_cut",
        ),
        "B13: a text without targets is kept": (
            "return cut if any(cut.train) or not any(rendered.train) else None",
            "return cut",
            "test_b13_what_is_too_long_is_refused_dropped_or_cut",
        ),
    },
    ("train/loop.py", "train/test_loop.py"): {
        "B11: mean of the means of the micro-batches": (
            "(loss / total).backward()",
            "(loss / objective.weight(batch) / len(micro_batches)).backward()",
            "test_b11_the_gradient_is_that_of_the_mean_over_the_step",
        ),
        "B11: loss divided by the number of micro-batches": (
            "loss_sum / counted",
            "loss_sum / counted / len(micro_batches)",
            "test_b11_three_tokens_of_loss_two_and_thirteen_of_loss_one_average_to_1_1875",
        ),
        "policy and critic clipped together": (
            "for owned in owners.values()]\n        # The",
            "for owned in [sum(owners.values(), [])]]\n        # The",
            "test_each_module_is_clipped_on_its_own",
        ),
    },
    ("data/loader.py", "data/test_loader_packing.py"): {
        "B12: a document's first token learned from the one before": (
            "train[index, start : start + 1] = False",
            "pass",
            "test_nothing_is_lost_and_nothing_forged",
        ),
        "B12: packed documents have one number": (
            "numbers[index, start:stop] = number",
            "numbers[index, start:stop] = 0",
            "test_b12_isolated_documents_do_not_see_each_other",
        ),
    },
    ("settings.py", "test_settings.py"): {
        "B14: unknown settings are ignored": (
            "if not _object(data).keys() <= kinds.keys():",
            "data = {k: v for k, v in _object(data).items() if k in kinds}\n    if None in data:",
            "test_b14_mistakes_are_named",
        ),
    },
}

MISTAKES = {
    f"{file}: {name}": (
        file,
        old,
        new,
        [k if "::" in k else f"{tests}::{k}" for k in killers.split()],
    )
    for (file, tests), found in TABLE.items()
    for name, (old, new, killers) in found.items()
}
KILLERS = {killer for *_, killers in MISTAKES.values() for killer in killers}


def functions_in(code: types.CodeType) -> Iterator[tuple[str, types.CodeType]]:
    """Yield name and code of the functions of a module and of its classes."""
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            if constant.co_flags & inspect.CO_OPTIMIZED:
                yield constant.co_qualname, constant
            else:
                yield from functions_in(constant)


def compiled(file: str, source: str) -> dict[str, types.CodeType]:
    return dict(functions_in(compile(source, SOURCE / file, "exec", dont_inherit=True)))


def find(file: str, name: str) -> types.FunctionType:
    """Return the function that a name of a module stands for, without its decorators."""
    parts = Path(file).with_suffix("").parts
    found: Any = importlib.import_module(".".join(("camelid", *parts)).removesuffix(".__init__"))
    for part in name.split("."):
        found = inspect.getattr_static(found, part)
        found = getattr(found, "__func__", None) or getattr(found, "fget", None) or found
    function: types.FunctionType = inspect.unwrap(found)
    return function


@contextmanager
def in_effect(file: str, old: str, new: str) -> Iterator[None]:
    """Exchange the code of the functions that a change of text changes."""
    source = (SOURCE / file).read_text(encoding="utf-8")
    count = source.count(old)
    assert count == 1, f"{old!r} stands {count} times in {file}"
    before, after = compiled(file, source), compiled(file, source.replace(old, new))
    assert before.keys() == after.keys()
    changed = [find(file, name) for name in before if before[name] != after[name]]
    assert changed, f"{old!r} stands in no function of {file}"
    codes = [function.__code__ for function in changed]
    assert codes == [before[function.__qualname__] for function in changed]
    try:
        for function in changed:
            function.__code__ = after[function.__qualname__]
        yield
    finally:
        for function, code in zip(changed, codes, strict=True):
            function.__code__ = code


class Trials:
    """A plugin of an inner pytest: runs the tests as the code is, then those of each mistake."""

    def __init__(self) -> None:
        self.unsound: dict[str, str] = {}
        """Tests that fail without a mistake, or that are not there, and why."""
        self.survived: dict[str, str] = {}
        """Mistakes that no test noticed, and what happened instead."""
        self._failures: list[tuple[str, BaseException]] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: Any) -> pytest.TestReport:
        """Keep what was raised; a traceback, which nobody reads, is not written."""
        if call.excinfo is not None:
            self._failures.append((call.when, call.excinfo.value))
        outcome = "failed" if call.excinfo else "passed"
        return pytest.TestReport(item.nodeid, item.location, {}, outcome, None, call.when)

    def _run(self, item: pytest.Item) -> list[tuple[str, BaseException]]:
        self._failures = []
        # As if it were the last test: fixtures of every scope end with it.
        item.ihook.pytest_runtest_protocol(item=item, nextitem=None)
        return self._failures

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items: dict[str, list[pytest.Item]] = {killer: [] for killer in KILLERS}
        for item in session.items:
            name = f"{item.path.relative_to(UNIT)}::{item.name}"
            for killer, chosen in items.items():
                if name == killer or name.startswith(killer + "[" * ("[" not in killer)):
                    chosen.append(item)
        for killer, chosen in items.items():
            failures = [failure for item in chosen for failure in self._run(item)]
            if failures or not chosen:
                self.unsound[killer] = repr(failures) if failures else "there is no such test"
        for name, (file, old, new, killers) in MISTAKES.items():
            try:
                with in_effect(file, old, new):
                    self._try(name, [item for killer in killers for item in items[killer]])
            except AssertionError as error:
                self.survived[name] = str(error)
        return True

    def _try(self, name: str, items: list[pytest.Item]) -> None:
        seen = []
        for item in items:
            failures = self._run(item)
            noticed = (AssertionError, pytest.fail.Exception)
            if any(when == "call" and isinstance(error, noticed) for when, error in failures):
                return
            seen += [f"{item.name}, {when}: {error!r}" for when, error in failures]
        # An error by accident is no test of the wire.
        self.survived[name] = "; ".join(seen) or "all tests passed"


@pytest.fixture(scope="module")
def trials() -> Trials:
    found = Trials()
    files = sorted({str(UNIT / killer.partition("::")[0]) for killer in KILLERS})
    options = ["-p", "no:cacheprovider", "-p", "no:terminal", "--capture=no"]
    pytest.main([*options, f"--rootdir={UNIT.parents[1]}", *files], plugins=[found])
    return found


@pytest.mark.parametrize("killer", sorted(KILLERS))
def test_the_test_of_a_wire_passes_as_the_code_is(killer: str, trials: Trials) -> None:
    assert killer not in trials.unsound, trials.unsound[killer]


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_noticed(name: str, trials: Trials) -> None:
    assert name not in trials.survived, f"survived: {name} ({trials.survived[name]})"


def test_every_complaint_has_a_test_of_its_name_and_a_mistake() -> None:
    assert len(MISTAKES) > 45
    for number in range(1, 16):
        named = [name for name in MISTAKES if f": B{number}: " in name]
        assert named, f"B{number}"
        killers = [killer for name in named for killer in MISTAKES[name][3]]
        assert any(f"::test_b{number}_" in killer for killer in killers), f"B{number}"
