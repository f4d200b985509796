"""Fine-tuning a converted model beside its control."""
