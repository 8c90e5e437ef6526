"""The GPU programs: attention over one or two sources in one launch, and its gradients.

Forward walks the first source, remembers the state at its end, walks the second: only the first
one's loop averages moments, and one factor at the end makes them those of the joint softmax.
Moments go through the tensor cores as a table of 16 more value channels. Logits are kept in base 2.
Rows of a matrix have their channels next to each other; all other strides are free:
sq_b, sq_h and sq_n are those of q from batch to batch, head to head and row to row.
"""

# ruff: noqa: N803 (sizes fixed at compile time are written in capitals)
import triton
import triton.language as tl

TABLE_WIDTH = 16
NEVER = tl.constexpr(-1e30)
"""The running maximum before any key, and the log-sum of a query that sees none."""


@triton.jit
def _matrix(base, b, h, stride_b, stride_h, ALIGNED: tl.constexpr):
    """Where the matrix of one batch row and head begins. ALIGNED: strides are multiples of 8."""
    offset = b * stride_b + h * stride_h
    if ALIGNED:
        offset = tl.multiple_of(offset, 8)
    return base + offset


@triton.jit
def _rows(
    base, rows, stride, n, D: tl.constexpr, BD: tl.constexpr, EVEN: tl.constexpr,
    ALIGNED: tl.constexpr,
):  # fmt: skip
    """[rows, BD] of a matrix [n, D], zero outside."""
    columns = tl.arange(0, BD)
    offset = rows * stride
    if ALIGNED:
        offset = tl.multiple_of(offset, 8)
    where = base + offset[:, None] + columns[None, :]
    if EVEN and D == BD:
        return tl.load(where)
    return tl.load(where, mask=(rows[:, None] < n) & (columns[None, :] < D), other=0.0)


@triton.jit
def _store(base, rows, stride, n, x, D: tl.constexpr, BD: tl.constexpr):
    columns = tl.arange(0, BD)
    inside = (rows[:, None] < n) & (columns[None, :] < D)
    tl.store(base + rows[:, None] * stride + columns[None, :], x.to(base.dtype.element_ty), inside)


@triton.jit
def _walk(
    acc, mean, m, z, q, k_base, v_base, bias_base, table, k_stride, v_stride, n, scale, strength,
    D: tl.constexpr, BD: tl.constexpr, E: tl.constexpr, BE: tl.constexpr, BLOCK_N: tl.constexpr,
    BIASED: tl.constexpr, MOMENTS: tl.constexpr, EVEN: tl.constexpr, PRECISION: tl.constexpr,
    ALIGNED: tl.constexpr,
):  # fmt: skip
    """Online softmax over the n keys of one source: (acc, mean, m, z) after them."""
    for start in range(0, n, BLOCK_N):
        rows = start + tl.arange(0, BLOCK_N)
        k = _rows(k_base, rows, k_stride, n, D, BD, EVEN, ALIGNED)
        s = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale + strength
        if BIASED:
            s += tl.load(bias_base + rows, mask=rows < n, other=0.0)[None, :]
        if not EVEN:
            s = tl.where(rows[None, :] < n, s, float("-inf"))
        m_new = tl.maximum(m, tl.max(s, 1))
        fade = tl.math.exp2(m - m_new)
        p = tl.math.exp2(s - m_new[:, None])
        z = z * fade + tl.sum(p, 1)
        m = m_new
        v = _rows(v_base, rows, v_stride, n, E, BE, EVEN, ALIGNED)
        p = p.to(v.dtype)
        acc = tl.dot(p, v, acc * fade[:, None], input_precision=PRECISION)
        if MOMENTS:
            c = _rows(table, rows, 16, n, 16, 16, EVEN, True)
            mean = tl.dot(p, c, mean * fade[:, None], input_precision=PRECISION)
    return acc, mean, m, z


