"""The smallest script there is; run cold by `start`."""

from fanfold import flow, task


@task
def greet(name: str) -> str:
    """Return a greeting."""
    return f"Hello {name}"


@flow
def hello(name: str) -> str:
    """Submit one task and wait for it."""
    return greet.submit(name).result()


if __name__ == "__main__":
    print(hello("world"))
