"""Near texts have near vectors, in every process."""

import subprocess
import sys

import numpy as np

from fanfold.demo.search import DIMENSIONS, embed_text, nearest


def test_equal_texts_have_cosine_one_and_no_words_have_no_direction() -> None:
    text = "Return the list of names in the archive."

    cosine = float(embed_text(text) @ embed_text(text))

    assert np.isclose(cosine, 1.0, atol=1e-6)
    assert not embed_text("the of to ...").any()
    assert embed_text(text).dtype == np.float32


def test_near_texts_rank_above_far_ones() -> None:
    texts = [
        "Set the background colour of the widget.",
        "Parse dates and times given as strings.",
        "Wait until the thread terminates.",
        "parse_date(string): convert to a datetime",
    ]
    vectors = np.stack([embed_text(text) for text in texts])

    hits = nearest("parse a date from a string", vectors, count=2)

    assert {row for row, _ in hits} == {1, 3}
    assert hits[0][1] >= hits[1][1] > 0.2


def test_a_vector_does_not_depend_on_the_hash_seed() -> None:
    program = (
        "import sys; from fanfold.demo.search import embed_text;"
        "sys.stdout.write(embed_text('read a line of text').tobytes().hex())"
    )

    vectors = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(vectors) == 1
    assert len(vectors.pop()) == DIMENSIONS * 4 * 2
