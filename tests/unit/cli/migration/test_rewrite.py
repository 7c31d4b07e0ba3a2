"""Programs before and after, and what is said of the rest."""

import ast
from itertools import pairwise
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold.cli.migration.rewrite import LOOK, Rewritten, rewrite
from fanfold.cli.prefect import table


def rewritten(program: str) -> Rewritten:
    return rewrite(dedent(program))


def names(result: Rewritten) -> list[str]:
    return [note.name for note in result.notes]


MOVED = {
    "names": ("from prefect import flow, task\n", "from fanfold import flow, task\n"),
    "no line break at the end": ("from prefect import flow", "from fanfold import flow"),
    "other names": ("from prefect import flow as f\n", "from fanfold import flow as f\n"),
    "a module of names": (
        "from prefect.cache_policies import INPUTS, NO_CACHE\n",
        "from fanfold.cache_policies import INPUTS, NO_CACHE\n",
    ),
    "a name that is called otherwise": (
        "from prefect.futures import PrefectFuture\n\nx: PrefectFuture\n",
        "from fanfold.futures import TaskFuture as PrefectFuture\n\nx: PrefectFuture\n",
    ),
    "one that the program calls otherwise": (
        "from prefect.futures import PrefectFuture as F, wait\n",
        "from fanfold.futures import TaskFuture as F, wait\n",
    ),
    "one that is called so already": (
        "from prefect.futures import PrefectFuture as TaskFuture\n",
        "from fanfold.futures import TaskFuture as TaskFuture\n",
    ),
    "another module": (
        "from prefect.utilities.annotations import quote\n",
        "from fanfold.annotations import quote\n",
    ),
    "two modules": (
        "if 1:\n    from prefect import Transaction, flow  # both\n    flow\n",
        "if 1:\n    from fanfold.transactions import Transaction  # both\n"
        "    from fanfold import flow\n    flow\n",
    ),
    "two modules in one line": (
        "from prefect import flow, Transaction; x = 1\n",
        "from fanfold import flow; from fanfold.transactions import Transaction; x = 1\n",
    ),
    "two modules with odd spaces": (
        "from  prefect  import  flow ,Transaction",
        "from  fanfold  import  flow\nfrom fanfold.transactions import Transaction",
    ),
    "backslashes": (
        "from prefect import \\\n    flow, \\\n    task\n",
        "from fanfold import \\\n    flow, \\\n    task\n",
    ),
    "brackets and comments": (
        "from prefect import (  # a\n    # b\n    flow,  # c\n\n    task,\n)  # d\n",
        "from fanfold import (  # a\n    # b\n    flow,  # c\n\n    task,\n)  # d\n",
    ),
    "a module taken by a name": (
        "from prefect import runtime\nruntime.flow_run.id\n",
        "from fanfold import runtime\nruntime.flow_run.id\n",
    ),
    "a module that is called otherwise": (
        "from prefect.utilities import annotations as a\na.quote(1)\n",
        "from fanfold import annotations as a\na.quote(1)\n",
    ),
    "an attribute that is called otherwise": (
        "from prefect import futures\nx: futures.PrefectFuture[int]\n",
        "from fanfold import futures\nx: futures.TaskFuture[int]\n",
    ),
    "the package": (
        "import prefect\n\n@prefect.flow(name='x')\ndef f(): prefect.task(g).submit()\n",
        "import fanfold\n\n@fanfold.flow(name='x')\ndef f(): fanfold.task(g).submit()\n",
    ),
    "the package among others": (
        "import os, prefect\nprefect.flow\n",
        "import os, fanfold\nfanfold.flow\n",
    ),
    "the package by a name": (
        "import prefect as p\np.flow; p.states.Completed()\n",
        "import fanfold as p\np.flow; p.states.Completed()\n",
    ),
    "a module of the package": (
        "import prefect.states\nprefect.states.Completed()\n",
        "import fanfold.states\nfanfold.states.Completed()\n",
    ),
    "a module that nobody imported": (
        "import prefect  # all\nprefect.futures.wait([])\n",
        "import fanfold  # all\nimport fanfold.futures\nfanfold.futures.wait([])\n",
    ),
    "a module by a name": (
        "import prefect.runtime.flow_run as run\nrun.id\n",
        "from fanfold.runtime import flow_run as run\nrun.id\n",
    ),
    "an object of a module": (
        "import prefect.runtime.flow_run\nprefect.runtime.flow_run.id\n",
        "import fanfold.runtime\nfanfold.runtime.flow_run.id\n",
    ),
    "a package inside a function": (
        "def f():\n\timport prefect\n\treturn prefect.futures.wait\n",
        "def f():\n\timport fanfold\n\timport fanfold.futures\n\treturn fanfold.futures.wait\n",
    ),
    "a text with a use in it": (
        "import prefect\nf'é {prefect.runtime.flow_run.id!r} {1}'\n",
        "import fanfold\nimport fanfold.runtime\nf'é {fanfold.runtime.flow_run.id!r} {1}'\n",
    ),
    "runners": (
        "from prefect_dask import DaskTaskRunner\n"
        "from prefect_ray.task_runners import RayTaskRunner\n",
        "from fanfold_dask import DaskTaskRunner\nfrom fanfold_ray import RayTaskRunner\n",
    ),
    "Windows' line breaks": (
        "from prefect import flow, Transaction\r\nx\r\n",
        "from fanfold import flow\r\nfrom fanfold.transactions import Transaction\r\nx\r\n",
    ),
    "letters of more than a byte": (
        "é = 'ü'; from prefect import flow; é = '漢'\n",
        "é = 'ü'; from fanfold import flow; é = '漢'\n",
    ),
    "a form feed": ("\x0cfrom prefect import flow\n", "\x0cfrom fanfold import flow\n"),
    "another's module of that name": ("from .prefect import flow\n", "from .prefect import flow\n"),
    "another's attribute of that name": ("x.prefect.flow\n", "x.prefect.flow\n"),
    "a word in a text": (
        "'''import prefect'''  # prefect.flow\n",
        "'''import prefect'''  # prefect.flow\n",
    ),
}


