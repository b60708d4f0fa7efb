"""A job that computes does without torch's compiler, and whoever compiles has it."""

import subprocess
import sys

STEP = """
import sys
import tokenscope.backbones.loading
import torch
layer = torch.nn.Linear(2, 1)
optimiser = torch.optim.AdamW(layer.parameters())
layer(torch.ones(1, 2)).sum().backward()
optimiser.step()
print("sympy" in sys.modules)
"""
COMPILES = """
doubled = torch.compile(lambda x: 2 * x, backend="eager")(torch.ones(2))
print(doubled.tolist(), type(torch._dynamo).__name__, torch._dynamo.utils.__name__)
"""


def test_the_compiler_waits_until_somebody_compiles():
    done = subprocess.run(
        [sys.executable, "-c", STEP + COMPILES], capture_output=True, text=True,
        env={"PYTHONPATH": "workflow_scripts", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.stdout.splitlines() == ["False", "[2.0, 2.0] module torch._dynamo.utils"], (
        done.stderr
    )
