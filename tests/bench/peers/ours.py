"""Ours: everything that claims 1 to 5 need of each image, in a store."""

from bench.extraction import HALVES
from bench.peers.common import program
from tokenscope.extraction.loop import extract, variables
from tokenscope.stores.zarr_store import StoreWriter


def work(model, images, batch, device, folder):
    arrays = variables(model, model.patch_embed.grid_size, {"tokens": True})
    writer = StoreWriter(folder / "store", folder / "partial", arrays, len(images), batch, "peers")
    extract(model, lambda a, b: images[a:b], writer, HALVES, HALVES, batch, device)
    writer.publish({}, {})


if __name__ == "__main__":
    program(work)
