"""A process that creates what it is told to, and tells what it has won: `test_races` runs several.

Gets a store's URL and options and its own number, then lists of names, a line of JSON each.
"""

import json
import sys

from fanfold.adapters.results.fsspec_store import FsspecStore


def main() -> None:
    url, options, number = json.loads(sys.stdin.readline())
    store = FsspecStore(url, options)
    store.create(f"ready/{number}", b"x")  # the connection is made, and tried
    print("ready", flush=True)
    for line in iter(sys.stdin.readline, ""):
        won = [name for name in json.loads(line) if store.create(name, b"%d" % number)]
        print(json.dumps(won), flush=True)


if __name__ == "__main__":
    main()
