"""A few hundred of the requests that scripts/fuzz_server.py sends by the thousand."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def test_requests_drawn_from_the_schema_and_broken_ones():
    path = Path(__file__).parents[2] / "scripts" / "fuzz_server.py"
    spec = importlib.util.spec_from_file_location("fuzz_server", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    statuses = module.fuzz(150)
    assert statuses[200] > 10 and statuses[400] > 10
