"""Small rendered scenes with exact ground truth, an embedded data set.

A scene shows a main solid (its shape is the class) and up to two smaller ones on a ground plane
under a sky; colours, textures, light and layout are drawn independently of the class.
"""

from dataclasses import dataclass

import numpy as np

from tokenscope.scenes.shading import World, sky_colour, trace
from tokenscope.scenes.solids import Solid, entry_of, raster, rays

CLASSES = ("sphere", "disc", "cylinder", "cone", "cube", "pyramid", "octahedron", "prism")
SEGMENTS = ("sky", "ground", *CLASSES)
GRAIN = 4.0  # standard deviation in grey levels
PLAIN_SHARE = 0.2  # of the scenes have a sky of one colour
MIN_VISIBLE = 9  # pixels an object needs to get a box
SUBPIXELS = np.array([[-3, 1, 3, -1], [-1, -3, 1, 3]], np.float32)[:, :, None] / 8

# By class: half width and half height relative to the size, and the play of their proportion.
WIDE = (0.90, 1.15, 0.70, 0.85, 0.72, 0.95, 1.00, 0.80)
HIGH = (0.90, 0.42, 0.90, 1.00, 0.72, 0.85, 1.10, 0.80)
PLAY = (0.00, 0.15, 0.25, 0.15, 0.03, 0.15, 0.12, 0.30)


def _colours(text, *shape):
    """Linear colours (*shape, 3) of hexadecimal display colours."""
    levels = np.frombuffer(bytes.fromhex(text), np.uint8).reshape(*shape, 3)
    return np.square(levels.astype(np.float32) / 255)


PALETTES = _colours(
    """e07a5f 3d405b 81b29a f2cc8f f4f1de  264653 2a9d8f e9c46a f4a261 e76f51
    8ecae6 219ebc 134a66 ffb703 fb8500  cdb4db ffc8dd ff8fb3 bde0fe 7fb5e6
    606c38 37472a fefae0 dda15e bc6c25  d62828 f77f00 fcbf49 eae2b7 1d4f70
    7a1f57 b3203a fb8b24 e36414 17697a  ef476f ffd166 06c493 118ab2 1d5d70
    f0f1f2 bcc4cc 6c757d 454c53 e5383b  9b5de5 f15bb5 fee440 2fa8e0 22c7b8""",
    *(10, 5),
)
# Zenith, horizon, cloud, sun and ambient of each sky; four blue ones, four dusks, two overcast.
SKIES = _colours(
    """3b7dd8 c4e0f5 f8fafc fff0d2 9fb8dc  2593cf d9eef2 fbfbf8 fff3dc a3c2d6
    7fb7d9 fbe3c0 fff3e0 ffe2b0 b3b9c9  2f8a90 cfe8d5 f1f7ea fff0c8 9cc0bb
    41406f f6a36b ee8292 ffb878 8f86b6  2f3e6e ffc28a c8728a ffba80 8588b4
    6a5a97 f7b7a3 ffdcc0 ffc9a0 a594bd  22365f 6f8db5 8f9dc0 c9d8ff 6f86b4
    8b99a8 d5d9dc e6e8ea f4f1ec b9c0c8  74838f c7cbc8 a4acb2 efece4 a9b1b6""",
    *(10, 5),
)
STRENGTH = (1.6, 1.6, 1.5, 1.5, 1.6, 1.5, 1.5, 1.3, 0.8, 0.75)  # of the sun
COVER = (0.44, 0.4, 0.45, 0.44, 0.5, 0.48, 0.46, 0.46, 0.62, 0.65)  # of the clouds
SOILS = _colours(
    """e8e0d5 8a817c efe9d8 4a4f6b d8e2dc 84a59d d8c9b0 a8583f  b88f6c 85593a ddb892 a87248
    9aa5b5 66717f c9a27e 8d6a52  ecd4b4 c99f70 e9d8a6 cda66c dba679 a9683f eef2f5 b9c9d6
    7fae58 3a6a3f b0c958 64924a c3b45f 7d8a3f 8fb996 4f7f5f""",
    *(4, 4, 2),
)


