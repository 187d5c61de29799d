"""Documents lead somewhere, and every command is in one."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


def test_every_command_is_described() -> None:
    described = set(re.findall(r"^\| `scripts/(\w+)", (ROOT / "docs/commands.md").read_text(), re.MULTILINE))
    assert described == {file.name for file in (ROOT / "scripts").iterdir() if file.is_file()}
