"""Folders and series as pipelines of batches, with the methods of `tf.data`."""

from __future__ import annotations

import numpy as np
import pytest

from gradloom import keras
from gradloom.keras import layers
from gradloom.keras.utils import text_dataset_from_directory, timeseries_dataset_from_array


@pytest.fixture
def folder(tmp_path):
    for kind, word in (("neg", "bad"), ("pos", "good")):
        (tmp_path / kind).mkdir()
        for k in range(10):
            (tmp_path / kind / f"{k}.txt").write_text(f"{word} film {k}")
    return tmp_path


def words(dataset):
    return [text for texts, _ in dataset for text in texts]


def test_a_folder_of_texts_is_a_pipeline(folder):
    found = text_dataset_from_directory(folder, batch_size=4, seed=3)
    assert found.class_names == ["neg", "pos"] and len(found) == found.cardinality() == 5
    first, second = words(found), words(found)
    assert sorted(first) == sorted(second) and len(set(first)) == 20 and first != second
    same = text_dataset_from_directory(folder, batch_size=4, seed=3)
    assert words(same) == first
    for texts, labels in found.take(1):
        assert texts.numpy()[0] in first and labels.shape == (4,)
    plain = text_dataset_from_directory(folder, batch_size=4, shuffle=False)
    assert words(plain) == words(plain) and words(plain)[0] == "bad film 0"
    single = list(text_dataset_from_directory(folder, batch_size=None, shuffle=False).take(1))
    assert single[0][0] == "bad film 0" and int(single[0][1]) == 0


def test_parts_do_not_overlap_and_texts_are_learnt(folder):
    train, held = text_dataset_from_directory(folder, validation_split=0.2, subset="both", seed=1, batch_size=8)
    assert len(words(train)) == 16 and not set(words(train)) & set(words(held))
    vectorize = layers.TextVectorization(output_mode="multi_hot", max_tokens=20)
    vectorize.adapt(train.map(lambda x, y: x))
    ready = train.map(lambda x, y: (vectorize(x), y)).cache().prefetch(2)
    model = keras.Sequential([layers.Dense(1, activation="sigmoid", kernel_initializer="zeros")])
    model.compile(keras.optimizers.Adam(0.1), loss="binary_crossentropy", metrics=["accuracy"])
    history = model.fit(ready, epochs=40, verbose=0, validation_data=held.map(lambda x, y: (vectorize(x), y)))
    assert history.history["val_accuracy"][-1] == 1.0


def test_windows_go_on_where_a_pass_was_left():
    data = timeseries_dataset_from_array(np.arange(20), np.arange(20), 4, batch_size=3, shuffle=True, seed=2)
    whole = [x.numpy().tolist() for x, _ in data]
    again = timeseries_dataset_from_array(np.arange(20), np.arange(20), 4, batch_size=3, shuffle=True, seed=2)
    passing = iter(again)
    assert [next(passing)[0].numpy().tolist() for _ in range(2)] == whole[:2]
    rest = timeseries_dataset_from_array(np.arange(20), np.arange(20), 4, batch_size=3, shuffle=True, seed=2)
    rest.load_state_dict(again.state_dict())
    assert [x.numpy().tolist() for x, _ in rest] == whole[2:]
