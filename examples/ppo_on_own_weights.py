"""Train reward models on comparisons and optimise any weights against them on your own prompts."""

import argparse
import sys
from pathlib import Path

import camelid


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path, help="chat model: any folder or GGUF file")
    parser.add_argument("comparisons", type=Path, help="file or folder of comparisons")
    parser.add_argument("prompts", type=Path, help="file or folder of prompts")
    parser.add_argument("out", type=Path, help="folder of the run")
    parser.add_argument("--iterations", type=int, default=12, help="batches of replies")
    parser.add_argument("--length", type=int, default=512, help="most tokens of prompt and reply")
    parser.add_argument("--threads", type=int)
    known, settings = parser.parse_known_args()
    plan = camelid.own(
        weights=known.weights,
        comparisons=known.comparisons,
        prompts=known.prompts,
        length=known.length,
    )
    settings = ["--ppo.iterations", str(known.iterations), *settings]
    run = camelid.run_plan(plan, known.out, settings=settings, threads=known.threads)
    print(f"Optimised model: {run.models['final']}\nReport: {run.report}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except camelid.CamelidError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
