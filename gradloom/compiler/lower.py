"""From a finished group to launches: loop axes merged, the vector axis chosen, dead instructions left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Container

from gradloom.compiler.contract_plan import plan_contract
from gradloom.compiler.correlate_plan import plan_correlate
from gradloom.compiler.depthwise import plan_depthwise
from gradloom.compiler.groups import Group, Storage
from gradloom.compiler.llvm.host import Host
from gradloom.compiler.loops import Access, Contract, Inst, Launch, Nest
from gradloom.compiler.nest_steps import plan_steps
from gradloom.compiler.pool import Pool, liftable
from gradloom.compiler.reorder import plan_reorder
from gradloom.compiler.scatter import plan_scatter
from gradloom.compiler.winograd_plan import plan_winograd

__all__ = ["live_accesses", "lower", "settle_stores"]

SHORT = 4  # an axis below this many elements is no good for vectors


def settle_stores(g: Group) -> None:
    """Give every store a value of the dtype in memory, varying along the reduced axes that the store walks."""
    reduced = sum(1 << k for k in g.reduced)
    out = []
    for inst, storage, offset, strides in g.stores:
        walked = sum(1 << k for k, s in enumerate(strides) if s) & reduced
        if walked and not g.body.varies[inst] & reduced:
            inst = g.body.spread(inst, walked)
        out.append((g.body.cast(inst, storage.dtype), storage, offset, strides))
    g.stores = out


def live(g: Group) -> list[bool]:
    """Which instructions the stores need."""
    out = [False] * len(g.body.insts)
    for s in g.stores:
        out[s[0]] = True
    for n in range(len(out) - 1, -1, -1):
        if out[n]:
            for a in g.body.insts[n].args:
                out[a] = True
    return out


def live_accesses(g: Group) -> list[tuple[Storage, int, tuple[int, ...], int | None]]:
    """The loads that a group really does, contraction operands and host operands left out."""
    use = live(g)
    seen = {i.attrs[0] for n, i in enumerate(g.body.insts) if use[n] and i.op in ("load", "load_at")}
    return [g.body.accesses[k] for k in sorted(seen)]


class _Shape:
    """Axes of a nest after merging: for each new axis the last of the old ones it stands for."""

    def __init__(self, g: Group, walks: list[tuple[int, ...]]) -> None:
        if g.kind == "contract":
            self.last = list(range(len(g.extents)))
            self.extents = list(g.extents)
            return
        self.last, self.extents = [], []
        kinds: list[str] = []
        for k, n in enumerate(g.extents):
            if self.last and kinds[-1] == g.axes[k] and n > 0:
                prev = self.last[-1]
                if all(w[prev] == w[k] * n for w in walks):
                    self.last[-1] = k
                    self.extents[-1] *= n
                    continue
            self.last.append(k)
            self.extents.append(n)
            kinds.append(g.axes[k])


def lower(
    g: Group,
    slot: Callable[[Storage], int],
    temp: Callable[[int], int],
    host: Host,
    steady: Container[Storage] = (),
    lasting: Container[Storage] = (),
    pool: Pool | None = None,
) -> tuple[list[Launch], Nest | Contract | None]:
    """The launches of a group, and what they compute as one nest or contraction (None: nothing to do).

    slot: the table's slot of a storage. temp: reserves bytes of temporary memory and returns its slot. steady: storages
    that are the same in every step of a loop; lasting: from run to run.
    """
    if g.scatter is not None:
        return [plan_scatter(g.scatter, slot)], None
    if not g.stores or 0 in (n for k, n in enumerate(g.extents) if g.axes[k] == "p"):
        return [], None
    use = live(g)
    insts = g.body.insts
    loads = sorted({i.attrs[0] for n, i in enumerate(insts) if use[n] and i.op in ("load", "load_at")})
    table: dict[tuple, int] = {}
    walks: list[tuple[int, ...]] = []
    for k in loads:
        table.setdefault(g.body.accesses[k], len(table))
    for _, storage, offset, strides in g.stores:
        table.setdefault((storage, offset, strides, None), len(table))
    walks = [key[2] for key in table]
    walks += [i.attrs[1] for n, i in enumerate(insts) if use[n] and i.op == "affine"]
    shape = _Shape(g, walks)
    last = shape.last
    contract = g.kind == "contract"

    buffers: dict[Storage, int] = {}
    accesses: list[Access] = []
    ints: list[list[int]] = []

    def add(storage: Storage, offset: int, strides: list[int], index: int | None) -> None:
        b = buffers.setdefault(storage, len(buffers))
        steps = tuple("0" if s == 0 else "1" if s == 1 else "s" for s in strides)
        accesses.append(Access(b, storage.dtype, steps, index is not None))
        ints.append([offset, *(s for s in strides if s not in (0, 1)), *([] if index is None else [index])])

    if contract:
        assert g.dot is not None
        a, b, k, dtype = g.dot
        for v in (a, b):
            add(v.storage, v.offset, [s if n != 1 else 0 for n, s in zip(v.shape, v.strides, strict=True)], None)
    for storage, offset, strides, index in table:
        if not last:  # a nest needs an axis
            add(storage, offset, [0], index)
        else:
            add(storage, offset, [strides[x] for x in last], index)
    shift = 2 if contract else 0
    body: list[Inst] = []
    number: dict[int, int] = {}
    known: dict[tuple, int] = {}

    def emit(op: str, dtype: str, args: tuple[int, ...] = (), attrs: tuple = ()) -> int:
        key = (op, dtype, args, repr(attrs))
        if key not in known:
            known[key] = len(body)
            body.append(Inst(op, dtype, args, attrs))
        return known[key]

    lifted = liftable(insts, use) if pool is not None else set()

    def given(dtype: str, value: int | float) -> int:
        """A number that is read at run time."""
        if pool is None:
            return emit("const", dtype, (), (value,))
        wide = "i64" if dtype == "i64" else "f64"
        storage, place = pool.cell(wide, value)
        add(storage, place, [0] * max(1, len(last)), None)
        got = emit("load", wide, (), (len(accesses) - 1,))
        return got if dtype == wide else emit("cast", dtype, (got,))

    for n, i in enumerate(insts):
        if not use[n]:
            continue
        args = tuple(number[a] for a in i.args)
        if n in lifted:
            number[n] = given(i.dtype, i.attrs[0])
        elif i.op in ("load", "load_at"):
            number[n] = emit(i.op, i.dtype, args, (shift + table[g.body.accesses[i.attrs[0]]],))
        elif i.op == "affine":
            number[n] = _affine(emit, given, i.attrs[0], [i.attrs[1][x] for x in last])
        else:
            number[n] = emit(i.op, i.dtype, args, i.attrs)
    stores = tuple(
        (number[v], shift + table[storage, offset, strides, None]) for v, storage, offset, strides in g.stores
    )
    slots = [slot(s) for s in buffers]
    if contract:
        spec = Contract(dtype, len(last) - 2, tuple(accesses), tuple(body), stores)
        if g.winograd:
            return plan_winograd(spec, g.winograd, shape.extents, (a.shape, b.shape), ints, slots, host), spec
        if g.walk is not None:
            return plan_depthwise(spec, g.walk, shape.extents, ints, slots, host), spec
        if g.taps:
            inner = g.dot[0].shape[-1]  # type: ignore[index]
            same = b.storage in lasting or b.storage in steady
            return plan_correlate(spec, shape.extents, inner, g.taps, ints, slots, temp, host, same), spec
        both = (a.storage in steady, b.storage in steady)
        # in a loop: rows of a sequence, which no step before has read
        fresh = bool(steady) and any(s.source is not None and s not in steady for s, *_ in table)
        return plan_contract(spec, [*shape.extents, k], ints, slots, temp, host, both, fresh), spec
    axes = tuple(g.axes[x] for x in last) or ("p",)
    extents = shape.extents or [1]
    nest = Nest(axes, _vector(axes, extents, accesses), tuple(accesses), tuple(body), stores)
    copy = plan_reorder(nest, extents, ints, slots, host)
    if copy is not None:
        return [copy], nest
    steps = plan_steps(nest, extents)
    temps = [temp(n * _BYTES[d]) for d, n in steps.temps]
    return steps.launches(ints, slots, temps), nest


_BYTES = {
    "f32": 4, "f64": 8, "f16": 2, "bf16": 2, "i8": 1, "i16": 2, "i32": 4, "i64": 8,
    "u8": 1, "u16": 2, "u32": 4, "u64": 8, "bool": 1,
}  # fmt: skip


def _affine(emit: Callable[..., int], given: Callable[..., int], offset: int, strides: list[int]) -> int:
    out: int | None = None
    for k, s in enumerate(strides):
        if s:
            term = emit("iota", "i64", (), (k,))
            if s != 1:
                term = emit("mul", "i64", (term, given("i64", s)))
            out = term if out is None else emit("add", "i64", (out, term))
    if out is not None and not offset:
        return out
    base = given("i64", offset) if offset else emit("const", "i64", (), (0,))
    return base if out is None else emit("add", "i64", (out, base))


def _vector(axes: tuple[str, ...], extents: list[int], accesses: list[Access]) -> int:
    """The axis along which most accesses are contiguous; a reduced one, then a later one, where that is a draw."""
    reach = [math.prod(n for n, s in zip(extents, a.steps, strict=True) if s != "0") for a in accesses]
    most = max(reach, default=1) or 1

    def merit(k: int) -> tuple[float, bool, int]:
        score = 0.0  # accesses count by how much they touch
        for a, n in zip(accesses, reach, strict=True):
            score += {"1": 1.0, "0": 0.0, "s": -1.0}[a.steps[k]] * n / most
        if extents[k] < SHORT:
            score -= len(accesses)
        return score, axes[k] == "r", k

    return max(range(len(axes)), key=merit)
