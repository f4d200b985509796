"""Fine-tuning a converted model together with its control."""
