import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial, wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cloudpickle
import pytest

from fanfold import Flow, Task
from fanfold.engine import entrypoints
from fanfold.engine.entrypoints import SCRIPT
from fanfold.values.errors import UsageError

SCRIPT_TEXT = """
from fanfold import flow, task
import beside

NAME = __name__

@task
def parse(line):
    return beside.clean(line)

@flow
def main(line: str):
    return parse(line)

def work(n: int):
    return n

other = flow(work)

class Steps:
    @task
    def step(self, n):
        return n

if __name__ == "__main__":
    raise SystemExit("the main block ran")
"""


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Take back what loading files does to this process."""
    # Where processes were spawned, the main module may have this name too.
    held = sys.modules.pop(SCRIPT, None)
    path, modules = list(sys.path), dict(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - set(modules):
        if name in {SCRIPT, "beside"} or name.startswith("packaged"):
            del sys.modules[name]
    if SCRIPT in sys.modules:
        cloudpickle.unregister_pickle_by_value(sys.modules[SCRIPT])
        del sys.modules[SCRIPT]
    if held is not None:
        sys.modules[SCRIPT] = held


@pytest.fixture
def script(tmp_path: Path) -> Path:
    (tmp_path / "beside.py").write_text("def clean(line):\n    return line.strip()\n")
    file = tmp_path / "pipeline.py"
    file.write_text(SCRIPT_TEXT)
    return file


@pytest.fixture
def package(tmp_path: Path) -> Path:
    inner = tmp_path / "packaged" / "jobs"
    inner.mkdir(parents=True)
    (inner.parent / "__init__.py").touch()
    (inner / "__init__.py").touch()
    (inner.parent / "words.py").write_text("SIZE = 3\n")
    file = inner / "etl.py"
    file.write_text(
        "from fanfold import flow\nfrom ..words import SIZE\n@flow\ndef main():\n    return SIZE\n"
    )
    return file


def load_flow(entrypoint: str, **options: Any) -> Flow[..., Any]:
    return entrypoints.load(entrypoint, Flow, "flow", **options)


def outermost() -> None: ...


class Holder:
    def method(self) -> None: ...


def decorated(function: Callable[[], None]) -> Callable[[], None]:
    @wraps(function)
    def around() -> None:
        function()

    return around


@decorated
def wrapped() -> None: ...


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (outermost, "outermost"),
        (partial(outermost), "outermost"),
        (Holder.method, "Holder.method"),
        (Holder().method, "Holder.method"),
        (wrapped, "wrapped"),
    ],
)
def test_a_function_is_found_by_its_file_and_name(function: Any, name: str) -> None:
    assert entrypoints.of(function) == f"{__file__}:{name}"


def made_by_exec() -> Any:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec("def typed(): pass", names)
    return names["typed"]


def inside() -> Any:
    def local() -> None: ...

    return local


@pytest.mark.parametrize(
    "function", [made_by_exec(), inside(), lambda: None, print, SimpleNamespace(), Holder()]
)
def test_what_nobody_can_import_again_has_no_entrypoint(function: Any) -> None:
    assert entrypoints.of(function) == ""


def test_a_function_of_a_script_has_the_scripts_file(tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text(
        "from fanfold.engine import entrypoints\ndef f(): ...\nprint(entrypoints.of(f))\n"
    )

    told = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert told.stdout.strip() == f"{file}:f"


def test_a_script_is_loaded_without_its_main_block_and_with_its_folder_on_the_path(
    script: Path,
) -> None:
    found = load_flow(f"{script}:main")

    assert found(" a ") == "a"
    assert str(script.parent) in sys.path
    assert sys.modules[SCRIPT].NAME != "__main__"


def test_a_script_is_loaded_once(script: Path) -> None:
    assert load_flow(f"{script}:main") is load_flow(f"{script}:main")


def test_functions_of_a_script_travel_by_value(script: Path) -> None:
    pickled = cloudpickle.dumps(load_flow(f"{script}:other").fn)

    told = subprocess.run(
        [sys.executable, "-c", f"import pickle; print(pickle.loads({pickled!r})(7))"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert told.stdout.strip() == "7"


def test_a_file_in_a_package_is_imported_under_the_packages_name(package: Path) -> None:
    found = load_flow(f"{package}:main")

    assert found.fn.__module__ == "packaged.jobs.etl"
    assert found() == 3


def test_a_file_in_a_package_that_was_the_script_is_loaded_as_one(package: Path) -> None:
    found = load_flow(f"{package}:main", main=True)

    assert found.fn.__module__ == SCRIPT
    assert found() == 3


def test_a_module_is_found_from_the_working_directory(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(package.parents[2])

    assert load_flow("packaged.jobs.etl:main")() == 3


def test_the_only_flow_of_a_file_needs_no_name(package: Path) -> None:
    assert load_flow(str(package)).name == "main"


def test_a_flow_is_found_by_the_function_that_it_was_made_of(script: Path) -> None:
    assert load_flow(f"{script}:work") is load_flow(f"{script}:other")


def test_names_go_into_classes(script: Path) -> None:
    assert entrypoints.load(f"{script}:Steps.step", Task, "task").name == "step"


@pytest.mark.parametrize(
    ("entrypoint", "told"),
    [
        ("{}/pipelin.py:main", "There is no file {}/pipelin.py. Did you mean pipeline.py?"),
        ("{}/none/x.py:main", "There is no file {}/none/x.py. Its folder isn't there either."),
        (
            "{}/pipeline.py:mian",
            "There is no mian in {}/pipeline.py. Did you mean main? The flows in it: main, other.",
        ),
        (
            "{}/pipeline.py:parse",
            "{}/pipeline.py:parse is no flow, but a Task. The flows in it: main, other.",
        ),
        (
            "{}/pipeline.py",
            "{}/pipeline.py has 2 flows; say which one, as {}/pipeline.py:NAME. "
            "The flows in it: main, other.",
        ),
        ("{}/beside.py", "There are no flows in {}/beside.py."),
        ("", "An entrypoint is written as path/file.py:flow or package.module:flow."),
    ],
)
def test_what_is_wrong_with_an_entrypoint_is_said(script: Path, entrypoint: str, told: str) -> None:
    folder = str(script.parent)

    with pytest.raises(UsageError) as raised:
        load_flow(entrypoint.replace("{}", folder))

    assert str(raised.value) == told.replace("{}", folder)


def test_a_missing_module_is_named() -> None:
    with pytest.raises(UsageError, match=r"There is no module packagedless"):
        load_flow("packagedless.jobs:main")


def test_an_import_that_raises_is_told_with_the_users_frames_alone(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text("def begin():\n    raise ValueError('no luck')\nbegin()\n")

    with pytest.raises(UsageError) as raised:
        load_flow(f"{file}:main")

    told = str(raised.value)
    assert told.startswith(f"{file} can't be imported:\nTraceback")
    assert told.endswith("ValueError: no luck")
    assert told.count("File ") == 2
    assert SCRIPT not in sys.modules


def test_a_script_that_ends_the_process_is_told_as_an_error(tmp_path: Path) -> None:
    file = tmp_path / "ending.py"
    file.write_text("raise SystemExit(3)\n")

    with pytest.raises(UsageError, match="SystemExit: 3"):
        load_flow(f"{file}:main")


def test_a_loaded_script_can_be_the_main_module_for_a_while(script: Path) -> None:
    module = entrypoints.module_at(str(script))
    before, arguments = sys.modules["__main__"], sys.argv

    with entrypoints.as_main(module):
        inside_main, inside_arguments = sys.modules["__main__"], sys.argv

    assert inside_main is module
    assert inside_arguments == [str(script)]
    assert sys.modules["__main__"] is before
    assert sys.argv is arguments


GUARDLESS = """
import asyncio
from fanfold import flow, task

