"""What `results.accepted_codecs` can name."""

ACCEPTED = ("json", "bytes", "npy", "arrow", "pickle")
"""All of them, which is the default. What a reader accepts is never unpickled without the last."""