@dataclass(frozen=True)
class Scene:
    """One scene, S pixels wide and high.

    image: uint8 (S, S, 3). label: index in CLASSES of the main object, which is instance 1.
    instance: uint8 (S, S), 0 in the background, else 1..n. segmentation: uint8 (S, S), index in
    SEGMENTS. depth: float32 (S, S), metres along the optical axis, 0 in the sky. boxes: int64
    (m, 5), class, xmin, ymin, xmax, ymax in pixels, half-open, in order of instance, for objects
    with at least MIN_VISIBLE visible pixels. plain_sky: whether the sky is one constant colour.
    """

    image: np.ndarray
    label: int
    instance: np.ndarray
    segmentation: np.ndarray
    depth: np.ndarray
    boxes: np.ndarray
    plain_sky: bool


def _draw_solid(rng, kind, size, x, y, palette):
    """A solid standing on the ground at x, y; it spans [-1, 1] in its own frame."""
    stretch = 1 + PLAY[kind] * rng.uniform(-1, 1)
    wide, high = size * WIDE[kind] / np.sqrt(stretch), size * HIGH[kind] * stretch
    half = np.array([[wide], [wide], [high]], np.float32)
    yaw, axes = rng.uniform(0, 2 * np.pi), ([0, 0, 1], [1, 0, 0], [0.6, 0, 0.8], [0.6, 0.5, 0.6])
    turn = [[np.cos(yaw), np.sin(yaw), 0], [-np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]]
    return Solid(
        *(kind, np.array([[x], [y], [high]], np.float32), np.array(turn, np.float32) / half, half),
        colours=palette[rng.permutation(len(palette))[:2], :, None],
        pattern=rng.choice(["plain", "stripes", "checks", "speckle"]),
        frequency=float(rng.uniform(1.6, 3.2)),
        axis=np.array(axes[rng.integers(4)], np.float32),
        gloss=float(rng.choice([0.0, 0.15, 0.5])),
    )


def _propose(rng, label, palette):
    """Camera (height, slope, tangent) and solids, the main one first."""
    tangent, size = rng.uniform(0.38, 0.55), rng.uniform(0.45, 0.75)
    slope = (1 - 2 * rng.uniform(0.31, 0.44)) * tangent
    distance = size / (tangent * rng.uniform(0.36, 0.66))
    height = distance * (slope + rng.uniform(0.3, 0.7) * tangent)
    x = rng.uniform(-0.35, 0.35) * distance * tangent
    solids = [_draw_solid(rng, label, size, x, distance, palette)]
    for _ in range(rng.integers(3)):
        kind = int(label + rng.integers(1, len(CLASSES))) % len(CLASSES)
        y = distance * rng.uniform(1.1, 2.5)
        x = rng.uniform(-0.9, 0.9) * y * tangent
        solids.append(_draw_solid(rng, kind, size * rng.uniform(0.45, 0.85), x, y, palette))
    return (float(height), float(slope), float(tangent)), solids


def _acceptable(camera, solids, side=48):
    """Whether sizes, overlaps and the share of the sky are right, judged on a coarse raster."""
    origin, ray = rays(camera, *raster(side))
    entries = np.stack([entry_of(solid, origin, ray) for solid in solids])
    hit = np.isfinite(entries)
    area, free = hit.sum(1) / side**2, ~hit.any(0)
    shown = np.bincount(entries.argmin(0)[~free], minlength=len(solids)) / side**2
    main = hit[0].reshape(side, side)
    spots = np.hstack([solid.centre[:2] for solid in solids])
    reach = np.array([1.2 * solid.half[0, 0] for solid in solids])
    gaps = np.hypot(*(spots[:, :, None] - spots[:, None])) - reach - reach[:, None]
    return (
        0.26 < np.mean(free & (ray[2] > 0)) < 0.42
        and not (main[[0, -1]].any() or main[:, [0, -1]].any())
        and 0.09 < shown[0] < 0.34
        and shown[0] > 0.97 * area[0]
        and shown.argmax() == 0
        and (shown[1:] > np.maximum(0.65 * area[1:], 0.007)).all()
        and (gaps[np.triu_indices(len(solids), 1)] > 0).all()
    )


