"""Who imports whom: downwards only, in the order that is written here, and in no circle."""
import ast
import functools
import pathlib
import subprocess
import sys

import pytest

from ls_jax.studies import registry

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Each may import those that come after it.
ORDER = ("__main__", "main", "ls_jax", "modes", "config", "report", "studies", "training", "models", "data", "workdir",
         "devices",
         "losses", "checked", "cache", "signals", "terminal", "ranges", "fields", "paper", "errors", "version")

# A study's modules of these names may import what ORDER lets them; `measure` and all others are mathematics over
# arrays.
OF_A_RUN = {"studied", "held_out", "markup", "explorer", "fields", "collect", "records", "claims", "answer", "tables",
            "plots", "section"}
MATHEMATICS = {"numpy", "scipy", "jaxtyping"}
BESIDE = {"ls_jax.studies.translation.bleu": {"sacrebleu"},  # inside a function
          "ls_jax.studies.common.blas": {"threadpoolctl"},
          "ls_jax.studies.translation.measure": {"ls_jax.studies.calibration.binning"}}
DRAWN = {"ls_jax.studies.common.plots", "ls_jax.studies.common.tables"}  # and what they need is slow to import


@functools.cache
def modules():
    """{module: its file}; a package is its __init__.py."""
    files = sorted((ROOT / "ls_jax").rglob("*.py"))
    names = (file.relative_to(ROOT).with_suffix("").parts for file in files)
    return {".".join(parts[:-1] if parts[-1] == "__init__" else parts): file for parts, file in zip(names, files)}


@functools.cache
def imports():
    """{module: what it imports, inside functions too}; modules of ls_jax by their names, others by their packages'."""
    return {name: imported(ast.parse(file.read_text(encoding="utf-8")), modules()) - {name}
            for name, file in modules().items()}


def imported(tree, known):
    """The modules that a syntax tree imports; what runs only as a command of its own (`if __name__ == "__main__"`) is
    left out."""
    found = set()
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'":
            continue
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import: {ast.unparse(node)}"
            found |= {whole if (whole := f"{node.module}.{each.name}") in known else node.module for each in node.names}
        elif isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        waiting += ast.iter_child_nodes(node)
    return {name if name.partition(".")[0] == "ls_jax" else name.partition(".")[0] for name in found}


def ours(names):
    return {name for name in names if name.partition(".")[0] == "ls_jax"}


def upward(order, place):
    """Lines "who -> whom" of the imports that do not go down in an order of what `place` makes of modules; None: not of
    it."""
    lines = []
    for name, found in imports().items():
        for other in ours(found):
            above, below = place(name), place(other)
            if above and below and above != below:
                without = sorted({above, below} - set(order))
                assert not without, f"{name} -> {other}: give {without} a place in the order"
                if order.index(above) > order.index(below):
                    lines.append(f"{name} -> {other}")
    return lines


def package(name):
    """`training` of ls_jax.training.step; `ls_jax` of the package's own __init__."""
    return (name.split(".") + ["ls_jax"])[1]


def study(name):
    """`projection` of ls_jax.studies.projection.plots; None of what is no study's."""
    parts = name.split(".")
    return parts[2] if len(parts) > 2 and parts[1] == "studies" else None


def order_of_studies():
    """The registry knows them all by name, and each may know those above it in STUDIES; the folders that are not there
    are mathematics that several share."""
    listed = [each.name for each in registry.STUDIES]
    return ["registry", *reversed(listed), *sorted({study(name)
                                                    for name in modules()} - {None, "registry", "common", *listed}),
            "common"]


def test_an_import_is_seen_wherever_it_stands():
    tree = ast.parse("import ls_jax.a.b\ndef f():\n    from ls_jax.a import c, d\n    import os.path\n"
                     "if __name__ == '__main__':\n    from ls_jax.main import start\n")
    assert imported(tree, {"ls_jax.a.c"}) == {"ls_jax.a.b", "ls_jax.a.c", "ls_jax.a", "os"}


def test_packages_import_downwards():
    assert upward(ORDER, package) == []


def test_studies_import_downwards():
    assert upward(order_of_studies(), study) == []


def test_a_study_of_a_run_is_in_the_list():
    folders = {study(name) for name in modules() if name.count(".") == 3 and name.rpartition(".")[2] in OF_A_RUN}
    assert folders - {None, "common"} == {each.name for each in registry.STUDIES}


def test_no_module_is_in_a_circle():
    left = {name: ours(found) & modules().keys() for name, found in imports().items()}
    while free := {name for name, found in left.items() if not found & left.keys()}:
        left = {name: found for name, found in left.items() if name not in free}
    assert left == {}


@pytest.mark.parametrize("name", sorted(name for name in modules() if study(name) not in (None, "registry")
                                        and name.rpartition(".")[2] not in OF_A_RUN))
def test_mathematics_of_studies_needs_arrays_alone(name):
    folder = ".".join(name.split(".")[:3])
    own = {each for each in modules() if each.startswith(f"{folder}.") and each.rpartition(".")[2] not in OF_A_RUN}
    common = {each for each in modules() if each.startswith("ls_jax.studies.common.")} - DRAWN
    allowed = own | common | MATHEMATICS | sys.stdlib_module_names | {"ls_jax.errors",
                                                                      "ls_jax.checked"} | BESIDE.get(name, set())
    assert imports()[name] - allowed == set()


def test_studies_start_without_jax_and_matplotlib():
    """The list, and of every study the package, whose functions are for any framework's arrays."""
    packages = [name for name in modules() if study(name) and name.count(".") == 2 and study(name) != "common"]
    program = f"import sys, {', '.join(packages)}; print(sorted({{'jax', 'flax', 'matplotlib'}} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
