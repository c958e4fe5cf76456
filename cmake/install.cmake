# SPDX-License-Identifier: MIT
# Install rules; the programs add themselves in cli/.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# Each kind has target files of its own, so that a distribution can put it into its own package.
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/libgate)
foreach(kind SHARED STATIC)
    if(GATE_${kind})
        string(TOLOWER ${kind} name)
        install(TARGETS gate_${name} EXPORT libgate-${name}
            INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
        install(EXPORT libgate-${name} NAMESPACE gate:: DESTINATION ${package})
    endif()
endforeach()
install(DIRECTORY include/gate DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
    FILES_MATCHING PATTERN "*.h")

configure_package_config_file(cmake/libgateConfig.cmake.in libgateConfig.cmake
    INSTALL_DESTINATION ${package} NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
# Before 1.0 a minor version may break the interface.
write_basic_package_version_file(libgateConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/libgateConfig.cmake
    ${PROJECT_BINARY_DIR}/libgateConfigVersion.cmake DESTINATION ${package})

# With a relative library directory the installed tree can be moved: the prefix is found from where
# the .pc file is. Not so in /usr, whose directories pkg-config leaves out only if it can recognise
# them. Which of the two is wanted is known when it is installed: --prefix may say otherwise.
foreach(dir LIBDIR INCLUDEDIR)
    set(pc_${dir} ${CMAKE_INSTALL_${dir}})
    if(NOT IS_ABSOLUTE "${pc_${dir}}")
        set(pc_${dir} "\${prefix}/${pc_${dir}}")
    endif()
endforeach()
list(JOIN gate_atomic_libs " " pc_libs_private)
string(STRIP "-pthread ${pc_libs_private}" pc_libs_private)
set(pc_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
set(pc_prefix /usr)
configure_file(libgate.pc.in pc/usr/libgate.pc @ONLY)
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
    set(pc_prefix ${CMAKE_INSTALL_PREFIX})
else()
    set(pc_dir "\${CMAKE_INSTALL_PREFIX}/${pc_dir}")
    file(RELATIVE_PATH up /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
    string(REGEX REPLACE "/$" "" up "${up}")
    set(pc_prefix "\${pcfiledir}/${up}")
endif()
configure_file(libgate.pc.in pc/other/libgate.pc @ONLY)
install(CODE "
    set(kind other)
    if(CMAKE_INSTALL_PREFIX STREQUAL \"/usr\")
        set(kind usr)
    endif()
    file(INSTALL \"${PROJECT_BINARY_DIR}/pc/\${kind}/libgate.pc\" DESTINATION \"${pc_dir}\")")

install(FILES LICENSE README.md CHANGELOG.md SECURITY.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
file(GLOB examples CONFIGURE_DEPENDS examples/*.c)
install(FILES ${examples} DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)

if(GATE_PROGRAMS)
    set(GATE_SYSTEMD_UNIT_DIR lib/systemd/system CACHE STRING
        "Where the units of systemd are installed; empty: nowhere")
    set(server ${CMAKE_INSTALL_FULL_BINDIR}/gate-server)
    foreach(unit gate-server.socket gate-server.service)
        configure_file(cli/${unit}.in units/${unit} @ONLY)
        if(GATE_SYSTEMD_UNIT_DIR)
            install(FILES ${PROJECT_BINARY_DIR}/units/${unit} DESTINATION ${GATE_SYSTEMD_UNIT_DIR})
        endif()
    endforeach()
endif()

include(cmake/manual.cmake)
