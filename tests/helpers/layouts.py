"""The same dozen photographs in the four layouts in which ImageNet lies on clusters."""

import io
import json
import tarfile

import datasets
import numpy as np
from PIL import Image
from scipy.io import savemat

# In the devkit's order, which is not timm's; lemmas as Hugging Face writes them.
WNIDS = ["n02119789", "n01440764", "n02100735"]
LEMMAS = {
    "n01440764": "tench, Tinca tinca",
    "n02100735": "English setter",
    "n02119789": "kit fox, Vulpes macrotis",
}


def photographs(count=12):
    """``(name, wnid, JPEG bytes)`` of a made-up validation set, numbered from 1."""
    rng = np.random.default_rng(0)
    for i in range(count):
        pixels = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).resize((80 + i, 60), Image.Resampling.BICUBIC)
        out = io.BytesIO()
        image.save(out, "JPEG", quality=90)
        yield f"ILSVRC2012_val_{i + 1:08d}", WNIDS[(i * 7) % 3], out.getvalue()


def class_folders(folder):
    for name, wnid, content in photographs():
        (folder / wnid).mkdir(parents=True, exist_ok=True)
        (folder / wnid / f"{name}.JPEG").write_bytes(content)
    return {"type": "imagefolder", "path": str(folder), "labels": "folders"}


def flat(folder):
    """Images beside each other, the devkit's ground truth and its meta.mat."""
    (folder / "val").mkdir(parents=True)
    numbers = []
    for name, wnid, content in photographs():
        (folder / "val" / f"{name}.JPEG").write_bytes(content)
        numbers.append(WNIDS.index(wnid) + 1)
    (folder / "ground_truth.txt").write_text("\n".join(map(str, numbers)) + "\n")
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    rows = [(i + 1, wnid, LEMMAS[wnid], 0) for i, wnid in enumerate(WNIDS)]
    rows.append((1001, "n00001740", "entity", 3))
    savemat(folder / "meta.mat", {"synsets": np.array(rows, dtype=kinds)})
    return {
        "type": "imagefolder", "path": str(folder / "val"),
        "labels": str(folder / "ground_truth.txt"), "synsets": str(folder / "meta.mat"),
    }  # fmt: skip


def tars(folder):
    """Three shards in shuffled order; numbers in ``.cls``, names in ``.json``."""
    folder.mkdir(parents=True)
    everything = list(photographs())
    for shard, start in enumerate((7, 0, 3)):
        with tarfile.open(folder / f"val-{shard:03d}.tar", "w") as tar:
            for name, wnid, content in everything[start : start + (5, 3, 4)[shard]]:
                number = str(sorted(WNIDS).index(wnid)).encode()
                facts = json.dumps({"wnid": wnid, "width": 80}).encode()
                for suffix, part in (("jpg", content), ("cls", number), ("json", facts)):
                    member = tarfile.TarInfo(f"{name}.{suffix}")
                    member.size = len(part)
                    tar.addfile(member, io.BytesIO(part))
    return {"type": "webdataset", "path": str(folder / "val-{000..002}.tar")}


def parquet(folder):
    """As `datasets` exports it: shuffled, the wnid behind the name, classes in the schema."""
    folder.mkdir(parents=True)
    order = np.random.default_rng(1).permutation(12)
    everything = list(photographs())
    label = datasets.ClassLabel(names=[LEMMAS[w] for w in sorted(WNIDS)])
    features = datasets.Features({"image": datasets.Image(), "label": label})
    for shard in range(2):
        rows = [everything[i] for i in order[6 * shard : 6 * shard + 6]]
        export = datasets.Dataset.from_dict({
            "image": [{"bytes": c, "path": f"{name}_{wnid}.JPEG"} for name, wnid, c in rows],
            "label": [sorted(WNIDS).index(wnid) for _, wnid, _ in rows],
        }, features)  # fmt: skip
        export.to_parquet(folder / f"validation-{shard:05d}-of-00002.parquet", batch_size=2)
    return {"type": "parquet", "path": str(folder / "validation-*.parquet")}


ALL = {"folders": class_folders, "flat": flat, "tars": tars, "parquet": parquet}
