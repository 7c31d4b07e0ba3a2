"""What importing Fanfold loads: counted in fresh interpreters."""

import subprocess
import sys

import pytest

HEAVY = {
    "aiohttp",
    "dask",
    "distributed",
    "numpy",
    "pandas",
    "pyarrow",
    "ray",
    "rich",
    "s3fs",
    "sqlalchemy",
}
NEEDED = {"blake3", "cloudpickle", "fsspec", "pydantic"}


def loaded(program: str) -> set[str]:
    """Return the top-level modules that are there after a program."""
    end = "\nimport sys; print(*{name.partition('.')[0] for name in sys.modules})"
    run = subprocess.run(
        [sys.executable, "-c", program + end],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(run.stdout.split())


def test_importing_the_package_loads_nothing_but_itself() -> None:
    new = loaded("import fanfold") - loaded("import importlib, typing")

    assert {name for name in new if name not in sys.stdlib_module_names} == {"fanfold"}


@pytest.mark.parametrize(
    "program",
    [
        "from fanfold import flow, task",
        "from fanfold import flow, task\n"
        "print(flow(lambda: task(abs).map([1, 2]).result())(), file=__import__('sys').stderr)",
    ],
    ids=["names", "a flow on threads"],
)
def test_a_flow_on_one_machine_loads_no_cluster_and_no_data_library(program: str) -> None:
    modules = loaded(program)

    assert not modules & HEAVY
    assert not {name for name in modules if name.startswith("fanfold_")}


def test_what_is_loaded_of_others_is_what_the_package_depends_on() -> None:
    ours = loaded("from fanfold import flow, task")
    theirs = loaded("import blake3, cloudpickle, fsspec, pydantic")

    extra = {name for name in ours - theirs if name not in sys.stdlib_module_names}
    assert extra == {"fanfold"}
