"""Shared fixtures: where the optional real data lie, and small images to break."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def real_data():
    """Folder with real images and weights; tests that need it are skipped where there is none."""
    folder = Path(os.environ.get("TOKENSCOPE_REAL_DATA", ROOT.parent / "shared"))
    if not (folder / "data" / "imagenet-sample" / "index.csv").exists():
        pytest.skip(
            f"no real images below {folder}; set TOKENSCOPE_REAL_DATA to a folder with them"
        )
    return folder


@pytest.fixture
def photographs(tmp_path):
    """A folder of twelve small colour images in two class folders."""
    rng = np.random.default_rng(0)
    for i in range(12):
        folder = tmp_path / "photographs" / ("cat" if i % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (40 + i, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")
    return tmp_path / "photographs"
