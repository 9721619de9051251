"""LSTM and GRU, by torch.nn's modules with the weights put in."""

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

RAGGED = [4, 1, 3]


def backwards(x, lengths):
    """Every sequence from its last real step to its first; what is behind stays."""
    rows = [torch.cat([row[:n].flip(0), row[n:]]) for row, n in zip(x, lengths)]
    return torch.stack(rows)


def joined(*results):
    return torch.cat([r.flatten() for r in results])


def run(kind, x, state, weights, lengths=None, reverse=False):
    hidden = weights[1].shape[1]
    module = kind(x.shape[2], hidden, bias=len(weights) == 4, batch_first=True).double()
    names = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
    call = lambda x, s: torch.func.functional_call(module, dict(zip(names, weights)), (x, s))
    state = tuple(s[None] for s in state) or None
    if state and len(state) == 1:
        state = state[0]
    real = lengths or [x.shape[1]] * len(x)
    if reverse:
        x = backwards(x, real)
    y, last = call(pack_padded_sequence(x, real, True, False) if lengths else x, state)
    if lengths:
        y, _ = pad_packed_sequence(y, True, total_length=x.shape[1])
    if reverse:
        y = backwards(y, real)
    return joined(y, *(last if isinstance(last, tuple) else (last,)))


def lstm(states, **options):
    return lambda x, *rest: run(torch.nn.LSTM, x, rest[:states], rest[states:], **options)


def gru(states, **options):
    return lambda x, *rest: run(torch.nn.GRU, x, rest[:states], rest[states:], **options)


CASES = {
    "lstm": ([(2, 3, 4), (20, 4), (20, 5), (20,), (20,)], lstm(0)),
    "lstm with a state": ([(9, 2, 3), (9, 9), (9, 9), (36, 3), (36, 9)], lstm(2)),
    "lstm of ragged sequences": (
        [(3, 4, 2), (3, 3), (3, 3), (12, 2), (12, 3), (12,), (12,)],
        lstm(2, lengths=RAGGED),
    ),
    "lstm of ragged sequences in reverse": (
        [(3, 4, 2), (3, 3), (3, 3), (12, 2), (12, 3), (12,), (12,)],
        lstm(2, lengths=RAGGED, reverse=True),
    ),
    "lstm in reverse of a transposed input": (
        [(3, 2, 4), (12, 4), (12, 3)],
        lambda x, *w: run(torch.nn.LSTM, x.transpose(0, 1), (), w, reverse=True),
    ),
    "gru": ([(2, 3, 4), (15, 4), (15, 5), (15,), (15,)], gru(0)),
    "gru with a state": ([(9, 2, 3), (9, 11), (33, 3), (33, 11)], gru(1)),
    "gru of ragged sequences": ([(3, 4, 2), (9, 2), (9, 3)], gru(0, lengths=RAGGED)),
    "gru in reverse of a transposed input": (
        [(3, 2, 4), (9, 4), (9, 3), (9,), (9,)],
        lambda x, *w: run(torch.nn.GRU, x.transpose(0, 1), (), w, reverse=True),
    ),
    "gru of ragged sequences in reverse": (
        [(3, 4, 2), (3, 3), (9, 2), (9, 3), (9,), (9,)],
        gru(1, lengths=RAGGED, reverse=True),
    ),
}
