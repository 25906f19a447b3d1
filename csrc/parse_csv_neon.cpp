// CSV text to float32 with NEON: the fixed form of printf's %.6E, runs of zeros, small integers and plain decimals.
// Everything else goes to the scalar reference, one cell per call. Rounding is explained in parse_csv_avx2.cpp and
// scale_decimal.h.
//
// Tested under emulation; its speed was not measured on such a CPU.
#if defined(__aarch64__)
#include <arm_neon.h>

#include <cstdint>

#include "csv_reader.h"
#include "scale_decimal.h"
#include "targets.h"

namespace fastinfer::neon {
namespace {

constexpr std::ptrdiff_t kFixedBytes = 13;

inline uint8x16_t load16(const char* p) noexcept { return vld1q_u8(reinterpret_cast<const std::uint8_t*>(p)); }

// Whether the `size` (16 to 64) bytes at p are those of `pattern`.
inline bool is_pattern(const char* p, const char* pattern, std::ptrdiff_t size) noexcept {
  uint8x16_t same = vceqq_u8(load16(p + size - 16), load16(pattern + size - 16));
  for (std::ptrdiff_t at = 0; at + 16 < size; at += 16)
    same = vandq_u8(same, vceqq_u8(load16(p + at), load16(pattern + at)));
  return vminvq_u8(same) == 0xFF;
}

inline void put_zeros(Reader& reader, std::size_t count, std::ptrdiff_t bytes) noexcept {
  for (std::size_t i = 0; i < count; i += 4) vst1q_f32(reader.out + i, vdupq_n_f32(0));
  reader.p += bytes;
  reader.take(count);
}

// Reads one cell of the fixed form, without its terminator.
inline bool read_fixed(const char* p, float& value) noexcept {
  // A byte is right if it is at most `range` above `least`.
  static constexpr std::uint8_t kLeast[16] = {'0', '.', '0', '0', '0', '0', '0', '0', 'E', '+', '0', '0', 0, 0, 0, 0};
  static constexpr std::uint8_t kRange[16] = {9, 0, 9, 9, 9, 9, 9, 9, 0, 2, 9, 9, 255, 255, 255, 255};
  static constexpr std::uint8_t kOrder[8] = {255, 0, 2, 3, 4, 5, 6, 7};  // 255: a zero
  static constexpr std::uint8_t kTens[8] = {10, 1, 10, 1, 10, 1, 10, 1};
  static constexpr std::uint32_t kHundreds[4] = {1000000, 10000, 100, 1};
  static constexpr float kDivisors[8] = {1e3F, 1e4F, 1e5F, 1e6F, 1e7F, 1e8F, 1e9F, 1e10F};
  const uint8x16_t digits = vsubq_u8(load16(p), vld1q_u8(kLeast));
  if (vmaxvq_u8(vqsubq_u8(digits, vld1q_u8(kRange))) != 0 || p[9] == ',') return false;
  const uint32x4_t pairs = vpaddlq_u16(vmull_u8(vqtbl1_u8(digits, vld1_u8(kOrder)), vld1_u8(kTens)));
  const std::uint32_t mantissa = vaddvq_u32(vmulq_u32(pairs, vld1q_u32(kHundreds)));
  const int exponent = (p[10] - '0') * 10 + (p[11] - '0');
  const int index = p[9] == '-' ? 3 + exponent : 3 - exponent;
  if (index < 0 || index > 7) return false;
  value = static_cast<float>(mantissa) / kDivisors[index];
  return true;
}

inline bool is_digit(char byte) noexcept { return static_cast<unsigned char>(byte - '0') <= 9; }

// Reads one number without exponent and returns its end, or nullptr where the reference must decide.
inline const char* read_decimal(const char* p, float& value) noexcept {
  const bool negative = *p == '-';
  p += negative;
  const char* const begin = p;
  std::uint64_t mantissa = 0;
  for (; is_digit(*p) && p - begin < 20; ++p) mantissa = mantissa * 10 + static_cast<std::uint64_t>(*p - '0');
  std::ptrdiff_t count = p - begin;
  int power = 0;
  if (*p == '.') {
    const char* const point = p++;
    for (; is_digit(*p) && p - begin < 21; ++p) mantissa = mantissa * 10 + static_cast<std::uint64_t>(*p - '0');
    power = static_cast<int>(point + 1 - p);
    count -= power;
  }
  if (count == 0 || count > 19 || is_digit(*p) || *p == 'e' || *p == 'E') return nullptr;
  if (mantissa == 0) {
    value = 0;
  } else if (count <= 3 && power == 0) {
    value = static_cast<float>(mantissa);
  } else if (!scale_decimal(mantissa, power, value)) {
    return nullptr;
  }
  if (negative) value = -value;
  return p;
}

void read_cells(Reader& reader, const char*, const char* stop) noexcept {
  static constexpr char kFixedZeros[] = "0.000000E+00,0.000000E+00,0.000000E+00,0.000000E+00,";
  static constexpr char kIntegerZeros[] = "0,0,0,0,0,0,0,0,";
  static constexpr char kDecimalZeros[] = "0.0,0.0,0.0,0.0,";
  while (reader.p < stop) {
    const std::size_t limit = reader.limit();
    if (limit == 0) return;
    const char* p = reader.p;
    if (limit >= 8) {
      if (p[1] == ',' && is_pattern(p, kIntegerZeros, 16)) {
        put_zeros(reader, 8, 16);
        continue;
      }
      if (p[1] == '.' && p[3] == ',' && is_pattern(p, kDecimalZeros, 16)) {
        put_zeros(reader, 4, 16);
        continue;
      }
      if (p[8] == 'E' && is_pattern(p, kFixedZeros, 4 * kFixedBytes)) {
        put_zeros(reader, 4, 4 * kFixedBytes);
        continue;
      }
    }
    const char* end = p + 12;
    if (p[8] != 'E' || !read_fixed(p, *reader.out)) end = read_decimal(p, *reader.out);
    if (end == nullptr || !reader.take_with_end(end, 1)) return;
  }
}

}  // namespace

Status parse_csv(const char* first, const char* last, const CsvOptions& options, CsvState& state, float* out,
                 std::size_t capacity, std::size_t& written) noexcept {
  return parse_csv_with<read_cells>(first, last, options, state, out, capacity, written);
}

}  // namespace fastinfer::neon
#endif
