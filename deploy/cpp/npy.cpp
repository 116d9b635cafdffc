#include "npy.hpp"

#include <cstdint>
#include <fstream>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <vector>

namespace {

constexpr int64_t kMostPixels = int64_t{1} << 30;

[[noreturn]] void refuse(const std::string& path, const std::string& why) {
  throw std::runtime_error(path + ": " + why);
}

torch::Tensor filled(std::ifstream& file, const std::string& path, std::vector<int64_t> shape, torch::Dtype kind) {
  auto tensor = torch::empty(shape, kind);
  const auto bytes = static_cast<std::streamsize>(tensor.nbytes());
  if (!file.read(static_cast<char*>(tensor.data_ptr()), bytes)) {
    refuse(path, "ends before its last pixel");
  }
  return tensor;
}

// NumPy's format, version 1: magic, length of the header, a Python literal, the numbers.
torch::Tensor read_npy(std::ifstream& file, const std::string& path) {
  unsigned char start[10] = {};
  file.read(reinterpret_cast<char*>(start), sizeof start);
  std::string header(start[8] | start[9] << 8, ' ');
  if (start[6] != 1 || !file.read(header.data(), static_cast<std::streamsize>(header.size()))) {
    refuse(path, "no .npy of version 1");
  }
  std::smatch shape;
  const std::regex wanted(R"('descr': '<f4', 'fortran_order': False, 'shape': \(3, (\d{1,9}), (\d{1,9})\))");
  if (!std::regex_search(header, shape, wanted)) {
    refuse(path, "not float32 of shape (3, H, W) in C order: " + header);
  }
  const int64_t height = std::stoll(shape[1]), width = std::stoll(shape[2]);
  if (height < 1 || width < 1 || height * width > kMostPixels) {
    refuse(path, "an impossible size");
  }
  return filled(file, path, {1, 3, height, width}, torch::kFloat32);
}

// A PPM of 8 bits, scaled to -2 .. 2 as detector.inputs.rgb_inputs does.
torch::Tensor read_ppm(std::ifstream& file, const std::string& path) {
  std::string magic;
  int64_t width = 0, height = 0, most = 0;
  if (!(file >> magic >> width >> height >> most) || magic != "P6" || most != 255) {
    refuse(path, "no binary PPM (P6) of 8 bits without comments");
  }
  if (height < 1 || width < 1 || width > kMostPixels || height > kMostPixels / width) {
    refuse(path, "an impossible size");
  }
  file.get();
  const auto pixels = filled(file, path, {1, height, width, 3}, torch::kUInt8);
  return pixels.permute({0, 3, 1, 2}).to(torch::kFloat32).mul(4.0f / 255.0f).sub(2.0f).contiguous();
}

}  // namespace

torch::Tensor read_input(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    refuse(path, "cannot be opened");
  }
  const int first = file.peek();
  if (first == 0x93) {
    return read_npy(file, path);
  }
  if (first == 'P') {
    return read_ppm(file, path);
  }
  refuse(path, "neither .npy nor PPM");
}
