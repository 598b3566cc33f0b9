module image_to_video

go 1.24

require cogvideox v0.1.0

replace cogvideox v0.1.0 => ../../../bindings/go
