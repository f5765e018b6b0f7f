"""Words that a newcomer does not bring along are not in code, messages, pages and docs."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
KINDS = {".py", ".md", ".html", ".js", ".toml"}
WORDS = re.compile(
    r"\b(anew|came of it|(is|are|was|were) told|films?|filmed|keys and values that are still true|of before|go(es)? on|"
    r"what there is|became of|by way of|just so|dearest|whom|stands)\b"
)
PAGES = [
    *(
        file
        for folder in ("agentgym", "docs", "envs", "datasets", "experiments")
        for file in (ROOT / folder).rglob("*")
    ),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
]


def test_private_words_are_gone():
    found = [
        f"{file.relative_to(ROOT)}:{number}: {match[0]}"
        for file in PAGES
        if file.suffix in KINDS and file.is_file()
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        for match in WORDS.finditer(line)
    ]
    assert found == []
