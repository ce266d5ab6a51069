"""hnswlib (C++) over the same rows: built and searched by one thread.

Arguments: folder with rows.f32, queries.f32 and truth.u32 (ten of each query); dimensions. Prints a line of JSON.
"""

import json
import sys
import time

import hnswlib
import numpy

folder, dimensions = sys.argv[1], int(sys.argv[2])
rows = numpy.fromfile(f"{folder}/rows.f32", dtype="<f4").reshape(-1, dimensions)
queries = numpy.fromfile(f"{folder}/queries.f32", dtype="<f4").reshape(-1, dimensions)
truth = numpy.fromfile(f"{folder}/truth.u32", dtype="<u4").reshape(len(queries), -1)

index = hnswlib.Index(space="cosine", dim=dimensions)
index.init_index(max_elements=len(rows), M=16, ef_construction=200, random_seed=7)
index.set_num_threads(1)
began = time.process_time()
index.add_items(rows, num_threads=1)
built = time.process_time() - began

found = []
for breadth in (16, 24, 32, 48, 64, 96, 128, 192):
    index.set_ef(breadth)
    best = None
    for _ in range(3):
        began = time.process_time()
        labels, _ = index.knn_query(queries, k=truth.shape[1], num_threads=1)
        took = time.process_time() - began
        best = took if best is None else min(best, took)
    hits = sum(len(set(mine) & set(true)) for mine, true in zip(labels.tolist(), truth.tolist()))
    found.append({"breadth": breadth, "micros": best / len(queries) * 1e6, "recall": hits / truth.size})
print(json.dumps({"built_s": built, "found": found}))
