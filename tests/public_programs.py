"""Three programs from JAX's tracker that jaxlib 0.10.2 and 0.11.0 get wrong on a CPU: one wrong number, two crashes.

    python tests/public_programs.py alone energy      as its reporter ran it
    python tests/public_programs.py members energy    as the metric and the loss of two members

Prints the values that it gives, or crashes, or never ends. Sources: https://github.com/jax-ml/jax/issues/39103,
40412 and 39257.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax


def energy(rows, matrix):
    """The squared lengths of rows, of which the last is [32,768, 0, 0]."""
    return jax.vmap(lambda row: jnp.sum((matrix @ row) ** 2))(rows)


def product(a, b):
    """Sums of two products of rank 7."""
    return jnp.sum(a * b, axis=3)


def likelihood(seen, whole):
    """Logarithms of sums of six products of rank 7; over ten at once, or over members, of rank 8."""
    return jnp.log(jnp.maximum(jnp.sum(seen[..., None, None, None, None, None] * whole, axis=-6), 2e-16))


ROWS = np.arange(32_769, dtype=np.float32)[:, None] * np.asarray([1.0, 0.0, 0.0], np.float32)
PAIR = np.ones((2, 3, 1, 2, 2, 8, 8, 8), np.float32)
WHOLE = np.ones((4, 6, 9, 9, 9, 9, 9), np.float32)
PROGRAMS = {
    "energy": (energy, ROWS, np.eye(3, dtype=np.float32), 32_768.0**2),
    "product": (product, *PAIR, 2.0),
    "likelihood": (likelihood, WHOLE[..., 0, 0, 0, 0, 0], WHOLE, np.log(6.0)),
}


def alone(program, a, b):
    if program is likelihood:
        a, b = (np.broadcast_to(array, (10, *array.shape)) for array in (a, b))
    return jax.jit(program)(a, b).max()


def members(program, a, b):
    """The metric of each member, and the step that it takes by its learning rate, which is its gradient."""
    import jaxhp as hp

    def value(params):
        return jnp.max(program(params["a"], params["b"]))

    data = {"x": np.ones((4, 1), np.float32)}
    task = hp.Task(
        init=lambda key, config: {"w": jnp.zeros(()), "a": jnp.asarray(a), "b": jnp.asarray(b)},
        loss=lambda params, batch, key, config: -params["w"] * jax.lax.stop_gradient(value(params)),
        evaluate=lambda params, batch, config: {
            "value": jnp.broadcast_to(value(params), batch["x"].shape[:1]),
            "step": jnp.broadcast_to(params["w"], batch["x"].shape[:1]),
        },
        optimizer=lambda config: optax.sgd(config["lr"]),
        train=data,
        valid=data,
        batch_size=4,
        metric="value",
    )
    space = hp.Space(lr=hp.Choice((0.125, 0.25), static=False))
    result = hp.Search(task, space, hp.Random(2), epochs=1, tile=2, finals=None).run(quiet=True)
    return np.asarray([[t.score, t.curve["valid_step"][0] / t.config["lr"]] for t in result.trials])


if __name__ == "__main__":
    how, *names = sys.argv[1:]
    for name in names:
        program, a, b, _ = PROGRAMS[name]
        found = np.ravel({"alone": alone, "members": members}[how](program, a, b))
        print(name, *(float(value) for value in found))
