// What a kernel says when it stops: a code and the byte it stopped at.
//
// Line, column and the words of a message are worked out by the caller, and only when an error is raised.
// fastinfer/kernels.py holds the one table that turns codes into errors; a test compares the two.
#pragma once

#include <cstddef>

namespace fastinfer {

enum class Code : int {
  ok = 0,               // all input was read
  output_full = 1,      // no error: the output has no room for the next cell; run the model, call again
  expected_number = 2,  // a cell that is not a number: text, quotes, a header
  empty_cell = 3,       // nothing between two commas, or after the last one
  unequal_line = 4,     // a line with another number of cells than the first
};

struct Status {
  Code code;
  std::size_t position;  // byte offset from `first`; for an error the first byte of the cell (or line end) at fault
};

}  // namespace fastinfer
