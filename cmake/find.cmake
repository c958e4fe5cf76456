# SPDX-License-Identifier: MIT
# Finds libraries of the machine that is built for, as pkg-config knows them. (CMake's own module
# would leave its entries in the cache of a project that we are part of.)
include(CheckCSourceCompiles)

# Which pkg-config is asked: the one that was named (GATE_PKG_CONFIG, PKG_CONFIG_EXECUTABLE, or
# PKG_CONFIG in the environment), or in a cross build that of the target. The build machine's
# own would answer with its own libraries, unless it was told where the target's are.
if(NOT GATE_PKG_CONFIG AND PKG_CONFIG_EXECUTABLE)
    set(gate_pkg_config ${PKG_CONFIG_EXECUTABLE})
elseif(NOT GATE_PKG_CONFIG AND DEFINED ENV{PKG_CONFIG})
    separate_arguments(gate_pkg_config UNIX_COMMAND "$ENV{PKG_CONFIG}")
else()
    set(names "")
    if(CMAKE_CROSSCOMPILING)
        cmake_path(GET CMAKE_C_COMPILER FILENAME compiler)
        string(REGEX MATCH "^.+-" prefixes "${compiler}") # arm-linux-gnueabihf- of its gcc
        if(CMAKE_C_COMPILER_TARGET)
            list(APPEND prefixes ${CMAKE_C_COMPILER_TARGET}-)
        endif()
        foreach(prefix ${prefixes})
            list(APPEND names ${prefix}pkg-config ${prefix}pkgconf)
        endforeach()
    endif()
    if(NOT CMAKE_CROSSCOMPILING OR DEFINED ENV{PKG_CONFIG_LIBDIR}
            OR DEFINED ENV{PKG_CONFIG_SYSROOT_DIR})
        list(APPEND names pkg-config pkgconf)
    endif()
    find_program(GATE_PKG_CONFIG NAMES ${names} NO_CMAKE_FIND_ROOT_PATH
        DOC "Finds liburing and libseccomp")
    mark_as_advanced(GATE_PKG_CONFIG)
    set(gate_pkg_config ${GATE_PKG_CONFIG})
endif()

function(ask_pkg_config variable)
    execute_process(COMMAND ${gate_pkg_config} ${ARGN} RESULT_VARIABLE status
        OUTPUT_VARIABLE output OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    separate_arguments(output UNIX_COMMAND "${output}")
    set(${variable} "${output}" PARENT_SCOPE)
    set(status "${status}" PARENT_SCOPE)
endfunction()

# gate_find(NAME MODULE AT-LEAST PROGRAM): GATE_HAVE_NAME says whether pkg-config finds the module
# and PROGRAM compiles and links with it, by the flags gate_NAME_cflags and gate_NAME_libs.
function(gate_find name module least program)
    string(TOLOWER ${name} lower)
    set(found OFF)
    set(status 1)
    if(gate_pkg_config)
        ask_pkg_config(libs --libs "${module} >= ${least}")
    endif()
    if(status EQUAL 0)
        ask_pkg_config(cflags --cflags ${module})
        list(TRANSFORM cflags REPLACE "^-I(.+)$" "-isystem\\1") # not ours to warn about
        set(CMAKE_REQUIRED_FLAGS "")
        set(CMAKE_REQUIRED_DEFINITIONS -D_GNU_SOURCE ${cflags})
        set(CMAKE_REQUIRED_LIBRARIES ${libs})
        set(CMAKE_REQUIRED_QUIET ON)
        # It may have been installed since, or somewhere else.
        if(NOT GATE_LINKS_${name} OR NOT GATE_TRIED_${name} STREQUAL "${cflags} ${libs}")
            unset(GATE_LINKS_${name} CACHE)
            set(GATE_TRIED_${name} "${cflags} ${libs}" CACHE INTERNAL "Flags of the last check")
        endif()
        check_c_source_compiles("${program}" GATE_LINKS_${name})
        if(GATE_LINKS_${name})
            set(found ON)
        endif()
    endif()
    set(GATE_HAVE_${name} ${found} PARENT_SCOPE)
    set(gate_${lower}_libs "${libs}" PARENT_SCOPE)
    set(gate_${lower}_cflags "${cflags}" PARENT_SCOPE)
endfunction()

# Some machines have no instructions for atomic 8-byte integers: a library of the compiler's has
# them as functions then.
function(gate_find_atomic)
    set(program "#include <stdatomic.h>
        #include <stdint.h>
        int main(int argc, char **argv)
        {
            static _Atomic uint64_t count;
            (void)argv;
            return (int)(atomic_fetch_add(&count, (uint64_t)argc) + atomic_load(&count));
        }")
    set(CMAKE_REQUIRED_QUIET ON)
    check_c_source_compiles("${program}" GATE_LINKS_ATOMICS)
    set(gate_atomic_libs "" PARENT_SCOPE)
    if(NOT GATE_LINKS_ATOMICS)
        set(CMAKE_REQUIRED_LIBRARIES atomic)
        check_c_source_compiles("${program}" GATE_LINKS_LIBATOMIC)
        if(NOT GATE_LINKS_LIBATOMIC)
            message(FATAL_ERROR "This machine needs libatomic, which comes with the compiler")
        endif()
        set(gate_atomic_libs -latomic PARENT_SCOPE)
    endif()
endfunction()
