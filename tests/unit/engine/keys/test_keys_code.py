"""Keys of code: what a function does, with what it closes over and reaches in its project."""

import functools
import json
import math
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from fanfold import task
from fanfold.engine.keys import code_digest, digest
from fanfold.values.errors import KeyNotStable


def made(source: str, name: str = "f", **namespace: Any) -> Any:
    exec(compile(source, f"file{len(source)}.py", "exec"), namespace)
    return namespace[name]


SOURCE = "def f(x, y=1):\n    return [x for x in {'a', 'b'}] + g(y)"


def test_code_counts_and_its_place_does_not() -> None:
    one = made(SOURCE)
    moved = made(
        "\n\n\ndef f(\n  x,\n  y=1):\n    # why\n    return [x for x in {'a', 'b'}] + g(y)"
    )
    renamed = made(SOURCE.replace("def f", "def h"), "h")

    assert code_digest(one) == code_digest(moved) == code_digest(renamed)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("y=1", "y=2"),
        ("y=1", "y=True"),
        ("y=1", "y"),
        ("y=1", "*, y=1"),
        ("'b'", "'c'"),
        ("g(y)", "h(y)"),
        ("+ g", "- g"),
        ("[x for", "[y for"),
        ("def f", "async def f"),
    ],
)
def test_code_that_does_something_else_has_another_digest(old: str, new: str) -> None:
    assert code_digest(made(SOURCE)) != code_digest(made(SOURCE.replace(old, new)))


def test_what_an_exception_is_caught_by_counts() -> None:
    one = made("def f(x):\n    try:\n        return x()\n    except OSError:\n        return 1")
    before = code_digest(one)

    one.__code__ = one.__code__.replace(co_exceptiontable=b"")

    assert code_digest(one) != before


def body(a: Any, b: Any = ("x", None), *, c: Any = frozenset({"p", "q", "r"})) -> Any:
    """Read something."""
    return [item for item in a if item in {"p", "q", "r", None} or (lambda: item)() == b] + [c]


def adder(step: Any) -> Callable[[Any], Any]:
    return lambda x: x + step


add_one, add_two = adder(1), adder(2)


def even(n: int) -> bool:
    return n == 0 or odd(n - 1)


def odd(n: int) -> bool:
    return n != 0 and even(n - 1)


def handled(x: Any) -> Any:
    return HANDLERS[x](x)


HANDLERS = {"even": even, "self": handled, "more": {add_one, add_two, math.sin}}


def all_digests() -> list[str]:
    values = [body, even, odd, handled, adder({"a", "b", "c"})]
    return [code_digest(each).hex() for each in values] + [digest(HANDLERS).hex()]


@pytest.mark.parametrize("seed", ["0", "4711"])
def test_digests_are_equal_in_another_process_under_another_hash_seed(seed: str) -> None:
    program = f"import json, {__name__} as tests; print(json.dumps(tests.all_digests()))"
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    root = Path(__file__).parents[4]

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, env=environment, capture_output=True, check=True
    )

    assert json.loads(done.stdout) == all_digests()
    assert len(set(all_digests())) == len(all_digests())


def test_code_travels_and_runs_without_changing_its_digest() -> None:
    before = code_digest(body)
    for _ in range(5000):
        body(["p", 1])
    helpers = "def g(x): return h(x)\ndef h(x): return g(x) + LIMIT\nLIMIT = 3\n"
    one = made(helpers + "def f(x): return g(x)", __name__="__main__")

    assert code_digest(body) == before
    assert code_digest(pickle.loads(cloudpickle.dumps(one))) == code_digest(one)


def test_closures_count_by_what_they_hold() -> None:
    assert code_digest(adder({"a": 1})) == code_digest(adder({"a": 1}))
    assert code_digest(adder({"a": 1})) != code_digest(adder({"a": 2}))
    with pytest.raises(KeyNotStable) as told:
        code_digest(adder({"a": threading.Lock()}))
    assert told.value.path == "closure step['a']"


def test_what_a_function_changes_itself_does_not_count() -> None:
    calls: list[int] = []
    count = 0

    def noted(x: int) -> int:
        nonlocal count
        count += 1
        calls.append(x)
        return x

    counted = made("count = 0\ndef f(x):\n    global count\n    count += 1\n    return x")
    before = code_digest(noted), code_digest(counted)
    noted(1)
    counted(1)

    assert (code_digest(noted), code_digest(counted)) == before


def test_which_of_two_closures_is_called_where_counts() -> None:
    source = "def f(x): return one(two(x))"
    way = made(source, one=add_one, two=add_two)
    other = made(source, one=add_two, two=add_one)

    assert code_digest(way) != code_digest(other)
    assert code_digest(way) == code_digest(made(source, one=adder(1), two=adder(2)))


def test_functions_that_call_each_other_differ_by_what_they_do() -> None:
    source = "def f(n): return g(n - 1)\ndef g(n): return f(n) + {}"
    digests = {code_digest(made(source.format(n), name)) for n in (1, 2) for name in ("f", "g")}

    assert len(digests) == 4
    assert code_digest(made(source.format(1))) in digests


def test_a_default_without_a_form_is_named() -> None:
    def f(x: Any, lock: Any = threading.Lock()) -> Any: ...  # noqa: B008

    def g(*, lock: Any = threading.Lock()) -> Any: ...  # noqa: B008

    for function in (f, g):
        with pytest.raises(KeyNotStable) as told:
            code_digest(function)
        assert told.value.path == "default lock"


