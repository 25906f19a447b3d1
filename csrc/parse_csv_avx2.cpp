// CSV text to float32 with AVX2. Three forms of cell are read many at a time or without branches; every other cell, every
// error and the ends of the input go to the scalar reference, one cell a call, which is resumable for just that.
//
//   fixed form   `4.980392E-01,` (printf's %.6E): 13 bytes a cell, so eight cells stand at known places. Digits are summed by
//                multiply-add as in W. Mula's "SIMD-ized parsing of integers"; the power of ten is a table of eight floats.
//   integers     of one to three digits: all cells that end within 32 bytes at once. Cells are two bytes or more, so
//                each pair of bytes begins at most one, and a table moves the pairs that do to the front.
//   decimals     of up to 19 digits, with or without exponent: one cell at a time.
//
// Rounding. A float must be what rounding to double and then to float gives. The fixed form has 7 digits and a power of ten
// below 10^22, both exact in double, so one division rounds correctly (W. Clinger, "How to read floating point numbers
// accurately", 1990). Decimals are a product of two rounded doubles, off by less than 4 units of the last place: where no
// boundary between two floats lies so near, every double within that distance becomes the same float; otherwise the cell
// goes to the reference.
#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "parse_csv.h"
#include "targets.h"

#include "target_avx2.h"

