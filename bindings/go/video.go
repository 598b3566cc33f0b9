package cogvideox

// #include <cogvideox.h>
import "C"

// Video is what a run made: one or several videos of the same size, as frames or as latents.
// Made by [Pipeline.Generate], [Pipeline.DecodeLatents] and [Job.Video].
type Video struct {
	closer[*C.cvx_video]
}

func newVideo(ptr *C.cvx_video) *Video {
	v := &Video{}
	open(&v.closer, v, "Video", ptr, func(ptr *C.cvx_video) { C.cvx_video_free(ptr) })
	return v
}

// Close frees the video and every view of its memory. It never fails.
func (v *Video) Close() error {
	v.close()
	return nil
}

// Count is how many videos the run made.
func (v *Video) Count() int {
	ptr := v.h.acquire("Count")
	defer v.h.release()
	return int(C.cvx_video_count(ptr))
}

// NumFrames is the frames of each video; 0 if the run ended with latents.
func (v *Video) NumFrames() int {
	ptr := v.h.acquire("NumFrames")
	defer v.h.release()
	return int(C.cvx_video_num_frames(ptr))
}

// Width in pixels; 0 if the run ended with latents.
func (v *Video) Width() int {
	ptr := v.h.acquire("Width")
	defer v.h.release()
	return int(C.cvx_video_width(ptr))
}

// Height in pixels; 0 if the run ended with latents.
func (v *Video) Height() int {
	ptr := v.h.acquire("Height")
	defer v.h.release()
	return int(C.cvx_video_height(ptr))
}

// Kernels is what computed the video, such as "libtorch 2.11.0 on the CPU for AVX512, with oneDNN, 2
// threads": where it is the same, the same options give the same bytes on the CPU.
func (v *Video) Kernels() string {
	ptr := v.h.acquire("Kernels")
	defer v.h.release()
	return C.GoString(C.cvx_video_kernels(ptr))
}

// Save writes one video, from 0, to a file; what it becomes follows from the path's ending:
// .mp4 (H.264), .gif (animated, endless), or .png (a file per frame: "name.png" becomes
// name_0000.png and so on, and a pattern such as "name-%04d.png" says where the number goes).
// fps is frames per second, above 0 and up to 240; see [Pipeline.DefaultFPS]. A file that is
// there already is replaced; a failure leaves no half-written file.
//
// Errors: [ErrInvalidUTF8], [ErrInvalidArgument] (ending, fps, index, no frames), [ErrNotFound]
// (the parent folder), [ErrIO].
func (v *Video) Save(index int, path string, fps float64) error {
	ptr := v.h.acquire("Save")
	defer v.h.release()
	number, err := toInt32("index", index)
	if err != nil {
		return err
	}
	return withText("path", path, func(path *C.char) error {
		return takeError(C.cvx_video_save(ptr, number, path, C.double(fps)))
	})
}

// CheckPath says whether [Video.Save] could write to path at fps, as far as that can be told
// before there is a video. Worth asking before a long run.
//
// Errors: [ErrInvalidUTF8], [ErrInvalidArgument], [ErrNotFound].
func CheckPath(path string, fps float64) error {
	return withText("path", path, func(path *C.char) error {
		return takeError(C.cvx_video_check_path(path, C.double(fps)))
	})
}

// SaveContactSheet writes one .png picture to compare videos by eye: a row for the first video
// of each of videos, with columns frames of it, evenly spaced from its first to its last. The
// videos must have one size.
//
// Errors: [ErrInvalidUTF8], [ErrInvalidArgument] (no videos, sizes that differ, no frames, too
// large a sheet, ending), [ErrNotFound] (the parent folder), [ErrIO].
func SaveContactSheet(videos []*Video, columns int, path string) error {
	number, err := toInt32("columns", columns)
	if err != nil {
		return err
	}
	pointers := make([]*C.cvx_video, max(1, len(videos)))
	for i, v := range videos {
		pointers[i] = v.h.acquire("SaveContactSheet")
		defer v.h.release()
	}
	return withText("path", path, func(path *C.char) error {
		return takeError(C.cvx_video_save_contact_sheet(
			&pointers[0], C.size_t(len(videos)), number, path))
	})
}
