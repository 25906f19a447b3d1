// Line ends in a buffer, one byte at a time: the reference.
#include "find_lines.h"

namespace fastinfer {
namespace {

// Whether a line ends with the byte before p: a CR that an LF follows is only the first half of a line end.
bool begins_line(const char* first, const char* last, const char* p) noexcept {
  if (p == first) return true;
  return p[-1] == '\n' || (p[-1] == '\r' && (p == last || *p != '\n'));
}

}  // namespace

std::size_t count_lines(const char* first, const char* last) noexcept {
  std::size_t lines = 0;
  for (const char* p = first; p != last;) lines += begins_line(first, last, ++p);
  return lines + !(first == last || begins_line(first, last, last));
}

const char* find_line_start(const char* first, const char* last, const char* from) noexcept {
  while (from != last && !begins_line(first, last, from)) ++from;
  return from;
}

}  // namespace fastinfer
