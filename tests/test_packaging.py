"""The package as it is installed: what it lists, what it imports, how light it is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TOP = ("graphs", "prompts", "training")
HEAVY = ("torch", "transformers", "peft", "openai", "langgraph", "langchain_core", "numpy", "PIL", "pydantic_settings")


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code, *arguments], env=env, text=True, capture_output=True, check=True)


@pytest.mark.parametrize("code", ["import rsagent", "import rsagent.cli.main", "import rsagent.imagery, rsagent.schemas"])
def test_importing_is_light(code):
    loaded = json.loads(python(f"{code}; import sys, json; print(json.dumps(list(sys.modules)))").stdout)
    assert not set(HEAVY) & set(loaded)


def test_help_takes_little_time_and_loads_nothing_heavy():
    code = (
        "import json, sys, time\n"
        "from contextlib import suppress\n"
        "from rsagent.cli.main import main\n"
        "with suppress(SystemExit):\n"
        "    main()\n"
        "print(json.dumps([time.process_time(), list(sys.modules)]))"
    )
    outcome = python(code, "--help").stdout
    seconds, loaded = json.loads(outcome.splitlines()[-1])
    assert "Usage: rsagent" in outcome
    assert not set(HEAVY) & set(loaded)
    assert seconds < 0.6  # 0.1 on a quiet machine; the floor of 0.3 is measured by make speed


def test_every_folder_with_python_in_it_is_listed():
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / "rsagent").rglob("*.py")
        if not set(path.relative_to(ROOT).parts) & {*TOP, "__pycache__"}
    }
    found |= {f"rsagent.{top}" for top in TOP}
    assert found == set(PROJECT["tool"]["setuptools"]["packages"])


@pytest.mark.parametrize("top", TOP)
def test_the_top_folders_are_linked_flat_and_mapped(top):
    link = ROOT / "rsagent" / top
    assert link.is_symlink() or not (ROOT / ".git").exists(), "a clone without symlinks works, a commit without them does not"
    assert link.resolve() == ROOT / top
    assert PROJECT["tool"]["setuptools"]["package-dir"][f"rsagent.{top}"] == top
    nested = [path for path in (ROOT / top).rglob("*.py") if path.parent != ROOT / top and "__pycache__" not in path.parts]
    assert not nested, "a sub-package here is missing from the wheel"


def test_package_data_is_found():
    data = PROJECT["tool"]["setuptools"]["package-data"]
    for package, patterns in data.items():
        folder = ROOT / package.replace(".", "/")
        for pattern in patterns:
            if "weights" not in pattern:  # the default checkpoint has a test of its own
                assert list(folder.glob(pattern)), f"{package}: {pattern}"


def test_nothing_imports_the_bare_names():
    bare = re.compile(rf"^\s*(?:from|import) (?:{'|'.join(TOP)})\b", re.MULTILINE)
    for folder in ("rsagent", *TOP, "tests", "scripts", "examples"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not bare.search(path.read_text()), path


def test_the_constraints_name_a_version_of_every_dependency():
    extras = PROJECT["project"]["optional-dependencies"]
    server = {*extras["serve"], *extras["mcp"], *extras["sglang"]}
    wanted = [
        *PROJECT["project"]["dependencies"],
        *(one for extra in extras.values() for one in extra if one not in server),
    ]
    pinned = {_name(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if line[:1].isalpha()}
    assert {_name(requirement) for requirement in wanted} <= pinned


def test_every_extra_is_known_to_the_doctor():
    from rsagent.cli.doctor import EXTRAS

    extras = PROJECT["project"]["optional-dependencies"]
    assert set(EXTRAS) == set(extras) - {"dev"}
    for extra, (package, _) in EXTRAS.items():
        assert package in {_name(requirement) for requirement in extras[extra]}


def _name(requirement: str) -> str:
    return re.split(r"[\s<>=!~\[;]", requirement, maxsplit=1)[0].lower().replace("_", "-")