@triton.jit
def forward(
    q_a, k_a, v_a, bias_a, q_b, k_b, v_b, bias_b, table, weights, out, averages, log_sums,
    sqa_b, sqa_h, sqa_n, ska_b, ska_h, ska_n, sva_b, sva_h, sva_n, sba_b,
    sqb_b, sqb_h, sqb_n, skb_b, skb_h, skb_n, svb_b, svb_h, svb_n, sbb_b,
    sw_b, sw_n, so_b, so_h, so_n, heads, n_q, n_a, n_b, scale, strength,
    D: tl.constexpr, BD: tl.constexpr, E: tl.constexpr, BE: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, SECOND: tl.constexpr, BIAS_A: tl.constexpr,
    BIAS_B: tl.constexpr, MOMENTS: tl.constexpr, MIX: tl.constexpr, CARRY: tl.constexpr,
    EVEN: tl.constexpr, PRECISION: tl.constexpr,
    ALIGNED: tl.constexpr,
):  # fmt: skip
    """out [B, H, N, E] over source a and, with SECOND, b; log_sums [B, H, N]; averages if MOMENTS.

    MIX: a softmax each, times weights [B, N, 2], instead of one for both. CARRY: go on from the
    out and log_sums that are there (MIX: add to out).
    """
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    h, b = tl.program_id(1), tl.program_id(2).to(tl.int64)
    line = (b * heads + h) * n_q
    q = _rows(_matrix(q_a, b, h, sqa_b, sqa_h, ALIGNED), rows, sqa_n, n_q, D, BD, False, ALIGNED)
    out = _matrix(out, b, h, so_b, so_h, ALIGNED)
    if BIAS_A:
        bias_a += b * sba_b
    if BIAS_B:
        bias_b += b * sbb_b
    mean = tl.zeros([BLOCK_M, 16], tl.float32)
    if CARRY and not MIX:
        acc = _rows(out, rows, so_n, n_q, E, BE, False, ALIGNED).to(tl.float32)
        m = tl.load(log_sums + line + rows, mask=rows < n_q, other=NEVER)
        z = tl.full([BLOCK_M], 1.0, tl.float32)
    else:
        acc = tl.zeros([BLOCK_M, BE], tl.float32)
        m = tl.full([BLOCK_M], NEVER, tl.float32)
        z = tl.zeros([BLOCK_M], tl.float32)
    acc, mean, m, z = _walk(
        acc, mean, m, z, q, _matrix(k_a, b, h, ska_b, ska_h, ALIGNED),
        _matrix(v_a, b, h, sva_b, sva_h, ALIGNED), bias_a, table, ska_n, sva_n, n_a,
        scale, strength,
        D, BD, E, BE, BLOCK_N, BIAS_A, MOMENTS, EVEN, PRECISION, ALIGNED,
    )  # fmt: skip
    m_a = m
    if MIX:
        share = tl.load(weights + b * sw_b + rows * sw_n, mask=rows < n_q, other=0.0).to(tl.float32)
        acc = acc * (share / tl.where(z > 0, z, 1.0))[:, None]
        if CARRY:
            acc += _rows(out, rows, so_n, n_q, E, BE, False, ALIGNED).to(tl.float32)
        if SECOND:
            _store(out, rows, so_n, n_q, acc, E, BE)
            tl.debug_barrier()
            acc = tl.zeros([BLOCK_M, BE], tl.float32)
            m = tl.full([BLOCK_M], NEVER, tl.float32)
            z = tl.zeros([BLOCK_M], tl.float32)
    if SECOND:
        q = _rows(
            _matrix(q_b, b, h, sqb_b, sqb_h, ALIGNED), rows, sqb_n, n_q, D, BD, False, ALIGNED
        )
        acc, _, m, z = _walk(
            acc, mean, m, z, q, _matrix(k_b, b, h, skb_b, skb_h, ALIGNED),
            _matrix(v_b, b, h, svb_b, svb_h, ALIGNED), bias_b, table, skb_n, svb_n, n_b, scale, 0.0,
            D, BD, E, BE, BLOCK_N, BIAS_B, False, EVEN, PRECISION, ALIGNED,
        )  # fmt: skip
    if MIX:
        if SECOND:
            share = tl.load(weights + 1 + b * sw_b + rows * sw_n, mask=rows < n_q, other=0.0)
            acc = acc * (share.to(tl.float32) / tl.where(z > 0, z, 1.0))[:, None]
            acc += _rows(out, rows, so_n, n_q, E, BE, False, ALIGNED).to(tl.float32)
    else:
        whole = 1.0 / tl.where(z > 0, z, 1.0)
        acc = acc * whole[:, None]
        log_sum = tl.where(z > 0, m + tl.math.log2(z), NEVER)
        tl.store(log_sums + line + rows, log_sum, mask=rows < n_q)
        if MOMENTS:
            mean = mean * (whole * tl.math.exp2(m_a - m))[:, None]
            _store(averages + line * 16, rows, 16, n_q, mean, 16, 16)
    _store(out, rows, so_n, n_q, acc, E, BE)


