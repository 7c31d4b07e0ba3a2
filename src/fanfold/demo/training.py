"""The demo's first program: a pipeline that learns to tell a docstring's module from its words.

Softmax regression on hashed bags of words, by gradient descent in plain numpy. It is small enough
to watch and real enough to be wrong: held-out accuracy stands beside that of always guessing the
most frequent module.
"""

import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanfold import flow, task
from fanfold.demo import lookups
from fanfold.demo.corpus import document_paths, words
from fanfold.tasks import task_input_hash

MODULES = 30
"""How many of the most frequent top-level modules are told apart."""

BUCKETS = 2048
"""Width of a bag of words; words that share a bucket share a weight. At 4096 one held-out text in a
hundred more is right, but the weights outgrow a processor's cache: 5 s instead of 0.7."""

FEWEST_TEXTS = 2
"""Words in fewer training texts than this are dropped: they can't help with any other text."""

HELD_OUT = 0.2
"""Share of the distinct texts that training doesn't see."""

EPOCHS = 30
BATCH = 64
SEED = 7

BAG_LENGTH = 5.0
"""Length of a bag as a vector: the longer, the more a step of the optimiser moves its score. At 5 a
learning rate of 0.001 converges in `EPOCHS`; at 1 it has hardly begun."""

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Bags of words and their modules, in two parts that have no text in common."""

    bags: Floats
    """One row per training text, `BUCKETS` wide."""
    labels: Integers
    held_out_bags: Floats
    held_out_labels: Integers
    modules: NDArray[np.str_]
    """The name behind each label."""
    vocabulary: Integers
    """A single number: how many words were kept."""


@task(
    retries=3,
    retry_delay_seconds=60,
    cache_key_fn=task_input_hash,
    cache_expiration=timedelta(hours=24),
)
def preprocess_dataset(raw_path: str) -> str:
    """Turn a corpus folder into a file of numbers beside it, and return the file's path."""
    path = dataset_path(raw_path)
    save(build(*read(raw_path)), path)
    return str(path)


@task(retries=2)
def train_model(data_path: str, lr: float) -> dict:  # pyright: ignore[reportMissingTypeArgument, reportUnknownParameterType]
    """Return the metrics of a model trained on a prepared dataset."""
    dataset = load(Path(data_path))
    print(
        f"{len(dataset.labels):,} docstrings of {len(dataset.modules)} modules to learn from, "
        f"{len(dataset.held_out_labels):,} held out, {int(dataset.vocabulary[0]):,} words"
    )
    weights = np.zeros((dataset.bags.shape[1] + 1, len(dataset.modules)), dtype=np.float32)
    loss = float("nan")
    for epoch, loss in enumerate(descend(dataset.bags, dataset.labels, weights, lr, EPOCHS), 1):
        if epoch in (1, 3, 10, EPOCHS):
            print(f"epoch {epoch:2}  loss {loss:.3f}")
    metrics = {
        "loss": loss,
        "accuracy": accuracy(weights, dataset.held_out_bags, dataset.held_out_labels),
        "baseline": majority(dataset.labels, dataset.held_out_labels),
    }
    print(
        f"held out: {metrics['accuracy']:.1%} right; "
        f"always guessing the most frequent module: {metrics['baseline']:.1%}"
    )
    return metrics


@flow(name="ml-training-pipeline", log_prints=True)
def training_pipeline(raw_path: str, lr: float = 0.001):  # pyright: ignore[reportUnknownParameterType]
    """Prepare the corpus and train on it; returns the metrics."""
    prepared = preprocess_dataset.submit(raw_path)
    data_path = prepared.result()
    lookups.note("training", {prepared.state.name: 1})
    if not Path(data_path).exists():
        # A cached path outlives its file when somebody tidies the folder.
        print(f"{data_path} is gone, though the cache names it: making it again")
        save(build(*read(raw_path)), Path(data_path))
    return train_model(data_path, lr)


def dataset_path(raw_path: str) -> Path:
    """Return where the dataset of a corpus folder is kept."""
    return Path(raw_path).with_name(f"{Path(raw_path).name}.npz")


def read(raw_path: str) -> tuple[list[str], list[str]]:
    """Return the texts of a corpus folder and the top-level module of each.

    Raises:
        FileNotFoundError: The folder holds no texts.
    """
    paths = [Path(path) for path in document_paths(Path(raw_path))]
    if not paths:
        raise FileNotFoundError(f"{raw_path} holds no docstrings")
    texts = [path.read_text(encoding="utf-8") for path in paths]
    return texts, [path.parent.name.split(".")[0] for path in paths]


