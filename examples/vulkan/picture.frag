#version 450
layout(binding = 0) uniform sampler2D frame;
layout(location = 0) in vec2 place;
layout(location = 0) out vec4 colour;

void main() { colour = texture(frame, place); }
