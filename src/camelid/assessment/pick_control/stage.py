"""Picks by chance or by the judge, and fine-tunes as the round did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from camelid.assessment.pick_control import REWARDED, Config, GateWork, Inputs, Outputs, Result
from camelid.data.annotation import Judge
from camelid.data.records import Prompt, Sample
from camelid.errors import DataError
from camelid.formats.folder import load_transformer
from camelid.methods.fine_tuning import fine_tune
from camelid.methods.prompts import terms_of
from camelid.methods.rejection_sampling import best_id, pick_bests
from camelid.run.stage import StageContext
from camelid.seeds import derive_seed
from camelid.tokenization.chat import load_chat_format


def _gate_work(samples: Sequence[Sample], prompts: dict[str, Prompt], judge: Judge) -> GateWork:
    known = [(s, prompts[s.prompt_id]) for s in samples if s.prompt_id in prompts]
    found = [
        (s.reward == s.safety, bool(judge.judge(prompt, s.text).violating))
        for s, prompt in known
        if not prompt.is_safety
    ]
    return GateWork(
        answers=len(found),
        closed=sum(closed for closed, _ in found),
        unsafe=sum(unsafe for _, unsafe in found),
        closed_unsafe=sum(closed and unsafe for closed, unsafe in found),
    )


def run(config: Config, inputs: Inputs, outputs: Outputs, context: StageContext) -> Result:
    """Replace the reward models' picks of the round, and train on the rest unchanged."""
    rewarded = {dialogue.id: dialogue for dialogue in inputs.bests.read_some()}
    prompts = [p for p in inputs.prompts.read_some() if best_id(inputs.round, p) in rewarded]
    if not prompts:
        raise DataError(f"{context.name}: round {inputs.round} has picked no answer to replace.")
    samples, judge = inputs.samples.read_some(), config.judge.judge

    def chance(prompt: Prompt, sample: Sample) -> int:
        return derive_seed(context.run_seed, "pick", prompt.id, sample.sample)

    values: dict[str, Callable[[Prompt, Sample], Any]] = {
        "random": chance,
        "likeliest": lambda _, sample: sample.logp,
        REWARDED: lambda _, sample: sample.reward,
        # Of several that it finds equal, one by chance.
        "judge": lambda p, sample: (judge(p, sample.text).score or 0.0, chance(p, sample)),
    }
    forbidden = terms_of(inputs.held_out)
    picked = {
        picker: pick_bests(prompts, samples, forbidden, inputs.round, value=value)[0]
        for picker, value in values.items()
    }
    picks = picked[config.pick]
    outputs.picks.write(picks)
    by_id = {best_id(inputs.round, prompt): prompt for prompt in prompts}
    texts = {who: {d.id: d.messages[-1].content for d in found} for who, found in picked.items()}
    compared = [name for name in by_id if all(name in found for found in texts.values())]
    exact = {
        who: sum(bool(judge(by_id[name], found[name]).exact) for name in compared)
        for who, found in texts.items()
    }
    mixed = list((rewarded | {dialogue.id: dialogue for dialogue in picks}).values())
    tuned = fine_tune(
        load_transformer(inputs.base.path, context.runtime),
        load_chat_format(inputs.tokenizer.path),
        inputs.demonstrations.read() + mixed,
        config.fine_tuning,
        context,
        outputs=outputs,
    )
    return Result(
        fine_tuning=tuned,
        judge=config.judge.name,
        picks=len(picks),
        compared=len(compared),
        exact=exact,
        gate=_gate_work(samples, {prompt.id: prompt for prompt in prompts}, config.judge),
    )
