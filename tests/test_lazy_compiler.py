"""Starting a job imports no compiler; who asks for it has the real one."""

import subprocess
import sys

import pytest
from projects import ROOT


def run(code):
    """In a process of its own, as what is imported stays."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "workflow_scripts", capture_output=True, text=True
    )
    assert not done.returncode, done.stderr
    return done.stdout.split()


def test_what_jobs_import_leaves_it_out():
    assert run(
        "import tokenscope, sys, timm, torchvision.tv_tensors\n"
        "print('torch._dynamo' in sys.modules, len([f for f in sys.meta_path"
        " if type(f).__module__ == 'tokenscope.lazy_compiler']))"
    ) == ["False", "1"]


@pytest.mark.slow
def test_functions_that_were_decorated_meanwhile_work_and_so_does_the_compiler():
    assert run("""import tokenscope, timm, torch, torchvision
boxes = [torch.tensor([[0.0, 0, 4, 4]])]
pooled = torchvision.ops.roi_align(torch.ones(1, 3, 8, 8), boxes, 2)
print(tuple(pooled.shape), float(pooled.mean()))
model = timm.create_model("naflexvit_base_patch16_gap", depth=1, num_classes=3)
print(tuple(model(torch.randn(1, 3, 224, 224)).shape))
print(torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)).item())
print(torch._dynamo.utils.is_compile_supported("cpu"))
""") == ["(1,", "3,", "2,", "2)", "1.0", "(1,", "3)", "2.0", "True"]


def test_a_compiler_that_is_there_already_stays():
    assert run(
        "import torch._dynamo as real, tokenscope, timm, torch\n"
        "print(torch._dynamo is real, torch._dynamo.disable is real.disable)"
    ) == ["True", "True"]


def test_a_version_that_needs_more_of_it_gets_it(tmp_path):
    """What is wanted of the place holder and not there ends in the ordinary import."""
    package = tmp_path / "torchvision" / "ops"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("")
    (package / "__init__.py").write_text("")
    (package / "roi_align.py").write_text(
        "from torch._dynamo.utils import is_compile_supported, counters\n"
        "import torch._dynamo\ntorch._dynamo.allow_in_graph\n"
    )
    assert run(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import tokenscope, torchvision.ops.roi_align as one, torch\n"
        "print(one.__file__.startswith(sys.path[0]), one.counters is torch._dynamo.utils.counters)"
    ) == ["True", "True"]
