"""What runs the model's core: tensor in; boxes, classes, scores and 28x28 masks out."""
