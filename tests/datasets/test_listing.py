"""Folders whose names hold the letters of patterns are folders like any other."""

import layouts
import numpy as np
import pytest

from tokenscope.config_file import needs
from tokenscope.datasets.listing import shards_of
from tokenscope.datasets.manifest import index
from tokenscope.datasets.sample import sample
from tokenscope.images.geometry import Geometry
from tokenscope.images.location import folder_of
from tokenscope.images.readers import StreamedImages
from tokenscope.stores import lock

NAMES = ["[raw]", "a*b", "what?", "[0-9]*", "x{000..001}", "[!a]", "**"]
IMAGENET = {"classes": "imagenet-1k", "subset": True}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layout", layouts.ALL)
def test_the_same_images_below_any_name(tmp_path, layout, name):
    given = layouts.ALL[layout](tmp_path / "plain") | IMAGENET
    (tmp_path / "plain").rename(tmp_path / name)
    odd = {
        key: value.replace(str(tmp_path / "plain"), str(tmp_path / name))
        if isinstance(value, str)
        else value
        for key, value in given.items()
    }
    layouts.ALL[layout](tmp_path / "plain")
    tables = [index(source) for source in (given, odd)]
    assert tables[0].equals(tables[1])
    packed = tmp_path / "packed"
    chosen, _ = sample(tables[1], odd, "all", 0, "fail", packed, 1)
    root = packed if odd["type"] == "parquet" else folder_of(odd["path"])
    geometry = Geometry.evaluation(32, 0.9, "bicubic")
    assert np.ptp(StreamedImages(str(root), chosen, geometry, workers=1).read(0, 4)) > 0
    study = type("Study", (), {"datasets": {"a": odd}})
    assert list(needs._images(study, "a")) == []


def test_a_pattern_inside_such_a_folder_and_a_file_of_such_a_name(tmp_path):
    folder = tmp_path / "[raw] {1..2}"
    folder.mkdir()
    for name in ("train-00.tar", "train-01.tar", "other.tar", "train-[0].tar"):
        (folder / name).touch()
    root = str(folder)
    assert shards_of(f"{root}/train-0*.tar", ".tar") == (root, ["train-00.tar", "train-01.tar"])
    assert shards_of(f"{root}/train-{{00..01}}.tar", ".tar")[1] == ["train-00.tar", "train-01.tar"]
    assert shards_of(f"{root}/train-[0].tar", ".tar") == (root, ["train-[0].tar"])
    # Where no such folder is, the letters are those of a pattern.
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "a.tar").touch()
    assert shards_of(f"{tmp_path}/[r]/a.tar", ".tar") == (str(tmp_path), ["r/a.tar"])


def test_unfinished_work_of_such_a_name_is_found_again(tmp_path):
    partial = tmp_path / "[a]*"
    first = lock.claim(partial, "x", lambda new: (new / "mark").touch())
    again = lock.claim(partial, "x", lambda new: None)
    assert again != first and (again / "mark").exists() and not first.exists()