namespace fastinfer::avx2 {
namespace {

// How far behind the beginning of a cell a fast path may read.
constexpr std::ptrdiff_t kAhead = 128;

constexpr std::size_t kFixedCells = 8;
constexpr std::ptrdiff_t kFixedBytes = 13;

struct Tables {
  // 16-byte shuffles that move the 2-byte words named by an 8-bit mask to the front.
  alignas(64) std::uint8_t compress_words[256][16];
  // Loaded at offset n: a shuffle that moves the first n of 16 bytes to the end and puts zeros before them.
  alignas(64) std::uint8_t align_right[33];
};

constexpr Tables make_tables() noexcept {
  Tables tables{};
  for (int mask = 0; mask < 256; ++mask) {
    int count = 0;
    for (int word = 0; word < 8; ++word) {
      if (mask >> word & 1) {
        tables.compress_words[mask][2 * count] = static_cast<std::uint8_t>(2 * word);
        tables.compress_words[mask][2 * count + 1] = static_cast<std::uint8_t>(2 * word + 1);
        ++count;
      }
    }
    for (int byte = 2 * count; byte < 16; ++byte) tables.compress_words[mask][byte] = 0x80;
  }
  for (int byte = 0; byte < 33; ++byte) tables.align_right[byte] = static_cast<std::uint8_t>(byte < 16 ? 0x80 : byte - 16);
  return tables;
}

constexpr Tables kTables = make_tables();

constexpr int kLeastPower = -64, kMostPower = 38;
constexpr double kPowers[] = {  // 10^-64 .. 10^38, each rounded to the nearest double
    1e-64, 1e-63, 1e-62, 1e-61, 1e-60, 1e-59, 1e-58, 1e-57, 1e-56, 1e-55, 1e-54, 1e-53, 1e-52, 1e-51, 1e-50, 1e-49,
    1e-48, 1e-47, 1e-46, 1e-45, 1e-44, 1e-43, 1e-42, 1e-41, 1e-40, 1e-39, 1e-38, 1e-37, 1e-36, 1e-35, 1e-34, 1e-33,
    1e-32, 1e-31, 1e-30, 1e-29, 1e-28, 1e-27, 1e-26, 1e-25, 1e-24, 1e-23, 1e-22, 1e-21, 1e-20, 1e-19, 1e-18, 1e-17,
    1e-16, 1e-15, 1e-14, 1e-13, 1e-12, 1e-11, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1e0, 1e1,
    1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21,
    1e22, 1e23, 1e24, 1e25, 1e26, 1e27, 1e28, 1e29, 1e30, 1e31, 1e32, 1e33, 1e34, 1e35, 1e36, 1e37, 1e38,
};

inline __m256i load32(const char* p) noexcept { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline __m128i load16(const char* p) noexcept { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
inline std::uint64_t load8(const char* p) noexcept {
  std::uint64_t word;
  std::memcpy(&word, p, sizeof word);
  return word;
}
inline unsigned mask_of(__m256i bytes) noexcept { return static_cast<unsigned>(_mm256_movemask_epi8(bytes)); }

// What is being read, and how far: `p` stands at the beginning of a cell.
struct Reader {
  const char* p;
  float* out;
  std::size_t room;  // floats that may be written at `out`
  std::size_t cells;
  std::size_t columns;

  // How many cells may be taken before the output is full or the line is as long as the first one.
  std::size_t limit() const noexcept {
    const std::size_t left = columns - cells;
    return columns != 0 && left < room ? left : room;
  }
  void take(std::size_t count) noexcept {
    out += count;
    room -= count;
    cells += count;
  }
  // Goes behind the terminator of the last of `count` cells that were written to `out`; false (and nothing taken) where
  // that is not a comma or a line end in its right place.
  bool take_with_end(const char* end, std::size_t count) noexcept {
    if (*end == ',') {
      p = end + 1;
      take(count);
      return true;
    }
    if ((*end != '\n' && *end != '\r') || (columns != 0 && cells + count != columns)) return false;
    take(count);
    columns = cells;
    cells = 0;
    p = end + (end[0] == '\r' && end[1] == '\n' ? 2 : 1);
    return true;
  }
};

// --- the fixed form ---------------------------------------------------------------------------------------------------

// Reads eight cells at `p`, the last one without its terminator; `exponent_sign` is 'e' or 'E'. False if one of them is of
// another form, or its exponent outside of -9 .. 6.
inline bool read_fixed(const char* p, char exponent_sign, float* out) noexcept {
  // A byte is right if it is at most `range` above `least`; the sign of the exponent can be 0 or 2 above '+'.
  const __m256i least = _mm256_broadcastsi128_si256(
      _mm_setr_epi8('0', '.', '0', '0', '0', '0', '0', '0', exponent_sign, '+', '0', '0', ',', 0, 0, 0));
  const __m256i range =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(9, 0, 9, 9, 9, 9, 9, 9, 0, 2, 9, 9, 0, -1, -1, -1));
  const __m256i last_range =
      _mm256_setr_epi8(9, 0, 9, 9, 9, 9, 9, 9, 0, 2, 9, 9, 0, -1, -1, -1, 9, 0, 9, 9, 9, 9, 9, 9, 0, 2, 9, 9, -1, -1, -1, -1);
  // 0 d dd dd dd | xx ss: the digits in pairs, the exponent's digits, the sign of the exponent.
  const __m256i order = _mm256_broadcastsi128_si256(_mm_setr_epi8(-1, 0, 2, 3, 4, 5, 6, 7, 10, 11, 9, -1, -1, -1, -1, -1));
  const __m256i tens = _mm256_broadcastsi128_si256(_mm_setr_epi8(10, 1, 10, 1, 10, 1, 10, 1, 10, 1, 1, 0, 0, 0, 0, 0));
  const __m256i hundreds = _mm256_broadcastsi128_si256(_mm_setr_epi16(100, 1, 100, 1, 1, 256, 0, 0));
  const __m256i thousands = _mm256_set1_epi64x(1LL << 32 | 1 << 16 | 10000);

  __m256i wrong = _mm256_setzero_si256();
  __m256i sums[4];
  for (int i = 0; i < 4; ++i) {
    // Cells i and i + 4 share a register, so that packing by lanes leaves all eight in order.
    const __m256i text = _mm256_inserti128_si256(_mm256_castsi128_si256(load16(p + kFixedBytes * i)),
                                                 load16(p + kFixedBytes * (i + 4)), 1);
    const __m256i digits = _mm256_sub_epi8(text, least);
    wrong = _mm256_or_si256(wrong, _mm256_subs_epu8(digits, i == 3 ? last_range : range));
    sums[i] = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_shuffle_epi8(digits, order), tens), hundreds);
  }
  // Each cell is now 32-bit: ddd, dddd, exponent + 256 * sign, 0; and then mantissa, exponent + 256 * sign.
  const __m256i low = _mm256_madd_epi16(_mm256_packus_epi32(sums[0], sums[1]), thousands);
  const __m256i high = _mm256_madd_epi16(_mm256_packus_epi32(sums[2], sums[3]), thousands);
  const __m256i mantissa = _mm256_castps_si256(
      _mm256_shuffle_ps(_mm256_castsi256_ps(low), _mm256_castsi256_ps(high), _MM_SHUFFLE(2, 0, 2, 0)));
  const __m256i exponent = _mm256_castps_si256(
      _mm256_shuffle_ps(_mm256_castsi256_ps(low), _mm256_castsi256_ps(high), _MM_SHUFFLE(3, 1, 3, 1)));
  // The divisor's power above 10^6: the exponent's digits, negative behind a plus (0 + 256 * 0, where minus is 256 * 2).
  const __m256i sign = _mm256_sub_epi32(exponent, _mm256_set1_epi32(256));
  const __m256i power = _mm256_sign_epi32(_mm256_and_si256(exponent, _mm256_set1_epi32(127)), sign);
  // A sign of 1 is the comma between plus and minus.
  wrong = _mm256_or_si256(wrong, _mm256_and_si256(exponent, _mm256_set1_epi32(256)));
  if (!_mm256_testz_si256(wrong, wrong)) return false;

