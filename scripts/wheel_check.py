"""Shows that the wheel stands alone: builds it, installs it into an empty environment, describes a picture with it.

It runs in a folder that has prompts/, graphs/ and training/ of its own, as an application that embeds us may have.
With --fast the dependencies are borrowed from this environment; otherwise pip installs them with the constraints.

    python scripts/wheel_check.py
    python scripts/wheel_check.py --fast
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STRANGERS = ("prompts", "graphs", "training")
MUST_HOLD = ("rsagent/graphs/__init__.py", "rsagent/prompts/default.yaml", "rsagent/training/recipes/tiny.yaml")
CHECKPOINT = "rsagent/weights/tiny/config.json"


def build(folder: Path) -> Path:
    """The wheel, built from what is in the repository now."""
    shutil.rmtree(ROOT / "build", ignore_errors=True)  # setuptools would put files in that are gone from the tree
    run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)], ROOT)
    (wheel,) = folder.glob("rsagent-*.whl")
    return wheel


def check_contents(wheel: Path) -> None:
    """Only `rsagent` at the top, everything it needs inside, nothing of the tests."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    if tops != {"rsagent"}:
        sys.exit(f"the wheel has {', '.join(sorted(tops))} at its top, not rsagent alone")
    missing = [name for name in (*MUST_HOLD, CHECKPOINT) if name not in names]
    if missing:
        sys.exit(f"the wheel lacks {', '.join(missing)}")
    tree = {f"rsagent/{path.relative_to(ROOT / 'rsagent').as_posix()}" for path in (ROOT / "rsagent").rglob("*.py")}
    tree |= {f"rsagent/{top}/{path.name}" for top in STRANGERS for path in (ROOT / top).glob("*.py")}
    if lost := sorted(tree - set(names)):
        sys.exit(f"the wheel lacks {', '.join(lost)}")
    print(f"{wheel.name}: {len(names)} files, {wheel.stat().st_size / 1e6:.1f} MB")


def install(wheel: Path, folder: Path, fast: bool) -> Path:
    """An environment with the wheel in it; gives its python."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    if fast:
        run([*pip, "--no-deps", str(wheel)], folder)
        site = Path(run([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder).strip())
        (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")  # after its own packages on the path
    else:
        run([*pip, "-c", str(ROOT / "constraints.txt"), str(wheel)], folder)
    return python


def describe(python: Path, folder: Path) -> None:
    """Caption a picture in a folder whose own packages would shadow ours, were they at the top level."""
    for name in STRANGERS:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise ImportError('rsagent imported the application\\'s package')\n")
    drawing = (
        "from PIL import Image; from rsagent.training.render import render;"
        "from rsagent.training.scenes import scene_from_seed;"
        "Image.fromarray(render(scene_from_seed(20, 'demo'))).save('scene.png')"
    )
    run([str(python), "-c", drawing], folder)
    where = run([str(python), "-c", "import rsagent; print(rsagent.__file__)"], folder).strip()
    if ROOT in Path(where).parents and ".venv" not in Path(where).parts:
        sys.exit(f"rsagent was imported from the repository: {where}")
    record = json.loads(run([str(python.with_name("rsagent")), "caption", "--json", "scene.png"], folder))
    if not record["text"] or record["partial"]:
        sys.exit(f"no whole caption: {record}")
    print(f"caption: {record['text']}")


def run(command: list[str], folder: Path) -> str:
    """Run a program without a trace of this environment; gives what it printed, ends the script if it fails."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RSAGENT", "VIRTUAL"))}
    done = subprocess.run(command, cwd=folder, env=env, text=True, stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(f"failed with {done.returncode}: {' '.join(command)}")
    return done.stdout


def main() -> None:
    """Build, look inside, install, describe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="borrow this environment's dependencies")
    fast = parser.parse_args().fast
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "dist").mkdir()
        (place / "application").mkdir()
        wheel = build(place / "dist")
        check_contents(wheel)
        describe(install(wheel, place / "venv", fast), place / "application")
    print("the wheel stands alone")


if __name__ == "__main__":
    main()
