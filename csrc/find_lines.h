// Line ends in a buffer: the contract. A line ends with LF, CRLF or a lone CR. Quotes have no meaning.
#pragma once

#include <cstddef>

namespace fastinfer {

// Lines of [first, last); a last line without a line end counts.
std::size_t count_lines(const char* first, const char* last) noexcept;

// The first position at or after `from` that begins a line (the byte after a line end, or `last`); `from` itself if it
// is `first` or follows a line end. Cuts a file into ranges that end at a line.
const char* find_line_start(const char* first, const char* last, const char* from) noexcept;

}  // namespace fastinfer
