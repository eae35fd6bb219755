"""The merges of byte-pair encoding, learned from words and how often they occur (Sennrich et al. 2016)."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from itertools import pairwise

from gradloom.errors import ArgumentError

__all__ = ["learned"]

Pair = tuple[int, int]


def learned(
    words: Mapping[str, int], alphabet: Sequence[str], vocab_size: int, min_frequency: int, special: Sequence[str]
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges. Of equally frequent pairs that of the lower ids is first.

    Only words that have a merged pair are looked at again, so a merge costs what it changes.
    """
    vocab = {t: i for i, t in enumerate(dict.fromkeys([*special, *alphabet]))}
    if vocab_size < len(vocab):
        raise ArgumentError(f"vocab_size is {vocab_size}, the alphabet and special tokens alone are {len(vocab)}")
    names = list(vocab)
    texts = [[vocab[c] for c in w] for w in words]
    times = list(words.values())
    counts: dict[Pair, int] = {}
    places: dict[Pair, set[int]] = {}
    for n, ids in enumerate(texts):
        for pair in pairwise(ids):
            counts[pair] = counts.get(pair, 0) + times[n]
            places.setdefault(pair, set()).add(n)
    waiting = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(waiting)
    merges: list[tuple[str, str]] = []
    while waiting and len(vocab) < vocab_size:
        count, pair = heapq.heappop(waiting)
        now = counts.get(pair, 0)
        if -count != now:  # it has become rarer since
            if now:
                heapq.heappush(waiting, (-now, pair))
            continue
        if now < max(min_frequency, 1):
            break
        token = names[pair[0]] + names[pair[1]]
        new = vocab.setdefault(token, len(vocab))
        if new == len(names):
            names.append(token)
        merges.append((names[pair[0]], names[pair[1]]))
        changed: set[Pair] = set()
        for n in places.pop(pair):
            _merge(texts[n], pair, new, times[n], n, counts, places, changed)
        counts.pop(pair, None)
        for other in changed:
            if other in counts:
                heapq.heappush(waiting, (-counts[other], other))
    return vocab, merges


def _merge(
    ids: list[int], pair: Pair, new: int, times: int, word: int, counts: dict[Pair, int],
    places: dict[Pair, set[int]], changed: set[Pair],
) -> None:  # fmt: skip
    """Replace the pair in one word; pairs that there are no longer count less, new ones more."""
    out: list[int] = []
    at = 0
    while at < len(ids):
        if at + 1 < len(ids) and (ids[at], ids[at + 1]) == pair:
            out.append(new)
            at += 2
        else:
            out.append(ids[at])
            at += 1
    for gone in pairwise(ids):
        counts[gone] -= times
    for come in pairwise(out):
        if new in come:
            changed.add(come)
        counts[come] = counts.get(come, 0) + times
        places.setdefault(come, set()).add(word)
    ids[:] = out
