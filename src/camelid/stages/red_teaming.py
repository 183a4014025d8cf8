"""Red teaming (Section 4.3).

Attack prompts over risk category x attack vector x strength, of a split on which nothing is
trained, are put to the latest model; a judge says which replies violate. Prompts that got a
violating reply in earlier rounds are asked again: the share now resisted is the paper's rejection
rate, model over model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from camelid.data.annotation import Judge
from camelid.data.records import Prompt, iterate_json_lines, read_records, write_records
from camelid.formats.folder import load_transformer
from camelid.inference.replies import fitting_prompts, sample_replies
from camelid.inference.sampling import Sampling
from camelid.run.seeds import derive_seed
from camelid.run.stage import StageContext, StageInputs
from camelid.runtime import Precision, default_device
from camelid.tokenization.chat import load_chat_format


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of one exercise."""

    prompts: int
    """New attack prompts a round."""
    sampling: Sampling
    """Temperature and length of the replies."""


@dataclass(frozen=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads, relative to the run."""

    tokenizer: str
    model: str
    prompts: str
    earlier: tuple[str, ...]
    """`red_teaming.jsonl` of earlier rounds."""
    round: int


def earlier_violations(context: StageContext, paths: Sequence[str]) -> set[str]:
    """Return the ids of the prompts that drew a violating reply in earlier rounds."""
    return {
        row["prompt_id"]
        for path in paths
        for _, row in iterate_json_lines(context.input(path))
        if row["violating"]
    }


def run(
    config: Config,
    context: StageContext,
    inputs: Inputs,
    judge: Judge,
    precision: Precision,
) -> dict[str, Any]:
    """Attack the latest model; writes `red_teaming.jsonl`."""
    chat = load_chat_format(context.input(inputs.tokenizer))
    model = load_transformer(context.input(inputs.model), default_device())
    attacks = [
        p
        for p in read_records(context.input(inputs.prompts), Prompt)
        if p.split == "red_teaming" and p.attack_vector is not None
    ]
    attacks, too_long = fitting_prompts(
        chat, attacks, model.config.context - config.sampling.max_new_tokens
    )
    attacks.sort(key=lambda p: derive_seed(context.run_seed, "red_teaming", p.id))
    start = (inputs.round - 1) * config.prompts
    fresh = attacks[start : start + config.prompts]
    if len(fresh) < config.prompts:
        context.progress.note(f"only {len(fresh)} of {config.prompts} new attack prompts are left")
    known = earlier_violations(context, inputs.earlier)
    again = [p for p in attacks if p.id in known and p not in fresh]
    replies = sample_replies(
        model, chat, fresh + again, config.sampling, seed=context.seed, precision=precision
    )
    rows: list[dict[str, Any]] = []
    for reply in replies:
        judgement = judge.judge(reply.prompt, reply.text)
        prompt = reply.prompt
        rows.append(
            {
                "prompt_id": prompt.id,
                "risk_category": prompt.risk_category,
                "attack_vector": prompt.attack_vector,
                "attack_strength": prompt.attack_strength,
                "prompt": [{"role": m.role, "content": m.content} for m in prompt.messages],
                "reply": reply.text,
                "violating": judgement.violating,
                "judge": judge.name,
                "earlier_violation": prompt.id in known,
                "sample": reply.sample,
            }
        )
    write_records(context.out / "red_teaming.jsonl", rows)
    new = rows[: len(fresh)]
    old = [row for row in rows if row["earlier_violation"]]
    return {
        "prompts": len(new),
        "prompts_too_long": too_long,
        "violations": sum(row["violating"] for row in new),
        "violation_rate": sum(row["violating"] for row in new) / len(new) if new else None,
        "earlier_violations": len(old),
        "earlier_now_resisted_share": (
            sum(not row["violating"] for row in old) / len(old) if old else None
        ),
    }
