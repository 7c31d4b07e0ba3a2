"""A mapped task runs once for each element of its iterables; what isn't one is the same for all."""

from fanfold import flow, task, unmapped
from fanfold.exceptions import MappingLengthMismatch, MappingMissingIterable
from fanfold.futures import wait


@task
def shout(word: str, mark: str = "!", times: int = 1) -> str:
    return word.upper() + mark * times


@task
def scale(vector: list[int], factor: int) -> list[int]:
    return [factor * value for value in vector]


@task
def fits(size: int, boxes: list[int]) -> bool:
    return size in boxes


@task
def total(vectors: list[list[int]]) -> int:
    return sum(sum(vector) for vector in vectors)


@task
def halve(number: int) -> int:
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number // 2


@flow
def choir():
    words = ("do", "re", "mi")
    print(shout.map(words).result())
    print(shout.map(words, times=[1, 2, 3]).result())
    print(shout.map(words, "?", times=2).result())
    print(shout.map(word for word in words).result())

    scaled = scale.map([[1, 2], [3], []], factor=10)
    print(total.submit(scaled).result(), [future.result() for future in scaled])
    assert total(scaled) == 60

    print(fits.map([1, 2, 3], unmapped([2, 3])).result())

    # A future of a list is mapped over as the list is.
    print(shout.map(scale.submit(["la"], 2)).result())
    # Maps feed maps, element by element.
    print(shout.map(shout.map(words, mark="-")).result())

    states = shout.map(["so"], return_state=True)
    print([state.name for state in states])

    halves = halve.map([2, 3, 4])
    wait(halves)
    print([future.state.name for future in halves])
    print([str(value) for value in halves.result(raise_on_failure=False)])

    for arguments in ({"word": ["a", "b"], "times": [1]}, {"word": "a", "times": 3}):
        try:
            shout.map(**arguments)
        except (MappingLengthMismatch, MappingMissingIterable) as error:
            print(type(error).__name__)
    return "sung"


if __name__ == "__main__":
    assert choir() == "sung"
