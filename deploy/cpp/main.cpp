// Runs a core that `taktwatch models export NAME --engine torchscript` wrote, without Python.
//
//   taktwatch_core CORE.pt OPERATORS.so INPUT...
//
// One line of JSON an input: detections with label (from 1), score, box (x0, y0, x1, y1 in px) and mask (28 x 28 bytes,
// 255 = certain, as hexadecimal digits). Exits 2 for a wrong call, 1 where a file cannot be used; others are still done.

#include <dlfcn.h>

#include <cmath>
#include <cstdio>
#include <exception>
#include <string>

#include <torch/script.h>

#include "npy.hpp"

namespace {

std::string escaped(const std::string& text) {
  std::string out;
  for (const char letter : text) {
    if (letter == '"' || letter == '\\') {
      out += '\\';
    }
    out += static_cast<unsigned char>(letter) < 0x20 ? ' ' : letter;
  }
  return out;
}

void print_mask(const torch::Tensor& mask) {
  const auto bytes = mask.mul(255).round().to(torch::kUInt8).contiguous();
  const auto* cell = bytes.data_ptr<uint8_t>();
  for (int64_t at = 0; at < bytes.numel(); ++at) {
    std::printf("%02x", cell[at]);
  }
}

void print_detections(const std::string& name, const c10::Dict<c10::IValue, c10::IValue>& found) {
  const auto boxes = found.at("boxes").toTensor().to(torch::kCPU).contiguous();
  const auto scores = found.at("scores").toTensor().to(torch::kCPU);
  const auto labels = found.at("labels").toTensor().to(torch::kCPU);
  const auto masks = found.at("masks").toTensor().to(torch::kCPU);
  std::printf("{\"input\": \"%s\", \"detections\": [", escaped(name).c_str());
  for (int64_t at = 0; at < scores.size(0); ++at) {
    const auto* box = boxes[at].data_ptr<float>();
    std::printf("%s{\"label\": %lld, \"score\": %.9g, \"box\": [%.9g, %.9g, %.9g, %.9g], \"mask\": \"", at ? ", " : "",
                static_cast<long long>(labels[at].item<int64_t>()), scores[at].item<float>(), box[0], box[1], box[2],
                box[3]);
    print_mask(masks[at]);
    std::printf("\"}");
  }
  std::printf("]}\n");
}

}  // namespace

int main(int count, char** words) {
  if (count < 4) {
    std::fprintf(stderr, "usage: taktwatch_core CORE.pt OPERATORS.so INPUT...\n");
    return 2;
  }
  // torchvision's nms and roi_align register themselves with libtorch when they are loaded.
  if (dlopen(words[2], RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    std::fprintf(stderr, "taktwatch_core: %s: cannot be loaded: %s\n", words[2], dlerror());
    return 2;
  }
  torch::jit::script::Module core;
  try {
    core = torch::jit::load(words[1], torch::kCPU);
    core.eval();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "taktwatch_core: %s: no core that can be loaded: %s\n", words[1], error.what());
    return 2;
  }
  int failed = 0;
  const c10::InferenceMode without_gradients;
  for (int at = 3; at < count; ++at) {
    try {
      const auto found = core.forward({read_input(words[at])}).toList();
      print_detections(words[at], found.get(0).toGenericDict());
    } catch (const std::exception& error) {
      std::fprintf(stderr, "taktwatch_core: %s\n", error.what());
      failed = 1;
    }
  }
  return failed;
}
