"""The Hugging Face Hub: a folder goes up, a repository comes down. Knows no run and no dataset, only folders and names.

Where the Hub is, who asks and where downloads are kept is huggingface_hub's to know (HF_ENDPOINT, HF_TOKEN, HF_HOME).
"""

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from agentgym.errors import UserError
from agentgym.files import REMEDIES, writing

RepoKind = Literal["model", "dataset"]
NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_repository(reference: str) -> bool:
    """Whether the text is the name of a repository (org/name) rather than a folder that is here."""
    return bool(NAME.fullmatch(reference)) and not Path(reference).exists()


def download(repository: str, kind: RepoKind = "model", *, to: Path | None = None) -> Path:
    """The folder of a repository's files: in huggingface_hub's cache, or in `to`. Raises UserError in one line."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()  # a command has one bar, its own
    with _one_line(repository), writing(to or Path(HF_HUB_CACHE)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Not enough free disk space")  # which is an error soon enough
        return Path(snapshot_download(repository, repo_type=kind, local_dir=to, endpoint=_endpoint()))


def cached(repository: str) -> Path | None:
    """The folder of a model's repository that was downloaded before, else None. Nothing is asked of the Hub."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, local_files_only=True))
    except (LocalEntryNotFoundError, ValueError, OSError):
        return None


def upload(folder: Path, repository: str, kind: RepoKind = "model", *, private: bool = False, message: str) -> str:
    """Sends all files of the folder to a repository, which is made where there is none; its address.

    Raises UserError in one line without a network, without a token, or for a name that is none.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    if not NAME.fullmatch(repository):
        raise UserError(f"{repository}: expected the name of a repository, ORGANISATION/NAME")
    with _one_line(repository):
        api = HfApi(endpoint=_endpoint())
        api.create_repo(repository, repo_type=kind, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository,
            repo_type=kind,
            folder_path=folder,
            commit_message=message,
            delete_patterns=_replaced(folder),
        )
    return str(commit.repo_url)


def _endpoint() -> str | None:
    """Where the Hub is, read when it is asked: huggingface_hub reads it when it is imported."""
    return os.environ.get("HF_ENDPOINT")


def _replaced(folder: Path) -> list[str]:
    """Patterns of an earlier push's files that this one replaces, so that no shard of another set stays."""
    kinds = {".arrow", ".safetensors", ".json"}
    return sorted({f"*{file.suffix}" for file in folder.rglob("*") if file.suffix in kinds})


@contextmanager
def _one_line(repository: str) -> Iterator[None]:
    """Errors of the Hub or the network, as one line."""
    from httpx2 import HTTPError
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        yield
    except RepositoryNotFoundError:
        hint = "check the name, or log in with 'hf auth login'"
        raise UserError(f"{repository}: the Hub has no such repository, or it is private; {hint}") from None
    except (LocalTokenNotFoundError, HFValidationError) as error:
        raise UserError(f"{repository}: {_first_line(error)}") from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        hint = "; log in with 'hf auth login', or set HF_TOKEN" if status in (401, 403) else ""
        raise UserError(f"{repository}: the Hub refused: {_first_line(error)}{hint}") from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HTTPError, OSError) as error:
        if getattr(error, "errno", None) in REMEDIES:  # the disk, not the way to the Hub
            raise
        raise UserError(f"{repository}: the Hub cannot be reached ({_first_line(error)})") from None


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
