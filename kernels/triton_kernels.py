"""The GPU programs: attention over one or two sources in one launch, and its gradients.

Forward walks the first source, remembers the state at its end, walks the second: only the first
one's loop averages moments, and one factor at the end makes them those of the joint softmax.
Moments go through the tensor cores as a table of 16 more value channels. Logits are kept in base 2.
Rows of a matrix have their channels next to each other; all other strides are free.
"""

# ruff: noqa: N803 (sizes fixed at compile time are written in capitals)
import triton
import triton.language as tl

TABLE_WIDTH = 16
NEVER = tl.constexpr(-1e30)
"""The running maximum before any key, and the log-sum of a query that sees none."""


@triton.jit
def _rows(base, rows, stride, n, D: tl.constexpr, BD: tl.constexpr, EVEN: tl.constexpr):
    """[rows, BD] of a matrix [n, D], zero outside."""
    columns = tl.arange(0, BD)
    where = base + rows[:, None] * stride + columns[None, :]
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
):  # fmt: skip
    """Online softmax over the n keys of one source: (acc, mean, m, z) after them."""
    for start in range(0, n, BLOCK_N):
        rows = start + tl.arange(0, BLOCK_N)
        k = _rows(k_base, rows, k_stride, n, D, BD, EVEN)
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
        v = _rows(v_base, rows, v_stride, n, E, BE, EVEN)
        p = p.to(v.dtype)
        acc = tl.dot(p, v, acc * fade[:, None], input_precision=PRECISION)
        if MOMENTS:
            c = _rows(table, rows, 16, n, 16, 16, EVEN)
            mean = tl.dot(p, c, mean * fade[:, None], input_precision=PRECISION)
    return acc, mean, m, z


