"""Published heads: where they come from, what they take, and how images are shown to backbones."""

import http.server
import threading
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from timm.layers import resample_abs_pos_embed

from tokenscope.backbones.loading import open_backbone
from tokenscope.backbones.position_embedding import resample_as_dinov2
from tokenscope.classification.features import Features
from tokenscope.classification.linear import ranks
from tokenscope.classification.published_heads import check_head, locate, open_head
from tokenscope.errors import StudyError
from tokenscope.forward.hooks import TokenHooks
from tokenscope.stores.receipts import sha256_file
from tokenscope.study.heads import Heads, ReleasedHead, geometry, spec
from tokenscope.study.paths import Paths
from tokenscope.study.study import Study
from tokenscope.study.zoo import load

HEAD = {"key": "dinov2/small/r4", "layers": 1, "sha256": ""}


def head_file(path, width, layers=1, classes=7):
    torch.manual_seed(0)
    linear = torch.nn.Linear((1 + layers) * width, classes)
    torch.save(linear.state_dict(), path)
    return linear


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=56, patch_size=8, embed_dim=48, depth=6, num_heads=2,
        num_classes=0, reg_tokens=2, no_embed_class=True, init_values=0.1,
    ).eval()  # fmt: skip
    for p in model.parameters():
        p.data += 0.05 * torch.randn_like(p)
    return model


@pytest.mark.parametrize("layers", [1, 4])
def test_a_released_head_sees_what_the_official_code_gives_it(model, tmp_path, layers):
    """dinov2/hub/classifiers.py: normalised CLS of the last layers, then the mean patch token."""
    x = torch.randn(5, 3, 56, 56)
    linear = head_file(tmp_path / "head.pth", 48, layers)
    with torch.inference_mode(), TokenHooks(model, cls_blocks=4) as observe:
        out = observe(x)
        blocks = model.forward_intermediates(
            x, indices=layers, norm=True, return_prefix_tokens=True, intermediates_only=True,
            output_fmt="NLC",
        )  # fmt: skip
        official = torch.cat([*(p[:, 0] for _, p in blocks), blocks[-1][0].mean(1)], 1)
        logits = linear(official)
    parts = {name: out[name].flatten(1) for name in ("cls", "patch_mean", "cls_blocks")}
    features = Features(parts, torch.tensor([0, 3, 6, 2, 1]), np.arange(5).astype(str))
    card = {
        "name": "x", "layers": layers, "file": str(tmp_path / "head.pth"),
        "sha256": sha256_file(tmp_path / "head.pth"),
    }  # fmt: skip
    weights, inputs = open_head(card, features)
    assert torch.allclose(features.rows(inputs, slice(None), "cpu") @ weights, logits, atol=1e-5)
    order = logits.argsort(1, descending=True)
    expected = (order == features.labels[:, None]).int().argmax(1) + 1
    assert torch.equal(ranks(features, inputs, weights[None], "cpu")[0], expected)


def test_a_head_of_another_width_is_refused_with_both(tmp_path):
    head_file(tmp_path / "head.pth", 384)
    check_head(HEAD, tmp_path / "head.pth", 384)
    with pytest.raises(StudyError, match="takes 768 features, the backbone gives 1536"):
        check_head(HEAD, tmp_path / "head.pth", 768)
    with pytest.raises(StudyError, match="takes 768 features, the backbone gives 1920"):
        check_head({**HEAD, "layers": 4}, tmp_path / "head.pth", 384)
    torch.save({"weight": torch.zeros(3, 4), "other.bias": torch.zeros(2)}, tmp_path / "odd.pth")
    with pytest.raises(StudyError, match="cannot be read as one linear layer"):
        check_head(HEAD, tmp_path / "odd.pth", 2)


@pytest.fixture
def server(tmp_path):
    (tmp_path / "web").mkdir()
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "web")
    handler.log_message = lambda *_: None
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=web.serve_forever, daemon=True)
    thread.start()
    yield tmp_path / "web", f"http://127.0.0.1:{web.server_port}"
    web.shutdown()


