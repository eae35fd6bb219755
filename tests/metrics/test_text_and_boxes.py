"""Text metrics and detection: worked examples, brute force, and what must hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gradloom as gl
from gradloom import metrics as M
from gradloom.errors import ShapeError
from gradloom.metrics.text import edit_distance, longest_common, tokens_13a

CAT = ["the cat is on the mat"]
CATS = [["there is a cat on the mat", "a cat is on the mat"]]
TEXTS = ["the quick brown fox", "a man", "hello there world", "the the the"]
REFERENCES = [["the brown quick fox ran"], ["a man walks", "the man"], ["hello world"], ["the cat the hat"]]


def value(metric: M.Metric, *operands: object) -> float:
    metric.update(*operands)
    return metric.compute().item()


def test_bleu() -> None:
    # 5 of 6 words, 4 of 5 pairs, 3 of 4, 2 of 3; as long as a reference
    expected = (5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** 0.25
    assert value(M.BLEUScore(), CAT, CATS) == pytest.approx(expected)
    assert value(M.BLEUScore(), ["the cat"], CATS) == 0.0
    assert value(M.BLEUScore(n_gram=1), ["the cat"], [["the cat is"]]) == pytest.approx(math.exp(1 - 3 / 2))
    smooth = value(M.BLEUScore(smooth=True), CAT, CATS)
    assert smooth == pytest.approx((5 / 6 * 5 / 6 * 4 / 5 * 3 / 4) ** 0.25)


def test_tokens_of_wmt() -> None:
    assert tokens_13a('He said: "1,000.5%, yes."') == ["He", "said", ":", '"', "1,000.5", "%", ",", "yes", ".", '"']
    assert value(M.SacreBLEUScore(), ["It works, here."], [["It works , here ."]]) == pytest.approx(1.0)
    assert value(M.SacreBLEUScore(tokenize="none"), ["It works, here."], [["It works , here ."]]) == 0.0
    assert value(M.SacreBLEUScore(lowercase=True), ["A b c d"], [["a B c D"]]) == pytest.approx(1.0)
    assert value(M.SacreBLEUScore(tokenize="char"), ["abcd"], [["a bcd"]]) == pytest.approx(1.0)


def test_chrf() -> None:
    assert value(M.CHRFScore(), CAT, CATS) == pytest.approx(0.8640, abs=1e-4)
    assert value(M.CHRFScore(), ["same text"], ["same text"]) == pytest.approx(1.0, abs=0.4)
    assert value(M.CHRFScore(n_word_order=0), ["abcdefg"], ["abcdefg"]) == pytest.approx(1.0)
    assert value(M.CHRFScore(), ["xyz"], ["abc"]) == 0.0


def test_rouge() -> None:
    metric = M.ROUGEScore()
    metric.update("My name is John", "Is your name John")
    found = {k: v.item() for k, v in metric.compute().items()}
    assert found["rouge1_fmeasure"] == pytest.approx(0.75)
    assert found["rouge2_fmeasure"] == 0.0
    assert found["rougeL_fmeasure"] == pytest.approx(0.5)
    several = M.ROUGEScore("best", "rouge1")
    several.update(["a b"], [["c d", "a b"]])
    assert several.compute()["rouge1_recall"].item() == 1.0
    mean = M.ROUGEScore("avg", rouge_keys="rouge1")
    mean.update(["a b"], [["c d", "a b"]])
    assert mean.compute()["rouge1_recall"].item() == 0.5


def test_rouge_by_sentences() -> None:
    texts = ["the cat sat on the mat\nit was a grey cat\nthe dog ran",
             "One day it rained. We stayed in! Was it cold?", "alpha beta gamma delta"]  # fmt: skip
    wanted = [["a grey cat sat there\nthe dog ran off and the cat sat on it", "nobody sat on the mat"],
              ["It rained one day. It was cold. We stayed."], ["delta gamma\nbeta alpha beta"]]  # fmt: skip
    values = {"best": (0.662634, 0.688095, 0.644444), "avg": (0.617867, 0.616667, 0.666667)}  # TorchMetrics 1.9
    for accumulate, expected in values.items():
        metric = M.ROUGEScore(accumulate, ("rougeLsum", "rouge2"))
        metric.update(texts, wanted)
        found = metric.compute()
        parts = [found[f"rougeLsum_{part}"].item() for part in ("fmeasure", "precision", "recall")]
        assert parts == pytest.approx(expected, abs=1e-6)
    own = M.ROUGEScore(rouge_keys="rouge1", normalizer=str.upper, tokenizer=lambda text: text.split("-"))
    own.update(["a-b-c"], ["A-x-C"])
    assert own.compute()["rouge1_recall"].item() == pytest.approx(2 / 3)


def test_error_rates() -> None:
    preds = ["this is the prediction", "there is an other sample"]
    target = ["this is the reference", "there is another one"]
    assert value(M.WordErrorRate(), preds, target) == pytest.approx(0.5)
    assert value(M.CharErrorRate(), preds, target) == pytest.approx(0.3415, abs=1e-4)
    assert value(M.CharErrorRate(), "abc", "abc") == 0.0


@settings(max_examples=30, deadline=None)
@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_edits_and_common_subsequences(a: str, b: str) -> None:
    def edits(x: str, y: str) -> int:
        if not x or not y:
            return len(x) + len(y)
        return min(edits(x[1:], y) + 1, edits(x, y[1:]) + 1, edits(x[1:], y[1:]) + (x[0] != y[0]))

    def common(x: str, y: str) -> int:
        if not x or not y:
            return 0
        return common(x[1:], y[1:]) + 1 if x[0] == y[0] else max(common(x[1:], y), common(x, y[1:]))

    assert edit_distance(a, b) == edits(a, b)
    assert longest_common(a, b) == common(a, b)


MAKE = [M.BLEUScore, M.SacreBLEUScore, M.CHRFScore, M.WordErrorRate]


@pytest.mark.parametrize("make", MAKE)
def test_text_by_batches_and_merged(make: type) -> None:
    whole = value(make(), TEXTS, REFERENCES)
    a, b = make(), make()
    a.update(TEXTS[:1], REFERENCES[:1])
    b.update(TEXTS[1:3], REFERENCES[1:3])
    a.merge_state(b)
    a.update(TEXTS[3:], REFERENCES[3:])
    assert a.compute().item() == pytest.approx(whole)
    with pytest.raises(ShapeError, match="texts"):
        a.update(TEXTS, REFERENCES[:2])


def test_perplexity() -> None:
    rng = np.random.default_rng(0)
    scores, tokens = rng.normal(size=(2, 5, 7)).astype(np.float32), rng.integers(0, 7, (2, 5))
    tokens[0, :2] = -100
    metric = M.Perplexity(ignore_index=-100)
    for k in range(2):
        metric.update(gl.tensor(scores[k : k + 1]), gl.tensor(tokens[k : k + 1]))
    loss = torch.nn.functional.cross_entropy(torch.tensor(scores).transpose(1, 2), torch.tensor(tokens))
    assert metric.compute().item() == pytest.approx(math.exp(loss.item()), rel=1e-5)


# -- detection -----------------------------------------------------------------------------------------------
def image(boxes: list, labels: list, scores: list | None = None, **more: list) -> dict:
    out = {"boxes": np.array(boxes, float).reshape(-1, 4), "labels": np.array(labels, np.int64)}
    if scores is not None:
        out["scores"] = np.array(scores, float)
    return {k: gl.tensor(v) for k, v in {**out, **{k: np.array(v) for k, v in more.items()}}.items()}


def detection(preds: list, target: list, **options: object) -> dict[str, float]:
    metric = M.MeanAveragePrecision(**options)
    for p, t in zip(preds, target):
        metric.update([p], [t])
    return {k: v.item() for k, v in metric.compute().items() if v.numel() == 1}


def test_one_box() -> None:
    # the overlap is 0.775: right at six of the ten thresholds
    found = detection([image([[258, 41, 606, 285]], [0], [0.536])], [image([[214, 41, 562, 285]], [0])])
    assert found["map"] == pytest.approx(0.6) and found["map_50"] == 1.0 and found["map_75"] == 1.0
    assert found["map_large"] == pytest.approx(0.6) and found["map_small"] == -1.0
    assert found["mar_100"] == pytest.approx(0.6)


def test_false_positives_ranks_and_recall() -> None:
    """Three wanted, found at ranks 1 and 3 of four: precision 1 up to recall 1/3, 2/3 up to 2/3."""
    wanted = [[0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 60, 60]]
    found = [wanted[0], [100, 100, 110, 110], wanted[1], [200, 200, 210, 210]]
    values = detection([image(found, [1] * 4, [0.9, 0.8, 0.7, 0.6])], [image(wanted, [1] * 3)])
    expected = (34 * 1.0 + 33 * 2 / 3) / 101
    assert values["map"] == pytest.approx(expected) and values["mar_100"] == pytest.approx(2 / 3)
    assert values["mar_1"] == pytest.approx(1 / 3)


def test_a_box_counts_once_and_crowds_do_not_count() -> None:
    twice = detection([image([[0, 0, 9, 9]] * 2, [0, 0], [0.9, 0.8])], [image([[0, 0, 9, 9]], [0])])
    assert twice["map"] == 1.0
    crowd = detection(
        [image([[0, 0, 5, 5], [1, 1, 6, 6]], [0, 0], [0.9, 0.8])],
        [image([[0, 0, 20, 20], [0, 0, 5, 5]], [0, 0], iscrowd=[1, 0])],
    )
    assert crowd["map"] == 1.0


@pytest.mark.parametrize("form", ["xywh", "cxcywh"])
def test_forms_of_boxes(form: str) -> None:
    rng = np.random.default_rng(3)
    xyxy = rng.uniform(0, 50, (6, 4))
    xyxy[:, 2:] = xyxy[:, :2] + rng.uniform(5, 60, (6, 2))
    size = xyxy[:, 2:] - xyxy[:, :2]
    other = np.concatenate([xyxy[:, :2] if form == "xywh" else xyxy[:, :2] + size / 2, size], 1)
    shift = np.array([2.0, 1.0, 2.0, 1.0]), np.array([2.0, 1.0, 0.0, 0.0])
    results = []
    for boxes, moved, name in ((xyxy, shift[0], "xyxy"), (other, shift[1], form)):
        p = image(boxes + moved, [0, 0, 1, 1, 2, 2], list(rng.permutation(6) / 6 * 0 + np.arange(6) / 6))
        results.append(detection([p], [image(boxes, [0, 1, 1, 1, 2, 2])], box_format=name))
    assert results[0] == pytest.approx(results[1])


def test_images_one_by_one_together_merged_and_empty() -> None:
    rng = np.random.default_rng(6)
    preds, target = [], []
    for k in range(5):
        count = k
        boxes = rng.uniform(0, 40, (count, 4))
        boxes[:, 2:] = boxes[:, :2] + rng.uniform(5, 60, (count, 2))
        noise = rng.normal(size=(count, 4))
        preds.append(image(boxes + noise, rng.integers(0, 2, count), rng.random(count)))
        target.append(image(boxes, rng.integers(0, 2, count)))
    one = detection(preds, target)
    metric, other = M.MeanAveragePrecision(class_metrics=True), M.MeanAveragePrecision()
    metric.update(preds[:3], target[:3])
    other.update(preds[3:], target[3:])
    metric.merge_state(other)
    together = metric.compute()
    assert {k: together[k].item() for k in one if k in together} == pytest.approx(one)
    assert tuple(together["map_per_class"].shape) == (2,)
    assert M.MeanAveragePrecision().compute()["map"].item() == -1.0
    with pytest.raises(ShapeError, match="scores has 1"):
        metric.update([image([[0, 0, 1, 1]] * 2, [0, 0], [0.5])], [image([], [])])
