"""Train a reward model on comparisons of your own; print how often it is right on held-out ones.

The file holds JSON lines or CSV with the columns prompt, chosen, rejected and, if you have it,
strength: significantly_better, better, slightly_better or negligibly_better.
"""

import argparse
import sys

import camelid


def left_out(too_long: int, equal: int) -> str:
    return f"(left out: {too_long} too long, {equal} with equal replies)"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", help="chat model to start from: any folder or GGUF file")
    parser.add_argument("pairs", help="file of comparisons")
    parser.add_argument("out", help="new folder for the reward model")
    parser.add_argument("--chat-format", choices=("llama2", "llama3", "chatml"))
    parser.add_argument("--held-out", type=float, default=0.25, help="share of the prompts")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch-pairs", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0)
    known = parser.parse_args()
    read = camelid.read_pairs(known.pairs)
    if read.left_out:
        print(f"rows left out: {read.left_out}")
    training, held_out = camelid.split_pairs(read.used, known.held_out)
    trained = camelid.train_reward_model(
        camelid.load_model(known.weights, chat_format=known.chat_format),
        training,
        known.out,
        learning_rate=known.learning_rate,
        batch_pairs=known.batch_pairs,
        epochs=known.epochs,
        seed=known.seed,
        on_step=lambda step, steps, loss: print(f"step {step} of {steps}: loss {loss:.3f}"),
    )
    print(f"trained on {trained.pairs} comparisons", left_out(trained.too_long, trained.equal))
    result = camelid.accuracy_by_strength(camelid.load_reward_model(known.out), held_out)
    print(f"held out: {len(held_out)} comparisons", left_out(result.too_long, result.equal))
    for name, found in result.by_strength.items():
        interval = f"{100 * found.low:.0f} to {100 * found.high:.0f}"
        print(f"{name:>20}: {100 * found.value:5.1f} % right ({interval}), n = {found.n}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except camelid.CamelidError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
