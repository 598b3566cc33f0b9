package cogvideox

import (
	"context"
	"errors"
	"math"
	"testing"
)

func latentsOf(t testing.TB, v *Video) []float32 {
	t.Helper()
	l, err := v.Latents()
	if err != nil {
		t.Fatal(err)
	}
	return append([]float32(nil), l.Data...)
}

func near(t testing.TB, what string, found, expected []float32) {
	t.Helper()
	if len(found) != len(expected) || len(found) == 0 {
		t.Fatalf("%s: %d numbers, expected %d", what, len(found), len(expected))
	}
	for i := range found {
		if off := math.Abs(float64(found[i] - expected[i])); off > 1e-5 {
			t.Fatalf("%s: off by %v at %d", what, off, i)
		}
	}
}

func TestDevicesShareARun(t *testing.T) {
	expected := latentsOf(t, generate(t, load(t, "5b"), small(3)))
	for _, degrees := range [][2]int{{2, 1}, {1, 2}} {
		p, err := Load(context.Background(), folder("5b"), &LoadOptions{
			Devices: []string{"cpu", "cpu"}, GuidanceDegree: degrees[0], SequenceDegree: degrees[1],
		})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		near(t, "two devices", latentsOf(t, generate(t, p, small(3))), expected)
		stats, err := p.CacheStats()
		if err != nil {
			t.Fatal(err)
		}
		defer stats.Close()
		if stats.NumRanks() != 2 || stats.GuidanceDegree() != degrees[0] ||
			stats.SequenceDegree() != degrees[1] || stats.BytesExchanged() == 0 ||
			stats.MessagesExchanged() == 0 {
			t.Errorf("%v: %v", degrees, stats)
		}
	}
	_, err := Load(context.Background(), folder("5b"), &LoadOptions{Devices: []string{"cpu", "cpu", "cpu"}})
	wants(t, err, ErrInvalidArgument, "attention heads", "nothing fits 3")
	_, err = Load(context.Background(), folder("5b"), &LoadOptions{GuidanceDegree: 3})
	wants(t, err, ErrInvalidArgument, "guidance")
}

// between makes the ends of two ranks that channels connect.
func between(t testing.TB, fail func(rank int) error) [2]*Communicator {
	t.Helper()
	mail := [2]chan []byte{make(chan []byte, 64), make(chan []byte, 64)}
	gone := make(chan struct{})
	var ends [2]*Communicator
	for rank := range ends {
		end, err := NewCommunicator(rank, 2, func(x *Exchange) error {
			if err := fail(rank); err != nil {
				return err
			}
			other := 1 - rank - x.FirstRank
			if other < 0 || other >= len(x.Send) {
				return nil
			}
			if len(x.Send[other]) > 0 {
				mail[1-rank] <- append([]byte(nil), x.Send[other]...)
			}
			if len(x.Receive[other]) > 0 {
				select {
				case got := <-mail[rank]:
					copy(x.Receive[other], got)
				case <-gone:
					return errors.New("the other one is gone")
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { end.Close() })
		if end.Rank() != rank || end.NumRanks() != 2 {
			t.Errorf("rank %d of %d", end.Rank(), end.NumRanks())
		}
		ends[rank] = end
	}
	for rank, end := range ends {
		err := end.SetAbort(func(err *Error) {
			if e := ends[1-rank].Abort(err.Code, err.Message); e != nil {
				t.Error(e)
			}
			select {
			case <-gone:
			default:
				close(gone)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return ends
}

// onBoth generates on both ranks.
func onBoth(t testing.TB, ends [2]*Communicator) (latents [2][]float32, failed [2]error) {
	t.Helper()
	done := make(chan struct{})
	for rank, end := range ends {
		go func() {
			defer func() { done <- struct{}{} }()
			p, err := Load(context.Background(), folder("5b"), &LoadOptions{Device: "cpu", Communicator: end})
			if err != nil {
				failed[rank] = err
				return
			}
			defer p.Close()
			v, err := p.Generate(context.Background(), small(2))
			if err != nil {
				failed[rank] = err
				return
			}
			defer v.Close()
			latents[rank] = latentsOf(t, v)
		}()
	}
	<-done
	<-done
	return
}

func TestProcessesShareARun(t *testing.T) {
	expected := latentsOf(t, generate(t, load(t, "5b"), small(2)))
	ends := between(t, func(int) error { return nil })
	latents, failed := onBoth(t, ends)
	for rank := range ends {
		if failed[rank] != nil {
			t.Fatal(failed[rank])
		}
		near(t, "a rank", latents[rank], expected)
	}
	wants(t, ends[0].SetBarrier(func(*Exchange) error { return nil }), ErrInvalidArgument, "load options")
}

func TestARankThatFailsEndsTheOther(t *testing.T) {
	calls := 0
	ends := between(t, func(rank int) error {
		if rank == 1 {
			if calls++; calls == 4 {
				return errors.New("the cable was pulled")
			}
		}
		return nil
	})
	_, failed := onBoth(t, ends)
	for rank := range ends {
		wants(t, failed[rank], ErrCallbackFailed, "all_to_all")
	}
	// It fails again until the host has put it right.
	if _, failed := onBoth(t, ends); failed[0] == nil || failed[1] == nil {
		t.Error("expected the failure of before")
	}
	if err := ends[0].Reset(); err != nil {
		t.Error(err)
	}
	wants(t, ends[0].Abort(Code(999), "?"), ErrInvalidArgument, "999")
}

func TestCommunicatorsAreChecked(t *testing.T) {
	nothing := func(*Exchange) error { return nil }
	for _, wrong := range [][2]int{{-1, 2}, {2, 2}, {0, 1}, {0, 5000}} {
		_, err := NewCommunicator(wrong[0], wrong[1], nothing)
		wants(t, err, ErrInvalidArgument)
	}
	// A machine of these tests need not have NCCL.
	if _, err := NCCLUniqueID(); err != nil {
		wants(t, err, ErrDeviceUnavailable, "NCCL")
	}
	_, err := NewNCCLCommunicator(0, 2, make([]byte, NCCLUniqueIDBytes), "cpu")
	wants(t, err, ErrInvalidArgument, "cpu")
	_, err = NewNCCLCommunicator(0, 2, make([]byte, 5), "cuda:0")
	wants(t, err, ErrInvalidArgument, "unique id")
}
