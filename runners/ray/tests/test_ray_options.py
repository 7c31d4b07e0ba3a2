"""What a runner is given reaches Ray."""

import pytest

from fanfold.values.errors import UsageError
from fanfold_ray import RayTaskRunner


def test_ray_is_started_with_what_it_is_told() -> None:
    runner = RayTaskRunner(address="local", init_kwargs={"no_such_argument": 1})

    with pytest.raises(UsageError, match="no_such_argument"):
        runner.open(lambda chunk, message: None)
