"""Scenes: the ground truth agrees with itself and with geometry; only plain skies are flat."""

import numpy as np
import pytest
from PIL import Image

from tokenscope.scenes import scene as module
from tokenscope.scenes import shading, solids
from tokenscope.scenes.file_names import file_name, scene_number
from tokenscope.scenes.scene import CLASSES, SEGMENTS, flatness, render


@pytest.fixture(scope="module")
def many():
    return [render(5, index) for index in range(80)]


def _rays(world, size):
    right, down = solids.raster(size)
    return solids.rays(world.camera, right, down)


def test_a_scene_depends_on_nothing_but_its_arguments():
    first = render(1, 4)
    render(1, 5)
    repeated = render(1, 4)
    for name in ("image", "instance", "segmentation", "depth", "boxes"):
        np.testing.assert_array_equal(getattr(first, name), getattr(repeated, name))
    assert not np.array_equal(first.image, render(1, 5).image)
    assert not np.array_equal(first.image, render(2, 4).image)


def test_types_and_shapes():
    scene = render(0, 0, 64)
    assert scene.image.shape == (64, 64, 3) and scene.image.dtype == np.uint8
    assert scene.instance.dtype == scene.segmentation.dtype == np.uint8
    assert scene.depth.shape == (64, 64) and scene.depth.dtype == np.float32
    with pytest.raises(ValueError, match="at least 16"):
        render(0, 0, 8)


def test_two_sizes_show_the_same_scene():
    for index in range(6):
        small, large = render(3, index, 96), render(3, index, 192)
        assert (small.label, small.plain_sky) == (large.label, large.plain_sky)
        # Centres of small pixels fall between those of the large one: borders may differ.
        assert np.mean(small.segmentation != large.segmentation[::2, ::2]) < 0.03
        np.testing.assert_allclose(small.boxes[:, 1:] * 2, large.boxes[:, 1:], atol=3)


def test_instance_segmentation_depth_and_boxes_agree(many):
    for scene in many:
        classes = np.array([0, *(scene.boxes[:, 0] + 2)])
        on_solid = scene.instance > 0
        assert scene.boxes[0, 0] == scene.label
        assert len(scene.boxes) == scene.instance.max() <= 3
        assert (scene.segmentation[on_solid] == classes[scene.instance[on_solid]]).all()
        assert (scene.segmentation[~on_solid] < SEGMENTS.index(CLASSES[0])).all()
        assert ((scene.depth == 0) == (scene.segmentation == 0)).all()
        assert np.isfinite(scene.depth).all() and (scene.depth >= 0).all()
        for number, (_, left, top, right, bottom) in enumerate(scene.boxes, 1):
            mask = scene.instance == number
            assert mask.sum() == mask[top:bottom, left:right].sum()
            inside = mask[top:bottom, left:right]
            assert inside[[0, -1]].any(1).all() and inside[:, [0, -1]].any(0).all()


def test_the_main_object_is_nearest_and_well_in_frame(many):
    for scene in many:
        sizes = np.bincount(scene.instance.ravel())[1:]
        assert 0.08 < sizes[0] / scene.instance.size < 0.35 and sizes.argmax() == 0
        assert 0.25 < np.mean(scene.segmentation == 0) < 0.45
        assert len(set(scene.boxes[1:, 0]) & {scene.label}) == 0


def test_ground_depth_is_that_of_the_plane():
    scene, world = render(2, 7), module._compose(np.random.default_rng([2, 7]))
    height, slope, tangent = world.camera
    rows, columns = np.nonzero(scene.segmentation == 1)
    up = -((rows + 0.5) / 96 - 1) * tangent
    # A point at depth z lies z * (up cos - sin) above the camera.
    expected = height * np.hypot(1, slope) / (slope - up)
    near = expected < 50
    np.testing.assert_allclose(scene.depth[rows, columns][near], expected[near], rtol=1e-3)


