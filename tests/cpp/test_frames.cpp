// Frames: the same bytes as C gives, chunk by chunk, in the host's memory, for other libraries.
#include "support.hpp"

#include <cstring>
#include <dlpack.h>
#include <fstream>
#include <memory>

TEST(frames_and_latents_are_those_of_c_byte_for_byte) {
    auto pipeline = support::load(support::folder_2b);
    auto options = support::small(2);
    REQUIRE_OK(options.set_num_videos(2));
    const auto video = pipeline.generate(options);
    REQUIRE_OK(video);

    // The same run through C, with the same options.
    cvx_video *c = nullptr;
    cvx_error *error = cvx_pipeline_generate(pipeline.get(), options.get(), &c);
    REQUIRE(error == nullptr);
    const auto expected = cvx::Video::adopt(c);
    CHECK(video->count() == 2 && video->num_frames() == 9);
    CHECK(video->kernels() == cvx_video_kernels(c) && !video->kernels().empty());
    CHECK(video->width() == cvx_video_width(c) && video->height() == cvx_video_height(c));
    for (std::int32_t index = 0; index < 2; ++index) {
        const std::uint8_t *bytes = nullptr;
        const float *floats = nullptr;
        std::size_t stride = 0;
        error = cvx_video_frames_rgb8(c, index, &bytes, &stride);
        REQUIRE(error == nullptr);
        const auto rgb8 = video->frames_rgb8(index);
        REQUIRE_OK(rgb8);
        CHECK(rgb8->size() == 9 && rgb8->channels() == 3 && rgb8->row_stride() == stride);
        CHECK(rgb8->packed().size() == 9 * 32 * 32 * 3);
        CHECK(std::memcmp(rgb8->packed().data(), bytes, rgb8->packed().size_bytes()) == 0);

        error = cvx_video_frames_rgba8(c, index, &bytes, &stride);
        REQUIRE(error == nullptr);
        const auto rgba8 = video->frames_rgba8(index);
        REQUIRE_OK(rgba8);
        CHECK(rgba8->channels() == 4 && rgba8->row_stride() == stride);
        CHECK(std::memcmp(rgba8->packed().data(), bytes, rgba8->packed().size_bytes()) == 0);
        CHECK((*rgba8)[8].pixel(31, 31)[3] == 255);

        error = cvx_video_frames_f32(c, index, &floats, &stride);
        REQUIRE(error == nullptr);
        const auto f32 = video->frames_f32(index);
        REQUIRE_OK(f32);
        CHECK(f32->row_stride() == stride);
        CHECK(std::memcmp(f32->packed().data(), floats, f32->packed().size_bytes()) == 0);
    }
    const float *latents = nullptr;
    std::int64_t shape[5] = {};
    error = cvx_video_latents(c, &latents, shape);
    REQUIRE(error == nullptr);
    const auto own = video->latents();
    REQUIRE_OK(own);
    CHECK(std::memcmp(own->shape.data(), shape, sizeof shape) == 0);
    CHECK(std::memcmp(own->data.data(), latents, own->data.size_bytes()) == 0);
    CHECK_FAILS(video->frames_rgb8(2), cvx::Code::invalid_argument, "");
    CHECK_FAILS(video->frames_f32(-1), cvx::Code::invalid_argument, "");
}

TEST(chunks_arrive_before_the_run_is_over_with_the_finished_bytes) {
    auto pipeline = support::load();
    auto options = support::small(1);
    std::vector<std::uint8_t> collected;
    std::int32_t next = 0;
    int chunks = 0;
    int decode_steps = 0;
    int decode_steps_at_first = -1;
    bool ordered = true;
    REQUIRE_OK(options.set_num_frames(17));
    REQUIRE_OK(options.set_progress_callback([&](const cvx::Progress &progress) {
        decode_steps += progress.stage == cvx::Stage::decode ? 1 : 0;
    }));
    REQUIRE_OK(options.set_frames_callback(
        cvx::Pixels::rgba8, [&](const cvx::FramesChunk &chunk) {
            ordered = ordered && chunk.first_frame == next && chunk.total_frames == 17 &&
                      chunk.video == 0 && chunk.floats().empty();
            next += chunk.num_frames;
            decode_steps_at_first = chunks == 0 ? decode_steps : decode_steps_at_first;
            ++chunks;
            for (const auto frame : chunk.bytes()) {
                for (std::int32_t y = 0; y < frame.height(); ++y) {
                    const auto row = frame.row(y);
                    collected.insert(collected.end(), row.begin(), row.end());
                }
            }
        }));
    const auto video = pipeline.generate(options);
    REQUIRE_OK(video);
    CHECK(ordered && next == 17 && chunks > 1);
    CHECK(decode_steps_at_first < decode_steps);
    const auto frames = video->frames_rgba8();
    REQUIRE_OK(frames);
    CHECK(collected == support::copy<std::uint8_t>(frames->packed()));

    // Floats, stopped by the second chunk.
    int seen = 0;
    REQUIRE_OK(options.set_frames_callback(cvx::Pixels::f32, [&](const cvx::FramesChunk &chunk) {
        const auto first = *chunk.floats().begin();
        const bool in_range = first.row(0)[0] >= 0.0F && first.row(0)[0] <= 1.0F;
        ++seen;
        return in_range && seen < 2 ? cvx::Flow::go_on : cvx::Flow::stop;
    }));
    CHECK_FAILS(pipeline.generate(options), cvx::Code::cancelled, "");
    CHECK(seen == 2);
    REQUIRE_OK(options.set_frames_callback(nullptr));
    CHECK(pipeline.generate(options));
    CHECK(seen == 2);
}

