"""How the units of a command are shared among threads: each has a part of its own, and helps others when it is done.

The pool's *offer* is one 64-bit word, ``epoch << 24 | units << 12 | parties``. Party ``p`` (the owner of the pool is
party 0) begins with the units from ``ceil(units * p / parties)`` to that of ``p + 1``: the same part of every command,
so that what it wrote is in its own cache when it reads it again. A core reads from another's cache at a tenth of
the speed that its own has.

What is left of a party's part is its *share*, a word ``epoch << 24 | end << 12 | next`` in a cache line of its own. A
party takes units from the front of its share by swapping the word; whoever has nothing left takes from the back of
the others'. Nobody hands out shares: a word of an older epoch stands for the whole part, and whoever takes first, the
party or a thief, writes the epoch. A party that is late or asleep is thus not waited for. An epoch is over when all its
units are done, so every share that is not empty has been written in it, and a swap that expects an older word fails:
threads that are late can take nothing. That the older word is not of a newer epoch is seen by reading the offer again.
"""

from __future__ import annotations

from gradloom.compiler.llvm.pool_ir import LINE, POOL, System, atomic_load, field
from gradloom.compiler.llvm.text import Function, V

__all__ = ["MOST_UNITS", "RECORD", "RECORD_BYTES", "Sharing", "word_of"]

COUNT_BITS = 12  # of units, and of parties
EPOCH_AT = 2 * COUNT_BITS
COUNT = (1 << COUNT_BITS) - 1
MOST_UNITS = COUNT
PATIENCE = 48  # pauses, each some 30 nanoseconds: less than a unit takes, more than an offer takes to be seen

RECORD = {  # words of a command's record. group, gather_count, units: of the group that starts here
    "fn": 0, "ints": 1, "bufs": 2, "gather": 3, "gather_count": 4, "chunks": 5, "group": 6, "units": 7, "phase": 8,
}  # fmt: skip
"""Unit ``u`` of a group is, of each of its commands, the chunks from ``(chunks * u + phase) // units`` to that of ``u +
1``."""
RECORD_BYTES = 8 * len(RECORD)


def word_of(f: Function, base: V, words: dict[str, int], name: str, ty: str = "i64") -> V:
    """A word of a plan's header or of a record."""
    return f.load(ty, field(f, base, 8 * words[name]), 8)


def rmw(f: Function, what: str, p: V, v: V) -> V:
    """Read, modify, write at once; the value before."""
    return f.op(v.ty, f"atomicrmw {what} ptr {p.ref}, {v.ty} {v.ref} seq_cst")


def swap(f: Function, p: V, old: V, new: V) -> V:
    """Compare and exchange: whether it succeeded."""
    pair = f.op(f"{{ {old.ty}, i1 }}", f"cmpxchg ptr {p.ref}, {old.ty} {old.ref}, {new.ty} {new.ref} seq_cst seq_cst")
    return f.op("i1", f"extractvalue {pair.ty} {pair.ref}, 1")


