package main

import (
	"crypto/rand"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sync"

	"cogvideox"
)

// store keeps the newest videos as files in a folder of its own.
type store struct {
	folder string
	keep   int

	mu    sync.Mutex
	names []string // the oldest first
}

func newStore(keep int) (*store, error) {
	folder, err := os.MkdirTemp("", "cogvideox-service-")
	if err != nil {
		return nil, err
	}
	return &store{folder: folder, keep: keep}, nil
}

func (s *store) path(name string) string { return filepath.Join(s.folder, name) }

// put saves a video under a name that nobody can guess.
func (s *store) put(video *cogvideox.Video, fps float64) (string, error) {
	name := rand.Text()
	for _, ending := range []string{".mp4", ".gif"} {
		if err := video.Save(0, s.path(name+ending), fps); err != nil {
			s.remove(name)
			return "", err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names = append(s.names, name)
	for len(s.names) > s.keep {
		s.remove(s.names[0])
		s.names = s.names[1:]
	}
	return name, nil
}

func (s *store) remove(name string) {
	os.Remove(s.path(name + ".mp4"))
	os.Remove(s.path(name + ".gif"))
}

var videoFile = regexp.MustCompile(`^[A-Z2-7]+\.(mp4|gif)$`)

func (s *store) serve(w http.ResponseWriter, r *http.Request) {
	file := r.PathValue("file")
	if !videoFile.MatchString(file) {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", map[string]string{".mp4": "video/mp4", ".gif": "image/gif"}[filepath.Ext(file)])
	w.Header().Set("Cache-Control", "private, max-age=3600, immutable")
	http.ServeFile(w, r, s.path(file))
}

func (s *store) close() { os.RemoveAll(s.folder) }
