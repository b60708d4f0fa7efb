"""Folders of Zarr groups as one hierarchy, which xarray opens as a tree."""

import json
from pathlib import Path

from tokenscope.stores.receipts import PROTOCOL, write_text


def write_group(path: Path) -> None:
    """Make a folder of groups a group itself."""
    write_text(path / "zarr.json", json.dumps({"zarr_format": 3, "node_type": "group"}))


def consolidated(root: Path, groups: list[Path]) -> dict:
    """Metadata of a hierarchy whose groups are known, for one ``zarr.json`` at its root.

    Built from the list of groups, so that neither unfinished work nor strangers enter it.
    """
    metadata: dict[str, dict] = {}
    for group in groups:
        place = group.relative_to(root)
        for parent in [*place.parents][-2::-1]:
            empty = {"zarr_format": 3, "node_type": "group", "attributes": {}}
            metadata.setdefault(parent.as_posix(), empty)
        for file in sorted(group.rglob("zarr.json")):
            name = file.parent.relative_to(root).as_posix()
            metadata[name] = json.loads(file.read_text())
    return {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {"protocol": PROTOCOL},
        "consolidated_metadata": {
            "kind": "inline", "must_understand": False, "metadata": dict(sorted(metadata.items())),
        },
    }  # fmt: skip
