# A backend is one folder gpu_<name>/ whose CMakeLists.txt calls
#
#   kvault_add_backend(<name> SOURCES <files> [LIBRARIES <targets>])
#
# and defines, in namespace kvault::<name>,
#
#   Result<std::unique_ptr<Device>> open_device(const DeviceOptions& options);
#   Result<std::vector<DeviceAdapter>> list_adapters();
#
# Adding or deleting the folder is the whole act: nothing else names it. A folder whose toolkit is
# missing calls kvault_left_out(gpu_<name> "<why>") instead.

function(kvault_add_backend name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LIBRARIES")
  if(NOT arg_SOURCES)
    message(FATAL_ERROR "kvault_add_backend(${name}): SOURCES is empty")
  endif()
  add_library(kvault_gpu_${name} STATIC ${arg_SOURCES})
  add_library(kvault::gpu_${name} ALIAS kvault_gpu_${name})
  target_link_libraries(
    kvault_gpu_${name}
    PUBLIC kvault::core
    PRIVATE "$<BUILD_INTERFACE:kvault_options>" ${arg_LIBRARIES})
  set_property(GLOBAL APPEND PROPERTY KVAULT_BACKENDS ${name})
endfunction()

# Writes the explicit table of backends (kvault_backends.hpp/.cpp, target kvault_backends).
function(_kvault_generate_backend_table)
  get_property(names GLOBAL PROPERTY KVAULT_BACKENDS)
  set(KVAULT_BACKEND_DECLARATIONS "")
  set(KVAULT_BACKEND_ENTRIES "")
  set(libraries "")
  foreach(name IN LISTS names)
    string(APPEND KVAULT_BACKEND_DECLARATIONS
           "namespace ${name} {\n"
           "Result<std::unique_ptr<Device>> open_device(const DeviceOptions& options);\n"
           "Result<std::vector<DeviceAdapter>> list_adapters();\n"
           "}\n")
    string(APPEND KVAULT_BACKEND_ENTRIES
           "    {\"${name}\", &${name}::open_device, &${name}::list_adapters},\n")
    list(APPEND libraries kvault_gpu_${name})
  endforeach()
  set(directory "${PROJECT_BINARY_DIR}/generated")
  configure_file("${PROJECT_SOURCE_DIR}/cmake/kvault_backends.hpp.in"
                 "${directory}/kvault_backends.hpp" @ONLY)
  configure_file("${PROJECT_SOURCE_DIR}/cmake/kvault_backends.cpp.in"
                 "${directory}/kvault_backends.cpp" @ONLY)
  add_library(kvault_backends STATIC "${directory}/kvault_backends.cpp")
  add_library(kvault::backends ALIAS kvault_backends)
  target_include_directories(kvault_backends PUBLIC "${directory}")
  target_link_libraries(
    kvault_backends
    PUBLIC kvault::core
    PRIVATE "$<BUILD_INTERFACE:kvault_options>" ${libraries})
  list(JOIN names " " joined)
  message(STATUS "kvault: backends: cpu ${joined}")
endfunction()

function(kvault_add_backends)
  if(NOT TARGET kvault_core)
    return()
  endif()
  file(GLOB folders CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/gpu_*/CMakeLists.txt")
  if(NOT KVAULT_GPU)
    if(folders)
      kvault_left_out("gpu_*" "KVAULT_GPU is off")
    endif()
    set(folders "")
  endif()
  foreach(file IN LISTS folders)
    get_filename_component(folder "${file}" DIRECTORY)
    add_subdirectory("${folder}")
  endforeach()
  if(EXISTS "${PROJECT_SOURCE_DIR}/core/cpu/cpu_device.hpp")
    _kvault_generate_backend_table()
  else()
    kvault_left_out("table of backends" "core/cpu/cpu_device.hpp is missing")
  endif()
endfunction()
