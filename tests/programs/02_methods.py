"""Methods of every kind can be flows and tasks, and each run sees the object it was called on."""

from fanfold import flow, task


class Ledger:
    currency = "EUR"

    def __init__(self, opening: int) -> None:
        self.entries = [opening]

    @task
    def post(self, cents: int) -> int:
        self.entries.append(cents)
        return sum(self.entries)

    @flow
    def settle(self, payments: list[int]) -> int:
        for cents in payments:
            balance = self.post(cents)
        return balance

    @flow
    @classmethod
    def unit(cls) -> str:
        return cls.currency

    @flow
    @staticmethod
    def rounded(cents: int) -> int:
        return round(cents / 100)


class Sterling(Ledger):
    currency = "GBP"


@task
def doubled(cents: int) -> int:
    """Twice the amount."""
    return 2 * cents


if __name__ == "__main__":
    mine, yours = Ledger(100), Ledger(5000)
    print("mine", mine.settle([20, -50]))
    print("yours", yours.settle([1]))
    assert mine.entries == [100, 20, -50]
    assert yours.entries == [5000, 1]

    print("units", Ledger.unit(), Sterling.unit())
    assert Ledger.rounded(1260) == 13

    # The function itself stays within reach, and so does what it says of itself.
    print(doubled.name, doubled.fn(4), doubled.__doc__, "|", Ledger.unit.name)
    renamed = doubled.with_options(name="twofold", retries=2)
    print(renamed.name, renamed.retries, doubled.name, doubled.retries, renamed(21))
    assert renamed(21) == 42
