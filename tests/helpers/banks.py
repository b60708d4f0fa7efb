"""Constructed banks: feature stores whose tokens hold what a test puts into them."""

import numpy as np

from tokenscope.probes.token_rows import Bank
from tokenscope.stores.zarr_store import StoreWriter, Variable

GRID, PATCH = (4, 4), 2
PIXELS = 3 * PATCH**2
WIDTH = GRID[0] * GRID[1] + PIXELS + 4
SLOTS = ["normal", "outlier", "lowest"]


class World:
    """Random places, pixels and labels of one normal and one outlier token an image.

    ``same_places`` adds a normal token that was drawn where outliers use to be.
    """

    def __init__(self, images=400, classes=4, seed=0, same_places=False):
        rng = np.random.default_rng(seed)
        self.rng, self.images = rng, images
        self.place = rng.integers(0, GRID[0] * GRID[1], (images, 3))
        self.pixels = rng.integers(0, 256, (images, 3, PIXELS), dtype=np.uint8)
        self.label = rng.integers(0, classes, images)
        self.slots = SLOTS + ["normal_same_places"] * same_places
        if same_places:
            place = rng.integers(0, GRID[0] * GRID[1], (images, 1))
            pixels = rng.integers(0, 256, (images, 1, PIXELS), dtype=np.uint8)
            self.place = np.concatenate([self.place, place], 1)
            self.pixels = np.concatenate([self.pixels, pixels], 1)

    def local(self):
        """Tokens that hold their own place and pixels and nothing else (image, slot, feature)."""
        place = np.eye(16)[self.place]
        return np.concatenate([place, self.pixels / 128 - 1, np.zeros((*place.shape[:2], 4))], 2)

    def image_level(self):
        """Tokens that hold the image's class and nothing of their own place."""
        noise = self.rng.normal(0, 0.3, (*self.place.shape, WIDTH))
        noise[..., -4:] += 2 * np.eye(4)[self.label][:, None]
        return noise

    def bank(self, folder, normal, outlier, absent=(), shard=150):
        """A bank in shards; outliers of the images ``absent`` do not exist."""
        tokens = normal.copy()
        tokens[:, 1] = outlier[:, 1]
        index, norm = self.place.astype(np.int32), np.tile([1.0, 9.0, 0.5, 1.0], (self.images, 1))
        norm = norm[:, : len(self.slots)]
        index[list(absent), 1], norm[list(absent), 1] = -1, np.nan
        values = {
            "tokens": tokens.astype(np.float16), "patch_index": index, "pixels": self.pixels,
            "norm": norm.astype(np.float32), "norm_over_median": norm.astype(np.float32),
            "prefix": self.image_level()[:, :1].astype(np.float16),
        }  # fmt: skip
        dims = {
            "tokens": ("slot", "feature"), "patch_index": ("slot",), "norm": ("slot",),
            "pixels": ("slot", "pixel"), "norm_over_median": ("slot",),
            "prefix": ("prefix_token", "feature"),
        }  # fmt: skip
        stores = []
        for first in range(0, self.images, shard):
            part = {name: v[first : first + shard] for name, v in values.items()}
            arrays = {
                name: Variable(dims[name], v.shape[1:], str(v.dtype)) for name, v in part.items()
            }
            count = len(part["norm"])
            store = folder / f"{first:04d}"
            writer = StoreWriter(store, folder / "partial", arrays, count, count, "x")
            writer.write(0, part)
            coords = {
                "label": (("image",), self.label[first : first + shard]),
                "image_id": (("image",), np.array([f"{first + i}" for i in range(count)])),
                "slot_kind": (("slot",), np.array(self.slots)),
                "prefix_kind": (("prefix_token",), np.array(["cls"])),
                "final_norm_weight": (("feature",), np.ones(WIDTH, np.float32)),
                "final_norm_bias": (("feature",), np.zeros(WIDTH, np.float32)),
            }
            attrs = {"block": 12, "cutoff_in_medians": False, "final_norm_eps": 1e-6}
            writer.publish(coords, {"grid": GRID, "patch": PATCH, **attrs})
            stores.append(store)
        return Bank(stores)
