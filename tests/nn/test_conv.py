"""`jaxhp.nn.conv_general_dilated` against `lax.conv_general_dilated`, and against sums in NumPy."""

from functools import partial

import flax.linen
import flax.nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jax import lax

from jaxhp.nn import conv, conv_general_dilated

ORDERS = {
    1: [None, ("NWC", "WIO", "NWC"), ("CWN", "WIO", "CWN"), ("NCW", "OIW", "NWC")],
    2: [None, ("NHWC", "HWIO", "NHWC"), ("CHWN", "HWIO", "CHWN"), ("HWNC", "IHWO", "CHNW")],
    3: [None, ("NDHWC", "DHWIO", "NDHWC")],
}


def one_row(rows):
    return 1


def all_rows(rows):
    return rows


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def forward_and_gradients(function, lhs, rhs, quickly=False, **options):
    """Quickly: compiled with few of XLA's optimizations, in less time."""

    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0} if quickly else {})
    def run(lhs, rhs, cotangent):
        out, pullback = jax.vjp(lambda lhs, rhs: function(lhs, rhs, **options), lhs, rhs)
        return out, *pullback(cotangent.astype(out.dtype))

    shape = jax.eval_shape(lambda lhs, rhs: lax.conv_general_dilated(lhs, rhs, **options), lhs, rhs).shape
    return run(lhs, rhs, normal(2, *shape))


def assert_equals_lax(lhs, rhs, tolerance=1e-5, **options):
    ours = forward_and_gradients(conv_general_dilated, lhs, rhs, **options)
    theirs = forward_and_gradients(lax.conv_general_dilated, lhs, rhs, **options)
    for mine, reference in zip(ours, theirs, strict=True):
        assert mine.dtype == reference.dtype
    assert_close(ours, theirs, tolerance)


def assert_close(ours, theirs, tolerance):
    for mine, reference in zip(ours, theirs, strict=True):
        assert mine.shape == reference.shape
        mine, reference = np.asarray(mine, np.float32), np.asarray(reference, np.float32)
        scale = np.abs(reference).max(initial=1.0)
        np.testing.assert_allclose(mine / scale, reference / scale, rtol=0, atol=tolerance)


