"""Runs a command and writes what it cost: `python -S -E measured.py OUT.json COMMAND...`.

A process of its own, and a small one, because the kernel counts what a process held before its exec:
started from a big process, every command would seem as big as that one.
"""

import json
import os
import resource
import subprocess
import sys
import time

if __name__ == "__main__":
    began = time.perf_counter()
    process = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL)
    status = process.wait()
    wall = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(sys.argv[1] + ".new", "w") as out:
        json.dump(
            {
                "status": status,
                "wall": wall,
                "cpu": used.ru_utime + used.ru_stime,
                "rss": used.ru_maxrss * 1024,
                "load": os.getloadavg()[0],
            },
            out,
        )
    os.replace(sys.argv[1] + ".new", sys.argv[1])
