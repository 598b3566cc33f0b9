package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cogvideox"
)

// modelFacts are what a model does by itself, for fronts, which have no model.
type modelFacts struct {
	Name     string  `json:"name"`
	Task     string  `json:"task"`
	Family   string  `json:"family"`
	Width    int     `json:"width"`
	Height   int     `json:"height"`
	Frames   int     `json:"frames"`
	FPS      float64 `json:"fps"`
	Steps    int     `json:"steps"`
	Guidance float64 `json:"guidance"`
	// MaxSize is the largest of sizes that a worker has ever had memory for.
	MaxSize int `json:"max_size"`
}

// workerState is what a worker tells every second, and for the last time when it ends.
type workerState struct {
	Name     string        `json:"name"`
	Model    string        `json:"model"`
	Task     string        `json:"task"`
	Devices  []deviceState `json:"devices"`
	Slots    int           `json:"slots"`
	Busy     int           `json:"busy"`
	Made     uint64        `json:"made"`    // videos that it has stored
	Seconds  float64       `json:"seconds"` // of a clip, a running average; 0 before the first
	Draining bool          `json:"draining"`
	Ended    bool          `json:"ended"`
	Since    time.Time     `json:"since"`
	Library  string        `json:"library"`
}

type deviceState struct {
	Device string `json:"device"`
	Name   string `json:"name"`
	// Memory is the bytes that clips may take there, all together.
	Memory uint64 `json:"memory"`
	Sizes  []int  `json:"sizes"` // of the videos that it takes
}

// nameOfModel is what a model is called by its folder.
func nameOfModel(folder string) string {
	path, err := filepath.Abs(folder)
	if err != nil {
		path = folder
	}
	name := filepath.Base(path)
	if name == "pipeline" {
		name = filepath.Base(filepath.Dir(path))
	}
	return strings.Map(tokenRune, name)
}

// choose finds the model of a name, or the only one for the task.
func choose(models map[string]modelFacts, name, task string) (*modelFacts, error) {
	if len(models) == 0 {
		return nil, refusal(http.StatusServiceUnavailable, "NO_WORKER", "no worker has been here yet, so that there is no model")
	}
	var found []modelFacts
	var names []string
	for _, facts := range models {
		names = append(names, fmt.Sprintf("%s (%s)", facts.Name, facts.Task))
		if facts.Task == task && (name == "" || facts.Name == name) {
			found = append(found, facts)
		}
	}
	slices.Sort(names)
	switch {
	case len(found) == 1:
		return &found[0], nil
	case len(found) > 1:
		return nil, bad("model: expected one of %s, found none named", strings.Join(names, ", "))
	case name == "":
		return nil, bad("model: there is none for the task %s, only %s", task, strings.Join(names, ", "))
	}
	return nil, bad("model: expected one of %s for the task %s, found %q", strings.Join(names, ", "), task, name)
}

// taskOf is the task of a pipeline, as kinds have it.
func taskOf(p *cogvideox.Pipeline) string {
	if p.Task() == cogvideox.TaskImageToVideo {
		return "i2v"
	}
	return "t2v"
}

// factsOf are the facts of a pipeline.
func factsOf(p *cogvideox.Pipeline, name string, largest int) modelFacts {
	return modelFacts{
		Name: name, Task: taskOf(p), Family: p.Family(), Width: p.DefaultWidth(), Height: p.DefaultHeight(),
		Frames: p.DefaultNumFrames(), FPS: p.DefaultFPS(), Steps: p.DefaultNumInferenceSteps(),
		Guidance: p.DefaultGuidanceScale(), MaxSize: largest,
	}
}

// sizesFor are those of sizes that fit into memory: the library estimates what longer and what
// larger videos would take. A model whose positions are learned refuses other sizes; then only the
// shapes that it takes count.
func sizesFor(p *cogvideox.Pipeline, memory uint64) ([]int, error) {
	var fit []int
	var needed uint64
	for _, size := range sizes {
		taken := false
		for _, shape := range []cogvideox.GenerateOptions{
			{Prompt: "x", NumFrames: size * p.DefaultNumFrames()},
			{Prompt: "x", Width: size * p.DefaultWidth(), Height: p.DefaultHeight()},
		} {
			if size == 1 {
				shape = cogvideox.GenerateOptions{Prompt: "x"}
			}
			if p.Task() == cogvideox.TaskImageToVideo {
				shape.Image = blank
			}
			bytes, err := p.EstimateMemory(&shape)
			if errors.Is(err, cogvideox.ErrInvalidArgument) && size > 1 {
				continue
			}
			if err != nil {
				return nil, err
			}
			taken, needed = true, max(needed, bytes)
		}
		if !taken || needed > memory {
			break
		}
		fit = append(fit, size)
	}
	if len(fit) == 0 {
		return nil, fmt.Errorf("the model's own video takes about %.2f GiB beside the weights, and there are %.2f",
			float64(needed)/(1<<30), float64(memory)/(1<<30))
	}
	return fit, nil
}

// announceModel keeps the facts of a model, with the largest size that any worker has had.
func (cl *client) announceModel(ctx context.Context, facts modelFacts) error {
	key := facts.Name + "." + facts.Task
	for {
		err := persist(ctx, "writing the model", func(ctx context.Context) error {
			entry, err := cl.models.Get(ctx, key)
			var old modelFacts
			if err == nil && json.Unmarshal(entry.Value(), &old) == nil {
				facts.MaxSize = max(facts.MaxSize, old.MaxSize)
				if facts == old {
					return nil
				}
			}
			text, err := json.Marshal(facts)
			if err != nil {
				return err
			}
			if entry == nil {
				_, err = cl.models.Create(ctx, key, text)
			} else {
				_, err = cl.models.Update(ctx, key, text, entry.Revision())
			}
			return err
		})
		if !conflict(err) {
			return err
		}
	}
}
