"""Every Python program in the README and in docs/ runs, page by page, in the order in which it is told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import gradloom as gl
from gradloom.compiler.pipeline import PASSES
from gradloom.datasets import fashion_mnist

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(#[^)]*)?\)")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "examples" / "README.md"])
FEW = 256  # images are enough to see that a program runs


def programs(page: Path) -> list[str]:
    """The programs of a page, each behind as many empty lines as put its errors where it stands."""
    text = page.read_text("utf-8")
    return ["\n" * text[: m.start(1)].count("\n") + m.group(1) for m in PROGRAM.finditer(text)]


@pytest.fixture
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fashion-MNIST with its first images alone."""
    whole = fashion_mnist.load_data

    def load_data() -> Any:
        return tuple((x[:FEW], y[:FEW]) for x, y in whole())

    monkeypatch.setattr(fashion_mnist, "load_data", load_data)


def given() -> dict[str, Any]:
    """Names that pages use without making them, since the text around says what they are."""
    batches = [(gl.rand(8, 784), gl.zeros(8, dtype=gl.int64))]
    return {"__name__": "page", "gradloom": gl, "loader": batches}


@pytest.mark.parametrize("page", [p for p in PAGES if programs(p)], ids=lambda p: p.name)
def test_programs_run(page: Path, few_images: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # some write files
    names = given()
    for source in programs(page):
        exec(compile(source, str(page), "exec"), names)


def test_readmes_show_the_same_programs() -> None:
    def code(page: str) -> list[str]:
        return [re.sub(r"\s*#.*", "", p).strip() for p in programs(ROOT / page)]

    assert code("README.md") == code("README.zh.md")


def test_the_map_tells_all_passes_in_order() -> None:
    part = (ROOT / "docs" / "map.md").read_text("utf-8").partition("## The passes")[2].partition("## Where")[0]
    told = [n for n in re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE) if n != "fold_norms"]  # inference only
    assert told == list(dict.fromkeys(p.__name__ for p in PASSES))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, _ in LINK.findall(page.read_text("utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
