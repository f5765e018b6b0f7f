"""What a browser makes of a page."""

import subprocess
from pathlib import Path


def shown_by_a_browser(file: Path, profile: Path, *more: str) -> str:
    """The page's elements after its scripts have run; whatever the console says fails the test."""
    flags = (
        *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
        *("--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--dump-dom", *more),
    )
    shown = subprocess.run(
        ["chromium", *flags, f"--user-data-dir={profile}", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "CONSOLE" not in shown.stderr
    return shown.stdout
