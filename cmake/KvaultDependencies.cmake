# Every library from outside, found once and seen by all folders. The Debian package of each is in
# cmake/packages.txt; nothing is downloaded.

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)

# core
find_package(tl-expected REQUIRED)
find_package(hwy REQUIRED)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)

# sdk. Debian spells the package FlatBuffers; only its headers and flatc are used.
find_package(FlatBuffers REQUIRED)
find_program(KVAULT_FLATC flatc REQUIRED)
pkg_check_modules(SODIUM REQUIRED IMPORTED_TARGET libsodium)

if(KVAULT_DAEMON OR KVAULT_TOOLS)
  find_package(CLI11 REQUIRED)
endif()

if(KVAULT_DAEMON)
  find_package(spdlog REQUIRED)
  pkg_check_modules(LIBUV REQUIRED IMPORTED_TARGET libuv)
  pkg_check_modules(SQLITE3 REQUIRED IMPORTED_TARGET sqlite3)
endif()

if(KVAULT_TOOLS)
  find_package(nlohmann_json REQUIRED)
  find_path(KVAULT_CBLAS_INCLUDE cblas.h REQUIRED PATH_SUFFIXES openblas openblas-pthread)
  find_library(KVAULT_OPENBLAS openblas REQUIRED)
endif()

if(KVAULT_TESTS)
  find_package(doctest REQUIRED)
endif()
