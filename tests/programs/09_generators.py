"""Flows and tasks may yield: what they yield arrives one by one, and only as it is asked for."""

from fanfold import flow, task

made: list[int] = []


@task
def readings(count: int):
    for number in range(count):
        made.append(number)
        yield number * 1.5


@task
def smooth(values):
    last = 0.0
    for value in values:
        last = (last + value) / 2
        yield last


@flow
def days(names: list[str]):
    for name in names:
        yield f"{name}: {sum(readings(len(name)))}"


@task(retries=1)
def flaky():
    yield "a"
    yield "b"
    made.append(-1)
    if made.count(-1) < 2:
        raise ConnectionError("lost")


@flow
def station():
    stream = readings(100)
    print(next(stream), next(stream), "made", made)
    assert made == [0, 1]
    stream.close()

    print(list(smooth([8.0, 8.0])))
    print("again from the start:", list(flaky()))
    # Submitted, a generator is read to its end and becomes a list.
    print(list(readings.submit(3).result()))


if __name__ == "__main__":
    station()
    for line in days(["mon", "tue"]):
        print(line)
