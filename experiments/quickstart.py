"""The ten lines of the README: 64 configurations of a small network, twice, on the bundled MNIST sample.

    python experiments/quickstart.py

Takes about 10 seconds on 2 cores, compilation included.
"""

import jaxhp as hp

space = hp.Space(lr=hp.LogUniform(1e-4, 1.0), weight_decay=hp.LogUniform(1e-8, 1e-2))
task = hp.tasks.mlp(hp.data.mnist_sample(2000), hidden=(64, 64))
search = hp.Search(task, space, hp.Narrowing(population=64, rounds=2), epochs=10, seed=0)

if __name__ == "__main__":
    result = search.run("runs/quickstart")
    print(result.table(top=5))
    print(result.summary())
