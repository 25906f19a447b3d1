// What the targets of parse_csv share: the position in text, output and line, and the loop around the cells that a
// target knows. It has internal linkage, because each target compiles it for another CPU.
#pragma once

#include <cstddef>
#include <cstring>

#include "parse_csv.h"

namespace fastinfer {
namespace {

// How far after the beginning of a cell a target may read.
constexpr std::ptrdiff_t kAhead = 128;

// `p` is the beginning of a cell.
struct Reader {
  const char* p;
  float* out;
  std::size_t room;  // floats that may be written at `out`
  std::size_t cells;
  std::size_t columns;

  // How many cells may be taken before the output is full or the line is as long as the first one.
  std::size_t limit() const noexcept {
    const std::size_t left = columns - cells;
    return columns != 0 && left < room ? left : room;
  }
  void take(std::size_t count) noexcept {
    out += count;
    room -= count;
    cells += count;
  }
  // Moves after the terminator of the last of `count` cells that were written to `out`; false (and nothing changes) if
  // that is not a comma or a line end where one is expected.
  bool take_with_end(const char* end, std::size_t count) noexcept {
    if (*end == ',') {
      p = end + 1;
      take(count);
      return true;
    }
    if ((*end != '\n' && *end != '\r') || (columns != 0 && cells + count != columns)) return false;
    take(count);
    columns = cells;
    cells = 0;
    p = end + (end[0] == '\r' && end[1] == '\n' ? 2 : 1);
    return true;
  }
};

// read_cells(reader, first, stop) reads cells while they begin before `stop` and are of a form that it knows; it may
// read from `first` to kAhead bytes after `stop`. Everything else is left to the scalar reference.
using ReadCells = void (*)(Reader& reader, const char* first, const char* stop);

template <ReadCells read_cells>
Status parse_csv_with(const char* first, const char* last, const CsvOptions& options, CsvState& state, float* out,
                      std::size_t capacity, std::size_t& written) noexcept {
  Reader reader = {first + state.position, out, capacity, state.cells, state.columns};
  for (;;) {
    if (last - reader.p >= kAhead) read_cells(reader, first, last - kAhead + 1);
    if (last - reader.p < kAhead && reader.p != last) {
      // The end of the input is read from a copy, followed by a line end, so that nothing after the input is touched.
      char copy[16 + 2 * kAhead] = {};
      char* const begin = copy + 16;
      const char* const origin = reader.p;
      const std::ptrdiff_t size = last - origin;
      std::memcpy(begin, origin, static_cast<std::size_t>(size));
      begin[size] = '\n';
      reader.p = begin;
      read_cells(reader, copy, begin + size);
      const std::ptrdiff_t used = reader.p - begin;
      reader.p = origin + (used < size ? used : size);
    }
    // After any stop: one cell, the end, or an error, by the reference.
    state = {static_cast<std::size_t>(reader.p - first), reader.cells, reader.columns};
    std::size_t one = 0;
    const Status status = parse_csv(first, last, options, state, reader.out, reader.room != 0, one);
    reader = {first + state.position, reader.out + one, reader.room - one, state.cells, state.columns};
    if (status.code != Code::output_full || reader.room == 0) {
      written += static_cast<std::size_t>(reader.out - out);
      return status;
    }
  }
}

}  // namespace
}  // namespace fastinfer
