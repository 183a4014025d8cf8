"""The report of a run: its items drawn, its figures collected, one self-contained page.

It draws what the stages of the plan declare and knows none of them. All text is escaped by the
template; the only raw markup is our own SVG. Source: arXiv 2307.09288, whose figures and tables it
draws again from the run's own data; the page is Source: choice.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from camelid.data.annotation import JudgedReply
from camelid.errors import counted
from camelid.report import index
from camelid.report.drawn import Drawn, explained, in_groups, placed
from camelid.report.first_screen import Answer, answers, change_figure
from camelid.report.replies import searchable
from camelid.report.run_items import REPORT as RUN_REPORT
from camelid.run.finished import FinishedRun
from camelid.run.item import (
    AbsentError,
    AnyItem,
    CardField,
    Drawing,
    Line,
    Measure,
    NotApplicableError,
    Section,
    StageReport,
)

if TYPE_CHECKING:
    from jinja2 import Environment

TITLES: dict[Section, str] = {
    "results": "What each stage changed",
    "run": "The run",
    "data": "Data",
    "quality": "Quality",
    "rewards": "Reward models",
    "rlhf": "Rejection sampling and PPO",
    "attention": "Ghost Attention",
    "speed": "Speed",
    "safety": "Safety",
    "samples": "Replies before and after",
    "benchmarks": "Public benchmarks",
}
"""Parts of the page, in the order of the paper."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Everything that a report says."""

    run: FinishedRun
    drawn: Sequence[Drawn]
    measures: Sequence[Measure]
    notices: Sequence[str]
    """What a reader must know first."""
    limits: Sequence[str]
    lines: Sequence[Line]
    """What the first screen says."""
    replies: Sequence[tuple[JudgedReply, str]]
    """Judged replies, each with the judge's reason."""
    main: Sequence[str]
    """Models whose replies are shown first, in order; those of others are folded."""
    card: Sequence[tuple[CardField, str]]
    """What stages say for the head of the model card."""
    model_card: str
    """Name of that file beside the page."""
    safety_report: str
    """Name of that file beside the page."""
    search: str
    """Name of the page on which replies are searched; empty where a judge saw none."""

    def sections(self) -> Iterator[tuple[Section, str, list[Drawn]]]:
        """Yield anchor, title and items of every part of the page that has some."""
        for name in typing.get_args(Section):
            items = [drawn for drawn in self.drawn if drawn.item.section == name]
            if items:
                yield name, TITLES[name], items

    def tiles(self) -> list[tuple[str, str, list[Answer]]]:
        """Return name, question and answers of the tiles of the first screen."""
        return answers(self.lines, self.measures)

    def change(self) -> Drawing | None:
        """Return the figure of the first screen."""
        return change_figure(self.lines, self.measures)

    def index(self) -> list[index.Artefact]:
        """Return where this report stands on each artefact of the paper."""
        here = {"Table 52": self.model_card} if self.model_card else {}
        absent: dict[str, str] = {}
        for drawn in self.drawn:
            for name in (*drawn.item.paper, *drawn.item.stands_for):
                if drawn.missing is None:
                    here[name] = f"#{drawn.item.anchor}"
                else:
                    absent[name] = drawn.missing
        return index.index(here, absent)

    @property
    def shown(self) -> dict[str, str]:
        """Key of each figure to its value for people."""
        return {measure.key: measure.shown for measure in self.measures}


