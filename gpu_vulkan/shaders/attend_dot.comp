#version 460
#extension GL_GOOGLE_include_directive : require

// Attention for devices with fast dot products of bytes.

#define KVAULT_DOT
#include "gpu_vulkan/shaders/attend.glsl"
