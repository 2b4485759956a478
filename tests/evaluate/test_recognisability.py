# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from seas_aug.evaluate.recognisability import TypeClassifier, inception_score


def test_score_against_sums_written_out() -> None:
    logits = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
    rows = logits.softmax(1).tolist()
    whole = [sum(row[k] for row in rows) / len(rows) for k in range(4)]
    divergence = sum(sum(p * math.log(p / q) for p, q in zip(row, whole, strict=True)) for row in rows) / len(rows)
    assert inception_score(logits) == pytest.approx(math.exp(divergence), rel=1e-4)


def test_sure_and_various_is_best() -> None:
    sure = torch.eye(3).repeat(4, 1) * 50
    assert inception_score(sure) == pytest.approx(3, rel=1e-3)
    assert inception_score(sure[:1].repeat(6, 1)) == pytest.approx(1, rel=1e-3)
    assert inception_score(torch.zeros(6, 3)) == pytest.approx(1, rel=1e-3)


def test_classifier_tells_types() -> None:
    generator = torch.Generator().manual_seed(0)
    smooth = torch.full((12, 3, 32, 32), 120.0) + torch.randn(12, 3, 1, 1, generator=generator) * 5
    rough = smooth + torch.randn(12, 3, 32, 32, generator=generator) * 40
    images = torch.cat([smooth, rough]).clamp(0, 255).to(torch.uint8)
    types = ["smooth"] * 12 + ["rough"] * 12
    classifier = TypeClassifier(images[::2], types[::2])
    found = classifier.logits(images[1::2])
    assert found.shape == (12, 2)
    assert found.argmax(1).tolist() == [1] * 6 + [0] * 6  # rough comes first in the alphabet
    with pytest.raises(ValueError, match="two or more"):
        TypeClassifier(images[:3], ["smooth"] * 3)
