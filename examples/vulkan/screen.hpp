// As much of Vulkan 1.3 as it takes to draw a texture without a window. The frames of a video lie in
// a mapped buffer; each is copied into a texture, drawn, and read back.
#ifndef EXAMPLE_SCREEN_HPP
#define EXAMPLE_SCREEN_HPP

#include <vulkan/vulkan.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

class Screen {
public:
    // For `frames` frames of width × height pixels of 4 bytes. Throws std::runtime_error.
    Screen(std::uint32_t width, std::uint32_t height, std::uint32_t frames);
    ~Screen();
    Screen(const Screen &) = delete;
    Screen &operator=(const Screen &) = delete;

    // The name of the GPU, or of the program that plays one.
    const std::string &device() const { return device_name_; }

    // Mapped memory that frames go to, and the bytes from one of them to the next.
    void *frames() const { return upload_.mapped; }
    std::size_t size() const { return frame_stride_ * frames_; }
    std::size_t frame_stride() const { return frame_stride_; }

    // Draws a frame of that memory, and returns what was drawn: height rows of width pixels R, G, B, A.
    std::vector<std::uint8_t> draw(std::uint32_t frame);

private:
    struct Buffer {
        VkBuffer buffer = VK_NULL_HANDLE;
        VkDeviceMemory memory = VK_NULL_HANDLE;
        void *mapped = nullptr;
    };
    struct Image {
        VkImage image = VK_NULL_HANDLE;
        VkDeviceMemory memory = VK_NULL_HANDLE;
        VkImageView view = VK_NULL_HANDLE;
    };

    void choose_device();
    VkDeviceMemory allocate(const VkMemoryRequirements &needs, VkMemoryPropertyFlags wanted);
    Buffer mapped_buffer(VkDeviceSize size, VkBufferUsageFlags usage);
    Image image(VkImageUsageFlags usage);
    VkShaderModule shader(const std::uint32_t *code, std::size_t size);
    void make_pipeline();
    void move(VkImage image, VkImageLayout from, VkImageLayout to);

    std::uint32_t width_, height_, frames_;
    std::size_t frame_stride_;
    std::string device_name_;
    VkInstance instance_ = VK_NULL_HANDLE;
    VkPhysicalDevice physical_ = VK_NULL_HANDLE;
    std::uint32_t family_ = 0;
    VkDevice device_ = VK_NULL_HANDLE;
    VkQueue queue_ = VK_NULL_HANDLE;
    VkCommandPool pool_ = VK_NULL_HANDLE;
    VkCommandBuffer commands_ = VK_NULL_HANDLE;
    VkFence done_ = VK_NULL_HANDLE;
    Buffer upload_, readback_;
    Image texture_, target_;
    VkSampler sampler_ = VK_NULL_HANDLE;
    VkDescriptorSetLayout set_layout_ = VK_NULL_HANDLE;
    VkDescriptorPool set_pool_ = VK_NULL_HANDLE;
    VkDescriptorSet set_ = VK_NULL_HANDLE;
    VkPipelineLayout layout_ = VK_NULL_HANDLE;
    VkPipeline pipeline_ = VK_NULL_HANDLE;
};

#endif
