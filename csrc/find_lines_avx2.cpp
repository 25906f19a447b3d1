// Line ends in a buffer with AVX2: 32 bytes per step, the last bytes by the scalar reference.
#if defined(__x86_64__)
#include <immintrin.h>

#include "find_lines.h"
#include "targets.h"

#include "target_avx2.h"

namespace fastinfer::avx2 {
namespace {

inline unsigned equal_mask(const char* p, char byte) noexcept {
  const __m256i text = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return static_cast<unsigned>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(text, _mm256_set1_epi8(byte))));
}

}  // namespace

std::size_t count_lines(const char* first, const char* last) noexcept {
  std::size_t lines = 0;
  // A CR counts where no LF follows: each step looks one byte ahead.
  for (; last - first > 32; first += 32) {
    const unsigned lone = equal_mask(first, '\r') & ~equal_mask(first + 1, '\n');
    lines += static_cast<std::size_t>(_mm_popcnt_u32(equal_mask(first, '\n')) + _mm_popcnt_u32(lone));
  }
  return lines + fastinfer::count_lines(first, last);
}

const char* find_line_start(const char* first, const char* last, const char* from) noexcept {
  if (from == first) return from;
  // From the byte before, which may end a line.
  for (const char* p = from - 1; last - p > 32; p += 32) {
    const unsigned ends = equal_mask(p, '\n') | (equal_mask(p, '\r') & ~equal_mask(p + 1, '\n'));
    if (ends != 0) return p + _tzcnt_u32(ends) + 1;
    from = p + 33;
  }
  return fastinfer::find_line_start(first, last, from);
}

}  // namespace fastinfer::avx2

#include "target_end.h"
#endif
