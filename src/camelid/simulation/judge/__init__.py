"""The exact judge: the truth that no model is optimised against, and how it reads replies."""

from __future__ import annotations

from dataclasses import dataclass

from camelid.data.annotation import Judgement
from camelid.data.records import Prompt
from camelid.errors import DataError


@dataclass(frozen=True)
class ExactJudge:
    """Scores replies of the pocket world by the reference of their prompt."""

    name = "exact judge"

    def judge(self, prompt: Prompt, reply: str) -> Judgement:
        """Return the verdict on a reply.

        Raises:
            DataError: The prompt has no reference.
        """
        # Loads the words of the world, for which a plan that only names this judge does not wait.
        from camelid.simulation.judge.exact import judge_reply

        if prompt.reference is None:
            raise DataError(f"prompt {prompt.id}: no reference; the exact judge needs one.")
        return judge_reply(prompt.reference, reply)
