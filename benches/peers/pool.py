"""Prints how many nanoseconds it takes to the first result of a pool, which its argument chooses, and
then how long what each line of its input asks for takes."""

import os
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context


def add_one(number):
    return number + 1


def echo(data):
    return data


def process_id():
    return os.getpid()


def timed(once):
    before = time.perf_counter_ns()
    once()
    print(time.perf_counter_ns() - before, flush=True)


def start():
    global pool
    if sys.argv[1] == "executor":
        pool = ProcessPoolExecutor(1, mp_context=fork)
        pool.submit(add_one, 1).result()
    else:
        pool = fork.Pool()
        pool.apply(add_one, (1,))


def trips(times):
    for _ in range(times):
        pool.apply(add_one, (1,))


def kill_to_next():
    """The call that finds the worker dead fails, and its user makes another pool."""
    try:
        pool.submit(process_id).result()
    except BrokenProcessPool:
        start()
    pool.submit(process_id).result()


# With the method that later versions have as their default each worker would take longer to start.
fork = get_context("fork")
timed(start)
for line in sys.stdin:
    what, *number = line.split()
    if what == "trips":
        timed(lambda: trips(int(number[0])))
    elif what == "map":
        timed(lambda: pool.map(add_one, range(int(number[0]))))
    elif what == "bytes":
        # One object many times over would be sent once.
        inputs = [bytes(1 << 20) for _ in range(int(number[0]))]
        timed(lambda: pool.map(echo, inputs))
    elif what == "kill":
        worker = pool.submit(process_id).result()
        os.kill(worker, signal.SIGKILL)
        timed(kill_to_next)
