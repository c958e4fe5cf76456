# SPDX-License-Identifier: MIT
# GATE_HAVE_URING says whether the io_uring backend is built: liburing is there, as pkg-config finds
# it. (CMake's own module would leave its entries in the cache of a project that we are part of.)
set(GATE_HAVE_URING OFF)
set(gate_uring_libs "")
find_program(GATE_PKG_CONFIG NAMES pkg-config pkgconf DOC "Finds liburing and libseccomp")
mark_as_advanced(GATE_PKG_CONFIG)

function(ask_pkg_config variable)
    execute_process(COMMAND ${GATE_PKG_CONFIG} ${ARGN} RESULT_VARIABLE status
        OUTPUT_VARIABLE output OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    separate_arguments(output UNIX_COMMAND "${output}")
    set(${variable} "${output}" PARENT_SCOPE)
    set(status ${status} PARENT_SCOPE)
endfunction()

if(NOT GATE_URING STREQUAL "OFF" AND GATE_PKG_CONFIG)
    ask_pkg_config(gate_uring_libs --libs "liburing >= 2.3")
    if(status EQUAL 0)
        set(GATE_HAVE_URING ON)
        set(gate_pc_requires liburing)
        ask_pkg_config(gate_uring_cflags --cflags liburing)
    endif()
endif()
if(GATE_URING STREQUAL "ON" AND NOT GATE_HAVE_URING)
    message(FATAL_ERROR "GATE_URING is ON, but pkg-config finds no liburing of 2.3 or later")
endif()
