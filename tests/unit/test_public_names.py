"""What users import."""

import pytest

import fanfold

PUBLIC = [
    "DEFAULT",
    "FLOW_PARAMETERS",
    "INPUTS",
    "NO_CACHE",
    "RUN_ID",
    "TASK_SOURCE",
    "CachePolicy",
    "Flow",
    "MapFuture",
    "Secret",
    "State",
    "Task",
    "TaskFuture",
    "allow_failure",
    "as_completed",
    "exponential_backoff",
    "flow",
    "get_run_logger",
    "opaque",
    "quote",
    "runtime",
    "tags",
    "task",
    "task_input_hash",
    "transaction",
    "unmapped",
    "wait",
]


def test_the_public_names_are_these() -> None:
    assert fanfold.__all__ == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_can_be_had_and_is_listed(name: str) -> None:
    assert getattr(fanfold, name) is not None
    assert name in dir(fanfold)


def test_a_name_that_is_not_there_is_told_as_python_does() -> None:
    with pytest.raises(AttributeError, match="module 'fanfold' has no attribute 'flows_'"):
        fanfold.flows_  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        from fanfold import nothing  # type: ignore[attr-defined]  # noqa: F401
