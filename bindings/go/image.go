package cogvideox

// #include <cogvideox.h>
import "C"

import (
	"image"
	"image/draw"
	"reflect"
	"unsafe"
)

// LoadImage reads a .png or .jpeg file, for [GenerateOptions.Image]: alpha is dropped, and a
// photograph is turned the way up that its EXIF data says, which image/jpeg does not do.
//
// Errors: [ErrNotFound], [ErrIO], [ErrInvalidArgument] (another format, a damaged file, a side of
// more than 16384 pixels).
func LoadImage(path string) (*image.NRGBA, error) {
	var loaded *C.cvx_image
	if err := withText("path", path, func(text *C.char) error {
		return takeError(C.cvx_image_load(text, &loaded))
	}); err != nil {
		return nil, err
	}
	defer C.cvx_image_free(loaded)
	var data *C.uint8_t
	var stride C.size_t
	if err := takeError(C.cvx_image_rgb8(loaded, &data, &stride)); err != nil {
		return nil, err
	}
	width, height := int(C.cvx_image_width(loaded)), int(C.cvx_image_height(loaded))
	rgb := unsafe.Slice((*byte)(data), height*int(stride))
	picture := image.NewNRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		row, line := rgb[y*int(stride):], picture.Pix[y*picture.Stride:]
		for x := range width {
			copy(line[4*x:], row[3*x:3*x+3])
			line[4*x+3] = 255
		}
	}
	return picture, nil
}

// SavePNG writes a picture as a .png file, for which image/png would do as well: a file that is there
// already is replaced, whole or not at all. Alpha is dropped.
//
// Errors: [ErrInvalidUTF8], [ErrInvalidArgument] (an empty picture, ending), [ErrNotFound] (the
// parent folder), [ErrIO].
func SavePNG(path string, picture image.Image) error {
	size := picture.Bounds()
	if size.Empty() || size.Dx() > 1<<14 || size.Dy() > 1<<14 {
		return invalid("picture: expected sides of 1 to 16384 pixels, found %d×%d", size.Dx(), size.Dy())
	}
	pixels, stride := bytes4(picture)
	return withText("path", path, func(path *C.char) error {
		return takeError(C.cvx_image_save_png(
			path, unsafe.Pointer(&pixels[0]), C.int32_t(size.Dx()), C.int32_t(size.Dy()), C.size_t(stride), C.CVX_PIXELS_RGBA8))
	})
}

// bytes4 are the pixels of a picture as R, G, B, A with colours that alpha has not darkened, and
// the bytes from row to row; copied only where they lie otherwise.
func bytes4(picture image.Image) (pixels []byte, stride int) {
	size := picture.Bounds()
	switch p := picture.(type) {
	case *image.NRGBA:
		return p.Pix, p.Stride
	case *image.RGBA:
		if p.Opaque() {
			return p.Pix, p.Stride
		}
	case *FrameView:
		return p.Pix, p.Stride
	}
	made := image.NewNRGBA(image.Rect(0, 0, size.Dx(), size.Dy()))
	draw.Draw(made, made.Bounds(), picture, size.Min, draw.Src)
	return made.Pix, made.Stride
}

func (o *GenerateOptions) setImage(c *C.cvx_generate_options) error {
	if o.Image == nil {
		return takeError(C.cvx_generate_options_clear_image(c))
	}
	pixels, stride, err := pictureRows("Image", o.Image)
	if err != nil {
		return err
	}
	size := o.Image.Bounds()
	return takeError(C.cvx_generate_options_set_image(
		c, unsafe.Pointer(&pixels[0]), C.int32_t(size.Dx()), C.int32_t(size.Dy()), C.size_t(stride), C.CVX_PIXELS_RGBA8))
}

func (o *GenerateOptions) setLastImage(c *C.cvx_generate_options) error {
	if o.LastImage == nil {
		return nil
	}
	pixels, stride, err := pictureRows("LastImage", o.LastImage)
	if err != nil {
		return err
	}
	size := o.LastImage.Bounds()
	return takeError(C.cvx_generate_options_set_last_image(
		c, unsafe.Pointer(&pixels[0]), C.int32_t(size.Dx()), C.int32_t(size.Dy()), C.size_t(stride), C.CVX_PIXELS_RGBA8))
}

// pictureRows are the pixels of a checked picture as R, G, B, A, and the bytes from row to row.
func pictureRows(name string, picture image.Image) (pixels []byte, stride int, err error) {
	// A nil pointer in an interface is a mistake of the caller's that would panic far from it.
	if value := reflect.ValueOf(picture); picture == nil || (value.Kind() == reflect.Pointer && value.IsNil()) {
		return nil, 0, invalid("%s: expected an image, found a nil %T", name, picture)
	}
	size := picture.Bounds()
	if size.Empty() || size.Dx() > 1<<14 || size.Dy() > 1<<14 {
		return nil, 0, invalid("%s: expected sides of 1 to 16384 pixels, found %d×%d", name, size.Dx(), size.Dy())
	}
	pixels, stride = bytes4(picture)
	if stride < 4*size.Dx() || len(pixels) < (size.Dy()-1)*stride+4*size.Dx() {
		return nil, 0, invalid("%s: expected %d×%d pixels, found %d bytes in rows of %d", name, size.Dx(), size.Dy(), len(pixels), stride)
	}
	return pixels, stride, nil
}
