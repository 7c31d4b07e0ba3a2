"""Persisted results get a name, a format, and are there for the runs that come after."""

from fanfold import flow, task

ran: list[str] = []


@task(result_storage_key="greeting-{parameters[name]}.json", result_serializer="json")
def greet(name: str = "world") -> dict[str, str]:
    ran.append(name)
    return {"hello": name}


@task(persist_result=True, result_serializer="compressed/pickle")
def bundle(count: int) -> list[int]:
    ran.append(f"bundle {count}")
    return list(range(count))


@task
def plain(count: int) -> int:
    ran.append(f"plain {count}")
    return count


@task(persist_result=False)
def fleeting(count: int) -> int:
    ran.append(f"fleeting {count}")
    return count


@task(persist_result=True)
def nothing() -> None:
    ran.append("nothing")


@flow(persist_result=True)
def keeps():
    """Its tasks keep their results too, unless they say otherwise."""
    names = [plain(1, return_state=True).name for _ in range(2)]
    names += [fleeting(1, return_state=True).name for _ in range(2)]
    names += [bundle(3, return_state=True).name for _ in range(2)]
    names += [nothing(return_state=True).name for _ in range(2)]
    print(names)
    return bundle(3)


@flow
def forgets():
    return [plain(2, return_state=True).name for _ in range(2)]


@flow
def greetings():
    return [greet(), greet(name="Ida"), greet("Ida")]


@task(persist_result=True, cache_result_in_memory=False)
def large(count: int) -> str:
    return "x" * count


@flow
def passes_large():
    future = large.submit(1000)
    return len(future.result())


if __name__ == "__main__":
    print(keeps())
    print(ran)
    assert ran == ["plain 1", "fleeting 1", "fleeting 1", "bundle 3", "nothing"]

    print("not asked to", forgets())

    ran.clear()
    print(greetings(), greetings())
    assert ran == ["world", "Ida"], "one name, one result, whichever run asks"

    print("large", passes_large())
