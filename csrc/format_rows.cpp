// float32 rows to text: shortest_digits.h finds the digits, this file lays them out as Python's repr does
// (float_repr_style "short": an exponent if the first digit is below 10^-4 or above 10^15).
//
// There is one implementation for all targets: the digits are 64-bit multiplications, and no vector unit has those.
// Tests compare it with json.dumps, and tests/native/exhaust_floats.cpp with std::to_chars on every float32 there is.
#include "format_rows.h"

#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "shortest_digits.h"

namespace fastinfer {
namespace {

struct Words {
  char separator[2];
  std::size_t separator_size;
  const char* nan;
  const char* infinity;
};
constexpr Words kJson = {{',', ' '}, 2, "NaN", "Infinity"};
constexpr Words kCsv = {{',', 0}, 1, "nan", "inf"};

char* put(char* out, const char* text) noexcept {
  const std::size_t size = std::strlen(text);
  std::memcpy(out, text, size);
  return out + size;
}

// Sixteen digits as text, and the position of the last one that is not zero. Halves, quarters, eighths and sixteenths
// of the number are divided side by side, by multiplications that are exact for the ranges named; so in vectors W.
// Mula, "SSE: conversion integers to decimal representation".
struct SixteenDigits {
#if defined(__SSE2__)
  __m128i bytes;

  SixteenDigits(std::uint32_t upper, std::uint32_t lower) noexcept {
    const __m128i eights = _mm_set_epi64x(lower, upper);
    const __m128i upper_fours =
        _mm_srli_epi64(_mm_mul_epu32(eights, _mm_set1_epi64x(0xD1B71759)), 45);  // < 10^8 by 10^4
    const __m128i lower_fours = _mm_sub_epi64(eights, _mm_mul_epu32(upper_fours, _mm_set1_epi64x(10000)));
    const __m128i fours = _mm_or_si128(upper_fours, _mm_slli_epi64(lower_fours, 32));
    const __m128i upper_twos = _mm_srli_epi16(_mm_mulhi_epu16(fours, _mm_set1_epi16(5243)), 3);  // < 10^4 by 100
    const __m128i lower_twos = _mm_sub_epi16(fours, _mm_mullo_epi16(upper_twos, _mm_set1_epi16(100)));
    const __m128i twos = _mm_or_si128(upper_twos, _mm_slli_epi32(lower_twos, 16));
    const __m128i tens = _mm_mulhi_epu16(twos, _mm_set1_epi16(6554));  // < 100 by 10
    const __m128i ones = _mm_sub_epi16(twos, _mm_mullo_epi16(tens, _mm_set1_epi16(10)));
    bytes = _mm_or_si128(tens, _mm_slli_epi16(ones, 8));
  }
  // 1 to 16, or 0 if all are zeros.
  int count() const noexcept {
    const int mask = _mm_movemask_epi8(_mm_cmpgt_epi8(bytes, _mm_setzero_si128()));
    return 31 - __builtin_clz(static_cast<unsigned>(mask) << 1 | 1);
  }
  void put(char* out) const noexcept {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_or_si128(bytes, _mm_set1_epi8('0')));
  }
#else
  std::uint64_t upper_bytes, lower_bytes;

  SixteenDigits(std::uint32_t upper, std::uint32_t lower) noexcept
      : upper_bytes(spread(upper)), lower_bytes(spread(lower)) {}

