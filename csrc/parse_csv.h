// CSV text to float32: the contract. parse_csv.cpp is the scalar reference that every other target must equal.
//
// A cell is what Python's float() reads, without underscores and without white space or digits beyond ASCII, correctly
// rounded to double and then to float32: signs, `.5`, `5.`, exponents, inf, infinity, nan in any case; overflow gives
// an infinity. Spaces and tabs may surround a cell. A line ends at LF, CRLF, a lone CR or the end of the input; a
// line of spaces and tabs alone is blank and skipped. All lines that are not blank have the same number of cells.
//
// A body may be read in several calls, into one output buffer after another: CsvState holds the state between them.
// Records need not end where lines end: only values are counted here.
#pragma once

#include <cstddef>

#include "status.h"

namespace fastinfer {

struct CsvOptions {
  // Everything from this byte to the end of its line is skipped; it may not occur in numbers, blanks or line ends.
  // '\0': no comments.
  char comment = '\0';
  bool has_missing = false;  // whether an empty cell is `missing` instead of an error
  float missing = 0;
};

struct CsvState {
  std::size_t position = 0;  // byte offset of the next unread byte
  std::size_t cells = 0;     // cells read so far of the line of `position`
  std::size_t columns = 0;   // cells of a line; 0 until the first line has ended
};

// Before the first call state.position is 0, where a line begins; between calls only the kernel changes it. The caller
// must skip a byte-order mark.
//
// Reads cells of [first, last) from state.position on into out[0 .. capacity), and adds their number to `written`.
// A cell is read together with the comma or line end after it, so after the last cell of a body state.position is at
// `last` unless blank lines follow; a call with capacity 0 is allowed and reads those.
// On an error, the cells before the wrong one are written and state.position is status.position.
// Reads no byte outside [first, last), writes no float outside out[0 .. capacity), allocates nothing. The content
// of `out` after the last value read is undefined.
Status parse_csv(const char* first, const char* last, const CsvOptions& options, CsvState& state, float* out,
                 std::size_t capacity, std::size_t& written) noexcept;

}  // namespace fastinfer
