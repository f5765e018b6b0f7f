"""Pages of the site that are not in docs/: the README as its first page, results and benchmarks."""

import re
from pathlib import Path

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
FOLDERS = ("experiments", "datasets/experts", "tests/benchmarks")
PAGES = {"README.md": "index.md", "CHANGELOG.md": "CHANGELOG.md", "CONTRIBUTING.md": "CONTRIBUTING.md"}
AS_THEY_ARE = ("CITATION.cff",)  # to which pages link


def on_files(files: Files, config) -> Files:
    """Adds the pages and pictures that are outside docs/."""
    for name, uri in PAGES.items():
        files.append(File.generated(config, uri, content=(ROOT / name).read_text(encoding="utf-8")))
    for name in AS_THEY_ARE:
        files.append(File.generated(config, name, content=(ROOT / name).read_bytes()))
    for folder in FOLDERS:
        for file in sorted((ROOT / folder).rglob("*")):
            if file.suffix in (".md", ".svg", ".png"):
                uri = file.relative_to(ROOT).as_posix()
                uri = uri.replace("README.md", "card.md")
                files.append(File.generated(config, uri, content=file.read_bytes()))
    return files


def on_page_markdown(markdown: str, page, config, files) -> str:
    """Links as they are written in the repository lead to the same pages of the site."""
    uri = page.file.src_uri
    if uri in PAGES.values():
        return re.sub(r"\]\(docs/", "](", markdown)
    if "/" not in uri:
        return re.sub(r"\]\(\.\./", "](", markdown)
    return markdown
