"""Solids of rendered scenes: where rays meet them, and which way their surface faces.

Points and directions are float32 (3, N); the world is x right, y forward, z up, in metres. Ray
directions have unit length along the optical axis, which makes the ray parameter the depth. A
solid spans [-1, 1] in its own frame; its ``kind`` is the index of its class in
tokenscope.scenes.scene.CLASSES.
"""

from collections import namedtuple
from functools import lru_cache

import numpy as np

# Curved classes are x^2 + y^2 + g (z - apex)^2 <= c in their frame: g, apex, c.
QUADRICS = {0: (1.0, 0.0, 1.0), 1: (1.0, 0.0, 1.0), 2: (0.0, 0.0, 1.0), 3: (-0.25, 1.0, 0.0)}

Solid = namedtuple("Solid", "kind centre to_local half colours pattern frequency axis gloss")


def dot(a, b):
    """Dot products (N,) of vectors (3, N); either may be (3, 1)."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


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


PLANES = _planes()


@lru_cache(maxsize=4)
def raster(size):
    """Image positions right, down (N,) of the pixel centres, from -1 to 1."""
    down, right = np.indices((size, size), np.float32).reshape(2, -1)
    return (right + 0.5) * (2 / size) - 1, (down + 0.5) * (2 / size) - 1


def rays(camera, right, down):
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


def entry_of(solid, origin, ray):
    """Parameter (N,) at which rays enter the solid, else inf; origin or ray may be (3, 1)."""
    offset = solid.centre - origin
    along, beyond = dot(offset, ray), dot(offset, offset) - dot(solid.half, solid.half)
    # Only rays that meet the bounding sphere are worth solving.
    chosen = ((along > 0) | (beyond < 0)) & (along * along > dot(ray, ray) * beyond)
    index = np.flatnonzero(chosen)
    offset, ray = (v if v.shape[1] == 1 else v[:, index] for v in (offset, ray))
    near, far = _span(solid.kind, solid.to_local @ -offset, solid.to_local @ ray)
    entry = np.full(chosen.shape, np.inf, np.float32)
    entry[index] = np.where((near < far) & (far > 1e-4), near, np.inf)
    return entry


def normal_at(solid, local):
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
    return normal / np.sqrt(dot(normal, normal))