TEST(frames_are_handed_out_and_written_where_they_are_decoded) {
    auto pipeline = support::load();
    auto options = support::small(1);
    std::vector<std::uint8_t> buffer(9 * 32 * 32 * 4, 0xEE);
    std::vector<std::uint16_t> halfs;
    int chunks = 0;
    bool as_told = true;
    const auto check = [&](const cvx::DeviceFramesChunk &chunk) {
        ++chunks;
        as_told = as_told && chunk.device == "cpu" && chunk.stream == nullptr &&
                  chunk.pixels == cvx::Pixels::bgra8 && chunk.num_frames == 9 &&
                  chunk.data == buffer.data() && chunk.row_stride == 128 &&
                  chunk.frame_stride == 4096;
    };
    REQUIRE_OK(options.set_device_frames_callback(cvx::Pixels::rgb8, check));
    REQUIRE_OK(options.set_device_frames_buffer(cvx::Pixels::bgra8, buffer.data(), buffer.size()));
    REQUIRE_OK(options.set_stream(nullptr));
    // On the CPU, where they are not looked at.
    int event = 0;
    REQUIRE_OK(options.set_wait_event(&event));
    REQUIRE_OK(options.set_record_event(&event));
    REQUIRE_OK(options.set_frames_callback(
        cvx::Pixels::rgba16f, [&](const cvx::FramesChunk &chunk) {
            const auto all = chunk.halfs().packed();
            halfs.insert(halfs.end(), all.begin(), all.end());
        }));
    const auto video = pipeline.generate(options);
    REQUIRE_OK(video);
    CHECK(as_told && chunks == 1 && halfs.size() == buffer.size());
    const auto frames = video->frames_rgba8();
    REQUIRE_OK(frames);
    const auto expected = frames->packed();
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < buffer.size(); i += 4) {
        wrong += buffer[i] != expected[i + 2] || buffer[i + 1] != expected[i + 1] ||
                         buffer[i + 2] != expected[i] || buffer[i + 3] != 255 ||
                         halfs[i + 3] != 0x3c00
                     ? std::size_t{1}
                     : std::size_t{0};
    }
    CHECK(wrong == 0);

    REQUIRE_OK(options.set_device_frames_buffer(cvx::Pixels::f32, buffer.data(), buffer.size()));
    CHECK_FAILS(pipeline.generate(options), cvx::Code::invalid_argument, "device frames buffer");
    REQUIRE_OK(options.set_device_frames_buffer(nullptr));
    REQUIRE_OK(options.set_device_frames_callback(
        cvx::Pixels::rgb8, [](const cvx::DeviceFramesChunk &) { return cvx::Flow::stop; }));
    CHECK_FAILS(pipeline.generate(options), cvx::Code::cancelled, "device frames callback");
    REQUIRE_OK(options.set_device_frames_callback(nullptr));
    CHECK(pipeline.generate(options));
}

TEST(frames_go_to_the_hosts_own_memory) {
    auto pipeline = support::load();
    auto options = support::small(1);
    const std::size_t row_stride = 128; // 32 pixels of 3 bytes, and a gap
    const std::size_t frame_stride = row_stride * 32 + 64;
    std::vector<std::uint8_t> buffer(frame_stride * 9, 0xEE);
    REQUIRE_OK(options.set_frames_buffer(cvx::Pixels::rgb8, buffer.data(), buffer.size(),
                                         row_stride, frame_stride));
    const auto video = pipeline.generate(options);
    REQUIRE_OK(video);
    const cvx::Frames<const std::uint8_t> written(buffer.data(), 9, 32, 32, 3, row_stride,
                                                  frame_stride);
    CHECK(written.packed().empty());
    const auto frames = video->frames_rgb8();
    REQUIRE_OK(frames);
    bool same = true;
    for (std::int32_t f = 0; f < 9; ++f) {
        for (std::int32_t y = 0; y < 32; ++y) {
            const auto row = written[f].row(y);
            same = same && std::memcmp(row.data(), (*frames)[f].row(y).data(), row.size()) == 0;
        }
    }
    CHECK(same);
    CHECK(buffer[96] == 0xEE && buffer[row_stride * 32] == 0xEE);

    REQUIRE_OK(options.set_frames_buffer(cvx::Pixels::rgb8, buffer.data(), 100));
    CHECK_FAILS(pipeline.generate(options), cvx::Code::invalid_argument, "");
    REQUIRE_OK(options.set_frames_buffer(nullptr));
    CHECK(pipeline.generate(options));
}

