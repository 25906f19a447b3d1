// The shortest decimal digits that read back as a double that was widened from a float32: Schubfach.
//
// R. Giulietti, "The Schubfach way to render doubles" (2021): of the decimals of one digit less than surely suffices,
// at most one lies in the interval of reals that round to the double; if none does, of the two neighbours of the double
// with all digits the closer one is taken. The interval's ends come from the double's bits times a power of ten of 128
// bits; the paper proves that this precision decides every comparison.
//
// Narrower than the paper in one way: only what a float32 can hold needs a power of ten, 85 of them, computed by the
// compiler.
#pragma once

#include <cstdint>
#include <cstring>

namespace fastinfer {

__extension__ using Wide = unsigned __int128;

// value = digits * 10^exponent, digits of exactly 17 places (with zeros at the end where fewer suffice).
struct Decimal {
  std::uint64_t digits;
  int exponent;
};

// floor(log10(2^n)), floor(log10(3/4 * 2^n)), floor(log2(10^n)) for the |n| < 400 that occur.
constexpr int floor_log10_of_pow2(int n) noexcept { return (n * 1262611) >> 22; }
constexpr int floor_log10_of_three_quarters_pow2(int n) noexcept { return (n * 1262611 - 524031) >> 22; }
constexpr int floor_log2_of_pow10(int n) noexcept { return (n * 1741647) >> 19; }

// The first 128 bits of 10^kLeastTen .. 10^kMostTen, one added to the last.
constexpr int kLeastTen = -23, kMostTen = 61;
struct PowersOfTen {
  std::uint64_t high[kMostTen - kLeastTen + 1];
  std::uint64_t low[kMostTen - kLeastTen + 1];
};

constexpr PowersOfTen make_powers_of_ten() noexcept {
  PowersOfTen powers{};
  for (int n = kLeastTen; n <= kMostTen; ++n) {
    Wide first = 0;
    if (n >= 0) {
      // 5^n exactly (142 bits at most), and then its first 128 bits: 2^n changes the exponent only.
      Wide low = 1, high = 0;
      constexpr Wide kMask = (Wide{1} << 64) - 1;
      for (int i = 0; i < n; ++i) {
        const Wide part0 = (low & kMask) * 5, part1 = (low >> 64) * 5 + (part0 >> 64);
        high = high * 5 + (part1 >> 64);
        low = (part1 << 64) | (part0 & kMask);
      }
      for (; high != 0; high >>= 1) low = low >> 1 | (high & 1) << 127;
      for (first = low; !(first >> 127); first <<= 1) {
      }
    } else {
      // 1 / 10^-n by long division, from the first bit of the quotient that is 1.
      Wide divisor = 1, rest = 1;
      for (int i = 0; i < -n; ++i) divisor *= 10;
      while (!(first >> 127)) {
        rest <<= 1;
        first = first << 1 | (rest >= divisor);
        if (rest >= divisor) rest -= divisor;
      }
    }
    ++first;
    powers.high[n - kLeastTen] = static_cast<std::uint64_t>(first >> 64);
    powers.low[n - kLeastTen] = static_cast<std::uint64_t>(first);
  }
  return powers;
}

inline constexpr PowersOfTen kPowersOfTen = make_powers_of_ten();

// floor(power * factor / 2^128), its last bit set where the product is no whole number of 2^128 ("rounding to odd").
inline std::uint64_t multiply_to_odd(std::uint64_t high, std::uint64_t low, std::uint64_t factor) noexcept {
  const Wide product = Wide{high} * factor + static_cast<std::uint64_t>(Wide{low} * factor >> 64);
  return static_cast<std::uint64_t>(product >> 64) | (static_cast<std::uint64_t>(product) > 1);
}

// `value` is finite and above zero.
inline Decimal find_shortest_digits(float value) noexcept {
  const double wide = value;
  std::uint64_t bits;
  std::memcpy(&bits, &wide, sizeof bits);
  // value = c * 2^q; every float32, its subnormals too, is a normal double, whose last 29 bits are zero. So c is even,
  // and the ends of the interval belong to it.
  constexpr std::uint64_t kHidden = std::uint64_t{1} << 52;
  const std::uint64_t c = (bits & (kHidden - 1)) | kHidden;
  const int q = static_cast<int>(bits >> 52) - 1075;
  const bool is_power_of_two = c == kHidden;  // the gap below is half of the gap above

  const int k = is_power_of_two ? floor_log10_of_three_quarters_pow2(q) : floor_log10_of_pow2(q);
  const int shift = q + floor_log2_of_pow10(-k) + 1;
  const std::uint64_t high = kPowersOfTen.high[-k - kLeastTen], low = kPowersOfTen.low[-k - kLeastTen];
  const std::uint64_t four_c = 4 * c;
  const std::uint64_t lower = multiply_to_odd(high, low, (four_c - (is_power_of_two ? 1 : 2)) << shift);
  const std::uint64_t middle = multiply_to_odd(high, low, four_c << shift);
  const std::uint64_t upper = multiply_to_odd(high, low, (four_c + 2) << shift);

  // In quarters of 10^k: one digit less, then all digits. Which of the two is chosen follows no pattern, nor does the
  // number of digits, so all of it is worked out and picked from without branches.
  const std::uint64_t whole = middle / 4, tens = whole / 10 * 10;
  const bool tens_below = lower <= 4 * tens, tens_above = 4 * tens + 40 <= upper;
  const bool below = lower <= 4 * whole, above = 4 * whole + 4 <= upper;
  // The closer one, of two as close the even one: above 1/2, or at 1/2 where `whole` is odd.
  const bool closer_above = (middle & 3) + (whole & 1) > 2;
  const std::uint64_t all = whole + (static_cast<unsigned>(above) & (static_cast<unsigned>(!below) | closer_above));
  const std::uint64_t fewer = tens + 10 * std::uint64_t{!tens_below};
  const std::uint64_t use_fewer = 0 - std::uint64_t{tens_below != tens_above};
  const std::uint64_t digits = all ^ ((all ^ fewer) & use_fewer);
  const std::uint64_t sixteen = digits < 10000000000000000;
  return {digits + (digits * 9 & (0 - sixteen)), k - static_cast<int>(sixteen)};
}

}  // namespace fastinfer
