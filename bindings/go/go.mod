module cogvideox

go 1.24
