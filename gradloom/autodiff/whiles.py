"""The derivative of ``while_loop``: forward mode only, for nobody knows how many carries a reverse pass would keep.

Forward mode is the derivative of a reverse pass by its cotangents (:func:`gradloom.autodiff.transforms.push`), and what
that pass itself computes is never run. So here it gives stand-ins that have no value; asked for their derivative they
give the tangents of the loop: those of a loop that carries values and tangents together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradloom.autodiff.bodies import Body
from gradloom.autodiff.custom import Rule, attach, tracked
from gradloom.autodiff.levels import quiet
from gradloom.autodiff.transforms import Pushing, jvp
from gradloom.errors import GradientError
from gradloom.graph.node import Aval
from gradloom.ops.core import Primitive
from gradloom.tape import TAPE
from gradloom.tensor import Tensor

__all__ = ["WhileRule"]


def _refused() -> GradientError:
    return GradientError(
        "while_loop has no derivative in reverse mode: its number of steps is not known before it runs",
        code="gradient.while", hint="use jvp or jacfwd, or scan, or fori_loop with Python integers as bounds",
    )  # fmt: skip


def _never(arrays: Any, attrs: tuple, aval: Aval) -> Any:
    raise _refused()


_stand_in = Primitive("while_cotangent", _never, lambda avals, attrs: attrs[0])
"""A cotangent that cannot be computed. operands: those of the results; attrs: (aval,)."""
_stand_in.batch = lambda args, flags, attrs, avals, n: TAPE.apply(
    _stand_in, args, (Aval((n, *attrs[0].shape), attrs[0].dtype),)
)


def _floating(avals: Sequence[Aval]) -> list[int]:
    return [k for k, a in enumerate(avals) if a.dtype.category >= 2]


class WhileRule(Rule):
    """Of a loop over (carries…, captured by the condition…, by the body…). outs: the carries; own: of the condition."""

    def __init__(self, test: Body, body: Body, own: int, outs: tuple[Aval, ...]) -> None:
        self.test, self.body, self.own, self.outs = test, body, own, outs

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WhileRule) and (self.test, self.body) == (other.test, other.body)

    def __hash__(self) -> int:
        return hash((self.test, self.body))

    def pull(self, cts: list[Tensor | None], inputs: list[Tensor], saved: list[Tensor]) -> Sequence[Tensor | None]:
        """Stand-ins for the cotangents of the inputs. Raises GradientError in a reverse pass that is to be run."""
        if not Pushing.depth:
            raise _refused()
        filled = self.filled(cts)
        seeds = [filled[k] for k in _floating(self.outs)]
        avals = [Aval(tuple(x.shape), x.dtype) for x in inputs]
        at = _floating(avals)
        with quiet():
            made = [TAPE.apply(_stand_in, seeds, (avals[k],)) for k in at]
        if tracked(seeds):
            made = attach(_Tangents(self, tuple(avals[k] for k in at)), seeds, inputs, made)
        out: list[Tensor | None] = [None] * len(inputs)
        for k, g in zip(at, made, strict=True):
            out[k] = g
        return out


class _Tangents(Rule):
    """From tangents of a loop's floating inputs to those of its floating results. outs: avals of the former."""

    def __init__(self, loop: WhileRule, outs: tuple[Aval, ...]) -> None:
        self.loop, self.outs = loop, outs

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Tangents) and (self.loop, self.outs) == (other.loop, other.outs)

    def __hash__(self) -> int:
        return hash((self.loop, self.outs))

    def pull(self, cts: list[Tensor | None], inputs: list[Tensor], saved: list[Tensor]) -> Sequence[Tensor | None]:
        """Tangents of the results, from a loop of values and tangents."""
        from gradloom.autodiff.control import while_loop

        loop, nc = self.loop, len(self.loop.outs)
        own, rest = saved[nc : nc + loop.own], saved[nc + loop.own :]
        dots = dict(zip(_floating([x._v.aval for x in saved]), self.filled(cts), strict=True))
        carried = _floating(loop.outs)
        fixed = [k for k in dots if k >= nc + loop.own]
        moving = [*carried, *(k - loop.own for k in fixed)]  # as the body counts

        def step(state: Any) -> Any:
            values, tangents = state
            given = [*values, *rest]

            def of(*xs: Tensor) -> tuple[Tensor, ...]:
                args = list(given)
                for k, x in zip(moving, xs, strict=True):
                    args[k] = x
                return tuple(loop.body.call(args))

            ts = (*tangents, *(dots[k] for k in fixed))
            new, moved = jvp(of, tuple(given[k] for k in moving), ts)
            return new, tuple(moved[k] for k in carried)

        start = (tuple(saved[:nc]), tuple(dots[k] for k in carried))
        return list(while_loop(lambda s: loop.test.call([*s[0], *own])[0], step, start)[1])
