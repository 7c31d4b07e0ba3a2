"""The training part learns, and is examined on nothing that it has seen."""

from collections import Counter
from pathlib import Path

import numpy as np

from fanfold.demo.training import (
    BAG_LENGTH,
    Dataset,
    accuracy,
    bags,
    build,
    descend,
    load,
    majority,
    save,
    slope,
    split,
)


def separable() -> Dataset:
    """A dataset in which a single word gives the module away, among words that don't."""
    random = np.random.default_rng(0)
    noise = [f"word{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    modules = ["mailbox"] * 120 + ["tarfile"] * 80 + ["logging"] * 60
    telling = {"mailbox": "message", "tarfile": "archive", "logging": "handler"}
    texts = [
        " ".join([telling[module], *random.choice(noise, size=8), f"n{index}"])
        for index, module in enumerate(modules)
    ]
    return build(texts, modules)


def test_equal_texts_stay_on_one_side_of_the_split() -> None:
    texts = [f"Return item {index % 50} of the list." for index in range(200)]

    apart = split(texts)

    held_out = {text for text, out in zip(texts, apart, strict=True) if out}
    seen = {text for text, out in zip(texts, apart, strict=True) if not out}
    assert not held_out & seen
    assert len(held_out) == 10
    assert (split(texts) == apart).all()


def test_rare_words_count_nothing_and_every_bag_has_one_length() -> None:
    rows = bags([Counter(read=3, once=1), Counter(once=2)], vocabulary={"read"})

    assert np.linalg.norm(rows, axis=1).tolist() == [BAG_LENGTH, 0.0]


def test_the_gradient_is_the_slope_of_the_loss() -> None:
    random = np.random.default_rng(1)
    inputs = random.normal(size=(5, 4)).astype(np.float32)
    weights = random.normal(size=(4, 3)).astype(np.float32)
    labels = np.array([0, 1, 2, 1, 0])
    nudge = np.zeros_like(weights)
    nudge[2, 1] = 1e-2

    gradient, _ = slope(inputs, labels, weights)

    rise = slope(inputs, labels, weights + nudge)[1] - slope(inputs, labels, weights - nudge)[1]
    assert np.isclose(gradient[2, 1], rise / 2e-2, rtol=1e-2)


def test_gradient_descent_beats_the_majority_on_texts_that_it_has_not_seen() -> None:
    dataset = separable()
    weights = np.zeros((dataset.bags.shape[1] + 1, len(dataset.modules)), dtype=np.float32)

    losses = list(descend(dataset.bags, dataset.labels, weights, lr=0.01, epochs=20))

    baseline = majority(dataset.labels, dataset.held_out_labels)
    assert accuracy(weights, dataset.held_out_bags, dataset.held_out_labels) > 0.95 > baseline
    assert losses[-1] < losses[0] / 4


def test_a_dataset_reads_back_as_it_was_written(tmp_path: Path) -> None:
    dataset = separable()

    save(dataset, tmp_path / "data.npz")

    back = load(tmp_path / "data.npz")
    assert (back.bags == dataset.bags).all()
    assert back.modules.tolist() == ["mailbox", "tarfile", "logging"]
    assert [path.name for path in tmp_path.iterdir()] == ["data.npz"]
