"""Small rendered scenes with exact ground truth, an embedded data set.

A scene shows a main solid (its shape is the class) and up to two smaller ones on a ground plane
under a sky; colours, textures, light and layout are drawn independently of the class. Points,
directions and colours are float32 (3, N); the world is x right, y forward, z up, in metres. Ray
directions have unit length along the optical axis, which makes the ray parameter the depth.
Colours are linear (the square of the display value) until the very end.
"""

from collections import namedtuple
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

CLASSES = ("sphere", "disc", "cylinder", "cone", "cube", "pyramid", "octahedron", "prism")
SEGMENTS = ("sky", "ground", *CLASSES)
GRAIN = 4.0  # standard deviation in grey levels
PLAIN_SHARE = 0.2
MIN_VISIBLE = 9  # pixels an object needs to get a box
SUBPIXELS = np.array([[-3, 1, 3, -1], [-1, -3, 1, 3]], np.float32)[:, :, None] / 8

# By class: half width and half height relative to the size, and the play of their proportion.
WIDE = (0.90, 1.15, 0.70, 0.85, 0.72, 0.95, 1.00, 0.80)
HIGH = (0.90, 0.42, 0.90, 1.00, 0.72, 0.85, 1.10, 0.80)
PLAY = (0.00, 0.15, 0.25, 0.15, 0.03, 0.15, 0.12, 0.30)
# Curved classes are x^2 + y^2 + g (z - apex)^2 <= c in their frame: g, apex, c.
QUADRICS = {0: (1.0, 0.0, 1.0), 1: (1.0, 0.0, 1.0), 2: (0.0, 0.0, 1.0), 3: (-0.25, 1.0, 0.0)}


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

