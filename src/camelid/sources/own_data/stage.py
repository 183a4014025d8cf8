"""Reads people's files and divides them among their uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from camelid.data.own_files import OwnFile, read_own
from camelid.data.own_text import documents, read_factors, repeats, text_files
from camelid.data.own_uses import (
    Pairs,
    divide,
    divide_pairs,
    divide_prompts,
    hold_out,
    key_of,
)
from camelid.data.prompts import check_disjoint
from camelid.data.records import Dialogue, Kind, Preference, Prompt
from camelid.errors import DataError, MissingInputError, counted
from camelid.run.files import hash_path
from camelid.run.stage import NoInputs, StageContext
from camelid.sources.own_data import Config, Outputs, ReadFile, Result


def _file(read: OwnFile, used: int, more: dict[str, int]) -> ReadFile:
    left_out = {reason: happened.count for reason, happened in read.left_out.items()}
    return ReadFile(
        path=read.path.name,
        sha256=hash_path(read.path),
        format=read.layout.name,
        use=read.use,
        rows=read.rows,
        used=used,
        left_out={**left_out, **{reason: count for reason, count in more.items() if count}},
        changed={what: happened.count for what, happened in read.changed.items()},
    )


@dataclass(slots=True)
class _Reader:
    """Reads the files of a run; remembers each."""

    files: list[ReadFile]

    def dialogues(self, path: str) -> list[Dialogue]:
        rows, files = read_own([Path(path)], Dialogue)
        self.files += [_file(file, file.records, {}) for file in files]
        return rows

    def prompts(self, path: str) -> list[Prompt]:
        rows, files = read_own([Path(path)], Prompt)
        self.files += [_file(file, file.records, {}) for file in files]
        return rows

    def comparisons(self, path: str, kind: Kind, unmarked: Kind) -> list[Preference]:
        """Return those of one kind, where rows that do not say theirs are of the `unmarked` one."""
        rows, files = read_own([Path(path)], Preference, kind=unmarked)
        found = [row for row in rows if row.kind == kind]
        others: Counter[str] = Counter(row.annotator for row in rows if row.kind != kind)
        for file in files:
            other = others[file.path.name]
            reason = f"of another kind than {kind}"
            self.files.append(_file(file, file.records - other, {reason: other}))
        if not found:
            option = "--comparisons" if kind == "helpfulness" else "--safety-comparisons"
            raise DataError(f"{path}: no comparison of {kind}, which {option} needs.")
        return found


def _as_prompt(row: Preference | Dialogue) -> Prompt:
    """Return what is asked in a comparison or demonstration."""
    if isinstance(row, Preference):
        messages, is_safety, source = row.prompt, row.kind == "safety", row.annotator
    else:
        messages, is_safety, source = row.messages[:-1], row.is_safety, row.source
    return Prompt(
        id=row.id,
        messages=tuple(replace(message, train=False) for message in messages),
        category=row.category,
        is_safety=is_safety,
        source=source,
        split="rm_train",
    )


def _write_text(config: Config, outputs: Outputs) -> tuple[dict[str, int], int, int]:
    """Write the corpora; return documents by part, those held out, and characters."""
    if config.text is None:
        return {}, 0, 0
    root = Path(config.text)
    factors = read_factors(config.upsampled, text_files(root))
    # Read twice: a corpus may be larger than memory.
    numbers = [document.number for document in documents(root, config.document_characters)]
    if len({*numbers}) < 2:
        raise DataError(
            f"{root}: {counted(len({*numbers}), 'document')}; one to learn from and one to "
            "validate needed. Give more text, or set a smaller --own-data.document-characters."
        )
    bound = max(config.text_held_out, min(numbers))
    counts: Counter[str] = Counter()
    characters = 0

    def mixed() -> Iterator[str]:
        nonlocal characters
        for document in documents(root, config.document_characters):
            if document.number > bound:
                times = repeats(document, factors)
                counts[document.part] += times
                characters += times * len(document.text)
                yield from [document.text] * times

    outputs.corpus.write(mixed())
    held = {d.text: None for d in documents(root, config.document_characters) if d.number <= bound}
    outputs.validation.write(held)
    if not counts.total():
        raise DataError(
            f"{root}: no document is left to learn from: upsampled leaves all out. Set a factor "
            "above 0."
        )
    return dict(counts), len(held), characters


def _write_pairs(
    rows: Sequence[Preference], config: Config, outputs: Outputs
) -> tuple[Pairs | None, list[Preference]]:
    """Write the comparisons; return them, and those that serve as prompts."""
    if not rows:
        return None, []
    kept: Sequence[Preference] = rows
    asked: list[Preference] = []
    if config.prompts is None:
        share = config.conversations_as_prompts
        uses = {"compared": 1 - share, "asked": share}
        use_of = divide((key_of(row.prompt) for row in rows), uses, "comparisons")
        kept = [row for row in rows if use_of[key_of(row.prompt)] == "compared"]
        asked = [row for row in rows if use_of[key_of(row.prompt)] == "asked"]
    pairs = divide_pairs(kept, config.pairs, imitated=config.imitated)
    if config.imitated:
        outputs.imitation_preferences.write(pairs.imitation)
    outputs.preferences.write(pairs.train)
    outputs.guard_preferences.write(pairs.guard)
    outputs.test_preferences.write(pairs.test)
    return pairs, asked


def run(config: Config, _: NoInputs, outputs: Outputs, context: StageContext) -> Result:
    """Read the files and write what they are used for.

    Raises:
        MissingInputError: A file does not exist, or none is named.
        DataError: A file cannot be read (file and line are named), or too little is left for a use.
    """
    if not config.paths:
        raise MissingInputError(
            f"{context.name}: no file is named. Name weights or text to start from (--weights, "
            "--text), and what to train on (--demonstrations, --comparisons, --prompts)."
        )
    reader = _Reader([])
    parts, documents_held_out, characters = _write_text(config, outputs)
    dialogues = reader.dialogues(config.demonstrations) if config.demonstrations else []
    learned: list[Dialogue] = []
    held_out: list[Dialogue] = []
    repeated = 0
    if dialogues:
        learned, held_out, repeated = hold_out(dialogues, config.demonstrations_held_out)
        outputs.demonstrations.write(learned)
        outputs.held_out_demonstrations.write(held_out)
    rows: list[Preference] = []
    if config.comparisons:
        rows += reader.comparisons(config.comparisons, "helpfulness", "helpfulness")
    if config.safety_comparisons:
        mixed = config.safety_comparisons == config.comparisons
        unmarked: Kind = "helpfulness" if mixed else "safety"
        rows += reader.comparisons(config.safety_comparisons, "safety", unmarked)
    pairs, asked = _write_pairs(rows, config, outputs)
    if config.prompts is not None:
        given = reader.prompts(config.prompts)
    else:
        given = [_as_prompt(row) for row in asked or (dialogues if config.annotated else [])]
    prompts: list[Prompt] = []
    left_out: dict[str, int] = {}
    if given:
        prompts, left_out = divide_prompts(
            given,
            config.splits,
            annotated=config.annotated,
            taken=(key_of(row.prompt) for use in _uses(pairs).values() for row in use),
            shown=(key_of(dialogue.messages) for dialogue in learned),
        )
        check_disjoint(prompts)
        outputs.prompts.write(prompts)
    trained = pairs.train if pairs else []
    return Result(
        files=tuple(reader.files),
        documents=parts,
        documents_held_out=documents_held_out,
        characters=characters,
        demonstrations=len(learned),
        demonstrations_held_out=len(held_out),
        demonstrations_repeated=repeated,
        comparisons=dict(
            Counter(f"{use}, {row.kind}" for use, rows in _uses(pairs).items() for row in rows)
        ),
        strengths=sum(row.strength is not None for row in trained),
        safety_labels=sum(row.safety is not None for row in trained),
        prompts_by_split=dict(Counter(prompt.split for prompt in prompts)),
        prompts_left_out=left_out,
    )


def _uses(pairs: Pairs | None) -> dict[str, list[Preference]]:
    return {} if pairs is None else {f.name: getattr(pairs, f.name) for f in fields(pairs)}
