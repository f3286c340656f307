#!/usr/bin/env python3
"""Times what kvault is held against, on this GPU: PyTorch's attention over a bf16 cache, decode and
prefill, by each of its backends, plain reading of memory, and copies from pinned memory. Caches of
a decode are larger than the GPU's L2.

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


def upload_gigabytes_per_s():
    host = torch.empty(256 << 20, dtype=torch.uint8, pin_memory=True)
    device = torch.empty_like(host, device="cuda")
    return host.numel() / median_us(lambda _: device.copy_(host, non_blocking=True)) / 1000


def prefill_us(n_token, n_q, backend):
    """A prompt's queries on a history that all of them see."""
    shape = (1, N_KV_HEAD, n_token, HEAD_DIM)
    key, value = (torch.randn(shape, dtype=torch.bfloat16, device="cuda") for _ in range(2))
    q = torch.randn((1, N_HEAD, n_q, HEAD_DIM), dtype=torch.bfloat16, device="cuda")
    with sdpa_kernel(backend):
        return median_us(lambda _: torch.nn.functional.scaled_dot_product_attention(
            q, key, value, enable_gqa=True))


def measured(row, call):
    """The row with the time of the call, or why there is none."""
    try:
        row["us"] = round(call(), 2)
    except RuntimeError as error:
        row["why_not"] = str(error).splitlines()[0]
    print(row)
    return row


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
               "n_multiprocessor": torch.cuda.get_device_properties(0).multi_processor_count,
               "read_gb_per_s": round(read_gigabytes_per_s(), 1),
               "upload_gb_per_s": round(upload_gigabytes_per_s(), 2), "decode_us": [],
               "prefill_us": []}
    for backend in BACKENDS:
        for n_token, n_sequence in ((32768, 1), (131072, 1), (32768, 8)):
            row = {"n_token": n_token, "n_sequence": n_sequence, "backend": backend.name}
            figures["decode_us"].append(
                measured(row, lambda: decode_us(n_token, n_sequence, backend)))
        row = {"n_token": 32768, "n_q": 2048, "backend": backend.name}
        figures["prefill_us"].append(measured(row, lambda: prefill_us(32768, 2048, backend)))
    print(f"reads {figures['read_gb_per_s']} GB/s, takes {figures['upload_gb_per_s']} GB/s from "
          f"pinned memory: {figures['device']}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=1)


if __name__ == "__main__":
    main()
