package cogvideox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestClonesAtOnce(t *testing.T) {
	p := load(t, "2b")
	want := map[uint64][]byte{}
	for seed := range uint64(4) {
		options := small(3)
		options.Seed = seed
		want[seed] = bytesOf(t, generate(t, p, options))
	}
	// The first to generate waits in its callback until the last does, so all are at it at once.
	var atWork sync.WaitGroup
	atWork.Add(4)
	var wg sync.WaitGroup
	bytesBefore := p.WeightBytes()
	for seed := range uint64(4) {
		clone, err := p.Clone()
		if err != nil {
			t.Fatal(err)
		}
		if clone.WeightBytes() != bytesBefore {
			t.Error("a clone has weights of its own")
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer clone.Close()
			var once sync.Once
			options := small(3)
			options.Seed = seed
			options.Progress = func(Progress) error {
				once.Do(func() {
					atWork.Done()
					atWork.Wait()
				})
				return nil
			}
			v, err := clone.Generate(context.Background(), options)
			if err != nil {
				t.Error(err)
				return
			}
			defer v.Close()
			data, _, err := v.RGBA8(0)
			if err != nil || !bytes.Equal(want[seed], data) {
				t.Errorf("seed %d: another video than alone (%v)", seed, err)
			}
		}()
	}
	wg.Wait()
}

// One pipeline, config and video, used from many goroutines in every way at once.
func TestHammering(t *testing.T) {
	p := load(t, "2b")
	v := generate(t, p, small(1))
	want := bytesOf(t, v)
	c := NewFasterCache()
	defer c.Close()
	var runs, busy, cancelled, jobs atomic.Int64
	end := time.Now().Add(1500 * time.Millisecond)
	var wg sync.WaitGroup
	work := func(f func(i int) error) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := 0; time.Now().Before(end); i++ {
				switch err := f(i); {
				case err == nil:
				case errors.Is(err, ErrBusy):
					busy.Add(1)
					time.Sleep(time.Millisecond)
				case errors.Is(err, ErrCancelled) && errors.Is(err, context.DeadlineExceeded):
					cancelled.Add(1)
				default:
					t.Error(err)
					return
				}
			}
		}()
	}
	for range 3 {
		work(func(i int) error {
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i%40)*time.Millisecond)
			defer cancel()
			video, err := p.Generate(ctx, small(1))
			if err == nil {
				runs.Add(1)
				return video.Close()
			}
			return err
		})
	}
	work(func(int) error {
		j, err := p.Submit(context.Background(), small(1))
		if err != nil {
			return err
		}
		defer j.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		if state, _ := j.Wait(ctx); state == JobSucceeded {
			jobs.Add(1)
		}
		return nil
	})
	work(func(int) error {
		clone, err := p.Clone()
		if err != nil {
			return err
		}
		return clone.Close()
	})
	for range 2 {
		work(func(int) error {
			if p.Family() == "" || p.WeightBytes() == 0 {
				return errors.New("no answer")
			}
			data, _, err := v.RGBA8(0)
			if err == nil && !bytes.Equal(want, data) {
				err = fmt.Errorf("the frames of a finished video have changed")
			}
			return err
		})
	}
	for range 2 {
		work(func(i int) error {
			if err := c.SetAlphaLowFrequency(float64(i)); err != nil {
				return err
			}
			if err := c.SetCurrentTimestepCallback(func(info StepInfo) float64 { return info.Timestep }); err != nil {
				return err
			}
			stats, err := p.PreviewCache(c, nil)
			if err != nil {
				return err
			}
			defer stats.Close()
			return p.EnableCache(c)
		})
	}
	wg.Wait()
	t.Logf("%d runs, %d jobs, %d busy, %d cancelled", runs.Load(), jobs.Load(), busy.Load(), cancelled.Load())
	if busy.Load() == 0 || runs.Load()+jobs.Load()+cancelled.Load() == 0 {
		t.Error("expected runs that got in each other's way")
	}
	for range 100 {
		if err := p.DisableCache(); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if !bytes.Equal(want, bytesOf(t, generate(t, p, small(1)))) {
		t.Error("the pipeline makes another video afterwards")
	}
}
