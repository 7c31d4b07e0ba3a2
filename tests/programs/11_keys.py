"""A function of one's own can make the cache key; kept results can expire and be refreshed."""

import time
from datetime import timedelta

from fanfold import flow, task
from fanfold.tasks import task_input_hash

ran: list[str] = []


def by_title(context, parameters) -> str:
    return f"{context.task.name}-{parameters['title'].strip().lower()}-{parameters['pages']}"


@task(cache_key_fn=by_title)
def bind(title: str, pages: int = 10) -> str:
    ran.append(title)
    return f"{title}, {pages} pages"


@task(cache_key_fn=task_input_hash)
def price(pages: int, hardcover: bool = False) -> int:
    ran.append(f"price {pages}")
    return pages * (2 if hardcover else 1)


@task(cache_key_fn=lambda context, parameters: "stock", cache_expiration=timedelta(hours=1))
def stock() -> int:
    ran.append("stock")
    return len(ran)


@task(cache_key_fn=lambda context, parameters: "never mind" if parameters["keep"] else None)
def picky(keep: bool) -> bool:
    ran.append(f"picky {keep}")
    return keep


@flow
def bindery():
    print(bind("Moby Dick"))
    print(bind(" moby dick ", 10), "|", bind(pages=10, title="MOBY DICK"))
    print(bind("Moby Dick", 11))
    assert ran == ["Moby Dick", "Moby Dick"]

    fresh = bind.with_options(refresh_cache=True)
    print(fresh("MOBY DICK"), "|", bind("Moby Dick"))
    assert ran[2:] == ["MOBY DICK"]

    ran.clear()
    print(price(10), price(10, hardcover=False), price(pages=10), price(10, True))
    assert ran == ["price 10", "price 10"]

    ran.clear()
    print([stock(return_state=True).name for _ in range(2)])
    brief = stock.with_options(
        cache_key_fn=lambda context, parameters: "till", cache_expiration=timedelta(seconds=0.01)
    )
    brief()
    time.sleep(0.05)
    print(brief(return_state=True).name)
    assert ran == ["stock", "stock", "stock"], "the first is kept for an hour, the others are not"

    # Without a key nothing is kept.
    print([picky(keep, return_state=True).name for keep in (False, False, True, True)])


if __name__ == "__main__":
    bindery()
