"""Statements of others about an item: independence of contributors, their consensus, and Dawid and Skene's model.

The consensus of independent others is the intersection of their statements. Where they contradict one another, the
model weighs them by their agreement on the items that this contributor states, if that is significant; with too few
items more than half decide. So no contributor takes part in the consensus that it is measured against.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashhub.cancellation import check
from hashhub.reconcile.items import Statements

FIT_ITEMS: Final = 4_000  # from which the model learns for one contributor; more no longer move it
MIN_FIT_ITEMS: Final = 50  # from which it may learn at all
_TO_LEARN: Final = 3  # voices about an item: of two that differ nothing tells which errs
SURE: Final = 0.75  # posterior from which there is a consensus among others who contradict one another
_BELIEF: Final = 2.0  # statements' worth of belief beforehand that a contributor states what is so
_ROUNDS: Final = 30
_EQUAL: Final = 1e-9  # weights are fractions


class Independence:
    """Which contributors are independent: no common source, and no material from each other, even indirectly."""

    def __init__(self, contributors: Sequence[str], takes_from: Mapping[str, Sequence[str]]) -> None:
        origins = [_origins(name, takes_from) for name in contributors]
        count = len(contributors)
        self.related: NDArray[np.bool_] = np.eye(count, dtype=np.bool_)
        """bool[n, n]: not independent; each of itself."""
        by_origin: dict[str, list[int]] = {}
        for at, names in enumerate(origins):
            for name in names:
                by_origin.setdefault(name, []).append(at)
        for members in by_origin.values():
            self.related[np.ix_(members, members)] = True
        self.is_plain = bool(self.related.sum() == count)
        """Whether everybody is independent of everybody."""


def _origins(contributor: str, takes_from: Mapping[str, Sequence[str]]) -> frozenset[str]:
    reached, todo = {contributor}, [contributor]
    while todo:
        for name in takes_from.get(todo.pop(), ()):
            if name not in reached:
                reached.add(name)
                todo.append(name)
    return frozenset(reached)


class OtherVoices(NamedTuple):
    """Of each row's independent others: `number`; `voices`, those not independent of each other sharing one; `mask`,
    what all they state leaves possible (0: they contradict one another; all bits: none).
    """

    number: NDArray[np.int32]
    voices: NDArray[np.float64]
    mask: NDArray[np.uint16]


def pairs(
    item: NDArray[Any], contributor: NDArray[np.int32], independence: Independence | None
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Give all pairs of rows of one item by independent contributors (None: different ones), as two arrays of row
    numbers, in pieces of at most as many pairs as rows. Rows are ordered by item.
    """
    if not len(item):
        return
    bounds = np.flatnonzero(np.r_[True, item[1:] != item[:-1], True])
    last = np.repeat(bounds[1:], np.diff(bounds)) - 1
    left = np.flatnonzero(last > np.arange(len(item)))
    distance = 1
    while len(left):
        check()
        right = left + distance
        if independence is None or independence.is_plain:
            are_others = contributor[left] != contributor[right]
        else:
            are_others = ~independence.related[contributor[left], contributor[right]]
        yield left[are_others], right[are_others]
        distance += 1
        left = left[last[left] >= left + distance]


def others(statements: Statements, independence: Independence) -> OtherVoices:
    """Return the statements of independent others, for each row."""
    number = np.zeros(len(statements.item), np.int32)
    mask = np.full(len(statements.item), np.iinfo(np.uint16).max, np.uint16)
    for left, right in pairs(statements.item, statements.contributor, independence):
        number[left] += 1  # each row at most once a piece
        number[right] += 1
        mask[left] &= statements.mask[right]
        mask[right] &= statements.mask[left]
    return OtherVoices(number, _voices(statements, independence, number), mask)


def _voices(statements: Statements, independence: Independence, number: NDArray[np.int32]) -> NDArray[np.float64]:
    voices = number.astype(np.float64)
    if independence.is_plain or not len(voices):
        return voices
    has_related = np.zeros(statements.item[-1] + 1, np.bool_)
    for left, right in pairs(statements.item, statements.contributor, None):
        are_related = independence.related[statements.contributor[left], statements.contributor[right]]
        has_related[statements.item[left[are_related]]] = True
    shares = np.flatnonzero(has_related[statements.item] & (number > 1))
    for contributor in np.unique(statements.contributor[shares]):
        check()
        rows = shares[statements.contributor[shares] == contributor]
        item, at = _others_of(statements, independence, int(contributor), statements.item[rows])
        weights = _weights(item, statements.contributor[at], independence)
        voices[rows] = np.bincount(item, weights, len(rows))
    return voices


