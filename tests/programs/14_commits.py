"""What a transaction staged counts once it is committed; a key lets it happen only once."""

from fanfold import flow, task
from fanfold.transactions import CommitMode, transaction

events: list[str] = []


@task
def charge(customer: str) -> str:
    events.append(f"charge {customer}")
    return f"receipt for {customer}"


@charge.on_commit
def receipt(txn) -> None:
    events.append("committed")


@charge.on_rollback
def refund(txn) -> None:
    events.append("refunded")


@flow
def checkout(order: str, customer: str):
    with transaction(key=f"order-{order}") as txn:
        if txn.is_committed():
            return "already paid"
        charge(customer)
        events.append("still inside")
        return "paid"


@flow
def nested(outer: CommitMode | None, inner: CommitMode | None):
    events.clear()
    with transaction(commit_mode=outer):
        with transaction(commit_mode=inner):
            charge("Kim")
        events.append("outer ends")
    return list(events)


@flow
def unwanted():
    events.clear()
    with transaction(commit_mode=CommitMode.OFF):
        charge("Lou")
    return list(events)


if __name__ == "__main__":
    print(checkout("17", "Kim"), "|", checkout("17", "Kim"), "|", checkout("18", "Lou"))
    print(events)
    assert events == [
        *("charge Kim", "still inside", "committed"),
        *("charge Lou", "still inside", "committed"),
    ]

    print("lazy", nested(None, None))
    print("eager", nested(None, CommitMode.EAGER))
    print("off", unwanted())
