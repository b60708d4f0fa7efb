"""Modules that the type checker excuses exist, and are no more than they were."""

import tomllib

from projects import ROOT

LONGEST = {"strict_optional": 18, "ignore_errors": 30}


def test_excused_modules_exist_and_become_fewer():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    seen = set()
    for switch, longest in LONGEST.items():
        modules = next(s["module"] for s in settings["overrides"] if switch in s)
        assert modules == sorted(set(modules)) and len(modules) <= longest, switch
        for module in modules:
            file = ROOT / "workflow_scripts" / f"{module.replace('.', '/')}.py"
            assert file.exists(), f"{module} is excused in pyproject.toml and does not exist"
        assert not seen & set(modules)
        seen |= set(modules)
