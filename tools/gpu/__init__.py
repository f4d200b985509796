"""What fine-tuning costs on a GPU: ResNet50 with ReLU, `keras.layers.PReLU` and ours."""
