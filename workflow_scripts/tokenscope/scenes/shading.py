"""The light of rendered scenes: sky, ground, patterns of solids, shadows; and the tracer.

Colours are linear (the square of the display value) until the very end, float32 (3, N).
"""

from collections import namedtuple

import numpy as np

from tokenscope.scenes.solids import dot, entry_of, normal_at, rays

World = namedtuple(
    "World",
    "label camera solids sky sun strength cover clouds haze texture soil turn shift plain",
)


def _ease(x):
    return x * x * (3 - 2 * x)


def _smooth(x, low, high):
    return _ease(np.clip((x - low) / (high - low), 0, 1))


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


FRACTAL = _fractal()
HASH = np.random.default_rng(11).random(4096, np.float32)


def _hash(*cells):
    """A number in [0, 1) for each lattice cell."""
    primes = (73, 1291, 547)[: len(cells)]
    mixed = sum(c.astype(np.int32) * p for c, p in zip(cells, primes, strict=True))
    return HASH.take(mixed & 4095)


def sky_colour(world, ray):
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
    facing = np.maximum(dot(ray, world.sun), 0) / np.sqrt(dot(ray, ray))
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
        lit[np.isfinite(entry_of(solid, point, world.sun))] = 0
    return lit


def _shade_ground(world, point, depth):
    u, v = world.turn @ point[:2] + world.shift
    weight, shade = (_tiles, _planks, _sand, _grass)[world.texture](u, v)
    # Fade to the mean where pixels outgrow the texture.
    clear = 1 / (1 + (depth / 15) ** 3)
    weight, shade = 0.5 + (weight - 0.5) * clear, 0.95 + (shade - 0.95) * clear
    open_sky = np.ones_like(depth)
    for solid in world.solids:
        gap = np.sqrt(dot(solid.centre - point, solid.centre - point))
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
        weight = _smooth(dot(away, away), 0.10 + 0.10 * chance, 0.06 + 0.10 * chance)
    return solid.colours[0] + (solid.colours[1] - solid.colours[0]) * weight


def _shade_solid(world, solid, point, ray):
    light, ambient = world.sky[3:]
    local = solid.to_local @ (point - solid.centre)
    normal = normal_at(solid, local)
    casters = [other for other in world.solids if other is not solid]
    direct = world.strength * _lit(world, point, casters)
    facing, up = np.maximum(dot(normal, world.sun), 0), 0.5 + 0.5 * normal[2]
    contact = 1 - 0.6 * (1 - up) * np.exp(-point[2] / (0.35 * solid.half[2]))
    bounce = world.soil.mean(0) * (0.45 + 0.3 * light)
    surround = (bounce + (ambient - bounce) * up) * (0.5 * contact)
    middle = world.sun - ray / np.sqrt(dot(ray, ray))
    shine = np.maximum(dot(normal, middle), 0) / np.sqrt(dot(middle, middle))
    gloss = light * (direct * solid.gloss * shine**40 * (facing > 0))
    return _solid_albedo(solid, local) * (light * (direct * facing) + surround) + gloss


def trace(world, right, down):
    """Grey levels (3, N), owner (N,) (-1 sky, 0 ground, else instance) and depth (N,)."""
    origin, ray = rays(world.camera, right, down)
    ground = np.where(ray[2] < -1e-4, -world.camera[0] / np.minimum(ray[2], -1e-4), np.inf)
    entries = np.vstack([ground, *(entry_of(solid, origin, ray) for solid in world.solids)])
    owner, depth = entries.argmin(0), entries.min(0)
    owner[np.isinf(depth)] = -1
    colour = np.empty_like(ray)
    haze = world.sky[1] if world.plain is None else world.plain
    for number in range(-1, len(world.solids) + 1):
        index = np.flatnonzero(owner == number)
        sight, away = ray[:, index], depth[index]
        if number < 0:
            colour[:, index] = sky_colour(world, sight)
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
