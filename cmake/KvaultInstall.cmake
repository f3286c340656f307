# What `cmake --install` puts where, and how others find it: find_package(kvault), pkg-config.

include(CMakePackageConfigHelpers)

if(TARGET kvault_shared)
  install(
    TARGETS kvault_shared kvault_static
    EXPORT kvaultTargets
    RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}"
    LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
    ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
    FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")

  set(package_directory "${CMAKE_INSTALL_LIBDIR}/cmake/kvault")
  install(EXPORT kvaultTargets NAMESPACE kvault:: DESTINATION "${package_directory}")
  configure_package_config_file(
    "${PROJECT_SOURCE_DIR}/cmake/kvaultConfig.cmake.in" "${PROJECT_BINARY_DIR}/kvaultConfig.cmake"
    INSTALL_DESTINATION "${package_directory}")
  write_basic_package_version_file("${PROJECT_BINARY_DIR}/kvaultConfigVersion.cmake"
                                   COMPATIBILITY SameMajorVersion)
  install(FILES "${PROJECT_BINARY_DIR}/kvaultConfig.cmake"
                "${PROJECT_BINARY_DIR}/kvaultConfigVersion.cmake"
          DESTINATION "${package_directory}")

  # The prefix is found from where kvault.pc lies, so a moved installation still works.
  file(RELATIVE_PATH KVAULT_PC_TO_PREFIX "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
  string(REGEX REPLACE "/$" "" KVAULT_PC_TO_PREFIX "${KVAULT_PC_TO_PREFIX}")
  configure_file("${PROJECT_SOURCE_DIR}/cmake/kvault.pc.in" "${PROJECT_BINARY_DIR}/kvault.pc" @ONLY)
  install(FILES "${PROJECT_BINARY_DIR}/kvault.pc"
          DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
endif()

foreach(program IN ITEMS kvaultd kvault_cli)
  if(TARGET ${program})
    install(TARGETS ${program} RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
  endif()
endforeach()

if(TARGET kvaultd)
  # systemd wants an absolute path, and --prefix may still change it when it is installed.
  set(unit "${PROJECT_BINARY_DIR}/kvaultd.service")
  install(
    CODE "set(KVAULT_FULL_BINDIR \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_BINDIR}\")
configure_file(\"${PROJECT_SOURCE_DIR}/packaging/systemd/kvaultd.service.in\" \"${unit}\" @ONLY)")
  # Not below LIBDIR, which may be lib64 or lib/<triplet>: systemd looks in lib alone.
  install(FILES "${unit}" "${PROJECT_SOURCE_DIR}/packaging/systemd/kvaultd.socket"
          DESTINATION lib/systemd/user)
endif()

# Where bash, zsh, fish and man look below a prefix.
foreach(pair IN ITEMS kvaultd=kvaultd kvault_cli=kvault)
  string(REGEX REPLACE "=.*" "" program "${pair}")
  string(REGEX REPLACE ".*=" "" name "${pair}")
  if(NOT TARGET ${program})
    continue()
  endif()
  set(completions "${PROJECT_SOURCE_DIR}/tools/completions")
  install(FILES "${completions}/${name}.bash" RENAME "${name}"
          DESTINATION "${CMAKE_INSTALL_DATADIR}/bash-completion/completions")
  install(FILES "${completions}/_${name}"
          DESTINATION "${CMAKE_INSTALL_DATADIR}/zsh/site-functions")
  install(FILES "${completions}/${name}.fish"
          DESTINATION "${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d")
  install(FILES "${PROJECT_SOURCE_DIR}/docs/man/${name}.1"
          DESTINATION "${CMAKE_INSTALL_MANDIR}/man1")
endforeach()
