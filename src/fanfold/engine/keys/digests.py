"""Keys of values: equal values give equal keys, different values different ones, in any process.

A value is written in a canonical form, which is digested with blake3. There is no second digest to
fall back on, for another digest would be another key.

The form is typed, and every piece of it starts with a tag and either has a fixed size or says its
length, so that no two values share one: `1`, `True`, `1.0` and `numpy.int64(1)` are four values,
`["ab"]` and `["a", "b"]` are two. What counts, where one could decide either way:

- The order of a dict's and a set's members doesn't count, that of an `OrderedDict` does.
- A container may hold itself; where it does, the form says how many levels up it is met again.
- Every NaN is the same NaN, also inside arrays; `-0.0` and `0.0` are different.
- An array is its dtype, shape and content. Strides, memory order, padding and byte order don't
  count, so a `>i4` array has the key of the `<i4` array that equals it. `longdouble` has no form,
  for its bytes mean something else on other machines.
- A table, column or index of pandas, pyarrow or polars is its content too (`frame_forms`).
- An aware datetime is its fields and its time zone, not its instant.
- An instance of a subclass is its type's qualified name, its content and its state.
- A dataclass or model is its class's qualified name and its fields; a plain object its class's name
  and its state, if all of that has a form (`model_forms`).
- A class, and an installed function, is its qualified name. A function of the project, and whatever
  lives in `__main__` or inside a function, is what it does (`codes`).
- An enum member is its type's qualified name and its own name.

What none of the modules of forms knows has no key, rather than one that holds by accident. Big
contents (text, bytes, arrays) enter the form as their own digest, so an array is never copied.
"""

from blake3 import blake3

from fanfold.engine.keys import array_forms, callable_forms, forms, frame_forms, model_forms

KEY_BYTES = 16
"""Size of a key: two of a billion keys are equal with a probability of 1e-21."""

forms.look_in(
    array_forms.find,
    frame_forms.find,
    callable_forms.find,
    forms.find_subclass,
    model_forms.find,
    callable_forms.find_by_name,
)


def digest(value: object, path: str = "value", *, before: bytes = b"") -> bytes:
    """Return the key of a value, 16 bytes.

    Args:
        value: Anything; not changed, and not to be changed meanwhile.
        path: What errors call the value. If it is empty, the value is a dict of arguments and
            errors begin with the name of one of them, as in `config.lock`.
        before: Part of the key too; of one size wherever keys of one kind are made.

    Raises:
        KeyNotStable: Something in it has no form that is the same in every process.
    """
    return blake3(forms.form(value, path, before)).digest(KEY_BYTES)


def encode(value: object, path: str = "value") -> bytes:
    """Return the canonical form that `digest` digests; big contents are in it as digests.

    Raises:
        KeyNotStable: Something in it has no form that is the same in every process.
    """
    return bytes(forms.form(value, path))
