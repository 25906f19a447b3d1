// One number's text to float32, as Python's float() and then NumPy's cast read it: the part that all targets share.
#pragma once

#include <charconv>
#include <limits>
#include <system_error>

namespace fastinfer {

// Whether a number that from_chars calls out of range is too large (and not too small): the decimal exponent of its
// first digit that is not zero decides. `first` is after the sign.
inline bool is_overflow(const char* first, const char* last) noexcept {
  constexpr long kFar = 1000000000;  // beyond any text's length; keeps the sum below from overflowing
  long exponent = 0, digits_before_point = 0, zeros_behind_point = 0;
  bool point = false, significant = false;
  const char* p = first;
  for (; p != last && *p != 'e' && *p != 'E'; ++p) {
    if (*p == '.') {
      point = true;
    } else if (significant || *p != '0') {
      significant = true;
      digits_before_point += !point;
    } else {
      zeros_behind_point += point;
    }
  }
  if (p != last && ++p != last) {
    const bool negative = *p == '-';
    for (p += *p == '-' || *p == '+'; p != last; ++p) {
      if (exponent < kFar) exponent = exponent * 10 + (*p - '0');
    }
    if (negative) exponent = -exponent;
  }
  return significant && exponent + digits_before_point - zeros_behind_point > 0;
}

// Reads the whole of [first, last), which contains no white space; returns whether it is a number.
inline bool read_number(const char* first, const char* last, float& value) noexcept {
  // from_chars does not accept a plus sign, and accepts `nan(text)`, which float() does not.
  if (first == last || last[-1] == ')') return false;
  const char* digits = first;
  if (*digits == '+' || *digits == '-') ++digits;
  if (digits == last || *digits == '-') return false;
  if (*first == '+') first = digits;
  double wide = 0;
  const auto [end, error] = std::from_chars(first, last, wide, std::chars_format::general);
  if (end != last) return false;
  if (error == std::errc::result_out_of_range) {
    // Whatever a double cannot hold is an infinity or a zero in float32 too.
    wide = is_overflow(digits, last) ? std::numeric_limits<double>::infinity() : 0.0;
    if (*first == '-') wide = -wide;
  } else if (error != std::errc()) {
    return false;
  }
  value = static_cast<float>(wide);
  return true;
}

}  // namespace fastinfer
