# csrc/status.h as Cython sees it.

cdef extern from "status.h" namespace "fastinfer" nogil:
    cdef enum class Code(int):
        ok
        output_full
        expected_number
        empty_cell
        unequal_line
        not_plain

    cdef struct Status:
        Code code
        size_t position
