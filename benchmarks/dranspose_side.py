"""dranspose replays a capture: run by its own Python, prints JSON.

PYTHON -m benchmarks.dranspose_side CAPTURE WORKER N_WORKERS
"""

import json
import logging
import sys

from benchmarks import analysis_pairs

if __name__ == "__main__":
    from dranspose import replay

    logging.disable()
    file, worker, n_workers = sys.argv[1:]
    pair = f"benchmarks.analysis_pairs:{worker}", "benchmarks.analysis_pairs:MeanReducer"
    replay.replay(*pair, [file], port=None, nworkers=int(n_workers))
    seconds = analysis_pairs.CLOCK["ended"] - analysis_pairs.CLOCK["begun"]
    print(json.dumps({"seconds": seconds} | replay.reducer.publish))
