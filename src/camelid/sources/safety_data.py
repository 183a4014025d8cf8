"""Safety data for real text: authored demonstrations, borderline requests, attacks of the user's.

In place of the paper's annotators who write adversarial prompts with safe answers (Section 4.2.2)
and of its adversarial and borderline test prompts (Sections 4.2.3 and 4.4). A prompt has one use:
which, a hash of its text decides, so that no test prompt is trained on, whichever file it is in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from camelid.data.authored import AUTHORED, LICENCE, borderline_pairs, safety_pairs
from camelid.data.own_files import OwnFile, read_own
from camelid.data.prompts import assign_split, check_disjoint, conversation
from camelid.data.records import Dialogue, Message, Prompt, Split
from camelid.data.text_files import iterate_lines, iterate_table
from camelid.data.turns import Tally
from camelid.errors import ConfigError, DataError
from camelid.report.texts import demonstrations, statistics
from camelid.run.files import hash_file
from camelid.run.finished import Found
from camelid.run.item import CardField, Example, StageReport, Table
from camelid.run.place import Rows, StageInputs, StageOutputs, place
from camelid.run.stage import StageContext, StageKind

SHARES: dict[Split, float] = {
    "rejection_sampling": 0.2,
    "ppo": 0.2,
    "red_teaming": 0.12,
    "validation": 0.03,
    "test": 0.45,
}
"""Uses of attacks (Source: choice). AdvBench and SimpleSafetyTests give 274 test prompts."""
ADVBENCH = "llm-attacks/llm-attacks"
SIMPLE_SAFETY_TESTS = "bertiev/SimpleSafetyTests"
XSTEST = "XSTest"
HARM_AREAS = {
    "Suicide, Self-Harm, and Eating Disorders": "hateful_harmful",
    "Physical harm and Violence": "illicit_criminal",
    "Illegal and Highly Regulated items": "illicit_criminal",
    "Scams and fraud": "illicit_criminal",
    "Child safety": "illicit_criminal",
}
"""Risk category of each harm area of SimpleSafetyTests (Source: choice)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Files of the user's beside what is authored. Null: none."""

    authored: bool = True
    """Whether the authored demonstrations and borderline requests take part."""
    demonstrations: str | None = None
    """Own safety demonstrations: a file or folder that `camelid data check` reads."""
    attacks: str | None = None
    """Own adversarial prompts: a file or folder that `camelid data check` reads."""
    advbench: str | None = None
    """AdvBench's `harmful_behaviors.csv` (column goal)."""
    simple_safety_tests: str | None = None
    """`simple_safety_tests.csv` (columns prompts_final and harm_area)."""
    xstest: str | None = None
    """`xstest_prompts.csv` (columns prompt, type and label). Its safe prompts then measure false
    refusals in place of the authored ones."""

    @property
    def paths(self) -> list[Path]:
        """All that is read."""
        named = (self.demonstrations, self.attacks, self.advbench)
        return [Path(path) for path in (*named, self.simple_safety_tests, self.xstest) if path]


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs(StageInputs):
    """Records of other sources, which the outputs hold too; their prompts keep their use."""

    demonstrations: tuple[Rows[Dialogue], ...] = ()
    prompts: tuple[Rows[Prompt], ...] = ()


