"""The pocket world: text to pretrain on, demonstrations, prompts, all deterministic from one seed.

Source: choice; the categories follow arXiv 2307.09288, Sections 3 and 4.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from camelid.data.annotation import Comparer
from camelid.data.prompts import assign_split, bucket
from camelid.data.records import Dialogue, GhostDialogue, Preference, Prompt, Split
from camelid.errors import ConfigError
from camelid.simulation import dialogues
from camelid.simulation.config import WorldConfig
from camelid.simulation.drafted import drafted_pairs, open_comparisons
from camelid.simulation.lexicon import OBJECTS, QUALITIES, SUBJECTS, VERBS
from camelid.simulation.prompts import HELPFUL, Draft, Drafter, cells
from camelid.simulation.setting import Setting, build_setting, random_for
from camelid.simulation.texts import Writer

_OPEN: tuple[Split, ...] = ("rm_train", "rejection_sampling", "ppo", "red_teaming", "validation")
"""Splits of training prompts; `WorldConfig` has a size of each name."""
_WORD = re.compile(r"[A-Za-z]+")


class World:
    """A pocket world; every method returns the same records each time."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.config = setting.config
        self._writer = Writer(setting)

    def corpus(self) -> Iterator[str]:
        """Documents to pretrain on, one line each."""
        config = self.config
        return self._writer.documents(config.documents, "train", exercises=config.exercises)

    def validation_corpus(self) -> Iterator[str]:
        """Documents of the same kind from another seed."""
        return self._writer.documents(self.config.validation_documents, "validation")

    def demonstrations(self) -> list[Dialogue]:
        """Dialogues of supervised fine-tuning."""
        return self._demonstrations

    @cached_property
    def _demonstrations(self) -> list[Dialogue]:
        return dialogues.demonstrations(self.setting)

    def prompts(self) -> list[Prompt]:
        """Prompts of all splits, test last."""
        return self._prompts

    @cached_property
    def _prompts(self) -> list[Prompt]:
        open_prompts = self._open_prompts()
        return [*open_prompts, *self._test_prompts(open_prompts)]

    def ghost_dialogues(self) -> list[GhostDialogue]:
        """Dialogues under an instruction, train and test."""
        return dialogues.ghost_dialogues(self.setting)

    def drafted_pairs(self) -> list[Preference]:
        """Pairs of a good reply and a poor one of a known fault, for testing only."""
        open_prompts = {prompt.id for prompt in self.prompts() if prompt.split != "test"}
        return drafted_pairs(self.setting, open_prompts | self._demonstrated())

    def open_comparisons(self, annotator: Comparer) -> tuple[list[Preference], list[Preference]]:
        """Comparisons of drafted replies, for reward models and for the guard to train on."""
        return open_comparisons(self.setting, annotator)

    def follow_up(self, prompt: Prompt, reply: str, salt: int) -> Prompt:
        """The next user turn after `reply`, in the same split, with its own reference."""
        return dialogues.follow_up(self.setting, prompt, reply, salt)

    def held_out_terms(self) -> list[str]:
        """Terms that stand in no training prompt, demonstration or reply."""
        return self.setting.pools[1].terms()

    def held_out_templates(self) -> list[str]:
        """Templates that only test prompts use."""
        return [text for texts in self.setting.templates[1].values() for text in texts]

    def statistics(self) -> dict[str, Any]:
        """Counts of the world as it is."""
        config, prompts = self.config, self.prompts()
        words = {word.lower() for document in self.corpus() for word in _WORD.findall(document)}
        return {
            "entities": config.people + config.towns + config.creatures,
            "facts": len(self.setting.facts),
            "templates": sum(
                len(texts) for side in self.setting.templates for texts in side.values()
            ),
            "word_types": len(words),
            "distinct_prompts": self._distinct_prompts(),
            "documents": config.documents,
            "demonstrations": config.demonstrations,
            "prompts_by_split": dict(Counter(prompt.split for prompt in prompts)),
            "prompts_by_category": dict(Counter(prompt.category for prompt in prompts)),
            "held_out_terms": len(self.held_out_terms()),
            "held_out_templates": len(self.held_out_templates()),
        }

    def _distinct_prompts(self) -> int:
        """A lower bound on the prompts of the drafters, from two kinds of requests."""
        found = 0
        for side, pool in enumerate(self.setting.pools):
            templates = self.setting.templates[side]
            rewriting = sum(len(templates[key]) for key in ("past", "plural", "question", "future"))
            found += rewriting * len(SUBJECTS) * len(VERBS) * len(OBJECTS)
            kinds = [len(pool.options[verb]) * len(QUALITIES[verb]) for verb in QUALITIES]
            pairs = sum(kinds) ** 2 - sum(kind**2 for kind in kinds)
            found += pairs * len(templates["choice"])
        return found

    def _open_prompts(self) -> list[Prompt]:
        """Training prompts: drawn once, dealt to the splits by a hash of the id."""
        config = self.config
        generator = random_for("pocket_prompts", config.seed)
        drafter = Drafter(setting=self.setting)
        told = {m.content for dialogue in self._demonstrations for m in dialogue.messages}
        sizes: dict[Split, int] = {split: getattr(config, split) for split in _OPEN}
        shares = {"borderline": (1.0 - config.safety) * config.borderline, "harm": config.safety}
        for category in HELPFUL:
            shares[category] = (1.0 - config.safety) * (1.0 - config.borderline) / len(HELPFUL)
        attacks = cells()
        found: dict[str, Prompt] = {}
        left = dict(sizes)
        for category, share in shares.items():
            last = category == HELPFUL[-1]
            room = {s: left[s] if last else round(size * share) for s, size in sizes.items()}
            room["red_teaming"] = config.red_teaming if category == "harm" else 0
            left = {split: left[split] - room[split] for split in left}
            shares_of = dict(room)
            for tries in range(60 * sum(sizes.values())):
                if not any(room.values()):
                    break
                if category == "harm":
                    draft = drafter.attack(*attacks[tries % len(attacks)], generator)
                else:
                    draft = drafter.draft(category, generator)
                name = dialogues.identifier("prompt", draft.messages)
                # A multi-turn attack ends in the text of a disguised one: both go to one split.
                dealt = draft.messages[-1:] if category == "harm" else draft.messages
                split = assign_split(dialogues.dialogue_text(dealt), shares_of)
                demonstrated = split == "red_teaming" and dealt[0].content in told
                if name not in found and room[split] and not demonstrated:
                    room[split] -= 1
                    found[name] = self._prompt(name, draft, split)
            _require_none_missing(category, sum(room.values()))
        return sorted(found.values(), key=lambda prompt: prompt.id)

    def _prompt(self, name: str, draft: Draft, split: Split) -> Prompt:
        labels = draft.labels()
        if (
            split in ("rejection_sampling", "ppo")
            and bucket(name, 1000) < 1000 * self.config.untagged
        ):
            labels["is_safety"] = False
        source = dialogues.SOURCE
        return Prompt(id=name, messages=draft.messages, source=source, split=split, **labels)

    def _demonstrated(self) -> set[str]:
        """Ids of the prompts that demonstrations answer."""
        return {
            dialogues.identifier("prompt", dialogue.messages[:index])
            for dialogue in self._demonstrations
            for index, message in enumerate(dialogue.messages)
            if message.role == "assistant"
        }

    def _test_prompts(self, open_prompts: list[Prompt]) -> list[Prompt]:
        """Test prompts: held-out terms throughout, every second one in a held-out template.

        Plain words are not held out, so prompts made of them alone are checked one by one: none
        that stands in the demonstrations or in another split is taken.
        """
        config = self.config
        generator = random_for("pocket_test_prompts", config.seed)
        attacks = cells()
        taken = {prompt.id for prompt in open_prompts} | self._demonstrated()
        found: dict[str, Prompt] = {}
        for kind, size in (
            ("helpful", config.test_helpful),
            ("harm", config.test_adversarial),
            ("borderline", config.test_borderline),
        ):
            target = len(found) + size
            for tries in range(60 * size):
                if len(found) == target:
                    break
                index = len(found)
                drafter = Drafter(
                    setting=self.setting, held_out=True, held_out_template=index % 2 == 0
                )
                if kind == "harm":
                    draft = drafter.attack(*attacks[(size + tries) % len(attacks)], generator)
                else:
                    category = HELPFUL[tries % len(HELPFUL)] if kind == "helpful" else kind
                    draft = drafter.draft(category, generator)
                name = dialogues.identifier("prompt", draft.messages)
                if name not in taken:
                    found.setdefault(name, self._prompt(name, draft, "test"))
            _require_none_missing(f"test {kind}", target - len(found))
        return list(found.values())


def _require_none_missing(kind: str, missing: int) -> None:
    if missing:
        raise ConfigError(
            f"The world has {missing} distinct {kind} prompts too few; make that split smaller or "
            "the world larger."
        )


def build_world(config: WorldConfig) -> World:
    """Build the world of a configuration; takes milliseconds, its texts are written on demand."""
    return World(build_setting(config))
