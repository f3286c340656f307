# Read by ctest, once per test executable: one entry per doctest case. See KvaultTest.cmake.

if(NOT EXISTS "${KVAULT_TEST_PROGRAM}")
  add_test(${KVAULT_TEST_NAME}_NOT_BUILT "${KVAULT_TEST_PROGRAM}")
  set_tests_properties(${KVAULT_TEST_NAME}_NOT_BUILT PROPERTIES LABELS ${KVAULT_TEST_KIND})
  return()
endif()
execute_process(
  COMMAND "${KVAULT_TEST_PROGRAM}" --list-test-cases --no-version --no-colors
  OUTPUT_VARIABLE listing
  RESULT_VARIABLE status)
if(NOT status EQUAL 0)
  add_test(${KVAULT_TEST_NAME}_CANNOT_LIST_ITS_CASES "${KVAULT_TEST_PROGRAM}" --list-test-cases)
  set_tests_properties(${KVAULT_TEST_NAME}_CANNOT_LIST_ITS_CASES PROPERTIES LABELS
                       ${KVAULT_TEST_KIND})
  return()
endif()

# Characters that mean something to a CMake list are shown in another shape and matched by '?'.
string(REPLACE "[" "(" listing "${listing}")
string(REPLACE "]" ")" listing "${listing}")
string(REPLACE ";" ":" listing "${listing}")
string(REPLACE "\\" "/" listing "${listing}")
string(REGEX MATCHALL "[^\n]+" lines "${listing}")
foreach(line IN LISTS lines)
  if(line MATCHES "^====" OR line MATCHES "^.doctest. ")
    continue()
  endif()
  string(REGEX REPLACE "[(),:/\"]" "?" filter "${line}")
  set(name "${KVAULT_TEST_KIND}: ${line}")
  set(labels "${KVAULT_TEST_KIND}")
  if(line MATCHES "^short:")
    list(APPEND labels "${KVAULT_TEST_KIND}_short")
  endif()
  add_test("${name}" "${KVAULT_TEST_PROGRAM}" "--test-case=${filter}" --no-version)
  set_tests_properties("${name}" PROPERTIES LABELS "${labels}" TIMEOUT "${KVAULT_TEST_TIMEOUT}"
                                            SKIP_RETURN_CODE 77
                                            ENVIRONMENT "${KVAULT_TEST_ENVIRONMENT}"
                                            FIXTURES_REQUIRED "${KVAULT_TEST_FIXTURE}")
endforeach()
