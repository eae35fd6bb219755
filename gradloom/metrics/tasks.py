"""Metrics of one task under TorchMetrics' names: `BinaryAUROC(...)` is `AUROC("binary", ...)`.

Parameters are those of the metric, in its order, after `num_classes` or `num_labels`. What it has in common with
TorchMetrics and differs from the metric of all tasks: several classes and labels are averaged as "macro".
"""

from __future__ import annotations

import inspect
from typing import Any

from gradloom.metrics import calibration, classification, curves, operating, rates
from gradloom.metrics.base import Metric

_KINDS = {
    "Binary": ("binary", None),
    "Multiclass": ("multiclass", "num_classes"),
    "Multilabel": ("multilabel", "num_labels"),
}
_ALL = tuple(_KINDS)
_BASES: dict[type[Metric], tuple[str, ...]] = {
    **dict.fromkeys(
        (
            classification.Accuracy, classification.ConfusionMatrix, classification.F1Score, classification.FBetaScore,
            classification.HammingDistance, classification.JaccardIndex, classification.MatthewsCorrCoef,
            classification.NegativePredictiveValue, classification.Precision, classification.Recall,
            classification.Specificity, classification.StatScores, curves.AUROC, curves.AveragePrecision,
            curves.PrecisionRecallCurve, curves.ROC, operating.PrecisionAtFixedRecall,
            operating.RecallAtFixedPrecision, operating.SensitivityAtSpecificity, operating.SpecificityAtSensitivity,
            rates.EER, rates.LogAUC,
        ),
        _ALL,
    ),
    **dict.fromkeys(
        (calibration.CalibrationError, calibration.HingeLoss, classification.CohenKappa), ("Binary", "Multiclass")
    ),
    classification.ExactMatch: ("Multiclass", "Multilabel"),
}  # fmt: skip


def _options(cls: type) -> dict[str, inspect.Parameter]:
    """Parameters of a metric, those included that its base classes take on."""
    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        init = base.__dict__.get("__init__")
        if init is None:
            continue
        parameters = inspect.signature(init).parameters
        for name, p in parameters.items():
            if p.kind is p.POSITIONAL_OR_KEYWORD and name not in ("self", "task", "least"):
                found.setdefault(name, p)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            break
    return found


def _of_task(base: type[Metric], kind: str) -> type[Metric]:
    task, count = _KINDS[kind]
    known = _options(base)
    left_out = {"num_classes", "num_labels", *({"threshold"} if task == "multiclass" else ())}
    left_out |= set() if task == "multiclass" else {"top_k"}
    left_out |= {"max_fpr"} if task != "binary" else {"average"}
    left_out |= {"beta"} if base is not classification.FBetaScore else set()
    first = [n for n in ("beta", "top_k", "threshold", "ignore_index") if "normalize" in known or n != "ignore_index"]
    names = [n for n in dict.fromkeys([*first, *known]) if n in known and n not in left_out]
    if count is not None:
        names.insert(names.index("beta") + 1 if "beta" in names else 0, count)
    macro = issubclass(base, classification.StatScores) and task != "binary"

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        given = dict(zip(names, args, strict=False))
        twice = given.keys() & kwargs.keys()
        unknown = [k for k in kwargs if k not in names]
        if len(args) > len(names) or twice or unknown:
            wrong = f"{sorted(twice)} twice" if twice else str(unknown) if unknown else f"{len(args)} values"
            raise TypeError(f"{self.__class__.__name__}() takes {', '.join(names)}; given {wrong}")
        if macro:
            given.setdefault("average", kwargs.pop("average", "macro"))
        base.__init__(self, task=task, **given, **kwargs)  # type: ignore[misc, call-arg]

    fields = [known[n].replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in names]
    if count is not None:
        at = names.index(count)
        fields[at] = fields[at].replace(default=inspect.Parameter.empty)
        if at:  # TorchMetrics asks for beta too
            fields[0] = fields[0].replace(default=inspect.Parameter.empty)
    if macro:
        fields = [f.replace(default="macro") if f.name == "average" else f for f in fields]
    fields.sort(key=lambda f: f.default is not inspect.Parameter.empty)  # stable: those without a default first
    names[:] = [f.name for f in fields]
    me = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    __init__.__signature__ = inspect.Signature([me, *fields])  # type: ignore[attr-defined]
    doc = f"`{base.__name__}` of the task {task!r}."
    return type(f"{kind}{base.__name__}", (base,), {"__init__": __init__, "__doc__": doc, "__module__": __name__})


TASK_METRICS = {
    made.__name__: made for base, kinds in _BASES.items() for kind in kinds for made in (_of_task(base, kind),)
}
globals().update(TASK_METRICS)
__all__ = list(TASK_METRICS)
