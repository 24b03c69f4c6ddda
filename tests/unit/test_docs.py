"""The documentation leads where it says: every relative link of every page exists, with the heading it points at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

REPOSITORY = Path(__file__).parents[2]
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+\s+(.*)$", re.MULTILINE)
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def pages() -> list[Path]:
    return sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])


def anchors(page: Path) -> set[str]:
    """The headings' names as forges make them."""
    headings = _HEADING.findall(page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> Iterator[str]:
    text = _CODE.sub("", page.read_text(encoding="utf-8"))
    for target in _LINK.findall(text):
        if not target.startswith(("http://", "https://", "mailto:")):
            yield target


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link} leads nowhere"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{page.name}: {link}: no such heading"


@pytest.mark.parametrize("picture", sorted(REPOSITORY.glob("docs/images/*.svg")), ids=lambda picture: str(picture.name))
def test_no_word_of_a_picture_is_cut_off(picture: Path) -> None:
    """By the width that a letter has at most in the fonts these pictures ask for, 0.6 of its size on average."""
    root = ET.fromstring(picture.read_text(encoding="utf-8"))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for text in root.iter("{http://www.w3.org/2000/svg}text"):
        share = {"start": 0.0, "middle": 0.5, "end": 1.0}[text.attrib.get("text-anchor", "start")]
        for line in [text, *text]:
            words = (line.text or "").strip()
            long = 0.6 * float(text.attrib["font-size"]) * len(words)
            left = float(line.attrib["x"]) - share * long
            assert left >= 0, f"{picture.name}: {words!r} begins outside"
            assert left + long <= width, f"{picture.name}: {words!r} ends outside"
        assert 0 < float(text.attrib["y"]) < height


def test_there_are_pages_with_links() -> None:
    assert sum(len(list(links(page))) for page in pages()) > 20
