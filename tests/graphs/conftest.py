from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def picture(tmp_path: Path) -> str:
    """Path of a small picture."""
    path = tmp_path / "picture.png"
    Image.new("RGB", (32, 24), (40, 90, 60)).save(path)
    return str(path)
