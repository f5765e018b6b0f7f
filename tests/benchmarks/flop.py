"""Floating-point operations: how many PyTorch's attention on a CPU is, and how many a second this machine makes."""

import statistics
import time

import torch

ROUNDS = 5


def matrix_rate(dtype, size=2048):
    """FLOP a second of square matrix products, by processor and by clock."""
    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
    a @ b
    by_processor, by_clock = [], []
    for _ in range(ROUNDS):
        clock, processor = time.perf_counter(), time.process_time()
        a @ b
        by_processor.append(2 * size**3 / (time.process_time() - processor))
        by_clock.append(2 * size**3 / (time.perf_counter() - clock))
    return statistics.median(by_processor), statistics.median(by_clock)


def attention_flop(queries, keys, _values, _dropout=0.0, is_causal=False, **_):
    """Of two products, as PyTorch counts other kinds of attention; half where a token sees only those before it."""
    rows, heads, tokens, size = queries
    return 4 * rows * heads * tokens * keys[2] * size // (1 + is_causal)


def attention_backward_flop(_gradient, queries, keys, _values, _out, _sums, _dropout, is_causal, **_):
    """Of five products: the weights of attention are computed again."""
    return attention_flop(queries, keys, None, 0.0, is_causal) * 5 // 2


ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_flop,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: attention_backward_flop,
}
