"""Which axes of a program's values are one: atoms of dimensions, and regions of values that share them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from gradloom.graph.node import Graph, Node

__all__ = ["Atom", "Regions"]

Atom = int
Pairs = list[tuple[int, int]]


class Regions:
    """Atoms of the dimensions of every value, and the region that each value belongs to.

    free: whether an instruction can work on permuted operands: then its operands and its result are of one region.
    """

    def __init__(self, graph: Graph, free: Callable[[Node], bool]) -> None:
        self._size: list[int | None] = []  # of atoms; None where padding or cutting makes sizes differ
        self._same: list[Atom] = []  # union-find of atoms
        self._parts: dict[Atom, tuple[Atom, ...]] = {}  # atoms that a reshape has split
        self._region: list[int] = []  # union-find, of the region that an atom was made for
        self._over: list[int] = []
        self._dims: dict[int, list[tuple[Atom, ...]]] = {}
        self._members: list[list[int]] = []
        self.traced: set[int] = set()  # reshapes whose operand and result have the same atoms, one by one in order
        self._known: dict[int, list[tuple[Atom, ...]]] = {}  # labels, once all links are made
        self._settled = False
        for n in (*graph.inputs, *graph.nodes):
            self._new(n)
        links: list[tuple[int, Node, Node, Pairs]] = []
        for n in graph.nodes:
            if free(n):
                links += [(_rank(n, x), n, x, pairs) for x, pairs in _links(n)]
        links.sort(key=lambda link: link[0])
        for _, n, x, pairs in links:
            if not x.aval.size or not n.aval.size:
                continue
            if n.prim is not None and n.prim.name == "reshape":
                if self._unite(n, x, self._runs(x, n)):
                    self.traced.add(id(n))
            else:
                mine, other = self.labels(n), self.labels(x)
                self._unite(n, x, [(other[j], mine[i]) for i, j in pairs])
        self._settled = True

    def _new(self, n: Node) -> None:
        region = len(self._over)
        self._over.append(region)
        self._members.append([id(n)])
        dims: list[tuple[Atom, ...]] = []
        for s in n.aval.shape:
            dims.append(() if s == 1 else (self._atom(s, region),))
        self._dims[id(n)] = dims

    def _atom(self, size: int | None, region: int) -> Atom:
        self._same.append(len(self._same))
        self._size.append(size)
        self._region.append(region)
        return len(self._same) - 1

    def _root(self, a: Atom) -> Atom:
        while self._same[a] != a:
            self._same[a] = a = self._same[self._same[a]]
        return a

    def _whole(self, region: int) -> int:
        while self._over[region] != region:
            self._over[region] = region = self._over[self._over[region]]
        return region

    def _flat(self, atoms: Sequence[Atom]) -> tuple[Atom, ...]:
        out: list[Atom] = []
        todo = list(reversed(atoms))
        while todo:
            a = self._root(todo.pop())
            parts = self._parts.get(a)
            if parts is None:
                out.append(a)
            else:
                todo += reversed(parts)
        return tuple(out)

    # -- what others ask ---------------------------------------------------------------------------
    def labels(self, n: Node) -> list[tuple[Atom, ...]]:
        """The atoms of each dimension; none for those of size 1."""
        got = self._known.get(id(n))
        if got is None:
            got = [self._flat(d) for d in self._dims[id(n)]]
            if self._settled:
                self._known[id(n)] = got
        return got

    def sequence(self, n: Node) -> tuple[Atom, ...]:
        """The atoms of all dimensions, in order."""
        return tuple(a for d in self.labels(n) for a in d)

    def of(self, n: Node) -> int | None:
        """The region of a value; None for a single element."""
        return next((self._whole(self._region[a]) for d in self._dims[id(n)] for a in d), None)

    # -- making one ---------------------------------------------------------------------------------
    def _runs(self, x: Node, n: Node) -> list[tuple[tuple[Atom, ...], tuple[Atom, ...]]]:
        """Atoms of the operand and of the result of a reshape: the shortest runs of dimensions of equal size."""
        a, b = x.aval.shape, n.aval.shape
        own, res = self.labels(x), self.labels(n)
        runs: list[tuple[tuple[Atom, ...], tuple[Atom, ...]]] = []
        i = j = 0
        while i < len(a) or j < len(b):
            left: list[Atom] = []
            right: list[Atom] = []
            p = q = 1
            first = True
            while first or p != q:
                first = False
                if p <= q and i < len(a):
                    left += own[i]
                    p *= a[i]
                    i += 1
                else:
                    right += res[j]
                    q *= b[j]
                    j += 1
            runs.append((tuple(left), tuple(right)))
        return runs

    def _unite(self, n: Node, x: Node, pairs: Sequence[tuple[tuple[Atom, ...], tuple[Atom, ...]]]) -> bool:
        """Make atoms one, pairwise. False, and nothing done, where two axes of one value would become the same."""
        match: list[tuple[Atom, Atom]] = []
        for a, b in pairs:
            got = self._matched(a, b)
            if got is None:
                return False
            match += got
        ra, rb = self.of(n), self.of(x)
        if not match or ra is None or rb is None:
            return False
        match = [(p, q) for p, q in match if p != q]
        if ra == rb and any(self._clash(ra, p, q) for p, q in match):
            return False
        for p, q in match:
            p, q = self._root(p), self._root(q)
            if p != q:
                self._same[q] = p
                if self._size[p] != self._size[q]:
                    self._size[p] = None
        if ra != rb:
            self._over[rb] = ra
            self._members[ra] += self._members[rb]
            self._members[rb] = []
        return True

    def _clash(self, region: int, p: Atom, q: Atom) -> bool:
        for key in self._members[region]:
            atoms = self._flat([a for d in self._dims[key] for a in d])
            if p in atoms and q in atoms:
                return True
        return False

    def _matched(self, a: tuple[Atom, ...], b: tuple[Atom, ...]) -> list[tuple[Atom, Atom]] | None:
        """Atoms of two dimensions side by side, larger ones split; None where they do not fit."""
        if a == b or len(a) == len(b) == 1:
            return list(zip(a, b, strict=True))
        left, right = list(reversed(a)), list(reversed(b))
        out: list[tuple[Atom, Atom]] = []
        while left and right:
            p, q = left.pop(), right.pop()
            m, n = self._size[p], self._size[q]
            if m is None or n is None or max(m, n) % min(m, n):
                return None
            if m < n:
                q, rest = self._split(q, m)
                right.append(rest)
            elif n < m:
                p, rest = self._split(p, n)
                left.append(rest)
            out.append((p, q))
        return None if left or right else out

    def _split(self, a: Atom, first: int) -> tuple[Atom, Atom]:
        size = self._size[a]
        assert size is not None
        region = self._region[a]
        parts = (self._atom(first, region), self._atom(size // first, region))
        self._parts[a] = parts
        return parts


def _rank(n: Node, x: Node) -> int:
    """The order of links, of which the first are sure to be made: the largest first, reductions last."""
    reduces = n.prim is not None and n.prim.kind == "reduce"
    return -x.aval.size + (1 << 62 if reduces else 0)


def _links(n: Node) -> Iterator[tuple[Node, Pairs]]:
    """Operands whose dimensions are those of the result, and which are which: (of the result, of the operand)."""
    assert n.prim is not None
    name, kind = n.prim.name, n.prim.kind
    every = [(k, k) for k in range(len(n.aval.shape))]
    if kind == "elementwise" or name == "barrier":
        yield from ((x, every) for x in n.ins if x.aval.shape == n.aval.shape and x.aval.size > 1)
    elif kind == "reduce":
        axes, keep, _ = n.attrs
        kept = [k for k in range(len(n.ins[0].aval.shape)) if keep or k not in axes]
        yield n.ins[0], [(i, k) for i, k in enumerate(kept) if k not in axes]
    elif name == "permute":
        yield n.ins[0], [(k, j) for k, j in enumerate(n.attrs[0])]
    elif name == "reshape":
        yield n.ins[0], []
    elif name in ("slice", "windows", "pad", "cat", "update_slice"):
        shape = n.aval.shape
        for x in n.ins:
            yield x, [(k, k) for k, s in enumerate(x.aval.shape) if s != 1 and shape[k] != 1]
