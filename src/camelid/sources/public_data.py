"""Public data for the `smollm2` recipe: demonstrations, human comparisons and prompts.

In place of the paper's own annotations (Sections 3.1 and 3.2.1): demonstrations from Dolly, human
comparisons from Anthropic's HH-RLHF (open data that the paper's reward models also use, Table 6),
attack prompts from AdvBench. Every conversation of HH-RLHF gets one use by the hash of its first
message, so reward models, guard, tests, rejection sampling and PPO never share a conversation.
Splits do not depend on the run's seed: all runs are tested on the same prompts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from camelid.data.public import PAIR_USES, Collection, PublicDataConfig, Size, check_uses
from camelid.data.records import Dialogue, Preference, Prompt
from camelid.data.sources import (
    ADVBENCH,
    DOLLY,
    HH_RLHF,
    HH_SUBSETS,
    Excluded,
    find_public_files,
)
from camelid.errors import MissingInputError, counted
from camelid.report.texts import demonstrations, statistics
from camelid.run.files import hash_file
from camelid.run.finished import Found
from camelid.run.item import CardField, Example, StageReport, Table
from camelid.run.place import Rows, StageOutputs, place
from camelid.run.stage import NoInputs, StageContext, StageKind

NOTE = (
    "Comparisons were read from these files only, under the names of HH-RLHF: {}; whether they are "
    "the public ones their hashes tell. They were split anew, by a hash of each conversation's "
    "first message."
)


class Outputs(StageOutputs):
    """What the stage writes."""

    preferences: Rows[Preference] = place("preferences.jsonl")
    guard_preferences: Rows[Preference] = place("guard_preferences.jsonl")
    test_preferences: Rows[Preference] = place("test_preferences.jsonl")
    imitation_preferences: Rows[Preference] = place("imitation_preferences.jsonl", optional=True)
    """Which no other stage reads than the one that imitates people."""
    prompts: Rows[Prompt] = place("prompts.jsonl")
    demonstrations: Rows[Dialogue] = place("demonstrations.jsonl")


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """Statistics of everything read and left out."""

    demonstrations: int
    distinct_prompts: int
    prompts_by_split: dict[str, int]
    rows_used: dict[str, int]
    sizes: dict[str, Size]
    left_out_too_long: dict[str, int]
    longest_characters: int
    longest_prompt: int
    longest_demonstration: int
    excluded_by_reason: dict[str, int]
    excluded: tuple[Excluded, ...]
    files: dict[str, str]
    """Folder and name of each file to the hash of its content."""


def run(config: PublicDataConfig, _: NoInputs, outputs: Outputs, context: StageContext) -> Result:
    """Read the public files and write the stage's records.

    Raises:
        MissingInputError: No folder is given or files are missing (each is named).
        DataError: A file is malformed or a use has no row.
    """
    if config.directory is None:
        raise MissingInputError(
            "The public data sets are needed: give their folder with --data DIR. It holds "
            f"hh-rlhf/ ({HH_RLHF}), databricks-dolly-15k/ ({DOLLY}) and advbench/ ({ADVBENCH})."
        )
    files = find_public_files(Path(config.directory))
    collection = Collection(config, files)
    preferences = {use: collection.preferences(use) for use in PAIR_USES}
    prompts = collection.prompts()
    demonstrations = collection.demonstrations()
    check_uses(preferences, prompts)
    outputs.preferences.write(preferences["train"])
    outputs.guard_preferences.write(preferences["guard"])
    outputs.test_preferences.write(preferences["test_pairs"])
    if preferences["imitation"]:
        outputs.imitation_preferences.write(preferences["imitation"])
    outputs.prompts.write(prompts)
    outputs.demonstrations.write(demonstrations)
    for name, size in collection.sizes.items():
        if size.found < size.wanted:
            context.progress.note(f"{name}: {counted(size.found, 'row')} of {size.wanted} wanted")
    return Result(
        demonstrations=len(demonstrations),
        distinct_prompts=len(prompts),
        prompts_by_split=dict(Counter(prompt.split for prompt in prompts)),
        rows_used=collection.rows_used,
        sizes=collection.sizes,
        left_out_too_long=collection.too_long(),
        longest_characters=config.longest_characters,
        longest_prompt=config.longest_prompt,
        longest_demonstration=config.longest_demonstration,
        excluded_by_reason=dict(Counter(row.reason for row in collection.excluded)),
        excluded=tuple(collection.excluded),
        files={f"{path.parent.name}/{path.name}": hash_file(path) for path in files.values()},
    )


Seen = Found[PublicDataConfig, NoInputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()


@REPORT.item("data", "Two demonstrations", "Of those that are trained on.", "Table 5")
def _demonstrations(seen: Seen) -> list[Example]:
    return demonstrations(seen.last.rows(seen.last.outputs.demonstrations))


@REPORT.item(
    "data",
    "The public data",
    "Rows used and left out, and the hash of each file.",
    card="Training Data",
    anchor="public-data",
    folded=True,
)
def _statistics(seen: Seen) -> Table:
    return statistics(seen.last.result, without=("excluded",))


@REPORT.item(
    "data",
    "Preferences",
    "Labels of the public data, by people.",
    "Table 6",
    "Table 26",
    card="Training Data",
)
def _preferences(seen: Seen) -> Table:
    kinds = Counter(row.kind for row in seen.last.rows(seen.last.outputs.preferences))
    return Table(columns=("comparisons", "number"), rows=[(k, n) for k, n in kinds.items()])


@REPORT.card
def _card(seen: Seen) -> Iterable[tuple[CardField, str]]:
    files = seen.last.result.files
    if any(name.partition("/")[0] in HH_SUBSETS for name in files):
        yield "datasets", HH_RLHF
    if any("dolly" in name.lower() for name in files):
        yield "datasets", DOLLY
    yield "language", "en"
    about = (
        f"It learned from files named as public ones ({', '.join(files)}); their hashes stand "
        "under Training Data. The publishers state CC BY-SA 3.0 for Dolly, MIT for HH-RLHF and "
        "AdvBench."
    )
    yield "about", about


@REPORT.limits
def _limits(seen: Seen) -> list[str]:
    names = [name for name in seen.last.result.files if name.partition("/")[0] in HH_SUBSETS]
    return [NOTE.format(", ".join(names))]


PUBLIC_DATA = StageKind(
    name="public_data",
    config=PublicDataConfig,
    inputs=NoInputs,
    outputs=Outputs,
    result=Result,
    run=run,
    report=REPORT,
)
