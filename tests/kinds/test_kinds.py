"""Each kind on inputs whose answer follows from its definition."""

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from kinds import kinds as script
from plain_sinks import Eager, plain_sinks

from tokenscope.kinds import across_images, channels, qkv, rank, replacement, shift_test, sinks
from tokenscope.kinds.answers import (
    FEWEST,
    KINDS,
    Found,
    answers,
    decide,
    enough,
    said,
    tidy_rows,
)
from tokenscope.kinds.block_pass import BlockPass
from tokenscope.kinds.measure import Images, Known, Measure, holding
from tokenscope.norms.artifacts import judge
from tokenscope.stats.bootstrap import Bootstrap

WHO = dict.fromkeys(("family", "size", "registers", "kind", "dataset"), "x")
# One of each class: LayerScale and registers, rotary embedding, relative bias, no CLS, sub-norms.
MODELS = {
    "vit": ("vit_tiny_patch16_224", {"num_heads": 2, "embed_dim": 32}),
    "registers": ("vit_small_patch14_reg4_dinov2", {"num_heads": 2, "embed_dim": 32}),
    "rope": ("vit_small_patch16_dinov3", {"num_heads": 2, "embed_dim": 32}),
    "beit": ("beit_base_patch16_224", {"num_heads": 2, "embed_dim": 32}),
    "relpos": ("vit_relpos_small_patch16_224", {"num_heads": 2, "embed_dim": 32}),
    "eva02": ("eva02_tiny_patch14_224", {"num_heads": 2, "embed_dim": 32}),
    "siglip": ("vit_base_patch16_siglip_224", {"num_heads": 2, "embed_dim": 32}),
}


def shaken(name, side=4):
    """A random model whose attention is far from even, for images of so many patches a side."""
    torch.manual_seed(0)
    arch, arguments = MODELS[name]
    patch = 14 if "patch14" in arch else 16
    model = timm.create_model(arch, depth=2, img_size=side * patch, **arguments).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter) * parameter.abs().mean().clamp_min(0.1)
    return model, torch.randn(3, 3, side * patch, side * patch)


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_attention_of_every_block_is_the_eager_one_and_sinks_are_those_of_the_definition(name):
    model, x = shaken(name)
    for (
        block
    ) in model.blocks:  # queries alike and long, so that some token wins and there are events
        if getattr(getattr(block.attn, "qkv", None), "bias", None) is not None:
            block.attn.qkv.bias[: model.embed_dim] += 20 * torch.randn(model.embed_dim)
    seen = []

    def look(view):
        parts = [(p, sinks.look(view, images, p)) for images, p in view.call.pieces()]
        seen.append(torch.cat([p for p, _ in parts]))
        return {k: torch.cat([part[k] for _, part in parts]) for k in parts[0][1]}

    with BlockPass(model, look) as observe:
        found = observe(x, slice(0, 3))
    with Eager() as eager:
        features = model.forward_features(x)
    torch.testing.assert_close(found["features"], features, atol=1e-4, rtol=1e-4)
    events = 0
    for b, block in enumerate(model.blocks):
        torch.testing.assert_close(seen[b], eager.weights[b], atol=1e-5, rtol=1e-4)
        scale = getattr(getattr(block, "ls1", None), "gamma", getattr(block, "gamma_1", None))
        gamma = torch.ones(model.embed_dim) if scale is None else scale
        norm = getattr(block.attn, "norm", None)
        if getattr(norm, "weight", None) is not None:
            continue  # its scale hangs on all heads together; the module says what is done
        plain = plain_sinks(eager.weights[b], eager.values[b], block.attn, gamma)
        for (image, head), (s, looking, ratio, stable) in plain.items():
            got = {k: found[k][image, b, head] for k in found if k != "features"}
            assert got["sink"] == s
            assert got["looking"][sinks.AT] == pytest.approx(looking, abs=1e-6)
            assert got["value_ratio"] == pytest.approx(ratio, rel=1e-3)
            if looking >= 0.9:
                events += 1
                ours = float(got["stable_rank"])
                assert ours == pytest.approx(stable, rel=1e-3) or min(ours, stable) > sinks.RANK
    assert name not in ("vit", "registers", "siglip") or events


