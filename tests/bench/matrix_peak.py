"""What a large matrix product of float32 reaches here, in GFLOP/s: MKL's, which libtorch takes by
itself, and oneDNN's over a packed matrix. One line of JSON. Runs in the reference's environment, with
as many threads as OMP_NUM_THREADS says.

Times are the least of some rounds, of processor time where one thread computes, so that what else the
machine does counts little.
"""

import json
import os
import time

import torch

SIDE = 2048


def main():
    torch.set_grad_enabled(False)
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    torch.set_num_threads(threads)
    clock = time.thread_time if threads == 1 else time.perf_counter
    x, weight = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)
    products = {
        "mkl": lambda: torch.nn.functional.linear(x, weight),
        "onednn": lambda: torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], ""),
    }
    found = {}
    for name, product in products.items():
        times = []
        for _ in range(9):
            started = clock()
            product()
            times.append(clock() - started)
        found[name] = 2 * SIDE ** 3 / min(times) / 1e9
    print(json.dumps(found))


if __name__ == "__main__":
    main()
