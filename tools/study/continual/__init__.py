"""Networks that go on learning: sequences of tasks in which a trained ReLU network is converted once."""
