"""Sink events of a real pretrained ViT on real photographs; skipped where they are not."""

import pytest
import torch
from plain_sinks import Eager, plain_sinks

from tokenscope.backbones.loading import open_backbone
from tokenscope.datasets.manifest import index
from tokenscope.forward.inputs import normalise
from tokenscope.images.geometry import Geometry
from tokenscope.images.readers import StreamedImages
from tokenscope.kinds import sinks
from tokenscope.kinds.block_pass import BlockPass

NAME = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
GEOMETRY, HALF = Geometry.evaluation(224, 0.9, "bicubic"), torch.full((3,), 0.5)


@torch.inference_mode()
def test_sink_events_of_a_real_vit_are_those_of_the_definition(real_data):
    spec = {"name": "vit", "timm_id": NAME, "model": {}, "registers": 0}
    model = open_backbone(spec, real_data / "weights" / NAME / "model.safetensors").eval()
    folder = real_data / "data" / "imagenet-sample"
    table = index({"type": "imagefolder", "path": str(folder), "subset": True}).iloc[::150][:4]
    pixels = StreamedImages(str(folder), table, GEOMETRY, 1).read(0, 4)
    x = normalise(torch.from_numpy(pixels), HALF, HALF)

    def look(view):
        parts = [sinks.look(view, images, weights) for images, weights in view.call.pieces()]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    with BlockPass(model, look) as observe:
        found = observe(x, slice(0, 4))
    with Eager() as eager:
        model.forward_features(x)
    events, near = {"ours": set(), "plain": set()}, 0
    for b, block in enumerate(model.blocks):
        plain = plain_sinks(eager.weights[b], eager.values[b], block.attn, torch.ones(1))
        for (image, head), (s, looking, ratio, stable) in plain.items():
            got = {k: found[k][image, b, head] for k in found if k != "features"}
            place = (image, b, head, int(got["sink"]))
            if got["looking"][sinks.AT] >= sinks.QUERIES[sinks.OF]:
                events["ours"].add(place)
            if looking >= 0.9:
                events["plain"].add((image, b, head, s))
                assert float(got["stable_rank"]) == pytest.approx(stable, rel=1e-3) or (
                    min(float(got["stable_rank"]), stable) > sinks.RANK
                )
            assert got["sink"] == s
            # A query may stand on 0.5 itself: one of 197.
            assert got["looking"][sinks.AT] == pytest.approx(looking, abs=1.1 / 197)
            assert got["value_ratio"] == pytest.approx(ratio, rel=1e-3)
            near += 0 < looking < 1
    assert events["ours"] == events["plain"]
    assert near > 10  # attention that is far from even, and not all one way
