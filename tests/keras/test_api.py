"""Every public name of Keras 3.15 (`keras_api.txt`) is there, absent with a reason, or listed as a gap."""

from __future__ import annotations

from pathlib import Path

import pytest
from api_gaps import GAPS

from gradloom import keras
from gradloom.keras.absent import REASONS, AbsentError, reason

NAMES = Path(__file__).with_name("keras_api.txt").read_text().split()


def found(name):
    value = keras
    for part in name.split("."):
        value = getattr(value, part)
    return value


def test_what_is_missing_is_listed_and_nothing_else():
    missing = []
    for name in NAMES:
        try:
            found(name)
        except AttributeError:
            if reason(name) is None:
                missing.append(name)
    assert sorted(missing) == sorted(GAPS)


def test_what_has_a_reason_is_absent():
    for name in NAMES:
        if reason(name) is not None:
            with pytest.raises(AttributeError):
                found(name)


@pytest.mark.parametrize("name", ["layers.JaxLayer", "distribution", "quantizers", "utils.Config", "remat",
                                  "callbacks.OrbaxCheckpoint", "datasets.mnist"])  # fmt: skip
def test_the_error_says_why(name):
    with pytest.raises(AbsentError, match=f"keras.{name} is deliberately absent") as said:
        found(name)
    assert said.value.hint == reason(name) and not hasattr(keras, "distribution")


def test_reasons_are_of_names_that_keras_has():
    for pattern in REASONS:
        assert any(reason(n) == REASONS[pattern] for n in NAMES), pattern
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        found("layers.nothing")
