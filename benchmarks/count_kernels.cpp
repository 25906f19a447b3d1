// One call of one kernel on one file, for callgrind: instructions.py.
#include <cstdio>
#include <cstring>
#include <vector>

#include "format_rows.h"
#include "isa.h"

using namespace fastinfer;

// Counting is switched on in here.
extern "C" __attribute__((noinline)) std::size_t run_kernel(const Kernels& kernels, bool parse, std::vector<char>& text,
                                                            std::vector<float>& values, std::vector<char>& out) {
  if (!parse)
    return static_cast<std::size_t>(kernels.format_json_rows(values.data(), values.size() / 10, 10, out.data()) -
                                    out.data());
  CsvState state;
  std::size_t written = 0;
  const Status status = kernels.parse_csv(text.data(), text.data() + text.size(), CsvOptions(), state, values.data(),
                                          values.size(), written);
  return status.code == Code::ok ? written : 0;
}

int main(int argc, char** argv) {
  std::FILE* file = argc == 3 ? std::fopen(argv[2], "rb") : nullptr;
  if (file == nullptr) return 2;
  std::vector<char> text;
  for (int byte; (byte = std::fgetc(file)) != EOF;) text.push_back(static_cast<char>(byte));
  std::fclose(file);
  const bool parse = std::strcmp(argv[1], "parse") == 0;
  std::vector<float> values(parse ? text.size() : text.size() / sizeof(float));
  std::vector<char> out(values.size() * (kValueBound + 8));
  if (!parse) std::memcpy(values.data(), text.data(), values.size() * sizeof(float));
  return run_kernel(*kernels_at(0), parse, text, values, out) != 0 ? 0 : 1;
}
