// float32 rows to text through std::to_chars: the reference.
//
// std::to_chars(scientific) gives the shortest digits that read back as the double, and of those the closest, as Python's
// repr does; the layout of the digits is Python's own (float_repr_style "short" in Python/pystrtod.c).
#include "format_rows.h"

#include <charconv>
#include <cmath>
#include <cstring>

namespace fastinfer {
namespace {

struct Words {
  const char* nan;
  const char* infinity;
};
constexpr Words kJson = {"NaN", "Infinity"};
constexpr Words kCsv = {"nan", "inf"};

char* put(char* out, const char* text, std::size_t size) noexcept {
  std::memcpy(out, text, size);
  return out + size;
}
char* put(char* out, const char* text) noexcept { return put(out, text, std::strlen(text)); }

char* format_value(float value, const Words& words, char* out) noexcept {
  if (std::isnan(value)) return put(out, words.nan);
  if (std::signbit(value)) *out++ = '-';
  if (std::isinf(value)) return put(out, words.infinity);
  if (value == 0) return put(out, "0.0");

  // d.ddde-dd: the digits stand at text[0] and from text[2] on.
  char text[kValueBound];
  const char* last =
      std::to_chars(text, text + sizeof text, std::fabs(static_cast<double>(value)), std::chars_format::scientific).ptr;
  const char* e = static_cast<const char*>(std::memchr(text, 'e', static_cast<std::size_t>(last - text)));
  int exponent = 0;
  std::from_chars(e[1] == '+' ? e + 2 : e + 1, last, exponent);
  if (exponent < -4 || exponent >= 16) return put(out, text, static_cast<std::size_t>(last - text));

  text[1] = text[0];
  const char* digits = text + 1;
  const int count = e == text + 1 ? 1 : static_cast<int>(e - digits);
  if (exponent < 0) {
    out = put(out, "0.000", static_cast<std::size_t>(1 - exponent));
    return put(out, digits, static_cast<std::size_t>(count));
  }
  for (int i = 0; i <= exponent; ++i) *out++ = i < count ? digits[i] : '0';
  *out++ = '.';
  if (count <= exponent + 1) return put(out, "0");
  return put(out, digits + exponent + 1, static_cast<std::size_t>(count - exponent - 1));
}

}  // namespace

char* format_json_values(const float* values, std::size_t count, char* out) noexcept {
  for (std::size_t i = 0; i < count; ++i) {
    if (i != 0) out = put(out, ", ");
    out = format_value(values[i], kJson, out);
  }
  return out;
}

char* format_json_rows(const float* values, std::size_t rows, std::size_t values_per_row, char* out) noexcept {
  for (std::size_t row = 0; row < rows; ++row) {
    if (row != 0) out = put(out, ", ");
    *out++ = '[';
    out = format_json_values(values + row * values_per_row, values_per_row, out);
    *out++ = ']';
  }
  return out;
}

char* format_csv_rows(const float* values, std::size_t rows, std::size_t values_per_row, char* out) noexcept {
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t i = 0; i < values_per_row; ++i) {
      if (i != 0) *out++ = ',';
      out = format_value(*values++, kCsv, out);
    }
    *out++ = '\n';
  }
  return out;
}

}  // namespace fastinfer
