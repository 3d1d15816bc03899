"""Thirty people at a board: `python tests/board_load.py` lets them report every second for a minute.

It says whether anything was lost, and how long the page's state took meanwhile. The board runs in a process of its own.
"""

import re
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from statistics import median

from babygpt.harness.reports import Membership


def crowd(address, code, people, rounds, pause):
    """Let people report, all at the same time; return the seconds of the slowest state that was asked for meanwhile."""
    done, waits = threading.Event(), []

    def watch():
        while not done.is_set():
            start = time.perf_counter()
            urllib.request.urlopen(f"{address}/{code}/state", timeout=10).read()
            waits.append(time.perf_counter() - start)
            done.wait(pause)

    def person(number):
        membership = Membership(address, code, f"person {number}")
        for step in range(rounds):
            start = time.monotonic()
            membership.post({"kind": "loss", "run": "v5", "step": step, "val": 4.0 - step / rounds}, timeout=10)
            time.sleep(max(0, pause - (time.monotonic() - start)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(people) as pool:
        list(pool.map(person, range(people)))
    done.set()
    watcher.join()
    crowd.waits = waits
    return max(waits)


def main():
    """Start a board, send the crowd there, and print what came of it."""
    command = [sys.executable, "-m", "babygpt.board", "--port", "8799"]
    board = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        address, code = re.search(r"(http://[^/]+)/(\w+)", board.stdout.readline()).groups()
        time.sleep(2)
        slowest = crowd(address, code, people=30, rounds=60, pause=1.0)
        state = urllib.request.urlopen(f"{address}/{code}/state").read().decode("utf-8")
    finally:
        board.terminate()
    reports = int(re.search(r'"reports": (\d+)', state)[1])
    middle = median(crowd.waits)
    print(
        f"{reports} of 1800 reports arrived; a state took {1000 * middle:.1f} ms (median), "
        f"{1000 * slowest:.1f} ms at most"
    )
    return 0 if reports == 1800 and slowest < 0.1 else 1


if __name__ == "__main__":
    sys.exit(main())