@triton.jit
def forward(
    q_a, k_a, v_a, bias_a, q_b, k_b, v_b, bias_b, table, weights, out, averages, log_sums,
    qa_b, qa_h, qa_n, ka_b, ka_h, ka_n, va_b, va_h, va_n, ba_b,
    qb_b, qb_h, qb_n, kb_b, kb_h, kb_n, vb_b, vb_h, vb_n, bb_b,
    w_b, w_n, o_b, o_h, o_n, heads, n_q, n_a, n_b, scale, strength,
    D: tl.constexpr, BD: tl.constexpr, E: tl.constexpr, BE: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, SECOND: tl.constexpr, BIAS_A: tl.constexpr,
    BIAS_B: tl.constexpr, MOMENTS: tl.constexpr, MIX: tl.constexpr, CARRY: tl.constexpr,
    EVEN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """out [B, H, N, E] over source a and, with SECOND, b; log_sums [B, H, N]; averages if MOMENTS.

    MIX: a softmax each, times weights [B, N, 2], instead of one for both. CARRY: go on from the
    out and log_sums that are there (MIX: add to out).
    """
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    h, b = tl.program_id(1), tl.program_id(2).to(tl.int64)
    line = (b * heads + h) * n_q
    q = _rows(q_a + b * qa_b + h * qa_h, rows, qa_n, n_q, D, BD, False)
    out += b * o_b + h * o_h
    if BIAS_A:
        bias_a += b * ba_b
    if BIAS_B:
        bias_b += b * bb_b
    mean = tl.zeros([BLOCK_M, 16], tl.float32)
    if CARRY and not MIX:
        acc = _rows(out, rows, o_n, n_q, E, BE, False).to(tl.float32)
        m = tl.load(log_sums + line + rows, mask=rows < n_q, other=NEVER)
        z = tl.full([BLOCK_M], 1.0, tl.float32)
    else:
        acc = tl.zeros([BLOCK_M, BE], tl.float32)
        m = tl.full([BLOCK_M], NEVER, tl.float32)
        z = tl.zeros([BLOCK_M], tl.float32)
    acc, mean, m, z = _walk(
        acc, mean, m, z, q, k_a + b * ka_b + h * ka_h, v_a + b * va_b + h * va_h, bias_a,
        table, ka_n, va_n, n_a, scale, strength,
        D, BD, E, BE, BLOCK_N, BIAS_A, MOMENTS, EVEN, PRECISION,
    )  # fmt: skip
    m_a = m
    if MIX:
        share = tl.load(weights + b * w_b + rows * w_n, mask=rows < n_q, other=0.0).to(tl.float32)
        acc = acc * (share / tl.where(z > 0, z, 1.0))[:, None]
        if CARRY:
            acc += _rows(out, rows, o_n, n_q, E, BE, False).to(tl.float32)
        if SECOND:
            _store(out, rows, o_n, n_q, acc, E, BE)
            tl.debug_barrier()
            acc = tl.zeros([BLOCK_M, BE], tl.float32)
            m = tl.full([BLOCK_M], NEVER, tl.float32)
            z = tl.zeros([BLOCK_M], tl.float32)
    if SECOND:
        q = _rows(q_b + b * qb_b + h * qb_h, rows, qb_n, n_q, D, BD, False)
        acc, _, m, z = _walk(
            acc, mean, m, z, q, k_b + b * kb_b + h * kb_h, v_b + b * vb_b + h * vb_h,
            bias_b, table, kb_n, vb_n, n_b, scale, 0.0,
            D, BD, E, BE, BLOCK_N, BIAS_B, False, EVEN, PRECISION,
        )  # fmt: skip
    if MIX:
        if SECOND:
            share = tl.load(weights + 1 + b * w_b + rows * w_n, mask=rows < n_q, other=0.0)
            acc = acc * (share.to(tl.float32) / tl.where(z > 0, z, 1.0))[:, None]
            acc += _rows(out, rows, o_n, n_q, E, BE, False).to(tl.float32)
    else:
        whole = 1.0 / tl.where(z > 0, z, 1.0)
        acc = acc * whole[:, None]
        log_sum = tl.where(z > 0, m + tl.math.log2(z), NEVER)
        tl.store(log_sums + line + rows, log_sum, mask=rows < n_q)
        if MOMENTS:
            mean = mean * (whole * tl.math.exp2(m_a - m))[:, None]
            _store(averages + line * 16, rows, 16, n_q, mean, 16, 16)
    _store(out, rows, o_n, n_q, acc, E, BE)


@triton.jit
def backward_queries(
    q, k, v, bias, table, out, grad, averages, grad_averages, log_sums, delta, dq,
    q_b, q_h, q_n, k_b, k_h, k_n, v_b, v_h, v_n, b_b, o_b, o_h, o_n, g_b, g_h, g_n,
    heads, n_q, n, scale, strength, factor,
    D: tl.constexpr, BD: tl.constexpr, E: tl.constexpr, BE: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BIASED: tl.constexpr, MOMENTS: tl.constexpr,
    TABLE: tl.constexpr, EVEN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dq [B, H, N, D] of one source of a joint softmax, and delta [B, H, N] for its keys.

    dS = P (dO V^T + dM C^T - delta), delta = dO . O + dM . M with M the averages. MOMENTS: there
    are any; TABLE: this source carries them.
    """
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    h, b = tl.program_id(1), tl.program_id(2).to(tl.int64)
    line = (b * heads + h) * n_q
    q_tile = _rows(q + b * q_b + h * q_h, rows, q_n, n_q, D, BD, False)
    g = _rows(grad + b * g_b + h * g_h, rows, g_n, n_q, E, BE, False)
    o = _rows(out + b * o_b + h * o_h, rows, o_n, n_q, E, BE, False)
    d = tl.sum(o.to(tl.float32) * g.to(tl.float32), 1)
    g_mean = tl.zeros([BLOCK_M, 16], g.dtype)
    if MOMENTS:
        g_mean = _rows(grad_averages + line * 16, rows, 16, n_q, 16, 16, False)
        mean = _rows(averages + line * 16, rows, 16, n_q, 16, 16, False)
        d += tl.sum(mean * g_mean.to(tl.float32), 1)
    tl.store(delta + line + rows, d, mask=rows < n_q)
    log_sum = tl.load(log_sums + line + rows, mask=rows < n_q, other=0.0)
    k += b * k_b + h * k_h
    v += b * v_b + h * v_h
    acc = tl.zeros([BLOCK_M, BD], tl.float32)
    for start in range(0, n, BLOCK_N):
        keys = start + tl.arange(0, BLOCK_N)
        k_tile = _rows(k, keys, k_n, n, D, BD, EVEN)
        s = tl.dot(q_tile, tl.trans(k_tile), input_precision=PRECISION) * scale + strength
        if BIASED:
            s += tl.load(bias + b * b_b + keys, mask=keys < n, other=0.0)[None, :]
        if not EVEN:
            s = tl.where(keys[None, :] < n, s, float("-inf"))
        p = tl.math.exp2(s - log_sum[:, None])
        v_tile = _rows(v, keys, v_n, n, E, BE, EVEN)
        dp = tl.dot(g, tl.trans(v_tile), input_precision=PRECISION)
        if TABLE:
            c = _rows(table, keys, 16, n, 16, 16, EVEN)
            dp = tl.dot(g_mean, tl.trans(c), dp, input_precision=PRECISION)
        ds = p * (dp - d[:, None])
        acc = tl.dot(ds.to(k_tile.dtype), k_tile, acc, input_precision=PRECISION)
    _store(dq + line * D, rows, D, n_q, acc * factor, D, BD)


@triton.jit
def backward_keys(
    q, k, v, bias, table, grad, grad_averages, log_sums, delta, dk, dv,
    q_b, q_h, q_n, k_b, k_h, k_n, v_b, v_h, v_n, b_b, g_b, g_h, g_n,
    heads, n_q, n, scale, strength, factor,
    D: tl.constexpr, BD: tl.constexpr, E: tl.constexpr, BE: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BIASED: tl.constexpr, TABLE: tl.constexpr,
    EVEN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dk [B, H, n, D] and dv [B, H, n, E] of one source of a joint softmax.

    EVEN is of the queries here.
    """
    keys = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    h, b = tl.program_id(1), tl.program_id(2).to(tl.int64)
    line = (b * heads + h) * n_q
    k_tile = _rows(k + b * k_b + h * k_h, keys, k_n, n, D, BD, False)
    v_tile = _rows(v + b * v_b + h * v_h, keys, v_n, n, E, BE, False)
    q += b * q_b + h * q_h
    grad += b * g_b + h * g_h
    dk_acc = tl.zeros([BLOCK_N, BD], tl.float32)
    dv_acc = tl.zeros([BLOCK_N, BE], tl.float32)
    added = tl.full([BLOCK_N], 0.0, tl.float32) + strength
    if BIASED:
        added += tl.load(bias + b * b_b + keys, mask=keys < n, other=float("-inf"))
    if TABLE:
        c = _rows(table, keys, 16, n, 16, 16, False)
    for start in range(0, n_q, BLOCK_M):
        rows = start + tl.arange(0, BLOCK_M)
        q_tile = _rows(q, rows, q_n, n_q, D, BD, EVEN)
        log_sum = tl.load(log_sums + line + rows, mask=rows < n_q, other=0.0)
        s = tl.dot(k_tile, tl.trans(q_tile), input_precision=PRECISION) * scale + added[:, None]
        p = tl.math.exp2(s - log_sum[None, :])
        g = _rows(grad, rows, g_n, n_q, E, BE, EVEN)
        dv_acc = tl.dot(p.to(g.dtype), g, dv_acc, input_precision=PRECISION)
        dp = tl.dot(v_tile, tl.trans(g), input_precision=PRECISION)
        if TABLE:
            g_mean = _rows(grad_averages + line * 16, rows, 16, n_q, 16, 16, EVEN)
            dp = tl.dot(c, tl.trans(g_mean), dp, input_precision=PRECISION)
        d = tl.load(delta + line + rows, mask=rows < n_q, other=0.0)
        ds = p * (dp - d[None, :])
        dk_acc = tl.dot(ds.to(q_tile.dtype), q_tile, dk_acc, input_precision=PRECISION)
    line = (b * heads + h) * n
    _store(dk + line * D, keys, D, n, dk_acc * factor, D, BD)
    _store(dv + line * E, keys, E, n, dv_acc, E, BE)
