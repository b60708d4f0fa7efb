"""Model folders as `make diagnose MODEL=<folder>` reads them, and what a model computes in them."""

from pathlib import Path

import torch

from tokenscope.backbones.architecture_table import describe
from tokenscope.diagnosis import setup
from tokenscope.study import architecture, zoo


def row_of(folder, tmp_path, monkeypatch, classes=""):
    """The backbone of a folder, through the tables of a diagnosis and back."""
    monkeypatch.chdir(Path(__file__).parents[2])
    monkeypatch.setattr(architecture, "_ask_timm", lambda ids: [describe(i) for i in ids])
    model = setup.Model.of(str(folder))
    facts = setup.facts_of([model], str(tmp_path / "cache"))
    rows = setup.rows_of([model], facts)
    rows[0]["classes"] = classes
    setup.write_tables(tmp_path, rows, facts)
    (backbone,) = zoo.load([str(tmp_path / "backbones.csv")], ["*"], {}, str(tmp_path)).values()
    return backbone


def shaken(model, by=0.1):
    """A model in evaluation mode, its weights far from their tiny initial values."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=by)
    return model.eval()


def blocks_of(model, x):
    """Tokens after each block (image, block, token, width) by timm, prefix tokens first."""
    prefix = bool(model.num_prefix_tokens)
    states = model.forward_intermediates(
        x, norm=False, return_prefix_tokens=prefix, output_fmt="NLC", intermediates_only=True
    )
    return torch.stack([torch.cat((s[1], s[0]), 1) if prefix else s for s in states], 1)


def apart(seen, own):
    """Largest difference over the largest value."""
    assert seen.shape == own.shape
    return ((seen - own).abs().max() / own.abs().max()).item()
