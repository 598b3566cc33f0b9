package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"

	"cogvideox"
)

// store keeps the video, its metadata and the last preview, and then says in the record that the
// job is done. Objects are named by the attempt, so that two who store at once do not mix; the
// record decides which of them is the result, and the other takes its objects back.
func (a *attempt) store(ctx context.Context, clone *cogvideox.Pipeline, video *cogvideox.Video, took time.Duration, preview []byte) error {
	fps := clone.DefaultFPS()
	mp4, err := video.EncodeBytes(0, "mp4", fps)
	if err != nil {
		return err
	}
	stats, err := clone.CacheStats()
	if err != nil {
		return err
	}
	speedUp := stats.PredictedSpeedUp()
	stats.Close()
	sum := sha256.Sum256(mp4)
	name := a.order.ID + "." + a.claim
	r := &result{
		Video: name + ".mp4", Metadata: name + ".json", Bytes: len(mp4), SHA256: hex.EncodeToString(sum[:]),
		Width: video.Width(), Height: video.Height(), Frames: video.NumFrames(), FPS: fps,
		Seed: *a.order.Request.Seed, Seconds: took.Seconds(), SpeedUp: speedUp,
	}
	if preview != nil {
		r.Preview = name + ".jpg"
	}
	metadata, err := json.MarshalIndent(map[string]any{
		"id": a.order.ID, "request": a.order.Request, "result": r, "model": a.model, "worker": a.config.name,
		"device": a.device.state.Device, "library": cogvideox.Version(), "submitted": a.order.Submitted, "made": time.Now(),
	}, "", "  ")
	if err != nil {
		return err
	}
	kept := false
	defer func() {
		if !kept {
			a.remove(r)
		}
	}()
	for _, object := range []struct {
		name string
		data []byte
	}{{r.Video, mp4}, {r.Metadata, metadata}, {r.Preview, preview}} {
		if object.name == "" {
			continue
		}
		if err := persist(ctx, "storing a result", func(ctx context.Context) error {
			_, err := a.client.results.PutBytes(ctx, object.name, object.data)
			return err
		}); err != nil {
			return err
		}
	}
	j, err := a.client.jobs.change(ctx, a.order.ID, func(j *job) (*job, error) {
		switch {
		case j == nil:
			return nil, errLost
		case j.Claim == a.claim && j.State == done:
			return nil, errSame // an answer was lost
		case j.Claim != a.claim || j.State != running:
			return nil, errLost
		case j.Cancel:
			return nil, errCancelled
		}
		j.State, j.Ended, j.Result, j.Error = done, time.Now(), r, nil
		return j, nil
	})
	if err != nil {
		// If the answer is not known, the result may stand in the record: then it stays.
		kept = !errors.Is(err, errLost) && !errors.Is(err, errCancelled)
		return err
	}
	kept = true
	a.made.Add(1)
	a.mu.Lock()
	if a.usual == 0 {
		a.usual = took
	}
	a.usual += (took - a.usual) / 4
	a.mu.Unlock()
	a.metrics.made(j)
	return nil
}

// remove takes back what is not the result.
func (a *attempt) remove(r *result) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, name := range []string{r.Video, r.Metadata, r.Preview} {
		if name != "" {
			a.client.results.Delete(ctx, name) // what stays goes with its age
		}
	}
}
