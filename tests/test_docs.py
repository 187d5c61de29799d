"""Documents lead somewhere, and describe every command with its options."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = sorted(file.name for file in (ROOT / "scripts").iterdir() if file.is_file())
ROWS = {
    name: row
    for row in (ROOT / "docs/commands.md").read_text().splitlines()
    for name in re.findall(r"^\| `scripts/(\w+)", row)
}


def _anchors(page: Path) -> set[str]:
    """Headings as GitHub links to them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        found = page.parent / target if target else page
        assert found.exists(), f"{page.relative_to(ROOT)} links to {target}"
        assert not anchor or anchor in _anchors(found), f"{page.relative_to(ROOT)} links to {target}#{anchor}"


def test_every_command_is_described() -> None:
    assert sorted(ROWS) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_options_are_those_of_the_command(command: str) -> None:
    done = subprocess.run(
        [ROOT / "scripts" / command, "--help"],
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
    )
    usage = done.stdout.partition("\n\n")[0]
    described = re.findall(r"(?<!\S)\[?(--[a-z-]+)", ROWS[command].split("` |")[0])
    assert sorted(described) == sorted(re.findall(r"--[a-z-]+", usage))


def test_the_local_cloud_has_the_commands_described() -> None:
    done = subprocess.run([ROOT / "scripts/localcloud", "--help"], capture_output=True, text=True, check=True)
    listed = re.findall(r"^ {4}(\w+)", done.stdout, re.MULTILINE)
    assert sorted(ROWS["localcloud"].split("`")[3].split()) == sorted(listed)