RAN = []

@task
def step(n=0):
    RAN.append("step")

@flow
def main():
    RAN.append("main")
    step()

@flow
async def slow():
    RAN.append("slow")

CALL

@flow
def later(): ...
"""


@pytest.mark.parametrize(
    "call",
    ["main()", "step.map([1]).result()", "asyncio.run(slow())", "main.resume('0' * 24)"],
)
def test_what_a_script_calls_at_its_end_does_not_run_where_it_is_only_loaded(
    tmp_path: Path, call: str
) -> None:
    file = tmp_path / "guardless.py"
    file.write_text(GUARDLESS.replace("CALL", call))

    found = load_flow(f"{file}:main")

    assert sys.modules[SCRIPT].RAN == []
    found()
    assert sys.modules[SCRIPT].RAN == ["main", "step"]


@pytest.mark.parametrize("main", [True, False])
def test_a_flow_below_a_call_is_told_with_the_line_of_the_call(tmp_path: Path, main: bool) -> None:
    file = tmp_path / "packaged_calls.py"
    file.write_text(GUARDLESS.replace("CALL", "print(main())"))

    with pytest.raises(UsageError) as raised:
        load_flow(f"{file}:later", main=main)

    assert f"{file} calls flow main where it is loaded, in line 20 (print(main()))." in str(
        raised.value
    )
    assert 'Put that below `if __name__ == "__main__":`.' in str(raised.value)


ASKED = """
import sys, cloudpickle
from fanfold import task

@task
def step(): ...

if __name__ == "__main__":
    print(step.task_key, cloudpickle.dumps(step).hex())
"""


@pytest.mark.parametrize("inside", ["", "jobs"])
@pytest.mark.parametrize("how", ["file", "module"])
def test_a_task_of_a_script_is_known_as_it_is_where_its_file_is_imported(
    tmp_path: Path, inside: str, how: str
) -> None:
    folder = tmp_path / inside
    folder.mkdir(exist_ok=True)
    (folder / "packaged_keys.py").write_text(ASKED)
    if inside:
        (folder / "__init__.py").touch()
    name = f"{inside}.packaged_keys".lstrip(".")
    words = ["-m", name] if how == "module" else [str(folder / "packaged_keys.py")]

    told = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    key, pickled = told.stdout.split()
    (folder / "packaged_keys.py").rename(folder / "gone.py")
    (folder / "__init__.py").unlink(missing_ok=True)
    assert key == f"{name}.step:step"
    assert cloudpickle.loads(bytes.fromhex(pickled)).task_key == key
    loaded = entrypoints.load(f"{folder / 'gone.py'}:step", Task, "task", main=True)
    assert loaded.task_key == "gone.step:step"


def test_a_function_without_a_file_is_of_the_main_module() -> None:
    assert entrypoints.imported_as(made_by_exec()) == "__main__"
    assert entrypoints.imported_as(outermost) == __name__
