// Reads the network's input from a file: NumPy's .npy (float32, 3 x H x W) or a binary PPM picture.
#pragma once

#include <string>

#include <torch/torch.h>

// A tensor (1, 3, H, W). Throws std::runtime_error that names the file and what is wrong with it.
torch::Tensor read_input(const std::string& path);
