"""Steps of a pipeline that call the user's functions, batch, or read ahead."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count, islice
from typing import Any

import numpy as np

from gradloom.data import elements
from gradloom.data.random import derived
from gradloom.data.steps import Run, Slices, Step
from gradloom.random import drawn_from
from gradloom.tensor import Tensor


def applied(function: Callable[..., Any], element: Any) -> Any:
    """What the user's function makes of an element: the parts of a tuple are arguments of their own."""
    seen = elements.mapped(element, elements.shown)
    return function(*seen) if type(seen) is tuple else function(seen)


class Map(Step):
    """A function of each element, by `threads` threads if any; what it draws depends on the element's place alone."""

    def __init__(self, parent: Step, function: Callable[..., Any], threads: int) -> None:
        super().__init__(parent)
        self.function, self.threads = function, threads

    def run(self, run: Run, skip: int = 0) -> Iterator[Any]:
        numbered = zip(count(skip), self.parents[0].run(run, skip))

        def call(item: tuple[int, Any]) -> Any:
            with drawn_from(derived(run.seed, run.epoch, item[0], 500 + self.number)):
                found = applied(self.function, item[1])
            if not self.tensors:
                self.tensors = any(isinstance(leaf, Tensor) for leaf in elements.leaves(found))
            return elements.mapped(found, elements.as_array)

        # the first in this thread: it shows whether the function works on tensors
        yield from map(call, islice(numbered, 1))
        if self.threads > 1 and not self.only_here():
            yield from _in_order(call, numbered, self.threads)
        else:
            yield from map(call, numbered)

    def length(self) -> int | None:
        return self.parents[0].length()


def _in_order(call: Callable[[Any], Any], items: Iterator[Any], threads: int) -> Iterator[Any]:
    pool = ThreadPoolExecutor(threads, thread_name_prefix="gradloom-map")
    waiting: deque[Future[Any]] = deque(pool.submit(call, item) for item in islice(items, 2 * threads))
    try:
        while waiting:
            ready = waiting.popleft().result()
            waiting.extend(pool.submit(call, item) for item in islice(items, 1))
            yield ready
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class Filter(Step):
    """The elements of which a function is true."""

    def __init__(self, parent: Step, predicate: Callable[..., Any], ending: bool = False) -> None:
        super().__init__(parent)
        self.predicate, self.ending = predicate, ending

    def run(self, run: Run, skip: int = 0) -> Iterator[Any]:
        return islice(self._kept(run), skip, None)

    def _kept(self, run: Run) -> Iterator[Any]:
        for element in self.parents[0].run(run):
            answer = applied(self.predicate, element)
            self.tensors = self.tensors or isinstance(answer, Tensor)
            if bool(answer):
                yield element
            elif self.ending:
                return


class Flat(Step):
    """The elements of what a function makes of each element, `cycle` of them in turn, `block` elements at a time."""

    def __init__(self, parent: Step, function: Callable[..., Any], cycle: int, block: int) -> None:
        super().__init__(parent)
        self.function, self.cycle, self.block = function, cycle, block

    def run(self, run: Run, skip: int = 0) -> Iterator[Any]:
        return islice(self._all(run), skip, None)

    def _all(self, run: Run) -> Iterator[Any]:
        def opened(numbered: tuple[int, Any]) -> Iterator[Any]:
            made = applied(self.function, numbered[1])
            if not hasattr(made, "step"):
                raise TypeError(f"the function must return a data set made by gradloom.data, got {type(made).__name__}")
            return made.step.run(Run(derived(run.seed, numbered[0], 700 + self.number), run.epoch))  # type: ignore[no-any-return]

        sources = map(opened, enumerate(self.parents[0].run(run)))
        open_ones = list(islice(sources, self.cycle))
        turn = 0
        while open_ones:
            turn %= len(open_ones)
            block = list(islice(open_ones[turn], self.block))
            yield from block
            if len(block) == self.block:
                turn += 1
                continue
            following = next(sources, None)
            if following is None:
                del open_ones[turn]
            else:
                open_ones[turn] = following
                turn += 1


class Scan(Step):
    """A function of a state and each element, which gives the next state and what is handed on."""

    def __init__(self, parent: Step, initial: Any, function: Callable[[Any, Any], tuple[Any, Any]]) -> None:
        super().__init__(parent)
        self.initial, self.function = initial, function
        self.tensors = True

    def run(self, run: Run, skip: int = 0) -> Iterator[Any]:
        return islice(self._scanned(run), skip, None)

    def _scanned(self, run: Run) -> Iterator[Any]:
        state = self.initial
        for element in self.parents[0].run(run):
            state, out = self.function(state, elements.mapped(element, elements.shown))
            yield elements.mapped(out, elements.as_array)

    def length(self) -> int | None:
        return self.parents[0].length()


