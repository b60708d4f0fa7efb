"""A seeded sample of a data set, every image of it read and decoded once, to be sure of it."""

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from tokenscope.errors import StudyError
from tokenscope.images.damage import examine
from tokenscope.images.location import ImageLocation, folder_of, locations, parquet_blobs
from tokenscope.images.preprocess import BadImage, content_of, load_rgb
from tokenscope.images.workers import forked_pool

FACTS = ["width", "height", "mode", "sha256"]
UNIT = 64  # images examined by one task
NAMED = 20  # bad images in one message

Progress = Callable[[int, int], None]


def sample(
    manifest: pd.DataFrame,
    source: dict,
    images: int | str,
    seed: int,
    on_bad_image: str,
    packed: str | Path,
    threads: int = 4,
    progress: Progress = lambda done, total: None,
) -> tuple[pd.DataFrame, list[dict]]:
    """The first ``images`` good images of a seeded permutation, in the order of the manifest.

    Every sampled image is decoded once here, in the order in which the files hold them, so that
    each later job, whatever its geometry, works on the same images. With ``on_bad_image="skip"`` a
    bad one is passed over and the next of the permutation takes its place. Images of parquet files,
    which have no random access, are copied as they are into files in ``packed``.

    Returns:
        the sampled rows with :data:`FACTS`, and the skipped images as ``{"image_id", "problem"}``;
        ``attrs["suspicious"]`` of the rows names those that decode, but may be damaged;
        ``attrs["examined"]`` has path and SHA-256 of all that were read, bad ones too.

    Raises:
        StudyError: a bad image with ``on_bad_image="fail"`` (all found are named), or too few.
    """
    where = source["path"]
    want = len(manifest) if images == "all" else int(images)
    if want > len(manifest):
        raise StudyError(
            f"the study asks for {want} images, '{where}' has {len(manifest)}; set images to that "
            "number or to 'all' (config key: datasets, images)"
        )
    order = np.random.default_rng(seed).permutation(len(manifest))
    good: list[pd.DataFrame] = []
    examined: list[tuple[str, str]] = []
    skipped: list[dict] = []
    position = have = 0
    with forked_pool(threads) as pool:
        while have < want and position < len(order):
            rows = manifest.iloc[np.sort(order[position : position + want - have])]
            position += len(rows)
            table = _examined(pool, rows, source, packed, len(skipped), have, want, progress)
            bad = table["problem"] != ""
            examined += zip(table["path"], table["sha256"], strict=True)
            skipped += table.loc[bad, ["image_id", "problem"]].to_dict("records")
            good.append(table[~bad])
            have += len(good[-1])
            if skipped and on_bad_image == "fail":
                named = "; ".join(f"{b['image_id']}: {b['problem']}" for b in skipped[:NAMED])
                more = f" and {len(skipped) - NAMED} more" if len(skipped) > NAMED else ""
                raise StudyError(
                    f"{len(skipped)} bad image(s) in '{where}': {named}{more}. Mend or remove "
                    "them, or set on_bad_image: skip to go on without them (they will be counted)"
                )
    if have < want and images != "all":
        raise StudyError(
            f"only {have} of {want} images in '{where}' can be decoded; {len(skipped)} are bad, "
            f"e.g. {skipped[0]['image_id']}: {skipped[0]['problem']}"
        )
    if not have:
        raise StudyError(f"not one image in '{where}' can be decoded")
    table = pd.concat(good).sort_index()
    doubtful = table.loc[table["suspicious"] != "", ["image_id", "suspicious"]]
    table = table.drop(columns=["problem", "suspicious"])
    table.attrs["suspicious"] = doubtful.to_dict("records")
    table.attrs["examined"] = examined
    return table, skipped


def _examined(pool, rows, source, packed, round_, have, want, progress) -> pd.DataFrame:
    """``rows`` with facts and problems, and where packed, with the new places."""
    rows = rows.sort_values(["path", "offset"], kind="stable")
    if source["type"] == "parquet":
        column = source.get("columns", {}).get("file", "image")
        units = [group for _, group in rows.groupby("path", sort=False)]
        work = partial(_pack, folder_of(source["path"]), column, Path(packed), round_)
    else:
        units = [rows.iloc[i : i + UNIT] for i in range(0, len(rows), UNIT)]
        work = partial(_examine, folder_of(source["path"]))
    done, facts = 0, []
    for result in pool.map(work, units):
        facts.append(result)
        done += len(result)
        progress(have + done, max(want, have + done))
    return pd.concat(facts)


def _examine(root: str, rows: pd.DataFrame) -> pd.DataFrame:
    places = locations(root, rows)
    # Reading waits for the disk: the next image is read while this one is decoded.
    with ThreadPoolExecutor(1) as reader:
        facts = [_facts(place, content) for place, content in _ahead(reader, places)]
    return rows.assign(**pd.DataFrame(facts, index=rows.index))


def _ahead(reader: ThreadPoolExecutor, places: list[ImageLocation]) -> Iterator[tuple]:
    coming = [reader.submit(_read, place) for place in places[:2]]
    for i, place in enumerate(places):
        content = coming.pop(0).result()
        if i + 2 < len(places):
            coming.append(reader.submit(_read, places[i + 2]))
        yield place, content


def _read(place: ImageLocation) -> bytes | str:
    """The bytes, or why there are none."""
    try:
        return content_of(place)
    except BadImage as error:
        return str(error)


def _facts(place: ImageLocation, content: bytes | str | None) -> dict:
    """Size, mode and checksum of one image, whole and decoded once; or its place and problem."""
    none = {"bytes": 0, "width": 0, "height": 0, "mode": "", "sha256": ""}
    none |= {"problem": "", "suspicious": ""}
    if isinstance(content, str):
        return {**none, "problem": content}
    if not content:
        return {**none, "problem": f"{place}: is empty"}
    facts = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    try:
        image = load_rgb(io.BytesIO(content), place)
    except BadImage as error:
        return {**none, **facts, "problem": str(error)}
    damaged, suspicious = examine(content)
    if damaged:
        return {**none, **facts, "problem": f"{place}: {damaged}"}
    facts |= {"width": image.width, "height": image.height, "mode": image.info["mode"]}
    return {**none, **facts, "suspicious": suspicious}


def _pack(root: str, column: str, packed: Path, round_: int, rows: pd.DataFrame) -> pd.DataFrame:
    """Copy the images of one parquet file, one after another; later jobs read them in any order."""
    path = rows["path"].iloc[0]
    # Of the whole path: shards of two folders may have one name.
    mark = hashlib.sha256(path.encode()).hexdigest()[:12]
    name = f"{PurePosixPath(path).stem[:80]}-{mark}.{round_}.images"
    offsets, facts, offset = [], [], 0
    packed.mkdir(parents=True, exist_ok=True)
    with open(packed / name, "wb") as out:
        parquet = os.path.join(root, path)
        blobs = parquet_blobs(parquet, column, rows["offset"].tolist())
        for row, content in zip(rows["offset"], blobs, strict=True):
            fact = _facts(ImageLocation(f"{parquet} row {row}"), content)
            if not fact["problem"]:
                out.write(content)
            facts.append(fact)
            offsets.append(offset)
            offset += 0 if fact["problem"] else fact["bytes"]
    table = pd.DataFrame(facts, index=rows.index)
    return rows.assign(**table, path=name, offset=offsets)
