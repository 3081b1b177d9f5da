"""How much arithmetic training takes: the floating-point operations of its matrix products and convolutions.

They are read off the traced functions, so that a figure does not depend on the device or on what its compiler tells.
"""

from __future__ import annotations

from typing import Any

from jax.extend.core import Jaxpr, Var, jaxprs_in_params


def products(jaxpr: Jaxpr) -> float:
    """Of a traced function; the body of a loop whose length is data counts once.

    What no result needs, such as the gradient by the images, is not computed and does not count.
    """
    total, needed = 0.0, {v for v in jaxpr.outvars if isinstance(v, Var)}
    for eqn in reversed(jaxpr.eqns):
        if needed.isdisjoint(eqn.outvars):
            continue
        needed.update(v for v in eqn.invars if isinstance(v, Var))
        sources: list[Any] = [v.aval for v in eqn.invars]
        results: list[Any] = [v.aval for v in eqn.outvars]
        if eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            depth = 1
            for axis in contracted:
                depth *= sources[0].shape[axis]
            total += 2.0 * results[0].size * depth
        elif eqn.primitive.name == "conv_general_dilated":
            spec = eqn.params["dimension_numbers"].rhs_spec
            kernel = sources[1]
            total += 2.0 * results[0].size * kernel.size / kernel.shape[spec[0]]
        times = eqn.params.get("length", 1) if eqn.primitive.name == "scan" else 1
        total += sum(times * products(inner) for inner in jaxprs_in_params(eqn.params))
    return total


def equations(jaxpr: Jaxpr) -> int:
    """Count the operations of a traced function, those of the functions that it calls among them."""
    return sum(1 + sum(map(equations, jaxprs_in_params(eqn.params))) for eqn in jaxpr.eqns)