def build(texts: Sequence[str], modules: Sequence[str]) -> Dataset:
    """Return a dataset of the most frequent modules' texts; equal inputs give equal datasets."""
    ranked = sorted(Counter(modules).items(), key=lambda item: (-item[1], item[0]))
    label_of = {module: label for label, (module, _) in enumerate(ranked[:MODULES])}
    kept = [index for index, module in enumerate(modules) if module in label_of]
    labels = np.array([label_of[modules[index]] for index in kept], dtype=np.int64)
    counts = [Counter(words(texts[index])) for index in kept]
    held_out = split([texts[index] for index in kept])
    texts_with = Counter(
        word for count, apart in zip(counts, held_out, strict=True) if not apart for word in count
    )
    vocabulary = {word for word, number in texts_with.items() if number >= FEWEST_TEXTS}
    rows = bags(counts, vocabulary)
    return Dataset(
        bags=rows[~held_out],
        labels=labels[~held_out],
        held_out_bags=rows[held_out],
        held_out_labels=labels[held_out],
        modules=np.array(list(label_of)),
        vocabulary=np.array([len(vocabulary)]),
    )


def split(texts: Sequence[str]) -> NDArray[np.bool_]:
    """Return which texts are held out, by a fixed seed.

    Equal texts stay on one side: modules copy each other's docstrings, and a copy that was seen in
    training is no test.
    """
    group_of: dict[tuple[str, ...], int] = {}
    groups = [group_of.setdefault(tuple(words(text)), len(group_of)) for text in texts]
    drawn = np.random.default_rng(SEED).permutation(len(group_of))
    apart = drawn < round(HELD_OUT * len(group_of))
    return apart[groups]


def bags(counts: Sequence[Counter[str]], vocabulary: set[str]) -> Floats:
    """Return hashed bags of words, a row of `BAG_LENGTH` per text; zeros where no word is known."""
    rows = np.zeros((len(counts), BUCKETS), dtype=np.float32)
    for row, count in zip(rows, counts, strict=True):
        for word, number in count.items():
            if word in vocabulary:
                # crc32 and not hash(), which differs from process to process.
                row[zlib.crc32(word.encode()) % BUCKETS] += 1 + np.log(number)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    rows *= np.float32(BAG_LENGTH) / np.maximum(lengths, 1e-9)
    return rows


def descend(
    inputs: Floats, labels: Integers, weights: Floats, lr: float, epochs: int
) -> Iterator[float]:
    """Fit softmax regression in place, an epoch per step; yields each epoch's mean loss.

    Mini-batches, in an order of fixed seed, with Adam's steps. The last row of `weights` is the
    bias.
    """
    inputs = np.hstack([inputs, np.ones((len(inputs), 1), dtype=np.float32)])
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    random, steps = np.random.default_rng(SEED), 0
    for _ in range(epochs):
        losses = 0.0
        order = random.permutation(len(inputs))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            gradient, loss = slope(inputs[batch], labels[batch], weights)
            steps += 1
            first += 0.1 * (gradient - first)
            second += 0.001 * (gradient * gradient - second)
            step = lr * (1 - 0.999**steps) ** 0.5 / (1 - 0.9**steps)
            weights -= step * first / (np.sqrt(second) + 1e-8)
            losses += loss * len(batch)
        yield losses / len(order)


def slope(inputs: Floats, labels: Integers, weights: Floats) -> tuple[Floats, float]:
    """Return the gradient of the mean cross-entropy by the weights, and the mean itself."""
    scores = inputs @ weights
    scores -= scores.max(axis=1, keepdims=True)
    shares = np.exp(scores)
    totals = shares.sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    loss = float(np.mean(np.log(totals[:, 0]) - scores[rows, labels]))
    shares /= totals
    shares[rows, labels] -= 1
    return inputs.T @ shares / np.float32(len(labels)), loss


def accuracy(weights: Floats, inputs: Floats, labels: Integers) -> float:
    """Return the share of inputs whose likeliest label is the true one."""
    guesses = np.argmax(inputs @ weights[:-1] + weights[-1], axis=1)
    return float(np.mean(guesses == labels))


def majority(labels: Integers, held_out: Integers) -> float:
    """Return the accuracy of always guessing the training part's most frequent label."""
    return float(np.mean(held_out == np.bincount(labels).argmax()))


def save(dataset: Dataset, path: Path) -> None:
    """Write a dataset in one step, so that nobody reads half a file."""
    columns: dict[str, Any] = {
        column.name: getattr(dataset, column.name) for column in fields(dataset)
    }
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".dataset-", delete=False) as draft:
        np.savez_compressed(draft, **columns)
    Path(draft.name).replace(path)


def load(path: Path) -> Dataset:
    """Read a dataset that `save` wrote."""
    with np.load(path, allow_pickle=False) as columns:
        return Dataset(**{column.name: columns[column.name] for column in fields(Dataset)})
