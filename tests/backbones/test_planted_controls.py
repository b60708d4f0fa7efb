"""The planted mechanism does what its description says, and nothing else."""

import numpy as np
import pytest
import timm
import torch

from tokenscope.backbones.planted_controls import constant_patches, plant, verify
from tokenscope.errors import StudyError
from tokenscope.forward.hooks import TokenHooks
from tokenscope.forward.inputs import normalise

MEAN = STD = (0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def base():
    torch.manual_seed(0)
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=40, patch_size=8, embed_dim=96, depth=4, num_heads=3,
        num_classes=8, no_embed_class=True,
    ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def pixels():
    """Noise everywhere but for some patches of one colour; one patch differs in one grey level."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(100, 140, (20, 40, 40, 3), dtype=np.uint8)
    for image in range(0, 20, 4):
        pixels[image, :8, :16] = rng.integers(0, 256, 3, dtype=np.uint8)
    pixels[1, 8:16, 8:16] = 77
    pixels[1, 9, 9, 1] = 78
    return pixels


def test_constant_patches_by_hand(pixels):
    truth = constant_patches(pixels, 8)
    assert truth.shape == (20, 25) and truth.sum() == 10
    assert truth[4, :2].all() and not truth[1].any()
    with pytest.raises(StudyError, match="no whole grid"):
        constant_patches(pixels, 7)


def test_outliers_are_the_constant_patches(base, pixels):
    x = normalise(torch.from_numpy(pixels), torch.tensor(MEAN), torch.tensor(STD))
    clean, planted, where = plant(base, 3, 8.0, x, seed=0)
    facts = verify(clean, planted, pixels, MEAN, STD, 3)
    assert facts["planted_share"] == pytest.approx(2.0)
    with torch.no_grad(), TokenHooks(planted) as observe:
        norms = observe(x)["norms"][:, :, 1:].numpy()
    truth = constant_patches(pixels, 8)
    for block in range(4):
        high = norms[:, block] > 3 * np.median(norms[:, block])
        assert np.array_equal(high, truth if block + 1 >= where.block else np.zeros_like(truth))


def test_without_its_vector_the_control_is_the_clean_one(base, pixels):
    x = normalise(torch.from_numpy(pixels), torch.tensor(MEAN), torch.tensor(STD))
    clean, planted, where = plant(base, 3, 8.0, x, seed=0)
    with torch.no_grad():
        planted.blocks[where.block - 1].mlp.fc2.weight[:, where.neuron] = 0
        assert torch.equal(clean.forward_features(x), planted.forward_features(x))


def test_a_base_with_outliers_is_refused(base, pixels):
    x = normalise(torch.from_numpy(pixels), torch.tensor(MEAN), torch.tensor(STD))
    _, planted, _ = plant(base, 3, 8.0, x, seed=0)
    with pytest.raises(StudyError, match="grew outliers of its own"):
        verify(planted, planted, pixels, MEAN, STD, 3)
    with pytest.raises(StudyError, match="must lie in 2-4"):
        plant(base, 1, 8.0, x, seed=0)
