"""Proximal policy optimisation on CartPole, all in JAX: 64 agents with 4 seeds each learn at once, and one is chosen.

    python experiments/ppo_cartpole.py            # the search
    python experiments/ppo_cartpole.py --speed    # 64 agents at once against one after another, in one run
    python experiments/ppo_cartpole.py --smoke    # both, tiny

Needs nothing but jaxhp. The search takes 3 minutes, the comparison 2, on 2 cores that other work shared.

Result: 256 agents, 20 epochs (82,000 steps of the game) each, and 64 more for the finals, in 165 s, compilation
included. 18 of the 64 configurations (28%) reach 475 with the mean of their 4 seeds; the chosen one (learning rate
0.0069, discount 0.972, lambda 0.97) has an estimate of 500 points of 500, 95% interval 460 to 540 over fresh seeds:
solved.

64 agents for 20 epochs, compilation apart, on two cores of an AMD EPYC for which a dozen other processes queued, so
that the seconds of CPUs say more than those of the clock (28, 18 and 33): 12.3 s at once, 16.3 s one jitted training
after another, 15.8 s with a worker a core. So a core gains little here: most of the work are the updates, whose
products keep it busy for one agent too. An accelerator, where small products cost far more, was not at hand.

The game is that of Barto, Sutton and Anderson (1983) with the constants of Gymnasium's CartPole-v1: a pole on a cart,
pushed left or right 50 times a second, a point for every step until it falls, 500 at most; solved means 475 on average.
An agent has two networks 4-32-32-1, one that pushes and one that values; an epoch is 4 rounds of 128 steps of 8 games
and 16 updates each (Schulman et al., arXiv:1707.06347). What is searched: learning rate, discount, how far advantages
look ahead, clipping, and the weight of entropy. After each epoch 16 games are played without chance in the actions.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxhp as hp
from jaxhp.engine.events import Progressed

GAMES, STEPS, ROUNDS, PASSES, PARTS = 8, 128, 4, 4, 4  # of training: games at once, steps of each, rounds an epoch
PLAYED, LIMIT, SOLVED = 16, 500, 475.0  # of evaluation
GRAVITY, CART, POLE, HALF_LENGTH, FORCE, SECONDS = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
FAR, TILTED, SPREAD = 2.4, 12 * np.pi / 180, 0.05  # where a game is over, and how it begins
SPACE = hp.Space(
    lr=hp.LogUniform(1e-4, 1e-2),
    forget=hp.LogUniform(1e-3, 1e-1),  # one less the discount
    ahead=hp.Uniform(0.8, 1.0),  # lambda of the advantages
    clip=hp.Uniform(0.1, 0.4),
    entropy=hp.LogUniform(1e-4, 1e-1),
)


def push(at: jax.Array, right: jax.Array) -> jax.Array:
    """Games f32[..., 4] (place, speed, angle, its speed) a step later, pushed to the right where bool[...] says."""
    _, speed, angle, turning = jnp.moveaxis(at, -1, 0)
    force, sin, cos = jnp.where(right, FORCE, -FORCE), jnp.sin(angle), jnp.cos(angle)
    mass = CART + POLE
    pull = (force + POLE * HALF_LENGTH * turning**2 * sin) / mass
    fall = (GRAVITY * sin - cos * pull) / (HALF_LENGTH * (4 / 3 - POLE * cos**2 / mass))
    drive = pull - POLE * HALF_LENGTH * fall * cos / mass
    change = jnp.stack([speed, drive, turning, fall], -1)
    return at + SECONDS * change


def over(at: jax.Array) -> jax.Array:
    return (jnp.abs(at[..., 0]) > FAR) | (jnp.abs(at[..., 2]) > TILTED)


def begin(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jax.random.uniform(key, (*shape, 4), minval=-SPREAD, maxval=SPREAD)


class Agent(NamedTuple):
    nets: Any  # {"push": ..., "value": ...}
    opt_state: Any
    at: jax.Array  # f32[GAMES, 4], the games under way
    age: jax.Array  # i32[GAMES], steps that each has lasted


class Seen(NamedTuple):
    """What was played, [STEPS, GAMES, ...]."""

    at: jax.Array
    right: jax.Array  # bool, what was done
    log_p: jax.Array  # of that
    after: jax.Array  # where it led to
    fell: jax.Array  # bool
    ended: jax.Array  # bool, fell or was cut off


def network(key: jax.Array, last: float) -> list[dict[str, jax.Array]]:
    sizes = (4, 32, 32, 1)
    scales = (1.0, 1.0, last)
    keys = jax.random.split(key, 3)
    return [
        {"w": scale * jax.random.normal(k, (o, i)) / i**0.5, "b": jnp.zeros((o, 1))}
        for k, i, o, scale in zip(keys, sizes[:-1], sizes[1:], scales, strict=True)
    ]


def out(net: list[dict[str, jax.Array]], at: jax.Array) -> jax.Array:
    """What a network says of games f32[..., 4]; inside, games are the last axis: so stacked networks are fastest."""
    h = jnp.moveaxis(at, -1, 0).reshape(4, -1)
    for layer in net[:-1]:
        h = jnp.tanh(layer["w"] @ h + layer["b"])
    return (net[-1]["w"] @ h + net[-1]["b"]).reshape(at.shape[:-1])


def optimizer(config: Any) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(0.5), optax.adam(config["lr"], eps=1e-5))


def init(key: jax.Array, config: Any) -> Agent:
    push_key, value_key, games = jax.random.split(key, 3)
    nets = {"push": network(push_key, 0.01), "value": network(value_key, 1.0)}
    return Agent(nets, optimizer(config).init(nets), begin(games, (GAMES,)), jnp.zeros(GAMES, jnp.int32))


def play(agent: Agent, key: jax.Array) -> tuple[Agent, Seen]:
    """Play on by chance; games that end begin anew."""
    chance_key, begin_key = jax.random.split(key)
    chance, anew = jax.random.uniform(chance_key, (STEPS, GAMES)), begin(begin_key, (STEPS, GAMES))

    def step(games: tuple[jax.Array, jax.Array], drawn: tuple[jax.Array, jax.Array]) -> tuple[Any, Seen]:
        (at, age), (u, fresh) = games, drawn
        logit = out(agent.nets["push"], at)
        right = u < jax.nn.sigmoid(logit)
        after, age = push(at, right), age + 1
        fell = over(after)
        ended = fell | (age >= LIMIT)
        log_p = jax.nn.log_sigmoid(jnp.where(right, logit, -logit))
        games = jnp.where(ended[:, None], fresh, after), jnp.where(ended, 0, age)
        return games, Seen(at, right, log_p, after, fell, ended)

    (at, age), seen = jax.lax.scan(step, (agent.at, agent.age), (chance, anew))
    return agent._replace(at=at, age=age), seen


def advantages(agent: Agent, seen: Seen, config: Any) -> tuple[jax.Array, jax.Array]:
    """Generalised advantages, and what the values should have been, f32[STEPS, GAMES]."""
    keep = 1 - config["forget"]
    value, later = out(agent.nets["value"], seen.at), out(agent.nets["value"], seen.after)
    surprise = 1.0 + keep * jnp.where(seen.fell, 0.0, later) - value

    def back(after: jax.Array, here: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        found = here[0] + keep * config["ahead"] * jnp.where(here[1], 0.0, after)
        return found, found

    _, advantage = jax.lax.scan(back, jnp.zeros(GAMES), (surprise, seen.ended), reverse=True)
    return advantage, advantage + value


def loss(nets: Any, part: Any, config: Any) -> jax.Array:
    at, right, log_p, advantage, target = part
    logit = out(nets["push"], at)
    log_right, log_left = jax.nn.log_sigmoid(logit), jax.nn.log_sigmoid(-logit)
    ratio = jnp.exp(jnp.where(right, log_right, log_left) - log_p)
    gain = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    clipped = jnp.clip(ratio, 1 - config["clip"], 1 + config["clip"])
    p = jax.nn.sigmoid(logit)
    entropy = -(p * log_right + (1 - p) * log_left)
    error = (out(nets["value"], at) - target) ** 2
    return jnp.mean(-jnp.minimum(ratio * gain, clipped * gain) - config["entropy"] * entropy + 0.25 * error)


def learn(agent: Agent, key: jax.Array, config: Any) -> tuple[Agent, None]:
    """One round: play, then a few passes over what was played."""
    play_key, order_key = jax.random.split(key)
    agent, seen = play(agent, play_key)
    rows = (seen.at, seen.right, seen.log_p, *advantages(agent, seen, config))
    flat = jax.tree.map(lambda leaf: leaf.reshape(STEPS * GAMES, *leaf.shape[2:]), rows)
    keys = jax.random.split(order_key, PASSES)
    order = jnp.concatenate([jax.random.permutation(k, STEPS * GAMES).reshape(PARTS, -1) for k in keys])

    def update(held: tuple[Any, Any], chosen: jax.Array) -> tuple[Any, None]:
        nets, opt_state = held
        gradient = jax.grad(loss)(nets, jax.tree.map(lambda leaf: leaf[chosen], flat), config)
        updates, opt_state = optimizer(config).update(gradient, opt_state)
        return (optax.apply_updates(nets, updates), opt_state), None

    (nets, opt_state), _ = jax.lax.scan(update, (agent.nets, agent.opt_state), order)
    return agent._replace(nets=nets, opt_state=opt_state), None


def epoch(agent: Agent, key: jax.Array, config: Any) -> Agent:
    return jax.lax.scan(lambda agent, k: learn(agent, k, config), agent, jax.random.split(key, ROUNDS))[0]


def evaluate(agent: Agent, key: jax.Array, config: Any) -> dict[str, jax.Array]:
    """The points of each of some games, without chance in what is done."""

    def step(game: tuple[jax.Array, jax.Array, jax.Array], _: None) -> tuple[Any, None]:
        at, alive, points = game
        at = push(at, out(agent.nets["push"], at) > 0)
        return (at, alive & ~over(at), points + alive), None

    start = begin(key, (PLAYED,)), jnp.ones(PLAYED, bool), jnp.zeros(PLAYED)
    (_, _, points), _ = jax.lax.scan(step, start, None, LIMIT)
    return {"points": points}


LOOP = hp.Loop(init, epoch, evaluate, metric="points")


def solve(agents: int, seeds: int, epochs: int, finals: hp.Finals) -> None:
    began = time.perf_counter()
    search = hp.Search(LOOP, SPACE, hp.Random(agents), epochs=epochs, replicates=seeds, finals=finals)
    result = search.run()
    print(result.table(10), result.summary(), sep="\n")
    assert result.estimate is not None
    verdict = "solved" if result.estimate.mean >= SOLVED else "not solved"
    share = np.mean(np.nan_to_num(result.trials.score) >= SOLVED)
    print(f"{verdict}; {share:.0%} of the {agents} configurations reach {SOLVED:.0f} with the mean of their seeds")
    print(f"{time.perf_counter() - began:.0f} s, compilation included")


def clocks() -> np.ndarray:
    """Seconds of the clock, and of all CPUs that worked for this process."""
    return np.asarray([time.perf_counter(), time.process_time()])


def compare(agents: int, epochs: int, alone: int) -> None:
    """The same agents at once, one jitted training after another, and likewise with a worker a core."""
    seen = [clocks()]

    def watch(event: object) -> None:
        if isinstance(event, Progressed):
            seen.append(clocks())
            upto.append(event.epoch)

    upto: list[int] = []
    result = hp.Search(LOOP, SPACE, hp.Random(agents), epochs=epochs, finals=None).run(quiet=True, watch=(watch,))
    at_once = (seen[-1] - seen[1]) * epochs / (upto[-1] - upto[0])  # the first call compiles

    def train(key: jax.Array, config: Any) -> jax.Array:
        def one(agent: Agent, key: jax.Array) -> tuple[Agent, jax.Array]:
            agent = epoch(agent, key, config)
            return agent, evaluate(agent, jax.random.fold_in(key, 1), config)["points"].mean()

        return jax.lax.scan(one, init(key, config), jax.random.split(key, epochs))[1]

    configs = [jax.tree.map(np.float32, trial.config) for trial in result.trials][:alone]
    devices, jitted = jax.local_devices(), jax.jit(train)

    def work(share: int, of: int) -> None:
        for number in range(share, len(configs), of):
            key = jax.device_put(jax.random.key(number), devices[share])
            jax.block_until_ready(jitted(key, configs[number]))

    for share, _ in enumerate(devices):
        work(share, len(devices))  # compiles
    began = clocks()
    work(0, 1)
    one = (clocks() - began) / len(configs) * agents
    began = clocks()
    with ThreadPoolExecutor(len(devices)) as pool:
        list(pool.map(lambda share: work(share, len(devices)), range(len(devices))))
    workers = (clocks() - began) / len(configs) * agents
    print(
        f"{agents} agents, {epochs} epochs, {len(devices)} x {devices[0].device_kind}, without compilation, in seconds"
    )
    rows = {"at once": at_once, "one jitted after another": one, "the same, a worker a device": workers}
    for name, took in rows.items():
        times = took / at_once
        print(f"{name:28s} {took[0]:6.1f}, of CPUs {took[1]:6.1f}; {times[0]:.1f} and {times[1]:.1f} times as long")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args()
    if arguments.smoke:
        solve(4, 1, 1, hp.Finals(2, 4))
        compare(4, 2, 2)
    elif arguments.speed:
        compare(64, 20, 8)
    else:
        solve(64, 4, 20, hp.Finals(8, 8))


if __name__ == "__main__":
    main()
