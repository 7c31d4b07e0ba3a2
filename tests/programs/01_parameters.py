"""A flow's parameters are converted to what their hints say, and refused where that can't be."""

from pydantic import BaseModel

from fanfold import flow
from fanfold.exceptions import ParameterTypeError


class Parcel(BaseModel):
    label: str
    grams: int
    fragile: bool = False


@flow
def postage(parcel: Parcel, copies: int, zones: list[int]) -> int:
    surcharge = 150 if parcel.fragile else 0
    return copies * (parcel.grams // 100 + surcharge) + sum(zones)


@flow(validate_parameters=False)
def as_given(copies: int) -> str:
    return f"{type(copies).__name__} {copies!r}"


if __name__ == "__main__":
    price = postage({"label": "vase", "grams": "1200", "fragile": True}, "2", ["3", "4"])
    print("price", price)
    assert price == 331

    state = postage({"label": "vase", "grams": "heavy"}, 1, [], return_state=True)
    print("bad parcel", state.name, state.type.value)
    assert state.is_failed()

    try:
        postage(Parcel(label="book", grams=300), "many", [])
    except ParameterTypeError as error:
        print("refused", "copies" in str(error))
    else:
        raise AssertionError("words were taken for a number")

    print("unchecked", as_given("7"))
    assert as_given("7") == "str '7'"
