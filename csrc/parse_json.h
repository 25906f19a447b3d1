// JSON's lists of numbers to float32: the contract.
//
// A body is a rectangle: lists of equal length at every depth, with numbers in the innermost ones, as NumPy makes an
// array of it. Grammar and values are those of Python's json.loads, rounded to double and then to float32: NaN,
// Infinity and -Infinity are numbers, `true` is 1 and `false` 0; overflow gives an infinity. Everything else is
// `not_plain` and left to the caller, who asks the json module what is wrong with it, or whether it is right after all:
// text, null, objects, lists of unequal length or without items, a number outside of lists, more than kMostDepth lists
// in each other, and integers of more than 15 digits, which Python rounds once where they are read through a double
// twice.
//
// A body may be read in several calls, into one output buffer after another: JsonState holds the state between them.
#pragma once

#include <cstddef>

#include "status.h"

namespace fastinfer {

constexpr std::size_t kMostDepth = 32;  // of an array of NumPy

struct JsonState {
  std::size_t position = 0;  // byte offset of the next unread byte
  std::size_t depth = 0;     // lists that are open
  std::size_t leaf = 0;      // the depth of numbers; 0 until the first one
  bool has_value = false;    // whether a value was just read, so that a comma or the end of its list follows
  std::size_t items[kMostDepth + 1] = {};  // of the list that is open, or was last closed, at each depth from 1
  std::size_t sizes[kMostDepth + 1] = {};  // of all lists at each depth; 0 until the first one has ended
};

// Before the first call all of `state` is 0; between calls only the kernel changes it.
//
// Reads numbers of [first, last) from state.position on into out[0 .. capacity), and adds their number to `written`.
// `ok`: the body is whole and read. `output_full`: the next byte begins a number for which there is no room.
// `not_plain`: position is where that was seen; the numbers before it are written. Reads no byte outside [first, last),
// writes no float outside out[0 .. capacity), allocates nothing.
Status parse_json(const char* first, const char* last, JsonState& state, float* out, std::size_t capacity,
                  std::size_t& written) noexcept;

// Reads lines of [first, last), from byte `position` on, where a line begins, each of which is a body of `row_values`
// numbers; blank lines are passed over. A line is read whole or not at all: `position` and `written` are then behind
// the last whole one, and `lines` is increased by the lines before `position`. `ok`: all are read. `output_full`: a
// line has no room. `not_plain`: the line at `position` is not plain, or not of `row_values`.
Status parse_json_lines(const char* first, const char* last, std::size_t row_values, std::size_t position, float* out,
                        std::size_t capacity, std::size_t& written, std::size_t& lines) noexcept;

}  // namespace fastinfer
