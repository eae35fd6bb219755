"""The architecture as a test: who may import whom, what the package never imports, and what no file may contain.

docs/map.md tells the same in words. Imports inside functions count: a late import is still a dependency.
"""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "gradloom"

# Each row may import only rows above it, and its own. A name is a package or module directly below gradloom.
ROWS: tuple[tuple[str, ...], ...] = (
    ("errors", "dtypes", "devices", "options", "paths"),
    ("graph",),
    ("ops",),
    ("compiler", "runtime"),  # the native runner is made by the compiler, and programs hold the runtime's buffers
    ("reference",),
    (
        "checks",
        "entries",
        "deferred",
        "residuals",
        "tape",
        "modes",
        "printing",
        "tensor",
        "functions",
        "methods",
        "replay",
        "indexing",
        "random",
        "autodiff",
    ),
    ("nn", "optim", "data", "metrics", "io", "datasets", "amp"),
    ("train", "onnx"),
    ("keras", "learn"),
    ("vision", "text", "audio", "tabular", "collab"),
    ("tune", "compress", "explain", "privacy", "fairness", "export", "serve", "distributed"),
    ("testing",),
)
LEAVES = ROWS[-2]  # none of these imports another
# ops bind their gradients to the public functions at import of gradloom.functions: only inside a function
LATE = {("ops", "gradloom.functions")}
# models of ONNX are run by what users call; nobody below imports these
OVER_THE_FACE = ("gradloom.onnx.reading", "gradloom.onnx.backend")
LINES = 700

NEVER = {
    "torch", "scipy", "tensorflow", "jax", "jaxlib", "keras", "flax", "pickle", "cloudpickle", "dill",
}  # fmt: skip
ONLY_FROM = {"llvmlite": "gradloom/compiler/llvm/", "onnx": "gradloom/onnx/", "onnxruntime": "gradloom/onnx/"}


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of every module that a file imports, those for the type checker left out."""
    package = module_of(path) if path.name == "__init__.py" else module_of(path).rpartition(".")[0]
    nodes: list[ast.AST] = [ast.parse(path.read_text("utf-8"), str(path))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            nodes.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            # `from gradloom import nn` imports gradloom.nn; `from gradloom.nn import Linear` imports gradloom.nn
            yield from ((node.lineno, f"{base}.{alias.name}" if base == "gradloom" else base) for alias in node.names)
        nodes.extend(ast.iter_child_nodes(node))


def row_of(module: str) -> int | None:
    """The row of a module; None for gradloom itself and for the face's own modules, which may import everything."""
    parts = module.split(".")
    if len(parts) == 1:
        return None
    return next((number for number, names in enumerate(ROWS) if parts[1] in names), None)


def late_lines(path: Path) -> set[int]:
    """Lines of the imports inside functions."""
    return {
        node.lineno
        for function in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }


def face_modules() -> set[str]:
    """Modules directly below gradloom that stand in no row: parts of the face, above all rows."""
    names = {p.stem if p.is_file() else p.name for p in PACKAGE.iterdir() if p.suffix == ".py" or p.is_dir()}
    return names - {name for row in ROWS for name in row} - {"__init__", "__pycache__"}


def test_imports_point_upward() -> None:
    wrong = []
    face = face_modules()
    for path in sources():
        own = module_of(path)
        own_row = row_of(own)
        if own_row is None or own.startswith(OVER_THE_FACE):
            continue
        late = late_lines(path)
        for line, name in imports(path):
            parts = name.split(".")
            if parts[0] != "gradloom" or ((own.split(".")[1], name) in LATE and line in late):
                continue
            where = f"{path.relative_to(ROOT)}:{line}"
            row = row_of(name)
            if name.startswith(OVER_THE_FACE):
                wrong.append(f"{where} imports {name}, which is written over the face")
            elif row is None and (len(parts) == 1 or parts[1] in face):
                wrong.append(f"{where} imports {name}, which is part of the face above it")
            elif row is not None and row > own_row:
                wrong.append(f"{where} imports {name}, which is below it")
            elif parts[1] in LEAVES and row == own_row and parts[1] != own.split(".")[1]:
                wrong.append(f"{where} imports {name}: no leaf imports another")
    assert not wrong, "\n".join(wrong)


def test_what_the_package_never_imports() -> None:
    wrong = []
    for path in sources():
        relative = path.relative_to(ROOT).as_posix()
        for line, name in imports(path):
            top = name.split(".")[0]
            if top in NEVER:
                wrong.append(f"{relative}:{line} imports {name}")
            if top in ONLY_FROM and not relative.startswith(ONLY_FROM[top]):
                wrong.append(f"{relative}:{line} imports {name}, which only {ONLY_FROM[top]} may")
    assert not wrong, "\n".join(wrong)


def test_no_import_of_everything() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
    ]
    assert not wrong, "\n".join(wrong)


def test_every_module_says_what_it_is() -> None:
    bare = [
        str(path.relative_to(ROOT))
        for path in sources()
        if path.stat().st_size and not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert not bare, "\n".join(bare)


def test_files_stay_readable() -> None:
    lengths = {p.relative_to(ROOT).as_posix(): len(p.read_text("utf-8").splitlines()) for p in sources()}
    long = {name: n for name, n in lengths.items() if n > LINES}
    assert not long, long


# Absolute paths of somebody's machine, and package registries: a checkout must work anywhere.
MACHINE = re.compile(
    r"(?<![\w.])/(?:home|root|Users|work|farm|opt|mnt|srv)/[\w.-]+"
    r"|[A-Za-z]:\\\\?Users"
    r"|files\.pythonhosted|pypi\.org/simple|registry\.npmjs"
)


def tracked_texts() -> Iterator[tuple[str, str]]:
    try:
        listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    for name in listing.decode().split("\0"):
        path = ROOT / name
        if name and path.is_file() and path != Path(__file__):
            data = path.read_bytes()
            if b"\0" not in data[:8192]:
                yield name, data.decode("utf-8", "replace")


def test_no_paths_of_a_machine() -> None:
    wrong = [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in tracked_texts()
        for number, line in enumerate(text.splitlines(), 1)
        if MACHINE.search(line)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("line", "found"),
    [("cd /home/ann/gradloom", True), ("/opt/tools/bin", True), ("docs/home/x", False), ("/usr/share/datasets", False)],
)
def test_the_pattern_itself(line: str, found: bool) -> None:
    assert bool(MACHINE.search(line)) is found


def test_import_scanner_sees_all_spellings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    folder = tmp_path / "gradloom" / "graph"
    folder.mkdir(parents=True)
    path = folder / "x.py"
    path.write_text(
        "from typing import TYPE_CHECKING\n"
        "from gradloom import nn\n"
        "from gradloom.keras import layers\n"
        "from .y import z\n"
        "from ..train import loop\n"
        "def f():\n    import gradloom.optim.adam\n"
        "if TYPE_CHECKING:\n    from gradloom.io import a\n"
    )
    assert sorted(name for _, name in imports(path)) == [
        "gradloom.graph.y",
        "gradloom.keras",
        "gradloom.nn",
        "gradloom.optim.adam",
        "gradloom.train",
        "typing",
    ]


def test_test_files_have_names_of_their_own() -> None:
    """Most folders of tests are no packages: two files of one name cannot be collected together."""
    files = (ROOT / "tests").rglob("test_*.py")
    names = sorted(p.name for p in files if not (p.parent / "__init__.py").exists())
    assert len(names) == len(set(names)), {a for a, b in itertools.pairwise(names) if a == b}
