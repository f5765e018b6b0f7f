"""What is released: one name, one version, one changelog, and formats whose ranges the page of versions tells."""

import re
import tomllib
from pathlib import Path

import agentgym
from agentgym.data.store.format import FORMAT, FORMAT_WITH_EXTRAS
from agentgym.evaluation.scoring import EVALUATION_FORMAT
from agentgym.model.older_formats import CHECKPOINT_FORMAT
from agentgym.versions import DISTRIBUTION

ROOT = Path(__file__).parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_distribution_is_not_named_as_another_project_of_pypi_and_the_import_is():
    assert PROJECT["name"] == DISTRIBUTION != "agentgym"
    assert list(PROJECT["scripts"]) == [agentgym.__name__]
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        assert not re.search(r"pip install [\"']?agentgym(?!-ifm)\b", page.read_text()), page


def test_the_version_is_that_of_the_changelogs_first_section_and_of_the_citation():
    version = PROJECT["version"]
    first, *others = re.findall(r"^## (\S+)(?: \((\w+)\))?", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first == (version.removesuffix(".dev0"), "unreleased" if version.endswith(".dev0") else "")
    assert [state for _, state in others] == [""] * len(others)
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_page_of_versions_names_the_formats_that_are_written():
    page = (ROOT / "docs" / "versions.md").read_text()
    assert f"| {FORMAT}, with kept columns {FORMAT_WITH_EXTRAS} |" in page
    assert f"config.json) | {CHECKPOINT_FORMAT} |" in page
    assert f"evaluation.json) | {EVALUATION_FORMAT} |" in page
