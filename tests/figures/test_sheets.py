"""Sheets of maps: panels of exact size, pairs side by side, tokens as colours, pages."""

import numpy as np
import pytest
import xarray as xr
from printable import problems
from registers import fig_pairs
from tokens import fig_blocks, fig_maps, fig_qkv

from tokenscope.figures import pages, sheet, style
from tokenscope.figures.gallery_maps import principal_colours
from tokenscope.report import contents
from tokenscope.stores import maps_file


def gallery(folder, name, images=5, grid=6, blocks=12, high=2):
    """Maps of a backbone with one outlier an image, ten times as long and as much looked at."""
    rng = np.random.default_rng(len(name))
    norms = rng.lognormal(2, 0.1, (images, blocks, grid, grid)).astype("f4")
    attention = rng.uniform(0.9, 1.1, (images, 1, grid, grid)).astype("f4")
    if "r0" in name:
        norms[:, high:, 0, 0] *= 10
        attention[:, :, 0, 0] *= 10
    attention /= attention.sum((2, 3), keepdims=True)
    over = ("image", "row", "column")
    data = xr.Dataset(
        {"norms": (("image", "block", "row", "column"), norms),
         "attention": (("image", "query", "row", "column"), attention),
         "pixels": (("image", "y", "x", "channel"), rng.integers(0, 255, (images, 8, 8, 3), "i2")),
         "principal": ((*over, "channel"), rng.integers(0, 255, (images, grid, grid, 3), "i2")),
         **{f"{n}_norm": (over, norms[:, 0]) for n in "qkv"}},
        attrs={"backbone": name, "queries": "cls"},
    )  # fmt: skip
    path = folder / (name.replace("/", "_") + ".nc")
    maps_file.save(data, path)
    return path


@pytest.fixture
def drawn(monkeypatch):
    figures = []
    monkeypatch.setattr(style, "save", lambda figure, outputs: figures.append(figure))
    yield figures
    style.plt.close("all")


def test_panels_have_one_size_and_fill_the_width():
    page = sheet.sheet(3, 8, left=1.0, blocks=2, above=[0.3, 0, 0], heights=[1, 0.5, 2])
    wide, high = page.figure.get_size_inches()
    sizes = np.array([[axis.get_position().size * (wide, high) for axis in row]
                      for row in page.axes])  # fmt: skip
    assert wide == pytest.approx(style.WIDE)
    assert np.ptp(sizes[:, :, 0]) < 1e-9
    assert sizes[:, 0, 1] / sizes[0, 0, 0] == pytest.approx([1, 0.5, 2])
    ends = [axis.get_position().x1 for axis in page.axes[0]]
    starts = [axis.get_position().x0 for axis in page.axes[0]]
    gaps = np.subtract(starts[1:], ends[:-1])
    assert np.argmax(gaps) == 3 and np.ptp(np.delete(gaps, 3)) < 1e-9  # between the blocks
    style.plt.close(page.figure)


def test_sheets_of_maps_can_be_printed(tmp_path, drawn):
    names = [f"deit3-in22k/{size}/r0" for size in ("small", "base", "large", "huge")]
    files = [gallery(tmp_path, name) for name in [*names, "openclip/gigantic/r4-finetuned"]]
    fig_maps.main(files, ["feature"], 3, ["fig1"], 3)
    fig_maps.main(files, ["attention", "feature"], 5, ["fig2"], 3)
    fig_maps.main(files[:2], ["attention"], 5, ["fig5"], 3)
    fig_qkv.main(files[:4], 5, ["fig6"], 3)
    fig_blocks.main(files[:1], 2, ["fig7"], 3)
    fig_pairs.main([[files[0], files[4]], [files[1], files[4]]], 3, ["pairs"])
    assert [problems(figure) for figure in drawn] == [[]] * 6
    # Twice as much as anywhere else is over the scale of attention, whose middle is uniform.
    scale = drawn[2].get_axes()[5].images[0].norm
    assert scale(1.0) == pytest.approx(0.5) and scale.vmax >= 2
    axes = drawn[5].get_axes()
    titles = [axis.get_title() for axis in axes if axis.get_title()]
    assert titles == ["without", "with"] * 6


def test_rare_tokens_have_a_colour_of_their_own_whatever_the_sign():
    rng = np.random.default_rng(0)
    rare = rng.uniform(size=(4, 25)) < 0.2
    tokens = np.eye(8)[0] * 10 * rare[..., None] + rng.normal(0, 0.1, (4, 25, 8))
    colours = principal_colours(tokens, (5, 5))
    assert colours.shape == (4, 5, 5, 3) and colours.dtype == np.uint8
    first = colours[..., 0].reshape(4, 25)
    assert first[rare].min() > 240 and first[~rare].max() < 15
    assert np.array_equal(colours, principal_colours(-tokens, (5, 5)))


def test_pages_are_even_and_know_their_number():
    assert pages.paths("d/norms", 51, 20) == ["d/norms", "d/norms/page2", "d/norms/page3"]
    assert pages.paths("d/norms", 0, 20) == ["d/norms"]
    assert pages.number("d/norms/page12") == ("d/norms", 12)
    assert pages.number("d/attention/page-family") == ("d/attention/page-family", 1)
    shared = pages.shared_out(list(range(51)), 3)
    assert [len(page) for page in shared] == [17, 17, 17] and sum(shared, []) == list(range(51))
    assert [len(page) for page in pages.shared_out([1], 3)] in ([0, 0, 1], [0, 1, 0], [1, 0, 0])


def test_each_backbone_stands_on_one_page_of_a_figure():
    class Row:
        register_count = 0

        def __init__(self, key):
            self.key = key
            self.family, self.size, _ = key.split("/")

    class Study:
        backbones = [Row(f"sbb/{n}/r0") for n in range(21)] + [Row("dino/base/r0")]
        trained = []
        probing = type("", (), {"rows": [], "varied": []})
        discovery = dense = type("", (), {"rows": []})
        heads = type("", (), {"jobs": []})

    entry = {"file": "{dataset}/attention/{family}", "over": "families", "per_page": 7}
    assert contents.paged(Study, entry, "d/attention/sbb") == pages.paths("d/attention/sbb", 21, 7)
    assert contents.paged(Study, entry, "d/attention/dino") == ["d/attention/dino"]
    everyone = {"file": "{dataset}/norms", "over": "analyse", "per_page": 20}
    assert len(contents.paged(Study, everyone, "{dataset}/norms")) == 2
