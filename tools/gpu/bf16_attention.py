#!/usr/bin/env python3
"""Times what kvault's decode is held against, on this GPU: PyTorch's attention over a bf16 cache,
the fastest of its backends, and plain reading of memory. Caches are larger than the GPU's L2.

bf16_attention.py [--json FILE]
"""
import argparse
import json
import statistics

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

N_HEAD, N_KV_HEAD, HEAD_DIM = 32, 8, 128
CACHE_BYTES = 512 << 20
BACKENDS = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION)


def median_us(call, rounds=30):
    for index in range(3):
        call(index)
    times = []
    for index in range(rounds):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call(index)
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) * 1000)
    return statistics.median(times)


def read_gigabytes_per_s():
    data = torch.zeros(1 << 30, dtype=torch.float32, device="cuda")
    return data.numel() * 4 / median_us(lambda _: data.sum()) / 1000


def decode_us(n_token, n_sequence, backend):
    """One token of n_sequence chats; the layers of a model are visited in turn."""
    shape = (n_sequence, N_KV_HEAD, n_token, HEAD_DIM)
    layer_bytes = 4 * n_sequence * N_KV_HEAD * n_token * HEAD_DIM
    layers = [tuple(torch.randn(shape, dtype=torch.bfloat16, device="cuda") for _ in range(2))
              for _ in range(max(2, CACHE_BYTES // layer_bytes))]
    q = torch.randn((n_sequence, N_HEAD, 1, HEAD_DIM), dtype=torch.bfloat16, device="cuda")

    def call(index):
        key, value = layers[index % len(layers)]
        torch.nn.functional.scaled_dot_product_attention(q, key, value, enable_gqa=True)

    with sdpa_kernel(backend):
        return median_us(call)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="write the figures here too")
    options = parser.parse_args()
    figures = {"device": torch.cuda.get_device_name(), "torch": torch.__version__,
               "read_gb_per_s": round(read_gigabytes_per_s(), 1), "decode_us": []}
    for n_token, n_sequence in ((32768, 1), (131072, 1), (32768, 8)):
        for backend in BACKENDS:
            row = {"n_token": n_token, "n_sequence": n_sequence, "backend": backend.name}
            try:
                row["us"] = round(decode_us(n_token, n_sequence, backend), 2)
            except RuntimeError as error:
                row["why_not"] = str(error).splitlines()[0]
            figures["decode_us"].append(row)
            print(row)
    print(f"reads {figures['read_gb_per_s']} GB/s on {figures['device']}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=1)


if __name__ == "__main__":
    main()