  __m256d low_divisor, high_divisor;
  const __m256 near = _mm256_setr_ps(1e6F, 1e7F, 1e8F, 1e9F, 1e10F, 0, 0, 0);  // the powers that a float holds exactly
  const __m256i is_far = _mm256_or_si256(_mm256_cmpgt_epi32(power, _mm256_set1_epi32(4)), power);  // > 4 or negative
  if (_mm256_movemask_ps(_mm256_castsi256_ps(is_far)) == 0) {
    const __m256 divisor = _mm256_permutevar8x32_ps(near, power);
    low_divisor = _mm256_cvtps_pd(_mm256_castps256_ps128(divisor));
    high_divisor = _mm256_cvtps_pd(_mm256_extractf128_ps(divisor, 1));
  } else {
    // 10^(power + 6) as a product of 10^0 .. 10^7 and 1 or 10^8.
    const __m256i all = _mm256_add_epi32(power, _mm256_set1_epi32(6));
    if (!_mm256_testz_si256(all, _mm256_set1_epi32(~15))) return false;
    const __m256 ones = _mm256_permutevar8x32_ps(_mm256_setr_ps(1, 1e1F, 1e2F, 1e3F, 1e4F, 1e5F, 1e6F, 1e7F), all);
    const __m256 eights = _mm256_blendv_ps(_mm256_set1_ps(1), _mm256_set1_ps(1e8F),
                                           _mm256_castsi256_ps(_mm256_cmpgt_epi32(all, _mm256_set1_epi32(7))));
    low_divisor = _mm256_mul_pd(_mm256_cvtps_pd(_mm256_castps256_ps128(ones)),
                                _mm256_cvtps_pd(_mm256_castps256_ps128(eights)));
    high_divisor = _mm256_mul_pd(_mm256_cvtps_pd(_mm256_extractf128_ps(ones, 1)),
                                 _mm256_cvtps_pd(_mm256_extractf128_ps(eights, 1)));
  }
  const __m256d low_value = _mm256_div_pd(_mm256_cvtepi32_pd(_mm256_castsi256_si128(mantissa)), low_divisor);
  const __m256d high_value = _mm256_div_pd(_mm256_cvtepi32_pd(_mm256_extracti128_si256(mantissa, 1)), high_divisor);
  _mm256_storeu_ps(out, _mm256_set_m128(_mm256_cvtpd_ps(high_value), _mm256_cvtpd_ps(low_value)));
  return true;
}

// --- integers ---------------------------------------------------------------------------------------------------------

// Writes those of eight 16-bit words that `mask` names, and zeros up to eight floats.
inline void write_words(__m128i words, unsigned mask, float* out) noexcept {
  const __m128i shuffle = _mm_load_si128(reinterpret_cast<const __m128i*>(kTables.compress_words[mask]));
  _mm256_storeu_ps(out, _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(_mm_shuffle_epi8(words, shuffle))));
}

