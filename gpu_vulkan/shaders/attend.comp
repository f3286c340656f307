#version 460
#extension GL_GOOGLE_include_directive : require

// Attention for every device.

#include "gpu_vulkan/shaders/attend.glsl"
