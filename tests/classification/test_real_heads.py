"""A real pretrained ViT on real photographs; skipped where they are not (see conftest)."""

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tokenscope.backbones.loading import open_backbone
from tokenscope.classification.features import Features
from tokenscope.classification.linear import Recipe, ranks, train
from tokenscope.datasets.manifest import index
from tokenscope.datasets.overlap import check_classes, shared
from tokenscope.datasets.sample import sample
from tokenscope.extraction.loop import extract
from tokenscope.forward.hooks import TokenHooks
from tokenscope.forward.inputs import normalise
from tokenscope.images.geometry import Geometry
from tokenscope.images.readers import StreamedImages
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stats.top_k import Accuracy
from tokenscope.stores.zarr_store import StoreWriter, Variable, open_store

NAME = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
GEOMETRY = Geometry.evaluation(224, 0.9, "bicubic")
HALF = (0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def vit(real_data):
    spec = {"name": "vit", "timm_id": NAME, "model": {}, "registers": 0}
    return open_backbone(spec, real_data / "weights" / NAME / "model.safetensors")


def test_logits_are_timms_image_by_image(real_data, vit):
    folder = real_data / "data" / "imagenet-sample"
    source = {
        "type": "imagefolder", "path": str(folder), "labels": str(folder / "index.csv"),
        "columns": {"label": "class_index", "label_name": "description"},
        "classes": "imagenet-1k", "subset": True,
    }  # fmt: skip
    table = index(source).iloc[::16]
    pixels = StreamedImages(str(folder), table, GEOMETRY, 1).read(0, len(table))
    mean, std = torch.tensor(HALF), torch.tensor(HALF)
    with torch.inference_mode(), TokenHooks(vit, logits=True) as observe:
        ours = observe(normalise(torch.from_numpy(pixels), mean, std))["logits"]
    plain = timm.create_model(
        NAME, pretrained=True,
        pretrained_cfg_overlay={
            "file": str(real_data / "weights" / NAME / "model.safetensors"), "custom_load": False,
        },
    ).eval()  # fmt: skip
    config = timm.data.resolve_model_data_config(plain)
    transform = timm.data.create_transform(**config, is_training=False)
    for path, logits in zip(table["path"], ours, strict=True):
        image = transform(Image.open(folder / path).convert("RGB"))[None]
        with torch.inference_mode():
            theirs = plain(image)[0]
        assert torch.allclose(logits, theirs, atol=2e-4), path
        assert logits.topk(5).indices.tolist() == theirs.topk(5).indices.tolist(), path


def features(vit, folder, classes, tmp_path):
    """CLS features of the images of some classes of a class-folder tree, through a store."""
    source = {"type": "imagefolder", "path": str(folder), "labels": "folders"}
    table = index(source)
    table = table[table["label"] < classes].reset_index(drop=True)
    table, _ = sample(table, source, "all", 0, "fail", "", 2)
    images = StreamedImages(str(folder), table, GEOMETRY, 1)
    arrays = {"cls": Variable(("feature",), (192,), "float32")}
    writer = StoreWriter(tmp_path / folder.name, tmp_path / "partial", arrays, len(table), 64, "x")
    extract(vit, images.read, writer, HALF, HALF, 32, "cpu")
    writer.publish({}, {})
    values = torch.from_numpy(open_store(tmp_path / folder.name)["cls"].values)
    labels = torch.from_numpy(table["label"].to_numpy(copy=True))
    return Features({"cls": values}, labels, table["image_id"].to_numpy(str)), table


@pytest.mark.slow
def test_a_head_on_tiny_imagenet_is_as_good_as_logistic_regression(real_data, vit, tmp_path):
    folder = real_data / "data" / "tiny-imagenet"
    taught, train_table = features(vit, folder / "train", 10, tmp_path)
    tested, test_table = features(vit, folder / "val", 10, tmp_path)
    check_classes(train_table, test_table, "train", "val")
    assert shared(train_table, test_table, "train", "val", "fail") == []
    recipe = Recipe(("cls",), (0.01, 0.03, 0.1, 0.3), 20, 32, validation=0.15)
    head = train(taught, 10, recipe)["cls"]
    bootstrap = Bootstrap.of(len(tested), {"resamples": 1000, "seed": 0, "confidence": 0.95})
    measured = Accuracy(ranks(tested, "cls", head.weights, "cpu").numpy(), 1, bootstrap)
    low, high = bootstrap.interval(measured.resampled)
    scaler = StandardScaler().fit(taught.parts["cls"])
    theirs = LogisticRegression(C=0.1, max_iter=1000)
    theirs.fit(scaler.transform(taught.parts["cls"]), taught.labels)
    accuracy = 100 * theirs.score(scaler.transform(tested.parts["cls"]), tested.labels)
    assert low <= accuracy <= high, (low, measured.value, high, accuracy)
    assert measured.value > 50  # ten classes; chance is 10 %
    assert np.isfinite(head.validation.numpy()).all() and isinstance(test_table, pd.DataFrame)
