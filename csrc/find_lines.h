// Line ends in a buffer: the contract. A line ends behind LF, CRLF or a lone CR. Quotes mean nothing.
#pragma once

#include <cstddef>

namespace fastinfer {

// Lines of [first, last); a last line without a line end counts.
std::size_t count_lines(const char* first, const char* last) noexcept;

// The first position at or after `from` that begins a line (the byte behind a line end, or `last`); `from` itself if it
// is `first` or stands behind a line end. Cuts a file into ranges that end at a line.
const char* find_line_start(const char* first, const char* last, const char* from) noexcept;

}  // namespace fastinfer