def seen(size, window, stride, padding, lhs_dilation, rhs_dilation):
    """f64[out, window, size]: 1 where an output sees an input through a position of the window."""
    reach, wide = (window - 1) * rhs_dilation + 1, (size - 1) * lhs_dilation + 1
    if padding == "SAME":
        missing = max((-(-size // stride) - 1) * stride + reach - size, 0)
        padding = missing // 2, missing - missing // 2
    low, high = (0, 0) if padding == "VALID" else padding
    out = (wide + low + high - reach) // stride + 1
    at = np.arange(out)[:, None] * stride + np.arange(window) * rhs_dilation - low
    return (at[..., None] == np.arange(size) * lhs_dilation).astype(np.float64)


def by_numpy(lhs, rhs, *, dimension_numbers, feature_group_count, padding, **each):
    """Forward and gradients: one sum, over what each output sees of the input, and what it becomes transposed."""
    numbers = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    x, kernel = (a.astype(np.float64).transpose(spec) for a, spec in zip((lhs, rhs), numbers[:2], strict=True))
    rank, groups = x.ndim - 2, feature_group_count
    pads = [padding] * rank if isinstance(padding, str) else padding
    steps = zip(each["window_strides"], pads, each["lhs_dilation"], each["rhs_dilation"], strict=True)
    sees = [seen(*sizes, *step) for *sizes, step in zip(x.shape[2:], kernel.shape[2:], steps, strict=True)]
    names = ["ngc" + "ij"[:rank], "goc" + "kl"[:rank], *["yki", "xlj"][:rank], "ngo" + "yx"[:rank]]
    shapes = (len(x), groups, -1, *x.shape[2:]), (groups, -1, *kernel.shape[1:])
    x, kernel = x.reshape(shapes[0]), kernel.reshape(shapes[1])

    def summed(wanted, *parts):
        ins = [name for name in names if name != wanted]
        return np.einsum(",".join(ins) + "->" + wanted, *parts, optimize=True)

    def back(a, spec):  # to the order of axes that was given
        return a.transpose(np.argsort(spec))

    out = summed(names[-1], x, kernel, *sees)
    whole = out.reshape(len(x), -1, *out.shape[3:])
    result = back(whole, numbers.out_spec)
    cotangent = normal(2, *result.shape).transpose(numbers.out_spec).reshape(out.shape)
    to_x = summed(names[0], kernel, *sees, cotangent).reshape(len(x), -1, *x.shape[3:])
    to_kernel = summed(names[1], x, *sees, cotangent).reshape(-1, *kernel.shape[2:])
    return result, back(to_x, numbers.lhs_spec), back(to_kernel, numbers.rhs_spec)


@st.composite
def convolutions(draw):
    rank = draw(st.integers(1, 2))
    each = lambda low, high: draw(st.tuples(*[st.integers(low, high)] * rank))  # noqa: E731
    groups = draw(st.integers(1, 3))
    size, window, inputs, outputs = each(1, 9), each(1, 4), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    strides, lhs_dilation, rhs_dilation = each(1, 3), each(1, 2), each(1, 2)
    explicit = st.tuples(*[st.tuples(st.integers(-1, 3), st.integers(-1, 3))] * rank)
    padding = draw(explicit if max(lhs_dilation) > 1 else explicit | st.sampled_from(["SAME", "VALID"]))
    lhs, rhs = (draw(st.integers(1, 3)), groups * inputs, *size), (groups * outputs, inputs, *window)
    order = draw(st.sampled_from(ORDERS[rank]))
    numbers = lax.conv_dimension_numbers(lhs, rhs, order)
    place = lambda shape, spec: tuple(shape[spec.index(axis)] for axis in range(rank + 2))  # noqa: E731
    return (
        normal(0, *place(lhs, numbers.lhs_spec)),
        normal(1, *place(rhs, numbers.rhs_spec)),
        {
            "window_strides": strides,
            "padding": padding,
            "lhs_dilation": lhs_dilation,
            "rhs_dilation": rhs_dilation,
            "dimension_numbers": order,
            "feature_group_count": groups,
        },
    )


def check_any(case, at_once, check):
    lhs, rhs, options = case
    try:
        out = jax.eval_shape(lambda lhs, rhs: lax.conv_general_dilated(lhs, rhs, **options), lhs, rhs)
    except (TypeError, ValueError):
        assume(False)
    assume(out.size > 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conv, "rows_at_once", at_once)
        check(lhs, rhs, **options)


@settings(max_examples=6)
@given(convolutions(), st.sampled_from([one_row, all_rows]))
def test_any_convolution_equals_lax_forward_and_backward(case, at_once):
    check_any(case, at_once, assert_equals_lax)


@pytest.mark.slow
@settings(max_examples=200)
@given(convolutions(), st.sampled_from([one_row, all_rows]))
def test_many_convolutions_equal_numpy_forward_and_backward(case, at_once):
    def check(lhs, rhs, **options):
        ours = forward_and_gradients(conv_general_dilated, lhs, rhs, quickly=True, **options)
        assert_close(ours, by_numpy(lhs, rhs, **options), 1e-5)

    check_any(case, at_once, check)


@pytest.mark.parametrize("at_once", [one_row, all_rows])
def test_stacked_gradients_are_those_of_lax_in_float64(monkeypatch, at_once):
    monkeypatch.setattr(conv, "rows_at_once", at_once)
    options = {"window_strides": (2, 1), "padding": ((1, 2), (0, 1)), "rhs_dilation": (1, 2)}
    with jax.enable_x64(True):
        lhs, rhs = normal(0, 2, 3, 2, 7, 6).astype(np.float64), normal(1, 2, 4, 2, 3, 2).astype(np.float64)

        def gradients(function):
            def loss(lhs, rhs):
                return jnp.sum(jnp.sin(function(lhs, rhs, **options)))

            return jax.jit(jax.vmap(jax.grad(loss, (0, 1))))(lhs, rhs)

        for mine, reference in zip(*map(gradients, (conv_general_dilated, lax.conv_general_dilated)), strict=True):
            assert mine.dtype == np.float64
            np.testing.assert_allclose(mine, reference, rtol=0, atol=1e-13 * np.abs(reference).max())


def test_three_spatial_axes():
    options = {"window_strides": (2, 1, 1), "padding": "SAME", "dimension_numbers": ORDERS[3][1]}
    assert_equals_lax(normal(0, 2, 5, 4, 3, 2), normal(1, 3, 2, 2, 2, 4), **options)


@pytest.mark.parametrize("at_once", [one_row, all_rows])
def test_rows_one_by_one_and_all_at_once(monkeypatch, at_once):
    monkeypatch.setattr(conv, "rows_at_once", at_once)
    assert_equals_lax(normal(0, 3, 2, 12, 9), normal(1, 4, 2, 5, 3), window_strides=(3, 2), padding="VALID")


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [one_row, all_rows])
def test_bfloat16_with_a_float32_result(monkeypatch, at_once):
    monkeypatch.setattr(conv, "rows_at_once", at_once)
    lhs, rhs = jnp.asarray(normal(0, 4, 3, 6, 6), jnp.bfloat16), jnp.asarray(normal(1, 5, 3, 3, 3), jnp.bfloat16)
    for preferred in (None, jnp.float32):
        options = {"window_strides": (1, 1), "padding": "SAME", "preferred_element_type": preferred}
        assert_equals_lax(lhs, rhs, tolerance=2e-2, precision=lax.Precision.HIGHEST, **options)


def test_the_lowered_program_is_matrix_products_of_the_asked_precision():
    lhs, rhs = normal(0, 4, 3, 6, 6), normal(1, 5, 3, 3, 3)

    def loss(lhs, rhs):
        return conv_general_dilated(lhs, rhs, (1, 1), "SAME", precision="highest").sum()

    text = jax.jit(jax.grad(loss, (0, 1))).lower(lhs, rhs).as_text()
    assert "dot_general" in text
    assert "HIGHEST" in text
    assert "DEFAULT" not in text
    assert "convolution" not in text
    assert "scatter" not in text


@pytest.mark.parametrize("axes", [(0, 0), (None, 0), (0, None)])
@pytest.mark.parametrize("groups", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_stacked_members_equal_members_one_by_one(axes, groups):
    lhs, rhs = normal(0, *[3] * (axes[0] == 0), 4, 2, 6, 6), normal(1, *[3] * (axes[1] == 0), 4, 2 // groups, 3, 3)

    def gradients(lhs, rhs):
        def loss(lhs, rhs):
            return jnp.sum(conv_general_dilated(lhs, rhs, (1, 1), "SAME", feature_group_count=groups) ** 2)

        return jax.value_and_grad(loss, (0, 1))(lhs, rhs)

    stacked = jax.jit(jax.vmap(gradients, axes))(lhs, rhs)
    alone = jax.jit(gradients)
    for member in range(3):
        one = alone(*(v if axis is None else v[member] for v, axis in zip((lhs, rhs), axes, strict=True)))
        for mine, reference in zip(jax.tree.leaves(stacked), jax.tree.leaves(one), strict=True):
            np.testing.assert_allclose(mine[member], reference, rtol=1e-5, atol=1e-4)


def test_members_of_members():
    lhs, rhs = normal(0, 2, 3, 1, 2, 4, 4), normal(1, 3, 2, 4, 2, 3, 3)
    conv = partial(conv_general_dilated, window_strides=(1, 1), padding="SAME")
    both = jax.jit(jax.vmap(jax.vmap(conv), (0, 1)))(lhs, rhs)
    np.testing.assert_allclose(both[1, 2], conv(lhs[1, 2], rhs[2, 1]), rtol=1e-5, atol=1e-5)


def test_stacked_kernels_on_a_shared_input_are_one_product():
    lhs, rhs = normal(0, 2, 4, 6, 6), normal(1, 3, 5, 4, 3, 3)
    text = str(jax.make_jaxpr(jax.vmap(lambda k: conv_general_dilated(lhs, k, (1, 1), "SAME")))(rhs))
    assert text.count("dot_general[") == 1


def test_batch_groups_go_to_lax():
    assert_equals_lax(
        normal(0, 4, 2, 5, 5), normal(1, 6, 2, 3, 3), window_strides=(1, 1), padding="SAME", batch_group_count=2
    )


def test_errors_are_those_of_lax():
    lhs, rhs = normal(0, 1, 3, 5, 5), normal(1, 2, 4, 3, 3)
    for options in (
        {"window_strides": (1, 1), "padding": "SAME"},
        {"window_strides": (1,), "padding": "SAME"},
        {"window_strides": (1, 1), "padding": "SOME"},
    ):
        with pytest.raises((TypeError, ValueError, RuntimeError)) as theirs:
            lax.conv_general_dilated(lhs, rhs, **options)
        with pytest.raises(theirs.type) as ours:
            conv_general_dilated(lhs, rhs, **options)
        assert str(ours.value) == str(theirs.value)


FLAX_LAYERS = [
    {"kernel_size": (3, 2), "strides": 2, "padding": "CIRCULAR", "feature_group_count": 2},
    {"kernel_size": (3, 3), "kernel_dilation": 2, "padding": [(2, 1), (0, 3)]},
    {"kernel_size": (3, 3), "input_dilation": 2, "padding": [(1, 1), (1, 1)], "precision": "highest"},
]


@pytest.mark.slow
@pytest.mark.parametrize("options", FLAX_LAYERS)
def test_flax_linen(options):
    x = jnp.asarray(normal(0, 3, 7, 6, 4))
    theirs = flax.linen.Conv(6, **options)
    ours = flax.linen.Conv(6, conv_general_dilated=conv_general_dilated, **options)
    params = jax.jit(theirs.init)(jax.random.key(0), x)
    check_layer(lambda params, x: ours.apply(params, x), lambda params, x: theirs.apply(params, x), params, x)


@pytest.mark.slow
@pytest.mark.parametrize("options", [FLAX_LAYERS[0], {"kernel_size": (3, 3), "preferred_element_type": jnp.float32}])
def test_flax_nnx(options):
    x = jnp.asarray(normal(0, 3, 7, 6, 4))

    def layer(**more):
        return flax.nnx.split(flax.nnx.Conv(4, 6, rngs=flax.nnx.Rngs(0), **options, **more))

    (theirs, params), (ours, _) = layer(), layer(conv_general_dilated=conv_general_dilated)
    check_layer(lambda p, x: flax.nnx.merge(ours, p)(x), lambda p, x: flax.nnx.merge(theirs, p)(x), params, x)


def check_layer(ours, theirs, params, x):
    def run(layer):
        return jax.jit(jax.value_and_grad(lambda p, x: jnp.sum(layer(p, x) ** 2), (0, 1)))(params, x)

    for mine, reference in zip(jax.tree.leaves(run(ours)), jax.tree.leaves(run(theirs)), strict=True):
        np.testing.assert_allclose(mine, reference, rtol=1e-4, atol=1e-4)


def test_flax_one_dimension_and_leading_axes():
    x = jnp.asarray(normal(0, 2, 3, 9, 4))
    theirs, ours = flax.linen.Conv(5, (3,)), flax.linen.Conv(5, (3,), conv_general_dilated=conv_general_dilated)
    params = jax.jit(theirs.init)(jax.random.key(0), x)
    out, reference = (jax.jit(layer.apply)(params, x) for layer in (ours, theirs))
    np.testing.assert_allclose(out, reference, rtol=1e-5, atol=1e-5)
