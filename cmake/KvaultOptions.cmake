# How everything is compiled: language level, warnings, visibility, sanitizers, ccache.
# Targets take it by linking kvault_options PRIVATE; it never reaches an installed target.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 99)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Kind of build" FORCE)
endif()

find_program(KVAULT_CCACHE ccache)
mark_as_advanced(KVAULT_CCACHE)
if(KVAULT_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # The sloppiness is what ccache asks for to cache sources that use a precompiled header.
  set(launcher "${CMAKE_COMMAND}" -E env CCACHE_SLOPPINESS=pch_defines,time_macros
               "${KVAULT_CCACHE}")
  set(CMAKE_C_COMPILER_LAUNCHER ${launcher})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${launcher})
endif()

add_library(kvault_options INTERFACE)
target_include_directories(kvault_options INTERFACE "${PROJECT_SOURCE_DIR}")
target_compile_definitions(kvault_options INTERFACE KVAULT_VERSION_STRING="${PROJECT_VERSION}")

# CUDA sources are compiled by nvcc, which has its own words for all of this.
set(host "$<COMPILE_LANGUAGE:C,CXX>")
target_compile_options(
  kvault_options
  INTERFACE "$<${host}:-Wall;-Wextra;-Wpedantic;-Wshadow;-Wconversion;-Wno-sign-conversion>"
            # One rounding per operation: bits do not depend on what a compiler chose to fuse.
            "$<${host}:-ffp-contract=off;-fno-math-errno>")
if(KVAULT_WARNINGS_AS_ERRORS)
  target_compile_options(kvault_options INTERFACE "$<${host}:-Werror>")
endif()

if(KVAULT_SANITIZE)
  # Directory-wide, not in kvault_options: every object and every link must agree on it.
  add_compile_options(
    "$<${host}:-fsanitize=${KVAULT_SANITIZE};-fno-sanitize-recover=all>")
  add_link_options("-fsanitize=${KVAULT_SANITIZE}")
  # gcc sees through instrumented code badly and warns of what is not there; the plain build warns.
  target_compile_options(
    kvault_options INTERFACE "$<${host}:-Wno-maybe-uninitialized;-Wno-stringop-overflow>")
endif()

# One line for everything a build goes without; `./dev` repeats these lines.
function(kvault_left_out what why)
  message(STATUS "kvault: left out: ${what}: ${why}")
endfunction()
