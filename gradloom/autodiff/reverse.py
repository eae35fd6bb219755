"""Reverse mode over the tape: walk the entries back from the outputs and apply each primitive's rule.

A value of the present round is differentiated where it stands; one of an earlier round brings its record along, and
what its rules need is computed again from the record's inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradloom.autodiff.crossing import Survey, reached, survey
from gradloom.errors import GradientError
from gradloom.residuals import Made
from gradloom.tape import LEAF, MODES, SCALAR, TAPE, Entry, Record, Value

__all__ = ["backward", "grad"]


class _Backward:
    """Stands for the primitive of a backward pass."""

    vjp = None
    name = "backward"


_BACKWARD = _Backward()


class _Rerun:
    """Handles for the entries of an earlier round: what was kept of it, or recorded again where a rule asks for it."""

    def __init__(self, record: Record, known: dict[int, Any] | None) -> None:
        self.record = record
        self.known = dict(known or {})
        self.made: Made = []
        TAPE.reruns.append((record, self.made))

    def handle(self, e: Entry) -> Any:
        todo = [e]
        while todo:
            x = todo[-1]
            if id(x) in self.known:
                todo.pop()
                continue
            live = TAPE.lifted.get(id(x))
            if live is not None and live._v.hist is not None and live._v.hist[0] is self.record:
                self.known[id(x)] = live
            elif x.prim is LEAF:
                v = self.record.leaves[x.leaf]
                t = self.record.tensors[x.leaf]
                assert v is not None
                self.known[id(x)] = t if t is not None and t._v is v else TAPE.make_tensor(v)
            elif x.prim is SCALAR:
                self.known[id(x)] = TAPE.scalar(self.record.scalars[x.leaf])
            elif (kept := self.record.kept.get(x)) is not None:
                v = Value(kept.aval, None, kept.buf)
                if MODES.grad and x.rg:
                    v.hist = (self.record, x)
                self.known[id(x)] = TAPE.make_tensor(v)
            else:
                missing = [i for i in x.ins if id(i) not in self.known]
                if missing:
                    todo.extend(missing)
                    continue
                made = self.known[id(x)] = TAPE.apply(x.prim, [self.known[id(i)] for i in x.ins], x.attrs)
                self.made.append((x, made._v.entry))
            todo.pop()
        return self.known[id(e)]


def _pull(
    cts: dict[int, tuple[Entry, Any]], handle: Any, stop: set[int], goals: set[int], through: bool, ends: Any = None
) -> dict[int, Any]:
    """Pull cotangents back to the inputs of a round. Returns {number of the input: cotangent}.

    A rule may give a dict as the cotangent of an operand: one of several outputs of the same call, by its number; the
    dicts are joined and its rule gets one. ``ends``: which inputs matter (all where it is None); nothing is computed
    for paths that lead to none of them, nor to an entry in ``goals`` (by id).

    Entries in ``stop`` (by id) keep their cotangent, under the key ``-id``; the walk goes on behind them only where
    there are several, of which one may be computed from another.
    """
    from gradloom import functions as G
    from gradloom.autodiff.segments import Again

    order: list[Entry] = []
    seen: set[int] = set()
    todo: list[tuple[Entry, bool]] = [(e, False) for e, _ in cts.values()]
    while todo:
        e, done = todo.pop()
        if done:
            order.append(e)
            continue
        if id(e) in seen:
            continue
        seen.add(id(e))
        todo.append((e, True))
        if id(e) not in stop or through:
            todo.extend((i, False) for i in e.ins if i.rg and id(i) not in seen)
    useful: set[int] = set()
    for e in order:
        if (
            id(e) in goals
            or (ends is None or ends(e.leaf) if e.prim is LEAF else False)
            or any(id(i) in useful for i in e.ins)
        ):
            useful.add(id(e))
    out: dict[int, Any] = {}
    again: dict[int, Any] = {}
    for e in reversed(order):
        if id(e) not in cts:
            continue
        _, ct = cts.pop(id(e))
        if id(e) not in useful:
            continue
        if id(e) in stop:
            out[-id(e)] = ct
            if not through:
                continue
        if e.prim is LEAF:
            out[e.leaf] = ct
            continue
        get = handle if e.segment is None else again.setdefault(id(e.segment), Again(e.segment, handle))
        ins = [get(i) for i in e.ins]
        rule = e.prim.vjp
        if rule is None:
            raise GradientError(f"{e.prim.name} has no derivative", code="gradient.none")
        parts = rule(ct, get(e), ins, e.attrs)
        for i, c in zip(e.ins, parts, strict=True):
            if c is None or not i.rg or id(i) not in useful:
                continue
            assert i.aval is not None
            held = cts.get(id(i))
            if not isinstance(c, dict):
                c = G.fit(c, i.aval)
            cts[id(i)] = (i, c if held is None else _sum(held[1], c))
    return out


def _sum(a: Any, b: Any) -> Any:
    """Two cotangents together: of a value, or of some outputs of a call by their numbers."""
    from gradloom import functions as G

    if not isinstance(a, dict):
        return G.add(a, b)
    return {k: G.add(a[k], b[k]) if k in a and k in b else (a if k in a else b)[k] for k in {**a, **b}}


def _run(
    outputs: Sequence[Any], cts: Sequence[Any], wanted: Sequence[Any] | None, through: bool | None = None,
    also: Sequence[Any] = (), known: dict[int, dict[int, Any]] | None = None,
) -> dict[int, Any]:  # fmt: skip
    """Cotangents by id of the tensor: of ``wanted``, or of every leaf that requires a gradient; and of ``also``.

    ``through``: whether one of ``wanted`` may be computed from another; so by default where there are several.
    ``known``: handles for entries of earlier rounds, by id of the record and of the entry.
    """
    with TAPE.lock:
        TAPE.room()
        rounds = TAPE.rounds
        TAPE.inside += 1  # the round must not close on the way: what is still to be pulled stands in it
        try:
            return _walk(outputs, cts, wanted, through, also, known or {})
        finally:
            if TAPE.rounds == rounds:
                TAPE.inside -= 1


def _walk(
    outputs: Sequence[Any], cts: Sequence[Any], wanted: Sequence[Any] | None, through: bool | None, also: Sequence[Any],
    known: dict[int, dict[int, Any]],
) -> dict[int, Any]:  # fmt: skip
    with TAPE.lock:
        found: dict[int, Any] = {}
        want = {id(t): t for t in wanted} if wanted is not None else None
        chosen = {id(t): t for t in (*(wanted or ()), *also)}
        several = through if through is not None else bool(also) or (wanted is not None and len(wanted) > 1)
        pending: dict[int, tuple[Entry, Any]] = {}
        older: dict[int, tuple[Record, dict[int, tuple[Entry, Any]]]] = {}
        from gradloom import functions as G

        def give(t: Any, v: Value | None, ct: Any) -> None:
            """A cotangent arrived at an input of a round: at a leaf tensor, or at a value of an earlier round."""
            here = t is not None and ((t._rg and want is None) or id(t) in chosen)
            behind = v is not None and v.hist is not None
            if here and behind and id(t) in chosen:
                # asked for, from an earlier round: the walk of that round finds it, where there is more behind
                assert v is not None and v.hist is not None
                here = not several or v.hist[0].freed(v.hist[1])
                behind = not here
            if here:
                found[id(t)] = ct if id(t) not in found else G.add(found[id(t)], ct)
                keep.append(t)
            if behind:
                assert v is not None
                seed(v, ct)

        def seed(v: Value, ct: Any) -> None:
            assert v.hist is not None
            record, e = v.hist
            if record.freed(e) and (want is None or leads.freed(v)):
                raise GradientError(
                    "this value's graph was freed by an earlier backward()",
                    code="gradient.freed",
                    hint="pass retain_graph=True to the first call, or keep only loss.detach() or loss.item()",
                )
            group = older.setdefault(id(record), (record, {}))[1]
            held = group.get(id(e))
            group[id(e)] = (e, ct if held is None else _sum(held[1], ct))

        def goals(stop: dict[int, Any]) -> set[int]:
            """Where what is wanted is, and not only what is asked for by the way."""
            return {k for k, t in stop.items() if want is not None and id(t) in want}

        leads = _Leads(want or {})
        keep: list[Any] = []
        stop: dict[int, Any] = {}
        for t in chosen.values():
            e = t._v.entry
            if e is not None and e.prim is not LEAF:
                stop[id(e)] = t
        for o, c in zip(outputs, cts, strict=True):
            v = o._v
            e = v.entry
            if e is not None and e.prim is not LEAF:
                held = pending.get(id(e))
                pending[id(e)] = (e, c if held is None else G.add(held[1], c))
            else:
                give(o, v, c)
        if pending:
            leaves, tensors = TAPE.leaves, TAPE.tensors
            ends = _ends(want, leaves, tensors, leads)
            for k, ct in _pull(pending, TAPE.handle, set(stop), goals(stop), several, ends).items():
                if k < 0:
                    t = stop[-k]
                    found[id(t)] = ct
                else:
                    give(tensors[k], leaves[k], ct)
        while older:
            # newest first, so that every cotangent of a record has arrived
            key = next(reversed(older))
            record, group = older.pop(key)
            rerun = _Rerun(record, known.get(key))
            # rounds that went alike share their entries
            hist_stop = {id(t._v.hist[1]): t for t in chosen.values() if t._v.hist and t._v.hist[0] is record}
            ends = _ends(want, record.leaves, record.tensors, leads)
            for k, ct in _pull(group, rerun.handle, set(hist_stop), goals(hist_stop), several, ends).items():
                if k < 0:
                    t = hist_stop[-k]
                    found[id(t)] = ct if id(t) not in found else G.add(found[id(t)], ct)
                else:
                    give(record.tensors[k], record.leaves[k], ct)
        return found


class _Leads:
    """Whether a value of an earlier round was computed from what is wanted."""

    def __init__(self, want: dict[int, Any]) -> None:
        self.want = want
        self.entries = {(id(t._v.hist[0]), id(t._v.hist[1])) for t in want.values() if t._v.hist is not None}
        self.dead: set[tuple[int, int]] = set()

    def __call__(self, v: Value) -> bool:
        seen: set[tuple[int, int]] = set()
        todo = [v]
        while todo:
            hist = todo.pop().hist
            assert hist is not None
            record, e = hist
            key = (id(record), id(e))
            if key in seen or key in self.dead:
                continue
            seen.add(key)
            if record.pulled is None:
                return True  # nothing is known of it any more: the walk will come by, and say so
            for x in e.through():
                if (id(record), id(x)) in self.entries:
                    return True
                for i in x.ins:
                    if i.prim is LEAF and i.rg:
                        leaf = record.leaves[i.leaf]
                        if id(record.tensors[i.leaf]) in self.want:
                            return True
                        if leaf is not None and leaf.hist is not None:
                            todo.append(leaf)
        self.dead |= seen
        return False

    def freed(self, v: Value) -> bool:
        """Whether what leads from there to what is wanted has been freed."""
        assert v.hist is not None
        record, e = v.hist
        if record.pulled is None:
            return True
        ends: dict[int, Entry] = {}
        for x in e.through():
            if (id(record), id(x)) in self.entries:
                ends[id(x)] = x
            for i in x.ins:
                if i.prim is LEAF and i.rg:
                    leaf = record.leaves[i.leaf]
                    old = leaf is not None and leaf.hist is not None
                    if id(record.tensors[i.leaf]) in self.want or (old and self(leaf)):  # type: ignore[arg-type]
                        ends[id(i)] = i
        needed = e.saving(tuple(ends.values()))
        return any(not needed.isdisjoint(p) for p in record.pulled)


def _ends(
    want: dict[int, Any] | None, leaves: Sequence[Value | None], tensors: Sequence[Any], leads: _Leads
) -> Callable[[int], bool] | None:
    """Which inputs of a round lead to what is wanted."""
    if want is None:
        return None

    def end(k: int) -> bool:
        v = leaves[k]
        return id(tensors[k]) in want or (v is not None and v.hist is not None and leads(v))

    return end


def _check_output(o: Any, ct: Any, code: str) -> Any:
    from gradloom import functions as G
    from gradloom.tensor import Tensor

    if not o.requires_grad:
        raise GradientError(
            "this value does not require grad: none of its inputs has requires_grad=True",
            code="gradient.unrecorded",
            hint="set requires_grad=True on an input, and compute it outside of no_grad()",
        )
    if ct is None:
        if o.numel() != 1:
            raise GradientError(
                f"the gradient of a tensor of shape {tuple(o.shape)} needs a cotangent of that shape",
                code=code,
                hint="reduce it to a scalar (mean, sum) or pass gradient=",
            )
        if o.dtype.is_complex:
            raise GradientError(
                f"only real scalars have a gradient without a cotangent, this one is {o.dtype.name}",
                code=code,
                hint="take .abs() or .real of it, or pass gradient=",
            )
        return G.ones_like(o)
    if not isinstance(ct, Tensor):
        raise GradientError("the cotangent must be a tensor", code=code)
    if ct.shape != o.shape:
        raise GradientError(f"the cotangent has shape {tuple(ct.shape)}, the output {tuple(o.shape)}", code=code)
    return G.cast(ct, o.dtype)


def _mark_freed(outputs: Sequence[Any], wanted: Sequence[Any] | None = None) -> None:
    """After a pass without retain_graph what it went through and needs values for cannot be differentiated again.

    wanted: what the pass was for, all leaves where it is None; a pass for values of this round ends there.
    """
    ends = None
    if wanted is not None:
        found = [t._v.entry for t in wanted]
        ends = tuple(found) if None not in found else None
    todo = [o._v for o in outputs]
    while todo:
        v = todo.pop()
        e = v.entry
        if e is not None and e.prim is not LEAF:
            if e.rg:
                TAPE.freed.append(e.saving(ends))
                if wanted is None:
                    todo += [x for k in reached(e) if (x := TAPE.leaves[k]) is not None and x.hist is not None]
        elif v.hist is not None:
            record, e = v.hist
            gone = e.saving()
            if record.pulled is not None and gone not in record.pulled:
                record.pulled.append(gone)
                for x in e.through():
                    record.kept.pop(x, None)
                if wanted is None:
                    todo += [x for k in reached(e) if (x := record.leaves[k]) is not None and x.hist is not None]


def refuse_freed(outputs: Sequence[Any], wanted: Sequence[Any] | None = None) -> None:
    """Raises GradientError where a pass would come by what an earlier one of this round has given up.

    wanted: what the pass is for; it only comes by what leads there.
    """
    for o in outputs:
        e = o._v.entry
        if e is None or not e.rg or e.prim is LEAF:
            continue
        ends = None
        if wanted is not None and all(TAPE.leaves[k].hist is None for k in reached(e)):  # type: ignore[union-attr]
            ends = tuple({id(w): w for t in wanted if (w := t._v.entry) is not None}.values())
        if TAPE.spent(e) if ends is None else any(not e.saving(ends).isdisjoint(f) for f in TAPE.freed):
            raise GradientError(
                "this value's graph was freed by an earlier backward()",
                code="gradient.freed",
                hint="pass retain_graph=True to the first call",
            )


def backward(output: Any, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False) -> None:
    """Add the gradient of ``output`` to the ``grad`` of every leaf that requires one.

    Parameters
    ----------
    output: a tensor. gradient: the cotangent, of its shape; 1 for a scalar.
    retain_graph: keep the graph for another pass; defaults to ``create_graph``.
    create_graph: record the pass itself, for higher derivatives.

    Raises
    ------
    GradientError: where ``output`` does not require grad, is no scalar without ``gradient``, or was freed.
    """
    with TAPE.lock:
        retain = create_graph if retain_graph is None else retain_graph
        e = output._v.entry
        if TAPE.freed:
            refuse_freed([output])
        with _mode(create_graph):
            simple = e is not None and e.prim is not LEAF and e.rg and not create_graph
            if simple:
                numbers = reached(e)
                simple = all(TAPE.leaves[k].hist is None for k in numbers)  # type: ignore[union-attr]
            if simple:
                _fast(output, gradient, [TAPE.tensors[k] for k in numbers])
                if not retain:
                    TAPE.freed.append(e.saving())
                return
            elif not create_graph and not TAPE.lifted and (found := survey(output)) is not None:
                _across(output, gradient, found)
            else:
                for t, g in gather(output, gradient)[0]:
                    accumulate(t, g)
        if not retain:
            _mark_freed([output])


def accumulate(t: Any, g: Any) -> None:
    """Add to the ``grad`` of a tensor: to what is there, of which views and other names see the sum.

    While the pass itself is recorded, ``grad`` becomes another tensor, so that the old one keeps its history.
    """
    held = t.grad
    if held is None:
        t.grad = TAPE.make_tensor(g._v)  # one of its own: the same cotangent may have come to several
    elif MODES.grad:
        t.grad = held + g
    else:
        _renew(held, held + g)


def _renew(held: Any, new: Any) -> None:
    if held._base is None and held.dtype is new.dtype:
        held._set_value(new._v)
    else:
        held._write(new)


def gather(output: Any, gradient: Any, also: Sequence[Any] = ()) -> tuple[list[tuple[Any, Any]], list[Any]]:
    """A backward pass that hands its gradients over: those of leaves, with them, and those of ``also`` (or None)."""
    ct = _check_output(output, gradient, "gradient.scalar")
    found = _run([output], [ct], None, also=also)
    leaves = [t for t in _tensors_of(found, output) if t._rg]
    return [(t, found[id(t)]) for t in leaves], [found.get(id(t)) for t in also]


def _tensors_of(found: dict[int, Any], output: Any) -> list[Any]:
    """The leaf tensors behind the ids in ``found``: of this round and of earlier records."""
    out: dict[int, Any] = {}
    todo = [output._v]
    records: set[int] = set()
    for t in [*TAPE.tensors, output]:
        if t is not None and id(t) in found:
            out[id(t)] = t
    for v in [x for x in TAPE.leaves if x is not None]:
        todo.append(v)
    while todo:
        v = todo.pop()
        if v is None or v.hist is None or id(v.hist[0]) in records:
            continue
        record = v.hist[0]
        records.add(id(record))
        for t in record.tensors:
            if t is not None and id(t) in found:
                out[id(t)] = t
        todo.extend(record.leaves)
    return list(out.values())


def _fast(output: Any, gradient: Any, tensors: list[Any]) -> None:
    """The usual case, one predicted step: everything of this round, gradients into ``grad``."""
    unique = list({id(t): t for t in tensors}.values())
    _predicted(output, gradient, unique, [], (), None)


def _across(output: Any, gradient: Any, found: Survey) -> None:
    """Likewise where the pass goes through earlier rounds."""
    handles, known = found.operands()
    by_record = {id(r): k for r, k in zip(found.records, known, strict=True)}
    _predicted(output, gradient, found.targets, handles, (found.key,), by_record)


def _predicted(
    output: Any, gradient: Any, targets: list[Any], more: list[Any], key: tuple, known: dict[int, dict[int, Any]] | None
) -> None:
    """A backward pass as one step of the tape. more: operands behind the usual ones. key: what else it hangs on."""
    held = [t.grad for t in targets]
    operands = [output] + ([gradient] if gradient is not None else []) + [g for g in held if g is not None] + more
    static = (gradient is not None, tuple(g is None for g in held), *key)

    def run() -> list[Any]:
        ct = _check_output(output, gradient, "gradient.scalar")
        found = _run([output], [ct], None, known=known)
        results = []
        for t, g in zip(targets, held, strict=True):
            new = found.get(id(t))
            if new is None:  # a rule gave None: what is there stays, and the output stands for nothing
                results.append(output if g is None else g)
            else:
                results.append(new if g is None else g + new)
        return results

    taken = set(map(id, operands))  # a cotangent that is somebody else's already gets a handle of its own
    for t, g, h in zip(targets, TAPE.macro(_BACKWARD, operands, static, run), held, strict=True):
        if h is not None:
            _renew(h, g)
        elif g is not output:
            t.grad = g if id(g) not in taken else TAPE.make_tensor(g._v)
            taken.add(id(g))


class _mode:
    """Record a backward pass only where its result is to be differentiated."""

    def __init__(self, on: bool) -> None:
        self._on = on

    def __enter__(self) -> None:
        self._before = MODES.grad
        MODES.grad = self._on

    def __exit__(self, *exc: object) -> None:
        MODES.grad = self._before


class _Grad:
    """Stands for the primitive of ``grad``."""

    vjp = None
    name = "grad"


_GRAD = _Grad()


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
    also: Sequence[Any] = (),
) -> tuple[Any, ...]:
    """Gradients of the sum of ``outputs`` with respect to ``inputs``, as ``torch.autograd.grad``.

    ``also``: tensors whose gradients follow behind, None where the pass did not come by them.
    Returns a tuple, one tensor for each input. Raises GradientError where an input was not used, unless
    ``allow_unused`` (then None stands for it).
    """
    outs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
    ins = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    given = list(grad_outputs) if isinstance(grad_outputs, (list, tuple)) else [grad_outputs] * len(outs)
    retain = create_graph if retain_graph is None else retain_graph
    with TAPE.lock, _mode(create_graph):
        if TAPE.freed:
            refuse_freed(outs, ins)
        first = outs[0]._v.entry
        simple = (
            len(outs) == 1 and not also and given[0] is None and not create_graph and not allow_unused
            and first is not None and first.prim is not LEAF and first.rg
            and all(t._v.entry is not None for t in ins)
        )  # fmt: skip
        if simple:
            got = TAPE.macro(_GRAD, [*outs, *ins], (), lambda: _gradients(outs, ins, given, False))
        else:
            got = _gradients(outs, ins, given, allow_unused, also)
        if not retain:
            _mark_freed(outs, ins)
        return tuple(got)


def _gradients(
    outs: list[Any], ins: list[Any], given: list[Any], allow_unused: bool, also: Sequence[Any] = ()
) -> list[Any]:
    cts = [_check_output(o, c, "gradient.scalar") for o, c in zip(outs, given, strict=True)]
    found = _run(outs, cts, ins, also=also)
    res = []
    for k, t in enumerate(ins):
        g = found.get(id(t))
        if g is None and not allow_unused:
            raise GradientError(
                f"input {k} of shape {tuple(t.shape)} was not used in the graph",
                code="gradient.unused",
                hint="pass allow_unused=True to get None for it",
            )
        res.append(g)
    return [*res, *(found.get(id(t)) for t in also)]