@pytest.mark.parametrize("case", MOVED)
def test_what_moves_moves_and_nothing_else_changes(case: str) -> None:
    before, after = MOVED[case]

    result = rewrite(before)

    assert result.text == after
    assert result.notes == ()
    assert rewrite(result.text) == Rewritten(edits=(), text=result.text, notes=())


def test_what_cannot_move_stays_imported_and_takes_its_comment_along() -> None:
    result = rewritten("""\
        from prefect import (
            serve,  # it serves
            flow,  # the flow
            pause_flow_run, task,  # both
            deploy
        )
        """)

    assert result.text == dedent("""\
        from prefect import (
            serve,  # it serves
            pause_flow_run,  # both
            deploy
        )
        from fanfold import flow, task  # the flow
        """)
    assert [(note.line, note.column, note.name, note.fate) for note in result.notes] == [
        (2, 5, "prefect.serve", "later"),
        (4, 5, "prefect.pause_flow_run", "later"),
        (5, 5, "prefect.deploy", "later"),
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "import prefect.context as c, os\nc.tags('a')\n",
            "import prefect.context as c, os\nimport fanfold\nfanfold.tags('a')\n",
        ),
        (
            "import prefect\nprefect.flow\nprefect.serve()\n",
            "import prefect\nimport fanfold\nfanfold.flow\nprefect.serve()\n",
        ),
        (
            "import prefect as p\np.flow\np.serve()\n",
            "import prefect as p\nimport fanfold\nfanfold.flow\np.serve()\n",
        ),
        (
            "import prefect\nprefect.flow\nprint(prefect)\n",
            "import prefect\nimport fanfold\nfanfold.flow\nprint(prefect)\n",
        ),
        (
            "import prefect, prefect.events\nprefect.tags\n",
            "import prefect, prefect.events\nimport fanfold\nfanfold.tags\n",
        ),
    ],
    ids=[
        "a module whose names moved away",
        "refused use",
        "refused use by a name",
        "the package as an object",
        "a module that has no place",
    ],
)
def test_a_package_that_is_needed_still_is_imported_beside_ours(before: str, after: str) -> None:
    result = rewrite(before)

    assert result.text == after
    assert len(result.notes) == 1


@pytest.mark.parametrize(
    "program",
    [
        "from prefect import *\n",
        "try:\n    import prefect\nexcept ImportError:\n    prefect = None\nprefect.flow\n",
        "from prefect.runtime.flow_run import id\n",
        "from prefect.no_such_module import thing\n",
        "from prefect_aws import S3Bucket\n",
        "from prefect.infrastructure import DockerContainer\n",
        "import prefect\n(prefect\n .flow)\n",
        "patch('prefect.flows.flow')\n",
        "getLogger('prefect.flow_runs')\n",
        "from prefect\\\n.states import Completed\n",
    ],
)
def test_what_only_a_person_can_decide_is_named_and_left_alone(program: str) -> None:
    result = rewrite(program)

    assert result.text == program
    assert len(result.notes) >= 1