// Reads the cells of one to three digits whose comma stands in the 32 bytes at reader.p, up to the first byte that is
// neither digit nor comma, and to the first cell of another form. Returns how many.
inline std::size_t read_integers(Reader& reader) noexcept {
  const char* p = reader.p;
  const __m256i comma = _mm256_set1_epi8(','), zero = _mm256_set1_epi8('0');
  // The byte at each place and the three behind it: a value is worked out at the place where its cell begins.
  const __m256i text0 = load32(p), text1 = load32(p + 1), text2 = load32(p + 2), text3 = load32(p + 3);
  const __m256i comma0 = _mm256_cmpeq_epi8(text0, comma), comma1 = _mm256_cmpeq_epi8(text1, comma);
  const __m256i comma2 = _mm256_cmpeq_epi8(text2, comma), comma3 = _mm256_cmpeq_epi8(text3, comma);
  const __m256i digit0 = _mm256_sub_epi8(text0, zero), digit1 = _mm256_sub_epi8(text1, zero);
  const __m256i digit2 = _mm256_sub_epi8(text2, zero);
  // A cell begins behind each comma, and at the first byte.
  const __m256i begins =
      _mm256_alignr_epi8(comma0, _mm256_permute2x128_si256(comma0, _mm256_set1_epi8(-1), 0x02), 15);

  const __m256i up_to_two = _mm256_or_si256(comma1, comma2);
  const __m256i is_digit = _mm256_cmpeq_epi8(_mm256_min_epu8(digit0, _mm256_set1_epi8(9)), digit0);
  const __m256i right = _mm256_or_si256(is_digit, _mm256_andnot_si256(begins, comma0));
  const __m256i too_long = _mm256_andnot_si256(_mm256_or_si256(up_to_two, comma3), begins);
  const unsigned wrong = ~mask_of(_mm256_andnot_si256(too_long, right));
  unsigned commas = mask_of(comma0) & (_blsmsk_u32(wrong) >> (wrong != 0));
  if (commas == 0) return 0;
  std::size_t count = static_cast<std::size_t>(_mm_popcnt_u32(commas));
  const std::size_t limit = reader.limit();
  if (count > limit) {
    commas = _pdep_u32((1U << limit) - 1, commas);
    count = limit;
  }
  const int end = 31 - __builtin_clz(commas);
  const unsigned first_bytes = (commas << 1 | 1) & ((1U << end) - 1);
  const unsigned pairs = _pext_u32(first_bytes | first_bytes >> 1, 0x55555555);

  // d, or 10 d + d; then as 16 bits times 1, or times 10 plus d. At most one byte of a pair is not masked away.
  const __m256i twice = _mm256_add_epi8(digit0, digit0);
  const __m256i four = _mm256_add_epi8(twice, twice);
  const __m256i ten = _mm256_add_epi8(_mm256_add_epi8(four, four), twice);
  const __m256i two = _mm256_blendv_epi8(_mm256_add_epi8(ten, digit1), digit0, comma1);
  const __m256i factor = _mm256_blendv_epi8(_mm256_set1_epi8(10), _mm256_set1_epi8(1), up_to_two);
  const __m256i third = _mm256_andnot_si256(up_to_two, _mm256_and_si256(digit2, begins));
  const __m256i values = _mm256_add_epi16(_mm256_maddubs_epi16(_mm256_and_si256(two, begins), factor),
                                          _mm256_maddubs_epi16(third, _mm256_set1_epi8(1)));

  float spill[24];
  float* out = reader.room < 24 ? spill : reader.out;
  write_words(_mm256_castsi256_si128(values), pairs & 255, out);
  write_words(_mm256_extracti128_si256(values, 1), pairs >> 8, out + _mm_popcnt_u32(pairs & 255));
  if (out == spill) std::memcpy(reader.out, spill, count * sizeof(float));
  reader.p = p + end + 1;
  reader.take(count);
  return count;
}

// --- decimals ---------------------------------------------------------------------------------------------------------

// The number that 16 bytes of value 0 to 9 spell.
inline std::uint64_t sum_16_digits(__m128i digits) noexcept {
  const __m128i pairs = _mm_maddubs_epi16(digits, _mm_set1_epi16(1 << 8 | 10));
  const __m128i fours = _mm_madd_epi16(pairs, _mm_set1_epi32(1 << 16 | 100));
  const __m128i eights = _mm_madd_epi16(_mm_packus_epi32(fours, fours), _mm_set1_epi32(1 << 16 | 10000));
  const std::uint64_t both = static_cast<std::uint64_t>(_mm_cvtsi128_si64(eights));
  return (both & 0xFFFFFFFF) * 100000000 + (both >> 32);
}