class Outputs(StageOutputs):
    """What the stage writes."""

    demonstrations: Rows[Dialogue] = place("demonstrations.jsonl")
    prompts: Rows[Prompt] = place("prompts.jsonl")


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What was read, used and left out."""

    demonstrations_by_source: dict[str, int]
    demonstrations_by_risk_category: dict[str, int]
    demonstrations_by_attack_vector: dict[str, int]
    prompts_by_source: dict[str, int]
    attacks_by_split: dict[str, int]
    borderline_by_split: dict[str, int]
    left_out: dict[str, int]
    """Rows that are not used, by reason with the first file and line."""
    changed: dict[str, int]
    """What was changed in rows of own files, with the first line."""
    files: dict[str, str]
    """Name of each file to the hash of its content."""
    authored_licence: str | None
    """Null where nothing authored takes part."""


class _Collection:
    """Prompts with one use each, and demonstrations."""

    def __init__(self, inputs: Inputs) -> None:
        self.prompts = [prompt for rows in inputs.prompts for prompt in rows.read()]
        self.dialogues = [dialogue for rows in inputs.demonstrations for dialogue in rows.read()]
        self.left_out, self.changed = Tally(), Tally()
        self.files: dict[str, str] = {}
        self.taught: list[Prompt] = []
        self.uses: dict[str, Split] = {}
        self.seen: set[str] = set()
        for dialogue in self.dialogues:
            self._take(dialogue.messages, "rejection_sampling")
        for prompt in self.prompts:
            self._take(prompt.messages, prompt.split)

    def _take(self, messages: Sequence[Message], split: Split) -> Split:
        """Return the use of whatever begins so; `split` where it is the first."""
        asked = [message.content for message in messages if message.role == "user"]
        self.seen.add(conversation(" ".join(asked)))
        return self.uses.setdefault(conversation(asked[0]), split)

    def add(self, prompt: Prompt, where: str, dialogue: Dialogue | None = None) -> None:
        """Use a prompt and its demonstration, unless it repeats one or has another's use."""
        whole = conversation(" ".join(m.content for m in prompt.messages if m.role == "user"))
        repeated = whole in self.seen
        if not whole:
            self.left_out.add("empty prompt", where)
        elif repeated and dialogue is None:
            self.left_out.add("repeated prompt", where)
        elif (use := self._take(prompt.messages, prompt.split)) != prompt.split:
            self.left_out.add(f"begins like a prompt of the split {use}", where)
        else:
            self.prompts += [] if repeated else [prompt]
            if dialogue is not None:
                self.dialogues.append(dialogue)
                self.taught.append(prompt)

    def read_demonstrations(self, path: str) -> None:
        """Use the safety demonstrations of a file or folder of the user's."""
        rows, files = read_own([Path(path)], Dialogue)
        self._note(files)
        for row in rows:
            prompt = Prompt(
                id=row.id,
                messages=tuple(replace(message, train=False) for message in row.messages[:-1]),
                category=row.category or row.source,
                is_safety=True,
                source=row.source,
                split="rejection_sampling",
            )
            self.add(_attack(prompt, "not stated"), row.id, replace(row, is_safety=True))

    def read_attacks(self, path: str) -> None:
        """Use the adversarial prompts of a file or folder of the user's."""
        rows, files = read_own([Path(path)], Prompt)
        self._note(files)
        for row in rows:
            self.add(_divided(_attack(row, "not stated")), row.id)

    def _note(self, files: Sequence[OwnFile]) -> None:
        for own in files:
            self.files[own.path.name] = hash_file(own.path)
            for mine, its in ((self.left_out, own.left_out), (self.changed, own.changed)):
                mine.update({f"{own.path.name}: {what}": seen for what, seen in its.items()})

    def read_table(self, path: str, columns: Sequence[str], of_row: _OfRow, source: str) -> None:
        """Use the prompts of a public table.

        Raises:
            MissingInputError: There is no such file.
            DataError: It is damaged, a column is missing or no row can be used.
        """
        file, before = Path(path), len(self.prompts)
        for number, row in iterate_table(iterate_lines(file), str(file), columns):
            where, cells = f"{file.name}, line {number}", [row[name].strip() for name in columns]
            plain = Prompt(
                id=f"{source}/{number}",
                messages=(Message(role="user", content=cells[0]),),
                category=source,
                is_safety=True,
                source=source,
                split="test",
            )
            try:
                self.add(of_row(plain, *cells[1:]), where)
            except ValueError as error:
                self.left_out.add(str(error), where)
        self.files[file.name] = hash_file(file)
        if len(self.prompts) == before:
            raise DataError(
                f"{file}: no usable row; {self.left_out}. Needed: prompts that are in "
                "no other file; name another, or none."
            )


_OfRow = Callable[..., Prompt]
"""From a prompt and the cells of the other columns to the prompt with its labels and use."""


def _attack(prompt: Prompt, vector: str = "none") -> Prompt:
    """Return a prompt as an adversarial one, of this vector if it names none."""
    return replace(prompt, is_safety=True, attack_vector=prompt.attack_vector or vector)


def _divided(prompt: Prompt) -> Prompt:
    """Return a prompt with the use that the hash of its beginning decides."""
    first = next(message.content for message in prompt.messages if message.role == "user")
    return replace(prompt, split=assign_split(conversation(first), SHARES))


def _of_advbench(prompt: Prompt) -> Prompt:
    return _divided(_attack(prompt))


def _of_area(prompt: Prompt, area: str) -> Prompt:
    return replace(_divided(_attack(prompt)), risk_category=HARM_AREAS.get(area))


def _of_xstest(prompt: Prompt, kind: str, label: str) -> Prompt:
    """All are for tests; the unsafe ones contrast with those that only sound so."""
    if label not in ("safe", "unsafe"):
        raise ValueError(f"the label is {label!r}, needed safe or unsafe")
    prompt = replace(prompt, category=kind or XSTEST)
    if label == "unsafe":
        return _attack(prompt)
    return replace(prompt, is_safety=False, borderline=True)


