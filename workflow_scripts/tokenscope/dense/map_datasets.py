"""ADE20K, NYUd and other data sets with a label or depth map per image, as they are published.

Label maps: classes are the ids ``first`` to ``first + classes - 1``, ids in ``ignore`` count
nowhere, any other id is refused (scene parsing of ADE20K, Zhou et al.,
https://arxiv.org/abs/1608.05442: first 1, 150 classes, 0 ignored). Depth maps: integers are divided
by ``scale`` (units per metre), values in ``invalid`` (0 and 65535) and depths outside ``nearest``
to ``farthest`` metres count nowhere. A map of another size than its image, or without one pixel
that counts, is refused.
"""

import io
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from tokenscope.errors import StudyError
from tokenscope.images.location import ImageLocation
from tokenscope.images.preprocess import FORMATS, content_of, load_rgb
from tokenscope.scenes.file_names import file_name
from tokenscope.stores.receipts import sha256_file
from tokenscope.stores.zarr_store import open_store

IGNORE = 255
ADE20K = {
    "train": {
        "images": "images/training/{id}.jpg", "targets": "annotations/training/{id}.png",
    },
    "test": {
        "images": "images/validation/{id}.jpg", "targets": "annotations/validation/{id}.png",
    },
    "first": 1, "classes": 150, "ignore": [0],
}  # fmt: skip