// The number that the first `count` (1 to 8) of eight digits spell; SWAR as in D. Lemire, "Quickly parsing eight digits".
inline std::uint64_t sum_8_digits(const char* p, unsigned count) noexcept {
  std::uint64_t digits = (load8(p) - 0x3030303030303030) << (64 - 8 * count);
  digits = digits * 10 + (digits >> 8);
  return ((digits & 0x000000FF000000FF) * 0x000F424000000064 + (digits >> 16 & 0x000000FF000000FF) * 0x0000271000000001) >> 32;
}

constexpr std::uint64_t kWholePowers[] = {1,
                                          10,
                                          100,
                                          1000,
                                          10000,
                                          100000,
                                          1000000,
                                          10000000,
                                          100000000,
                                          1000000000,
                                          10000000000,
                                          100000000000,
                                          1000000000000,
                                          10000000000000,
                                          100000000000000,
                                          1000000000000000,
                                          10000000000000000,
                                          100000000000000000,
                                          1000000000000000000};

// Reads one number at p and returns its end, or nullptr where the reference must decide.
inline const char* read_decimal(const char* p, float& value) noexcept {
  const bool negative = *p == '-';
  p += negative;
  const __m256i digits = _mm256_sub_epi8(load32(p), _mm256_set1_epi8('0'));
  const __m256i is_digit = _mm256_cmpeq_epi8(_mm256_min_epu8(digits, _mm256_set1_epi8(9)), digits);
  const unsigned others = ~mask_of(is_digit);
  const unsigned whole_digits = _tzcnt_u32(others);
  if (whole_digits > 8) return nullptr;
  std::uint64_t mantissa = whole_digits == 1   ? static_cast<std::uint64_t>(*p - '0')
                           : whole_digits == 0 ? 0
                                               : sum_8_digits(p, whole_digits);
  const char* end = p + whole_digits;
  int power = 0;
  if (*end == '.') {
    const unsigned behind = others & (others - 1);
    if (behind == 0) return nullptr;
    const unsigned digits_behind = _tzcnt_u32(behind) - whole_digits - 1;
    const char* first = end + 1;
    if (whole_digits + digits_behind == 0 || digits_behind > 24) return nullptr;
    const unsigned head = digits_behind < 16 ? digits_behind : 16;
    const __m128i shuffle = _mm_loadu_si128(reinterpret_cast<const __m128i*>(kTables.align_right + head));
    std::uint64_t fraction = sum_16_digits(_mm_shuffle_epi8(_mm_sub_epi8(load16(first), _mm_set1_epi8('0')), shuffle));
    if (digits_behind > 16) {
      // Of more than 19 digits only those are read whose first are zeros.
      const unsigned tail = digits_behind - 16;
      if (tail > 3 && fraction >= 100000000000) return nullptr;
      fraction = fraction * kWholePowers[tail] + sum_8_digits(first + 16, tail);
    }
    if (mantissa != 0) {
      if (whole_digits + digits_behind > 19 || digits_behind > 18) return nullptr;
      mantissa *= kWholePowers[digits_behind];
    }
    mantissa += fraction;
    power = -static_cast<int>(digits_behind);
    end = first + digits_behind;
  } else if (whole_digits == 0) {
    return nullptr;
  }
  if ((*end | 0x20) == 'e') {
    ++end;
    const bool down = *end == '-';
    end += down || *end == '+';
    unsigned exponent = 0, count = 0;
    for (; static_cast<unsigned char>(*end - '0') <= 9; ++end, ++count) {
      if (count == 3) return nullptr;
      exponent = exponent * 10 + static_cast<unsigned>(*end - '0');
    }
    if (count == 0) return nullptr;
    power += down ? -static_cast<int>(exponent) : static_cast<int>(exponent);
  }
  if (mantissa == 0) {
    value = negative ? -0.0F : 0.0F;
    return end;
  }
  if (power < kLeastPower || power > kMostPower || mantissa > INT64_MAX) return nullptr;
  const double product = static_cast<double>(static_cast<std::int64_t>(mantissa)) * kPowers[power - kLeastPower];
  // Normal floats only: below them, the boundary between two floats is at another bit.
  if (!(product >= 0x1p-126 && product < 0x1p127)) return nullptr;
  std::uint64_t bits;
  std::memcpy(&bits, &product, sizeof bits);
  constexpr std::uint64_t kHalf = 1 << 28, kNear = 8;  // of the 29 bits that a float has not
  if ((bits & (2 * kHalf - 1)) - (kHalf - kNear) <= 2 * kNear) return nullptr;
  value = static_cast<float>(negative ? -product : product);
  return end;
}