def _compose(rng, plain_skies=PLAIN_SHARE):
    """Draw a world; nothing in it depends on the size of the image."""
    label, sky, texture = (int(rng.integers(n)) for n in (len(CLASSES), len(SKIES), 4))
    palette = PALETTES[rng.integers(len(PALETTES))]
    azimuth = rng.choice([-1, 1]) * np.radians(rng.uniform(60, 155))
    rise, turn, scale = np.radians(rng.uniform(28, 58)), rng.uniform(0, 7), rng.uniform(0.9, 1.8)
    sun = [np.sin(azimuth) * np.cos(rise), np.cos(azimuth) * np.cos(rise), np.sin(rise)]
    rotation = [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
    world = World(
        *(label, None, None),
        sky=SKIES[sky, :, :, None],
        sun=np.array(sun, np.float32)[:, None],
        strength=STRENGTH[sky],
        cover=float(COVER[sky] + rng.uniform(-0.12, 0.1)),
        clouds=np.array([*rng.uniform(0, 256, 2), rng.uniform(12, 28)], np.float32),
        haze=float(rng.choice([35, 60, 120])),  # metres
        texture=texture,
        soil=SOILS[texture, rng.integers(4), :, :, None],
        turn=np.array(rotation, np.float32) * float(scale),
        shift=rng.uniform(0, 50, (2, 1)).astype(np.float32),
        plain=None,
    )
    if rng.random() < plain_skies:
        # The colour of a random spot of the sky that would have been there.
        spot = np.array([[rng.uniform(-0.4, 0.4)], [1], [rng.uniform(0.02, 0.35)]], np.float32)
        world = world._replace(plain=sky_colour(world, spot))
    camera, solids = _propose(rng, label, palette)
    while not _acceptable(camera, solids):
        camera, solids = _propose(rng, label, palette)
    return world._replace(camera=camera, solids=solids)


def _boxes(instance, kinds):
    rows = []
    for number, kind in enumerate(kinds, 1):
        y, x = np.nonzero(instance == number)
        if len(x) >= MIN_VISIBLE:
            rows.append((kind, x.min(), y.min(), x.max() + 1, y.max() + 1))
    return np.array(rows, np.int64).reshape(-1, 5)


def render(seed: int, index: int, size: int = 192, plain_skies: float = PLAIN_SHARE) -> Scene:
    """Render scene `index` of the data set `seed` as a square of `size` pixels.

    The result depends on nothing but the arguments, and the scene is the same at every size.
    ``plain_skies`` is the share of scenes whose sky has one colour.
    Raises ValueError when size is below 16 pixels.
    """
    if size < 16:
        raise ValueError(f"the size must be at least 16 pixels, got {size}")
    rng = np.random.default_rng([seed, index])
    world = _compose(rng, plain_skies)
    right, down = raster(size)
    levels, owner, depth = trace(world, right, down)
    still = (owner < 0) & (world.plain is not None)
    # Antialias where neighbours differ; a plain sky stays as it is, constant up to the edges.
    steps = np.abs(np.gradient(levels.sum(0).reshape(size, size))).max(0).ravel()
    rough = np.flatnonzero((steps > 30) & ~still)
    x, y = SUBPIXELS * (2 / size)
    fine = trace(world, (right[rough] + x).ravel(), (down[rough] + y).ravel())[0]
    levels[:, rough] = fine.reshape(3, len(x), -1).mean(1)
    sigma = np.where(still, 0, np.float32(GRAIN))
    levels += sigma * rng.standard_normal(levels.shape, np.float32)
    kinds = [solid.kind for solid in world.solids]
    instance = np.maximum(owner, 0).astype(np.uint8).reshape(size, size)
    segments = np.array([1, *(kind + 2 for kind in kinds), 0], np.uint8)  # [-1] is the sky
    return Scene(
        image=np.rint(levels).clip(0, 255).astype(np.uint8).T.reshape(size, size, 3),
        label=world.label,
        instance=instance,
        segmentation=segments[owner].reshape(size, size),
        depth=depth.reshape(size, size),
        boxes=_boxes(instance, kinds),
        plain_sky=world.plain is not None,
    )


def flatness(image, patch):
    """Flatness 1 / (1 + r) of each patch, float32 (S // patch, S // patch), 1.0 if constant.

    r is the largest minus the smallest grey level over the pixels of the patch, maximum over the
    channels of the square uint8 image (S, S, 3). Raises ValueError when S is no multiple of patch.
    """
    side = len(image)
    if patch < 1 or side % patch:
        raise ValueError(f"the image side {side} is no multiple of the patch size {patch}")
    cells = image.reshape(side // patch, patch, side // patch, patch, -1)
    spread = cells.max((1, 3)).astype(np.float32) - cells.min((1, 3))
    return 1 / (1 + spread.max(-1))
