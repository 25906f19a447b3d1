// JSON's lists of numbers to float32, for every target: a number is read eight digits at a time where it has so many
// (D. Lemire, "Quickly parsing eight digits"), and scaled as in scale_decimal.h. parse_json.h states limits and rules.
#include "parse_json.h"

#include <cstdint>
#include <cstring>
#include <limits>

#include "read_number.h"
#include "scale_decimal.h"

namespace fastinfer {
namespace {

// An integer of so many digits is exact in a double.
constexpr std::ptrdiff_t kExactDigits = 15;
// Of so many digits a mantissa fits into 64 bits.
constexpr std::ptrdiff_t kMantissaDigits = 19;

bool is_space(char byte) noexcept { return byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r'; }
bool is_digit(char byte) noexcept { return static_cast<unsigned char>(byte - '0') <= 9; }

// Adds the digits at p to `mantissa` (modulo 2^64) and returns their end.
const char* read_digits(const char* p, const char* last, std::uint64_t& mantissa) noexcept {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  while (last - p >= 8) {
    std::uint64_t text;
    std::memcpy(&text, p, sizeof text);
    // A digit's upper four bits are 3, also when 6 is added to it.
    constexpr std::uint64_t kUpper = 0xF0F0F0F0F0F0F0F0;
    if (((text & kUpper) | ((text + 0x0606060606060606) & kUpper) >> 4) != 0x3333333333333333) break;
    std::uint64_t digits = text - 0x3030303030303030;
    digits = digits * 10 + (digits >> 8);
    digits = ((digits & 0x000000FF000000FF) * 0x000F424000000064 +
              (digits >> 16 & 0x000000FF000000FF) * 0x0000271000000001) >>
             32;
    mantissa = mantissa * 100000000 + digits;
    p += 8;
  }
#endif
  for (; p != last && is_digit(*p); ++p) mantissa = mantissa * 10 + static_cast<std::uint64_t>(*p - '0');
  return p;
}

bool take_word(const char*& p, const char* last, const char* word) noexcept {
  const std::size_t size = std::strlen(word);
  if (static_cast<std::size_t>(last - p) < size || std::memcmp(p, word, size) != 0) return false;
  p += size;
  return true;
}

const char* read_word(const char* p, const char* last, float& value) noexcept {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  if (take_word(p, last, "true")) return value = 1, p;
  if (take_word(p, last, "false")) return value = 0, p;
  if (take_word(p, last, "NaN")) return value = std::numeric_limits<float>::quiet_NaN(), p;
  if (take_word(p, last, "Infinity")) return value = kInfinity, p;
  if (take_word(p, last, "-Infinity")) return value = -kInfinity, p;
  return nullptr;
}

// Reads the number at p and returns its end; nullptr where it is none, or none that is read here.
const char* read_json_number(const char* const begin, const char* last, float& value) noexcept {
  const char* p = begin;
  const bool negative = *p == '-';
  p += negative;
  if (p == last || !is_digit(*p)) return read_word(begin, last, value);
  std::uint64_t mantissa = 0;
  const char* const whole = p;
  p = read_digits(p, last, mantissa);
  std::ptrdiff_t count = p - whole;
  if (*whole == '0' && count != 1) return nullptr;
  if (p == last || (*p != '.' && (*p | 0x20) != 'e')) {
    if (count > kExactDigits) return nullptr;
    // An integer has no negative zero.
    value = static_cast<float>(
        static_cast<double>(negative ? -static_cast<std::int64_t>(mantissa) : static_cast<std::int64_t>(mantissa)));
    return p;
  }
  int power = 0;
  if (*p == '.') {
    const char* const fraction = ++p;
    p = read_digits(p, last, mantissa);
    if (p == fraction) return nullptr;
    count += p - fraction;
    // Beyond that, the digits are read again below.
    if (count <= kMantissaDigits) power = -static_cast<int>(p - fraction);
  }
  if (p != last && (*p | 0x20) == 'e') {
    ++p;
    const bool down = p != last && *p == '-';
    if (p != last && (*p == '-' || *p == '+')) ++p;
    const char* const exponent = p;
    int size = 0;
    for (; p != last && is_digit(*p); ++p) size = size < 10000 ? size * 10 + (*p - '0') : size;
    if (p == exponent) return nullptr;
    power += down ? -size : size;
  }
  if (count > kMantissaDigits) return read_number(begin, p, value) ? p : nullptr;
  if (mantissa == 0) {
    value = 0;
  } else if (!scale_decimal(mantissa, power, value)) {
    return read_number(begin, p, value) ? p : nullptr;
  }
  if (negative) value = -value;
  return p;
}

}  // namespace

Status parse_json(const char* first, const char* last, JsonState& state, float* out, std::size_t capacity,
                  std::size_t& written) noexcept {
  const char* p = first + state.position;
  float* const begin = out;
  float* const end = out + capacity;
  const auto stop = [&](Code code) noexcept {
    state.position = static_cast<std::size_t>(p - first);
    written += static_cast<std::size_t>(out - begin);
    return Status{code, state.position};
  };
  // Counts an item of the list that is open; false if it is one more than the lists before it have.
  const auto count_item = [&]() noexcept {
    const std::size_t size = state.sizes[state.depth];
    return (size == 0 || state.items[state.depth] != size) && ++state.items[state.depth] != 0;
  };

  for (;;) {
    while (p != last && is_space(*p)) ++p;
    if (state.has_value) {
      if (state.depth == 0) return stop(p == last ? Code::ok : Code::not_plain);
      if (p == last) return stop(Code::not_plain);
      if (*p == ',') {
        state.has_value = false;
        ++p;
        continue;
      }
      if (*p != ']') return stop(Code::not_plain);
      std::size_t& size = state.sizes[state.depth];
      if (size == 0) size = state.items[state.depth];
      if (size != state.items[state.depth]) return stop(Code::not_plain);
      --state.depth;
      ++p;
      continue;
    }
    if (p == last) return stop(Code::not_plain);
    if (*p == '[') {
      if (state.depth == kMostDepth || (state.leaf != 0 && state.depth >= state.leaf)) return stop(Code::not_plain);
      if (state.depth != 0 && !count_item()) return stop(Code::not_plain);
      state.items[++state.depth] = 0;
      ++p;
      continue;
    }
    if (state.depth == 0 || (state.leaf != 0 && state.leaf != state.depth)) return stop(Code::not_plain);
    if (out == end) return stop(Code::output_full);
    const char* const number_end = read_json_number(p, last, *out);
    if (number_end == nullptr || !count_item()) return stop(Code::not_plain);
    state.leaf = state.depth;
    ++out;
    p = number_end;
    state.has_value = true;
  }
}

Status parse_json_lines(const char* first, const char* last, std::size_t row_values, std::size_t position, float* out,
                        std::size_t capacity, std::size_t& written, std::size_t& lines) noexcept {
  const char* p = first + position;
  while (p != last) {
    const void* const found = std::memchr(p, '\n', static_cast<std::size_t>(last - p));
    const char* const end = found != nullptr ? static_cast<const char*>(found) : last;
    const char* text = p;
    while (text != end && is_space(*text)) ++text;
    if (text != end) {
      if (capacity < row_values) return {Code::output_full, static_cast<std::size_t>(p - first)};
      JsonState state;
      std::size_t count = 0;
      const Status status = parse_json(text, end, state, out, row_values, count);
      if (status.code != Code::ok || count != row_values) return {Code::not_plain, static_cast<std::size_t>(p - first)};
      out += row_values;
      capacity -= row_values;
      written += row_values;
    }
    ++lines;
    p = end == last ? last : end + 1;
  }
  return {Code::ok, static_cast<std::size_t>(p - first)};
}

}  // namespace fastinfer
