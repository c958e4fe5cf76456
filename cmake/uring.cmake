# SPDX-License-Identifier: MIT
# GATE_HAVE_URING says whether the io_uring backend is built: liburing is there.
set(GATE_HAVE_URING OFF)
set(gate_uring_libs "")
if(NOT GATE_URING STREQUAL "OFF")
    gate_find(URING liburing 2.3 "#include <liburing.h>
        int main(void)
        {
            struct io_uring ring;
            return io_uring_queue_init(1, &ring, IORING_SETUP_DEFER_TASKRUN);
        }")
endif()
if(GATE_HAVE_URING)
    set(gate_pc_requires liburing)
elseif(GATE_URING STREQUAL "ON")
    message(FATAL_ERROR "GATE_URING is ON, but pkg-config finds no liburing of 2.3 or later that "
        "this compiler links with")
endif()
