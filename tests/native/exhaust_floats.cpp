// Every finite float32 above zero, printed by format_json_values and by std::to_chars laid out as Python does: some
// minutes.
//   g++ -std=c++17 -O2 -Icsrc tests/native/exhaust_floats.cpp csrc/format_rows.cpp -o build/exhaust && build/exhaust
//   [STEP]
// STEP (default 1) skips floats: 101 takes seconds.
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "format_rows.h"
#include "reference_repr.h"

int main(int argc, char** argv) {
  const std::uint64_t step = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
  std::uint64_t count = 0;
  for (std::uint64_t bits = 1; bits < 0x7F800000; bits += step, ++count) {
    const std::uint32_t word = static_cast<std::uint32_t>(bits);
    float value;
    std::memcpy(&value, &word, sizeof value);
    char found[64], expected[64];
    const auto found_size = fastinfer::format_json_values(&value, 1, found) - found;
    const auto expected_size = reference_repr(value, expected) - expected;
    if (found_size != expected_size || std::memcmp(found, expected, static_cast<std::size_t>(found_size)) != 0) {
      std::printf("bits %08x: found %.*s, expected %.*s\n", word, static_cast<int>(found_size), found,
                  static_cast<int>(expected_size), expected);
      return 1;
    }
  }
  std::printf("%llu floats: all as std::to_chars\n", static_cast<unsigned long long>(count));
  return 0;
}
