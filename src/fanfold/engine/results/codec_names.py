"""What `results.accepted_codecs` and `results.default_serializer` can name."""

ACCEPTED = ("json", "bytes", "npy", "arrow", "pickle")
"""All of them, which is the default. What a reader accepts is never unpickled without the last."""
SERIALIZERS = ("auto", "pickle", "json", "compressed/pickle", "compressed/json")
"""What is chosen by name: by the type of each value, or one of `serializers`."""
