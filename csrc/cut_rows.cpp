// Rows of CSV, cut at their commas: 32 bytes at a time where the CPU has AVX2, else eight. Both give the same.
#include "cut_rows.h"

#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fastinfer {
namespace {

constexpr std::uint64_t ONES = 0x0101010101010101u;
constexpr std::uint64_t HIGH = 0x8080808080808080u;

// The high bit of each byte of `word` that equals `byte`, exactly: no carry passes from one byte to the next.
inline std::uint64_t equal_bytes(std::uint64_t word, unsigned char byte) noexcept {
  const std::uint64_t x = word ^ (ONES * byte);
  return ~(((x & ~HIGH) + ~HIGH) | x | ~HIGH);
}

// Of one line: how far it was searched, the commas so far, and its end if that was found.
struct Search {
  const char* first;
  const char* p;
  const char* end;
  std::size_t found;
};

#if defined(__x86_64__)
__attribute__((target("avx2,bmi,popcnt"))) void search_avx2(Search& search, const char* last, std::uint32_t* commas,
                                                            std::size_t room) noexcept {
  const __m256i comma = _mm256_set1_epi8(','), lf = _mm256_set1_epi8('\n'), cr = _mm256_set1_epi8('\r');
  const char* p = search.p;
  std::size_t found = search.found;
  for (; last - p >= 32; p += 32) {
    const __m256i text = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    unsigned marks = static_cast<unsigned>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(text, comma)));
    const __m256i any = _mm256_or_si256(_mm256_cmpeq_epi8(text, lf), _mm256_cmpeq_epi8(text, cr));
    const unsigned ends = static_cast<unsigned>(_mm256_movemask_epi8(any));
    if (ends != 0) {
      search.end = p + _tzcnt_u32(ends);
      marks &= _blsmsk_u32(ends);  // before the line's end
    }
    for (; marks != 0 && found < room; marks = _blsr_u32(marks)) {
      commas[found++] = static_cast<std::uint32_t>(p - search.first + _tzcnt_u32(marks));
    }
    found += static_cast<std::size_t>(_mm_popcnt_u32(marks));
    if (ends != 0) break;
  }
  search.p = p;
  search.found = found;
}

const bool HAS_AVX2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi");
#endif

}  // namespace

const char* index_line(const char* first, const char* last, std::uint32_t* commas, std::size_t room,
                       std::size_t& cells) noexcept {
  Search search{first, first, nullptr, 0};
#if defined(__x86_64__)
  if (HAS_AVX2) search_avx2(search, last, commas, room);
#endif
  std::size_t found = search.found;
  const char* p = search.p;
  const char* end = search.end;
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  for (; end == nullptr && last - p >= 8; p += 8) {
    std::uint64_t word;
    std::memcpy(&word, p, sizeof word);
    const std::uint64_t ends = equal_bytes(word, '\n') | equal_bytes(word, '\r');
    std::uint64_t marks = equal_bytes(word, ',');
    if (ends != 0) {
      end = p + (__builtin_ctzll(ends) >> 3);
      marks &= (ends & (~ends + 1)) - 1;  // before the line's end
    }
    for (; marks != 0 && found < room; marks &= marks - 1) {
      commas[found++] = static_cast<std::uint32_t>(p - first + (__builtin_ctzll(marks) >> 3));
    }
    found += ((marks >> 7) * ONES) >> 56;  // how many bits are set
  }
#endif
  for (; end == nullptr && p != last; ++p) {
    if (*p == '\n' || *p == '\r') {
      end = p;
    } else if (*p == ',') {
      if (found < room) commas[found] = static_cast<std::uint32_t>(p - first);
      ++found;
    }
  }
  if (end == nullptr) end = last;
  cells = found + 1;
  if (found == 0) {
    const char* text = first;
    while (text != end && (*text == ' ' || *text == '\t')) ++text;
    if (text == end) cells = 0;
  }
  return end;
}

const char* next_line(const char* end, const char* last) noexcept {
  if (end == last) return last;
  return end + (*end == '\r' && last - end > 1 && end[1] == '\n' ? 2 : 1);
}

std::size_t needed_commas(const CellRange* ranges, std::size_t count, std::size_t cells) noexcept {
  std::size_t needed = 0;
  for (std::size_t index = 0; index < count; ++index) {
    const std::size_t stop = ranges[index].stop == cells ? 0 : ranges[index].stop;
    if (ranges[index].start > needed) needed = ranges[index].start;
    if (stop > needed) needed = stop;
  }
  return needed;
}

std::size_t size_of_cells(const char* line, const char* end, const std::uint32_t* commas, std::size_t cells,
                          const CellRange* ranges, std::size_t count) noexcept {
  std::size_t size = count;  // commas between, and one more
  for (std::size_t index = 0; index < count; ++index) {
    const CellRange range = ranges[index];
    const std::size_t from = range.start == 0 ? 0 : commas[range.start - 1] + std::size_t{1};
    const std::size_t to = range.stop == cells ? static_cast<std::size_t>(end - line) : commas[range.stop - 1];
    size += to - from;
  }
  return size;
}

char* copy_cells(const char* line, const char* end, const std::uint32_t* commas, std::size_t cells,
                 const CellRange* ranges, std::size_t count, char* out) noexcept {
  for (std::size_t index = 0; index < count; ++index) {
    const CellRange range = ranges[index];
    const char* from = range.start == 0 ? line : line + commas[range.start - 1] + 1;
    const char* to = range.stop == cells ? end : line + commas[range.stop - 1];
    if (index != 0) *out++ = ',';
    std::memcpy(out, from, static_cast<std::size_t>(to - from));
    out += to - from;
  }
  return out;
}

}  // namespace fastinfer