def test_what_has_no_bytecode_has_no_code_digest() -> None:
    with pytest.raises(KeyNotStable):
        code_digest(len)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Write modules of a project anew and return a function of it."""
    monkeypatch.syspath_prepend(tmp_path)
    written: set[str] = set()

    def write(name: str = "main:work", **modules: str) -> Any:
        for module in (*modules, *written):
            sys.modules.pop(f"proj_{module}", None)
        for module, source in modules.items():
            code = compile(textwrap.dedent(source), str(tmp_path / f"proj_{module}.py"), "exec")
            made = types.ModuleType(f"proj_{module}")
            made.__file__ = code.co_filename
            sys.modules[made.__name__] = made
            exec(code, vars(made))
            written.add(module)
        module, _, function = name.partition(":")
        return getattr(sys.modules[f"proj_{module}"], function)

    yield write
    for module in written:
        sys.modules.pop(f"proj_{module}", None)


HELPERS = """
    import functools, re, threading
    from fanfold import task
    LIMIT = 3
    NAMES = {"a": [1, 2]}
    SPACE = re.compile("a+")
    lock = threading.Lock()
    def deep(x): return x * LIMIT
    def clean(x):
        with lock: return deep(x) + NAMES["a"][0]
    @functools.lru_cache
    def cached(x): return deep(x)
    @task
    def as_task(x): return deep(x)
    class Model:
        rate = 2
        def __init__(self, x): self.x = x
        @property
        def value(self): return deep(self.x)
    class Child(Model): pass
    model = Model(1)
    def unused(x): return x - 1
    def match(x): return SPACE.match(x)
"""
USES = {
    "imported": "from proj_helpers import clean\ndef work(x): return clean(x)",
    "read from its module": "import proj_helpers as h\ndef work(x): return h.clean(x)",
    "inside a function": "import proj_helpers as h\ndef work(xs): return [h.clean(x) for x in xs]",
    "cached": "from proj_helpers import cached\ndef work(x): return cached(x)",
    "a task": "from proj_helpers import as_task\ndef work(x): return as_task.submit(x)",
    "a class": "from proj_helpers import Child\ndef work(x): return Child(x).value",
    "an instance": "from proj_helpers import model\ndef work(x): return model.value",
    "in a table": "import proj_helpers as h\nT = [h.clean]\ndef work(x): return T[0](x)",
    "partial": "import functools, proj_helpers as h\np = functools.partial(h.clean, 1)\n"
    "def work(): return p()",
}


@pytest.mark.parametrize("use", USES)
def test_what_a_function_reaches_in_its_project_counts(
    use: str, project: Callable[..., Any]
) -> None:
    first = code_digest(project(helpers=HELPERS, main=USES[use]))
    again = code_digest(project(helpers="\n\n" + HELPERS, main=USES[use]))
    changed = code_digest(
        project(helpers=HELPERS.replace("x * LIMIT", "x + LIMIT"), main=USES[use])
    )
    constant = code_digest(
        project(helpers=HELPERS.replace("LIMIT = 3", "LIMIT = 4"), main=USES[use])
    )
    other = code_digest(project(helpers=HELPERS.replace("x - 1", "x - 2"), main=USES[use]))

    assert first == again == other
    assert len({first, changed, constant}) == 3


def test_constants_count_and_what_programs_change_does_not(project: Callable[..., Any]) -> None:
    use = "from proj_helpers import clean, match\ndef work(x): return clean(x), match(x)"
    digests = {
        code_digest(project(helpers=HELPERS.replace(*change), main=use))
        for change in (("", ""), ("[1, 2]", "[2, 2]"), ('"a+"', '"b+"'), ("x * LIMIT", "LIMIT"))
    }

    assert len(digests) == 4
    assert (
        code_digest(project(helpers=HELPERS.replace("Lock()", "RLock()"), main=use)) not in digests
    )


def test_a_helper_that_was_made_anew_is_seen_by_the_same_function() -> None:
    space: dict[str, Any] = {}
    exec("def helper(x): return x\ndef f(x): return helper(x)", space)
    before = code_digest(space["f"])

    exec("def helper(x): return -x", space)
    changed = code_digest(space["f"])
    exec("def helper(x): return x", space)

    assert changed != before
    assert code_digest(space["f"]) == before


def test_installed_functions_count_by_name() -> None:
    one = made("def f(x): return g(x)", g=json.dumps)

    assert code_digest(one) == code_digest(made("def f(x): return g(x)", g=json.dumps))
    assert code_digest(one) != code_digest(made("def f(x): return g(x)", g=json.loads))


def test_functions_as_values_count_by_what_they_do() -> None:
    def local() -> int:
        return 1

    def recursive(n: int) -> int:
        return recursive(n - 1)

    assert digest(lambda: 1) == digest(lambda: 1) == digest(local)
    assert digest(lambda: 1) != digest(lambda: 2)
    assert digest(adder(1)) == digest(add_one) != digest(add_two)
    assert digest(recursive) == digest(recursive)
    assert digest({"f": even}) != digest({"f": odd})
    assert digest(functools.partial(body, 1)) == digest(functools.partial(body, 1))
    assert digest(functools.partial(body, 1)) != digest(functools.partial(body, 2))
    assert digest(task(body)) == digest(task(body)) != digest(task(even))


def test_a_function_whose_closure_holds_it_in_a_list_has_a_key() -> None:
    def circle(step: int) -> list[Any]:
        held: list[Any] = [step]
        held.append(lambda: held)
        return held

    assert digest(circle(1)) == digest(circle(1)) != digest(circle(2))


def test_a_function_as_a_value_names_what_it_closes_over() -> None:
    with pytest.raises(KeyNotStable) as told:
        digest({"key": [adder(threading.Lock())]}, "")

    assert told.value.path == "key[0]: closure step"
