# kvault_add_tests(<kind> [TIMEOUT <seconds>] [FIXTURE <of ctest, that every case needs>])
#
# Builds tests/<kind>/**/*.cpp into one doctest executable, kvault_<kind>_tests, and makes every
# test case one ctest entry labelled <kind>; a case named "short: ..." is labelled <kind>_short too.
# The cases are listed when ctest starts, so a new case needs no new configure.
# Backends add variables to their environment: global property KVAULT_TEST_ENVIRONMENT.
# Tests in tests/<kind>/<part>/ belong to the part and are left out with it; a backend is a part.

function(kvault_add_tests kind)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "TIMEOUT;FIXTURE" "")
  set(folder "${PROJECT_SOURCE_DIR}/tests/${kind}")
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${folder}/*.cpp")
  file(GLOB backends RELATIVE "${folder}" CONFIGURE_DEPENDS "${folder}/gpu_*")
  foreach(part IN ITEMS sdk daemon tools ${backends})
    set(tests_of_part ${sources})
    list(FILTER tests_of_part INCLUDE REGEX "/tests/${kind}/${part}/")
    if(tests_of_part AND NOT TARGET kvault_${part})
      list(REMOVE_ITEM sources ${tests_of_part})
      kvault_left_out("tests/${kind}/${part}" "${part} is not part of this build")
    endif()
  endforeach()
  if(NOT sources OR NOT TARGET kvault_core)
    return()
  endif()
  set(target kvault_${kind}_tests)
  add_executable(${target} ${sources} "${PROJECT_SOURCE_DIR}/tests/support/doctest_main.cpp")
  target_link_libraries(${target} PRIVATE doctest::doctest "$<BUILD_INTERFACE:kvault_options>")
  list(TRANSFORM backends PREPEND kvault_)
  foreach(library IN ITEMS kvault_bench_parts kvault_tools kvault_daemon kvault_sdk kvault_wire
                           ${backends} kvault_backends kvault_core)
    if(TARGET ${library})
      target_link_libraries(${target} PRIVATE ${library})
    endif()
  endforeach()
  target_compile_definitions(
    ${target}
    PRIVATE KVAULT_TEST_KVAULTD="${PROJECT_BINARY_DIR}/daemon/kvaultd"
            KVAULT_TEST_KVAULT="${PROJECT_BINARY_DIR}/tools/kvault"
            KVAULT_TEST_BENCH="${PROJECT_BINARY_DIR}/tools/kvault-bench"
            KVAULT_TEST_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
            KVAULT_TEST_SHARED_DIR="${PROJECT_SOURCE_DIR}/../shared")
  if(kind STREQUAL "e2e")
    foreach(program IN ITEMS kvaultd kvault_cli kvault_bench)
      if(TARGET ${program})
        add_dependencies(${target} ${program})
      endif()
    endforeach()
  endif()

  get_property(environment GLOBAL PROPERTY KVAULT_TEST_ENVIRONMENT)
  set(include_file "${CMAKE_CURRENT_BINARY_DIR}/${target}_cases.cmake")
  file(GENERATE OUTPUT "${include_file}" CONTENT
"set(KVAULT_TEST_NAME [==[${target}]==])
set(KVAULT_TEST_PROGRAM [==[$<TARGET_FILE:${target}>]==])
set(KVAULT_TEST_KIND ${kind})
set(KVAULT_TEST_TIMEOUT ${arg_TIMEOUT})
set(KVAULT_TEST_FIXTURE ${arg_FIXTURE})
set(KVAULT_TEST_ENVIRONMENT [==[${environment}]==])
include([==[${PROJECT_SOURCE_DIR}/cmake/KvaultListTests.cmake]==])
")
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES "${include_file}")
endfunction()