class Maps:
    """The images of a set with their maps.

    Args:
        source: an entry of ``dense: sets``.

    Raises:
        StudyError: of all methods, with the file, what is wrong with it, and the key to look at.
    """

    def __init__(self, source: dict):
        self.source = {**(ADE20K if source["layout"] == "ade20k" else {}), **source}
        self.root = Path(source["path"])
        self.depth = source["task"] == "depth"
        if not self.root.exists():
            raise StudyError(f"dense: '{source['path']}' does not exist (sets, path)")

    @property
    def classes(self) -> int:
        """Number of classes, of label maps only."""
        return self.source["classes"]

    def listed(self) -> pd.DataFrame:
        """image_id, image, target, split (train or test), in sorted order."""
        read = {"nyu-mat": self._nyu, "scenes": self._scenes}.get(
            self.source["layout"], self._pairs
        )
        rows = list(read())
        if self.source.get("images_at_most"):
            rows = _first(rows, self.source["images_at_most"])
        table = pd.DataFrame(rows, columns=["image_id", "image", "target", "split"])
        if (twice := table["image_id"][table["image_id"].duplicated()]).size:
            raise StudyError(f"dense: '{self.root}' has two images by the name '{twice.iloc[0]}'")
        for split in ("train", "test"):
            if not (table["split"] == split).any():
                raise StudyError(f"dense: '{self.root}' has no image to {split} on (sets, {split})")
        return table

    def index(self, threads: int = 4) -> tuple[pd.DataFrame, dict]:
        """The list with size, checksum and share of pixels that count, every file read once.

        Returns:
            the table, and what a constant guess needs: ``pixels`` (how many of each class in the
            training images) or ``mean`` (metres).
        """
        table = self.listed()
        with ThreadPoolExecutor(threads) as pool:
            facts = list(pool.map(self._facts, table.to_dict("records")))
        table = table.join(pd.DataFrame(facts).drop(columns="total"))
        totals = np.array([f["total"] for f in facts])[table["split"] == "train"].sum(0)
        if self.depth:
            return table, {"mean": float(totals[0] / totals[1])}
        return table, {"pixels": totals.tolist()}

    def watched(self, table: pd.DataFrame) -> tuple[list[str], list[tuple[str, str]]]:
        """Paths of the files that list the images, and of images and maps with their checksums."""
        if self.source["layout"] == "nyu-mat":
            return [str(self.root), self.source["splits"]], []
        if self.source["layout"] == "scenes":
            return [], []
        halves = ("image", slice(None, 32)), ("target", slice(32, None))
        rows = table.to_dict("records")
        return [], [(str(self.root / row[k]), row["sha256"][half]) for row in rows
                    for k, half in halves]  # fmt: skip

    def _facts(self, row: dict) -> dict:
        image, target = self.read(row)
        valid = target > 0 if self.depth else target != IGNORE
        if not valid.any():
            raise StudyError(f"{row['target']}: not one pixel counts; remove the image")
        if self.depth:
            total = np.array([target.sum(dtype=np.float64), valid.sum()])
        else:
            total = np.bincount(target[valid], minlength=self.classes)
        return {
            "height": image.shape[0], "width": image.shape[1], "valid": float(valid.mean()),
            "sha256": self._digest(row), "total": total,
        }  # fmt: skip

    def _digest(self, row: dict) -> str:
        if self.source["layout"] in ("nyu-mat", "scenes"):
            return row["image_id"]
        return "".join(sha256_file(self.root / row[k])[:32] for k in ("image", "target"))

    def read(self, row: dict) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (row, column, 3) uint8, and classes uint8 or depth float32 in metres, 0: none."""
        if self.source["layout"] == "nyu-mat":
            i = int(row["image"])
            # MATLAB stores columns first, HDF5 shows its axes in reverse.
            image = np.ascontiguousarray(self._file["images"][i].transpose(2, 1, 0))
            raw, where = self._file["depths"][i].T, f"{self.root}, image {i + 1}"
        elif self.source["layout"] == "scenes":
            image = np.asarray(load_rgb(self.root / row["image"]))
            name = "depth" if self.depth else "segmentation"
            raw, where = self._truth[name][int(row["target"])].values, row["image"]
        else:
            image = np.asarray(load_rgb(self.root / row["image"]))
            where = row["target"]
            raw = _map(self.root / row["target"])
        if "sha256" in row and self._digest(row) != row["sha256"]:
            raise StudyError(
                f"{where}: image or map are not those that were indexed: put them back, or delete "
                "the set's index and run again"
            )
        if raw.shape != image.shape[:2]:
            raise StudyError(
                f"{where}: the map has {raw.shape[1]} x {raw.shape[0]} pixels, its image "
                f"{image.shape[1]} x {image.shape[0]}"
            )
        return image, self._metres(raw) if self.depth else self._labels(raw, where)

    def _metres(self, raw: np.ndarray) -> np.ndarray:
        depth = raw.astype(np.float32) / self.source.get("scale", 1)
        wrong = np.isin(raw, self.source.get("invalid", [0, 65535])) | ~np.isfinite(depth)
        near, far = self.source.get("nearest", 1e-3), self.source.get("farthest", 10.0)
        return np.where(wrong | (depth <= near) | (depth >= far), np.float32(0), depth)

    def _labels(self, raw: np.ndarray, where: str) -> np.ndarray:
        first, ignore = self.source.get("first", 0), self.source.get("ignore", [])
        table = np.full(65536, -1, np.int16)
        table[first : first + self.classes] = np.arange(self.classes)
        table[ignore] = IGNORE
        labels = table[raw]
        if (labels < 0).any():
            ids = np.unique(raw[labels < 0])[:5].tolist()
            raise StudyError(
                f"{where}: the ids {ids} are no class ({first} to {first + self.classes - 1}) and "
                f"not ignored ({ignore}); check classes, first and ignore of the set"
            )
        return labels.astype(np.uint8)

    @cached_property
    def _file(self):
        import h5py  # only this layout needs it

        try:
            return h5py.File(self.root, "r")
        except OSError as error:
            raise StudyError(f"{self.root} is no MATLAB 7.3 file ({error})") from None

    @cached_property
    def _truth(self):
        return open_store(self.source["truth"])

    def _nyu(self) -> Iterator[tuple]:
        """nyu_depth_v2_labeled.mat, with ``splits.mat`` (trainNdxs, testNdxs, from 1)."""
        from scipy.io import loadmat

        splits = loadmat(self.source["splits"])
        for split, name in (("train", "trainNdxs"), ("test", "testNdxs")):
            for i in splits[name].ravel().astype(int).tolist():
                yield f"{i:04d}", str(i - 1), str(i - 1), split

    def _scenes(self) -> Iterator[tuple]:
        count = self._truth.sizes["image"]
        rows = [(f"{i:06d}", file_name(i), str(i)) for i in range(count)]
        yield from self._tail(rows)

    def _pairs(self) -> Iterator[tuple]:
        """Patterns with fields in braces, ``train`` and ``test``, or one pair and a share."""
        source = self.source
        if "train" in source:
            for split in ("train", "test"):
                for row in self._matched(source[split]):
                    yield *row, split
        else:
            yield from self._tail(list(self._matched(source)))

    def _tail(self, rows: list[tuple]) -> Iterator[tuple]:
        """The last share tests: neighbours in a video stay on one side."""
        first = len(rows) - max(1, round(self.source.get("test_share", 0.25) * len(rows)))
        for i, row in enumerate(rows):
            yield *row, "test" if i >= first else "train"

    def _matched(self, patterns: dict) -> Iterator[tuple]:
        pattern = _regex(patterns["images"])
        names = sorted(
            p.relative_to(self.root).as_posix() for p in self.root.rglob("*") if p.is_file()
        )
        for name in names:
            if match := pattern.fullmatch(name):
                target = re.sub(r",[^{}]*\}", "}", patterns["targets"]).format(**match.groupdict())
                if not (self.root / target).exists():
                    raise StudyError(f"{self.root / name} has no map: {target} is missing")
                yield "_".join(match.groupdict().values()), name, target


def _regex(pattern: str) -> re.Pattern:
    """``{name}`` is anything without a slash, ``{name,regex}`` what the expression says."""
    parts = re.split(r"\{(\w+)(?:,([^{}]+))?\}", pattern)
    if len(parts) == 1:
        raise StudyError(f"dense: the pattern '{pattern}' has no field in braces, such as {{id}}")
    text = re.escape(parts[0])
    for name, rule, rest in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        text += f"(?P<{name}>{rule or '[^/]+'}){re.escape(rest)}"
    return re.compile(text)


def _map(path: Path) -> np.ndarray:
    content = content_of(ImageLocation(str(path)))
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.mode not in ("L", "P", "I", "I;16", "I;16B"):
                raise StudyError(
                    f"{path}: a map must be one channel of integers, this one is '{image.mode}'"
                )
            values = np.asarray(image).astype(np.int64)
    except StudyError:
        raise
    except Exception as error:  # what decoders make of damaged bytes has no common class
        raise StudyError(f"{path}: cannot be decoded ({error})") from None
    if values.min() < 0 or values.max() > 65535:
        raise StudyError(f"{path}: values outside 0 to 65535")
    return values


def _first(rows: list[tuple], most: int) -> list[tuple]:
    """At most so many of each split, spread evenly."""
    spread = []
    for split in ("train", "test"):
        those = [row for row in rows if row[-1] == split]
        places = np.linspace(0, len(those) - 1, min(most, len(those))).round().astype(int)
        spread += [those[i] for i in places]
    return spread
