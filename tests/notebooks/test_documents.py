"""What the documents point at exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.joinpath("docs").rglob("*.md"))]
PROOF = re.compile(r"^\| (?:`(?P<file>tests/[\w/]+\.py)`)? ?\| `(?P<test>test_\w+)` \|$", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([\w-]+))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def test_every_test_that_a_guarantee_names_exists() -> None:
    proofs = list(PROOF.finditer(ROOT.joinpath("docs/guarantees.md").read_text()))
    assert len(proofs) > 40
    missing, source = [], ""
    for proof in proofs:
        if proof["file"] is not None:
            source = ROOT.joinpath(proof["file"]).read_text()
        if f"def {proof['test']}(" not in source:
            missing.append(proof[0])
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_it_links_to_exists(document: Path) -> None:
    for link, heading in LINK.findall(document.read_text()):
        target = document.parent / link if link else document
        assert target.exists(), link
        if heading:
            assert heading in [title.lower().replace(" ", "-") for title in HEADING.findall(target.read_text())]
