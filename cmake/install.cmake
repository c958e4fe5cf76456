# SPDX-License-Identifier: MIT
# Install rules; the programs add themselves in cli/.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS gate_shared gate_static EXPORT libgateTargets
    INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY include/gate DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
    FILES_MATCHING PATTERN "*.h")

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/libgate)
configure_package_config_file(cmake/libgateConfig.cmake.in libgateConfig.cmake
    INSTALL_DESTINATION ${package} NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
# Before 1.0 a minor version may break the interface.
write_basic_package_version_file(libgateConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(EXPORT libgateTargets NAMESPACE gate:: DESTINATION ${package})
install(FILES ${PROJECT_BINARY_DIR}/libgateConfig.cmake
    ${PROJECT_BINARY_DIR}/libgateConfigVersion.cmake DESTINATION ${package})

# With a relative library folder the installed tree can be moved: the prefix is found from where the
# .pc file is. Not so in /usr, whose folders pkg-config leaves out only if it can recognise them.
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}" OR CMAKE_INSTALL_PREFIX STREQUAL "/usr")
    set(pc_prefix ${CMAKE_INSTALL_PREFIX})
else()
    file(RELATIVE_PATH up /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
    string(REGEX REPLACE "/$" "" up "${up}")
    set(pc_prefix "\${pcfiledir}/${up}")
endif()
foreach(dir LIBDIR INCLUDEDIR)
    set(pc_${dir} ${CMAKE_INSTALL_${dir}})
    if(NOT IS_ABSOLUTE "${pc_${dir}}")
        set(pc_${dir} "\${prefix}/${pc_${dir}}")
    endif()
endforeach()
configure_file(libgate.pc.in libgate.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/libgate.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

include(cmake/manual.cmake)