  static std::uint64_t spread(std::uint32_t eights) noexcept {
    const std::uint32_t upper_four = eights / 10000;
    const std::uint64_t fours = upper_four | std::uint64_t{eights - upper_four * 10000} << 32;
    const std::uint64_t upper_twos = (fours * 10486 >> 20) & 0x0000007F0000007F;  // < 10^4 by 100
    const std::uint64_t twos = upper_twos | (fours - upper_twos * 100) << 16;
    const std::uint64_t tens = (twos * 103 >> 10) & 0x000F000F000F000F;  // < 100 by 10
    return tens | (twos - tens * 10) << 8;
  }
  int count() const noexcept {
    if (lower_bytes != 0) return 9 + (63 - __builtin_clzll(lower_bytes)) / 8;
    return upper_bytes != 0 ? 1 + (63 - __builtin_clzll(upper_bytes)) / 8 : 0;
  }
  void put(char* out) const noexcept {
    const std::uint64_t text[2] = {upper_bytes | 0x3030303030303030, lower_bytes | 0x3030303030303030};
    std::memcpy(out, text, sizeof text);
  }
#endif
};

// Writes at most 25 bytes; may write anywhere in the 32 at `out`.
char* format_value(float value, const Words& words, char* out) noexcept {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7F800000) == 0x7F800000 && (bits & 0x007FFFFF) != 0) return put(out, words.nan);
  *out = '-';
  out += bits >> 31;
  bits &= 0x7FFFFFFF;
  if (bits == 0x7F800000) return put(out, words.infinity);
  if (bits == 0) return put(out, "0.0");
  std::memcpy(&value, &bits, sizeof bits);

  const Decimal decimal = find_shortest_digits(value);
  constexpr std::uint64_t kEight = 100000000;
  const std::uint64_t first = decimal.digits / (kEight * kEight);
  const std::uint64_t rest = decimal.digits - first * (kEight * kEight);
  const std::uint64_t upper = rest / kEight;
  const SixteenDigits others(static_cast<std::uint32_t>(upper), static_cast<std::uint32_t>(rest - upper * kEight));
  const int count = 1 + others.count();
  const auto put_digits = [&](char* at) noexcept {
    *at = static_cast<char>('0' + first);
    others.put(at + 1);
  };

  const int exponent = decimal.exponent + 16;  // of the first digit
  if (exponent < 0 && exponent >= -4) {
    std::memcpy(out, "0.000000", 8);
    out += 1 - exponent;
    put_digits(out);
    return out + count;
  }
  if (exponent >= 0 && exponent < 16) {
    char digits[32] = {};
    put_digits(digits);
    std::memcpy(out, digits, 16);
    out += exponent + 1;
    *out++ = '.';
    std::memcpy(out, digits + exponent + 1, 16);
    return out + (count > exponent + 1 ? count - exponent - 1 : 1);
  }
  put_digits(out + 1);
  out[0] = out[1];
  out[1] = '.';
  out += count == 1 ? 1 : count + 1;
  const unsigned size = static_cast<unsigned>(exponent < 0 ? -exponent : exponent);
  out[0] = 'e';
  out[1] = exponent < 0 ? '-' : '+';
  out[2] = static_cast<char>('0' + size / 10);
  out[3] = static_cast<char>('0' + size % 10);
  return out + 4;
}

char* format_values(const float* values, std::size_t count, const Words& words, char* out) noexcept {
  if (count == 0) return out;
  for (std::size_t i = 0; i < count; ++i) {
    out = format_value(values[i], words, out);
    std::memcpy(out, words.separator, 2);
    out += words.separator_size;
  }
  return out - words.separator_size;
}

}  // namespace

char* format_json_values(const float* values, std::size_t count, char* out) noexcept {
  return format_values(values, count, kJson, out);
}

char* format_json_rows(const float* values, std::size_t rows, std::size_t values_per_row, char* out) noexcept {
  for (std::size_t row = 0; row < rows; ++row) {
    if (row != 0) {
      std::memcpy(out, ", ", 2);
      out += 2;
    }
    *out++ = '[';
    out = format_values(values + row * values_per_row, values_per_row, kJson, out);
    *out++ = ']';
  }
  return out;
}

char* format_csv_rows(const float* values, std::size_t rows, std::size_t values_per_row, char* out) noexcept {
  for (std::size_t row = 0; row < rows; ++row) {
    out = format_values(values + row * values_per_row, values_per_row, kCsv, out);
    *out++ = '\n';
  }
  return out;
}

}  // namespace fastinfer
