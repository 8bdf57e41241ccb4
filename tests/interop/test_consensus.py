"""Our consensus, judged by crowd-kit's."""

from __future__ import annotations

import numpy as np
import pytest

from hashhub.reconcile.consensus import Votes, dawid_skene

ITEMS, PEOPLE, CLASSES = 400, 6, 4


@pytest.mark.filterwarnings("ignore")  # crowd-kit's, about pandas
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_dawid_skene_is_that_of_crowd_kit(seed: int) -> None:
    pandas = pytest.importorskip("pandas")
    aggregation = pytest.importorskip("crowdkit.aggregation")
    random = np.random.default_rng(seed)
    truth = random.choice(CLASSES, ITEMS, p=[0.5, 0.25, 0.15, 0.1])
    item, person = (a.ravel() for a in np.meshgrid(np.arange(ITEMS), np.arange(PEOPLE), indexing="ij"))
    answered = random.random(len(item)) < 0.7
    item, person = item[answered], person[answered]
    right = np.linspace(0.9, 0.5, PEOPLE)[person]
    code = np.where(random.random(len(item)) < right, truth[item], random.integers(0, CLASSES, len(item)))
    theirs = aggregation.DawidSkene(n_iter=200, tol=0)
    theirs.fit(pandas.DataFrame({"task": item, "worker": person, "label": code}))
    answers = Votes(item, person, code, np.ones(len(item)))
    ours = dawid_skene(answers, items=ITEMS, people=PEOPLE, start=np.eye(CLASSES), rounds=200, tolerance=0)
    posterior = ours.posterior(answers, ITEMS)
    asked = np.unique(item)
    expected = theirs.probas_.loc[asked, range(CLASSES)].to_numpy()
    assert posterior.T[asked] == pytest.approx(expected, abs=1e-3)
    assert ours.shares == pytest.approx(theirs.priors_.loc[range(CLASSES)].to_numpy(), abs=1e-3)
