"""Reads the public files and writes what each use gets of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from camelid.data.public import PAIR_USES, Collection, PublicDataConfig, check_uses
from camelid.data.sources import ADVBENCH, DOLLY, HH_RLHF, find_public_files
from camelid.errors import MissingInputError
from camelid.run.files import hash_file
from camelid.run.stage import NoInputs, StageContext
from camelid.sources.public_data import LeftOut, Outputs, Result


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
    outputs.prompts.write(prompts)
    outputs.demonstrations.write(demonstrations)
    for name, size in collection.sizes.items():
        if size.found < size.wanted:
            context.progress.note(f"{name}: {size.found} rows of {size.wanted} wanted")
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
        excluded=tuple(
            LeftOut(file=row.file, line=row.line, reason=row.reason) for row in collection.excluded
        ),
        files={f"{path.parent.name}/{path.name}": hash_file(path) for path in files.values()},
    )
