"""The machine for pickles agrees with Python's own on plain data of any kind, and files keep any nested value."""

from __future__ import annotations

import io
import pickle
from collections import Counter, OrderedDict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gradloom as gl
from gradloom.errors import FileError, GradloomError
from gradloom.io.pickled import Function, read_pickle
from gradloom.io.torch_files import _names

TABLE = _names({})
keys = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary())
leaves = st.one_of(keys, st.floats(), st.complex_numbers(allow_nan=False), st.frozensets(st.integers(), max_size=3))
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
        st.dictionaries(st.text(), inner, max_size=3).map(OrderedDict),
        st.sets(st.integers(), max_size=4),
    ),
    max_leaves=20,
)
quick = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def canon(x):
    """A value as something that can be compared, types, signs of zero and NaN included; sets have no order."""
    if isinstance(x, set | frozenset):
        return type(x), sorted(map(repr, x))
    if isinstance(x, dict):
        return type(x), [(canon(k), canon(v)) for k, v in x.items()]
    return (type(x), [canon(v) for v in x]) if isinstance(x, list | tuple) else repr(x)


@quick
@given(values, st.integers(0, 5))
def test_reads_what_python_writes(value, protocol):
    data = pickle.dumps(value, protocol)
    found, end = read_pickle(data, TABLE)
    assert end == len(data)
    assert canon(found) == canon(pickle.loads(data))


@quick
@given(values)
def test_files_keep_any_value(value):
    memory = io.BytesIO()
    gl.save({"value": value, "t": gl.ones(2)}, memory)
    memory.seek(0)
    assert canon(gl.load(memory)["value"]) == canon(value)


@quick
@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_our_errors(data):
    try:
        read_pickle(b"\x80\x02" + data + b".", TABLE)
    except GradloomError:
        pass
    try:
        gl.load(io.BytesIO(data))
    except GradloomError:
        pass


@pytest.mark.parametrize("protocol", range(6))
def test_shared_and_cyclic_values(protocol):
    shared = [1]
    found, _ = read_pickle(pickle.dumps({"a": shared, "b": (shared, shared)}, protocol), TABLE)
    assert found["a"] is found["b"][0] is found["b"][1]
    loop: list = []
    loop.append(loop)
    found, _ = read_pickle(pickle.dumps(loop, protocol), TABLE)
    assert found[0] is found
    assert read_pickle(pickle.dumps(Counter("aab"), protocol), TABLE)[0] == Counter("aab")


@pytest.mark.parametrize("protocol", range(6))
def test_names_outside_the_table(protocol):
    for value in (print, io.BytesIO, Function, ValueError("x"), range(3)):
        with pytest.raises(FileError):
            read_pickle(pickle.dumps(value, protocol), TABLE)


def test_depth():
    value: list = []
    for _ in range(150):
        value = [value]
    assert read_pickle(pickle.dumps(value), TABLE)[0]
    for _ in range(100):
        value = [value]
    with pytest.raises(FileError, match="200 levels"):
        read_pickle(pickle.dumps(value), TABLE)
