// CSV text to float32 with AVX2. Three forms of cell are read many at a time or without branches; every other cell,
// every error and the ends of the input go to the scalar reference, one cell per call.
//
//   fixed form   `4.980392E-01,` (printf's %.6E): 13 bytes a cell, so eight cells are at known positions. Digits are
//                summed by multiply-add as in W. Mula's "SIMD-ized parsing of integers".
//   integers     of one to three digits: all cells that end within 32 bytes at once. Cells are two bytes or more, so
//                at most one ends in each pair of bytes, and a table moves the pairs where one does to the front.
//   decimals     of up to 19 digits, with or without exponent: one cell at a time.
//
// Rounding. A float must be what rounding to double and then to float gives.
// The fixed form is m / 10^k with m < 10^7 and 3 <= k <= 10, both exact in float32, so one division gives the correctly
// rounded float (W. Clinger, "How to read floating point numbers accurately", 1990). Rounding to double first would
// give another one only if m / 10^k were within 2^-53 (relative) of a boundary b = n * 2^j between two floats,
// n < 2^25, without being b. But there j <= -k, so that |m / 10^k - b| = i * 2^j / 5^k for a whole i > 0, more than
// 2^-49 of b. Decimals are rounded in scale_decimal.h.
#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "csv_reader.h"
#include "scale_decimal.h"
#include "targets.h"

#include "target_avx2.h"

