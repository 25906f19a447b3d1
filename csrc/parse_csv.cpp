// CSV text to float32, one byte at a time: the reference. parse_csv.h states limits and rules.
#include "parse_csv.h"

#include <algorithm>

#include "read_number.h"

namespace fastinfer {
namespace {

bool is_blank(char byte) noexcept { return byte == ' ' || byte == '\t'; }
bool is_line_end(char byte) noexcept { return byte == '\n' || byte == '\r'; }

const char* skip_line_end(const char* p, const char* last) noexcept {
  return p + (*p == '\r' && last - p > 1 && p[1] == '\n' ? 2 : 1);
}

}  // namespace

Status parse_csv(const char* first, const char* last, const CsvOptions& options, CsvState& state, float* out,
                 std::size_t capacity, std::size_t& written) noexcept {
  const char* p = first + state.position;
  const auto stop = [&](Code code, const char* at) noexcept {
    state.position = static_cast<std::size_t>(at - first);
    return Status{code, state.position};
  };
  const auto is_comment = [&](char byte) noexcept { return byte == options.comment && options.comment != '\0'; };
  const auto skip_comment = [&](const char* at) noexcept {
    return at != last && is_comment(*at) ? std::find_if(at, last, is_line_end) : at;
  };

  for (std::size_t room = capacity;;) {
    // A comma must be followed by a cell; at the start of a line it may be blank, a comment, or the end.
    p = std::find_if_not(p, last, is_blank);
    if (state.cells == 0) {
      const char* line_end = skip_comment(p);
      if (line_end == last) return stop(Code::ok, last);
      if (is_line_end(*line_end)) {
        p = skip_line_end(line_end, last);
        continue;
      }
    }
    if (room == 0) return stop(Code::output_full, p);
    if (state.columns != 0 && state.cells == state.columns) return stop(Code::unequal_line, p);

    const char* end =
        std::find_if(p, last, [&](char byte) noexcept { return byte == ',' || is_line_end(byte) || is_comment(byte); });
    const char* cell_end = end;
    while (cell_end != p && is_blank(cell_end[-1])) --cell_end;
    float value = options.missing;
    if (cell_end == p) {
      if (!options.has_missing) return stop(Code::empty_cell, p);
    } else if (!read_number(p, cell_end, value)) {
      return stop(Code::expected_number, p);
    }
    *out++ = value;
    --room;
    ++written;
    ++state.cells;

    if (end != last && *end == ',') {
      p = end + 1;
      continue;
    }
    if (state.columns != 0 && state.cells != state.columns) return stop(Code::unequal_line, end);
    state.columns = state.cells;
    state.cells = 0;
    end = skip_comment(end);
    p = end == last ? last : skip_line_end(end, last);
  }
}

}  // namespace fastinfer