def make_report(
    run: FinishedRun,
    *more: tuple[StageReport[FinishedRun], bool],
    model_card: str = "",
    safety_report: str = "",
    search: str = "",
) -> Report:
    """Draw every item of a run's stages.

    Args:
        run: The run.
        more: What else is shown of the run and whether there is any of it.
        model_card: Name of that file, where there is one.
        safety_report: Name of that file, where there is one.
        search: Name of the page of replies, where there is one.

    Raises:
        MissingInputError: A finished stage lacks an output that it should hold.
        DataError: A file of the run is malformed.
    """
    drawn: list[Drawn] = []
    measures: list[Measure] = []
    notices: list[str] = [*unfinished(run)]
    limits: list[str] = []
    lines: list[Line] = []
    replies: list[tuple[JudgedReply, str]] = []
    main: list[str] = []
    card: list[tuple[CardField, str]] = []

    def add(reporter: StageReport[Any], found: Any, missing: str | None) -> None:
        with_none = (draw(item, found, missing) for item in reporter.items)
        drawn.extend(entry for entry in with_none if entry is not None)
        if missing is None:
            measures.extend(reporter.find_measures(found))
            notices.extend(reporter.find_notices(found))
            limits.extend(reporter.find_limits(found))
            lines.extend(reporter.find_lines(found))
            replies.extend(reporter.find_replies(found))
            main.extend(reporter.find_main(found))
            card.extend(reporter.find_card(found))

    for kind in {stage.kind.name: stage.kind for stage in run.stages}.values():
        if not kind.shows:
            found = run.of(kind)
            missing = None if found.stages else f"stage {kind.name} has not finished in this run"
            add(kind.reporter(), found, missing)
    add(RUN_REPORT, run, None)
    for reporter, present in more:
        if present:
            add(reporter, run, None)
    limits = [*notices, *limits, *GENERAL_LIMITS]
    return Report(
        run=run,
        drawn=drawn,
        measures=measures,
        notices=notices,
        limits=limits,
        lines=lines,
        replies=replies,
        main=main,
        card=card,
        model_card=model_card,
        safety_report=safety_report,
        search=search if replies else "",
    )


def unfinished(run: FinishedRun) -> Iterator[str]:
    """Say which stages of the plan have not finished, if any."""
    done = run.manifest.stages
    names = [s.name for s in run.stages if not s.kind.shows and s.name not in done]
    if names:
        yield f"This run is not finished: it lacks {', '.join(names)}."


GENERAL_LIMITS = (
    (
        "The model and its test prompts are small: the artefacts are the paper's, the sizes of the "
        "effects need not be."
    ),
    (
        "One run with one seed: intervals cover the choice of prompts, not of training; several "
        "seeds (`camelid run RECIPE --seeds 3`) cover that too."
    ),
    (
        "All intervals are 95 %: of shares by Wilson, of paired differences of verdicts by Bonett "
        "and Price, of means by Student's t."
    ),
)


def draw(item: AnyItem, found: Any, missing: str | None = None) -> Drawn | None:
    """Draw one item; where the run holds nothing to draw, it says why; None does not apply."""
    if missing is not None:
        caption = item.caption if isinstance(item.caption, str) else ""
        return Drawn(item=item, caption=caption, missing=missing)
    caption = item.caption if isinstance(item.caption, str) else item.caption(found)
    try:
        return Drawn(item=item, caption=caption, content=item.draw(found))
    except NotApplicableError:
        return None
    except AbsentError as error:
        return Drawn(item=item, caption=caption, missing=str(error))


def templates() -> Environment:
    """Return the templates of all pages; whatever they show is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("camelid.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # The SVG is drawn by this package, so it is the one thing that is not escaped again.
    environment.filters["markup"] = Markup
    environment.filters["groups"] = in_groups
    environment.filters["counted"] = counted
    return environment


def render(report: Report, files: Sequence[str]) -> str:
    """Return the whole page; `files` stand beside it."""
    change = report.change()
    return (
        templates()
        .get_template("report.html")
        .render(
            report=report,
            manifest=report.run.manifest,
            change=change and placed(change.svg, "change"),
            files=files,
            explained=explained(
                [
                    drawn
                    for _, _, items in report.sections()
                    for _, group in in_groups(items)
                    for drawn in group
                ]
            ),
        )
    )


def render_search(report: Report, back: str) -> str:
    """Return the page on which the judged replies are searched; `back` is the report's name."""
    # What would end the element is written as an escape of JSON.
    data = json.dumps(searchable(report.replies, report.main), ensure_ascii=False).replace(
        "<", "\\u003c"
    )
    template = templates().get_template("search.html")
    return template.render(recipe=report.run.manifest.recipe, data=data, back=back)


def headlines(measures: Sequence[Measure]) -> list[tuple[str, str]]:
    """What each stage changed, for the terminal at the end of a run.

    Args:
        measures: Figures of the summary.

    Returns:
        (figure with what it is of, values with their 95 % intervals) pairs.
    """
    rows: dict[str, list[tuple[str, str]]] = {}
    for measure in measures:
        if measure.headline is not None and measure.value is not None:
            row, column = measure.headline
            rows.setdefault(row, []).append((column, measure.shown))
    return [
        (
            f"{row}: {', '.join(column for column, _ in cells)}",
            " → ".join(text for _, text in cells),
        )
        for row, cells in rows.items()
    ]
