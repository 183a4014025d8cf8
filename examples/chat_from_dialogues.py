"""Fine-tune any weights on dialogues of your own, and ask the chat model a question."""

import argparse
import sys
from pathlib import Path

import camelid


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path, help="model to start from: any folder or GGUF file")
    parser.add_argument("dialogues", type=Path, help="file or folder of dialogues")
    parser.add_argument("out", type=Path, help="folder of the run")
    parser.add_argument("question", help="asked before and after")
    parser.add_argument("--length", type=int, default=512, help="most tokens of a dialogue")
    parser.add_argument("--threads", type=int)
    known = parser.parse_args()
    plan = camelid.own(weights=known.weights, demonstrations=known.dialogues, length=known.length)
    run = camelid.run_plan(plan, known.out, threads=known.threads)
    for name in ("base", "sft"):
        model = camelid.load_model(run.models[name])
        [reply] = camelid.sample_replies(model, [known.question], temperature=0, samples=1)
        print(f"{name}: {reply.text}")
    print(f"Report: {run.report}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except camelid.CamelidError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
