// What a kernel returns when it stops: a code and the byte at which it stopped.
//
// The caller computes line, column and message, and only when an error is raised.
// fastinfer/codecs/csv_errors.py has the one table that turns codes into errors; a test compares the two.
#pragma once

#include <cstddef>

namespace fastinfer {

enum class Code : int {
  ok = 0,               // all input was read
  output_full = 1,      // no error: the output has no room for the next cell; run the model, call again
  expected_number = 2,  // a cell that is not a number: text, quotes, a header
  empty_cell = 3,       // nothing between two commas, or after the last one
  unequal_line = 4,     // a line with another number of cells than the first
  not_plain = 5,        // JSON that is no rectangle of plain numbers; the json module decides
};

struct Status {
  Code code;
  std::size_t position;  // byte offset from `first`; for an error the first byte of the wrong cell (or line end)
};

}  // namespace fastinfer