@pytest.mark.parametrize(
    ("use", "name", "fate"),
    [
        ("f.serve(name='x')", "prefect.Flow.serve", "later"),
        (
            "f.with_options(retries=1).deploy('x', work_pool_name='p')",
            "prefect.Flow.deploy",
            "later",
        ),
        ("flow.from_source('x', 'y').deploy('x')", "prefect.Flow.from_source", "later"),
        ("elsewhere.deploy('x', work_pool_name='p')", "prefect.Flow.deploy", "later"),
        ("g = flow(h); g.visualize()", "prefect.Flow.visualize", "later"),
        ("t.delay(1)", "prefect.Task.delay", "refused"),
        ("t.map([1], deferred=True)", "prefect.Task.map(deferred=)", "refused"),
        ("task(asset_deps=[])(h)", "prefect.task(asset_deps=)", "later"),
        ("os.environ['PREFECT_API_URL']", "PREFECT_API_URL", "later"),
        ("os.environ['PREFECT_HOME']", "PREFECT_HOME", LOOK),
        ("runtime.flow_run.ui_url", "prefect.runtime.flow_run.ui_url", "later"),
    ],
)
def test_methods_options_and_settings_that_have_no_place_are_named(
    use: str, name: str, fate: str
) -> None:
    head = (
        "from prefect import flow, runtime, task\n"
        "@flow\ndef f(): ...\n@task(retries=1)\ndef t(): ...\n"
    )

    result = rewrite(head + use + "\n")

    assert [(note.line, note.name, note.fate) for note in result.notes] == [(6, name, fate)]
    assert result.notes[0].says.endswith(".")


@pytest.mark.parametrize(
    "use",
    [
        "f(1)",
        "f().serve()",
        "t.map([1], deferred)",
        "server.serve(port=1)",
        "t.submit(1, wait_for=[])",
    ],
)
def test_what_has_a_place_or_is_somebody_elses_is_not_named(use: str) -> None:
    head = "from prefect import flow, task\n@flow\ndef f(): ...\n@task\ndef t(): ...\n"

    assert rewrite(head + use + "\n").notes == ()


@pytest.mark.parametrize("program", ["def f(:\n", "x = 'a\n", "from prefect import (flow\n"])
def test_what_does_not_parse_says_in_which_line(program: str) -> None:
    with pytest.raises(SyntaxError) as caught:
        rewrite("\n" + program)

    assert caught.value.lineno == 2


IMPORTABLE = sorted(
    {
        row.name
        for rows in table().sections.values()
        for row in rows
        if row.name.startswith("prefect") and not set("( *") & set(row.name) and "." in row.name
        if not row.name.startswith(("prefect.Flow.", "prefect.Task.", "prefect.State."))
    }
)


@st.composite
def programs(draw: st.DrawFn) -> str:
    """A program of `from` imports in all layouts, between lines that have nothing to do with it."""
    lines: list[str] = []
    for module in draw(
        st.lists(st.sampled_from(["prefect", "prefect.futures", "prefect.states"]), max_size=3)
    ):
        known = [
            name.rpartition(".")[2] for name in IMPORTABLE if name.rpartition(".")[0] == module
        ]
        chosen = draw(st.lists(st.sampled_from(known), min_size=1, max_size=5, unique=True))
        texts = [f"{name} as {name}_" if draw(st.booleans()) else name for name in chosen]
        lines.append(
            draw(st.sampled_from(["x = 'prefect.flow'.title()", "# é", "", "y = (1,\n  2)"]))
        )
        layout = draw(
            st.sampled_from(["plain", "line each", "mixed", "semicolon", "block", "slash"])
        )
        lines.append(_laid_out(layout, module, texts))
    return "\n".join(lines) + draw(st.sampled_from(["", "\n"]))


def _laid_out(layout: str, module: str, texts: list[str]) -> str:
    if layout == "line each":
        inner = "".join(f"    {text},  # {text}!\n" for text in texts)
        return f"from {module} import (  # first\n{inner})  # last"
    if layout == "mixed":
        inner = "".join(
            f"{text},{end}"
            for text, end in zip(texts, ["\n  ", " ", "  # c\n  "] * 2, strict=False)
        )
        return f"from {module} import ({inner}\n)"
    plain = f"from {module} import {', '.join(texts)}"
    return {
        "plain": f"{plain}  # all",
        "semicolon": f"a = 1; {plain}; b = 2",
        "block": f"if 1:\n\t{plain}\n\tc = 3",
        "slash": f"from {module} import " + ", \\\n  ".join(texts),
    }[layout]


def bound(program: str) -> list[str]:
    found = (node for node in ast.walk(ast.parse(program)) if isinstance(node, ast.ImportFrom))
    return sorted(alias.asname or alias.name for node in found for alias in node.names)


def without_imports(program: str) -> str:
    tree = ast.parse(program)
    for node in ast.walk(tree):
        if hasattr(node, "body") and isinstance(node.body, list):
            node.body = [each for each in node.body if not isinstance(each, ast.ImportFrom)]
    return ast.dump(tree)


@given(programs())
def test_a_program_binds_the_same_names_and_keeps_its_comments(program: str) -> None:
    result = rewrite(program)

    assert bound(result.text) == bound(program)
    assert without_imports(result.text) == without_imports(program)
    for comment in ("# first", "# last", "# all", "# c", "# é", "!"):
        assert result.text.count(comment) == program.count(comment)
    assert all(one.end <= two.start for one, two in pairwise(result.edits))
    for node in ast.walk(ast.parse(result.text)):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                row = table().of(f"{node.module}.{alias.name}")
                assert (row is None) == (node.module or "").startswith("fanfold")
                assert row is None or not row.fate.works
    assert rewrite(result.text).text == result.text
