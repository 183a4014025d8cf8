"""The exact judge: the truth that no model is optimised against, and how it reads replies."""

from camelid.simulation.judge.exact import ExactJudge, judge_reply

__all__ = ["ExactJudge", "judge_reply"]
