"""Put the stand-ins of this folder on the path of the Python that runs this; for the environment of `make sglang-env` alone.

.sglang-env/bin/python tests/servers/standins/install.py
"""

from __future__ import annotations

import sysconfig
from pathlib import Path

here = Path(__file__).resolve().parent
file = Path(sysconfig.get_path("purelib")) / "rsagent-standins.pth"
file.write_text(f"{here}\nimport rsagent_torchvision_standin\n")
print(f"{file} points at {here}")
