# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from seas_aug.evaluate.group_folds import (
    auroc,
    balanced_accuracy,
    fit,
    fold_scores,
    folds_by_group,
    linear_classifier,
    out_of_fold_types,
    type_scores,
    weighted_auroc,
)


def test_no_group_is_trained_and_tested_on():
    groups = [f"g{row // 4}" for row in range(40)]
    labels = np.asarray([row // 4 % 2 for row in range(40)])
    tested = []
    for train, test in folds_by_group(labels, groups):
        assert not {groups[row] for row in train} & {groups[row] for row in test}
        tested += test.tolist()
    assert sorted(tested) == list(range(40))


def test_a_single_group_of_a_class_cannot_be_tested():
    labels = np.asarray([True] * 6 + [False] * 6)
    assert folds_by_group(labels, ["one"] * 6 + list("abcdef")) == []
    scores = fold_scores(np.random.default_rng(0).random((12, 3)), labels, ["one"] * 6 + list("abcdef"))
    assert np.isnan(scores.auroc(np.flatnonzero(labels), np.flatnonzero(~labels)))


def test_what_only_tells_the_group_is_of_no_use():
    rng = np.random.default_rng(0)
    groups = np.arange(120) // 6
    features = rng.normal(size=(20, 60))[groups] + 0.1 * rng.normal(size=(120, 60))
    labels = groups % 2 == 0
    rows = np.flatnonzero(labels), np.flatnonzero(~labels)
    by_group = fold_scores(features, labels, [str(group) for group in groups])
    alone = fold_scores(features, labels, [str(row) for row in range(120)])
    assert alone.auroc(*rows) > 0.95
    assert by_group.auroc(*rows) < 0.75


def test_equal_sets_score_a_half_on_average():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(20):
        features, labels = rng.normal(size=(80, 8)), np.arange(80) < 40
        scores = fold_scores(features, labels, [str(row) for row in range(80)], repeats=1)
        found.append(scores.auroc(np.arange(40), np.arange(40, 80)))
    assert abs(np.mean(found) - 0.5) < 0.05


def test_only_pairs_of_one_fold_are_compared():
    labels = np.arange(30) < 15
    scores = fold_scores(
        np.random.default_rng(0).normal(size=(30, 3)), labels, [str(row) for row in range(30)], repeats=2
    )
    wins = total = 0
    for repeat in range(2):
        for one in range(15):
            for other in range(15, 30):
                if scores.folds[repeat, one] == scores.folds[repeat, other]:
                    wins += scores.scores[repeat, one] > scores.scores[repeat, other]
                    total += 1
    assert scores.auroc(np.arange(15), np.arange(15, 30)) == pytest.approx(wins / total)


def test_areas_are_those_of_scikit_learn():
    rng = np.random.default_rng(1)
    positive, negative = rng.integers(0, 9, 30).astype(float), rng.integers(-3, 7, 50).astype(float)
    labels, scores = np.r_[np.ones(30), np.zeros(50)], np.r_[positive, negative]
    assert auroc(positive, negative) == pytest.approx(roc_auc_score(labels, scores))
    weights = rng.random(80)
    found = weighted_auroc(positive, negative, weights[:30], weights[30:])
    assert found == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights))
    assert np.isnan(auroc(positive, negative[:0]))


def test_balanced_accuracy_is_that_of_scikit_learn():
    truth, found = list("aaabbc"), list("aabbac")
    assert balanced_accuracy(truth, found) == pytest.approx(balanced_accuracy_score(truth, found))


@pytest.mark.parametrize("kinds", [2, 4])
def test_differences_of_scores_are_log_odds(kinds):
    rng = np.random.default_rng(0)
    names = np.asarray([f"t{row % kinds}" for row in range(60)])
    features = rng.normal(size=(60, 5)) + (np.arange(60) % kinds)[:, None]
    classifier = fit(linear_classifier(), features, names)
    scores, log = type_scores(classifier, features), classifier.predict_log_proba(features)
    assert scores[:, 1] - scores[:, 0] == pytest.approx(log[:, 1] - log[:, 0])
    found = out_of_fold_types(features, names.tolist(), [str(row // kinds) for row in range(60)])
    assert balanced_accuracy(names.tolist(), found) > 1.5 / kinds