class Sharing(System):
    """Emits the helper with which a thread takes part in a group of commands."""

    def share(self, owner: bool) -> None:
        """``i64 share(pool, scratch, offer, party)``: take units of an offer and do them, until none is left.

        Returns how many units were done; those of threads that do not own the pool are added to ``done`` as well.
        """
        f = self.helper("share", "i64", [("ptr", "pool"), ("ptr", "scratch"), ("i64", "offer"), ("i64", "party")])
        pool, offer, party = f.arg("pool"), f.arg("offer"), f.arg("party")
        parties, units = f.and_(offer, COUNT), f.and_(f.lshr(offer, COUNT_BITS), COUNT)
        epoch = f.and_(offer, -1 << EPOCH_AT)
        count = f.alloca("i64")
        f.store(f.i64(0), count)
        out = f.label("out")
        with f.loop(0, parties, name="victim") as it:
            with f.if_(f.icmp("eq", it.i, 1)):
                self.linger(f, pool, offer, f.sub(units, f.load("i64", count)), owner, out)
            victim = f.bin("urem", f.add(it.i, party), parties)
            own = f.icmp("eq", victim, party)
            at = f.gep(field(f, pool, POOL["shares"]), "i8", f.mul(victim, LINE))
            again, work, mine, empty = (f.label(x) for x in ("again", "work", "mine", "empty"))
            f.br(again)
            f.place(again)
            share = atomic_load(f, "i64", at, "acquire")
            begun = f.icmp("eq", f.and_(share, -1 << EPOCH_AT), epoch)
            now = atomic_load(f, "i64", self.pool(f, pool, "offer"), "acquire")
            over = f.and_(f.xor(begun, V("i1", "true")), f.icmp("ne", now, offer))
            self.goto_if(f, over, out)
            front = f.select(begun, f.and_(share, COUNT), self.part(f, units, victim, parties))
            back = f.select(
                begun, f.and_(f.lshr(share, COUNT_BITS), COUNT), self.part(f, units, f.add(victim, 1), parties)
            )
            left = f.sub(back, front)
            f.cbr(f.icmp("sgt", left, 0), work, empty)
            f.place(work)
            n = f.max_i(f.lshr(left, f.select(own, f.i64(2), f.i64(1))), 1)
            first = f.select(own, front, f.sub(back, n))
            rest = f.or_(f.shl(f.select(own, back, first), COUNT_BITS), f.select(own, f.add(front, n), front))
            f.cbr(swap(f, at, share, f.or_(epoch, rest)), mine, again)
            f.place(mine)
            self.do_units(f, f.load("ptr", self.pool(f, pool, "group")), f.arg("scratch"), first, f.add(first, n))
            f.store(f.add(f.load("i64", count), n), count)
            if not owner:
                rmw(f, "add", self.pool(f, pool, "done"), f.cast("trunc", n, "i32"))
                asleep = atomic_load(f, "i32", self.pool(f, pool, "owner_asleep"))
                with f.if_(f.icmp("ne", asleep, 0)):
                    self.call_wake(f, pool, "done", f.const("i32", 1))
            f.br(again)
            f.place(empty)
        f.br(out)
        f.place(out)
        f.ret(f.load("i64", count))

    def linger(self, f: Function, pool: V, offer: V, others: V, owner: bool, out: str) -> None:
        """Before looking at shares of others, wait for as long as that takes: they may be about to be done.

        A look at a share takes its cache line away from the party that counts there.
        """
        if owner:
            at = self.pool(f, pool, "done")
            wanted = f.add(f.load("i32", self.pool(f, pool, "before")), f.cast("trunc", others, "i32"))
        else:
            at, wanted = self.pool(f, pool, "offer"), offer
        with f.loop(0, PATIENCE, name="linger"):
            now = atomic_load(f, wanted.ty, at, "monotonic")
            self.goto_if(f, f.icmp("eq" if owner else "ne", now, wanted), out)
            self.pause(f)

    def part(self, f: Function, units: V, party: V, parties: V) -> V:
        """Where the part of a party begins."""
        return f.bin("udiv", f.add(f.mul(units, party), f.sub(parties, 1)), parties)

    def do_units(self, f: Function, group: V, scratch: V, begin: V, end: V) -> None:
        """Do units of a group: of each of its commands the chunks that belong to them."""
        units = word_of(f, group, RECORD, "units")
        with f.loop(0, word_of(f, group, RECORD, "group"), name="member") as it:
            cmd = f.gep(group, "i8", f.mul(it.i, RECORD_BYTES))
            chunks, phase = word_of(f, cmd, RECORD, "chunks"), word_of(f, cmd, RECORD, "phase")
            lo, hi = (f.bin("udiv", f.add(f.mul(chunks, u), phase), units) for u in (begin, end))
            with f.if_(f.icmp("slt", lo, hi)):
                self.call_kernel(f, cmd, scratch, lo, hi)

    def call_kernel(self, f: Function, cmd: V, scratch: V, lo: V, hi: V) -> None:
        """Do chunks of a command."""
        fn, bufs, ints = (word_of(f, cmd, RECORD, n, "ptr") for n in ("fn", "bufs", "ints"))
        f.line(f"call void {fn.ref}(ptr {bufs.ref}, ptr {ints.ref}, ptr {scratch.ref}, i64 {lo.ref}, i64 {hi.ref})")
