"""Converting and fine-tuning on several hosts with JAX: the same command on each, and the first one
writes what came of it.

python examples/several_hosts.py [EPOCHS]

Three environment variables of Keras say which host this is; without them it is the only one:

    KERAS_DISTRIBUTION_JOB_ADDRESSES    where the first host can be reached: host:port
    KERAS_DISTRIBUTION_NUM_PROCESSES    how many hosts there are
    KERAS_DISTRIBUTION_PROCESS_ID       the number of this one, from 0

Two processes on one machine:

    export KERAS_DISTRIBUTION_JOB_ADDRESSES=127.0.0.1:12345 KERAS_DISTRIBUTION_NUM_PROCESSES=2
    KERAS_DISTRIBUTION_PROCESS_ID=1 python examples/several_hosts.py &
    KERAS_DISTRIBUTION_PROCESS_ID=0 python examples/several_hosts.py

Slurm (sbatch --nodes=4 --ntasks-per-node=1 --gpus-per-node=8), in the batch script:

    export KERAS_DISTRIBUTION_JOB_ADDRESSES=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head
    -n 1):12345 export KERAS_DISTRIBUTION_NUM_PROCESSES=$SLURM_NTASKS srun bash -c
    'KERAS_DISTRIBUTION_PROCESS_ID=$SLURM_PROCID python examples/several_hosts.py'

Kubernetes, a Job with completionMode: Indexed, completions and parallelism of 4, and a headless
Service `hosts` as its subdomain:

    env: KERAS_DISTRIBUTION_JOB_ADDRESSES=JOBNAME-0.hosts:12345, KERAS_DISTRIBUTION_NUM_PROCESSES=4
    command: bash -c 'KERAS_DISTRIBUTION_PROCESS_ID=$JOB_COMPLETION_INDEX python
    examples/several_hosts.py'

Vertex AI, a custom job with one replica in worker pool 0 and three in worker pool 1, whose
CLUSTER_SPEC names all of them:

    command: bash -c 'eval "$(python examples/several_hosts.py --vertex)" && python
    examples/several_hosts.py'

Checkpoints and data must lie in a folder that all hosts see.
"""

import json
import os
import sys

os.environ["KERAS_BACKEND"] = "jax"

import keras

import keras_prelu as kp


def vertex_variables(cluster_spec):
    """Shell commands that set the three variables from what Vertex AI tells each replica."""
    spec = json.loads(cluster_spec)
    pools = sorted(spec["cluster"])
    hosts = [(pool, number) for pool in pools for number in range(len(spec["cluster"][pool]))]
    first = spec["cluster"][pools[0]][0].rpartition(":")[0]
    number = hosts.index((spec["task"]["type"], spec["task"]["index"]))
    values = {"JOB_ADDRESSES": f"{first}:12345", "NUM_PROCESSES": len(hosts), "PROCESS_ID": number}
    return "\n".join(f"export KERAS_DISTRIBUTION_{name}={value}" for name, value in values.items())


def start():
    """Meet the other hosts; the number of this one."""
    if "KERAS_DISTRIBUTION_NUM_PROCESSES" not in os.environ:
        return 0
    keras.distribution.initialize()
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    return int(os.environ["KERAS_DISTRIBUTION_PROCESS_ID"])


def main(epochs):
    host = start()
    digits = kp.data.load("digits")  # all of them on every host, which takes its part of each batch
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Dense(32, "relu"),
        keras.layers.Dense(32, "relu"),
        keras.layers.Dense(10),
    ]
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), *layers])
    model.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    result = kp.finetune(
        model, digits.train, digits.test, recipe="exp", epochs=epochs, batch_size=32
    )
    if host == 0:
        kp.save_model(result.model, "digits.prelu.keras", force=True)
        print(
            f"{100 * result.prelu.score_after:.1f} % of the test digits are right. {result.verdict}"
        )


if __name__ == "__main__":
    if sys.argv[1:] == ["--vertex"]:
        print(vertex_variables(os.environ["CLUSTER_SPEC"]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