def test_heads_are_downloaded_once_and_trusted_on_first_use(server, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    web, address = server
    head_file(web / "s_head.pth", 384)
    head = {**HEAD, "source": f"{address}/s_head.pth"}
    cache = str(tmp_path / "cache")
    with pytest.raises(StudyError, match="download is false"):
        locate(head, None, cache, download=False)
    file, origin = locate(head, None, cache, download=True)
    assert origin == "network" and file.read_bytes() == (web / "s_head.pth").read_bytes()
    assert locate(head, None, cache, download=False) == (file, "cache")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(StudyError, match="has the checksum .* says .*delete the file"):
        locate(head, None, cache, download=True)
    file.unlink()
    head_file(web / "s_head.pth", 384, classes=8)
    with pytest.raises(StudyError, match="s_head.json says"):
        locate(head, None, cache, download=True)
    with pytest.raises(StudyError, match="cannot be downloaded"):
        locate({**head, "source": f"{address}/none.pth"}, None, cache, download=True)
    assert not list((tmp_path / "cache" / "heads").glob(".*"))
    with pytest.raises(StudyError, match="the table of heads says"):
        locate({**head, "sha256": "0" * 64}, str(web), cache, download=False)


def official(learned, side):
    """DINOv2's own resampling, from dinov2/models/vision_transformer.py, without registers."""
    grid = learned[:, 1:].reshape(1, 7, 7, -1).permute(0, 3, 1, 2)
    scale = (side + 0.1) / 7
    grid = torch.nn.functional.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
    return torch.cat([learned[:, :1], grid.permute(0, 2, 3, 1).reshape(1, side**2, -1)], 1)


def test_both_ways_of_resampling_the_position_embedding(tmp_path):
    arguments = {"img_size": 56, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 2}
    torch.manual_seed(0)
    native = timm.create_model("vit_tiny_patch16_224", **arguments)
    native.pos_embed.data.normal_()
    torch.save(native.state_dict(), tmp_path / "w.pth")
    plain = {
        "name": "d", "timm_id": "vit_tiny_patch16_224", "model": arguments, "registers": 0,
    }  # fmt: skip
    theirs = open_backbone({**plain, "position": "official"}, tmp_path / "w.pth", 32)
    timms = open_backbone(plain, tmp_path / "w.pth", 32)
    assert torch.equal(theirs.pos_embed, official(native.pos_embed, 4))
    resampled = resample_abs_pos_embed(native.pos_embed, (4, 4), num_prefix_tokens=1)
    assert torch.equal(timms.pos_embed, resampled)
    assert not torch.allclose(theirs.pos_embed, timms.pos_embed, atol=0.01)
    same = open_backbone({**plain, "position": "official"}, tmp_path / "w.pth", 56)
    assert torch.equal(same.pos_embed, native.pos_embed)
    with pytest.raises(StudyError, match="for DINOv2 without registers"):
        resample_as_dinov2(theirs, native.pos_embed[:, :-1], "odd")


def test_views_of_a_study():
    """Which backbones are shown how: only DINOv2 without registers has the official view."""
    patterns = ["dinov2/small/*", "deit3/small/r0", "dino/small-p16/r0"]
    rows = load(["config/backbones.csv"], patterns, {}, "")
    settings = {
        "test": "val", "backbones": ["*/*/*"], "retrain": ["dinov2/small/r4"],
        "views": ["native", "resize256"], "train_views": ["native"], "train": "train",
        "released": {"table": "config/heads.csv"},
    }  # fmt: skip
    datasets = {"val": {"images": 9}, "train": {"images": 9}}
    study = SimpleNamespace(
        config={"heads": settings, "analyse": ["val"]}, datasets=datasets,
        backbones=list(rows.values()), paths=Paths("results"), classes=lambda name: "imagenet-1k",
        shards=lambda name, row: ["0000"], named=list(rows.values()), before_and_after=[],
    )  # fmt: skip
    study.token_receipts = partial(Study.token_receipts, study)
    study.feature_receipts = partial(Study.feature_receipts, study)
    plan = Heads(study)
    jobs = [(row.key, view) for row, view in plan.jobs]
    assert jobs == [
        ("dinov2/small/r0", "native"), ("dinov2/small/r0", "resize256"),
        ("dinov2/small/r0", "resize256-official"), ("dinov2/small/r4", "native"),
        ("dinov2/small/r4", "resize256"), ("deit3/small/r0", "native"),
        ("deit3/small/r0", "resize256"),
    ]  # fmt: skip
    small = rows["dinov2/small/r4"]
    assert [h.group for h in plan.released(small)] == [
        "published_head", "published_head_4_layers"
    ]  # fmt: skip
    assert plan.cls_blocks("val", small) == 4 and plan.cls_blocks("train", small) == 0
    inputs = plan.inputs(small, "native")
    assert inputs["trained"] == ["results/receipts/features/train/dinov2/small/r4/native/0000.json"]
    # What the extraction of claims 1 to 3 has seen is not computed again, unless more is needed.
    deit = plan.inputs(rows["deit3/small/r0"], "native")
    assert deit["test"] == ["results/receipts/extract/val/deit3/small/r0/0000.json"]
    assert "features" in inputs["test"][0]
    assert geometry(small, "resize256").key == "224px-bicubic-center256"
    assert geometry(small, "native").key == "518px-bicubic-center518"
    assert spec(rows["dinov2/small/r0"], "resize256-official")["position"] == "official"
    assert ReleasedHead("a", "b", "r0", 4, "", "", "").group == "published_head_4_layers"
