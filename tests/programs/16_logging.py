"""Runs have loggers; what they print is logged too if asked for, and tasks may opt out."""

import io
import logging
from contextlib import redirect_stdout

from fanfold import flow, get_run_logger, task
from fanfold.exceptions import MissingContextError

records: list[logging.LogRecord] = []


class Keep(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        records.append(record)


def keep_records() -> None:
    """Keep what the running run's logger takes, wherever its kind of run logs to."""
    logger = get_run_logger().logger
    if not any(isinstance(handler, Keep) for handler in logger.handlers):
        logger.addHandler(Keep())
    logger.setLevel(logging.DEBUG)


@task
def water(bed: str) -> None:
    keep_records()
    log = get_run_logger()
    log.debug("garden: valve of %s", bed)
    log.warning("garden: %s is dry", bed)
    print("garden: watered", bed)


@task(log_prints=False)
def whistle() -> None:
    print("garden: a tune")


@flow
def nursery() -> None:
    print("garden: seedlings")


@flow(log_prints=True)
def garden(beds: list[str]) -> None:
    keep_records()
    get_run_logger().info("garden: %d beds", len(beds))
    print("garden", "hello", sep=": ")
    for bed in beds:
        water(bed)
    whistle()
    nursery()


@flow
def quiet() -> None:
    print("garden: just printed")


if __name__ == "__main__":
    printed = io.StringIO()
    with redirect_stdout(printed):
        garden(["beans", "leeks"])
        quiet()

    # What runs say of themselves is in there too.
    mine = [record for record in records if record.getMessage().startswith("garden: ")]
    lines = [(record.levelname, record.getMessage().strip()) for record in mine]
    for line in lines:
        print(*line)
    assert ("INFO", "garden: hello") in lines
    assert ("DEBUG", "garden: valve of beans") in lines
    assert ("WARNING", "garden: leeks is dry") in lines
    assert ("INFO", "garden: seedlings") in lines, "a subflow logs its prints as its parent does"
    assert ("INFO", "garden: a tune") not in lines, "a task may opt out"

    print("printed:", printed.getvalue().splitlines())
    assert printed.getvalue() == "garden: a tune\ngarden: just printed\n"

    of_beans = [record for record in mine if "beans" in record.getMessage()]
    print({record.flow_run_id == mine[0].flow_run_id for record in of_beans})
    print(len({record.task_run_id for record in of_beans}))

    try:
        get_run_logger()
    except MissingContextError as error:
        print(type(error).__name__)
