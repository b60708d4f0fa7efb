"""Pixels: as timm's evaluation transform, whatever the file is."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import zarr
from PIL import Image
from timm.data import create_transform

from tokenscope.images.geometry import Geometry
from tokenscope.images.location import ImageLocation
from tokenscope.images.preprocess import BadImage, decode, load_rgb, shape
from tokenscope.images.readers import ImageInputs, StreamedImages


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (224, 224), (231, 640), (300, 301)])
@pytest.mark.parametrize("target, crop", [(224, 0.9), (224, 0.875), (98, 1.0)])
def test_same_pixels_as_timm(size, target, crop):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    transform = create_transform(
        (3, target, target), crop_pct=crop, interpolation="bicubic", mean=(0, 0, 0), std=(1, 1, 1)
    )
    theirs = (transform(image) * 255).round().permute(1, 2, 0).numpy().astype(np.uint8)
    geometry = Geometry.evaluation(target, crop, "bicubic")
    assert np.array_equal(shape(image, geometry), theirs)


def test_geometry_key_round_trip():
    geometry = Geometry.evaluation(224, 0.9, "bicubic")
    assert geometry.key == "224px-bicubic-center248"
    assert Geometry.parse(geometry.key) == geometry


def save(image, path, **options):
    image.save(path, **options)
    return path


def test_colour_modes(tmp_path):
    ramp = np.tile(np.arange(256, dtype=np.uint8), (8, 1))
    grey = load_rgb(save(Image.fromarray(ramp), tmp_path / "grey.png"))
    assert grey.mode == "RGB" and np.array_equal(np.asarray(grey)[..., 1], ramp)
    deep = Image.fromarray(ramp.astype(np.uint16) * 257)
    sixteen = load_rgb(save(deep, tmp_path / "deep.png"))
    assert np.array_equal(np.asarray(sixteen)[..., 0], ramp)
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    palette = load_rgb(save(red.convert("P"), tmp_path / "palette.png"))
    assert np.asarray(palette)[0, 0].tolist() == [255, 0, 0]
    cmyk = load_rgb(save(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), tmp_path / "c.tif"))
    assert np.asarray(cmyk)[0, 0].tolist() == [255, 0, 0]
    clear = load_rgb(save(Image.new("RGBA", (8, 8), (9, 9, 9, 0)), tmp_path / "clear.png"))
    assert np.asarray(clear)[0, 0].tolist() == [255, 255, 255]


def test_exif_orientation_is_applied(tmp_path):
    image = Image.new("RGB", (20, 10))
    image.putpixel((0, 0), (255, 255, 255))
    exif = image.getexif()
    exif[0x0112] = 6  # rotate 90 degrees clockwise to view
    upright = load_rgb(save(image, tmp_path / "turned.png", exif=exif))
    assert upright.size == (10, 20) and upright.getpixel((9, 0)) == (255, 255, 255)


def test_bad_files_are_named(tmp_path):
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    whole = save(noise, tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes(whole.read_bytes()[:2000])
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty.png").write_bytes(b"")
    save(Image.fromarray(rng.random((4, 4)).astype(np.float32)), tmp_path / "float.tiff")
    for name in ("cut.jpg", "text.jpg", "empty.png", "float.tiff", "absent.jpg"):
        with pytest.raises(BadImage, match=name):
            load_rgb(tmp_path / name)


def test_streamed_pixels_equal_decoded_ones(photographs):
    paths = sorted(p.relative_to(photographs).as_posix() for p in photographs.rglob("*.png"))
    geometry = Geometry.evaluation(32, 0.9, "bicubic")
    reader = StreamedImages(str(photographs), pd.DataFrame({"path": paths}), geometry, workers=2)
    batch = reader.read(3, 9)
    reader.close()
    direct = np.stack([decode(ImageLocation(photographs / p), geometry) for p in paths[3:9]])
    assert np.array_equal(batch, direct)


def test_images_are_read_from_the_decoded_store_where_there_is_one(photographs, tmp_path):
    geometry = Geometry.evaluation(48, 0.8, "bicubic")
    sample = tmp_path / "sample.csv"
    paths = sorted(p.relative_to(photographs).as_posix() for p in photographs.rglob("*.png"))[:2]
    pd.DataFrame({"image_id": ["NA", "b"], "path": paths}).to_csv(sample, index=False)
    images = ImageInputs(str(sample), str(photographs), geometry.key)
    assert images.rows["image_id"].tolist() == ["NA", "b"]  # names, whatever they look like
    streamed = images.open(workers=1).read(0, 2)
    zarr.create_array(tmp_path / "store" / "pixels", data=streamed[::-1].copy())
    decoded = replace(images, decoded=str(tmp_path / "store")).open(workers=1)
    assert len(decoded) == 2
    np.testing.assert_array_equal(decoded.read(0, 2), streamed[::-1])
