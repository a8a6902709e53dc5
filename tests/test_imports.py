"""The layout of the package: imports go one way, every module says what it holds, and `self` has a type."""

import ast
import pathlib

import pytest
from helpers import compiled

import keras_motivation as km
from keras_motivation.interface import Pair

ROOT = pathlib.Path(km.__file__).parent
MODULES = {path.relative_to(ROOT): ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}
# What a package or module may import, lowest first.
MAY_IMPORT = {
    "_keras": (),
    "interface": (),
    "backend": ("_keras",),
    "conditions": (),
    "nesting": ("_keras", "backend"),
    "training": ("_keras", "interface", "backend", "conditions", "nesting"),
    "costs": ("_keras", "interface", "conditions", "nesting", "training"),
    "checkpoints": ("_keras", "interface", "backend", "nesting", "training"),
    "reports": ("interface", "conditions", "nesting"),
    "motivated_model": (
        *("_keras", "interface", "conditions", "nesting", "training", "costs", "checkpoints", "reports"),
    ),
    "__init__": ("conditions", "nesting", "training", "costs", "checkpoints", "reports", "motivated_model"),
}


def package_of(path):
    return path.parts[0].removesuffix(".py")


def imported(tree):
    """The packages that a module imports, also inside of functions; not what it imports for types alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        parts = [name.split(".") for name in names]
        yield from (name[1] for name in parts if name[0] == "keras_motivation" and name[1:])
        yield from imported(node)


def test_the_table_goes_one_way():
    order = list(MAY_IMPORT)
    assert all(order.index(low) < order.index(high) for high, lows in MAY_IMPORT.items() for low in lows)
    assert {package_of(path) for path in MODULES} == set(order)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_no_more_than_it_may(package):
    found = {name for path, tree in MODULES.items() if package_of(path) == package for name in imported(tree)}
    assert found - {package} <= set(MAY_IMPORT[package])


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_module_says_what_it_holds_and_types_its_self(path):
    assert ast.get_docstring(MODULES[path])
    arguments = [node for node in ast.walk(MODULES[path]) if isinstance(node, ast.arg) and node.arg in ("self", "cls")]
    assert not [node.lineno for node in arguments if node.annotation is not None]


def test_a_pair_has_what_its_interface_lists():
    """mypy takes the interface at its word, and the parts that use it too."""
    tree = next(node for node in ast.walk(MODULES[pathlib.Path("interface.py")]) if getattr(node, "name", "") == "Pair")
    names = [node.target.id if isinstance(node, ast.AnnAssign) else node.name for node in tree.body[1:]]
    assert len(names) > 40
    model = compiled()
    assert isinstance(model, Pair)
    assert [name for name in names if not hasattr(model, name)] == []
