"""What is released: one name, one version, one changelog, and formats whose ranges the page of versions tells."""

import os
import re
import shutil
import subprocess
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

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
    assert f"| {FORMAT}, with extra columns {FORMAT_WITH_EXTRAS} |" in page
    assert f"config.json) | {CHECKPOINT_FORMAT} |" in page
    assert f"evaluation.json) | {EVALUATION_FORMAT} |" in page


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """What git has of this folder, as it is now, and a Python with nothing installed."""
    folder = tmp_path_factory.mktemp("release")
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in files.stdout.decode().split("\0"):
        if (ROOT / name).is_file():
            (folder / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / "clone" / name)
    venv.create(folder / "venv", with_pip=True)
    return folder


def in_venv(clone, *words, **settings):
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment["PATH"] = f"{clone / 'venv/bin'}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        words, env=environment, capture_output=True, text=True, **{"cwd": clone / "clone", **settings}
    )
    assert done.returncode == 0, f"{words}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def steps_of(dockerfile):
    """The RUN lines of a Dockerfile, continued ones joined."""
    joined = dockerfile.read_text().replace("\\\n", " ")
    return [line.removeprefix("RUN ") for line in joined.splitlines() if line.startswith("RUN ")]


def test_the_dockerfile_copies_what_git_has_and_ends_with_the_demo():
    text = (ROOT / "Dockerfile").read_text()
    assert len(steps_of(ROOT / "Dockerfile")) == 3
    assert text.rstrip().endswith('CMD ["agentgym", "run", "babyai-goto-redball"]')
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text().split() if line.startswith("/")}
    assert ignored <= set((ROOT / ".dockerignore").read_text().split())


@pytest.fixture(scope="module")
def built(clone):
    """The folder of sdist and wheel."""
    python = str(clone / "venv/bin/python")
    in_venv(clone, python, "-m", "pip", "install", "-q", "hatchling")
    in_venv(clone, python, "-m", "hatchling", "build", "-d", str(clone / "dist"))
    return clone / "dist"


@pytest.fixture(scope="module")
def installed(clone):
    """The Dockerfile's first step: the package and what it needs are in that Python."""
    in_venv(clone, "sh", "-c", steps_of(ROOT / "Dockerfile")[0])


@pytest.mark.slow
def test_sdist_and_wheel_are_built_and_the_wheel_has_what_it_needs(built):
    version = PROJECT["version"]
    assert {file.name for file in built.iterdir()} == {
        f"agentgym_ifm-{version}.tar.gz",
        f"agentgym_ifm-{version}-py3-none-any.whl",
    }
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    missing = {
        *("agentgym/py.typed", "agentgym/apps/templates/playground.html", "agentgym/report/templates/report.html"),
        *("agentgym/shipped/experiments/babyai-goto-redball.toml", "agentgym/shipped/envs/minatar.toml"),
    } - names
    assert not missing
    assert any(name.endswith("model.safetensors") for name in names), "an agent ships"
    assert not any(name.startswith(("tests/", "docs/")) for name in names)


@pytest.mark.slow
def test_the_steps_of_the_dockerfile_run_in_a_clone(clone, installed):
    for step in steps_of(ROOT / "Dockerfile")[1:]:
        said = in_venv(clone, "sh", "-c", step.replace("/tmp/", f"{clone}/"))
        if step == "agentgym list agents":
            assert "babyai-goto-redball" in said
    program = "import agentgym; print(agentgym.__version__, agentgym.__file__)"
    version, file = in_venv(clone, "python", "-c", program, cwd=clone).split()
    assert version == PROJECT["version"]
    assert "site-packages" in file


@pytest.mark.slow
@pytest.mark.parametrize("kind", [".whl", ".tar.gz"])
def test_what_is_built_passes_the_smoke_test_far_from_the_sources(clone, built, installed, kind, tmp_path):
    (file,) = built.glob(f"*{kind}")
    in_venv(clone, "python", "-m", "pip", "install", "-q", "--no-deps", "--force-reinstall", str(file))
    smoke_test = steps_of(ROOT / "Dockerfile")[2].replace("/tmp/", f"{tmp_path}/")
    assert "report: " in in_venv(clone, "sh", "-c", smoke_test, cwd=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("extra", [name for name in PROJECT["optional-dependencies"] if name != "all"])
def test_an_extra_resolves(clone, installed, extra):
    in_venv(clone, "python", "-m", "pip", "install", "-q", "--dry-run", f".[{extra}]")