def _others_of(
    statements: Statements, independence: Independence, contributor: int, wanted: NDArray[np.int32]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows about `wanted` items by contributors independent of one: which item, which row of `Statements`."""
    low = np.searchsorted(statements.item, wanted, "left")
    size = np.searchsorted(statements.item, wanted, "right") - low
    item = np.repeat(np.arange(len(wanted)), size)
    at = np.arange(len(item)) - np.repeat(np.cumsum(size) - size, size) + np.repeat(low, size)
    is_other = ~independence.related[contributor, statements.contributor[at]]
    return item[is_other], at[is_other]


def consensus(
    statements: Statements, independence: Independence, heard: OtherVoices, *, seed: int
) -> NDArray[np.uint16]:
    """Return for each row what worlds the others' consensus leaves possible; 0: none. `seed`: draws FIT_ITEMS to learn
    from.
    """
    agreed = np.where(heard.number > 0, heard.mask, 0).astype(np.uint16)
    disputed = (heard.number > 1) & (heard.mask == 0)
    for contributor in np.unique(statements.contributor[disputed]):
        check()
        rows = np.flatnonzero(statements.contributor == contributor)
        agreed[rows[disputed[rows]]] = _weighed(statements, independence, heard, rows, disputed, seed)
    return agreed


def _weighed(
    statements: Statements,
    independence: Independence,
    heard: OtherVoices,
    rows: NDArray[np.intp],
    disputed: NDArray[np.bool_],
    seed: int,
) -> NDArray[np.uint16]:
    """Return the consensus of the others for the disputed ones of one contributor's rows."""
    contributor = int(statements.contributor[rows[0]])
    asked = rows[disputed[rows]]
    several = rows[heard.voices[rows] > _TO_LEARN - _EQUAL]
    learns = len(several) >= MIN_FIT_ITEMS
    if len(several) > FIT_ITEMS:
        several = np.sort(np.random.default_rng([seed, contributor]).choice(several, FIT_ITEMS, replace=False))
    wanted = np.union1d(statements.item[several] if learns else [], statements.item[asked]).astype(np.int32)
    item, at = _others_of(statements, independence, contributor, wanted)
    masks, code = np.unique(statements.mask[at], return_inverse=True)
    people, person = np.unique(statements.contributor[at], return_inverse=True)
    possible, worlds_of_class = _classes(masks)
    answers = Votes(item, person, code, _weights(item, people[person], independence))
    if learns:
        is_learned = np.isin(wanted, statements.item[several])[item]
        model = dawid_skene(
            Votes(item[is_learned], person[is_learned], code[is_learned], answers.weight[is_learned]),
            items=len(wanted),
            start=possible,
            belief=_BELIEF * possible / possible.sum(axis=1, keepdims=True),
            people=len(people),
        )
        # What is frequent elsewhere says nothing about this item: only what was stated of it does.
        posterior = model.posterior(answers, len(wanted), np.full(len(model.shares), 1 / len(model.shares)))
        masks_by_item = _sure(answers, posterior, possible, worlds_of_class)
    else:
        masks_by_item = _majority(answers, len(wanted), possible, worlds_of_class)
    return masks_by_item[np.searchsorted(wanted, statements.item[asked])]


def _classes(masks: NDArray[np.uint16]) -> tuple[NDArray[np.float64], NDArray[np.uint16]]:
    """Return float[classes, masks], 1 where a class lies in a mask, and the worlds of each class: worlds that no mask
    tells apart are one class. What no mask allows is none.
    """
    bits = (masks[None, :] >> np.arange(16, dtype=np.uint16)[:, None]) & 1
    mentioned = np.flatnonzero(bits.any(axis=1))
    memberships, class_of = np.unique(bits[mentioned], axis=0, return_inverse=True)
    worlds = np.zeros(len(memberships), np.uint16)
    np.bitwise_or.at(worlds, class_of, (np.uint16(1) << mentioned.astype(np.uint16)))
    return memberships.astype(np.float64), worlds


def _weights(item: NDArray[np.intp], contributor: NDArray[np.int32], independence: Independence) -> NDArray[np.float64]:
    """Return the weight of each answer: contributors of one item that are not independent of each other share one."""
    if independence.is_plain:
        return np.ones(len(item))
    related = np.ones(len(item))
    for left, right in pairs(item, contributor, None):
        are_related = independence.related[contributor[left], contributor[right]]
        related[left[are_related]] += 1
        related[right[are_related]] += 1
    weights: NDArray[np.float64] = 1 / related
    return weights


def _sure(
    answers: Votes, posterior: NDArray[np.float64], possible: NDArray[np.float64], worlds: NDArray[np.uint16]
) -> NDArray[np.uint16]:
    """Return for each item what is common to the answers that allow the likeliest class, if that is sure; else 0."""
    is_common = _common(answers, posterior.argmax(axis=0), possible)
    return np.where((posterior * is_common).sum(axis=0) >= SURE, _worlds(is_common, worlds), 0).astype(np.uint16)


def _majority(
    answers: Votes, items: int, possible: NDArray[np.float64], worlds: NDArray[np.uint16]
) -> NDArray[np.uint16]:
    """Return for each item the possibilities that more than half of its answers share, by weight; 0: none."""
    votes = _summed(answers.item, possible[:, answers.code] * answers.weight, items)
    most = votes.max(axis=0)
    is_common = _common(answers, votes.argmax(axis=0), possible)
    is_only = ~((votes > most - _EQUAL) & ~is_common).any(axis=0)
    is_most = most > np.bincount(answers.item, answers.weight, items) / 2 + _EQUAL
    return np.where(is_most & is_only, _worlds(is_common, worlds), 0).astype(np.uint16)


def _common(answers: Votes, chosen: NDArray[np.intp], possible: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return bool[classes, items]: the classes that all answers allow which allow the chosen class of their item."""
    allows = possible[chosen[answers.item], answers.code] > 0
    item, code = answers.item[allows], answers.code[allows]
    answered = np.bincount(item, minlength=len(chosen))
    common: NDArray[np.bool_] = (_summed(item, possible[:, code], len(chosen)) == answered) & (answered > 0)
    return common


def _worlds(has: NDArray[np.bool_], worlds: NDArray[np.uint16]) -> NDArray[np.uint16]:
    mask: NDArray[np.uint16] = np.bitwise_or.reduce(np.where(has, worlds[:, None], np.uint16(0)), axis=0)
    return mask


class Votes(NamedTuple):
    """Answers by person and item, numbered from 0, with their weights."""

    item: NDArray[np.intp]
    person: NDArray[np.intp]
    code: NDArray[np.intp]
    weight: NDArray[np.float64]


class AnswerModel(NamedTuple):
    """Frequencies of classes, float[classes], and of each person's codes by class, float[classes, people, codes]."""

    shares: NDArray[np.float64]
    errors: NDArray[np.float64]

    def posterior(self, answers: Votes, items: int, shares: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Return float[classes, items]: how likely each class is, given the answers about the item."""
        tiny = np.finfo(np.float64).tiny
        classes, people, codes = self.errors.shape
        errors = np.log(np.maximum(self.errors, tiny)).reshape(classes, people * codes)
        likely = _summed(answers.item, errors[:, answers.person * codes + answers.code] * answers.weight, items)
        likely += np.log(np.maximum(self.shares if shares is None else shares, tiny))[:, None]
        likely -= likely.max(axis=0)
        np.exp(likely, out=likely)
        likely /= likely.sum(axis=0)
        return likely


def dawid_skene(
    answers: Votes,
    *,
    items: int,
    people: int,
    start: NDArray[np.float64],
    belief: NDArray[np.float64] | None = None,
    rounds: int = _ROUNDS,
    tolerance: float = 1e-3,
) -> AnswerModel:
    """Fit the model of A. P. Dawid and A. M. Skene, "Maximum Likelihood Estimation of Observer Error-Rates Using the EM
    Algorithm", Applied Statistics 28 (1979), over answers that exist only.

    `start`: float[classes, codes], 1 where a code allows a class; an answer that allows several is divided among them
    in the first guess, the vote. `belief`: float[classes, codes], answers' worth of belief beforehand. It ends after
    `rounds`, or when no posterior moves by more than `tolerance`.
    """
    classes, codes = start.shape
    vote = _summed(answers.item, (start / start.sum(axis=0))[:, answers.code] * answers.weight, items)
    total = vote.sum(axis=0)
    is_answered = total > 0
    posterior = np.divide(vote, total, out=np.zeros_like(vote), where=is_answered)
    cell = answers.person * codes + answers.code
    while True:
        counts = _summed(cell, posterior[:, answers.item] * answers.weight, people * codes)
        errors = counts.reshape(classes, people, codes)
        if belief is not None:
            errors = errors + belief[:, None, :]
        answered = errors.sum(axis=2, keepdims=True)
        errors = np.divide(errors, answered, out=np.full_like(errors, 1 / codes), where=answered > 0)
        model = AnswerModel(posterior[:, is_answered].mean(axis=1), errors)
        rounds -= 1
        before, posterior = posterior, model.posterior(answers, items) * is_answered
        if rounds <= 0 or np.abs(posterior - before).max(initial=0) <= tolerance:
            return model


def _summed(key: NDArray[np.intp], values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return float[rows, count]: each row of `values` summed by key."""
    return np.stack([np.bincount(key, row, count) for row in values])
