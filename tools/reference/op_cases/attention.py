"""Attention, rotary positions, part of a dimension."""

import torch
import torch.nn.functional as F


def heads(x, h):
    return x.reshape(-1, h, *x.shape[1:])


def attend(q, k, v, h, h_kv, **options):
    def fn(q, k, v):
        q, k, v = heads(q, h), heads(k, h_kv), heads(v, h_kv)
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=h != h_kv, **options)

    return [q, k, v], fn


def keep(*rows, shape):
    return torch.tensor(rows).reshape(shape).bool()


def below(t, s):
    """The bottom-right triangle."""
    return torch.ones(t, s, dtype=torch.bool).tril(s - t)


def split(x, h):
    return x.unflatten(-1, (h, -1)).transpose(1, 2)


def of_views(q, k, v):
    y = F.scaled_dot_product_attention(split(q, 2), split(k, 2), split(v, 2))
    return y.transpose(1, 2).flatten(2)


def of_one(x):
    x = heads(x, 2)
    return F.scaled_dot_product_attention(x, x, x)


def of_columns(q, k, v):
    v = heads(v, 1).expand(2, 1, 5, 3)
    return F.scaled_dot_product_attention(heads(q, 1), heads(k, 1).mT, v)


WIDE = [(4, 3, 5), (4, 19, 5), (4, 19, 2)]
SQUARE = [(4, 5, 3), (4, 5, 3), (4, 5, 3)]
WIDER = [(4, 2, 3), (4, 5, 3), (4, 5, 3)]
TALLER = [(2, 5, 3), (2, 3, 3), (2, 3, 3)]
ADDITIVE = torch.tensor(
    [float("-inf") if i % 7 == 3 else 0.25 * (i % 5) for i in range(50)], dtype=torch.float64
)
ADDITIVE = ADDITIVE.reshape(1, 2, 5, 5)
EACH = keep(1, 1, 0, 1, 1, shape=(5, 1))

CASES = {
    "attention": attend(*WIDE, 2, 2),
    "attention causal": attend(*SQUARE, 2, 2, is_causal=True),
    "attention causal, more queries than keys": attend(*TALLER, 1, 1, is_causal=True),
    "attention causal behind a cache": attend(*WIDER, 2, 2, attn_mask=below(2, 5)),
    "attention with queries before all keys": attend(*TALLER, 2, 2, attn_mask=below(5, 3)),
    "attention with hidden keys": attend(
        *SQUARE, 2, 2, attn_mask=keep(1, 1, 0, 1, 0, 1, 1, 1, 1, 0, shape=(2, 1, 1, 5))
    ),
    "attention with a row of hidden keys": attend(
        *WIDER, 2, 2, attn_mask=keep(0, 0, 0, 0, 0, 1, 0, 1, 1, 0, shape=(2, 5))
    ),
    "attention with an additive mask": attend(*SQUARE, 2, 2, attn_mask=ADDITIVE),
    "attention with a mask for each query": attend(
        *SQUARE, 2, 2, attn_mask=torch.ones(5, 5, dtype=torch.bool).tril() & EACH
    ),
    "attention scaled": attend(*WIDE, 2, 2, scale=0.3),
    "attention grouped": attend((12, 3, 4), (4, 5, 4), (4, 5, 3), 6, 2, attn_mask=below(3, 5)),
    "attention of every option": attend(
        (12, 3, 4),
        (4, 5, 4),
        (4, 5, 3),
        6,
        2,
        attn_mask=keep(1, 1, 0, 1, 1, 1, 0, 1, 1, 1, shape=(2, 1, 1, 5)) & below(3, 5),
        scale=-0.7,
    ),
    "attention of transposed views": ([(2, 3, 8), (2, 5, 8), (2, 5, 8)], of_views),
    "attention of one tensor": ([(4, 5, 3)], of_one),
    "keys in columns, one column of values": ([(2, 3, 4), (2, 4, 5), (2, 5, 1)], of_columns),
    "narrow": ([(3, 5, 2)], lambda x: x.narrow(1, 1, 3)),
}


def angles(dim, first, count, theta):
    """Rounded to f32, in which tables are stored."""
    frequencies = theta ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    angle = torch.arange(first, first + count, dtype=torch.float64)[:, None] * frequencies
    return angle.cos().float().double(), angle.sin().float().double()


def rotate_halves(x, cos, sin):
    """As Hugging Face's apply_rotary_pos_emb."""
    first, second = x.chunk(2, -1)
    turned = torch.cat((-second, first), -1)
    return x * torch.cat((cos, cos), -1) + turned * torch.cat((sin, sin), -1)


def rotate_neighbours(x, cos, sin):
    """As complex numbers, LLaMA's own code."""
    z = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(z * torch.complex(cos, sin)).flatten(-2)


def some(rotate):
    table = angles(4, 2, 5, 100.0)
    return lambda x: torch.cat((rotate(x[..., :4], *table), x[..., 4:]), -1)


for name, comma, rotate in [("rope", "", rotate_halves), ("rope interleaved", ",", rotate_neighbours)]:
    CASES[name] = (
        [(2, 3, 5, 6)],
        lambda x, rotate=rotate: rotate(x, *angles(6, 0, 5, 100.0)),
    )
    CASES[f"{name}{comma} of some features"] = ([(2, 3, 5, 7)], some(rotate))
    CASES[f"{name}{comma} of a view"] = (
        [(2, 5, 8)],
        lambda x, rotate=rotate: rotate(split(x, 2), *angles(4, 0, 5, 100.0)),
    )
