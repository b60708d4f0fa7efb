"""A store as one safetensors file, and back.

    python workflow_scripts/convert.py results/demo/tokens.zarr/.../0000 tokens.safetensors
    python workflow_scripts/convert.py tokens.safetensors copy.zarr

What is lost on neither way: arrays, dimensions, units, coordinates, attributes (config/stores.md).
The whole store is held in memory.
"""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from tokenscope.errors import StudyError
from tokenscope.stores.receipts import fingerprint
from tokenscope.stores.zarr_store import StoreWriter, Variable, open_store

KEY = "tokenscope"


def main(source, target):
    """Convert a store to a safetensors file, or such a file to a store.

    Args:
        source: folder of a store, or file.
        target: file or folder that does not exist yet.

    Raises:
        StudyError: the source is damaged or neither of the two; the target exists.
    """
    if Path(target).exists():
        raise StudyError(f"{target}: exists already; name another place")
    to_safetensors(source, target) if Path(source).is_dir() else to_store(source, target)


def to_safetensors(store, file):
    """Write one file with all arrays of a store, each compared with its checksum."""
    data = open_store(store).load()
    tensors, arrays = {}, {}
    for name, variable in data.variables.items():
        text = variable.dtype.kind in "UTO"
        chunk = (variable.encoding.get("chunks") or variable.shape or [0])[0]
        arrays[name] = {
            "dims": variable.dims, "attrs": variable.attrs, "chunk": chunk,
            "coordinate": name in data.coords,
            "compressed": name not in data.coords and bool(variable.encoding.get("compressors")),
        }  # fmt: skip
        if text:
            arrays[name]["values"] = variable.values.tolist()
        else:
            tensors[name] = np.ascontiguousarray(variable.values)
    facts = {"attrs": data.attrs, "arrays": arrays}
    aside = Path(f"{file}.partial")
    save_file(tensors, aside, {KEY: json.dumps(facts)})
    aside.replace(file)


def to_store(file, store):
    """Write the store that a file was made of."""
    try:
        with safe_open(file, "np") as handle:
            facts = json.loads((handle.metadata() or {})[KEY])
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise StudyError(
            f"{file}: is no store, nor a safetensors file of one ({str(error).splitlines()[0]})"
        ) from None
    arrays, coords, variables = facts["arrays"], {}, {}
    for name, fact in arrays.items():
        if fact["coordinate"]:
            values = np.array(fact["values"], str) if "values" in fact else tensors[name]
            coords[name] = tuple(fact["dims"]), values
        else:
            shape, dtype = tensors[name].shape[1:], str(tensors[name].dtype)
            variables[name] = Variable(
                tuple(fact["dims"][1:]), shape, dtype, fact["attrs"], fact["compressed"]
            )
    first = next(iter(variables))
    writer = StoreWriter(
        store, Path(f"{store}.partial"), variables, len(tensors[first]), arrays[first]["chunk"],
        fingerprint(**facts),
    )  # fmt: skip
    for start, stop in writer.missing():
        writer.write(start, {name: tensors[name][start:stop] for name in variables})
    writer.publish(coords, facts["attrs"])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("python workflow_scripts/convert.py <store or file> <new file or store>")
    try:
        main(sys.argv[1], sys.argv[2])
    except StudyError as error:
        sys.exit(f"error: {error}")
