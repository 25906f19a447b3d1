// The tables of isa.h, and which of them the CPU can run.
#include "isa.h"

#include <cstring>

#include "find_lines.h"
#include "format_rows.h"
#include "targets.h"

namespace fastinfer {
namespace {

constexpr Kernels kScalar = {"scalar", parse_csv, format_json_rows, format_csv_rows, count_lines, find_line_start};

#if defined(__x86_64__)
constexpr Kernels kAvx2 = {"avx2",          avx2::parse_csv,   format_json_rows,
                           format_csv_rows, avx2::count_lines, avx2::find_line_start};

bool has_avx2() noexcept {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
         __builtin_cpu_supports("popcnt");
}
#elif defined(__aarch64__)
// Every such CPU has NEON.
constexpr Kernels kNeon = {"neon", neon::parse_csv, format_json_rows, format_csv_rows, count_lines, find_line_start};
#endif

}  // namespace

const Kernels* kernels_at(std::size_t index) noexcept {
#if defined(__x86_64__)
  if (has_avx2()) {
    if (index == 0) return &kAvx2;
    --index;
  }
#elif defined(__aarch64__)
  if (index-- == 0) return &kNeon;
#endif
  return index == 0 ? &kScalar : nullptr;
}

const Kernels* find_kernels(const char* name) noexcept {
  for (std::size_t index = 0; const Kernels* kernels = kernels_at(index); ++index) {
    if (std::strcmp(kernels->name, name) == 0) return kernels;
  }
  return nullptr;
}

}  // namespace fastinfer
