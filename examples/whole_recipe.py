"""The whole recipe on files of your own: the folder that `camelid init` writes, with your rows."""

import argparse
import sys
from pathlib import Path

import camelid


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path, help="model to start from: any folder or GGUF file")
    parser.add_argument("data", type=Path, help="folder with demonstrations, comparisons, ...")
    parser.add_argument("out", type=Path, help="folder of the run")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--length", type=int, default=512, help="most tokens of a dialogue")
    parser.add_argument("--threads", type=int)
    known, settings = parser.parse_known_args()
    kinds = ("demonstrations", "comparisons", "safety_comparisons", "prompts")
    plan = camelid.own(
        weights=known.weights,
        **{kind: known.data / kind for kind in kinds if (known.data / kind).exists()},
        safety="authored",
        rounds=known.rounds,
        length=known.length,
    )
    run = camelid.run_plan(plan, known.out, settings=settings, threads=known.threads)
    print("\n".join(f"{name}: {folder}" for name, folder in run.models.items()))
    print(f"Report: {run.report}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except camelid.CamelidError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
