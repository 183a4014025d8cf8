"""Sample replies of any weights to prompts, and score them with a reward model if one is given."""

import argparse
import sys

import camelid


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", help="chat model: any folder or GGUF file")
    parser.add_argument("prompts", nargs="+", metavar="prompt", help="one or several, in quotes")
    parser.add_argument("--reward-model", metavar="DIR", help="scores each reply")
    parser.add_argument("--chat-format", choices=("llama2", "llama3", "chatml"))
    parser.add_argument("--samples", type=int, default=2, help="replies to each prompt")
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--top-p", type=float, default=1.0)
    parser.add_argument("--max-new-tokens", type=int, help="256, or a quarter of the context")
    parser.add_argument("--seed", type=int, default=0)
    known = parser.parse_args()
    # Both first: a mistake in the second name shows before the replies are sampled.
    model = camelid.load_model(known.weights, chat_format=known.chat_format)
    judge = camelid.load_reward_model(known.reward_model) if known.reward_model else None
    replies = camelid.sample_replies(
        model,
        known.prompts,
        samples=known.samples,
        temperature=known.temperature,
        top_p=known.top_p,
        max_new_tokens=known.max_new_tokens,
        seed=known.seed,
    )
    scores: list[float] = []
    if judge is not None:
        asked = [reply.prompt for reply in replies]
        scores = camelid.score_replies(judge, asked, [reply.text for reply in replies])
    for number, reply in enumerate(replies):
        if reply.sample == 0:
            cut = f"  ({reply.prompt_cut} tokens cut)" if reply.prompt_cut else ""
            print(f"\n{reply.prompt.messages[-1].content}{cut}")
        shown = f"{scores[number]:+.2f}  " if scores else ""
        print(f"  {shown}{reply.text}{' ...' if reply.stop_reason == 'length' else ''}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except camelid.CamelidError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
