"""How fast is a word from a running task, and a question answered meanwhile, over which channel?

Printed (Ray 2.60, 2 cores):

    asking for the actor: 112.3 ms
    say took 3339 us there, was here after 324.2 ms; ask and answer took 22.0 ms
    say took 261 us there, was here after 1.6 ms; ask and answer took 5.8 ms
    say took 699 us there, was here after 2.0 ms; ask and answer took 5.7 ms
    a put into the cluster's own table: 335 us
    listing 200 keys: 905 us
    listing nothing: 455 us
    dropping 200 by prefix: 478 us
"""

import asyncio
import threading
import time

import ray
from ray.experimental import internal_kv


@ray.remote(num_cpus=0, max_concurrency=1000)
class Mailbox:
    def __init__(self) -> None:
        self._posted: list = []
        self._answers: dict = {}
        self._filled = asyncio.Event()

    async def post(self, message: bytes) -> None:
        self._posted.append(message)
        self._filled.set()

    async def ask(self, message: bytes) -> bytes:
        answer = self._answers[message] = asyncio.get_running_loop().create_future()
        await self.post(message)
        return await answer

    async def answer(self, message: bytes, answer: bytes) -> None:
        self._answers.pop(message).set_result(answer)

    async def take(self) -> list:
        await self._filled.wait()
        self._filled.clear()
        posted, self._posted = self._posted, []
        return posted


@ray.remote(max_retries=0)
def talk(mailbox) -> tuple:
    began = time.perf_counter()
    mailbox.post.remote(repr(time.time()).encode())
    said = time.perf_counter() - began
    time.sleep(0.3)
    began = time.perf_counter()
    ray.get(mailbox.ask.remote(b"?"))
    return said, time.perf_counter() - began


@ray.remote(max_retries=0)
def put_in_store(count: int) -> float:
    began = time.perf_counter()
    for number in range(count):
        internal_kv._internal_kv_put(b"say:%d" % number, b"m" * 500, namespace=b"fanfold")
    return (time.perf_counter() - began) / count


def answer_all(mailbox, heard: list) -> None:
    while True:
        for message in ray.get(mailbox.take.remote()):
            if message == b"?":
                mailbox.answer.remote(b"?", b"!")
            elif message == b"stop":
                return
            else:
                heard.append(time.time() - float(message))


def main() -> None:
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    began = time.perf_counter()
    mailbox, heard = Mailbox.remote(), []
    print(f"asking for the actor: {(time.perf_counter() - began) * 1e3:.1f} ms")
    listener = threading.Thread(target=answer_all, args=(mailbox, heard))
    listener.start()
    for _ in range(3):
        said, asked = ray.get(talk.remote(mailbox))
        print(
            f"say took {said * 1e6:.0f} us there, was here after {heard[-1] * 1e3:.1f} ms; "
            f"ask and answer took {asked * 1e3:.1f} ms"
        )
    ray.get(mailbox.post.remote(b"stop"))
    listener.join()
    print(f"a put into the cluster's own table: {ray.get(put_in_store.remote(200)) * 1e6:.0f} us")
    began = time.perf_counter()
    keys = internal_kv._internal_kv_list(b"say:", namespace=b"fanfold")
    print(f"listing {len(keys)} keys: {(time.perf_counter() - began) * 1e6:.0f} us")
    began = time.perf_counter()
    internal_kv._internal_kv_list(b"none:", namespace=b"fanfold")
    print(f"listing nothing: {(time.perf_counter() - began) * 1e6:.0f} us")
    began = time.perf_counter()
    gone = internal_kv._internal_kv_del(b"say:", del_by_prefix=True, namespace=b"fanfold")
    print(f"dropping {gone} by prefix: {(time.perf_counter() - began) * 1e6:.0f} us")
    ray.shutdown()


if __name__ == "__main__":
    main()
