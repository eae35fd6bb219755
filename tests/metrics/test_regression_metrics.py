"""Regression, retrieval, segmentation and aggregation: against scikit-learn, SciPy, or their formulas."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

import gradloom as gl
from gradloom import metrics as M
from gradloom.errors import ShapeError

RNG = np.random.default_rng(8)
T = RNG.gamma(2.0, 2.0, 50)
P = T + RNG.normal(size=50) * 0.5
P[P < -0.9] = 0.1
T2, P2 = RNG.normal(size=(50, 3)), RNG.normal(size=(50, 3))


def fed(metric: M.Metric, *operands: np.ndarray, cuts: tuple = (7, 20, 21)) -> np.ndarray:
    for part in zip(*(np.split(x, list(cuts)) for x in operands)):
        metric.update(*(gl.tensor(x) for x in part))
    return metric.compute().numpy()


CASES = {
    "MeanSquaredError": sk.mean_squared_error,
    "MeanAbsoluteError": sk.mean_absolute_error,
    "RootMeanSquaredError": sk.root_mean_squared_error,
    "MeanAbsolutePercentageError": sk.mean_absolute_percentage_error,
    "MeanSquaredLogError": sk.mean_squared_log_error,
    "R2Score": sk.r2_score,
    "ExplainedVariance": sk.explained_variance_score,
    "PearsonCorrCoef": lambda t, p: scipy.stats.pearsonr(p, t)[0],
    "SpearmanCorrCoef": lambda t, p: scipy.stats.spearmanr(p, t)[0],
    "SymmetricMeanAbsolutePercentageError": lambda t, p: np.mean(2 * abs(p - t) / (abs(p) + abs(t))),
    "HuberError": lambda t, p: np.where(abs(p - t) <= 1, (p - t) ** 2 / 2, abs(p - t) - 0.5).mean(),
}


@pytest.mark.parametrize("name", CASES)
def test_values(name: str) -> None:
    np.testing.assert_allclose(fed(getattr(M, name)(), P, T), CASES[name](T, P), rtol=1e-9)


def test_spearman_with_ties() -> None:
    p, t = np.round(P), np.round(T)
    np.testing.assert_allclose(fed(M.SpearmanCorrCoef(), p, t), scipy.stats.spearmanr(p, t)[0], rtol=1e-9)


@pytest.mark.parametrize("kind", ["uniform_average", "variance_weighted", "raw_values"])
def test_several_outputs(kind: str) -> None:
    ours = fed(M.R2Score(num_outputs=3, multioutput=kind), P2, T2)
    np.testing.assert_allclose(ours, sk.r2_score(T2, P2, multioutput=kind), rtol=1e-9)
    ours = fed(M.ExplainedVariance(num_outputs=3, multioutput=kind), P2, T2)
    np.testing.assert_allclose(ours, sk.explained_variance_score(T2, P2, multioutput=kind), rtol=1e-9)
    ours = fed(M.PearsonCorrCoef(num_outputs=3), P2, T2)
    np.testing.assert_allclose(ours, [scipy.stats.pearsonr(P2[:, k], T2[:, k])[0] for k in range(3)], rtol=1e-9)


def test_adjusted_and_constant_answers() -> None:
    r = sk.r2_score(T, P)
    np.testing.assert_allclose(fed(M.R2Score(adjusted=4), P, T), 1 - (1 - r) * 49 / 45)
    same = np.full(50, 2.0)
    np.testing.assert_allclose(fed(M.R2Score(), same, same), sk.r2_score(same, same))
    np.testing.assert_allclose(fed(M.R2Score(), P, same), sk.r2_score(same, P))
    with pytest.raises(ValueError, match="two samples"):
        fed(M.R2Score(), P[:1], T[:1], cuts=())


@settings(max_examples=6, deadline=None)
@given(st.lists(st.integers(1, 49), max_size=4), st.sampled_from([0.0, 1e6]))
def test_any_cut_and_large_offsets(cuts: list[int], offset: float) -> None:
    for name in ("R2Score", "PearsonCorrCoef", "ExplainedVariance"):
        ours = fed(getattr(M, name)(), P + offset, T + offset, cuts=tuple(sorted(set(cuts))))
        np.testing.assert_allclose(ours, CASES[name](T + offset, P + offset), rtol=1e-7)


def test_moments_merge() -> None:
    a, b = M.PearsonCorrCoef(), M.PearsonCorrCoef()
    a.update(gl.tensor(P[:20]), gl.tensor(T[:20]))
    b.update(gl.tensor(P[20:]), gl.tensor(T[20:]))
    a.merge_state(b)
    np.testing.assert_allclose(a.compute().numpy(), scipy.stats.pearsonr(P, T)[0], rtol=1e-9)
    value = b.forward(gl.tensor(P[:9]), gl.tensor(T[:9])).numpy()
    np.testing.assert_allclose(value, scipy.stats.pearsonr(P[:9], T[:9])[0], rtol=1e-9)
    with pytest.raises(ShapeError, match="shape"):
        a.update(gl.tensor(P), gl.tensor(T[:3]))


# -- retrieval -------------------------------------------------------------------------------------------
QUERY = np.repeat([3, 0, 7, 1], [6, 10, 4, 5])
SCORE = RNG.permutation(25) / 25.0
RELEVANT = (RNG.random(25) < 0.4).astype(np.int64)
RELEVANT[QUERY == 7] = [0, 1, 0, 0]
GRADED = RELEVANT * RNG.integers(1, 4, 25)


def by_query(fn: object, relevance: np.ndarray = RELEVANT) -> float:
    values = []
    for q in np.unique(QUERY):
        order = np.argsort(-SCORE[QUERY == q])
        values.append(fn(relevance[QUERY == q][order], SCORE[QUERY == q][order]))
    return float(np.mean(values))


def first(r: np.ndarray) -> float:
    return 1 / (np.nonzero(r)[0][0] + 1) if r.any() else 0.0


RETRIEVAL = {
    "RetrievalMAP": ({}, lambda r, s: sk.average_precision_score(r, s) if r.any() else 0.0),
    "RetrievalMRR": ({}, lambda r, s: first(r)),
    "RetrievalPrecision": ({"top_k": 3}, lambda r, s: r[:3].sum() / 3),
    "RetrievalRecall": ({"top_k": 3}, lambda r, s: r[:3].sum() / r.sum() if r.any() else 0.0),
    "RetrievalHitRate": ({"top_k": 2}, lambda r, s: float(r[:2].any())),
}


@pytest.mark.parametrize("name", RETRIEVAL)
def test_retrieval(name: str) -> None:
    options, fn = RETRIEVAL[name]
    shuffle = RNG.permutation(25)
    ours = fed(getattr(M, name)(**options), SCORE[shuffle], RELEVANT[shuffle], QUERY[shuffle])
    np.testing.assert_allclose(ours, by_query(fn), rtol=1e-9)


@pytest.mark.parametrize("k", [None, 3])
def test_ndcg(k: int | None) -> None:
    expected = by_query(lambda r, s: sk.ndcg_score([r], [s], k=k) if r.any() else 0.0, GRADED)
    np.testing.assert_allclose(fed(M.RetrievalNormalizedDCG(top_k=k), SCORE, GRADED, QUERY), expected, rtol=1e-9)
    tied = np.round(SCORE, 1)
    expected = np.mean([sk.ndcg_score([GRADED[QUERY == q]], [tied[QUERY == q]], k=k) for q in np.unique(QUERY)])
    np.testing.assert_allclose(fed(M.RetrievalNormalizedDCG(top_k=k), tied, GRADED, QUERY), expected, rtol=1e-9)


def test_queries_without_anything_relevant() -> None:
    p, t, i = np.array([0.3, 0.2, 0.9]), np.array([0, 1, 0]), np.array([0, 0, 1])
    for action, expected in (("neg", 0.25), ("pos", 0.75), ("skip", 0.5)):
        assert fed(M.RetrievalMRR(empty_target_action=action), p, t, i, cuts=()) == expected
    with pytest.raises(ValueError, match="nothing relevant"):
        fed(M.RetrievalMRR(empty_target_action="error"), p, t, i, cuts=())


# -- segmentation ------------------------------------------------------------------------------------------
A, B = RNG.integers(0, 3, (6, 4, 5)), RNG.integers(0, 3, (6, 4, 5))


def test_overlap_over_the_data_set() -> None:
    np.testing.assert_allclose(
        fed(M.MeanIoU(3, input_format="index"), A, B, cuts=(2,)),
        sk.jaccard_score(B.ravel(), A.ravel(), average="macro"),
    )
    each = fed(M.DiceScore(3, average="none", aggregation_level="global", input_format="index"), A, B, cuts=(2,))
    np.testing.assert_allclose(each, sk.f1_score(B.ravel(), A.ravel(), average=None))
    foreground = fed(M.MeanIoU(3, include_background=False, input_format="index"), A, B, cuts=(2,))
    np.testing.assert_allclose(foreground, sk.jaccard_score(B.ravel(), A.ravel(), average=None)[1:].mean())


def test_overlap_by_samples_and_one_hot() -> None:
    expected = np.mean([sk.jaccard_score(b.ravel(), a.ravel(), average=None) for a, b in zip(A, B)], 0)
    hot_a, hot_b = (np.moveaxis(np.eye(3, dtype=np.int64)[x], -1, 1) for x in (A, B))
    ours = fed(M.MeanIoU(3, per_class=True, input_format="one-hot", over="samples"), hot_a, hot_b, cuts=(2,))
    np.testing.assert_allclose(ours, expected)


# -- aggregation and collections -----------------------------------------------------------------------------
def test_aggregation() -> None:
    for metric, expected in (
        (M.SumMetric(), T.sum()),
        (M.MaxMetric(), T.max()),
        (M.MinMetric(), T.min()),
        (M.MeanMetric(), T.mean()),
    ):
        np.testing.assert_allclose(fed(metric, T), expected)
    np.testing.assert_array_equal(fed(M.CatMetric(), T), T)
    weighted = M.MeanMetric()
    weighted.update(gl.tensor([1.0, 3.0]), gl.tensor([3.0, 1.0]))
    assert weighted.compute().item() == 1.5


def test_what_is_given_may_change_afterwards() -> None:
    batch, total = np.ones(4), M.SumMetric()
    total.update(batch)
    batch[:] = 100.0
    assert total.compute().item() == 4.0


def test_a_collection() -> None:
    def make() -> M.MetricCollection:
        return M.MetricCollection([M.MeanSquaredError(), M.PearsonCorrCoef()], prefix="val_")

    a, b = make(), make().clone()
    values = a.forward(gl.tensor(P[:20]), gl.tensor(T[:20])) if hasattr(a, "forward") else {}
    assert set(values) == {"val_MeanSquaredError", "val_PearsonCorrCoef"}
    b.update(gl.tensor(P[20:]), gl.tensor(T[20:]))
    a.merge_state(b)
    found = {k: float(v) for k, v in a.compute().items()}
    assert found["val_MeanSquaredError"] == pytest.approx(sk.mean_squared_error(T, P))
    c = make()
    c.load_state_dict(a.state_dict())
    assert {k: float(v) for k, v in c.compute().items()} == found
    c.reset()
    assert len(c) == 2 and list(c) == ["MeanSquaredError", "PearsonCorrCoef"]
    with pytest.raises(ValueError, match="called"):
        M.MetricCollection([M.SumMetric(), M.SumMetric()])
    with pytest.raises(TypeError, match="holds metrics"):
        M.MetricCollection([3])
