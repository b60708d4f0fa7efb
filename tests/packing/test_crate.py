"""The metadata of a packed study, by what RO-Crate 1.1 requires (its sections are named)."""

import json
import re
import tarfile

import fetch  # programs, not of the library
import pack
import pytest

BACKBONES = """family,size,registers,timm_id,origin,weights_sha256,host,commit,config,torch,numpy
a,b,r0,vit_tiny,folder,{one},n1; n2,abc; abd,demo.yaml sha256:1,2.15.0,2.4.6
a,b,r4,vit_tiny,trained,{two},n1,abc,demo.yaml sha256:1,2.15.0,2.4.6
"""
ROOT = "ro-crate-metadata.json"


def of(archive):
    """The metadata that an archive holds."""
    with tarfile.open(archive) as tar:
        return json.loads(tar.extractfile(f"results/mine/{ROOT}").read())


@pytest.fixture
def metadata(cluster):
    tables = cluster / "results/mine/tables"
    table = BACKBONES.format(one="1" * 64, two="2" * 64)
    (tables / "backbones.csv").write_text(table)
    (tables / "bank.csv").write_text("\n".join(table.splitlines()[:2]).replace("abc; abd", "bcd"))
    (tables / "claim4.csv").write_text("x\n")
    return of(pack.main("mine.yaml"))


def by_id(metadata):
    return {entity["@id"]: entity for entity in metadata["@graph"]}


def each(value):
    """The values of a property: one stands without a list."""
    return value if isinstance(value, list) else [value]


def references(value):
    """All {"@id": ...} within the values of an entity."""
    if isinstance(value, dict):
        if set(value) == {"@id"}:
            yield value["@id"]
        else:
            for below in value.values():
                yield from references(below)
    elif isinstance(value, list):
        for below in value:
            yield from references(below)


def test_structure_of_the_file(metadata):
    """RO-Crate Structure, Root Data Entity: a flat graph, the descriptor, the root."""
    assert metadata["@context"][0] == "https://w3id.org/ro/crate/1.1/context"
    graph, known = metadata["@graph"], by_id(metadata)
    assert len(known) == len(graph)  # each @id once
    for entity in graph:  # flattened: each has a type, and no entity stands within another
        assert entity["@id"] and entity["@type"]
        nested = [v for k, v in entity.items() if isinstance(v, dict) and set(v) != {"@id"}]
        assert nested == []
    descriptor = known[ROOT]
    assert descriptor["@type"] == "CreativeWork" and descriptor["about"] == {"@id": "./"}
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    root = known["./"]
    assert root["@type"] == "Dataset" and root["name"] and root["description"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", root["datePublished"])
    assert known[root["license"]["@id"]]["@type"] == "CreativeWork"
    assert known[root["publisher"]["@id"]]["@type"] == "Organization"


def test_everything_that_is_pointed_to_is_described(metadata):
    known = by_id(metadata)
    outside = "https://w3id.org/ro/crate/1.1"
    pointed = {name for entity in metadata["@graph"] for name in references(entity)} - {outside}
    assert pointed <= set(known)
    # Data Entities: files are parts of the root, with relative paths that stay below it.
    files = {name for name, entity in known.items() if entity["@type"] == "File"}
    assert {part["@id"] for part in known["./"]["hasPart"]} == files
    assert not [name for name in files if name.startswith("/") or ".." in name or ":" in name]
    # Nothing stands alone: all is reached from the descriptor.
    reached, todo = set(), [ROOT]
    while todo:
        name = todo.pop()
        if name in known and name not in reached:
            reached.add(name)
            todo += references(known[name])
    assert reached == set(known)


def test_each_file_with_the_checksum_of_its_bytes(metadata, cluster, laptop):
    listed = fetch.fetch(str(cluster / "results/mine/mine.tar.gz"), "mine")["files"]
    files = [entity for entity in metadata["@graph"] if entity["@type"] == "File"]
    assert len(files) == 6
    for entity in files:
        entry = listed[f"results/mine/{entity['@id']}"]
        assert (entity["sha256"], entity["contentSize"]) == (entry["sha256"], str(entry["bytes"]))
        assert (laptop / "results/mine" / entity["@id"]).is_file()


def test_by_which_commit_config_and_weights_each_result_was_measured(metadata):
    known = by_id(metadata)
    actions = {name: one for name, one in known.items() if one["@type"] == "CreateAction"}
    assert set(actions) == {"#measured-backbones", "#measured-bank"}
    results = [part["@id"] for one in actions.values() for part in each(one["result"])]
    assert sorted(results) == sorted(part["@id"] for part in known["./"]["hasPart"])
    claims, bank = actions["#measured-backbones"], actions["#measured-bank"]
    assert [part["@id"] for part in each(bank["result"])] == [
        "tables/bank.csv",
        "tables/claim4.csv",
    ]

    def of_type(action, key, kind):
        return [known[o["@id"]] for o in each(action[key]) if known[o["@id"]]["@type"] == kind]

    code = of_type(claims, "instrument", "SoftwareSourceCode")
    assert [one["identifier"] for one in code] == ["abc", "abd"]
    software = of_type(claims, "instrument", "SoftwareApplication")
    assert [(s["name"], s["version"]) for s in software] == [
        ("torch", "2.15.0"), ("numpy", "2.4.6"),
    ]  # fmt: skip
    weights = [o for o in of_type(claims, "object", "CreativeWork") if "sha256" in o]
    assert [one["sha256"] for one in weights] == ["1" * 64, "2" * 64]
    assert claims["description"] == "config demo.yaml sha256:1; hosts n1, n2"
    assert [c["identifier"] for c in of_type(bank, "instrument", "SoftwareSourceCode")] == ["bcd"]


def test_results_without_a_table_of_weights_are_described_as_far_as_known(packed):
    metadata = of(packed)
    assert "mentions" not in by_id(metadata)["./"]
    test_structure_of_the_file(metadata)