_Solid = namedtuple("_Solid", "kind centre to_local half colours pattern frequency axis gloss")
_World = namedtuple(
    "_World",
    "label camera solids sky sun strength cover clouds haze texture soil turn shift plain",
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


def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _ease(x):
    return x * x * (3 - 2 * x)


def _smooth(x, low, high):
    return _ease(np.clip((x - low) / (high - low), 0, 1))


def _planes():
    """Half-spaces a x + b y + c z <= d, rows (a, b, c, d), that bound each class in its frame."""
    caps = np.array([[0, 0, 1, 1], [0, 0, -1, 1]])
    sides = np.array([[1, 0, 0, 1], [-1, 0, 0, 1], [0, 1, 0, 1], [0, -1, 0, 1]])
    slopes = sides * [2, 2, 1, 1] + [0, 0, 1, 0]
    signs = np.array([[x, y, z, 1] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    hexagon = np.array([[np.cos(a), np.sin(a), 0, 0.9] for a in np.arange(6) * np.pi / 3])
    tables = {2: [caps], 3: [caps], 4: [caps, sides], 5: [caps, slopes], 6: [signs]}
    tables[7] = [caps, hexagon]
    return {kind: np.vstack(rows).astype(np.float32) for kind, rows in tables.items()}


def _noise(grid, x, y):
    """Value noise (N,): smooth periodic interpolation of the square `grid` at x, y in cells."""
    column, row, last = np.floor(x), np.floor(y), len(grid) - 1
    x, y = _ease(x - column), _ease(y - row)
    left, top = column.astype(np.int32) & last, row.astype(np.int32) & last
    right, top, below = (left + 1) & last, top * (last + 1), ((top + 1) & last) * (last + 1)
    upper = grid.take(top + left) * (1 - x) + grid.take(top + right) * x
    lower = grid.take(below + left) * (1 - x) + grid.take(below + right) * x
    return upper + (lower - upper) * y


def _fractal(side=256):
    """Periodic fractal noise (side, side) in [0, 1]: one look-up then stands for all octaves."""
    rng = np.random.default_rng(7)
    y, x = np.indices((side, side), dtype=np.float32) / side
    total = sum(
        _noise(rng.random((n, n), np.float32), x * n, y * n) / n for n in 2 ** np.arange(2, 8)
    )
    return ((total - total.min()) / np.ptp(total)).astype(np.float32)


PLANES = _planes()
FRACTAL = _fractal()
HASH = np.random.default_rng(11).random(4096, np.float32)


def _hash(*cells):
    """A number in [0, 1) for each lattice cell."""
    primes = (73, 1291, 547)[: len(cells)]
    mixed = sum(c.astype(np.int32) * p for c, p in zip(cells, primes, strict=True))
    return HASH.take(mixed & 4095)


@lru_cache(maxsize=4)
def _raster(size):
    """Image positions right, down (N,) of the pixel centres, from -1 to 1."""
    down, right = np.indices((size, size), np.float32).reshape(2, -1)
    return (right + 0.5) * (2 / size) - 1, (down + 0.5) * (2 / size) - 1


def _rays(camera, right, down):
    """Position (3, 1) of the camera and ray directions (3, N) through image positions."""
    height, slope, tangent = camera  # slope: tangent of the pitch; tangent: of half the view
    cosine = 1 / np.hypot(1, slope)
    up = -tangent * down
    ray = [tangent * right, cosine + slope * cosine * up, cosine * up - slope * cosine]
    return np.array([[0], [0], [height]], np.float32), np.stack(ray).astype(np.float32)


def _span(kind, origin, ray):
    """Ray parameters (N,), (N,) of entry and exit of a solid in its frame; entry > exit: a miss."""
    near, far = np.float32(-np.inf), np.float32(np.inf)
    if kind in QUADRICS:
        g, apex, c = QUADRICS[kind]
        ox, oy, oz = origin[0], origin[1], origin[2] - apex
        a = ray[0] ** 2 + ray[1] ** 2 + g * ray[2] ** 2
        b = ox * ray[0] + oy * ray[1] + g * oz * ray[2]
        root = b * b - a * (ox * ox + oy * oy + g * oz * oz - c)
        hit = np.sqrt(np.maximum(root, 0))
        first, last = (-b - hit) / a, (hit - b) / a
        # A ray steeper than the cone (a < 0) is inside the lower nappe on one side of both roots.
        near = np.where(a > 0, first, np.where(ray[2] < 0, first, -np.inf))
        near = np.where(root > 0, near, np.inf)
        far = np.where(a > 0, last, np.where(ray[2] < 0, np.inf, last))
    if kind in PLANES:
        normals, offsets = PLANES[kind][:, :3], PLANES[kind][:, 3:]
        speed = normals @ ray
        speed = np.where(speed == 0, np.float32(1e-9), speed)
        when = (offsets - normals @ origin) / speed
        near = np.maximum(near, np.where(speed < 0, when, -np.inf).max(0))
        far = np.minimum(far, np.where(speed > 0, when, np.inf).min(0))
    return near, far


def _entry(solid, origin, ray):
    """Parameter (N,) at which rays enter the solid, else inf; origin or ray may be (3, 1)."""
    offset = solid.centre - origin
    along, beyond = _dot(offset, ray), _dot(offset, offset) - _dot(solid.half, solid.half)
    # Only rays that meet the bounding sphere are worth solving.
    chosen = ((along > 0) | (beyond < 0)) & (along * along > _dot(ray, ray) * beyond)
    index = np.flatnonzero(chosen)
    offset, ray = (v if v.shape[1] == 1 else v[:, index] for v in (offset, ray))
    near, far = _span(solid.kind, solid.to_local @ -offset, solid.to_local @ ray)
    entry = np.full(chosen.shape, np.inf, np.float32)
    entry[index] = np.where((near < far) & (far > 1e-4), near, np.inf)
    return entry


def _normal(solid, local):
    """Unit world normals (3, N) at surface points given in the solid's frame."""
    normal = local
    if solid.kind in QUADRICS:
        g, apex, _ = QUADRICS[solid.kind]
        normal = np.stack([local[0], local[1], g * (local[2] - apex)])
    if solid.kind in PLANES:
        planes = PLANES[solid.kind]
        excess = planes[:, :3] @ local - planes[:, 3:]
        flat = (solid.kind not in QUADRICS) | (excess.max(0) > -3e-4)
        normal = np.where(flat, planes[excess.argmax(0), :3].T, normal)
    normal = solid.to_local.T @ normal
    return normal / np.sqrt(_dot(normal, normal))


def _sky(world, ray):
    """Colours (3, N) of the sky with its clouds and the glow of the sun."""
    if world.plain is not None:
        return world.plain
    zenith, horizon, cloud, light = world.sky[:4]
    rise = np.maximum(ray[2], 0) / np.hypot(ray[0], ray[1])
    colour = zenith + (horizon - zenith) * np.exp(-6 * rise)
    dx, dy, scale = world.clouds
    x, y = ray[:2] / (np.maximum(ray[2], 0) + 0.12) * scale
    mass = _noise(FRACTAL, x + dx, y + dy)
    # Denser towards the sun means in the shade: a cheap relief.
    shade = _noise(FRACTAL, x + dx + 4 * world.sun[0], y + dy + 4 * world.sun[1])
    white = cloud * np.clip(0.95 + 1.1 * (mass - shade), 0.62, 1.12)
    cloudy = _smooth(mass, 0.97 - world.cover, 1.2 - world.cover) * _smooth(rise, 0.0, 0.12)
    facing = np.maximum(_dot(ray, world.sun), 0) / np.sqrt(_dot(ray, ray))
    return colour + (white - colour) * (0.92 * cloudy) + light * (0.35 * facing**6)


def _tiles(u, v):
    i, j = np.floor(u), np.floor(v)
    seam = np.maximum(np.abs(u - i - 0.5), np.abs(v - j - 0.5)) > 0.475
    return (i + j) % 2, np.where(seam, 0.62, 0.88 + 0.2 * _hash(i, j))


def _planks(u, v):
    row = np.floor(v * 2)
    u = u * 0.4 + 3 * _hash(row)
    plank = np.floor(u)
    seam = (np.abs(v * 2 - row - 0.5) > 0.47) | (np.abs(u - plank - 0.5) > 0.494)
    fibre = _noise(FRACTAL, u * 12 + 37 * row, v * 70)
    return 0.65 * _hash(row, plank) + 0.5 * fibre, np.where(seam, 0.5, 0.85 + 0.25 * fibre)


def _sand(u, v):
    drift, grit = _noise(FRACTAL, u * 9, v * 9), _noise(FRACTAL, u * 90, v * 90)
    return _smooth(drift, 0.25, 0.75), 0.86 + 0.07 * np.sin(17 * v + 16 * drift) + 0.25 * grit


def _grass(u, v):
    patch, tuft = _noise(FRACTAL, u * 7, v * 7), _noise(FRACTAL, u * 60, v * 60)
    return _smooth(0.6 * patch + 0.6 * tuft, 0.3, 0.9), 0.5 + 0.9 * tuft


def _lit(world, point, casters):
    """1 where the sun reaches points (3, N), 0 in the shadow of one of the casters."""
    lit = np.ones(point.shape[1], np.float32)
    for solid in casters:
        lit[np.isfinite(_entry(solid, point, world.sun))] = 0
    return lit


def _shade_ground(world, point, depth):
    u, v = world.turn @ point[:2] + world.shift
    weight, shade = (_tiles, _planks, _sand, _grass)[world.texture](u, v)
    # Fade to the mean where pixels outgrow the texture.
    clear = 1 / (1 + (depth / 15) ** 3)
    weight, shade = 0.5 + (weight - 0.5) * clear, 0.95 + (shade - 0.95) * clear
    open_sky = np.ones_like(depth)
    for solid in world.solids:
        gap = np.sqrt(_dot(solid.centre - point, solid.centre - point))
        # The share of the sky that a ball of the same section would hide.
        hidden = solid.half[0] * solid.half[2] * solid.centre[2] / gap**3
        open_sky *= 1 - np.minimum(hidden, 0.85)
    direct = world.strength * world.sun[2] * _lit(world, point, world.solids)
    albedo = (world.soil[0] + (world.soil[1] - world.soil[0]) * weight) * shade
    return albedo * (world.sky[3] * direct + world.sky[4] * (0.48 * open_sky))


def _solid_albedo(solid, local):
    """Albedo (3, N) of a solid by a pattern in three dimensions."""
    x = local * (solid.half / solid.half.max()) * solid.frequency + 0.37
    if solid.pattern == "plain":
        weight = 0.15 * _noise(FRACTAL, 9 * (x[0] + x[2]), 9 * (x[1] - x[2]))
    elif solid.pattern == "stripes":
        weight = np.floor(solid.axis @ x * 1.3) % 2
    elif solid.pattern == "checks":
        weight = np.floor(x).sum(0) % 2
    else:
        cell = np.floor(1.6 * x)
        chance = _hash(*cell)
        away = 1.6 * x - cell - (0.35 + 0.3 * chance)
        weight = _smooth(_dot(away, away), 0.10 + 0.10 * chance, 0.06 + 0.10 * chance)
    return solid.colours[0] + (solid.colours[1] - solid.colours[0]) * weight


def _shade_solid(world, solid, point, ray):
    light, ambient = world.sky[3:]
    local = solid.to_local @ (point - solid.centre)
    normal = _normal(solid, local)
    casters = [other for other in world.solids if other is not solid]
    direct = world.strength * _lit(world, point, casters)
    facing, up = np.maximum(_dot(normal, world.sun), 0), 0.5 + 0.5 * normal[2]
    contact = 1 - 0.6 * (1 - up) * np.exp(-point[2] / (0.35 * solid.half[2]))
    bounce = world.soil.mean(0) * (0.45 + 0.3 * light)
    surround = (bounce + (ambient - bounce) * up) * (0.5 * contact)
    middle = world.sun - ray / np.sqrt(_dot(ray, ray))
    shine = np.maximum(_dot(normal, middle), 0) / np.sqrt(_dot(middle, middle))
    gloss = light * (direct * solid.gloss * shine**40 * (facing > 0))
    return _solid_albedo(solid, local) * (light * (direct * facing) + surround) + gloss


def _trace(world, right, down):
    """Grey levels (3, N), owner (N,) (-1 sky, 0 ground, else instance) and depth (N,)."""
    origin, ray = _rays(world.camera, right, down)
    ground = np.where(ray[2] < -1e-4, -world.camera[0] / np.minimum(ray[2], -1e-4), np.inf)
    entries = np.vstack([ground, *(_entry(solid, origin, ray) for solid in world.solids)])
    owner, depth = entries.argmin(0), entries.min(0)
    owner[np.isinf(depth)] = -1
    colour = np.empty_like(ray)
    haze = world.sky[1] if world.plain is None else world.plain
    for number in range(-1, len(world.solids) + 1):
        index = np.flatnonzero(owner == number)
        sight, away = ray[:, index], depth[index]
        if number < 0:
            colour[:, index] = _sky(world, sight)
            continue
        point = origin + sight * away
        if number == 0:
            shaded = _shade_ground(world, point, away)
        else:
            shaded = _shade_solid(world, world.solids[number - 1], point, sight)
        colour[:, index] = haze + (shaded - haze) * np.exp(away / -world.haze)
    # Brighten with a shoulder, and keep off 0 and 255 lest saturated grain turn flat.
    colour = np.clip(1.3 * colour / (1 + 0.38 * colour), 0.003, 0.9)
    return 255 * np.sqrt(colour), owner, np.where(owner < 0, np.float32(0), depth)


def _draw_solid(rng, kind, size, x, y, palette):
    """A solid standing on the ground at x, y; it spans [-1, 1] in its own frame."""
    stretch = 1 + PLAY[kind] * rng.uniform(-1, 1)
    wide, high = size * WIDE[kind] / np.sqrt(stretch), size * HIGH[kind] * stretch
    half = np.array([[wide], [wide], [high]], np.float32)
    yaw, axes = rng.uniform(0, 2 * np.pi), ([0, 0, 1], [1, 0, 0], [0.6, 0, 0.8], [0.6, 0.5, 0.6])
    turn = [[np.cos(yaw), np.sin(yaw), 0], [-np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]]
    return _Solid(
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
    origin, ray = _rays(camera, *_raster(side))
    entries = np.stack([_entry(solid, origin, ray) for solid in solids])
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


def _compose(rng):
    """Draw a world; nothing in it depends on the size of the image."""
    label, sky, texture = (int(rng.integers(n)) for n in (len(CLASSES), len(SKIES), 4))
    palette = PALETTES[rng.integers(len(PALETTES))]
    azimuth = rng.choice([-1, 1]) * np.radians(rng.uniform(60, 155))
    rise, turn, scale = np.radians(rng.uniform(28, 58)), rng.uniform(0, 7), rng.uniform(0.9, 1.8)
    sun = [np.sin(azimuth) * np.cos(rise), np.cos(azimuth) * np.cos(rise), np.sin(rise)]
    rotation = [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
    world = _World(
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
    if rng.random() < PLAIN_SHARE:
        # The colour of a random spot of the sky that would have been there.
        spot = np.array([[rng.uniform(-0.4, 0.4)], [1], [rng.uniform(0.02, 0.35)]], np.float32)
        world = world._replace(plain=_sky(world, spot))
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


def render(seed: int, index: int, size: int = 192) -> Scene:
    """Render scene `index` of the data set `seed` as a square of `size` pixels.

    The result depends on nothing but the arguments, and the scene is the same at every size.
    Raises ValueError when size is below 16 pixels.
    """
    if size < 16:
        raise ValueError(f"the size must be at least 16 pixels, got {size}")
    rng = np.random.default_rng([seed, index])
    world = _compose(rng)
    right, down = _raster(size)
    levels, owner, depth = _trace(world, right, down)
    still = (owner < 0) & (world.plain is not None)
    # Antialias where neighbours differ; a plain sky stays as it is, constant up to the edges.
    steps = np.abs(np.gradient(levels.sum(0).reshape(size, size))).max(0).ravel()
    rough = np.flatnonzero((steps > 30) & ~still)
    x, y = SUBPIXELS * (2 / size)
    fine = _trace(world, (right[rough] + x).ravel(), (down[rough] + y).ravel())[0]
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