def run(config: Config, inputs: Inputs, outputs: Outputs, context: StageContext) -> Result:
    """Read everything and write the stage's records.

    Raises:
        ConfigError: Nothing takes part.
        MissingInputError: A file is missing.
        DataError: A file is damaged, of another layout, or none of its rows can be used.
    """
    if not (config.authored or config.demonstrations):
        raise ConfigError(
            f"{context.name}: authored is false and demonstrations null, so no safety "
            "demonstration is left; name a file of your own or keep the authored ones."
        )
    found = _Collection(inputs)
    # Demonstrations first: what they ask is then no test prompt, whichever file holds it.
    if config.demonstrations is not None:
        found.read_demonstrations(config.demonstrations)
    for prompt, dialogue in [*safety_pairs(), *borderline_pairs()] if config.authored else []:
        if dialogue is not None or config.xstest is None:
            found.add(prompt, prompt.id, dialogue)
    if config.advbench is not None:
        found.read_table(config.advbench, ("goal",), _of_advbench, ADVBENCH)
    if config.simple_safety_tests is not None:
        columns = ("prompts_final", "harm_area")
        found.read_table(config.simple_safety_tests, columns, _of_area, SIMPLE_SAFETY_TESTS)
    if config.xstest is not None:
        found.read_table(config.xstest, ("prompt", "type", "label"), _of_xstest, XSTEST)
    if config.attacks is not None:
        found.read_attacks(config.attacks)
    check_disjoint(found.prompts)
    outputs.demonstrations.write(found.dialogues)
    outputs.prompts.write(found.prompts)
    if found.left_out:
        context.progress.note(f"prompts and demonstrations: {found.left_out}")
    attacks = [prompt for prompt in found.prompts if prompt.attack_vector is not None]
    safe = [prompt for prompt in found.taught if prompt.attack_vector is not None]
    return Result(
        demonstrations_by_source=dict(Counter(d.source for d in found.dialogues)),
        demonstrations_by_risk_category=_count(prompt.risk_category for prompt in safe),
        demonstrations_by_attack_vector=_count(prompt.attack_vector for prompt in safe),
        prompts_by_source=dict(Counter(prompt.source for prompt in found.prompts)),
        attacks_by_split=_count(prompt.split for prompt in attacks),
        borderline_by_split=_count(prompt.split for prompt in found.prompts if prompt.borderline),
        left_out=_said(found.left_out),
        changed=_said(found.changed),
        files=found.files,
        authored_licence=LICENCE if config.authored else None,
    )


def _count(values: Iterable[str | None]) -> dict[str, int]:
    return dict(Counter(value or "not stated" for value in values))


def _said(tally: Tally) -> dict[str, int]:
    return {f"{what} (first in {seen.first})": seen.count for what, seen in tally.items()}


Seen = Found[Config, Inputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()
LIMITS = (
    "The authored safety demonstrations and borderline requests are few, were written by one "
    "author and reviewed by no expert; what they teach and measure is the form of an answer."
)


@REPORT.item("data", "Help and safety demonstrated", "Of those that are trained on.", "Table 5")
def _two_demonstrations(seen: Seen) -> list[Example]:
    """One that answers a harmless request (if there is one), one that answers an attack."""
    return demonstrations(seen.last.rows(seen.last.outputs.demonstrations))


@REPORT.item(
    "data",
    "The safety data",
    "Demonstrations and prompts by source, use, risk category and attack vector; what was left "
    "out, and the hash of each file.",
    card="Training Data",
    anchor="safety-data",
    folded=True,
)
def _statistics(seen: Seen) -> Table:
    return statistics(seen.last.result)


@REPORT.card
def _card(seen: Seen) -> Iterable[tuple[CardField, str]]:
    result = seen.last.result
    number = result.demonstrations_by_source.get(AUTHORED, 0)
    if number:
        text = (
            f"{number} of its demonstrations, for safety and against false refusals, were authored "
            f"for Camelid ({result.authored_licence})."
        )
        yield "about", text
    if result.files:
        yield "about", f"Its safety data also come from {', '.join(result.files)}."


@REPORT.limits
def _limits(seen: Seen) -> list[str]:
    if seen.last.result.authored_licence is None:
        return []
    return [LIMITS]


SAFETY_DATA = StageKind(
    name="safety_data",
    config=Config,
    inputs=Inputs,
    outputs=Outputs,
    result=Result,
    run=run,
    report=REPORT,
    files=lambda config: config.paths,
)
