"""The demo's second program: vectors for thousands of texts in one map, and questions to them.

A vector counts words, pairs of words and pieces of words by signed hashing, so near spellings and
near phrases are near. There is no model to download.
"""

import hashlib
from collections import Counter
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fanfold import flow, task
from fanfold.demo import lookups
from fanfold.demo.corpus import document_name, words
from fanfold.tasks import task_input_hash

DIMENSIONS = 1024
PIECES = (3, 4, 5)
"""Lengths of the pieces of words that are counted, with the word's ends marked."""

PAIR_WEIGHT = 0.5
PIECE_WEIGHT = 0.35
"""Below 1, for a word has several pieces and they only hint at it."""

TEXT_WEIGHT = 0.5
"""Below 1, for what a function does is said in its name and summary; the rest is details."""

STOP_WORDS = (
    "a an and are as at be by for from has if in into is it its not of on or that the this to was"
    " when which will with you"
)
"""Words that say nothing about what a text is about."""

Vector = NDArray[np.float32]

_SILENT = frozenset(STOP_WORDS.split())


@task(cache_key_fn=task_input_hash)
def embed_single(document_path: str) -> Vector:
    """Return the vector of a corpus file: of the name it documents, its summary and its text."""
    text = Path(document_path).read_text(encoding="utf-8")
    summary = text.split("\n\n", 1)[0]
    vector = embed_text(document_name(document_path)) + embed_text(summary)
    vector += TEXT_WEIGHT * embed_text(text)
    return _unit(vector)


@flow
def embed_documents(document_paths: list[str]):
    """Return a vector per document, in the order of the paths."""
    futures = embed_single.map(document_paths)
    results = [f.result() for f in futures]
    lookups.note("embedding", futures.states)
    return results


def embed_text(text: str) -> Vector:
    """Return a text's vector of length 1, equal in every process; zeros if it has no words.

    Thread-safe.
    """
    spoken = [word for word in words(text) if word not in _SILENT]
    counts = Counter(spoken)
    counts.update(f"{left} {right}" for left, right in pairwise(spoken))
    if not counts:
        return np.zeros(DIMENSIONS, dtype=np.float32)
    parts = [_features(term) for term in counts]
    # A word that is said ten times is not ten times as much what the text is about.
    damped = 1 + np.log(np.fromiter(counts.values(), dtype=np.float32))
    weights = np.repeat(damped, [len(buckets) for buckets, _ in parts])
    weights *= np.concatenate([signed for _, signed in parts])
    buckets = np.concatenate([buckets for buckets, _ in parts])
    return _unit(np.bincount(buckets, weights, DIMENSIONS).astype(np.float32))


def nearest(question: str, vectors: Vector, count: int = 5) -> list[tuple[int, float]]:
    """Return the rows nearest to a question with their cosines, best first.

    Args:
        question: Plain words.
        vectors: One row of length 1 per document.
        count: How many to return at most.
    """
    cosines = vectors @ embed_text(question)
    best = np.argsort(-cosines, kind="stable")[:count]
    return [(int(row), float(cosines[row])) for row in best]


def _unit(vector: Vector) -> Vector:
    return vector / np.float32(max(float(np.linalg.norm(vector)), 1e-9))


@lru_cache(maxsize=1 << 16)
def _features(term: str) -> tuple[NDArray[np.int64], Vector]:
    """Return a term's buckets and their signed weights."""
    if " " in term:
        features, weights = [term], [PAIR_WEIGHT]
    else:
        marked = f"<{term}>"
        pieces = [
            marked[start : start + length]
            for length in PIECES
            for start in range(len(marked) - length + 1)
        ]
        features, weights = [term, *pieces], [1.0] + [PIECE_WEIGHT] * len(pieces)
    # Not hash(), which differs from process to process.
    hashes = [
        int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8).digest(), "little")
        for feature in features
    ]
    signs = [1 if number >> 63 else -1 for number in hashes]
    buckets = np.array([number % DIMENSIONS for number in hashes], dtype=np.int64)
    return buckets, (np.array(weights) * signs).astype(np.float32)
