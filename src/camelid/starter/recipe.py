"""A recipe of your own: `camelid run recipe.py`.

It runs as it is, on the example rows in `data` and with a model so tiny that it learns next to
nothing. Put your files in their places, then the sizes up; `camelid data check PATH` says what a
file holds, `camelid show recipe.py` lists every setting.
"""

from pathlib import Path

from camelid.plan import Plan
from camelid.recipes.own import own

DATA = Path(__file__).with_name("data")


def demo() -> Plan:
    """A tiny model on the example rows, in a minute or two."""
    plan = own(
        # Where the model comes from: text to pretrain on, or weights=Path("...") in its place.
        text=DATA / "text",
        # Dialogues to imitate (supervised fine-tuning).
        demonstrations=DATA / "demonstrations",
        # Two replies each, the better one marked: reward models learn from them.
        comparisons=DATA / "comparisons",
        safety_comparisons=DATA / "safety_comparisons",
        # What the model answers in rejection sampling, PPO and evaluation.
        prompts=DATA / "prompts",
        length=128,
    )
    plan.name = "demo"
    # Any setting of `camelid show`. For weights of a real size leave these out.
    plan.override(
        [
            *("--tokenizer-training.vocabulary-size", "360"),
            *("--pretraining.model.vocabulary-size", "360"),
            *("--pretraining.model.dim", "64", "--pretraining.model.ffn-dim", "128"),
            *("--pretraining.model.heads", "2", "--pretraining.model.kv-heads", "2"),
            *("--pretraining.model.layers", "2", "--pretraining.model.context", "1024"),
            *("--pretraining.row-tokens", "128", "--pretraining.tokens", "30000"),
            *("--own-data.document-characters", "200", "--own-data.text-held-out", "0.1"),
            *("--rejection-sampling.samples", "2", "--ppo.iterations", "4"),
            *("--ppo.batch-rows", "8", "--ppo.minibatch-rows", "8", "--ppo.validate-every", "2"),
        ]
    )
    return plan