class Batch(Step):
    """So many elements as one, with an axis more in front. pad: how, where their shapes differ."""

    def __init__(self, parent: Step, size: int, drop: bool, pad: Callable[[list[Any]], Any] | None = None) -> None:
        super().__init__(parent)
        self.size, self.drop, self.pad = size, drop, pad

    def run(self, run: Run, skip: int = 0) -> Iterator[Any]:
        parent = self.parents[0]
        slices: Slices | None = parent.arrays() if self.pad is None else None
        items = parent.run(run, skip * self.size) if slices is None else parent.numbers(run, skip * self.size)
        while batch := list(islice(items, self.size)):
            if len(batch) < self.size and self.drop:
                return
            if slices is not None:
                yield slices.gather(batch)
            else:
                yield self.pad(batch) if self.pad is not None else elements.joined(batch, elements.stacked)

    def length(self) -> int | None:
        size = self.parents[0].length()
        if size is None or size < 0:
            return size
        return size // self.size if self.drop else -(-size // self.size)


class Buckets(Step):
    """Batches of elements whose lengths fall into one bucket, each padded by `pad(elements, bucket)`."""

    def __init__(
        self, parent: Step, length: Callable[..., Any], bounds: list[int], sizes: list[int], drop: bool,
        pad: Callable[[list[Any], int], Any],
    ) -> None:  # fmt: skip
        super().__init__(parent)
        self.measure, self.bounds, self.sizes, self.drop, self.pad = length, bounds, sizes, drop, pad

    def run(self, run: Run, skip: int = 0) -> Iterator[Any]:
        return islice(self._batches(run), skip, None)

    def _batches(self, run: Run) -> Iterator[Any]:
        waiting: list[list[Any]] = [[] for _ in self.sizes]
        for element in self.parents[0].run(run):
            length = applied(self.measure, element)
            self.tensors = self.tensors or isinstance(length, Tensor)
            which = int(np.searchsorted(self.bounds, int(length), side="right"))
            waiting[which].append(element)
            if len(waiting[which]) == self.sizes[which]:
                yield self.pad(waiting[which], which)
                waiting[which] = []
        for which, rest in enumerate(waiting):
            if rest and not self.drop:
                yield self.pad(rest, which)


class Prefetch(Step):
    """Elements read ahead by a thread, `ahead` of them, unless what is before works on tensors."""

    def __init__(self, parent: Step, ahead: int) -> None:
        super().__init__(parent)
        self.ahead = ahead

    def run(self, run: Run, skip: int = 0) -> Iterator[Any]:
        source = self.parents[0].run(run, skip)
        yield from islice(source, 1)  # in this thread: it shows what is worked on
        if self.only_here():
            yield from source
            return
        ready: queue.Queue[tuple[bool, Any]] = queue.Queue(self.ahead)
        stopped = threading.Event()
        end = object()

        def put(item: tuple[bool, Any]) -> bool:
            while not stopped.is_set():
                try:
                    ready.put(item, timeout=0.1)
                    return True
                except queue.Full:
                    continue
            return False

        def work() -> None:
            try:
                for element in source:
                    if not put((True, element)):
                        return
                put((True, end))
            except BaseException as error:
                put((False, error))

        thread = threading.Thread(target=work, name="gradloom-prefetch", daemon=True)
        thread.start()
        try:
            while True:
                fine, element = ready.get()
                if not fine:
                    raise element
                if element is end:
                    return
                yield element
        finally:
            stopped.set()
            thread.join()

    def length(self) -> int | None:
        return self.parents[0].length()


class Window(Step):
    """Data sets of `size` elements each, the first elements `shift` apart, every `stride`-th element in one."""

    def __init__(self, parent: Step, size: int, shift: int, stride: int, drop: bool) -> None:
        super().__init__(parent)
        self.size, self.shift, self.stride, self.drop = size, shift, stride, drop

    def windows(self, run: Run) -> Iterator[list[Any]]:
        """The elements of each window."""
        source = self.parents[0].run(run)
        span = (self.size - 1) * self.stride + 1
        held: list[Any] = list(islice(source, span))
        while held:
            window = held[: span : self.stride]
            if len(window) < self.size and self.drop:
                return
            yield window
            for _ in islice(source, max(0, self.shift - len(held))):
                pass  # between two windows
            held = held[self.shift :]
            held += list(islice(source, span - len(held)))

    def run(self, run: Run, skip: int = 0) -> Iterator[Any]:
        def structure(window: list[Any]) -> Any:
            from gradloom.data.pipeline import Pipeline
            from gradloom.data.steps import Source

            def leaf(values: list[Any]) -> Any:
                return Pipeline(Source(lambda: iter(values), len(values)))

            return elements.joined(window, leaf)

        return islice(map(structure, self.windows(run)), skip, None)
