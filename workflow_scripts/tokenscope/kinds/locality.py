"""Locality: whether patches speak of their own place, or all of the whole image.

Mean cosine of CLS and patches, and of patches with each other, after each block and the final norm,
as in DINOv3, section 4.1 (https://arxiv.org/abs/2508.10104). And *point in box*: whether the patch
most like CLS lies on an object (LaSt-ViT, CVPR 2026); chance is the area of the boxes.
"""

import numpy as np
import xarray as xr
from torch import Tensor
from torch.linalg import vector_norm
from torch.nn.functional import normalize

from tokenscope.kinds.across_images import between_images, within_images
from tokenscope.kinds.answers import Found, decide, does_not_apply, mean
from tokenscope.kinds.block_pass import BlockView
from tokenscope.stats.bootstrap import Bootstrap

LOST = 0.5  # cosine with the image's own CLS over that with others': then half of a patch is global


def look(view: BlockView) -> dict[str, Tensor]:
    """``patch_unit`` (image, width): mean of the patches' unit vectors; ``cls_unit``: CLS, or the
    direction of the mean patch without; ``cls_like`` (image,): the patch most like it."""
    patches = view.normed[:, view.prefix :]
    scale = 1 / vector_norm(patches, dim=-1).clamp_min(1e-12)  # of each to length one
    unit = (scale[:, None] @ patches)[:, 0] / patches.shape[1]
    cls = normalize(view.normed[:, 0] if view.has_cls else patches.mean(1), dim=-1)
    like = ((patches @ cls[:, :, None])[..., 0] * scale).argmax(-1)
    return {"patch_unit": unit, "cls_unit": cls, "cls_like": like}


def found(
    seen: dict[str, np.ndarray], patches: int, has_cls: bool, bootstrap: Bootstrap
) -> list[Found]:
    """Rows of kind ``locality``; the null is the cosine of tokens of different images."""
    rows, depth = [], seen["patch_unit"].shape[1]
    name = "cosine_cls_patch" if has_cls else "cosine_mean_patch"
    for b in range(depth):
        unit, cls = (seen[n][:, b].astype(np.float64) for n in ("patch_unit", "cls_unit"))
        own = (unit * cls).sum(1)
        others = between_images(cls, unit, bootstrap)
        rows.append(Found.of("locality", name, mean(own, bootstrap), b + 1, others.value))
        pair = ((unit**2).sum(1) * patches - 1) / (patches - 1)
        null = between_images(unit, unit, bootstrap).value
        rows.append(Found.of("locality", "cosine_patch_patch", mean(pair, bootstrap), b + 1, null))
    gap = within_images(own, others, bootstrap)
    why = f"cosine {own.mean():.2f} with {'CLS' if has_cls else 'the mean patch'} of the image, "
    why += f"{others.value:.2f} with those of other images, after the last block"
    headline = Found.of(
        "locality", f"{name}_minus_other_images", gap, depth, 0.0, "", decide(gap, LOST), why
    )
    return [headline, *rows]


def point_in_box(
    like: np.ndarray, inside: np.ndarray | None, grid: tuple[int, int], bootstrap: Bootstrap
) -> list[Found]:
    """Rows of kind ``point-in-box``.

    Args:
        like: (image,), the patch most like CLS. inside: (image, patch), share of each patch that
            lies in a box of the image; None where no boxes are known.
    """
    if inside is None:
        return [does_not_apply("point-in-box", "images_in_box", "no boxes are known of the images")]
    hit = np.take_along_axis(inside, like[:, None], 1)[:, 0] >= 0.5
    area = inside.mean(1)
    centre = inside[:, grid[0] // 2 * grid[1] + grid[1] // 2] >= 0.5
    value, chance = mean(100.0 * hit, bootstrap), 100 * float(area.mean())
    gap = mean(100.0 * (hit - area), bootstrap)
    # A "yes" is that it is surely beside the boxes, more often than a patch drawn at random.
    answer = {"yes": "no", "no": "yes"}.get(decide(gap, 0.0), "cannot tell")
    why = f"in a box in {value[0]:.3g} % of the images, boxes cover {chance:.3g} %"
    return [
        Found.of("point-in-box", "images_in_box", value, null=chance, unit="percent", answer=answer,
              why=why),
        Found.of("point-in-box", "over_chance", gap, null=0.0, unit="points"),
        Found.of("point-in-box", "centre_in_box", mean(100.0 * centre, bootstrap), null=chance,
              unit="percent"),
    ]  # fmt: skip


def boxes_on_grid(truth: xr.Dataset, images: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Share of each patch (image, patch) that lies in a box of the ground truth of scenes.

    Args:
        truth: store of the scenes, which are seen whole. images: their numbers.
    """
    side, of = truth.sizes["column"], truth["box_image"].values
    corners = np.stack([truth[c].values for c in ("xmin", "ymin", "xmax", "ymax")], 1)
    # A box ends between pixels: a raster of twelve by twelve points a patch is near enough.
    fine = 12
    y = (np.arange(grid[0] * fine) + 0.5) * side / (grid[0] * fine)
    x = (np.arange(grid[1] * fine) + 0.5) * side / (grid[1] * fine)
    shares = []
    for image in images:
        inside = np.zeros((len(y), len(x)), bool)
        for left, top, right, bottom in corners[of == image]:
            inside |= ((top <= y) & (y < bottom))[:, None] & ((left <= x) & (x < right))
        shares.append(inside.reshape(grid[0], fine, grid[1], fine).mean((1, 3)).ravel())
    return np.stack(shares)