@triton.jit
def backward_queries(
    q, k, v, bias, table, out, grad, averages, grad_averages, log_sums, delta, dq,
    sq_b, sq_h, sq_n, sk_b, sk_h, sk_n, sv_b, sv_h, sv_n, sb_b, so_b, so_h, so_n, sg_b, sg_h, sg_n,
    heads, n_q, n, scale, strength, factor,
    D: tl.constexpr, BD: tl.constexpr, E: tl.constexpr, BE: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BIASED: tl.constexpr, MOMENTS: tl.constexpr,
    TABLE: tl.constexpr, EVEN: tl.constexpr, PRECISION: tl.constexpr,
    ALIGNED: tl.constexpr,
):  # fmt: skip
    """dq [B, H, N, D] of one source of a joint softmax, and delta [B, H, N] for its keys.

    dS = P (dO V^T + dM C^T - delta), delta = dO . O + dM . M with M the averages. MOMENTS: there
    are any; TABLE: this source carries them.
    """
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    h, b = tl.program_id(1), tl.program_id(2).to(tl.int64)
    line = (b * heads + h) * n_q
    q_tile = _rows(_matrix(q, b, h, sq_b, sq_h, ALIGNED), rows, sq_n, n_q, D, BD, False, ALIGNED)
    g = _rows(_matrix(grad, b, h, sg_b, sg_h, ALIGNED), rows, sg_n, n_q, E, BE, False, ALIGNED)
    o = _rows(_matrix(out, b, h, so_b, so_h, ALIGNED), rows, so_n, n_q, E, BE, False, ALIGNED)
    d = tl.sum(o.to(tl.float32) * g.to(tl.float32), 1)
    g_mean = tl.zeros([BLOCK_M, 16], g.dtype)
    if MOMENTS:
        g_mean = _rows(grad_averages + line * 16, rows, 16, n_q, 16, 16, False, True)
        mean = _rows(averages + line * 16, rows, 16, n_q, 16, 16, False, True)
        d += tl.sum(mean * g_mean.to(tl.float32), 1)
    tl.store(delta + line + rows, d, mask=rows < n_q)
    log_sum = tl.load(log_sums + line + rows, mask=rows < n_q, other=0.0)
    k = _matrix(k, b, h, sk_b, sk_h, ALIGNED)
    v = _matrix(v, b, h, sv_b, sv_h, ALIGNED)
    acc = tl.zeros([BLOCK_M, BD], tl.float32)
    for start in range(0, n, BLOCK_N):
        keys = start + tl.arange(0, BLOCK_N)
        k_tile = _rows(k, keys, sk_n, n, D, BD, EVEN, ALIGNED)
        s = tl.dot(q_tile, tl.trans(k_tile), input_precision=PRECISION) * scale + strength
        if BIASED:
            s += tl.load(bias + b * sb_b + keys, mask=keys < n, other=0.0)[None, :]
        if not EVEN:
            s = tl.where(keys[None, :] < n, s, float("-inf"))
        p = tl.math.exp2(s - log_sum[:, None])
        v_tile = _rows(v, keys, sv_n, n, E, BE, EVEN, ALIGNED)
        dp = tl.dot(g, tl.trans(v_tile), input_precision=PRECISION)
        if TABLE:
            c = _rows(table, keys, 16, n, 16, 16, EVEN, True)
            dp = tl.dot(g_mean, tl.trans(c), dp, input_precision=PRECISION)
        ds = p * (dp - d[:, None])
        acc = tl.dot(ds.to(k_tile.dtype), k_tile, acc, input_precision=PRECISION)
    _store(dq + line * D, rows, D, n_q, acc * factor, D, BD)


