"""Rows for Grain's worker processes, which import this module and no Keras."""

import numpy as np

try:
    from grain.transforms import RandomMap
except ImportError:
    RandomMap = object

__all__ = ["COUNT", "Noise", "Rows", "loader"]

COUNT, BATCH = 48, 8


class Rows:
    """A random-access source of (x, y)."""

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        x = np.random.default_rng(index).normal(size=6).astype("float32")
        return x, int(index % 3)


class Noise(RandomMap):
    """A random augmentation in Python."""

    def random_map(self, row, rng):
        x, y = row
        return x + rng.normal(size=x.shape).astype("float32") * 0.1, y


def loader(workers):
    """Return a shuffled, augmented loader that decodes in worker processes."""
    import grain

    sampler = grain.samplers.IndexSampler(
        COUNT, shard_options=grain.sharding.NoSharding(), shuffle=True, seed=0, num_epochs=1
    )
    return grain.DataLoader(
        data_source=Rows(),
        sampler=sampler,
        operations=[Noise(), grain.transforms.Batch(BATCH)],
        worker_count=workers,
    )
