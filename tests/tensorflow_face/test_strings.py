"""`tf.strings` on single texts, lists and arrays, against what Python's own methods give."""

from __future__ import annotations

import numpy as np
import pytest

import gradloom as tf

TEXTS = np.array([["One <br /> two", " Three! "], ["", "żółw"]], dtype=object)

CASES = {
    "lower": (lambda x: tf.strings.lower(x), str.lower),
    "upper": (lambda x: tf.strings.upper(x), str.upper),
    "strip": (lambda x: tf.strings.strip(x), str.strip),
    "length": (lambda x: tf.strings.length(x), lambda t: len(t.encode())),
    "characters": (lambda x: tf.strings.length(x, unit="UTF8_CHAR"), len),
    "replace": (lambda x: tf.strings.regex_replace(x, "[eo]", "_"), lambda t: t.replace("e", "_").replace("o", "_")),
    "first": (lambda x: tf.strings.regex_replace(x, " ", "", False), lambda t: t.replace(" ", "", 1)),
    "match": (lambda x: tf.strings.regex_full_match(x, "[a-zA-Z !]+"), lambda t: t in (" Three! ", "Hello one ")),
    "split": (lambda x: tf.strings.split(x), str.split),
    "split at": (lambda x: tf.strings.split(x, "e", 1), lambda t: t.split("e", 1)),
    "join": (lambda x: tf.strings.join([x, "-", x], "+"), lambda t: f"{t}+-+{t}"),
}


@pytest.mark.parametrize("name", CASES)
def test_texts_one_by_one_and_in_arrays(name):
    function, expected = CASES[name]
    assert function("Hello one ") == expected("Hello one ")
    for given in (TEXTS, TEXTS.tolist(), TEXTS.astype(str)):
        found = function(given)
        assert found.shape == (2, 2)
        assert found.tolist() == [[expected(t) for t in row] for row in TEXTS]


def test_bytes_are_texts_and_numbers_are_not():
    assert tf.strings.lower(b"AB") == "ab" and tf.strings.join([b"a", "b"]) == "ab"
    assert tf.strings.lower(np.zeros((0,), object)).shape == (0,)
    assert tf.strings.length(TEXTS).dtype == np.int32
    with pytest.raises(TypeError, match="expected texts, int was given"):
        tf.strings.lower([1, 2])
    with pytest.raises(ValueError, match="unit='WORD'"):
        tf.strings.length("a", unit="WORD")
