"""The 33 figures and 52 tables of the paper, and what a run can say about each.

Source: arXiv 2307.09288v2, all pages; the descriptions are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Status = Literal["here", "not in this run", "needs people", "cannot be regenerated"]

_PEOPLE = "people rate the replies; this run's judge is shown in their place where linked"
_BENCHMARK = "evaluate the model on the public benchmark, which no recipe ships"
_EVALUATE = "camelid evaluate RUN --data DIR --suite"
_STUDY = "a study that trains several variants"

# (description, how to get it; "people:" and "closed:" mark the other two kinds)
_FIGURES: tuple[tuple[str, str], ...] = (
    ("helpfulness against other chat models, rated by people", f"people: {_PEOPLE}"),
    ("helpfulness and safety win rates, judged by GPT-4", "closed: judge and opponents are gone"),
    ("safety violations of each model, rated by people", f"people: {_PEOPLE}"),
    ("the training pipeline", "drawn from run.json"),
    ("training perplexity against tokens", "a recipe with pretraining"),
    ("reward model accuracy by data batch", "a recipe with several rounds"),
    ("best and median reward against number of samples", "a recipe with rejection sampling"),
    ("best reward by temperature", "rejection sampling with temperature tuning"),
    ("an instruction forgotten and held over turns", "a recipe with Ghost Attention"),
    ("attention maps before and after Ghost Attention", "keep attention weights of a dialogue"),
    ("win rates by model version", "a recipe with several rounds"),
    ("people's ratings, single-turn and multi-turn", f"people: {_PEOPLE}"),
    ("toxicity of the pretraining documents", "score the corpus with a toxicity classifier"),
    ("reward scores before and after safety training", "evaluate sft and final on both sets"),
    ("effect of the amount of safety data", f"{_STUDY} (shares of safety data)"),
    ("context distillation: scores and gain", "a recipe with context distillation"),
    ("violations and mean safety rating by model", f"people: {_PEOPLE}"),
    ("violations, single-turn and multi-turn", f"people: {_PEOPLE}"),
    ("violations by risk category", f"people: {_PEOPLE}"),
    ("distribution of reward scores by version", "evaluate every version"),
    ("diversity of replies by temperature (Self-BLEU)", "sample each version at 15 temperatures"),
    ("awareness of time", "fine-tune on dated examples"),
    ("use of tools", "prompt a larger model with tool calls"),
    ("throughput by kind of attention", "camelid study attention"),
    ("share of each preference strength by batch", "a recipe with preference collection"),
    ("reward of samples by annotation batch", "sample 20 replies to each batch's prompts"),
    ("reward histograms by margin", f"{_STUDY} (margins)"),
    ("instructions held on other subjects", "chat with the final model"),
    ("reward score against people's quality rating", f"people: {_PEOPLE}"),
    ("effect of the system prompt on people's ratings", f"people: {_PEOPLE}"),
    ("people's win rate by turns and length", f"people: {_PEOPLE}"),
    ("both reward models on safe and unsafe replies", "plot reward_modeling/test_scores.jsonl"),
    ("false refusals on helpful and borderline prompts", "a judge that tells refusals"),
)
_TABLES: tuple[tuple[str, str], ...] = (
    ("the model family", "a run with a model"),
    ("energy and carbon", "a run that states watts"),
    ("base models on grouped benchmarks", f"{_EVALUATE} table3"),
    (
        "against closed models",
        "closed: the other models' figures are theirs; the own column is shown where linked",
    ),
    ("two demonstrations", "a recipe with demonstrations"),
    ("preference data", "a recipe with preferences"),
    ("reward model accuracy by test set", "a recipe with reward models"),
    ("reward model accuracy by strength", "a recipe with reward models"),
    ("pronouns and identities in the corpus", "count them in the corpus"),
    ("languages of the corpus", "identify the language of each document"),
    ("base models on safety benchmarks", _BENCHMARK),
    ("one harmful request before and after", "evaluate sft and final on adversarial prompts"),
    ("context distillation, an example", "a recipe with context distillation"),
    ("chat models on safety benchmarks", _BENCHMARK),
    ("calculator use", _BENCHMARK),
    ("context 2k against 4k, long tasks", "camelid study context"),
    ("context 2k against 4k, general tasks", "camelid study context"),
    ("quality by kind of attention", "camelid study attention"),
    ("MMLU", f"{_EVALUATE} table19"),
    ("standard benchmarks", f"{_EVALUATE} table20"),
    ("code generation", f"{_EVALUATE} table21"),
    ("closed-book questions by shots", f"{_EVALUATE} table22"),
    ("reading comprehension by shots", f"{_EVALUATE} table23"),
    ("AGI Eval", f"{_EVALUATE} table24"),
    ("mathematics", f"{_EVALUATE} table25"),
    ("preference data by batch", "a recipe with preferences"),
    ("margins by strength", "listed by `camelid show` for the recipe"),
    ("accuracy by margin", f"{_STUDY} (margins)"),
    ("accuracy with the safety auxiliary loss", f"{_STUDY} (with and without the loss)"),
    ("instructions recalled by turn", "a recipe with Ghost Attention"),
    ("system prompts", "evaluate a model"),
    ("evaluation prompts by kind", "evaluate a model"),
    ("examples of helpfulness prompts", "evaluate a model"),
    ("one prompt, several models", "evaluate several models"),
    ("disagreement of the two reward models", "a recipe with reward models"),
    ("safety data levels: a roast", f"{_STUDY} (shares of safety data)"),
    ("safety data levels: a role play", f"{_STUDY} (shares of safety data)"),
    ("safety data levels: a dish", f"{_STUDY} (shares of safety data)"),
    ("safety preprompts", "read the templates in the source of context distillation"),
    ("errors of context distillation", "distil helpful prompts too"),
    ("false refusals", "a borderline set and a judge that tells refusals"),
    ("examples of adversarial prompts", "evaluate on adversarial prompts"),
    ("one adversarial prompt, several models", "evaluate several models"),
    ("TruthfulQA in parts", _BENCHMARK),
    ("ToxiGen by group", _BENCHMARK),
    ("sentiment by race", _BENCHMARK),
    ("sentiment by gender", _BENCHMARK),
    ("sentiment by religion", _BENCHMARK),
    ("sentiment by political ideology", _BENCHMARK),
    ("sentiment by profession", _BENCHMARK),
    ("contamination of benchmarks", "search the corpus for the benchmark's texts"),
    ("the model card", "model_card.md, written with every report"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Artefact:
    """One figure or table of the paper and where this run stands on it."""

    name: str
    description: str
    status: Status
    note: str
    anchor: str | None


def index(here: Mapping[str, str], absent: Mapping[str, str]) -> list[Artefact]:
    """State for each of the 85 artefacts whether this report has it.

    Args:
        here: Name such as `Figure 5` -> anchor or file in the report; for an artefact that needs
            people, what stands in for it.
        absent: Name -> reason why this run does not have it.
    """
    found = []
    for kind, entries in (("Figure", _FIGURES), ("Table", _TABLES)):
        for number, (description, how) in enumerate(entries, 1):
            name = f"{kind} {number}"
            mark, _, note = (
                how.rpartition(": ") if how[:7] in {"people:", "closed:"} else ("", "", how)
            )
            status: Status = "here" if name in here else "not in this run"
            if mark:
                status = "needs people" if mark == "people" else "cannot be regenerated"
            elif name in here:
                note = ""
            elif name in absent:
                note = f"{absent[name]}; to get it: {how}"
            else:
                note = f"to get it: {how}"
            anchor = here.get(name)
            found.append(
                Artefact(
                    name=name, description=description, status=status, note=note, anchor=anchor
                )
            )
    return found