def test_classes_of_sinks():
    one = sinks.classes(np.array([0.1, 0.3, 0.9, 0.9]), np.array([1.0, 1.0, 1.2, 4.0]))
    assert [n for i in range(4) for n in one if one[n][i]] == [
        "nop", "unclassed", "broadcast", "unclassed",
    ]  # fmt: skip
    on = sinks.places(np.array([0, 2, 3]), ["cls", "reg0", "reg1"])
    assert [n for i in range(3) for n in on if on[n][i]] == ["cls", "register", "patch"]


@pytest.mark.parametrize("width", [3, 20])
def test_stable_rank_is_that_of_singular_values(width):
    torch.manual_seed(1)
    mixed, matrix = torch.randn(5, 9, 4), torch.randn(width, 4)
    mixed[0] = mixed[0, :1] * torch.randn(9, 1)  # of rank one
    singular = torch.linalg.svdvals(mixed @ matrix.T)
    stable = (singular**2).sum(-1) / singular[:, 0] ** 2
    got = sinks.stable_rank(mixed, (matrix.T @ matrix).expand(5, 4, 4))
    torch.testing.assert_close(got, stable, rtol=1e-2, atol=1e-3)
    assert got[0] == pytest.approx(1, abs=1e-4)


def test_massive_activations_and_participation():
    tokens = torch.ones(2, 5, 8)
    tokens[0, 0, 3] = 2000.0  # of the prefix
    tokens[1, 4, 3], tokens[1, 3, 2] = 1500.0, 900.0  # the second is not 1,000 times the median
    prefix, patches = channels.massive_activations(tokens, 1)
    assert prefix.tolist() == [1, 0] and patches.tolist() == [0, 1]
    energy = np.array([[1.0, 1, 1, 1], [4, 0, 0, 0]])
    assert channels.participation(energy).tolist() == [4, 1]


