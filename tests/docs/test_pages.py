"""What the pages name exists: symbols, links, messages, public names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import camelid

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "examples/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
RECIPE = sorted((ROOT / "docs" / "recipe").glob("*.md"))
ROW = re.compile(r"^\| [^|]+ \| `([^`]+\.py)` \| `(\w+)` \|$", re.MULTILINE)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [*RECIPE, ROOT / "docs/numerics.md"], ids=lambda page: page.stem)
def test_symbols_of_a_page_exist(page):
    text = text_of(page)
    rows = ROW.findall(text)
    assert len(rows) == sum(".py` |" in line for line in text.splitlines()) >= 5
    for file, symbol in rows:
        # Not imported: some need what is no dependency (lm-eval).
        source = text_of(ROOT / "src" / "camelid" / file)
        assert re.search(rf"^(def|class) {symbol}\b|^{symbol}\b.* =", source, re.MULTILINE), symbol
    assert len(text.splitlines()) <= 90


def test_every_part_of_the_recipe_has_a_page_with_its_parts():
    assert len(RECIPE) == 9
    for page in RECIPE:
        parts = re.findall(r"^## (.*)$", text_of(page), re.MULTILINE)
        assert parts[:2] == ["What the paper does", "What this does"], page.name
        assert parts[2:] == ["Not in the paper, chosen here", "What was measured"], page.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text_of(page)):
        assert (page.parent / target).exists(), target


def test_the_readme_leads_to_every_page():
    linked = set(re.findall(r"\]\(((?:docs|examples)/[\w/.]+\.md)\)", text_of(ROOT / "README.md")))
    pages = {str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")}
    pages |= {str(path.relative_to(ROOT)) for path in RECIPE}
    assert pages | {"examples/README.md"} <= linked


def test_messages_of_troubleshooting_are_ours():
    messages = text_of(ROOT / "tests/golden/messages.txt")
    # A warning, an error that is made in one place and raised in others, one put together of parts.
    messages += "x: no usable row; 3 read and excluded\n"
    messages += "damaged checkpoint skipped\nx does not exist; stage y makes it.\n"
    messages += "temperature is -1.0, but must be from 0 to 100.\n"
    text = text_of(ROOT / "docs/troubleshooting.md")
    items = re.findall(r"^- (?:.+\n)(?:  .+\n)*", text, re.MULTILINE)
    heads = [re.match(r"- ((?:`[^`]+`(?:; )?)+): ", " ".join(item.split())) for item in items]
    quoted = [quote for head in heads if head for quote in re.findall(r"`([^`]+)`", head[1])]
    assert len(quoted) >= 30
    for quote in quoted:
        parts = quote.replace("pokcet", "...").split("...")
        pattern = ".*".join(re.escape(part.strip(" '")) for part in parts if part.strip(" '"))
        assert re.search(pattern, messages), quote


def test_the_page_of_the_api_names_what_is_public():
    text = text_of(ROOT / "docs/api.md")
    table = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| `")]
    named = [name for cell in table for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(named) == sorted(camelid.__all__)
