"""Run a command and print what it took, as JSON: exit status, seconds, peak memory, its last words.

A program of its own, because the peak memory of a child begins with that of its parent.
"""

import json
import os
import subprocess
import sys
import tempfile
import time


def main(command: list[str]) -> None:
    with tempfile.TemporaryFile("w+") as out:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        output = out.read()[-4000:]
    cpu = usage.ru_utime + usage.ru_stime
    facts = {"code": process.returncode, "cpu": cpu, "wall": wall, "mb": usage.ru_maxrss / 1000}
    print(json.dumps({**facts, "said": output}))


if __name__ == "__main__":
    main(sys.argv[1:])
