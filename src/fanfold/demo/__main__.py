"""Run the demo: `python -m fanfold.demo`."""

import functools
import os
import time
from collections.abc import Callable
from typing import TypeVar

# The matrices are small and the cores busy: with more than one thread numpy's algebra mostly waits
# for itself (7 s instead of 1 on a busy machine). It reads this when it is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

try:
    import numpy as np
except ModuleNotFoundError as error:
    raise SystemExit("The demo computes with numpy: pip install 'fanfold[demo]'") from error

from fanfold.demo import lookups
from fanfold.demo.corpus import document_name, document_paths, standard_library, write_corpus
from fanfold.demo.search import embed_documents, nearest
from fanfold.demo.training import training_pipeline
from fanfold.engine.settings import home

QUESTIONS = (
    "parse a date from a string",
    "wait until a thread is finished",
    "quote a string for the shell",
)

tell = functools.partial(print, flush=True)
"""Flushed, for log lines go to another stream and should stay between the lines told here."""

Result = TypeVar("Result")


def main() -> None:
    """Make the corpus, train on it, search in it, and tell how long each part took."""
    seconds: dict[str, float] = {}

    tell("Fanfold at work on the documentation of your Python's standard library.\n")
    folder, written = timed(
        seconds, "corpus", lambda: write_corpus(standard_library(), home() / "demo")
    )
    paths = document_paths(folder)
    tell(f"1. Corpus: {len(paths):,} docstrings in {folder}")

    tell("\n2. Training: which module is a docstring from?")
    timed(seconds, "training", lambda: training_pipeline(str(folder)))

    tell(f"\n3. Search: one map over {len(paths):,} documents")
    vectors = np.stack(timed(seconds, "embedding", lambda: embed_documents(paths)))
    hits = timed(seconds, "questions", lambda: [nearest(words, vectors) for words in QUESTIONS])
    for question, found in zip(QUESTIONS, hits, strict=True):
        tell(f"   {question}")
        for row, cosine in found:
            tell(f"      {cosine:.2f}  {document_name(paths[row])}")

    tell("\nSeconds, and what came from the cache:")
    notes = {
        "corpus": "written" if written else "already there",
        "training": f"dataset: {lookups.told('training')}",
        "embedding": f"vectors: {lookups.told('embedding')}",
        "questions": "",
    }
    for part, note in notes.items():
        tell(f"   {part:10} {seconds[part]:6.2f}  {note}".rstrip())


def timed(seconds: dict[str, float], part: str, work: Callable[[], Result]) -> Result:
    """Return what the work returns, and put down its wall time under the part's name."""
    start = time.perf_counter()
    result = work()
    seconds[part] = time.perf_counter() - start
    return result


if __name__ == "__main__":
    main()
