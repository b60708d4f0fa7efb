"""A study that was never run, with results as a run would leave them: to be packed."""

STUDY = """study: mine
results: results/mine
backbones: ["a/b/r0"]
analyse: [scenes]
datasets: {scenes: {type: scenes, images: 10, seed: 1}}
"""
FILES = {
    "results/mine/tables/claim1.csv": "a,b\n1,2\n" * 500,
    "results/mine/figures/data/maps/scenes/a.nc": "pixels",
    "results/mine/receipts/sample/scenes.json": "{}",
}