TEST(dlpack_tensors_share_memory_and_outlive_the_video) {
    auto pipeline = support::load();
    auto made = pipeline.generate(support::small(1));
    REQUIRE_OK(made);
    cvx::Video video = *std::move(made);
    const auto expected = support::copy<float>(video.frames_f32()->packed());
    const auto bytes = support::copy<std::uint8_t>(video.frames_rgba8()->packed());
    const auto latents = support::copy<float>(video.latents()->data);
    auto floats = video.frames_dlpack(cvx::Pixels::f32);
    auto rgba = video.frames_dlpack(cvx::Pixels::rgba8);
    auto latent_tensor = video.latents_dlpack();
    REQUIRE_OK(floats);
    REQUIRE_OK(rgba);
    REQUIRE_OK(latent_tensor);
    CHECK_FAILS(video.frames_dlpack(static_cast<cvx::Pixels>(9)), cvx::Code::invalid_argument, "");
    CHECK_FAILS(video.frames_dlpack(cvx::Pixels::f32, 1), cvx::Code::invalid_argument, "");
    CHECK(video.frames_device() == "cpu");
    const auto device = video.device_frames();
    REQUIRE_OK(device);
    CHECK(device->size == expected.size() * sizeof(float) && device->stream == nullptr);
    CHECK(std::memcmp(device->data, expected.data(), device->size) == 0);
    CHECK((*floats)->dl_tensor.data == device->data); // no copy

    video.reset();
    const DLTensor &tensor = (*floats)->dl_tensor;
    CHECK(tensor.ndim == 4 && tensor.shape[0] == 9 && tensor.shape[1] == 32 &&
          tensor.shape[2] == 32 && tensor.shape[3] == 3);
    CHECK(tensor.dtype.code == kDLFloat && tensor.dtype.bits == 32 && tensor.dtype.lanes == 1);
    CHECK(tensor.device.device_type == kDLCPU);
    const auto at = [](const DLTensor &of) {
        return static_cast<const char *>(of.data) + of.byte_offset;
    };
    CHECK(std::memcmp(at(tensor), expected.data(), expected.size() * sizeof(float)) == 0);
    CHECK((*rgba)->dl_tensor.shape[3] == 4 && (*rgba)->dl_tensor.dtype.code == kDLUInt);
    CHECK(std::memcmp(at((*rgba)->dl_tensor), bytes.data(), bytes.size()) == 0);
    CHECK((*latent_tensor)->dl_tensor.ndim == 5);
    CHECK(std::memcmp(at((*latent_tensor)->dl_tensor), latents.data(),
                      latents.size() * sizeof(float)) == 0);

    // A consumer that takes the tensor calls its deleter.
    DLManagedTensor *consumed = rgba->release();
    consumed->deleter(consumed);
}

TEST(frames_may_be_asked_to_stay_on_the_device) {
    auto pipeline = support::load();
    auto options = support::small(1);
    REQUIRE_OK(options.set_frames_on_device(true));
    const auto video = pipeline.generate(options);
    REQUIRE_OK(video);
    CHECK(video->frames_device() == pipeline.device());
    CHECK(video->device_frames());
}

TEST(videos_are_saved) {
    auto pipeline = support::load();
    const auto video = pipeline.generate(support::small(1));
    REQUIRE_OK(video);
    const std::string path = support::temporary("video.mp4");
    REQUIRE_OK(cvx::Video::check_path(path, 8.0));
    REQUIRE_OK(video->save(path, pipeline.default_fps()));
    CHECK(std::ifstream(path, std::ios::ate | std::ios::binary).tellg() > 100);
    std::remove(path.c_str());

    const std::string sheet = support::temporary("sheet.png");
    REQUIRE_OK(cvx::Video::save_contact_sheet({&*video, &*video}, 3, sheet));
    CHECK(std::ifstream(sheet, std::ios::ate | std::ios::binary).tellg() > 100);
    std::remove(sheet.c_str());

    CHECK_FAILS(video->save("video.avi", 8.0), cvx::Code::invalid_argument, "avi");
    CHECK_FAILS(video->save("no/such/folder/video.mp4", 8.0), cvx::Code::not_found, "no/such");
    CHECK_FAILS(video->save(path, 8.0, 3), cvx::Code::invalid_argument, "3");
    CHECK_FAILS(cvx::Video::check_path("video.mp4", 0.0), cvx::Code::invalid_argument, "fps");
    CHECK_FAILS(cvx::Video::save_contact_sheet({}, 3, sheet), cvx::Code::invalid_argument, "");
    CHECK_FAILS(cvx::Video::save_contact_sheet({nullptr}, 3, sheet), cvx::Code::null_argument, "");
}