@pytest.mark.parametrize("kind", range(len(CLASSES)))
def test_hit_points_lie_on_the_surface_and_normals_face_the_camera(kind):
    palette = module.PALETTES[0]
    solid = module._draw_solid(np.random.default_rng(kind), kind, 0.6, 0.1, 3.0, palette)
    origin, ray = solids.rays((1.0, 0.1, 0.45), *solids.raster(64))
    entry = solids.entry_of(solid, origin, ray)
    hit = np.isfinite(entry)
    assert 0.02 < hit.mean() < 0.5
    point = origin + ray[:, hit] * entry[hit]
    local = solid.to_local @ (point - solid.centre)
    assert np.abs(local).max() < 1.4 and np.abs(local[2]).max() < 1 + 1e-4
    gaps = []
    if kind in solids.QUADRICS:
        g, apex, c = solids.QUADRICS[kind]
        gaps.append(local[0] ** 2 + local[1] ** 2 + g * (local[2] - apex) ** 2 - c)
    if kind in solids.PLANES:
        planes = solids.PLANES[kind]
        gaps.extend(planes[:, :3] @ local - planes[:, 3:])
    np.testing.assert_allclose(np.max(gaps, 0), 0, atol=1e-4)
    normal = solids.normal_at(solid, local)
    np.testing.assert_allclose(np.linalg.norm(normal, axis=0), 1, atol=1e-5)
    assert ((normal * ray[:, hit]).sum(0) < 1e-2).all()


def test_a_sphere_has_its_analytic_silhouette():
    index = next(i for i in range(99) if render(6, i, 16).label == 0)
    scene, world = render(6, index), module._compose(np.random.default_rng([6, index]))
    origin, ray = _rays(world, 192)
    ball = world.solids[0]
    offset = (ball.centre - origin).astype(float)
    along = (ray * offset).sum(0) / np.linalg.norm(ray, axis=0)
    distance = np.sqrt((offset**2).sum() - along**2)
    expected = (distance < ball.half[0, 0]).reshape(192, 192)
    assert np.mean(expected != (scene.instance == 1)) < 1e-3


def test_the_sun_casts_shadows_behind_solids():
    world = module._compose(np.random.default_rng([0, 1]))
    solid = world.solids[0]
    reach = solid.half[2] / world.sun[2]
    shaded = solid.centre - world.sun * reach  # where the sun's ray through the centre lands
    assert shading._lit(world, shaded, [solid])[0] == 0
    assert shading._lit(world, solid.centre + world.sun * 5, [solid])[0] == 1


def test_plain_skies_are_constant_and_nothing_else_is_flat(many):
    plain = [scene for scene in many if scene.plain_sky]
    assert 5 < len(plain) < 30
    for scene in plain:
        sky = scene.image[scene.segmentation == 0]
        assert (sky == sky[0]).all()
        assert (flatness(scene.image, 16) == 1).any()
        covered = (scene.segmentation > 0).reshape(12, 16, 12, 16).any((1, 3))
        assert ((flatness(scene.image, 16) == 1) == ~covered).all()
    for scene in (scene for scene in many if not scene.plain_sky):
        half = Image.fromarray(scene.image).resize((96, 96), Image.Resampling.BICUBIC)
        assert flatness(scene.image, 16).max() < 1
        assert flatness(np.asarray(half), 8).max() < 1


def test_share_of_flat_patches(many):
    assert 0.02 < np.mean([flatness(scene.image, 16) == 1 for scene in many]) < 0.09


def test_classes_are_balanced_and_images_differ():
    small = [render(9, index, 16) for index in range(200)]
    counts = np.bincount([scene.label for scene in small], minlength=len(CLASSES))
    assert counts.min() >= 10 and counts.max() <= 45
    assert len({scene.image.tobytes() for scene in small}) == len(small)


def test_colour_does_not_tell_the_class():
    worlds = [module._compose(np.random.default_rng([8, index])) for index in range(200)]
    for kind in range(len(CLASSES)):
        own = [world for world in worlds if world.label == kind]
        assert len({world.solids[0].colours.tobytes() for world in own}) > 0.6 * len(own)
        assert len({world.sky.tobytes() for world in own}) > 3
        assert len({world.texture for world in own}) == 4


def test_flatness_in_known_cases():
    image = np.full((8, 8, 3), 90, np.uint8)
    image[0, 5, 1] = 93
    image[6, 1] = (0, 255, 90)
    expected = np.array([[1, 1 / 4], [1 / 166, 1]], np.float32)
    assert flatness(image, 4).dtype == np.float32
    np.testing.assert_allclose(flatness(image, 4), expected)
    with pytest.raises(ValueError, match="no multiple"):
        flatness(image, 3)


def test_the_file_of_a_scene_says_its_number():
    assert file_name(12) == "000012.png"
    assert [scene_number(file_name(i)) for i in (0, 12, 1_234_567)] == [0, 12, 1_234_567]
