"""Prints how many nanoseconds it takes to the first result of a pool, which its argument chooses, and
then how long what each line of its input asks for takes."""

import atexit
import os
import shutil
import signal
import sys
import tempfile
import time
from array import array
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, shared_memory

# The size of the table that many calls use, in bytes.
TABLE = 256 << 20


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


def look_up(row, table):
    return table[row]


def attach(name):
    """Gives this worker the table in shared memory."""
    global memory, table
    memory = shared_memory.SharedMemory(name)
    table = memory.buf.cast("Q")


def look_up_here(row):
    return table[row]


def make_table():
    table = array("Q", bytes(TABLE))
    for row in range(0, len(table), 4096):
        table[row] = row
    return table


def start():
    global pool, table
    if sys.argv[1] == "table":
        table = make_table()
        pool = ProcessPoolExecutor(1, mp_context=fork)
        pool.submit(add_one, 1).result()
    elif sys.argv[1] == "shared_memory":
        memory = shared_memory.SharedMemory(create=True, size=TABLE)
        memory.buf[:] = make_table().tobytes()
        pool = ProcessPoolExecutor(1, mp_context=fork, initializer=attach, initargs=(memory.name,))
        pool.submit(add_one, 1).result()
        # The workers keep it from now on, and nothing else has to end it.
        memory.unlink()
    elif sys.argv[1] == "joblib":
        import joblib
        import numpy

        # As its documentation advises for an array that many calls use.
        folder = tempfile.mkdtemp()
        atexit.register(shutil.rmtree, folder)
        path = os.path.join(folder, "table")
        joblib.dump(numpy.frombuffer(make_table(), dtype=numpy.uint64), path)
        table = joblib.load(path, mmap_mode="r")
        pool = joblib.Parallel(n_jobs=2)
        pool(joblib.delayed(look_up)(row, table) for row in range(2))
    elif sys.argv[1] == "executor":
        pool = ProcessPoolExecutor(1, mp_context=fork)
        pool.submit(add_one, 1).result()
    else:
        pool = fork.Pool()
        pool.apply(add_one, (1,))


def trips(times):
    for _ in range(times):
        pool.apply(add_one, (1,))


def look_ups(times):
    if sys.argv[1] == "table":
        for row in range(times):
            pool.submit(look_up, row, table).result()
    elif sys.argv[1] == "shared_memory":
        for row in range(times):
            pool.submit(look_up_here, row).result()
    else:
        import joblib

        pool(joblib.delayed(look_up)(row, table) for row in range(times))


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
    elif what == "table":
        timed(lambda: look_ups(int(number[0])))
    elif what == "kill":
        worker = pool.submit(process_id).result()
        os.kill(worker, signal.SIGKILL)
        timed(kill_to_next)