@triton.jit
def backward_keys(
    q, k, v, bias, table, grad, grad_averages, log_sums, delta, dk, dv,
    sq_b, sq_h, sq_n, sk_b, sk_h, sk_n, sv_b, sv_h, sv_n, sb_b, sg_b, sg_h, sg_n,
    heads, n_q, n, scale, strength, factor,
    D: tl.constexpr, BD: tl.constexpr, E: tl.constexpr, BE: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BIASED: tl.constexpr, TABLE: tl.constexpr,
    EVEN: tl.constexpr, PRECISION: tl.constexpr,
    ALIGNED: tl.constexpr,
):  # fmt: skip
    """dk [B, H, n, D] and dv [B, H, n, E] of one source of a joint softmax.

    EVEN is of the queries here.
    """
    keys = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    h, b = tl.program_id(1), tl.program_id(2).to(tl.int64)
    line = (b * heads + h) * n_q
    k_tile = _rows(_matrix(k, b, h, sk_b, sk_h, ALIGNED), keys, sk_n, n, D, BD, False, ALIGNED)
    v_tile = _rows(_matrix(v, b, h, sv_b, sv_h, ALIGNED), keys, sv_n, n, E, BE, False, ALIGNED)
    q = _matrix(q, b, h, sq_b, sq_h, ALIGNED)
    grad = _matrix(grad, b, h, sg_b, sg_h, ALIGNED)
    dk_acc = tl.zeros([BLOCK_N, BD], tl.float32)
    dv_acc = tl.zeros([BLOCK_N, BE], tl.float32)
    added = tl.full([BLOCK_N], 0.0, tl.float32) + strength
    if BIASED:
        added += tl.load(bias + b * sb_b + keys, mask=keys < n, other=float("-inf"))
    if TABLE:
        c = _rows(table, keys, 16, n, 16, 16, False, True)
    for start in range(0, n_q, BLOCK_M):
        rows = start + tl.arange(0, BLOCK_M)
        q_tile = _rows(q, rows, sq_n, n_q, D, BD, EVEN, ALIGNED)
        log_sum = tl.load(log_sums + line + rows, mask=rows < n_q, other=0.0)
        s = tl.dot(k_tile, tl.trans(q_tile), input_precision=PRECISION) * scale + added[:, None]
        p = tl.math.exp2(s - log_sum[None, :])
        g = _rows(grad, rows, sg_n, n_q, E, BE, EVEN, ALIGNED)
        dv_acc = tl.dot(p.to(g.dtype), g, dv_acc, input_precision=PRECISION)
        dp = tl.dot(v_tile, tl.trans(g), input_precision=PRECISION)
        if TABLE:
            g_mean = _rows(grad_averages + line * 16, rows, 16, n_q, 16, 16, EVEN, True)
            dp = tl.dot(c, tl.trans(g_mean), dp, input_precision=PRECISION)
        d = tl.load(delta + line + rows, mask=rows < n_q, other=0.0)
        ds = p * (dp - d[None, :])
        dk_acc = tl.dot(ds.to(q_tile.dtype), q_tile, dk_acc, input_precision=PRECISION)
    line = (b * heads + h) * n
    _store(dk + line * D, keys, D, n, dk_acc * factor, D, BD)
    _store(dv + line * E, keys, E, n, dv_acc, E, BE)
