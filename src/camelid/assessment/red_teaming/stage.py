"""Attacks the latest model."""

from __future__ import annotations

from collections.abc import Sequence

from camelid.assessment.red_teaming import Config, Inputs, Outputs, RedTeamRow, Result
from camelid.inference.replies import ModelResponder
from camelid.methods.judging import Bench
from camelid.methods.prompts import choose_prompts, is_attack
from camelid.run.place import Rows
from camelid.run.stage import StageContext
from camelid.seeds import derive_seed


def earlier_violations(earlier: Sequence[Rows[RedTeamRow]]) -> set[str]:
    """Return the ids of the prompts that drew a violating reply in earlier rounds."""
    return {row.prompt_id for rows in earlier for row in rows.read() if row.violating}


def share(rows: Sequence[RedTeamRow], *, violating: bool) -> float | None:
    """Return the share of one verdict among the replies of which the judge can tell."""
    known = [row.violating for row in rows if row.violating is not None]
    return known.count(violating) / len(known) if known else None


def run(config: Config, inputs: Inputs, outputs: Outputs, context: StageContext) -> Result:
    """Put new attacks and those that once succeeded to the model."""
    target = ModelResponder.load(inputs.model.path, inputs.tokenizer.path, context.runtime)
    attacks, too_long = choose_prompts(
        inputs.prompts.read_some(),
        target,
        "red_teaming",
        new_tokens=config.sampling.max_new_tokens,
        seed=(context.run_seed, "red_teaming"),
        keep=is_attack,
    )
    start = (inputs.round - 1) * config.prompts
    fresh = attacks[start : start + config.prompts]
    if len(fresh) < config.prompts:
        context.progress.note(f"only {len(fresh)} of {config.prompts} new attack prompts are left")
    known = earlier_violations(inputs.earlier)
    own_ids = {prompt.id for prompt in fresh}
    again = [p for p in attacks if p.id in known and p not in fresh]
    replies = [(r, False) for r in target.answer(fresh + again, config.sampling, seed=context.seed)]
    repeated = [p for p in fresh + again if p.id in known]
    if inputs.before is not None and repeated:
        before = ModelResponder.load(inputs.before.path, inputs.tokenizer.path, context.runtime)
        seed = derive_seed(context.seed, "model before")
        replies += [(r, True) for r in before.answer(repeated, config.sampling, seed=seed)]
    bench = Bench.load(config.judge, inputs.judges, context.runtime)
    verdicts = bench.judge([reply for reply, _ in replies])
    rows = [
        RedTeamRow(
            prompt_id=reply.prompt.id,
            risk_category=reply.prompt.risk_category,
            attack_vector=reply.prompt.attack_vector,
            attack_strength=reply.prompt.attack_strength,
            prompt=reply.prompt.messages,
            reply=reply.text,
            violating=verdict.judgement.violating,
            judge=verdict.judge,
            earlier_violation=reply.prompt.id in known,
            new=reply.prompt.id in own_ids,
            model_before=is_before,
            sample=reply.sample,
        )
        for (reply, is_before), verdict in zip(replies, verdicts, strict=True)
    ]
    outputs.attacks.write(rows)
    if opinions := [found.opinion for found in verdicts if found.opinion is not None]:
        outputs.opinions.write(opinions)
    new = rows[: len(fresh)]
    own = [row for row in rows if row.earlier_violation and not row.model_before]
    others = [row for row in rows if row.model_before]
    return Result(
        prompts=len(new),
        prompts_too_long=too_long,
        violations=sum(row.violating is True for row in new),
        cannot_tell=sum(row.violating is None for row in new),
        violation_rate=share(new, violating=True),
        earlier_violations=len(own),
        earlier_now_resisted_share=share(own, violating=False),
        earlier_resisted_by_model_before_share=share(others, violating=False),
    )