namespace fastinfer::avx2 {
namespace {

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
  for (int byte = 0; byte < 33; ++byte)
    tables.align_right[byte] = static_cast<std::uint8_t>(byte < 16 ? 0x80 : byte - 16);
  return tables;
}

constexpr Tables kTables = make_tables();

inline __m256i load32(const char* p) noexcept { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline __m128i load16(const char* p) noexcept { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
inline std::uint64_t load8(const char* p) noexcept {
  std::uint64_t word;
  std::memcpy(&word, p, sizeof word);
  return word;
}
inline unsigned mask_of(__m256i bytes) noexcept { return static_cast<unsigned>(_mm256_movemask_epi8(bytes)); }

// Reads eight cells at `p`, the last one without its terminator; `exponent_sign` is 'e' or 'E'. False if one of them is
// of another form, or its exponent outside of -4 .. 3.
inline bool read_fixed(const char* p, char exponent_sign, float* out) noexcept {
  // A byte is right if it is at most `range` above `least`; the sign of the exponent can be 0 or 2 above '+'.
  const __m256i least = _mm256_broadcastsi128_si256(
      _mm_setr_epi8('0', '.', '0', '0', '0', '0', '0', '0', exponent_sign, '+', '0', '0', ',', 0, 0, 0));
  const __m256i range = _mm256_broadcastsi128_si256(_mm_setr_epi8(9, 0, 9, 9, 9, 9, 9, 9, 0, 2, 9, 9, 0, -1, -1, -1));
  const __m256i last_range = _mm256_setr_epi8(9, 0, 9, 9, 9, 9, 9, 9, 0, 2, 9, 9, 0, -1, -1, -1, 9, 0, 9, 9, 9, 9, 9, 9,
                                              0, 2, 9, 9, -1, -1, -1, -1);
  // 0 d dd dd dd | xx ss: the digits in pairs, the exponent's digits, the sign of the exponent.
  const __m256i order =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(-1, 0, 2, 3, 4, 5, 6, 7, 10, 11, 9, -1, -1, -1, -1, -1));
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
  // The divisor is 10^(6 - exponent). Negative behind a plus (0 + 256 * 0, where a minus gives 256 * 2).
  const __m256i sign = _mm256_sub_epi32(exponent, _mm256_set1_epi32(256));
  const __m256i power = _mm256_sign_epi32(_mm256_and_si256(exponent, _mm256_set1_epi32(127)), sign);
  const __m256i index = _mm256_add_epi32(power, _mm256_set1_epi32(3));
  // A sign of 1 is the comma between plus and minus; outside of the table are the exponents above 3 and below -4.
  wrong = _mm256_or_si256(wrong, _mm256_and_si256(exponent, _mm256_set1_epi32(256)));
  wrong = _mm256_or_si256(wrong, _mm256_andnot_si256(_mm256_set1_epi32(7), index));
  if (!_mm256_testz_si256(wrong, wrong)) return false;
  const __m256 divisor =
      _mm256_permutevar8x32_ps(_mm256_setr_ps(1e3F, 1e4F, 1e5F, 1e6F, 1e7F, 1e8F, 1e9F, 1e10F), index);
  _mm256_storeu_ps(out, _mm256_div_ps(_mm256_cvtepi32_ps(mantissa), divisor));
  return true;
}

// Whether eight cells at `p` are the zero of the fixed form: most of an image, and cheaper to see than to read.
inline bool is_fixed_zeros(const char* p) noexcept {
  static constexpr char kZeros[] =
      "0.000000E+00,0.000000E+00,0.000000E+00,0.000000E+00,"
      "0.000000E+00,0.000000E+00,0.000000E+00,0.000000E+00,";
  const auto same = [p](int at) noexcept { return _mm256_cmpeq_epi8(load32(p + at), load32(kZeros + at)); };
  return mask_of(_mm256_and_si256(_mm256_and_si256(same(0), same(32)), _mm256_and_si256(same(64), same(72)))) ==
         0xFFFFFFFF;
}

// Reads blocks of eight cells of the fixed form, up to the end of the line at most; false if not even one could be
// read.
inline bool read_fixed_run(Reader& reader, const char* stop) noexcept {
  constexpr std::ptrdiff_t kBlock = kFixedBytes * kFixedCells;
  const char* p = reader.p;
  const char exponent_sign = p[8];
  float* out = reader.out;
  float* const out_end = out + reader.limit() - kFixedCells;
  while (p < stop && out <= out_end) {
    // Two lines a block, 2 KiB ahead: 5 to 10 % for text that is not in the second cache (bench_parse fixed, Zen 3).
    _mm_prefetch(p + 2048, _MM_HINT_T0);
    _mm_prefetch(p + 2048 + 64, _MM_HINT_T0);
    if (is_fixed_zeros(p)) {
      _mm256_storeu_ps(out, _mm256_setzero_ps());
      p += kBlock;
      out += kFixedCells;
      continue;
    }
    if (!read_fixed(p, exponent_sign, out)) break;
    const char* end = p + kBlock - 1;
    if (*end != ',') {
      const bool any = p != reader.p;
      reader.p = p;
      reader.take(static_cast<std::size_t>(out - reader.out));
      return reader.take_with_end(end, kFixedCells) || any;
    }
    p += kBlock;
    out += kFixedCells;
  }
  const bool any = p != reader.p;
  reader.p = p;
  reader.take(static_cast<std::size_t>(out - reader.out));
  return any;
}

// Writes those of eight 16-bit words that `mask` names, and zeros up to eight floats.
inline void write_words(__m128i words, unsigned mask, float* out) noexcept {
  const __m128i shuffle = _mm_load_si128(reinterpret_cast<const __m128i*>(kTables.compress_words[mask]));
  _mm256_storeu_ps(out, _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(_mm_shuffle_epi8(words, shuffle))));
}

// The beginning of the cell that contains p; `begin` is at or before it and begins a cell.
inline const char* begin_of_cell(const char* p, const char* begin) noexcept {
  while (p != begin && static_cast<unsigned char>(p[-1] - '0') <= 9) --p;
  return p;
}

// The cell ends, of `ends`, that may be taken where some are line ends, or something is wrong, or the output gets full:
// those before the first wrong byte, the first line of unequal length, the first cell without room. Counts `cells` and
// `columns` on to behind the last of them.
inline unsigned check_ends(unsigned ends, unsigned newlines, unsigned wrong, std::size_t room, std::size_t& cells,
                           std::size_t& columns) noexcept {
  unsigned taken = 0;
  for (unsigned left = ends & (_blsmsk_u32(wrong) >> (wrong != 0)); left != 0 && room != 0; left &= left - 1, --room) {
    const unsigned end = left & (0 - left);
    if (columns != 0 && cells == columns) break;
    if ((newlines & end) == 0) {
      ++cells;
    } else {
      if (columns != 0 && cells + 1 != columns) break;
      columns = cells + 1;
      cells = 0;
    }
    taken |= end;
  }
  return taken;
}

// Reads cells of one to three digits, 32 bytes of text per step wherever cells end; stops before `stop` or at the first
// cell of another form. Steps do not wait for each other: only the place in the output depends on what was found
// before. Returns false if not even one cell could be read. Four bytes before reader.p can be read.
inline bool read_integer_run(Reader& reader, const char* stop) noexcept {
  const __m256i zero = _mm256_set1_epi8('0');
  const char* const begin = reader.p;
  const char* p = begin;
  for (; p < stop; p += 32) {
    // The byte at each place and the four before it: a value is worked out at the place of the comma behind it.
    const __m256i text0 = load32(p), text1 = load32(p - 1), text2 = load32(p - 2), text3 = load32(p - 3);
    const __m256i newline0 = _mm256_cmpeq_epi8(text0, _mm256_set1_epi8('\n'));
    const __m256i end0 = _mm256_or_si256(newline0, _mm256_cmpeq_epi8(text0, _mm256_set1_epi8(',')));
    const __m256i digit0 = _mm256_sub_epi8(text0, zero), digit1 = _mm256_sub_epi8(text1, zero);
    const __m256i digit2 = _mm256_sub_epi8(text2, zero), digit3 = _mm256_sub_epi8(text3, zero);
    const __m256i is_digit0 = _mm256_cmpeq_epi8(_mm256_min_epu8(digit0, _mm256_set1_epi8(9)), digit0);
    // A byte below '0' precedes a cell, and all bytes of a cell are checked to be digits.
    const __m256i other1 = _mm256_cmpgt_epi8(zero, text1), other2 = _mm256_cmpgt_epi8(zero, text2);
    const __m256i other3 = _mm256_cmpgt_epi8(zero, text3), other4 = _mm256_cmpgt_epi8(zero, load32(p - 4));
    const __m256i has_ones = _mm256_andnot_si256(other1, end0);
    const __m256i has_tens = _mm256_andnot_si256(other2, has_ones);
    const __m256i has_hundreds = _mm256_andnot_si256(other3, has_tens);
    // Neither digit nor end, an empty cell, a cell of more than three digits.
    const __m256i right = _mm256_or_si256(is_digit0, has_ones);
    const unsigned wrong = ~mask_of(_mm256_andnot_si256(_mm256_andnot_si256(other4, has_hundreds), right));
    unsigned ends = mask_of(end0);
    const unsigned newlines = mask_of(newline0);
    std::size_t count = static_cast<std::size_t>(_mm_popcnt_u32(ends));
    bool more = true;
    if (wrong != 0 || newlines != 0 || count > reader.limit()) {
      const unsigned taken = check_ends(ends, newlines, wrong, reader.room, reader.cells, reader.columns);
      more = taken == ends && wrong == 0;
      ends = taken;
      count = static_cast<std::size_t>(_mm_popcnt_u32(ends));
    } else {
      reader.cells += count;
    }

    // At most one byte of a pair has a number before it; the pair gets the value as 16 bits.
    const __m256i ones = _mm256_maddubs_epi16(_mm256_and_si256(digit1, has_ones), _mm256_set1_epi8(1));
    const __m256i tens = _mm256_maddubs_epi16(_mm256_and_si256(digit2, has_tens), _mm256_set1_epi8(10));
    const __m256i hundreds = _mm256_maddubs_epi16(_mm256_and_si256(digit3, has_hundreds), _mm256_set1_epi8(100));
    const __m256i values = _mm256_add_epi16(_mm256_add_epi16(ones, tens), hundreds);
    const unsigned pairs = _pext_u32(ends | ends >> 1, 0x55555555);

    float spill[24];
    float* out = reader.room < 24 ? spill : reader.out;
    write_words(_mm256_castsi256_si128(values), pairs & 255, out);
    write_words(_mm256_extracti128_si256(values, 1), pairs >> 8, out + _mm_popcnt_u32(pairs & 255));
    if (out == spill) std::memcpy(reader.out, spill, count * sizeof(float));
    reader.out += count;
    reader.room -= count;
    if (!more) {
      reader.p = ends != 0 ? p + 32 - __builtin_clz(ends) : begin_of_cell(p, begin);
      return reader.p != begin;
    }
  }
  reader.p = begin_of_cell(p, begin);
  return reader.p != begin;
}

// The number that 16 bytes of value 0 to 9 spell.
inline std::uint64_t sum_16_digits(__m128i digits) noexcept {
  const __m128i pairs = _mm_maddubs_epi16(digits, _mm_set1_epi16(1 << 8 | 10));
  const __m128i fours = _mm_madd_epi16(pairs, _mm_set1_epi32(1 << 16 | 100));
  const __m128i eights = _mm_madd_epi16(_mm_packus_epi32(fours, fours), _mm_set1_epi32(1 << 16 | 10000));
  const std::uint64_t both = static_cast<std::uint64_t>(_mm_cvtsi128_si64(eights));
  return (both & 0xFFFFFFFF) * 100000000 + (both >> 32);
}

// The number that the first `count` (1 to 8) of eight digits spell; SWAR as in D. Lemire, "Quickly parsing eight
// digits".
inline std::uint64_t sum_8_digits(const char* p, unsigned count) noexcept {
  std::uint64_t digits = (load8(p) - 0x3030303030303030) << (64 - 8 * count);
  digits = digits * 10 + (digits >> 8);
  return ((digits & 0x000000FF000000FF) * 0x000F424000000064 +
          (digits >> 16 & 0x000000FF000000FF) * 0x0000271000000001) >>
         32;
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

// The number that `count` digits spell, or UINT64_MAX where they are more than fit.
inline std::uint64_t sum_digits(const char* p, unsigned count) noexcept {
  const unsigned head = count < 16 ? count : 16;
  const __m128i shuffle = _mm_loadu_si128(reinterpret_cast<const __m128i*>(kTables.align_right + head));
  const std::uint64_t sum = sum_16_digits(_mm_shuffle_epi8(_mm_sub_epi8(load16(p), _mm_set1_epi8('0')), shuffle));
  if (count <= 16) return sum;
  // Of more than 19 digits only those are read whose first are zeros.
  const unsigned tail = count - 16;
  if (tail > 8 || (tail > 3 && sum >= 100000000000)) return UINT64_MAX;
  return sum * kWholePowers[tail] + sum_8_digits(p + 16, tail);
}

// Reads one cell of the form `0.` and digits and a comma, and returns its end, or nullptr where it is of another form.
// Its end is the next comma, which the next cell need not wait for the digits to know.
inline const char* read_fraction(const char* p, float& value) noexcept {
  const __m256i text = load32(p);
  const unsigned length = _tzcnt_u32(mask_of(_mm256_cmpeq_epi8(text, _mm256_set1_epi8(','))));
  const __m256i digits = _mm256_sub_epi8(text, _mm256_set1_epi8('0'));
  const unsigned others = ~mask_of(_mm256_cmpeq_epi8(_mm256_min_epu8(digits, _mm256_set1_epi8(9)), digits));
  // The point, and then no other before the comma.
  if (*p != '0' || length < 3 || length > 26 || (others & ((1U << length) - 1)) != 2) return nullptr;
  const std::uint64_t mantissa = sum_digits(p + 2, length - 2);
  if (mantissa == 0) {
    value = 0;
  } else if (!scale_decimal(mantissa, 2 - static_cast<int>(length), value)) {
    return nullptr;
  }
  return p + length;
}

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
    const std::uint64_t fraction = sum_digits(first, digits_behind);
    if (fraction == UINT64_MAX) return nullptr;
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
  if (!scale_decimal(mantissa, power, value)) return nullptr;
  if (negative) value = -value;
  return end;
}

void read_cells(Reader& reader, const char* first, const char* stop) noexcept {
  const __m256i decimal_zeros = _mm256_set1_epi32(',' << 24 | '0' << 16 | '.' << 8 | '0');
  while (reader.p < stop && reader.room != 0) {
    const std::size_t limit = reader.limit();
    if (limit == 0) return;
    const char* p = reader.p;
    if (p[1] == '.') {
      if ((p[8] | 0x20) == 'e' && p[12] == ',' && limit >= kFixedCells) {
        if (read_fixed_run(reader, stop)) continue;
      } else if (limit >= 8) {
        // `0.0,` up to eight times.
        const unsigned others = ~mask_of(_mm256_cmpeq_epi8(load32(p), decimal_zeros));
        const unsigned zeros = (others == 0 ? 32 : _tzcnt_u32(others)) / 4;
        if (zeros != 0) {
          _mm256_storeu_ps(reader.out, _mm256_setzero_ps());
          reader.p = p + 4 * zeros;
          reader.take(zeros);
          continue;
        }
      }
      const char* end = read_fraction(p, *reader.out);
      if (end != nullptr) {
        reader.p = end + 1;
        reader.take(1);
        continue;
      }
    } else if (p - first >= 4 && read_integer_run(reader, stop)) {
      continue;
    }
    const char* end = read_decimal(p, *reader.out);
    if (end == nullptr || !reader.take_with_end(end, 1)) return;
  }
}

}  // namespace

Status parse_csv(const char* first, const char* last, const CsvOptions& options, CsvState& state, float* out,
                 std::size_t capacity, std::size_t& written) noexcept {
  return parse_csv_with<read_cells>(first, last, options, state, out, capacity, written);
}

}  // namespace fastinfer::avx2

#include "target_end.h"
#endif