def test_ranks_of_known_matrices():
    eye = torch.eye(6)[None]
    effective, stable = rank.ranks_of(torch.cat([eye, eye[:, :1].expand(1, 6, 6)]))
    torch.testing.assert_close(effective, torch.tensor([6.0, 1.0]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(stable, torch.tensor([6.0, 1.0]), atol=1e-4, rtol=1e-4)
    assert rank.thinned((28, 28)).shape == (196,) and rank.thinned((5, 7)).tolist() == list(
        range(35)
    )


def test_overlap_and_rank_correlation_of_qkv():
    values = torch.arange(100.0)[None]
    assert qkv.overlap(values, -values, highest=False) == 1
    assert qkv.overlap(values, values, highest=False) == 0
    ranks = qkv.centred_ranks(values)
    assert (ranks * qkv.centred_ranks(-(values**3))).sum() == pytest.approx(-1, abs=1e-5)


def test_a_mean_between_images_leaves_out_pairs_within_one():
    bootstrap = Bootstrap(3, 200)
    sums, counts = np.array([[2.0, 0], [0, 1], [0, 3]]), np.array([2, 1, 3])
    across = across_images.between_images(sums, sums, bootstrap, counts, counts)
    assert across.value == pytest.approx(2 * 3 / (2 * (2 * 1 + 2 * 3 + 1 * 3)))


def tokens_with_a_pattern(images=24, grid=(6, 6), places=(7, 20)):
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(images, grid[0] * grid[1], 16))
    tokens[:, : grid[0] * grid[1] // 2] += 3 * rng.normal(size=16)  # the sky above
    tokens[:, list(places)] = 5 * rng.normal(size=16) + 0.3 * tokens[:, list(places)]
    return torch.from_numpy(tokens).float()


def test_a_fixed_pattern_is_found_where_it_is_and_a_sky_is_none():
    bootstrap, grid = Bootstrap(24, 200), (6, 6)
    planted = across_images.fixed_pattern(tokens_with_a_pattern(), grid, bootstrap)[0]
    assert planted.answer == "yes" and planted.value == pytest.approx(100 * 2 / 36)
    assert "(2, 2), (4, 3)" in planted.why
    clean, *rest = across_images.fixed_pattern(tokens_with_a_pattern(places=()), grid, bootstrap)
    assert clean.answer == "no" and clean.value == 0
    # By the published comparison with shuffled places the sky is a pattern.
    by_name = {row.quantity: row for row in rest}
    assert by_name["auc_same_place"].low > 0.6 > by_name["auc_same_place"].null
    assert f"(AUC {by_name['auc_same_place'].value:.2f})" in clean.why


def test_of_few_images_with_outliers_no_answer_is_given():
    rows = [Found("qkv", "a", 1.0, answer="yes", why="so"), Found("qkv", "b", 2.0),
            Found("shift", "c", answer="does not apply")]  # fmt: skip
    assert enough(rows, FEWEST) == rows
    few = enough(rows, FEWEST - 1)
    assert [row.answer for row in few] == ["cannot tell", "", "does not apply"]
    assert few[0].why == "so; only 19 images hold outliers, 20 are needed"


def test_images_with_outliers_are_drawn_among_all_of_them():
    mask = np.zeros((100, 4), bool)
    mask[10:60, 1] = True
    known = Known("yes", 1, 1, 3.0, mask, Found("high-norm", "share", answer="yes"))
    every, some, others = holding(known, 80, 0), holding(known, 20, 0), holding(known, 20, 1)
    assert every.tolist() == list(range(10, 60))
    assert len(some) == 20 and set(some) < set(every) and (np.diff(some) > 0).all()
    assert some.tolist() == holding(known, 20, 0).tolist() != others.tolist()


def test_neighbours_are_near_and_nobody_is_his_own():
    for places in across_images.neighbours((4, 5), 0) + across_images.neighbours((4, 5), 3):
        away = np.abs(np.stack(np.divmod(places, 5)) - np.stack(np.divmod(np.arange(20), 5)))
        assert (away.max(0) == 1).all()
    for places in across_images.shuffled(20, 0):
        assert sorted(places) == list(range(20)) and (places != np.arange(20)).all()


@pytest.mark.parametrize(
    "follows, answer", [("place", "yes"), ("content", "no"), ("nothing", "cannot tell")]
)
def test_the_shift_test_tells_place_from_content(follows, answer):
    rng, grid, images = np.random.default_rng(0), (8, 8), 60
    world = rng.random((images, 8 + shift_test.SHIFT[0], 8 + shift_test.SHIFT[1])) < 0.05
    down, right = shift_test.SHIFT
    first = world[:, :8, :8]
    shifted, mirrored = world[:, down:, right:], first[:, :, ::-1]
    if follows == "place":
        first = np.broadcast_to(rng.random((8, 8)) < 0.05, first.shape)
        shifted = mirrored = first
    if follows == "nothing":
        shifted, mirrored = (rng.random(first.shape) < 0.05 for _ in range(2))
    others = {"shifted": shifted.reshape(images, -1), "mirrored": mirrored.reshape(images, -1)}
    rows = shift_test.found(first.reshape(images, -1), others, grid, 3, Bootstrap(images, 300))
    assert rows[0].answer == answer
    by_name = {row.quantity: row for row in rows}
    if follows == "content":
        assert by_name["outliers_with_content"].value == 100
        assert by_name["outliers_with_content"].null < 15
    if follows == "place":
        assert by_name["outliers_with_place"].value == by_name["outliers_with_place"].null == 100


def test_windows_show_the_same_content_elsewhere():
    down, right = shift_test.SHIFT
    images = torch.arange(40.0 * 40).view(1, 1, 40, 40)
    first, shifted, mirrored = shift_test.windows(images, (16, 16), 4)
    torch.testing.assert_close(first[..., 4 * down :, 4 * right :],
                               shifted[..., : 16 - 4 * down, : 16 - 4 * right])  # fmt: skip
    for name, window in (("shifted", shifted), ("mirrored", mirrored)):
        at, to = shift_test.seen_again((4, 4))[name]
        patch = F.unfold(first, 4, stride=4)[0], F.unfold(window, 4, stride=4)[0]
        a, b = patch[0][:, at], patch[1][:, to]
        torch.testing.assert_close(a.sort(0).values, b.sort(0).values)
        assert len(at) and (at != to).all()


def test_outliers_are_replaced_as_said_and_nothing_else_is():
    torch.manual_seed(0)
    tokens = torch.randn(3, 6, 4)
    mask = torch.zeros(3, 5, dtype=torch.bool)
    mask[0, 1] = mask[0, 2] = mask[2, 4] = True
    control = torch.from_numpy(replacement.random_like(mask.numpy(), 0))
    assert (control.sum(1) == mask.sum(1)).all() and not (control & mask).any()
    for way in replacement.OUTLIER_WAYS:
        swap = replacement.outlier_swap(way, mask, control, 2, 1)
        assert swap(1, tokens) is tokens
        new, where = swap(2, tokens), control if way == "control" else mask
        torch.testing.assert_close(new[:, 1:][~where], tokens[:, 1:][~where])
        torch.testing.assert_close(new[:, 0], tokens[:, 0])
        if way == "shuffled":
            torch.testing.assert_close(new[2, 5], tokens[0, 2])
            torch.testing.assert_close(new[0, 2:4], tokens[2, 5].expand(2, 4))
        else:
            torch.testing.assert_close(new[0, 1:][where[0]][0], tokens[0, [1, 4, 5]].mean(0))


@pytest.mark.parametrize("name", ["vit", "registers", "siglip"])
def test_every_kind_of_a_backbone_has_one_answer(name):
    """With CLS, with registers, without either; the table has every row once."""
    model, _ = shaken(name)
    side, patch = model.patch_embed.img_size[0], model.patch_embed.patch_size[0]
    rng = np.random.default_rng(0)
    large = rng.integers(0, 255, (24, side + 3 * patch, side + 3 * patch, 3), dtype=np.uint8)
    norms = rng.lognormal(0, 0.1, (24, 2, 16)).astype(np.float32)
    norms[:, 1, 3] *= 10
    images = Images(24, lambda a, b: large[a:b, :side, :side], (0.5,) * 3, (0.5,) * 3,
                    inside=np.ones((24, 16)))  # fmt: skip
    known = Known.of(judge(norms), norms)
    measure = Measure(model, images, known, Bootstrap(24, 60), batch=16)
    found = [*measure.observed(), *measure.registers_replaced(), *measure.of_outliers(),
             *measure.outliers_replaced(), *measure.shifted(lambda a, b: large[a:b])]  # fmt: skip
    given = answers(found)
    assert list(given) == [kind for kind in KINDS if kind != "resolution"]
    assert given["high-norm"].answer == "yes" and given["high-norm"].block == 2
    with_registers = {"register-norm", "register-use"}
    gone = {kind for kind, row in given.items() if row.answer == "does not apply"}
    assert gone == (set() if name == "registers" else with_registers) | (gone & {"shift"})
    table = tidy_rows(found, WHO, 24, 0)
    assert not table.duplicated(["group", "metric"]).any()
    assert list(said(table)["artifact"]) == list(given)
    assert table["value"].notna().sum() > 80


def test_high_norms_are_answered_by_all_images():
    """Claim 1 decides them on all images; nine tenths of these would not allow its interval."""
    found = [Found("high-norm", "share", 0, 0, 0.75, answer="no"), Found("sink", "events", 0, 0, 0)]
    rows = script.with_all_images(tidy_rows(found, WHO, 80, 0), 400)
    assert dict(rows[["artifact", "n"]].to_numpy()) == {"high-norm": 400, "sink": 80}
    assert script.HIGH_NORM in KINDS


def test_an_answer_needs_the_whole_interval():
    assert [decide((0.5, *ends), 1.0) for ends in ((1, 2), (0, 0.9), (0.5, 2), (np.nan, 1))] == [
        "yes", "no", "cannot tell", "cannot tell",
    ]  # fmt: skip