// --- the loop ---------------------------------------------------------------------------------------------------------

// Reads cells while they begin before `stop` and are of a form that is known here. kAhead bytes behind `stop` can be read.
inline void read_cells(Reader& reader, const char* stop) noexcept {
  const __m256i integer_zeros = _mm256_set1_epi16(',' << 8 | '0');
  const __m256i decimal_zeros = _mm256_set1_epi32(',' << 24 | '0' << 16 | '.' << 8 | '0');
  while (reader.p < stop && reader.room != 0) {
    const std::size_t limit = reader.limit();
    if (limit == 0) return;
    const char* p = reader.p;
    if (p[1] == '.') {
      if ((p[8] | 0x20) == 'e' && p[12] == ',' && limit >= kFixedCells) {
        if (read_fixed(p, p[8], reader.out) &&
            reader.take_with_end(p + kFixedBytes * kFixedCells - 1, kFixedCells)) {
          continue;
        }
      } else if (limit >= 8 && mask_of(_mm256_cmpeq_epi8(load32(p), decimal_zeros)) == 0xFFFFFFFF) {
        _mm256_storeu_ps(reader.out, _mm256_setzero_ps());
        reader.p = p + 32;
        reader.take(8);
        continue;
      }
    } else {
      if (limit >= 16 && mask_of(_mm256_cmpeq_epi8(load32(p), integer_zeros)) == 0xFFFFFFFF) {
        _mm256_storeu_ps(reader.out, _mm256_setzero_ps());
        _mm256_storeu_ps(reader.out + 8, _mm256_setzero_ps());
        reader.p = p + 32;
        reader.take(16);
        continue;
      }
      if (read_integers(reader) != 0) continue;
    }
    const char* end = read_decimal(p, *reader.out);
    if (end == nullptr || !reader.take_with_end(end, 1)) return;
  }
}

}  // namespace

Status parse_csv(const char* first, const char* last, const CsvOptions& options, CsvState& state, float* out,
                 std::size_t capacity, std::size_t& written) noexcept {
  if (state.position == 0 && last - first >= 3 && std::memcmp(first, "\xEF\xBB\xBF", 3) == 0) state.position = 3;
  Reader reader = {first + state.position, out, capacity, state.cells, state.columns};
  for (;;) {
    if (last - reader.p >= kAhead) read_cells(reader, last - kAhead + 1);
    if (last - reader.p < kAhead && reader.p != last) {
      // The end of the input is read from a copy, a line end behind it, so that nothing behind the input is touched.
      char copy[2 * kAhead] = {};
      const std::ptrdiff_t size = last - reader.p;
      const char* origin = reader.p;
      std::memcpy(copy, origin, static_cast<std::size_t>(size));
      copy[size] = '\n';
      reader.p = copy;
      read_cells(reader, copy + size);
      const std::ptrdiff_t used = reader.p - copy;
      reader.p = origin + (used < size ? used : size);
    }
    // Whatever stopped that: one cell, or the end, or an error, by the reference.
    state = {static_cast<std::size_t>(reader.p - first), reader.cells, reader.columns};
    std::size_t one = 0;
    const Status status = fastinfer::parse_csv(first, last, options, state, reader.out, reader.room != 0, one);
    reader = {first + state.position, reader.out + one, reader.room - one, state.cells, state.columns};
    if (status.code != Code::output_full || reader.room == 0) {
      written += static_cast<std::size_t>(reader.out - out);
      return status;
    }
  }
}

}  // namespace fastinfer::avx2

#include "target_end.h"
#endif
