// Python's repr of a finite, positive float widened to double, from std::to_chars: what the native tests compare with.
#pragma once

#include <charconv>
#include <cstring>
#include <string>

inline char* reference_repr(float value, char* out) {
  char text[40];
  char* last = std::to_chars(text, text + sizeof text, static_cast<double>(value), std::chars_format::scientific).ptr;
  const char* e = static_cast<const char*>(std::memchr(text, 'e', static_cast<std::size_t>(last - text)));
  int exponent = 0;
  std::from_chars(e[1] == '+' ? e + 2 : e + 1, last, exponent);
  std::string digits(text, static_cast<std::size_t>(e - text));
  if (digits.size() > 1) digits.erase(1, 1);
  std::string result;
  if (exponent < -4 || exponent >= 16) {
    result.assign(text, last);
  } else if (exponent < 0) {
    result = "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  } else {
    if (digits.size() < static_cast<std::size_t>(exponent) + 2)
      digits.resize(static_cast<std::size_t>(exponent) + 2, '0');
    result = digits.substr(0, static_cast<std::size_t>(exponent) + 1) + "." +
             digits.substr(static_cast<std::size_t>(exponent) + 1);
  }
  std::memcpy(out, result.data(), result.size());
  return out + result.size();
}
