"""A cache policy says what makes two calls the same; the second doesn't run, and says Cached."""

from fanfold import flow, task
from fanfold.cache_policies import DEFAULT, INPUTS, NO_CACHE, TASK_SOURCE

ran: list[str] = []


@task(cache_policy=INPUTS)
def translate(word: str, into: str = "fr") -> str:
    ran.append(f"{word}>{into}")
    return f"{word} ({into})"


@task(cache_policy=INPUTS - "verbose")
def count(letters: str, verbose: bool = False) -> int:
    ran.append(f"count {letters}")
    return len(letters)


@task(cache_policy=TASK_SOURCE + INPUTS)
def spell(word: str) -> list[str]:
    ran.append(f"spell {word}")
    return list(word)


@task(cache_policy=DEFAULT, persist_result=True)
def once_per_flow(word: str) -> str:
    ran.append(f"once {word}")
    return word


@task(cache_policy=NO_CACHE, persist_result=True)
def always(word: str) -> str:
    ran.append(f"always {word}")
    return word


@flow
def lesson():
    states = [
        translate("milk", return_state=True),
        translate("milk", into="fr", return_state=True),
        translate("milk", "de", return_state=True),
        translate.submit("milk", return_state=True),
        count("abc", return_state=True),
        count("abc", verbose=True, return_state=True),
        spell("cow", return_state=True),
        spell("cow", return_state=True),
        once_per_flow("x", return_state=True),
        once_per_flow("x", return_state=True),
        always("y", return_state=True),
        always("y", return_state=True),
    ]
    for state in states:
        print(state.name, state.type.value, state.result())
    return [state.name for state in states]


if __name__ == "__main__":
    first = lesson()
    print(ran)
    assert ran == [
        *("milk>fr", "milk>de", "count abc", "spell cow", "once x", "always y", "always y"),
    ]

    ran.clear()
    lesson()
    print(ran)
    assert ran == ["once x", "always y", "always y"], "only DEFAULT looks at the flow run"

    # Outside of flows the cache is the same.
    assert translate("milk", return_state=True).name == "Cached"
